"""Hellos and room messages that are well-formed and meant to break whoever hears them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from support.conversations import PATIENCE, a_street, a_supporter
from support.rooms import Person, a_house
from support.sessions import START_MS
from warmline.client.session import Client, Contact
from warmline.client.session_client import pack_address
from warmline_protocol.errors import MalformedError
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.session.events import Gap
from warmline_protocol.session.hello import Hello, Knock, seal_hello
from warmline_protocol.session.messages import Heartbeat, Inner, Seen, pack_body, pack_inner
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


def a_hello(client: Client, contact: Contact, attempt: bytes) -> bytes:
    """A cell for the door."""
    reply = pack_address(QueueAddress(contact.doors[0].node, b"q" * 16, b"s" * 32))
    candidate = client.provider.candidate()
    knock = Knock(candidate, client.rng.bytes, (reply,), name="River", avatar=bytes(16), attempt=attempt)
    return seal_hello(knock.hello, contact.contact)


async def test_who_was_taken_out_of_a_room_and_knocks_twice_at_once_ends_nothing(tmp_path: Path) -> None:
    """The second of two such Hellos found the room's entry gone, and the supporter's doors went down with it."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            stranger, (door,) = street.client("stranger"), ada.contact.doors
            attempt = b"a" * 16
            async with ada.at_the_door() as keeper:

                async def append(*cells: bytes) -> None:
                    async with stranger.paths.path("door", door.node) as path, stranger.queues_over(path) as queues:
                        for cell in cells:
                            await queues.append(door.queue, [cell])

                await append(a_hello(stranger, ada.contact, attempt))
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
                await append(*(a_hello(stranger, ada.contact, attempt) for _ in range(2)))
                for _ in range(2):
                    assert (await keeper.knocks.receive()).attempt == attempt
                assert keeper.doors_up == 1
