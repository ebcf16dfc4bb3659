"""The simulation's seam: the same host on connections in memory, under Trio's mock clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p.abc import ConnectionType, IListener, IMuxedConn, IMuxedStream, ITransport
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamEOF, MuxedStreamReset
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr
from trio.testing import MockClock

from support.hosts import ECHO, ECHO_FRAME, echo, key_of
from warmline.env import SeededRng, TrioClock
from warmline.net.host import HostSettings, Libp2pHost, open_host
from warmline.net.liveness import KeeperSettings, open_keeper

DELAY = 0.05


class MemoryStream(IMuxedStream):
    def __init__(self, connection: MemoryConnection) -> None:
        self.muxed_conn = connection
        self._send, self.incoming = trio.open_memory_channel[bytes](1000)
        self.other: MemoryStream = self
        self._left = b""
        self.reset_received = False

    async def read(self, n: int | None = None) -> bytes:
        while not self._left:
            if self.reset_received:
                raise MuxedStreamReset
            try:
                self._left = await self.incoming.receive()
            except trio.EndOfChannel:
                raise (MuxedStreamReset if self.reset_received else MuxedStreamEOF) from None
        piece = self._left if n is None or n < 0 else self._left[:n]
        self._left = self._left[len(piece) :]
        return piece

    async def write(self, data: bytes) -> None:
        await trio.sleep(DELAY)
        try:
            await self.other._send.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise MuxedStreamReset from None

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self.other._send.close()

    async def reset(self) -> None:
        await trio.lowlevel.checkpoint()
        for end in (self, self.other):
            end.reset_received = True
            end._send.close()

    def set_deadline(self, ttl: int) -> bool:
        return False

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.muxed_conn.get_remote_address()

    async def __aenter__(self) -> MemoryStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.move_on_after(1, shield=True):
            await self.close()


class MemoryConnection(IMuxedConn):
    def __init__(self, peer: ID, initiator: bool) -> None:
        self.peer_id = peer
        self.event_started = trio.Event()
        self.other: MemoryConnection = self
        self._accepted, self._streams = trio.open_memory_channel[MemoryStream](1000)
        self._closed = False
        self._initiator = initiator
        self.on_close: Any = None

    @property
    def is_initiator(self) -> bool:
        return self._initiator

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def is_established(self) -> bool:
        return not self._closed

    async def start(self) -> None:
        self.event_started.set()
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        for end in (self, self.other):
            if not end._closed:
                end._closed = True
                end._accepted.close()
        await trio.lowlevel.checkpoint()

    async def open_stream(self) -> IMuxedStream:
        mine, theirs = MemoryStream(self), MemoryStream(self.other)
        mine.other, theirs.other = theirs, mine
        await self.other._accepted.send(theirs)
        return mine

    async def accept_stream(self) -> IMuxedStream:
        try:
            return await self._streams.receive()
        except trio.EndOfChannel:
            raise MuxedConnUnavailable from None

    def get_remote_address(self) -> tuple[str, int] | None:
        return "10.0.0.1", 4001

    def get_transport_addresses(self) -> list[Multiaddr]:
        return []

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT


class MemoryTransport(ITransport):
    """All hosts of one test share ``listeners``, from address to (peer, listener)."""

    def __init__(self, listeners: dict[str, tuple[ID, MemoryListener]], me: ID) -> None:
        self.listeners, self.me = listeners, me

    def protocols(self) -> list[str]:
        return ["ip4", "tcp"]

    def can_dial(self, maddr: Multiaddr) -> bool:
        return True

    def can_listen(self, maddr: Multiaddr) -> bool:
        return True

    async def dial(self, maddr: Multiaddr) -> Any:
        await trio.sleep(5 * DELAY)
        if (found := self.listeners.get(str(maddr).split("/p2p/")[0])) is None:
            raise OpenConnectionError("nobody there")
        peer, listener = found
        mine, theirs = MemoryConnection(peer, True), MemoryConnection(self.me, False)
        mine.other, theirs.other = theirs, mine
        listener.background_nursery.start_soon(listener.handler, theirs)
        return mine

    def create_listener(self, handler: Any) -> IListener:
        return MemoryListener(self, handler)


class MemoryListener(IListener):
    background_nursery: trio.Nursery

    def __init__(self, transport: MemoryTransport, handler: Any) -> None:
        self.transport, self.handler = transport, handler
        self.at: list[Multiaddr] = []

    async def listen(self, maddr: Multiaddr) -> None:
        self.at.append(maddr)
        self.transport.listeners[str(maddr)] = (self.transport.me, self)

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        return tuple(self.at)

    async def close(self) -> None:
        for maddr in self.at:
            self.transport.listeners.pop(str(maddr), None)


@asynccontextmanager
async def simulated(listeners: dict[str, Any], number: int) -> AsyncIterator[Libp2pHost]:
    key = key_of(f"simulated {number}")
    settings = HostSettings(listen=(f"/ip4/10.0.0.{number}/tcp/4001",))
    transport = MemoryTransport(listeners, ID.from_string(key.peer_id))
    rng = SeededRng(number)
    async with open_host(settings, key=key, rng=rng, clock=TrioClock(), transports=[transport]) as host:
        yield host


async def test_hosts_meet_in_memory_and_in_virtual_time(autojump_clock: MockClock) -> None:
    listeners: dict[str, Any] = {}
    async with simulated(listeners, 1) as node, simulated(listeners, 2) as other:
        node.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=4)
        peer = await other.connect(node.addrs()[0])
        assert (peer, other.peers()) == (node.peer_id, (node.peer_id,))
        async with await other.open_channel(peer, ECHO, max_frame=ECHO_FRAME) as channel:
            before = trio.current_time()
            await channel.send(b"hello")
            assert await channel.receive() == b"hello"
            assert trio.current_time() - before == pytest.approx(2 * DELAY)
        assert node.gate.open_connections() == 1


async def test_a_crash_and_a_restart_are_noticed(autojump_clock: MockClock) -> None:
    listeners: dict[str, Any] = {}
    address = f"/ip4/10.0.0.1/tcp/4001/p2p/{key_of('simulated 1').peer_id}"
    async with simulated(listeners, 2) as other:
        settings = KeeperSettings(degree=1)
        async with open_keeper(other, settings, candidates=lambda: (address,), rng=SeededRng(9)) as keeper:
            for _ in range(2):
                async with simulated(listeners, 1):
                    with trio.fail_after(120):
                        await keeper.wait_degree(1)
                await trio.sleep(5)
                assert keeper.degree == 0
