"""Nodes that relay and nodes that are relayed to, as children, and clients with an address of their own."""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio

from support.hosts import ECHO, ECHO_FRAME, LOOPBACK, LOOPBACK_WS, PATIENCE, Ready, a_host, echo
from support.processes import Child, running
from warmline.client.routes import Path, Routes
from warmline.env import SystemClock, SystemRng
from warmline.net import inbound
from warmline.net.host import Libp2pHost
from warmline.net.relay import Relay, open_relay
from warmline_protocol.circuit_table import CircuitLimits
from warmline_protocol.records.node import NodeAddress

LOOK = "/warmline/test/look/1"
STATISTICS = "/warmline/test/relay-statistics/1"


async def relay_child(
    ready: Ready, *, known: dict[str, list[str]], limits: dict[str, Any] | None = None, log: str = "INFO"
) -> None:
    """A node for another process: relays to ``known``, accepts circuits, echoes, and shows what it holds."""
    logging.basicConfig(stream=sys.stderr, level=log)
    async with a_host(listen=(LOOPBACK, LOOPBACK_WS)) as host, relaying(host, known, **(limits or {})) as relay:
        host.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=32)

        async def look(channel: Any) -> None:
            await channel.receive()
            await channel.send(json.dumps(_holdings(host)).encode())

        async def statistics(channel: Any) -> None:
            await channel.receive()
            numbers = relay.statistics()
            await channel.send(json.dumps({name: getattr(numbers, name) for name in numbers.__slots__}).encode())

        host.serve(LOOK, look, max_frame=1 << 20, max_channels_per_peer=4)
        host.serve(STATISTICS, statistics, max_frame=1 << 20, max_channels_per_peer=4)
        ready({"peer": host.peer_id, "addrs": host.addrs()})
        await trio.sleep_forever()


def _holdings(host: Libp2pHost) -> dict[str, Any]:
    """The whole peerstore and connection table, as text."""
    store: Any = host.raw.get_peerstore()
    swarm: Any = host.raw.get_network()
    return {
        "peers": {
            str(peer): {name: repr(value) for name, value in vars(data).items()}
            for peer, data in store.peer_data_map.items()
        },
        "rest": {name: repr(value) for name, value in vars(store).items() if name != "peer_data_map"},
        "connections": [
            [
                str(peer),
                [str(addr) for addr in connection.get_transport_addresses()],
                connection.get_connection_type().value,
            ]
            for peer, connections in swarm.connections.items()
            for connection in connections
        ],
    }


def relaying(host: Libp2pHost, known: dict[str, Any], *, subnet_of: Any = inbound.subnet_of, **limits: Any) -> Any:
    """:func:`open_relay` with a dictionary as its directory of node records."""
    return open_relay(
        host,
        locate=lambda peer: tuple(known[peer]) if peer in known else None,
        limits=CircuitLimits(**limits),
        clock=SystemClock(),
        subnet_of=subnet_of,
    )


@asynccontextmanager
async def a_pair(**limits: Any) -> AsyncIterator[tuple[Libp2pHost, Relay, Libp2pHost, Relay]]:
    """An entry and a destination in this process: (entry host, its relay, destination host, its relay)."""
    async with a_host() as entry, a_host() as node:
        node.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=32)
        known = {node.peer_id: node.addrs()}
        async with relaying(entry, known, **limits) as relay, relaying(node, {}, **limits) as end:
            yield entry, relay, node, end


def address(of: Libp2pHost | Child) -> NodeAddress:
    """The node address of a host or of a child."""
    if isinstance(of, Child):
        return NodeAddress(of.facts["peer"], tuple(of.facts["addrs"]))
    return NodeAddress(of.peer_id, of.addrs())


def routes_through(*entries: Libp2pHost | Child) -> Routes:
    """A client's routes, first address of each entry only."""
    return Routes(tuple(address(entry).addrs[0] for entry in entries), rng=SystemRng(), clock=SystemClock())


@contextmanager
def two_nodes(limits: dict[str, Any] | None = None, log: str = "INFO") -> Iterator[tuple[Child, Child]]:
    """An entry and a destination, each a process."""
    with running(__file__, "relay_child", known={}, log=log) as node:
        known = {node.facts["peer"]: node.facts["addrs"]}
        with running(__file__, "relay_child", known=known, limits=limits, log=log) as entry:
            yield entry, node


async def echoes(path: Path, data: bytes = b"are you there?") -> None:
    """One frame there and back over a path."""
    with trio.fail_after(PATIENCE):
        async with await path.open_channel(ECHO, max_frame=ECHO_FRAME) as channel:
            await channel.send(data)
            assert await channel.receive() == data


async def is_relayed_to(entry: Child, node: Child) -> None:
    """An honest client reaches ``node`` through ``entry`` and is echoed."""
    with trio.fail_after(PATIENCE):
        async with routes_through(entry).path("honest", address(node)) as path:
            await echoes(path)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what the code under test does in a task of its own and announces to nobody."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is no event, and none is wanted in production
            await trio.sleep(0.01)


async def ask(child: Child, protocol: str) -> dict[str, Any]:
    """Ask a child directly for what it shows over ``protocol``."""
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as client:
            peer = await client.connect(child.facts["addrs"][0])
            async with await client.open_channel(peer, protocol, max_frame=1 << 20) as channel:
                await channel.send(b"?")
                answer: dict[str, Any] = json.loads(await channel.receive())
                return answer


def dial_from(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Make this process dial from ``source``, one of the sixteen million addresses of loopback."""
    monkeypatch.setattr(trio, "open_tcp_stream", functools.partial(trio.open_tcp_stream, local_address=source))


def memory_of(child: Child) -> Iterator[bytes]:
    """Every readable and writable byte of a process, region by region."""
    pid = child.process.pid
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if not mode.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(start)
                yield memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
