"""One way to open a libp2p host, safe by construction.

Noise and Yamux only: the library's own defaults accept plaintext and SECIO. TCP and WebSocket are always dialled,
whether or not the host listens. Nothing dials by itself (the library's auto-connector is taken out; see
:mod:`warmline.net.liveness`), nothing announces itself (no mDNS, UPnP, AutoTLS, DCUtR), and closing is part of the
same block, because leaving the library's scope does not close sockets.

A *private* host is the client's routing host of the design: it listens nowhere, answers only ping and an identify
that says nothing, pushes nothing, and opens channels only to peers it was told to connect to.
"""

from __future__ import annotations

import errno
import logging
import socket
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import trio
from libp2p.abc import INetStream, ITransport
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from multiaddr import Multiaddr

from warmline.env import Clock, Rng
from warmline.net.api import Handler, PeerChange
from warmline.net.inbound import InboundGate
from warmline.net.names import resolve
from warmline.net.peerstore import BoundedPeerStore
from warmline.net.rawhost import LibraryStream, PeerWatch, build_raw
from warmline.net.streams import Channel
from warmline.scopes import sole_error
from warmline_protocol.errors import (
    ConfigError,
    DeadlineError,
    MalformedError,
    UnreachableError,
    UsageError,
    WarmlineError,
)
from warmline_protocol.keys import SigningKey
from warmline_protocol.limits import CIRCUITS_IN_MAX, MESSAGE_MAX
from warmline_protocol.networks import is_global

log = logging.getLogger("warmline.net")

OPEN_DEADLINE: Final = 15.0
"""Seconds to open a channel, the negotiation of its protocol included."""
KNOWN_FOR: Final = 2 * 3600
"""Seconds that an address which worked is kept for dialling again; as long as the library keeps identified ones."""
ADDRS_FOR: Final = 5.0
"""Seconds that :meth:`Libp2pHost.addrs` repeats its answer; interfaces change seldom and it is asked very often."""
CLOSE_DEADLINE: Final = 5.0
"""Seconds for closing all connections when the host ends."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Everything a host is told; counts are per host, times in seconds."""

    listen: tuple[str, ...] = ()
    """Multiaddrs such as ``/ip4/0.0.0.0/tcp/4001`` or ``/ip4/127.0.0.1/tcp/4002/ws``; none for a client."""
    private: bool = False
    announce: tuple[str, ...] = ()
    """Addresses to tell others instead of the ones listened on (behind a proxy or NAT)."""
    max_connections: int = 512
    max_inbound: int = 448
    max_inbound_per_subnet: int = 64
    max_connections_per_peer: int = 3
    max_streams: int = 16_384
    max_streams_per_connection: int = 512
    dial_timeout: float = 10.0
    ping_every: float = 15.0
    ping_deadline: float = 10.0


class Libp2pHost:
    """The :class:`warmline.net.api.Host` of production and simulation alike."""

    def __init__(self, raw: BasicHost, settings: HostSettings, *, rng: Rng, clock: Clock) -> None:
        self.raw = raw
        """The library's host, for gossip, DHT and relay inside ``net`` only."""
        self.settings = settings
        self.rng = rng
        self.clock = clock
        self.peer_id = str(raw.get_id())
        self._frame_caps: dict[str, int] = {}
        self._open: Counter[tuple[str, str]] = Counter()
        self._dialling: dict[str, trio.Lock] = {}
        self._watchers: list[PeerChange] = []
        self._addrs: tuple[str, ...] = ()
        self._addrs_until = 0.0
        self._swarm: Any = raw.get_network()
        self._swarm.register_notifee(PeerWatch(self._peer_changed))
        self.gate = InboundGate(self._swarm, total=settings.max_inbound, per_subnet=settings.max_inbound_per_subnet)
        """Counts of inbound connections, for status and metrics."""

    def addrs(self) -> tuple[str, ...]:
        """Where others can dial this host, each ending in its peer id; TCP before WebSocket."""
        now = trio.current_time()
        if now >= self._addrs_until:
            self._addrs = tuple(map(str, self.raw.get_addrs()))
            # While nothing listens yet there is nothing worth repeating.
            self._addrs_until = now + ADDRS_FOR if self._addrs else now
        return self._addrs

    def peers(self) -> tuple[str, ...]:
        return tuple(sorted(str(peer) for peer in self._swarm.connections))

    def is_connected(self, peer: str) -> bool:
        """Whether a connection to ``peer`` is open."""
        return bool(self._swarm.get_connections(_id(peer)))

    def on_peer_change(self, callback: PeerChange) -> None:
        self._watchers.append(callback)

    async def connect(self, addr: str, *, deadline: float | None = None) -> str:
        """Dial exactly ``addr``, once, unless its peer is connected already; returns the peer id."""
        where, peer = _parse(addr)
        if self.is_connected(peer):
            return peer
        seconds = self.settings.dial_timeout if deadline is None else deadline
        lock = self._dialling.setdefault(peer, trio.Lock())
        try:
            with trio.move_on_after(seconds):
                async with lock:
                    if not self.is_connected(peer):
                        await self._dial(where, peer)
                return peer
        finally:
            if not lock.locked():
                self._dialling.pop(peer, None)
        raise DeadlineError(f"{addr} did not answer within {seconds:g} s")

    async def _dial(self, where: Multiaddr, peer: str) -> None:
        try:
            # On the open network a name may not lead into a private one; named there are only this network's own.
            open_only = any(map(is_global, self.addrs())) and is_global(str(where))
            await self._swarm.dial_addr(await resolve(where, open_only=open_only), _id(peer))
        except UnreachableError:
            raise
        except Exception as error:  # the library raises anything here; its name is all that a person needs
            raise UnreachableError(
                f"no connection to {where} ({type(error).__name__})",
                hint="Check that the node runs there and that the peer id at the end of the address is its own.",
            ) from error
        if not self.settings.private:
            self.raw.get_peerstore().add_addr(_id(peer), where, KNOWN_FOR)

    async def disconnect(self, peer: str) -> None:
        with trio.move_on_after(CLOSE_DEADLINE):
            await self._swarm.close_peer(_id(peer))

    async def open_channel(
        self, peer: str, protocol: str, *, deadline: float | None = None, max_frame: int | None = None
    ) -> Channel:
        """A new channel; a peer that is not connected is dialled only where its address is known."""
        if self.settings.private and not self.is_connected(peer):
            raise UnreachableError(
                f"not connected to {peer}", hint="A private host dials nobody by itself: connect first."
            )
        seconds = OPEN_DEADLINE if deadline is None else deadline
        cap = self._frame_caps.get(protocol, MESSAGE_MAX) if max_frame is None else max_frame
        with trio.move_on_after(seconds):
            stream = await self._new_stream(peer, protocol)
            return Channel(LibraryStream(stream), peer=peer, protocol=protocol, max_frame=cap)
        raise DeadlineError(f"{peer} opened no {protocol} within {seconds:g} s")

    async def _new_stream(self, peer: str, protocol: str) -> INetStream:
        try:
            return await self.raw.new_stream(_id(peer), [TProtocol(protocol)])
        except Exception as error:  # the library raises anything here; its name is all that a person needs
            raise UnreachableError(f"{peer} opened no {protocol} ({type(error).__name__})") from error

    def serve(self, protocol: str, handler: Handler, *, max_frame: int, max_channels_per_peer: int) -> None:
        if self.settings.private:
            raise UsageError(f"a private host serves nothing, not even {protocol}")
        self._frame_caps[protocol] = max_frame

        async def serve_one(stream: INetStream) -> None:
            peer = str(cast(Any, stream.muxed_conn).peer_id)
            via = relay_of(stream)
            channel = Channel(LibraryStream(stream), peer=peer, protocol=protocol, max_frame=max_frame, via=via)
            if self._open[peer, protocol] >= max_channels_per_peer:
                await channel.abort()
                return
            self._open[peer, protocol] += 1
            try:
                await self._supervise(channel, handler)
            finally:
                self._open[peer, protocol] -= 1
                if not self._open[peer, protocol]:
                    del self._open[peer, protocol]

        self.raw.set_stream_handler(TProtocol(protocol), serve_one)

    async def _supervise(self, channel: Channel, handler: Handler) -> None:
        try:
            async with channel:
                await handler(channel)
        except WarmlineError as error:
            log.debug("a channel of %s ended with %s: %s", channel.protocol, type(error).__name__, error)
        except Exception as error:  # noqa: BLE001 - supervised: one channel's failure is that channel's end and no more
            # Where, not what: the text of an unforeseen error may quote what people wrote.
            log.error("a handler of %s failed with %s at %s", channel.protocol, type(error).__name__, _place(error))

    def unserve(self, protocol: str) -> None:
        self.raw.remove_stream_handler(TProtocol(protocol))

    def _peer_changed(self, peer: str, connected: bool) -> None:
        if not connected:
            self._forget_guest(_id(peer))
        for watcher in self._watchers:
            watcher(peer, connected)

    def _forget_guest(self, peer: ID) -> None:
        """Clients' throw-away identities come by the thousand; a peer that told no address leaves no trace."""
        store = cast(BoundedPeerStore, self.raw.get_peerstore())
        try:
            known = bool(store.addrs(peer))
        except PeerStoreError:
            known = False
        if not known:
            store.forget(peer)


@asynccontextmanager
async def open_host(
    settings: HostSettings,
    *,
    key: SigningKey,
    rng: Rng,
    clock: Clock,
    transports: Sequence[ITransport] | None = None,
) -> AsyncIterator[Libp2pHost]:
    """Run a host for the length of the block; ``transports`` is the simulation's seam."""
    listen = [_listen_addr(addr) for addr in settings.listen]
    if settings.private and listen:
        raise ConfigError("a private host has no listen address")
    raw = build_raw(
        key,
        announce=settings.announce,
        # Circuits that end here are connections to the library too, with limits of their own (net/relay): under one
        # limit for both, whoever opens circuits keeps everybody else from connecting.
        max_connections=settings.max_connections + (0 if settings.private else CIRCUITS_IN_MAX),
        max_connections_per_peer=settings.max_connections_per_peer,
        max_streams=settings.max_streams,
        max_streams_per_connection=settings.max_streams_per_connection,
        dial_timeout=settings.dial_timeout,
        ping_every=settings.ping_every,
        ping_deadline=settings.ping_deadline,
        private=settings.private,
        transports=transports,
    )
    host = Libp2pHost(raw, settings, rng=rng, clock=clock)
    swarm: Any = raw.get_network()
    swarm._handle_inbound_connection = host.gate.handle
    with sole_error():
        async with raw.run(listen_addrs=listen):
            try:
                _check_listening(swarm, listen)
                yield host
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_DEADLINE):
                    await _close_all(raw)


def relay_of(stream: INetStream) -> str | None:
    """The peer id of the relay that a stream's connection is a circuit through; None when it is direct."""
    for addr in cast(Any, stream.muxed_conn).get_transport_addresses():
        relay, circuit, _ = str(addr).partition("/p2p-circuit")
        if circuit:
            return relay.rpartition("/p2p/")[2]
    return None


async def _close_all(raw: BasicHost) -> None:
    """Close the connections at the same time: the library sleeps 0.2 s for each, one after another."""
    swarm: Any = raw.get_network()
    async with trio.open_nursery() as nursery:
        for connections in list(swarm.connections.values()):
            for connection in list(connections):
                nursery.start_soon(_close_one, connection)
    await raw.close()


async def _close_one(connection: Any) -> None:
    try:
        await connection.close()
    except Exception as error:  # noqa: BLE001 - closing is best effort; the socket dies with the scope
        log.debug("closing a connection: %s", type(error).__name__)


def _check_listening(swarm: Any, listen: Sequence[Multiaddr]) -> None:
    """The library drops an address it cannot listen on; we say so."""
    for addr in listen:
        if str(addr) not in swarm.listeners:
            raise ConfigError(f"cannot listen on {addr}: {_why_not(addr)}", hint=_remedy(addr))


def _why_not(addr: Multiaddr) -> str:
    host, port = _socket_addr(addr)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            names = {errno.EADDRINUSE: f"port {port} is taken", errno.EACCES: f"port {port} needs privileges"}
            return names.get(error.errno or 0, error.strerror or "not possible")
    return "the address is not one that this host can serve"


def _remedy(addr: Multiaddr) -> str:
    port = _socket_addr(addr)[1]
    return (
        f"Stop the program that uses port {port} (`ss -ltnp 'sport = :{port}'` names it) "
        "or set another port in `listen`; port 0 takes any free one."
    )


def _socket_addr(addr: Multiaddr) -> tuple[str, int]:
    parts = str(addr).split("/")
    return parts[2], int(parts[4])


def _listen_addr(text: str) -> Multiaddr:
    try:
        addr = Multiaddr(text)
        _socket_addr(addr)
    except (ValueError, IndexError, TypeError) as error:
        raise ConfigError(
            f"{text!r} is no address to listen on ({error})",
            hint="Write it like /ip4/0.0.0.0/tcp/4001 or /ip4/127.0.0.1/tcp/4002/ws.",
        ) from None
    return addr


def _parse(text: str) -> tuple[Multiaddr, str]:
    try:
        addr = Multiaddr(text)
        peer = addr.value_for_protocol("p2p")
    except Exception as error:  # noqa: BLE001 - multiaddr raises a class per protocol
        raise MalformedError(f"{text!r} is not an address with a peer id ({error})") from None
    return addr, str(peer)


def _place(error: BaseException) -> str:
    """File and line where ``error`` was raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


def _id(peer: str) -> ID:
    return ID.from_string(peer)
