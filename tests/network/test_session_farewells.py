"""Goodbyes that no node takes at first: both of the other side's queue nodes are down when somebody leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from support.conversations import PATIENCE, QUICK, Street, a_street, a_supporter, until
from warmline.client.session import Persona, Session, open_session
from warmline.client.session_farewells import FAREWELLS_MAX, Farewells, open_farewells
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.session.events import Closed, Left, TextReceived

RIVER = Persona("River", b"r" * 16)


def houses_to(street: Street, session: Session) -> list[str]:
    """The nodes that keep messages for the other side."""
    return [route.node.peer_id for route in session._routes]


async def goodbye_into_the_dark(street: Street, leaving: Session, staying: Session, why: str) -> None:
    for peer in houses_to(street, leaving):
        street.house(peer).die()
    await leaving.send("into the dark")
    await leaving.aclose(why)
    assert leaving.client.farewells is not None and leaving.client.farewells.waiting == 1
    for house in street.houses:
        house.wake()
    assert (await until(staying, Left)).why == why
    assert (await until(staying, Closed)).why == "peer left"


@pytest.mark.parametrize("why", ["left", "blocked"])
async def test_a_seeker_whose_goodbye_no_node_takes_is_heard_later(tmp_path: Path, why: str) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada, river = a_supporter(street), street.client("river")
            async with (
                ada.at_the_door() as keeper,
                open_farewells(river),
                open_session(river, ada.contact, me=RIVER) as session,
            ):
                talk = await keeper.accept(await keeper.knocks.receive())
                await session.wait_established()
                await session.send("hello")
                await until(talk, TextReceived)
                await goodbye_into_the_dark(street, session, talk, why)
            assert river.farewells is None


async def test_a_supporter_whose_goodbye_no_node_takes_is_heard_later(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada, river = a_supporter(street), street.client("river")
            async with ada.at_the_door() as keeper, open_session(river, ada.contact, me=RIVER) as session:
                talk = await keeper.accept(await keeper.knocks.receive())
                await session.wait_established()
                await session.send("hello")
                await until(talk, TextReceived)
                await goodbye_into_the_dark(street, talk, session, "closed")
                assert talk.outgoing == {}


def nowhere(street: Street) -> QueueAddress:
    """A queue that its node has never heard of."""
    return QueueAddress(street.houses[0].address, b"q" * 16, b"s" * 32)


async def test_goodbyes_that_wait_are_few_and_end_with_the_program(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path, 1) as street:
            street.houses[0].die()
            async with trio.open_nursery() as nursery:
                farewells = Farewells(street.client("river"), nursery)
                for _ in range(2 * FAREWELLS_MAX):
                    farewells.keep([(nowhere(street), (bytes(4096),))])
                assert farewells.waiting == FAREWELLS_MAX
                nursery.cancel_scope.cancel()


async def test_a_goodbye_for_queues_that_are_gone_is_given_up(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path, 1) as street, trio.open_nursery() as nursery:
            farewells = Farewells(street.client("river"), nursery)
            await farewells._say([(nowhere(street), (bytes(4096),))], trio.CancelScope())


async def test_a_goodbye_is_not_tried_for_longer_than_queues_live(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path, 1) as street:
            street.houses[0].die()
            client = street.client("river", replace(QUICK, queue_life_ms=200))
            async with trio.open_nursery() as nursery:  # it ends by itself
                Farewells(client, nursery).keep([(nowhere(street), (bytes(4096),))])
