"""Hellos and room messages that are well-formed and meant to break whoever hears them."""

from __future__ import annotations

import gc
from dataclasses import replace
from functools import partial
from pathlib import Path
from weakref import ref

import pytest
import trio
import trio.testing

from support.conversations import PATIENCE, a_street, a_supporter
from support.rooms import Person, a_house
from support.sessions import START_MS
from warmline.client.door_policy import KNOWN, Decision, DoorGate, DoorRules
from warmline.client.duty import Duty
from warmline.client.rooms import host_room, join_room
from warmline.client.session import Client, Contact, Persona, open_session
from warmline.client.session_client import pack_address
from warmline.client.session_leavers import REMEMBERED
from warmline.env import SystemClock
from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, RefusedError
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.session.cells import Bundle, Kind
from warmline_protocol.session.cells import seal as seal_cells
from warmline_protocol.session.events import Append, Gap
from warmline_protocol.session.hello import Hello, Knock, seal_hello
from warmline_protocol.session.messages import Heartbeat, Inner, Seen, Text, pack_body, pack_inner
from warmline_protocol.session.offers import LEFT, OfferOver, seal_at_door
from warmline_protocol.session.pair import Pair
from warmline_protocol.session.xwing import SealingKey, seal

SMALL_ORDER = [bytes(32), b"\1" + bytes(31)]
"""X25519 keys with which every agreement fails."""


def poisoned(hello: Hello, point: bytes = SMALL_ORDER[0]) -> Hello:
    return replace(hello, kem=hello.kem[:1184] + point)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_key_that_nothing_can_be_sealed_to_is_malformed(point: bytes) -> None:
    """On a card it ended the program of whoever rang there, in a Hello that of the supporter."""
    public = SealingKey(bytes(32)).public
    with pytest.raises(MalformedError):
        seal(public[:1184] + point, b"words", "hello")


def test_a_hello_that_cannot_be_answered_is_refused() -> None:
    house = a_house()
    knock = Knock(house.provider.candidate(), house.rng.bytes, (b"g0",), name="River", avatar=bytes(16))
    with pytest.raises(MalformedError):
        Pair.accept(
            poisoned(knock.hello),
            house.provider,
            house.rng.bytes,
            START_MS,
            key=house.key,
            name="Ada",
            avatar=b"a" * 16,
            queues=(b"h0",),
        )


def test_a_room_finds_out_before_its_commit() -> None:
    """Found out later, whoever knocked in the same moment would be in the group and get no Welcome."""
    house = a_house("River")
    epoch = house.room.epoch
    knock = Knock(house.provider.candidate(), house.rng.bytes, (b"g0",), name="Moss", avatar=bytes(16))
    with pytest.raises(MalformedError):
        house.room.admit(poisoned(knock.hello), house.now)
    house.knock("Fern")
    house.settle()
    assert house.room.epoch == epoch + 1
    assert len(house.members) == 2


def say_inner(person: Person, inner: Inner) -> None:
    machine = person.machine
    machine._append(machine._cells(machine.group.seal(pack_inner(inner)), inner.counter, "log"), [])
    person.commit()


def test_a_floor_out_of_the_blue_costs_nobody_anything() -> None:
    """After a move each member counted up to the floor that the next message named, one by one: to 2**53."""
    house = a_house("River", "Moss")
    river = house.members[0]
    for person in house.everyone:
        house.say(person, "hello")
    house.settle()
    after, lie = river.machine.after, pack_body(Heartbeat(river.machine.epoch, bytes(16)))
    river.machine._remark = lambda *said, **more: None  # its client says nothing that it need not
    say_inner(river, Inner(b"l" * 16, 0, 1, house.now, lie, after, None, b"\1" * 16))
    house.settle()
    assert house.logs == 1  # one lie moves the room, and everybody asks what was missed
    say_inner(river, Inner(b"f" * 16, 0, 2**53 - 1, house.now, pack_body(Seen())))
    house.settle()
    gaps = [each for person in house.everyone for each in person.events if isinstance(each, Gap)]
    assert all(each.count <= 1024 for each in gaps)


def a_hello(client: Client, contact: Contact, attempt: bytes, listing: bytes = b"") -> bytes:
    """A cell for the door."""
    reply = pack_address(QueueAddress(contact.doors[0].node, b"q" * 16, b"s" * 32))
    candidate = client.provider.candidate()
    knock = Knock(
        candidate, client.rng.bytes, (reply,), name="River", avatar=bytes(16), listing=listing, attempt=attempt
    )
    return seal_hello(knock.hello, contact.contact)


async def leave_at(contact: Contact, client: Client, *cells: bytes) -> None:
    (door,) = contact.doors
    async with client.paths.path("door", door.node) as path, client.queues_over(path) as queues:
        for cell in cells:
            await queues.append(door.queue, [cell])


async def test_who_was_taken_out_of_a_room_and_knocks_twice_at_once_ends_nothing(tmp_path: Path) -> None:
    """The second of two such Hellos found the room's entry gone, and the supporter's doors went down with it."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            stranger, attempt = street.client("stranger"), b"a" * 16
            async with ada.at_the_door() as keeper:
                await leave_at(ada.contact, stranger, a_hello(stranger, ada.contact, attempt))
                first = await keeper.knocks.receive()
                both = trio.Event()
                asked = 0

                async def not_any_more(hello: Hello) -> bool:
                    nonlocal asked
                    asked += 1
                    if asked == 2:
                        both.set()
                    await both.wait()
                    return False

                keeper.settled(first, room=not_any_more)
                again = [a_hello(stranger, ada.contact, attempt) for _ in range(2)]
                await leave_at(ada.contact, stranger, *again)
                for _ in range(2):
                    assert (await keeper.knocks.receive()).attempt == attempt
                assert keeper.doors_up == 1


async def test_a_flood_of_leavings_shows_nothing_and_is_forgotten(tmp_path: Path) -> None:
    """Anybody can say of any attempt id that they left; what is remembered of that has an end."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada, stranger = a_supporter(street), street.client("stranger")
            overs = [OfferOver(number.to_bytes(16), LEFT) for number in range(5)]
            async with ada.at_the_door() as keeper:
                first = b"f" * 16
                await leave_at(ada.contact, stranger, a_hello(stranger, ada.contact, first))
                knock = await keeper.knocks.receive()
                await leave_at(ada.contact, stranger, *(seal_at_door(each, ada.contact.contact) for each in overs))
                lane = knock._lane
                for number in range(2 * REMEMBERED):
                    keeper.leavers.left(lane, 1 << 40, number.to_bytes(16))
                await leave_at(ada.contact, stranger, a_hello(stranger, ada.contact, b"m" * 16))
                assert (await keeper.knocks.receive()).attempt == b"m" * 16
                assert len(keeper.leavers._left) <= REMEMBERED
                assert keeper.leavers._waiting[first] is knock
                with pytest.raises(trio.WouldBlock):
                    keeper.leavers.news.receive_nowait()


async def test_coming_and_going_without_end_fills_the_door_and_not_the_supporters_ears(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada, stranger = a_supporter(street), street.client("stranger")
            async with ada.at_the_door() as keeper:
                shown = 0
                with pytest.raises(RefusedError):
                    while shown < 200:
                        shown += 1
                        over = seal_at_door(OfferOver(shown.to_bytes(16), LEFT), ada.contact.contact)
                        hello = a_hello(stranger, ada.contact, shown.to_bytes(16))
                        await leave_at(ada.contact, stranger, hello, over)
                        await keeper.leavers.news.receive()
                assert shown < 100


async def test_an_invitation_to_talk_opens_no_room(tmp_path: Path) -> None:
    """A yes to an offer, or to a word in private, let the Hello into any group of the supporter's, unasked."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            stranger = street.client("stranger")
            async with ada.at_the_door() as keeper:
                until_ms = keeper.client.clock.utc_ms() + 60_000
                for attempt in (b"a" * 16, b"b" * 16):
                    keeper.expect(attempt, until_ms)
                to_group = a_hello(stranger, ada.contact, b"a" * 16, listing=b"g" * 32)
                await leave_at(ada.contact, stranger, to_group, a_hello(stranger, ada.contact, b"b" * 16))
                knocks = [await keeper.knocks.receive() for _ in range(2)]
                assert {each.attempt: each.expected for each in knocks} == {b"a" * 16: False, b"b" * 16: True}


def test_a_listing_that_somebody_published_opens_no_closed_door() -> None:
    """Whoever named a card as their listing's successor had everybody shown at that card's door, closed or not."""
    own, inherited, opened = b"o" * 32, b"i" * 32, b"r" * 32
    duty = Duty.__new__(Duty)
    duty._listings, duty._rooms = {own: None, inherited: None, opened: None}, {opened: None}  # type: ignore[dict-item]
    gate = DoorGate(DoorRules(KNOWN), SystemClock(), own_room=partial(duty.has_room, frozenset({own})))
    house = a_house()
    hello = Knock(house.provider.candidate(), house.rng.bytes, (b"g0",), name="River", avatar=bytes(16)).hello
    shown = {
        listing: gate.at_door(replace(hello, listing=listing), expected=False, sessions=0)[0]
        for listing in (own, inherited, opened)
    }
    assert shown == {own: Decision.SHOW, inherited: Decision.LATER, opened: Decision.SHOW}


def test_who_comes_back_without_end_is_asked_about() -> None:
    """Each time is a commit that everybody has to follow: one member kept a room busy with nothing else."""
    house = a_house("River", "Moss")
    attempt = house.members[0].attempt
    for number in range(2 * limits.ROOM_REJOINS_MAX):
        assert not house.room.comes_too_often(attempt, house.now), number
        house.knock("River", attempt=attempt)
        house.settle()
    assert house.room.expects(attempt)
    assert house.room.comes_too_often(attempt, house.now)
    assert not house.room.comes_too_often(house.members[1].attempt, house.now)
    assert not house.room.comes_too_often(attempt, house.now + 700_000)


def test_a_member_and_the_node_cannot_call_delivered_what_nobody_read() -> None:
    """The node keeps a message back, and a member who was shown it puts words of its own under the same id."""
    house = a_house("River", "Moss")
    river, moss = house.members
    message = house.say(river, "can anybody hear me")
    output = river.todo.pop(0)
    assert isinstance(output, Append)
    fragment = moss.machine._fragment(output.cells[0], "log")
    assert fragment is not None
    river.machine.receipted(output.token, "log node", house.log.incarnation, house.log.log.head + 1, house.now)
    river.commit()
    words = Inner(b"m" * 16, fragment.counter, fragment.counter, house.now, pack_body(Text("something else")))
    machine = moss.machine
    bundle = Bundle(
        Kind.APPLICATION, fragment.epoch, fragment.counter, fragment.bundle, machine.group.seal(pack_inner(words))
    )
    house.log.append(
        seal_cells(bundle, machine.schedule.current.key, "log", machine.draw), moss.keys.send_key, fragment.epoch
    )
    for _ in range(3):
        for person in (house.host, moss, river):
            house.fetch(person)
            if person is not river:
                while person.todo:
                    house.perform(person)
        house.sleep(limits.SEEN_HOST_MS)
    assert "can anybody hear me" not in house.host.texts
    assert "delivered" not in river.states(message)
    house.settle()
    assert house.host.texts.count("can anybody hear me") == 1
    assert river.states(message)[-1] == "delivered"


async def test_a_supporters_program_forgets_what_was_said_when_it_is_over(tmp_path: Path) -> None:
    """Every conversation of a duty, texts and evidence, stayed in memory until the program ended."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door() as keeper,
                host_room(keeper.client, key=ada.key, me=Persona("Ada", b"a" * 16)) as room,
            ):
                client, me = street.client("River"), Persona("River", b"r" * 16)
                async with open_session(client, ada.contact, me=me) as session:
                    talk = await keeper.accept(await keeper.knocks.receive())
                    await session.wait_established()
                    await talk.aclose()
                await talk.wait_closed()
                async with join_room(client, ada.contact, b"g" * 32, me=me) as guest:
                    await room.admit(await keeper.knocks.receive(), keeper)
                    await guest.wait_established()
                for _ in range(20):  # for who waits for the end to notice it
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    if not keeper._let_in:
                        break
                assert keeper._let_in == {}
                kept, gone = [ref(talk), ref(room)], keeper._rooms
                await room.aclose()
            del talk, room, session, guest
            gc.collect()
            assert [each() for each in kept] == [None, None]
            assert len(gone) == 1  # and not by it
