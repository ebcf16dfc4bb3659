"""Connections in memory as py-libp2p sees them: multiplexed and authenticated already, so no Noise and no Yamux.

``ITransport.dial`` may return an ``IMuxedConn``; the swarm then skips both upgrades by itself (made for QUIC). A dial
takes five round trips, as many as TCP, two negotiations, Noise and Yamux were measured to take.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.abc import ConnectionType, IListener, IMuxedConn, IMuxedStream, ITransport
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from sim.net.links import Endpoint, Net

HANDSHAKE_RTT = 5
WINDOW = 256 * 1024
"""Bytes on the way and unread on one stream, as Yamux allows."""
HEADER = 12 + 18 + 40
"""Bytes around each segment: Yamux header, Noise length and tag, TCP and IP headers."""
NOBODY = 60.0
"""Seconds until a dial into the void fails by itself; dial deadlines are shorter."""


class MemoryStream(IMuxedStream):
    """One end of a stream."""

    def __init__(self, connection: MemoryConnection, number: int) -> None:
        self.muxed_conn: Any = connection
        self.number = number
        self.other: MemoryStream | None = None
        self.reset_received = False
        self._buffer = bytearray()
        self._ended = False
        self._closed = False
        self._unread = 0
        self._on_the_way = 0
        self._changed = trio.Event()

    async def read(self, n: int | None = None) -> bytes:
        while not self._buffer:
            if self.reset_received or not self.muxed_conn.is_open:
                raise MuxedStreamReset
            if self._ended:
                raise MuxedStreamEOF
            await self._wait()
        size = len(self._buffer) if n is None or n < 0 else min(n, len(self._buffer))
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._unread += size
        if self._unread >= WINDOW // 2:
            self._credit()
        return piece

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        for start in range(0, len(data), WINDOW // 4):
            await self._write(bytes(data[start : start + WINDOW // 4]))

    async def _write(self, data: bytes) -> None:
        while self._on_the_way + len(data) > WINDOW and self._may_write():
            await self._wait()
        if not self._may_write():
            raise MuxedStreamClosed if self._closed else MuxedStreamReset
        self._on_the_way += len(data)
        self._post(len(data), lambda other: other.take(data))

    @property
    def send_window(self) -> int:
        """Bytes that a write may take at once; a relay's pump asks."""
        return max(0, WINDOW - self._on_the_way)

    @property
    def send_closed(self) -> bool:
        return not self._may_write()

    def _may_write(self) -> bool:
        return not (self._closed or self.reset_received) and bool(self.muxed_conn.is_open)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._post(0, MemoryStream.end)
            self._forget()

    async def reset(self) -> None:
        if not self.reset_received:
            self._closed = True
            self._post(0, MemoryStream.drop)
            self.drop()

    def take(self, data: bytes) -> None:
        self._buffer += data
        self._notify()

    def end(self) -> None:
        self._ended = True
        self._notify()
        self._forget()

    def drop(self) -> None:
        """The other side, or the connection, is gone."""
        self.reset_received = True
        self._closed = True
        self._notify()
        self._forget()

    def credited(self, size: int) -> None:
        self._on_the_way -= size
        self._notify()

    def _credit(self) -> None:
        size, self._unread = self._unread, 0
        self._post(0, lambda other: other.credited(size))

    def _forget(self) -> None:
        if self._closed and (self._ended or self.reset_received):
            self.muxed_conn.streams.pop(self.number, None)

    def _post(self, size: int, act: Callable[[MemoryStream], None]) -> None:
        if self.muxed_conn.is_open:
            self.muxed_conn.net.post(self.muxed_conn, size + HEADER, lambda: self._arrived(act))

    def _arrived(self, act: Callable[[MemoryStream], None]) -> None:
        # The other end exists by now: its opening was sent first and order is kept.
        if self.other is not None and not self.other.reset_received:
            act(self.other)

    async def _wait(self) -> None:
        self._changed = trio.Event()
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()

    def set_deadline(self, ttl: int) -> bool:
        return False

    def get_remote_address(self) -> tuple[str, int] | None:
        address: tuple[str, int] = self.muxed_conn.get_remote_address()
        return address

    async def __aenter__(self) -> MemoryStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.move_on_after(1, shield=True):
            await self.close()


class MemoryConnection(IMuxedConn):
    """One end of a connection from ``here`` to ``there``."""

    def __init__(self, net: Net, here: Endpoint, there: Endpoint, peer: ID, *, initiator: bool) -> None:
        self.net = net
        self.here = here
        self.there = there
        self.peer_id = peer
        self.event_started = trio.Event()
        self.other: MemoryConnection = self
        self.streams: dict[int, MemoryStream] = {}
        self.last_tick = 0
        self.is_open = True
        self.on_close: Callable[[], Awaitable[None]] | None = None
        self.number = net.number()
        self._initiator = initiator
        self._accepted: deque[MemoryStream] = deque()
        self._changed = trio.Event()
        here.connections[self.number] = self

    @property
    def is_initiator(self) -> bool:
        return self._initiator

    @property
    def is_closed(self) -> bool:
        return not self.is_open

    @property
    def is_established(self) -> bool:
        return self.is_open

    async def start(self) -> None:
        self.event_started.set()

    async def close(self) -> None:
        if self.is_open:
            self.net.post(self, HEADER, self.other.drop)
            self.drop()

    def drop(self) -> None:
        """This end is gone; streams end in the order in which they were opened."""
        if not self.is_open:
            return
        self.is_open = False
        self.net.on_event("drop", self.here.name, self.there.name)
        self.here.connections.pop(self.number, None)
        for stream in list(self.streams.values()):
            stream.drop()
        self._changed.set()

    async def open_stream(self) -> IMuxedStream:
        if not self.is_open:
            raise MuxedConnUnavailable
        mine = self._new_stream()

        def opened() -> None:
            theirs = self.other._new_stream()
            mine.other, theirs.other = theirs, mine
            self.other._accepted.append(theirs)
            self.other._changed.set()

        self.net.post(self, HEADER, opened)
        return mine

    def _new_stream(self) -> MemoryStream:
        number = self.net.number()
        made = self.streams[number] = MemoryStream(self, number)
        return made

    async def accept_stream(self) -> IMuxedStream:
        while not self._accepted:
            if not self.is_open:
                raise MuxedConnUnavailable
            self._changed = trio.Event()
            await self._changed.wait()
        return self._accepted.popleft()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.there.ip, 7400

    def get_transport_addresses(self) -> list[Multiaddr]:
        return [Multiaddr(f"/ip4/{self.there.ip}/tcp/7400")]

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT


class MemoryTransport(ITransport):
    """How one host at ``endpoint`` dials and listens; give it to ``open_host`` or ``build_node``."""

    def __init__(self, net: Net, endpoint: Endpoint, peer_id: str) -> None:
        self.net = net
        self.endpoint = endpoint
        self.peer = ID.from_string(peer_id)

    def protocols(self) -> list[str]:
        return ["ip4", "tcp"]

    def can_dial(self, maddr: Multiaddr) -> bool:
        return True

    def can_listen(self, maddr: Multiaddr) -> bool:
        return True

    async def dial(self, maddr: Multiaddr) -> Any:
        parts = str(maddr).split("/")
        where = parts[2], int(parts[4])
        listener = self.net.listeners.get(where)
        await self._travel(listener)
        if listener is None or listener is not self.net.listeners.get(where):
            raise OpenConnectionError(f"nobody at {maddr}")
        if "p2p" in parts and parts[parts.index("p2p") + 1] != str(listener.transport.peer):
            raise OpenConnectionError(f"somebody else at {maddr}")
        return await self._connect(listener)

    async def _travel(self, listener: MemoryListener | None) -> None:
        """All of the handshake but its last leg."""
        target = self.endpoint if listener is None else listener.transport.endpoint
        if not (self.endpoint.alive and target.alive) or self.net.is_cut(self.endpoint, target):
            await trio.sleep(NOBODY)
            raise OpenConnectionError("no answer")
        one_way = self.net.delay(self.endpoint, target)
        await trio.sleep(_whole(2 * one_way * (HANDSHAKE_RTT if listener else 1) - one_way))
        if self.net.is_cut(self.endpoint, target):
            await trio.sleep(NOBODY)
            raise OpenConnectionError("no answer")

    async def _connect(self, listener: MemoryListener) -> MemoryConnection:
        there = listener.transport.endpoint
        mine = MemoryConnection(self.net, self.endpoint, there, listener.transport.peer, initiator=True)
        theirs = MemoryConnection(self.net, there, self.endpoint, self.peer, initiator=False)
        mine.other, theirs.other = theirs, mine
        self.net.on_event("connect", self.endpoint.name, there.name)
        listener.background_nursery.start_soon(listener.handler, theirs)
        try:
            await trio.sleep(_whole(self.net.delay(self.endpoint, there)))
        except trio.Cancelled:
            mine.drop()
            theirs.drop()
            raise
        return mine

    def create_listener(self, handler: Any) -> IListener:
        return MemoryListener(self, handler)


class MemoryListener(IListener):
    """Where a host takes connections; the swarm gives it ``background_nursery``."""

    background_nursery: trio.Nursery

    def __init__(self, transport: MemoryTransport, handler: Any) -> None:
        self.transport = transport
        self.handler = handler
        self.at: list[Multiaddr] = []

    async def listen(self, maddr: Multiaddr) -> None:
        self.at.append(maddr)
        self.transport.net.listeners[_place(maddr)] = self

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        return tuple(self.at)

    async def close(self) -> None:
        for maddr in self.at:
            if self.transport.net.listeners.get(_place(maddr)) is self:
                del self.transport.net.listeners[_place(maddr)]


def _place(maddr: Multiaddr) -> tuple[str, int]:
    parts = str(maddr).split("/")
    return parts[2], int(parts[4])


def _whole(seconds: float) -> float:
    """Whole milliseconds, so that what happens at one tick happens in one order."""
    return math.ceil(seconds * 1000) / 1000
