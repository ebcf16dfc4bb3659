"""Those who were let in and never came: what the machines of a supporter make of it."""

from __future__ import annotations

from support.rooms import a_house
from support.sessions import START_MS, meet
from warmline_protocol import limits
from warmline_protocol.session.events import Append, Closed, Event, Left
from warmline_protocol.session.hello import Knock, open_hello
from warmline_protocol.session.pair import Pair
from warmline_protocol.session.xwing import SealingKey


def accepted(seed: int = 0) -> tuple[Pair, list[Append]]:
    """A supporter who said yes, and the Welcome that is on its way to two queues after a minute."""
    parties = meet(seed)
    contact, draw = SealingKey(parties.rng.bytes(32)), parties.rng.bytes
    knock = Knock(parties.provider.candidate(), draw, (b"g0", b"g1"), name="River", avatar=bytes(16))
    hello, _ = open_hello(knock.cell(contact.public), [contact])
    host = Pair.accept(
        hello,
        parties.provider,
        draw,
        START_MS,
        key=parties.key,
        name="Ada",
        avatar=b"a" * 16,
        queues=(b"h0", b"h1"),
    )
    return host, appends(host)


def appends(pair: Pair) -> list[Append]:
    return [each for each in pair.take()[0] if isinstance(each, Append)]


def news(pair: Pair) -> list[Event]:
    return pair.take()[1]


def refuse_all(host: Pair, offers: list[Append], now: int) -> None:
    """Both queues are gone, as they are when whoever opened them has left."""
    while offers:
        for offer in offers:
            host.append_failed(offer.token, "unknown", "no such queue", now)
        offers = appends(host)


def test_a_yes_to_somebody_who_has_left_ends_with_their_leaving() -> None:
    host, _ = accepted()
    host.taken_back(START_MS + 1)
    assert news(host)[-2:] == [Left(host.peer.id, "River", "left"), Closed("peer left")]
    host.taken_back(START_MS + 2)
    assert not news(host)


def test_whoever_has_been_here_takes_leave_here_and_not_at_the_door() -> None:
    parties = meet()
    for offer in appends(parties.guest):
        parties.host.receive(list(offer.cells), START_MS)
    parties.host.taken_back(START_MS)
    assert not parties.host.closed


def test_a_welcome_that_no_queue_takes_is_waited_with_for_two_minutes() -> None:
    host, offers = accepted()
    refuse_all(host, offers, START_MS)
    assert host.next_timer() == START_MS + limits.HELLO_AGAIN_MS
    host.tick(START_MS + limits.HELLO_AGAIN_MS - 1)
    assert not host.closed
    restored = Pair.restore(
        host.snapshot(), meet().provider, meet().rng.bytes, START_MS + limits.HELLO_AGAIN_MS, key=meet().key
    )
    host.tick(START_MS + limits.HELLO_AGAIN_MS)
    assert host.closed == "peer left"
    assert any(isinstance(each, Left) for each in news(host))
    restored.tick(START_MS + limits.HELLO_AGAIN_MS)
    restored.tick(START_MS + 2 * limits.HELLO_AGAIN_MS)
    assert restored.closed == "peer left"


def test_a_room_lets_go_whoever_left_before_they_were_in() -> None:
    house = a_house("River")
    reply = house.knock("Moss")
    attempt = house.knocks[reply][0].hello.attempt
    house.room.taken_back(attempt, house.now)  # their commit is on its way
    house.host.commit()
    house.settle()
    gone = [each for each in house.host.events if isinstance(each, Left)]
    assert [(each.name, each.why) for each in gone] == [("Moss", "left")]
    assert {each.name for each in house.room.people.values()} == {"Ada", "River"}
    assert len(house.room.group.roster()) == 2


def test_who_waits_for_the_next_commit_and_left_is_not_in_it() -> None:
    house = a_house("River")
    epoch = house.room.epoch
    reply = house.knock("Moss", wait=False)
    house.room.taken_back(house.knocks[reply][0].hello.attempt, house.now)
    house.now += limits.ROOM_BATCH_MS
    house.room.tick(house.now)
    house.host.commit()
    house.settle()
    assert house.room.epoch == epoch


def test_a_member_who_has_spoken_stays_whatever_is_said_at_the_door() -> None:
    house = a_house("River")
    house.say(house.members[0], "hello")
    house.settle()
    house.room.taken_back(house.members[0].attempt, house.now)
    house.host.commit()
    house.settle()
    assert len(house.room.people) == 2
