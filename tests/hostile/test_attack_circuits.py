"""Attacks by circuits: they cost their sender no address, so a node must not run out of anything for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from support.hosts import ECHO, ECHO_FRAME, PATIENCE, a_host, echo, is_served
from support.relays import relaying
from warmline.net.circuit import dial_through
from warmline.net.host import Libp2pHost
from warmline.net.relay import Relay
from warmline_protocol.errors import WarmlineError


@asynccontextmanager
async def a_node(
    known: dict[str, tuple[str, ...]], *, max_connections: int = 512, **limits: int
) -> AsyncIterator[tuple[Libp2pHost, Relay]]:
    """A node that echoes and accepts circuits; ``known`` are the node records that it has."""
    async with a_host(max_connections=max_connections, max_inbound=max_connections - 1) as host:
        host.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=32)
        async with relaying(host, known, **limits) as relay:
            yield host, relay


async def flood(entry: Libp2pHost, node: Libp2pHost, count: int, *, until: trio.Event, ready: trio.Event) -> None:
    """So many throw-away clients with a circuit each, kept open until told otherwise."""

    async def one(done: trio.Event) -> None:
        async with a_host(listen=(), private=True) as client:
            try:
                await dial_through(client, await client.connect(entry.addrs()[0]), node.peer_id)
            except WarmlineError:
                done.set()
                return
            done.set()
            await until.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            done = trio.Event()
            nursery.start_soon(one, done)
            await done.wait()
        ready.set()


async def test_circuits_do_not_take_the_places_of_connections() -> None:
    """Both were counted together: 512 circuits over two connections, and a node refused everybody."""
    async with (
        a_node({}, max_connections=6) as (node, relay),
        a_host() as entry,
        relaying(entry, {node.peer_id: node.addrs()}),
        trio.open_nursery() as nursery,
    ):
        until, ready = trio.Event(), trio.Event()
        nursery.start_soon(partial(flood, entry, node, 10, until=until, ready=ready))
        with trio.fail_after(PATIENCE):
            await ready.wait()
            assert relay.statistics().accepted == 10
            await is_served(node.addrs()[0])
        until.set()


async def test_relays_that_nobody_knows_leave_places_for_those_with_a_record() -> None:
    """Anybody can pose as a relay, under any number of names; all of them share as one."""
    async with (
        a_host() as known,
        a_host() as first,
        a_host() as second,
        a_node({known.peer_id: known.addrs()}, in_total=8, in_per_relay=8) as (node, relay),
        relaying(known, where := {node.peer_id: node.addrs()}),
        relaying(first, where),
        relaying(second, where),
        trio.open_nursery() as nursery,
    ):
        until = trio.Event()
        for entry, count, accepted in ((first, 6, 4), (second, 6, 4), (known, 2, 6)):
            ready = trio.Event()
            nursery.start_soon(partial(flood, entry, node, count, until=until, ready=ready))
            with trio.fail_after(PATIENCE):
                await ready.wait()
            assert relay.statistics().accepted == accepted
        until.set()
