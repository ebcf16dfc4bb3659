"""The library's host, built from parts we chose, and the seam through which the rest of ``net`` touches it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import trio
from libp2p import new_host
from libp2p.abc import INetConn, INetStream, INetwork, INotifee, ITransport
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify.identify import ID as IDENTIFY_ID
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.rcmgr.manager import ResourceLimits, ResourceManager
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.exceptions import MuxedStreamEOF
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_ID
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr

from warmline.net import patches
from warmline.net.addresses import to_tell
from warmline.net.muxer import BoundedYamux, with_pings
from warmline.net.peerstore import BoundedPeerStore
from warmline_protocol.errors import UnreachableError
from warmline_protocol.keys import SigningKey

log = logging.getLogger("warmline.net")


class SilentAutoConnector:
    """In place of network/auto_connector.py, which dials every peer it has heard of up to a watermark."""

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    async def run_background_task(self, nursery: trio.Nursery) -> None:
        return

    async def maybe_connect(self) -> None:
        return

    def record_disconnect(self, peer_id: object) -> None:
        return

    def set_discovery_callback(self, callback: object) -> None:
        return


def build_raw(
    key: SigningKey,
    *,
    announce: Sequence[str],
    max_connections: int,
    max_connections_per_peer: int,
    max_streams: int,
    max_streams_per_connection: int,
    dial_timeout: float,
    ping_every: float,
    ping_deadline: float,
    private: bool,
    transports: Sequence[ITransport] | None,
) -> BasicHost:
    """A library host that is not running yet; ``patches.apply`` is included."""
    patches.apply()
    pair = create_new_key_pair(key.seed)
    resources = ResourceManager(
        limits=ResourceLimits(max_connections, max_memory_mb=1 << 20, max_streams=max_streams),
        enable_metrics=False,
        enable_connection_tracking=False,
        enable_memory_limits=False,
        enable_circuit_breaker=False,
        # Reaching a limit would lower it, for everybody, when somebody hostile reaches it.
        enable_graceful_degradation=False,
        enable_rate_limiting=False,
    )
    store = BoundedPeerStore()
    raw = new_host(
        key_pair=pair,
        sec_opt={NOISE_ID: NoiseTransport(pair, noise_privkey=create_noise_key_pair().private_key)},
        muxer_opt={TProtocol(YAMUX_ID): BoundedYamux},
        transports=transports,
        enable_tcp=True,
        enable_websocket=True,
        resource_manager=resources,
        peerstore_opt=store,
        disable_identify_address_discovery=True,
        addrs_factory=_announcing([Multiaddr(addr) for addr in announce]),
        connection_config=ConnectionConfig(
            max_connections=max_connections,
            min_connections=0,
            low_watermark=0,
            high_watermark=max_connections,
            max_connections_per_peer=max_connections_per_peer,
            dial_timeout=dial_timeout,
            inbound_upgrade_timeout=dial_timeout,
            outbound_upgrade_timeout=dial_timeout,
        ),
    )
    host = cast(BasicHost, raw)
    swarm = cast(Any, host.get_network())
    store.in_use = lambda peer: peer in swarm.connections
    # Retrying is ours to decide (liveness.py); the default dials a dead address four times.
    swarm.retry_config = RetryConfig(max_retries=0)
    swarm.auto_connector = SilentAutoConnector()
    # Without this the library queues streams above the cap for ever instead of refusing them.
    swarm.set_resource_manager(resources, enable_stream_semaphore=False)
    swarm.max_streams_per_connection = max_streams_per_connection  # read by patches.bound_streams
    _use_muxer(swarm.upgrader.muxer_multistream, with_pings(ping_every, ping_deadline))
    if private:
        _hush(host)
    return host


def _announcing(announce: list[Multiaddr]) -> Callable[[list[Multiaddr]], list[Multiaddr]]:
    """What identify and :meth:`Libp2pHost.addrs` tell: what the operator said, or where we listen; TCP first."""

    def addrs(listening: list[Multiaddr]) -> list[Multiaddr]:
        return announce or to_tell(listening)

    return addrs


def _use_muxer(multistream: Any, muxer: type[BoundedYamux]) -> None:
    """stream_muxer/muxer_multistream.py ``new_conn`` negotiates a muxer class and then builds its own Yamux."""

    async def new_conn(conn: Any, peer_id: ID) -> Any:
        protocol, _ = await multistream._selector.select(conn, conn.is_initiator, multistream.negotiate_timeout)
        muxed = muxer(conn, peer_id, is_initiator=conn.is_initiator)
        return multistream._annotate_connection(muxed, conn, protocol)

    multistream.new_conn = new_conn


def _hush(host: BasicHost) -> None:
    """Leave only ping and an identify that names nothing but protocols and the throw-away key."""
    handlers = host.get_mux().handlers
    handlers[IDENTIFY_ID] = _bare_identify(host)
    handlers.pop(ID_PUSH, None)
    swarm = cast(Any, host.get_network())
    swarm.notifees = [n for n in swarm.notifees if type(n).__name__ != "_IdentifyNotifee"]
    host._schedule_identify = _no_identify  # type: ignore[method-assign]


def _no_identify(peer_id: object, *, reason: str) -> None:
    return


def _bare_identify(host: BasicHost) -> Callable[[INetStream], Awaitable[None]]:
    async def answer(stream: INetStream) -> None:
        says = Identify(
            protocol_version="ipfs/0.1.0",
            agent_version="warmline",
            public_key=host.get_public_key().serialize(),
            protocols=[str(p) for p in host.get_mux().get_protocols() if p],
        )
        await stream.write(encode_varint_prefixed(says.SerializeToString()))
        await stream.close()

    return answer


class LibraryStream:
    """A library stream as :class:`warmline.net.streams.ByteStream`: one error type for all of its many."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream

    async def read(self, size: int) -> bytes:
        try:
            return await self._stream.read(size)
        except (StreamEOF, MuxedStreamEOF) as error:
            self._refuse_if_dead(error)
            return b""
        except Exception as error:  # noqa: BLE001 - every class the library raises here means that the stream is gone
            raise _gone(error) from None

    def _refuse_if_dead(self, error: Exception) -> None:
        # stream_muxer/yamux: a reset, and the death of the connection, are read as an end of stream, because the
        # stream's entry is gone before its reader wakes. A clean end they are not.
        muxed = cast(Any, self._stream.muxed_conn)
        shutting_down = getattr(muxed, "event_shutting_down", None)
        was_reset = getattr(cast(Any, self._stream).muxed_stream, "reset_received", False)
        if was_reset or muxed.is_closed or (shutting_down is not None and shutting_down.is_set()):
            raise _gone(error) from None

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except Exception as error:  # noqa: BLE001 - a class per muxer, as in read
            raise _gone(error) from None

    async def close_write(self) -> None:
        try:
            await cast(Any, self._stream).close_write()
        except Exception as error:  # noqa: BLE001 - a class per muxer, as in read
            raise _gone(error) from None

    async def finish(self) -> None:
        try:
            await self._stream.close()
        except Exception as error:  # noqa: BLE001 - both directions have ended; there is nothing left to lose
            log.debug("forgetting a stream: %s", type(error).__name__)

    async def reset(self) -> None:
        try:
            await self._stream.reset()
        except Exception as error:  # noqa: BLE001 - a reset of what is gone already
            log.debug("resetting a stream: %s", type(error).__name__)


def _gone(error: Exception) -> UnreachableError:
    return UnreachableError(f"the stream to the other side is gone ({type(error).__name__})")


class PeerWatch(INotifee):
    """Tells when a peer's first connection opens and its last one closes."""

    def __init__(self, changed: Callable[[str, bool], None]) -> None:
        self._changed = changed
        self._connected: set[str] = set()

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        peer = str(cast(Any, conn.muxed_conn).peer_id)
        if peer not in self._connected:
            self._connected.add(peer)
            self._changed(peer, True)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        peer_id = cast(Any, conn.muxed_conn).peer_id
        if str(peer_id) in self._connected and peer_id not in cast(Any, network).connections:
            self._connected.discard(str(peer_id))
            self._changed(str(peer_id), False)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        return

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        return

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        return

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        return
