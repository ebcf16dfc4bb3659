"""Who knocks and leaves before the answer: at the door, after a restart, and when a yes is on its way already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from support.conversations import PATIENCE, Street, Supporter, a_street, a_supporter, until
from support.session_nodes import ENTRIES, a_client, an_ada, some_nodes
from support.session_nodes import PATIENCE as NODES_PATIENCE
from warmline.client.rooms import host_room, join_room
from warmline.client.session import Persona, open_session
from warmline.client.session_client import Client, pack_address
from warmline.client.session_events import HelloHeld
from warmline_protocol.errors import UsageError
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.session.events import Closed, Joined, Left
from warmline_protocol.session.hello import Knock
from warmline_protocol.session.offers import ANSWERED, LEFT, OfferOver, seal_at_door

LONG = 30.0
"""Seconds for a goodbye: what is to be said here is said on a busy machine too."""
RIVER, MOSS = Persona("River", b"r" * 16), Persona("Moss", b"m" * 16)
ADA = Persona("Ada", b"a" * 16)


def leaving(client: Client) -> Client:
    client.settings = replace(client.settings, goodbye=LONG)
    return client


async def test_who_leaves_before_the_answer_leaves_no_ghost_at_the_door(tmp_path: Path) -> None:
    with trio.fail_after(NODES_PATIENCE):
        async with some_nodes(tmp_path, 5) as nodes:
            ada = an_ada(nodes, entry=0, door=ENTRIES)
            async with ada.at_the_door() as keeper:
                async with open_session(leaving(a_client(nodes, 1)), ada.contact, me=RIVER):
                    knock = await keeper.knocks.receive()
                assert await keeper.leavers.news.receive() is knock
                with pytest.raises(UsageError, match="they have left"):
                    await keeper.accept(knock)
                async with join_room(leaving(a_client(nodes, 1)), ada.contact, b"g" * 32, me=RIVER):
                    knock = await keeper.knocks.receive()
                assert await keeper.leavers.news.receive() is knock
                async with host_room(ada.client, key=ada.key, me=ADA) as room:
                    with pytest.raises(UsageError, match="they have left"):
                        await room.admit(knock, keeper)
            # Nothing of it comes back with the supporter's machine.
            async with ada.at_the_door() as keeper, open_session(a_client(nodes, 1), ada.contact, me=MOSS):
                assert (await keeper.knocks.receive()).name == "Moss"


async def test_a_knock_that_came_and_went_while_nobody_was_there_is_not_shown(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with ada.at_the_door():
                pass  # the door exists; Ada goes to sleep
            async with open_session(leaving(street.client("river")), ada.contact, me=RIVER) as session:
                await until(session, HelloHeld)
            async with ada.at_the_door() as keeper, open_session(street.client("moss"), ada.contact, me=MOSS):
                gone = await keeper.leavers.news.receive()
                assert keeper.leavers.gone(gone.attempt)
                assert await keeper.knocks.receive() is gone
                assert (await keeper.knocks.receive()).name == "Moss"


def a_knock(client: Client, supporter: Supporter, attempt: bytes) -> bytes:
    """A cell with a Hello that nobody waits behind."""
    reply = pack_address(QueueAddress(supporter.contact.doors[0].node, b"q" * 16, b"s" * 32))
    knock = Knock(client.provider.candidate(), client.rng.bytes, (reply,), name="River", attempt=attempt)
    return knock.cell(supporter.contact.contact)


async def append(client: Client, door: QueueAddress, cell: bytes) -> None:
    async with client.paths.path("door", door.node) as path, client.queues_over(path) as queues:
        await queues.append(door.queue, [cell])


async def test_that_they_left_may_be_read_before_their_hello_at_another_door(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada, client, attempt = a_supporter(street, doors=2), leaving(street.client("river")), b"a" * 16
            over = seal_at_door(OfferOver(attempt, LEFT), ada.contact.contact)
            async with ada.at_the_door() as keeper:
                await keeper.wait_doors_up(2)
                await append(client, ada.contact.doors[1], over)
                await append(client, ada.contact.doors[1], a_knock(client, ada, b"b" * 16))
                assert (await keeper.knocks.receive()).attempt == b"b" * 16  # so what came before it was read
                await append(client, ada.contact.doors[0], a_knock(client, ada, attempt))
                async with open_session(street.client("moss"), ada.contact, me=MOSS):
                    assert (await keeper.knocks.receive()).name == "Moss"


async def test_a_door_whose_node_is_away_is_spoken_for_at_another(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street, doors=2)
            async with ada.at_the_door() as keeper:
                await keeper.wait_doors_up(2)
                async with open_session(leaving(street.client("river")), ada.contact, me=RIVER) as session:
                    knock = await keeper.knocks.receive()
                    held = await until(session, HelloHeld)
                    street.house(held.node).die()
                assert await keeper.leavers.news.receive() is knock


async def test_only_who_knows_the_attempt_ends_a_knock_and_only_by_leaving(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada, river = a_supporter(street), leaving(street.client("river"))
            async with ada.at_the_door() as keeper, open_session(river, ada.contact, me=RIVER) as session:
                knock = await keeper.knocks.receive()
                for over in (OfferOver(b"x" * 16, LEFT), OfferOver(knock.attempt, ANSWERED)):
                    cell = seal_at_door(over, ada.contact.contact)
                    await append(street.client("stranger"), ada.contact.doors[0], cell)
                async with open_session(street.client("moss"), ada.contact, me=MOSS):
                    await keeper.knocks.receive()  # both were read by now
                    with pytest.raises(trio.WouldBlock):
                        keeper.leavers.news.receive_nowait()
                    await keeper.accept(knock)
                    await session.wait_established()


def dark(street: Street, keep: QueueAddress) -> None:
    """Every node dies but the door's: no answer reaches anybody."""
    for house in street.houses:
        if house.address.peer_id != keep.node.peer_id:
            house.die()


def elsewhere(client: Client, door: QueueAddress) -> None:
    """Its queues are at other nodes than the door."""
    nodes = [each for each in client.queue_nodes() if each.address != door.node]
    client.queue_nodes = lambda: nodes


async def test_a_yes_that_crosses_with_the_leaving_ends_at_both_sides(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada, river = a_supporter(street), leaving(street.client("river"))
            (door,) = ada.contact.doors
            elsewhere(river, door)
            async with ada.at_the_door() as keeper:
                async with open_session(river, ada.contact, me=RIVER) as session:
                    knock = await keeper.knocks.receive()
                    dark(street, door)
                    talk = await keeper.accept(knock)
                    assert not session.established
                assert (await until(talk, Left)).name == "River"
                assert (await until(talk, Closed)).why == "peer left"


async def test_a_guest_who_left_while_the_host_let_them_in_is_out_of_the_room(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada, river = a_supporter(street), leaving(street.client("river"))
            (door,) = ada.contact.doors
            elsewhere(river, door)
            with_log = [each for each in ada.client.queue_nodes() if each.address == door.node]
            ada.client.queue_nodes = lambda: with_log
            async with ada.at_the_door() as keeper, host_room(ada.client, key=ada.key, me=ADA) as room:
                async with join_room(river, ada.contact, b"g" * 32, me=RIVER) as guest:
                    knock = await keeper.knocks.receive()
                    dark(street, door)
                    await room.admit(knock, keeper)
                    await until(room, Joined, name="River")
                    assert not guest.established
                assert (await until(room, Left, name="River")).why == "left"
                assert len(room.people) == 1
