"""Rooms of five: real MLS, the queue node's real log, and a network that fails."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.rooms import House, Person, a_house
from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, RefusedError, UsageError
from warmline_protocol.session.events import (
    Append,
    Closed,
    Joined,
    Left,
    MessageState,
    SuccessorNamed,
    TextReceived,
)
from warmline_protocol.session.hello import open_hello

NAMES = ["River", "Moss", "Fern", "Wren"]


@pytest.fixture
def house() -> House:
    return a_house(*NAMES)


def names_seen(person: Person) -> set[str]:
    return {each.name for each in person.events if isinstance(each, Joined)}


def test_everybody_is_in_and_knows_the_others(house: House) -> None:
    assert len(house.members) == 4
    assert names_seen(house.host) == set(NAMES)
    for member in house.members:
        mine = member.machine.name_of(member.machine.me.id)
        assert names_seen(member) == {"Ada", *NAMES} - {mine}
        host = next(each for each in member.events if isinstance(each, Joined))
        assert host.name == "Ada" and host.host
    assert len({person.machine.epoch for person in house.everyone}) == 1
    assert len({person.machine.schedule.current.digest for person in house.everyone}) == 1


def test_all_read_the_same_in_the_same_order(house: House) -> None:
    for number in range(3):
        for person in house.everyone:
            house.say(person, f"{person.machine.name_of(person.machine.me.id)} {number}")
    house.settle()
    orders = []
    for person in house.everyone:
        mine = set(person.sent)
        others = [each.id for each in person.events if isinstance(each, TextReceived)]
        assert len(others) == len(set(others)) == 12 and not mine & set(others)
        orders.append(others)
        assert all(person.states(message)[-1] == "delivered" for message in person.sent)
    for one in orders:
        for two in orders:
            common = set(one) & set(two)
            assert [each for each in one if each in common] == [each for each in two if each in common]
    signed = {each.signed for each in house.members[0].events if isinstance(each, TextReceived) and each.name == "Ada"}
    assert signed == {True}


def test_few_acks_for_a_message_of_the_host(house: House) -> None:
    before = len(house.log.cells)
    house.say(house.host, "hello all")
    house.settle(step=100)
    assert len(house.log.cells) - before <= 3


def test_a_removed_member_reads_and_writes_nothing_more(house: House) -> None:
    gone = house.members[1]
    old = gone.keys
    assert old is not None
    kept = dict(gone.machine.__dict__)
    house.room.remove(gone.machine.me.id, house.now)
    house.host.commit()
    house.settle()
    assert gone.events[-1] == Closed("removed")
    house.members.remove(gone)
    house.say(house.host, "between us")
    house.settle()
    assert all("between us" in member.texts for member in house.members)
    assert any(isinstance(each, Left) and each.why == "removed" for each in house.members[0].events)
    # Whatever it kept, the node gives it nothing of the new epoch and takes nothing from it ...
    assert all(seq <= house.log.log.epochs[-2].last for seq, _ in house.log.read(old.read_key, 0))  # type: ignore[operator]
    for fence in (old.fence, old.fence + 1):
        with pytest.raises(RefusedError) as refusal:
            house.log.append((bytes(limits.CELL_SIZE),), old.send_key, fence)
        assert refusal.value.code == "fenced"
    # ... and a node that works with it gives it cells that do not open.
    machine = gone.machine
    machine.__dict__.update(kept)
    machine.closed = ""
    before = len(gone.texts)
    machine.read([(seq, cell) for seq, cell in house.log.read(None, machine.after)], house.log.incarnation, house.now)
    gone.commit()
    assert gone.texts[before:] == []


def test_a_member_who_leaves_is_taken_out(house: House) -> None:
    goer = house.members[0]
    goer.machine.leave(house.now)
    goer.commit()
    while goer.todo:
        house.perform(goer)
    goer.machine.finish()
    goer.commit()
    house.members.remove(goer)
    house.settle()
    assert len(house.room.group.roster()) == 4
    for person in house.everyone:
        lefts = [each for each in person.events if isinstance(each, Left)]
        assert [(each.name, each.why) for each in lefts] == [("River", "left")]


def test_a_newcomer_reads_nothing_of_before(house: House) -> None:
    house.say(house.members[0], "before")
    house.settle()
    house.knock("Late")
    house.settle()
    late = house.members[-1]
    house.say(house.host, "after")
    house.settle()
    assert late.texts == ["after"]
    assert names_seen(late) == {"Ada", *NAMES}


def test_what_was_sealed_before_a_commit_is_fenced_and_sealed_again(house: House) -> None:
    member = house.members[2]
    message = house.say(member, "crossing")
    (stale,) = member.todo
    assert isinstance(stale, Append)
    member.todo.clear()
    house.knock("Late")
    while house.host.todo:
        house.perform(house.host)
    member.todo.append(stale)
    house.perform(member)
    assert member.states(message) == ["waiting"]
    house.settle()
    assert member.states(message)[-1] == "delivered"
    assert "crossing" in house.host.texts and house.host.texts.count("crossing") == 1


def test_a_commit_whose_answer_was_lost_lands_once(house: House) -> None:
    before = len(house.log.log.epochs)
    house.knock("Late")
    house.reply_loss = 1.0
    house.perform(house.host)
    assert not house.room.settled
    house.reply_loss = 0.0
    house.fetch(house.host)
    assert house.room.settled
    house.settle()
    assert len(house.room.group.roster()) == 6
    assert len(house.log.log.epochs) == before + 1


def test_a_host_that_crashes_in_the_middle_of_a_commit(house: House) -> None:
    for landed in (False, True):
        house.knock(f"Late {landed}")
        if landed:
            house.reply_loss = 1.0
            house.perform(house.host)
            house.reply_loss = 0.0
        house.host.crash(house.now)
        house.settle()
    assert len(house.members) == 6
    house.say(house.members[-1], "in")
    house.settle()
    assert "in" in house.host.texts


def test_the_second_hello_of_an_attempt_replaces_the_first(house: House) -> None:
    reply = house.knock("Again")
    attempt = house.knocks[reply][0].hello.attempt
    house.settle()
    lost = house.members.pop()
    house.knock("Again", attempt=attempt)
    house.settle()
    assert len(house.room.group.roster()) == 6
    assert house.members[-1].machine.me != lost.machine.me
    house.say(house.host, "welcome back")
    house.settle()
    assert house.members[-1].texts == ["welcome back"]


def test_what_the_last_one_here_did_not_confirm_is_told_when_they_leave(house: House) -> None:
    house.settle()
    for member in house.members:
        house.say(house.host, "read by all")
        house.settle()
        member.machine.leave(house.now)
        member.commit()
    said = house.say(house.host, "read by nobody")
    while house.host.todo:
        house.perform(house.host)
    house.fetch(house.host)
    assert house.host.states(said)[-1] == "held"
    for member in house.members:
        while member.todo:
            house.perform(member)
    for _ in range(4):
        house.fetch(house.host)
        while house.host.todo:
            house.perform(house.host)
        house.sleep(1000)
    assert house.host.states(said)[-1] == "refused"


def test_only_the_host_commits(house: House) -> None:
    member, other = house.members[:2]
    rogue = member.machine.group.refresh().commit
    epoch = other.machine.schedule.current
    cells = member.machine._commit_cells(rogue, 0, "log", epoch)
    assert member.keys is not None
    house.log.append(cells, member.keys.send_key, member.keys.fence)
    for person in (house.host, other):
        house.fetch(person)
        assert person.machine.epoch == epoch.number and person.machine.statistics.refused == 1
    house.members.remove(member)  # it has shut itself out
    house.say(other, "we are still here")
    house.settle()
    assert "we are still here" in house.host.texts


def test_a_member_cannot_play_the_host(house: House) -> None:
    from warmline_protocol.session.messages import Handover, Heartbeat, Roster
    from warmline_protocol.session.messages import Person as Named

    member, other = house.members[:2]
    before = house.now
    house.now += limits.ROOM_READ_ONLY_MS - 1
    for body in (
        Heartbeat(member.machine.epoch, member.machine.schedule.current.digest),
        Roster((Named(other.machine.host.id, "Not Ada", bytes(16)),)),
        Handover(member.machine.me.id),
    ):
        member.machine._remark(body, house.now)
    member.commit()
    while member.todo:
        house.perform(member)
    house.fetch(other)
    assert other.machine.statistics.refused == 3
    assert other.machine.host_seen_ms <= before
    assert other.machine.name_of(other.machine.host.id) == "Ada"


def test_a_host_without_its_signature_is_not_heard(house: House) -> None:
    house.room.signer = None
    house.say(house.host, "deniable")
    while house.host.todo:
        house.perform(house.host)
    house.fetch(house.members[0])
    assert house.members[0].texts == [] and house.members[0].events[-1] == Closed("unproven")


def test_a_message_that_does_not_open_is_asked_for_by_its_place(house: House) -> None:
    member = house.members[0]
    message = house.say(member, "spoilt")
    entry = next(iter(member.machine.outbox.entries.values()))
    spoilt = entry.sealed[:-1] + bytes([entry.sealed[-1] ^ 1])
    (output,) = member.todo
    assert isinstance(output, Append)
    cells = member.machine._cells(spoilt, entry.counter, "log")
    member.todo[0] = Append(output.token, 0, cells, output.fence)
    house.settle()
    assert "spoilt" in house.host.texts
    assert member.states(message)[-1] == "delivered"


def test_handing_over_is_told(house: House) -> None:
    heir = house.members[3]
    house.room.hand_over(heir.machine.me.id, house.now)
    house.host.commit()
    house.settle()
    for member in house.members:
        assert SuccessorNamed(heir.machine.me.id, "Wren") in member.events
    with pytest.raises(UsageError):
        house.room.hand_over(b"x" * 16, house.now)
    with pytest.raises(UsageError):
        house.room.remove(house.room.me.id, house.now)


@pytest.mark.parametrize("changing", [False, True])
def test_the_log_moves_and_nothing_is_lost(house: House, changing: bool) -> None:
    message = house.say(house.members[0], "held by a log that dies")
    for member in house.members:
        while member.todo:
            house.perform(member)
    house.log.alive = False
    if changing:
        house.knock("In between")
        house.perform(house.host)
    second = house.say(house.members[1], "said meanwhile")
    while house.members[1].todo:
        house.perform(house.members[1])
    house.move()
    house.settle()
    assert {"held by a log that dies", "said meanwhile"} <= set(house.host.texts)
    assert house.members[0].states(message)[-1] == house.members[1].states(second)[-1] == "delivered"
    house.knock("Late")
    house.settle()
    assert len(house.members) == 5 + changing


def test_who_came_just_before_the_log_moved_learns_the_rooms_manners(house: House) -> None:
    before = list(house.members)
    house.knock("New")
    for _ in range(4):  # everybody but the newcomer reads how the room is kept, and says so
        for person in (house.host, *before):
            while person.todo:
                house.perform(person)
            house.fetch(person)
        house.sleep(2_000)
    new = house.members[-1]
    assert new not in before and new.machine.manners.conduct is None
    assert not house.room.outbox.entries
    house.log.alive = False
    house.move()
    message = house.say(new, "may I?")
    house.settle()
    assert new.states(message)[-1] == "delivered"


def test_a_full_room_and_a_bad_key_package(house: House) -> None:
    reply = house.knock("Tampered")
    house.settle()
    good = house.knocks[reply][0].hello
    bad = type(good)(**{name: getattr(good, name) for name in good.__slots__} | {"key_package": b"\0" * 300})
    with pytest.raises(MalformedError):
        house.room.admit(bad, house.now)
    flipped = bytearray(house.provider.candidate().key_package)
    flipped[150] ^= 1
    twisted = type(good)(
        **{name: getattr(good, name) for name in good.__slots__} | {"key_package": bytes(flipped), "attempt": b"t" * 16}
    )
    house.room.admit(twisted, house.now)
    house.host.commit()
    house.settle()
    assert len(house.room.group.roster()) == 6 and house.room.statistics.refused == 1


def test_fifty_fit_and_the_next_is_refused() -> None:
    house = House(3)
    house.knock("member 0")
    house.settle()
    house.room.co_facilitate(house.members[0].machine.me.id, True, house.now)
    before = len(house.log.log.epochs)
    for number in range(1, limits.ROOM_MEMBERS_MAX - 1):
        house.knock(f"member {number}", wait=False)
    with pytest.raises(RefusedError) as refusal:
        house.knock("one too many")
    assert refusal.value.code == "full"
    del house.knocks[list(house.knocks)[-1]]
    house.sleep(limits.ROOM_BATCH_MS)
    for _ in range(4):
        while house.host.todo:
            house.perform(house.host)
        house.fetch(house.host)
    assert len(house.room.group.roster()) == limits.ROOM_MEMBERS_MAX
    assert len(house.log.log.epochs) == before + 1
    last = house.members[-1]
    house.fetch(last)
    assert len(last.machine.people) == limits.ROOM_MEMBERS_MAX


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_everybody_ends_with_the_same_room(seed: int) -> None:
    random = Random(seed)
    house = House(seed)
    for name in NAMES:
        house.knock(name)
    house.settle()
    house.loss, house.reply_loss = random.choice([(0.0, 0.0), (0.2, 0.2), (0.4, 0.3)])
    joined = 0
    for step in range(80):
        person = random.choice(house.everyone)
        match random.randrange(10):
            case 0 | 1:
                if not person.machine.read_only:
                    house.say(person, f"message {step}")
            case 2 | 3 | 4:
                if person.todo:
                    house.perform(person)
            case 5 | 6:
                house.fetch(person)
            case 7:
                house.sleep(random.choice([10, 1_000, 10_000]))
            case 8:
                if joined < 3 and random.random() < 0.4:
                    joined += 1
                    house.knock(f"late {joined}")
            case 9:
                person.crash(house.now)
    house.settle()
    assert len(house.members) == 4 + joined
    said = {message for person in house.everyone[:5] for message in person.sent}
    for person in house.everyone[:5]:
        got = [each.id for each in person.events if isinstance(each, TextReceived)]
        assert len(got) == len(set(got))
        assert set(got) == said - set(person.sent) | (set(got) - said)
        assert all(person.states(message)[-1] == "delivered" for message in person.sent)


def test_a_hello_opens_only_at_its_door(house: House) -> None:
    from warmline_protocol.session.xwing import SealingKey

    reply = house.knock("Elsewhere")
    cell = house.knocks[reply][0].cell(house.contact.public)
    assert len(cell) == limits.CELL_SIZE
    with pytest.raises(MalformedError):
        open_hello(cell, [SealingKey(b"x" * 32)])


def test_what_the_log_holds_stays_held_when_a_member_leaves(house: House) -> None:
    goer = house.members[0]
    house.say(goer, "the log has this")
    message = goer.sent[-1]
    while goer.todo:
        house.perform(goer)
    assert goer.states(message)[-1] == "held"
    goer.machine.leave(house.now)
    goer.machine.finish()
    goer.commit()
    word = [each for each in goer.events if isinstance(each, MessageState) and each.id == message][-1]
    assert (word.state, word.why, word.last) == ("held", "left", True) and word.until_ms > house.now
    assert goer.events[-1] == Closed("left")
