"""Entry and node as processes of their own: many circuits at once, and what the living notice when one is killed."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio

from support.hosts import ECHO, ECHO_FRAME, PATIENCE
from support.processes import running
from support.relays import STATISTICS, address, ask, echoes, is_relayed_to, routes_through, two_nodes
from support.relays import __file__ as relays_file
from warmline_protocol import limits
from warmline_protocol.errors import ChannelClosed, UnreachableError

PROMPT = 5.0
"""Seconds in which a client must notice that the other end was killed, on a busy machine."""
MANY = 200


async def test_hundreds_of_circuits_to_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two hundred clients share one core here, which no client does elsewhere.
    monkeypatch.setattr(limits, "ENTRY_CONNECT_S", PATIENCE)
    with two_nodes() as (entry, node):
        routes = routes_through(entry)
        arrived = 0
        everyone = trio.Event()
        turn = trio.CapacityLimiter(4)

        async def one(number: int) -> None:
            nonlocal arrived
            async with AsyncExitStack() as stack:
                async with turn:
                    path = await stack.enter_async_context(routes.path(f"client {number}", address(node)))
                await echoes(path, b"first %d" % number)
                arrived += 1
                if arrived == MANY:
                    everyone.set()
                await everyone.wait()
                await echoes(path, b"all at once %d" % number)

        with trio.fail_after(4 * PATIENCE):
            async with trio.open_nursery() as nursery:
                for number in range(MANY):
                    nursery.start_soon(one, number)
                await everyone.wait()
                numbers = await ask(entry, STATISTICS)
                assert numbers["circuits"] == MANY
                assert numbers["destinations"] == 1
        await is_relayed_to(entry, node)


@pytest.mark.parametrize("victim", ["entry", "node"])
async def test_a_kill_is_noticed_at_once(victim: str) -> None:
    with two_nodes() as (entry, node):
        async with routes_through(entry).path("mid-circuit", address(node)) as path:
            channel = await path.open_channel(ECHO, max_frame=ECHO_FRAME)
            await channel.send(b"alive")
            assert await channel.receive() == b"alive"
            (entry if victim == "entry" else node).kill()
            with trio.fail_after(PROMPT):
                with pytest.raises((UnreachableError, ChannelClosed)):
                    await channel.receive()
                await path.wait_closed()
                await path.wait_expiring()
            with pytest.raises(UnreachableError, match="gone"):
                await path.open_channel(ECHO)
        if victim == "node":
            numbers = await ask(entry, STATISTICS)
            assert numbers["circuits"] == 0
            assert numbers["ended"] == {"closed": 1}


async def test_another_entry_takes_over_when_the_first_is_killed() -> None:
    with two_nodes() as (first, node):
        known = {node.facts["peer"]: node.facts["addrs"]}
        with running(relays_file, "relay_child", known=known) as second:
            routes = routes_through(first, second)
            async with routes.path("before", address(node)) as path:
                preferred = path.entry
            dead, alive = (first, second) if first.facts["peer"] == preferred else (second, first)
            dead.kill()
            for purpose in ("after", "and again"):
                async with routes.path(purpose, address(node)) as path:
                    assert path.entry == alive.facts["peer"]
                    await echoes(path)
