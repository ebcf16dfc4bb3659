"""Commits of a room: people who come together, keys that are renewed, old ones that go, words that go together."""

from __future__ import annotations

import pytest

from support.rooms import House, a_house
from warmline_protocol import limits
from warmline_protocol.errors import MalformedError
from warmline_protocol.session.events import Append, AppendControl, Left, OutOfStep, Rejoined, TextReceived
from warmline_protocol.session.mls import Member
from warmline_protocol.session.room_hearing import check_roster

NAMES = ["River", "Moss", "Fern", "Wren"]


@pytest.fixture
def house() -> House:
    return a_house(*NAMES)


def epochs(house: House) -> int:
    return len(house.log.log.epochs)


def test_those_of_one_moment_come_in_by_one_commit(house: House) -> None:
    before = epochs(house)
    for number in range(6):
        house.knock(f"late {number}", wait=False)
        house.sleep(20)
    house.sleep(limits.ROOM_BATCH_MS)
    house.settle()
    assert epochs(house) == before + 1
    assert len(house.members) == 10 == len(house.room.group.roster()) - 1
    house.say(house.members[-1], "all here")
    house.settle()
    assert all("all here" in person.texts for person in house.everyone[:-1])


def test_one_bad_key_package_keeps_nobody_else_out(house: House) -> None:
    reply = house.knock("Good", wait=False)
    good = house.knocks[reply][0].hello
    flipped = bytearray(house.provider.candidate().key_package)
    flipped[150] ^= 1
    fields = {name: getattr(good, name) for name in good.__slots__}
    house.room.admit(type(good)(**fields | {"key_package": bytes(flipped), "attempt": b"t" * 16}), house.now)
    house.knock("Also good", wait=False)
    house.sleep(limits.ROOM_BATCH_MS)
    house.settle()
    assert len(house.members) == 6 and house.room.statistics.refused == 1


def test_those_who_go_together_go_by_one_commit(house: House) -> None:
    before = epochs(house)
    for member in house.members[:2]:
        member.machine.leave(house.now)
        member.commit()
        while member.todo:
            house.perform(member)
    gone, house.members = house.members[:2], house.members[2:]
    house.settle()
    assert epochs(house) == before + 1 and len(house.room.group.roster()) == 3
    assert all(person.machine.outbox.entries == {} or person.machine.closed == "" for person in gone)


def test_keys_are_renewed_after_a_while_and_old_ones_are_gone(house: House) -> None:
    before = epochs(house)
    house.say(house.members[0], "something is said")
    house.settle()
    for _ in range(limits.REFRESH_MS // 30_000 + 2):
        house.sleep(30_000)
        house.settle()
    assert epochs(house) == before + 1
    for person in house.everyone:
        assert person.machine.schedule.previous is None
        assert person.machine.epoch == house.room.epoch
    house.sleep(2 * limits.REFRESH_MS)  # nothing was said since
    assert epochs(house) == before + 1


def test_keys_are_renewed_after_many_messages(house: House) -> None:
    before = epochs(house)
    for number in range(limits.REFRESH_MESSAGES):
        house.say(house.members[number % 4], str(number))
        if number % 20 == 0:
            house.settle(step=200)
    house.settle()
    assert epochs(house) > before


def test_old_keys_go_on_time_whatever_the_log_does(house: House) -> None:
    house.knock("Late", wait=False)
    house.sleep(limits.ROOM_BATCH_MS)
    while any(not isinstance(each, AppendControl) for each in house.host.todo):
        house.perform(house.host)
    house.log.alive = False  # the commit landed and cannot be read back
    assert house.room.schedule.previous is not None
    house.room.tick(house.now + limits.OLD_EPOCH_MS)
    assert house.room.schedule.previous is None


def test_what_waits_goes_in_one_append(house: House) -> None:
    river = house.members[0]
    messages = [house.say(river, f"message {number}") for number in range(20)]
    first = river.todo[0]
    assert isinstance(first, Append) and len(first.cells) == 1
    house.perform(river)
    second = river.todo[0]
    assert isinstance(second, Append) and len(second.cells) == limits.QUEUE_CELLS_MAX
    house.settle()
    assert house.host.texts == [f"message {number}" for number in range(20)]
    assert all(river.states(message)[-1] == "delivered" for message in messages)


def test_a_refused_or_lost_append_of_many_is_offered_again(house: House) -> None:
    river = house.members[0]
    for number in range(5):
        house.say(river, f"message {number}")
    house.perform(river)
    house.reply_loss = 1.0
    house.perform(river)  # it landed, and nobody said so
    house.settle()
    assert house.host.texts == [f"message {number}" for number in range(5)]
    assert all(river.states(message)[-1] == "delivered" for message in river.sent)


def test_somebody_who_comes_back_has_not_left(house: House) -> None:
    river, moss = house.members[:2]
    mine = house.say(river, "said before")
    river.todo.clear()
    river.machine.locked_out(house.now)
    river.commit()
    before = river.machine.me.id
    house.rejoin(river)
    house.settle()
    assert river.states(mine)[-1] == "delivered" and house.host.texts == ["said before"]
    assert Rejoined(before, river.machine.me.id, "River") in moss.events
    house.sleep(5_000)
    assert not any(isinstance(each, Left) for person in house.everyone for each in person.events)
    assert len(house.room.group.roster()) == 5


def test_a_member_who_missed_a_commit_comes_back_and_shows_nothing_twice(house: House) -> None:
    river = house.members[0]
    house.say(house.members[1], "shown before")
    house.settle()
    spoilt = river.machine.group.refresh  # its state moves on by itself: no commit of the host applies any more
    spoilt()
    house.knock("Late")
    for _ in range(3):
        for person in house.everyone:
            while person.todo:
                house.perform(person)
            house.fetch(person)
    assert any(isinstance(each, OutOfStep) for each in river.events)
    house.rejoin(river)
    house.settle()
    house.say(house.members[1], "shown after")
    house.settle()
    assert river.texts == ["shown before", "shown after"]
    ids = [each.id for each in river.events if isinstance(each, TextReceived)]
    assert len(set(ids)) == len(ids)


def test_a_member_whose_own_queue_was_lost_is_reached_by_the_new_one(house: House) -> None:
    river = house.members[0]
    (reply,) = [name for name, person in house.control.items() if person is river]
    house.knocks[b"another queue"] = house.knocks[reply]
    house.control[b"another queue"] = river
    river.machine.requeue((b"another queue",), house.now)
    river.commit()
    house.settle()
    del house.knocks[reply], house.control[reply]
    house.log.alive = False
    house.move()
    house.settle()
    house.say(house.host, "we have moved")
    house.settle()
    assert "we have moved" in river.texts


def test_a_double_in_the_next_log_is_confirmed_at_once(house: House) -> None:
    """Before, its sender waited for the host's next heartbeat."""
    river = house.members[0]
    message = house.say(river, "read, and the log dies before the host says so")
    house.perform(river)
    house.fetch(house.host)
    house.log.alive = False
    house.move()
    for _ in range(4):
        for person in house.everyone:
            while person.todo:
                house.perform(person)
            house.fetch(person)
        house.sleep(limits.SEEN_HOST_MS // 2)
    assert river.states(message)[-1] == "delivered"
    assert house.host.texts == ["read, and the log dies before the host says so"]


def test_rosters_that_cannot_be() -> None:
    def member(number: int, key: int | None = None) -> Member:
        return Member(bytes([number]) * 16, bytes([number if key is None else key]) * 32)

    me, ann, ben = member(1), member(2), member(3)
    check_roster((me, ann), (me, ann, ben), me)
    check_roster((me, ann), (me,), me)
    for after in ((ann, ben), (me, ann, member(2, 9)), (me, member(2, 9))):
        with pytest.raises(MalformedError):
            check_roster((me, ann), after, me)
    with pytest.raises(MalformedError):
        check_roster((), (me, *(member(number) for number in range(2, 53))), me)
