"""Every change this project makes to py-libp2p 0.8.1 and trio-websocket 0.12.2, one function each.

The cures live here, and not in forks, because each is a few lines at a seam that upstream could take. Each docstring
names the defect, its file and what it does to a node; ``tests/hostile/test_patches_needed.py`` shows each defect on
the library as shipped, so a new version that no longer has one fails a test here and the patch goes.

The environment switches are in ``warmline/net/__init__.py``: they must be set before ``libp2p`` is imported.
"""

from __future__ import annotations

import logging
import threading  # noqa: TID251 - handed to the library, no thread is started
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

import trio

from warmline.net import muxer, quick, websocket
from warmline.net.peerstore import trim_identify

LIBP2P_VERSION: Final = "0.8.1"
NEGOTIATION_MAX: Final = 1024
"""Bytes of one multistream-select line; protocol ids are far shorter (multistream-select spec: 64 KiB at most)."""
READS_MAX: Final = 4096
"""Partial reads that one exact read may take."""
SWEEP_EVERY: Final = 1000
"""Additions to a cache of seen messages between two sweeps of what has expired."""

log = logging.getLogger("warmline.net")
_applied = False


def apply() -> None:
    """Apply every patch once; cheap to call again."""
    global _applied
    if _applied:
        return
    _applied = True
    quiet_logs()
    dial_without_delay()
    listen_exclusively()
    contain_websocket_server()
    bound_negotiation()
    bound_identify()
    bound_streams()
    muxer.use_patient_streams()
    contain_connections()
    read_in_small_pieces()
    read_lengths_from_the_buffer()
    find_parent_task_fast()
    sweep_caches_without_threads()
    lock_without_yielding()
    read_ahead()
    credit_by_halves()
    close_without_pauses()


def _set(owner: Any, name: str, value: object) -> None:
    """Replace one name of the library; the name must exist, or the patch has lost its object."""
    getattr(owner, name)
    setattr(owner, name, value)


def quiet_logs() -> None:
    """libp2p/utils/logging.py leaves no handler, so Python prints peers' addresses to stderr at WARNING;
    network/connection/swarm_connection.py logs through the root logger, which configures it on first use.

    Library records go to ``warmline.net.library`` at DEBUG, whatever level they claim.
    """
    import libp2p  # noqa: F401  # its import configures logging once; ours must come after
    from libp2p.network.connection import swarm_connection

    library = logging.getLogger("libp2p")
    for handler in library.handlers[:]:
        library.removeHandler(handler)
    library.addHandler(_Quiet())
    library.setLevel(logging.WARNING)
    library.propagate = False
    for name in ("trio_websocket", "trio-websocket", "multiaddr", "trio.serve_listeners"):
        noisy = logging.getLogger(name)
        noisy.addHandler(_Quiet())
        noisy.propagate = False
    _set(swarm_connection, "logging", logging.getLogger("libp2p.network.connection"))


class _Quiet(logging.Handler):
    """Hands a library's record on at DEBUG, so that nothing above DEBUG can name an address."""

    _log = logging.getLogger("warmline.net.library")

    def emit(self, record: logging.LogRecord) -> None:
        if self._log.isEnabledFor(logging.DEBUG):
            self._log.debug("%s: %s", record.name, record.getMessage())


def dial_without_delay() -> None:
    """network/swarm.py:92: every dial sleeps 250 ms for happy eyeballs, also after it has succeeded."""
    from libp2p.network import swarm

    _set(swarm, "_HAPPY_EYEBALLS_DELAY", 0)


def listen_exclusively() -> None:
    """transport/tcp/tcp.py ``_set_reuse_flags``: SO_REUSEPORT on listeners, so that a second process on a taken
    port starts without error and silently takes half of the first one's connections. It serves hole punching only,
    which we do not do.
    """
    import socket

    from libp2p.transport.tcp import tcp

    def exclusive(sock: Any) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    _set(tcp, "_set_reuse_flags", exclusive)


def contain_websocket_server() -> None:
    """trio_websocket/_impl.py ``WebSocketServer._handle_connection``: ``ConnectionClosed`` escapes, for instance
    after a plain ``GET /`` and a TCP reset, and libp2p runs the server as a system task: the whole process ends in
    ``TrioInternalError``. A handshake may also take 60 s, so may a goodbye, and there may be any number of both.
    """
    import trio_websocket._impl as impl

    server = impl.WebSocketServer
    inner = server._handle_connection
    construct = server.__init__

    async def handle(self: Any, stream: Any) -> None:
        with self._waiting.place(stream) as admitted:
            if not admitted:
                await trio.aclose_forcefully(stream)
                return
            try:
                await inner(self, stream)
            except* Exception as errors:  # noqa: BLE001 - one client's mess must not end the process; cancellation passes
                log.debug("a WebSocket connection was dropped: %s", type(errors.exceptions[0]).__name__)

    def limited(self: Any, *args: Any, **options: Any) -> None:
        construct(self, *args, **options)
        self._waiting = websocket.WaitingRoom()
        self._handler = self._waiting.leaving(self._handler)
        self._connect_timeout = min(self._connect_timeout, websocket.HANDSHAKE)
        self._disconnect_timeout = min(self._disconnect_timeout, websocket.GOODBYE)

    _set(server, "_handle_connection", handle)
    _set(server, "__init__", limited)


def bound_negotiation() -> None:
    """protocol_muxer/multiselect_communicator.py reads lines of any announced length: a stranger can make a node
    buffer what it can send in the ten seconds before the handshake times out.
    """
    from libp2p.exceptions import ParseError
    from libp2p.protocol_muxer import multiselect_communicator
    from libp2p.utils.varint import read_varint_prefixed_bytes_limited

    async def read_delim(reader: Any) -> bytes:
        line = await read_varint_prefixed_bytes_limited(reader, NEGOTIATION_MAX)
        if line[-1:] != b"\n":
            raise ParseError("a negotiation line without its end")
        return bytes(line[:-1])

    _set(multiselect_communicator, "read_delim", read_delim)


def bound_identify() -> None:
    """identity/update.py stores 1,000 addresses and any number of protocols of every stranger (see peerstore.py)."""
    from libp2p.host import basic_host
    from libp2p.identity.identify_push import identify_push

    store = basic_host.update_peerstore_from_identify  # type: ignore[attr-defined]

    async def trimmed(peers: Any, peer_id: Any, message: Any) -> None:
        trim_identify(message)
        await store(peers, peer_id, message)

    _set(basic_host, "update_peerstore_from_identify", trimmed)
    _set(identify_push, "update_peerstore_from_identify", trimmed)


def contain_connections() -> None:
    """network/connection/swarm_connection.py ``start`` and ``_handle_muxed_stream`` and stream_muxer/yamux
    ``Yamux.start``: an exception in one stream's or one connection's task ends the whole host.
    """
    from libp2p.network.connection.swarm_connection import SwarmConn
    from libp2p.stream_muxer.yamux.yamux import Yamux

    _set(SwarmConn, "_handle_muxed_stream", _contained(SwarmConn._handle_muxed_stream, "stream"))
    _set(SwarmConn, "start", _contained(SwarmConn.start, "connection"))
    _set(Yamux, "start", _contained(Yamux.start, "muxer"))


def _contained(method: Callable[..., Awaitable[None]], what: str) -> Callable[..., Awaitable[None]]:
    async def contained(self: Any, *args: Any) -> None:
        try:
            await method(self, *args)
        except Exception as error:  # noqa: BLE001 - the library's own task: nobody above but the host's scope
            log.debug("a %s ended with %s", what, type(error).__name__)
            if what != "stream":
                await _close_quietly(self)

    return contained


async def _close_quietly(connection: Any) -> None:
    try:
        await connection.close()
    except Exception as error:  # noqa: BLE001 - it is broken already; closing is best effort
        log.debug("closing a broken connection: %s", type(error).__name__)


def bound_streams() -> None:
    """network/connection/swarm_connection.py gives every inbound stream a task that waits for a slot of the whole
    host, so one peer that opens streams without end starves all others. Here a connection has its own limit and what
    is above it is reset at once.
    """
    from libp2p.network.connection.swarm_connection import SwarmConn

    inner = SwarmConn._handle_muxed_stream

    async def bounded(self: Any, muxed_stream: Any) -> None:
        limit: int | None = getattr(self.swarm, "max_streams_per_connection", None)
        served: int = getattr(self, "_inbound_streams", 0)
        if limit is not None and served >= limit:
            await muxed_stream.reset()
            return
        self._inbound_streams = served + 1
        try:
            await inner(self, muxed_stream)
        finally:
            self._inbound_streams -= 1

    _set(SwarmConn, "_handle_muxed_stream", bounded)


def read_in_small_pieces() -> None:
    """io/utils.py ``read_exactly`` gives up after 100 partial reads, so a 64 KiB frame that arrives in small
    segments kills its connection. It must stay bounded: the end of some streams is an endless row of empty reads.
    """
    from libp2p.io.utils import read_exactly

    read_exactly.__defaults__ = (READS_MAX,)


def read_lengths_from_the_buffer() -> None:
    """utils/varint.py ``decode_uvarint_from_stream`` asks the stream for one byte at a time, each with locks and a
    window update: a third of the cost of a gossip message. What is buffered already is taken at once.
    """
    from libp2p.exceptions import ParseError
    from libp2p.io.utils import read_exactly
    from libp2p.utils import varint

    async def decode(reader: Any) -> int:
        value = 0
        for shift in range(0, 64, 7):
            byte = _buffered_byte(reader)
            if byte is None:
                byte = (await read_exactly(reader, 1))[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 1 << 64:
                    break
                return value
        raise ParseError("a length of more than 64 bits")

    _set(varint, "decode_uvarint_from_stream", decode)


def _buffered_byte(reader: Any) -> int | None:
    """The next byte of a Yamux stream if it is here already."""
    stream = getattr(reader, "muxed_stream", None)
    if not isinstance(stream, muxer.PatientStream):
        return None
    buffer = stream.conn.stream_buffers.get(stream.stream_id)
    if not buffer:
        return None
    stream._pending_recv_release += 1  # credited with the next real read
    return buffer.pop(0)


def own_dht_protocol(protocol: str) -> None:
    """kad_dht/kad_dht.py ignores ``protocol_prefix``: every module speaks ``/ipfs/kad/1.0.0``, so our DHT would mix
    with the public one. Call before the first ``KadDHT`` is made; one protocol per process.
    """
    from libp2p.custom_types import TProtocol
    from libp2p.kad_dht import common, kad_dht, peer_routing, provider_store, value_store

    for module in (common, kad_dht, peer_routing, provider_store, value_store):
        _set(module, "PROTOCOL_ID", TProtocol(protocol))


def find_parent_task_fast() -> None:
    """tools/anyio_service/trio_manager.py ``_find_parent_task`` walks every task of a service for every new task,
    hence for every received RPC: 3.6 million steps for 35,000 RPCs. Trio tasks carry the answer here instead.
    """
    from libp2p.tools.anyio_service.trio_manager import TrioManager
    from libp2p.tools.anyio_service.trio_tasks import FunctionTask

    # Weak on both sides: a library task refers to its Trio task, so that neither would ever go.
    owners: WeakKeyDictionary[Any, ref[Any]] = WeakKeyDictionary()

    def adopt(self: Any, value: Any) -> None:
        self._trio_task = value
        owners[value] = ref(self)

    def find(self: Any, trio_task: Any) -> Any:
        found = owners.get(trio_task)
        task = None if found is None else found()
        return task if task is not None and _belongs(task, self._root_tasks) else None

    _set(FunctionTask, "trio_task", FunctionTask.__dict__["trio_task"].setter(adopt))
    _set(TrioManager, "_find_parent_task", find)


def _belongs(task: Any, roots: set[Any]) -> bool:
    """Whether ``task`` hangs below one of ``roots``; services nest, and a task of another one is no parent here."""
    while task.parent is not None:
        task = task.parent
    return task in roots


def sweep_caches_without_threads() -> None:
    """tools/timed_cache/base_timed_cache.py starts an operating system thread per pubsub that nothing stops, and
    locks out a simulated clock. Expired entries go with every thousandth that is added instead.
    """
    from libp2p.tools.timed_cache import base_timed_cache, first_seen_cache, last_seen_cache

    quiet = SimpleNamespace(Lock=threading.Lock, Event=threading.Event, Thread=_Unstarted)
    _set(base_timed_cache, "threading", quiet)
    for cache in (first_seen_cache.FirstSeenCache, last_seen_cache.LastSeenCache):
        _set(cache, "add", _sweeping(cache.add))


class _Unstarted:
    """A thread that never runs."""

    def __init__(self, **options: Any) -> None:
        del options

    def start(self) -> None:
        return

    def join(self) -> None:
        return


def _sweeping(add: Callable[[Any, bytes], bool]) -> Callable[[Any, bytes], bool]:
    def add_and_sweep(self: Any, key: bytes) -> bool:
        self._added = getattr(self, "_added", 0) + 1
        if self._added % SWEEP_EVERY == 0:
            self._sweep()
        return add(self, key)

    return add_and_sweep


def bound_kad_frames(most: int) -> None:
    """kad_dht/kad_dht.py reads frames of 4 MiB from anybody who asks; the largest honest one has a few hundred KiB."""
    from libp2p.kad_dht import kad_dht

    _set(kad_dht, "MAX_DHT_MESSAGE_SIZE", most)


def find_node_of_any_key(most: int) -> None:
    """kad_dht/kad_dht.py answers FIND_NODE for peer ids and keys of 2 to 50 bytes only; js-libp2p asks so for the
    closest nodes to a record's key, which has 70, and is cut off. Any key of up to ``most`` bytes is as good.
    """
    from libp2p.kad_dht import kad_dht

    class AnyKey:
        @staticmethod
        def decode(key: bytes) -> None:
            if len(key) > most:
                raise ValueError("a key above the limit")

    _set(kad_dht, "multihash", AnyKey)


def lock_without_yielding() -> None:
    """io/trio.py, stream_muxer/yamux/yamux.py, stream_muxer/rw_lock.py, network/stream/net_stream.py: about eight
    uncontended ``trio.Lock`` per message, each a round through the scheduler: half the cost of a gossip delivery.
    """
    from libp2p.io import trio as tcp
    from libp2p.network.stream import net_stream
    from libp2p.stream_muxer import rw_lock
    from libp2p.stream_muxer.yamux import yamux

    quicker = quick.trio_with_quick_locks()
    for module in (tcp, net_stream, rw_lock, yamux):
        _set(module, "trio", quicker)


def read_ahead() -> None:
    """io/trio.py ``TrioTCPStream.read``: every Noise message is two socket reads, two bytes and then the rest."""
    from libp2p.io.trio import TrioTCPStream

    TrioTCPStream._read_socket = TrioTCPStream.read  # type: ignore[attr-defined]
    _set(TrioTCPStream, "read", quick.read_ahead)


def credit_by_halves() -> None:
    """stream_muxer/yamux/yamux.py ``_auto_tune_and_send_window_update``: a window update for every second read, also
    with ``PY_YAMUX_RELEASE_ON_READ=0``; each is a frame to encrypt, send and wake the other side for.
    """
    from libp2p.stream_muxer.yamux import yamux

    _set(yamux.YamuxStream, "_auto_tune_and_send_window_update", quick.credit_by_halves)


def close_without_pauses() -> None:
    """network/connection/swarm_connection.py ``_cleanup`` and stream_muxer/yamux/yamux.py ``Yamux.close``: 100 ms of
    sleep each for every connection, after everything is closed, to let its tasks notice. A client opens a path for
    each purpose and closes it before it goes on, so a person waited four fifths of a second for one search.
    """
    from libp2p.network.connection import swarm_connection
    from libp2p.stream_muxer.yamux import yamux

    for module in (swarm_connection, yamux):
        _set(module, "trio", quick.trio_without_pauses(module.trio))
