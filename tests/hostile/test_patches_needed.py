"""Each defect that ``warmline.net`` cures, shown on the library as shipped.

Every ``show_*`` function runs in a process of its own that never imports ``warmline`` and returns whether the defect
is there. When a new pinned version fails one of these tests, the cure named in ``CURES`` can go.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest

CURES = {
    "warnings_reach_stderr": "patches.quiet_logs",
    "connections_log_through_the_root_logger": "patches.quiet_logs",
    "debug_variable_opens_a_file": "warmline.net",
    "http_clients_are_loaded": "warmline.net",
    "every_dial_waits": "patches.dial_without_delay",
    "two_listeners_share_a_port": "patches.listen_exclusively",
    "plain_get_kills_the_process": "patches.contain_websocket_server",
    "negotiation_lines_are_unbounded": "patches.bound_negotiation",
    "handler_error_ends_the_host": "patches.contain_connections",
    "inbound_streams_are_unbounded": "patches.bound_streams",
    "exact_reads_give_up": "patches.read_in_small_pieces",
    "lengths_are_read_byte_by_byte": "patches.read_lengths_from_the_buffer",
    "parents_are_searched_for": "patches.find_parent_task_fast",
    "caches_start_threads": "patches.sweep_caches_without_threads",
    "dht_prefix_is_ignored": "patches.own_dht_protocol",
    "windows_are_not_enforced": "muxer.BoundedYamux",
    "unanswered_pings_close_nothing": "muxer.BoundedYamux",
    "cancelled_writes_break_the_connection": "muxer.BoundedYamux",
    "knowing_many_peers_loses_the_own_key": "peerstore.BoundedPeerStore",
    "identify_stores_anything": "patches.bound_identify",
    "resets_read_as_clean_ends": "rawhost.LibraryStream",
    "opening_blocks_at_256": "muxer.BoundedYamux",
    "full_windows_give_up_after_five_seconds": "muxer.PatientStream",
    "muxer_class_is_ignored": "rawhost._use_muxer",
    "inbound_slots_are_never_freed": "inbound.InboundGate",
    "web_addresses_are_unknown": "inbound.InboundGate",
    "peers_are_dialled_unasked": "rawhost.SilentAutoConnector",
    "reaching_a_limit_lowers_it": "rawhost.build_raw",
    "plaintext_is_accepted": "rawhost.build_raw",
    "leaving_leaves_sockets_open": "host.open_host",
    "every_read_updates_the_window": "warmline.net",
    "every_second_read_updates_the_window": "patches.credit_by_halves",
    "a_message_is_two_socket_reads": "patches.read_ahead",
    "free_locks_yield": "patches.lock_without_yielding",
    "every_close_waits": "patches.close_without_pauses",
}


@pytest.mark.parametrize("defect", CURES)
def test_the_pinned_library_still_has(defect: str) -> None:
    ran = subprocess.run(
        [sys.executable, __file__, defect], capture_output=True, text=True, timeout=120, env=_environment(), check=False
    )
    assert ran.stdout.strip().endswith("DEFECT"), (
        f"{defect} is gone or the test no longer shows it; cure: {CURES[defect]}\n{ran.stdout}\n{ran.stderr[-3000:]}"
    )


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PY_YAMUX", "LIBP2P"))}


# --- what the subprocess runs -----------------------------------------------------------------------------------


@asynccontextmanager
async def stock(listen: str | None = "/ip4/127.0.0.1/tcp/0", **options: Any) -> AsyncIterator[Any]:
    """A stock host with Noise and Yamux, closed at the end."""
    from libp2p import create_new_ed25519_key_pair, new_host
    from libp2p.crypto.x25519 import create_new_key_pair
    from libp2p.security.noise.transport import PROTOCOL_ID, Transport
    from multiaddr import Multiaddr

    pair = create_new_ed25519_key_pair()
    options.setdefault("sec_opt", {PROTOCOL_ID: Transport(pair, noise_privkey=create_new_key_pair().private_key)})
    addrs = [Multiaddr(listen)] if listen else []
    host = new_host(key_pair=pair, listen_addrs=addrs or None, **options)
    async with host.run(listen_addrs=addrs):
        yield host
        await host.close()


@asynccontextmanager
async def unclosed() -> AsyncIterator[Any]:
    """A stock host whose scope is merely left."""
    from libp2p import new_host

    host = new_host()
    async with host.run(listen_addrs=[]):
        yield host


async def connect(client: Any, server: Any) -> None:
    from libp2p.peer.peerinfo import PeerInfo

    await client.connect(PeerInfo(server.get_id(), server.get_transport_addrs()))


class Silence:
    """A secured connection to a peer that takes everything and says nothing."""

    is_initiator = True

    async def write(self, data: bytes) -> None:
        import trio

        await trio.lowlevel.checkpoint()

    async def read(self, n: int) -> bytes:
        import trio

        await trio.sleep_forever()
        raise AssertionError

    async def close(self) -> None:
        return


class Dripping:
    """A reader that gives one byte at a time and counts."""

    def __init__(self, data: bytes, step: int = 1) -> None:
        self.data, self.step, self.reads = data, step, 0

    async def read(self, n: int) -> bytes:
        self.reads += 1
        piece, self.data = self.data[: min(n, self.step)], self.data[min(n, self.step) :]
        return piece


def show_warnings_reach_stderr() -> bool:
    import libp2p  # noqa: F401

    logger = logging.getLogger("libp2p.network.swarm")
    return not logging.getLogger("libp2p").handlers and logger.isEnabledFor(logging.WARNING)


def show_connections_log_through_the_root_logger() -> bool:
    from libp2p.network.connection import swarm_connection

    return swarm_connection.logging is logging


def show_debug_variable_opens_a_file() -> bool:
    ran = subprocess.run(
        [sys.executable, "-c", "import libp2p"],
        env={**os.environ, "LIBP2P_DEBUG": "DEBUG"},
        capture_output=True,
        text=True,
        check=True,
    )
    name = ran.stderr.split("Logging to:")[1].split()[0]
    Path(name).unlink()
    return True


def show_http_clients_are_loaded() -> bool:
    import libp2p  # noqa: F401

    return {"httpx", "requests", "zeroconf"} <= sys.modules.keys()


async def show_every_dial_waits() -> bool:
    import trio

    async with stock() as server, stock() as client:
        before = trio.current_time()
        await connect(client, server)
        return trio.current_time() - before > 0.24


async def show_every_close_waits() -> bool:
    import trio

    async with stock() as server, stock() as client:
        await connect(client, server)
        (connection,) = client.get_network().get_connections()
        before = trio.current_time()
        await connection.close()
        return trio.current_time() - before > 0.19


async def show_two_listeners_share_a_port() -> bool:
    async with stock() as first:
        addr = str(first.get_transport_addrs()[0])
        async with stock(addr) as second:
            return [str(a) for a in second.get_transport_addrs()] == [addr]


async def show_plain_get_kills_the_process() -> bool:
    import trio

    outcome = False

    async def attacked() -> None:
        async with stock("/ip4/127.0.0.1/tcp/0/ws") as host:
            port = int(str(host.get_transport_addrs()[0]).split("/")[4])
            for _ in range(3):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await trio.aclose_forcefully(stream)
                await trio.sleep(0.3)

    def run() -> None:
        nonlocal outcome
        try:
            trio.run(attacked)
        except trio.TrioInternalError:
            outcome = True

    thread = threading.Thread(target=run)  # a second Trio run: the first must live to tell
    thread.start()
    await trio.to_thread.run_sync(thread.join)
    return outcome


async def show_negotiation_lines_are_unbounded() -> bool:
    from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
    from libp2p.utils.varint import encode_uvarint

    line = b"/" + b"x" * 1_000_000 + b"\n"
    reader = Dripping(encode_uvarint(len(line)) + line, step=65536)
    return len(await MultiselectCommunicator(reader).read()) > 900_000  # type: ignore[arg-type]


async def show_handler_error_ends_the_host() -> bool:
    import trio

    async def handler(stream: Any) -> None:
        await stream.read(1)
        raise ZeroDivisionError

    try:
        async with stock() as server, stock() as client:
            server.set_stream_handler("/x/1", handler)
            await connect(client, server)
            stream = await client.new_stream(server.get_id(), ["/x/1"])
            await stream.write(b"go")
            await trio.sleep(2)
    except BaseExceptionGroup as group:
        return group.split(ZeroDivisionError)[0] is not None
    return False


async def show_inbound_streams_are_unbounded() -> bool:
    import trio

    async with stock() as server, stock() as client:
        await connect(client, server)
        (connection,) = client.get_network().get_connections(server.get_id())
        for stream in range(1001, 5001, 2):
            await connection.muxed_conn._write_frame(struct.pack("!BBHII", 0, 1, 1, stream, 0))
        await trio.sleep(2)
        (inbound,) = server.get_network().get_connections(client.get_id())
        return len(inbound.streams) >= 2000


async def show_exact_reads_give_up() -> bool:
    from libp2p.io.exceptions import IncompleteReadError
    from libp2p.io.utils import read_exactly

    try:
        await read_exactly(Dripping(bytes(1000)), 1000)  # type: ignore[arg-type]
    except IncompleteReadError:
        return True
    return False


async def show_lengths_are_read_byte_by_byte() -> bool:
    from libp2p.utils import varint

    reader = Dripping(varint.encode_uvarint(1 << 20), step=10)
    await varint.decode_uvarint_from_stream(reader)  # type: ignore[arg-type]
    return reader.reads == 3


async def show_parents_are_searched_for() -> bool:
    import trio
    from libp2p.tools.anyio_service import Service, background_trio_service
    from libp2p.tools.anyio_service.trio_tasks import FunctionTask

    walks: list[int] = []
    walk = FunctionTask.iterate_tasks.__func__  # type: ignore[attr-defined]

    def counted(cls: Any, *tasks: Any) -> Any:
        walks.append(len(tasks))
        return walk(cls, *tasks)

    FunctionTask.iterate_tasks = classmethod(counted)  # type: ignore[assignment,method-assign]

    class Busy(Service):
        async def run(self) -> None:
            for _ in range(50):
                self.manager.run_task(trio.sleep_forever)
            await self.manager.wait_finished()

    async with background_trio_service(Busy()):
        await trio.sleep(0.2)
    return len(walks) > 50


def show_caches_start_threads() -> bool:
    from libp2p.tools.timed_cache.first_seen_cache import FirstSeenCache

    before = threading.active_count()
    kept = FirstSeenCache(ttl=10)
    return threading.active_count() > before and kept is not None


async def show_dht_prefix_is_ignored() -> bool:
    from libp2p.custom_types import TProtocol
    from libp2p.kad_dht.kad_dht import DHTMode, KadDHT

    async with stock() as host:
        KadDHT(host, DHTMode.SERVER, protocol_prefix=TProtocol("/ours"))
        return "/ipfs/kad/1.0.0" in host.get_mux().get_protocols()


async def show_windows_are_not_enforced() -> bool:
    import trio

    async def handler(stream: Any) -> None:
        await trio.sleep_forever()

    async with stock() as server, stock() as client:
        server.set_stream_handler("/x/1", handler)
        await connect(client, server)
        stream = await client.new_stream(server.get_id(), ["/x/1"])
        stream.muxed_stream.send_window = 1 << 40
        for _ in range(320):
            await stream.write(bytes(65_000))
        await trio.sleep(2)
        (connection,) = server.get_network().get_connections(client.get_id())
        return sum(len(buffer) for buffer in connection.muxed_conn.stream_buffers.values()) > 20_000_000


def _muxer() -> Any:
    from libp2p.peer.id import ID
    from libp2p.stream_muxer.yamux.yamux import Yamux

    return Yamux(Silence(), ID(b"silent"))  # type: ignore[arg-type]


async def show_unanswered_pings_close_nothing() -> bool:
    import trio

    muxed = _muxer()
    with trio.move_on_after(3600):
        await muxed.start()
    return not muxed.event_closed.is_set() and muxed._ping_id > 20


class Slow(Silence):
    """A socket that takes a frame in two halves."""

    def __init__(self) -> None:
        self.took: list[bytes] = []

    async def write(self, data: bytes) -> None:
        import trio

        self.took.append(data[:6])
        await trio.sleep(1)
        self.took.append(data[6:])


async def show_cancelled_writes_break_the_connection() -> bool:
    import trio
    from libp2p.peer.id import ID
    from libp2p.stream_muxer.yamux.yamux import Yamux

    socket = Slow()
    muxed = Yamux(socket, ID(b"slow"))  # type: ignore[arg-type]
    with trio.move_on_after(0.5):
        await muxed._write_frame(bytes(12))
    return [len(half) for half in socket.took] == [6]


async def show_knowing_many_peers_loses_the_own_key() -> bool:
    from libp2p.peer.id import ID
    from libp2p.peer.peerstore import PeerStoreError
    from multiaddr import Multiaddr

    async with stock() as host:
        for number in range(1001):
            peer = ID(b"\x00\x24" + number.to_bytes(36, "big"))
            host.get_peerstore().add_addrs(peer, [Multiaddr("/ip4/192.0.2.1/tcp/1")], 100)
        try:
            host.get_private_key()
        except PeerStoreError:
            return True
    return False


async def show_identify_stores_anything() -> bool:
    from libp2p.identity.identify.pb.identify_pb2 import Identify
    from libp2p.identity.update import update_peerstore_from_identify
    from libp2p.peer.id import ID
    from libp2p.peer.peerstore import PeerStore

    store, peer = PeerStore(), ID(b"stranger")
    await update_peerstore_from_identify(store, peer, Identify(protocols=[f"/x/{i}" for i in range(50_000)]))
    return len(store.get_protocols(peer)) == 50_000


async def show_resets_read_as_clean_ends() -> bool:
    import trio
    from libp2p.network.stream.exceptions import StreamEOF

    async def handler(stream: Any) -> None:
        await trio.sleep(0.3)
        await stream.reset()

    async with stock() as server, stock() as client:
        server.set_stream_handler("/x/1", handler)
        await connect(client, server)
        stream = await client.new_stream(server.get_id(), ["/x/1"])
        try:
            return await stream.read(10) == b""
        except StreamEOF:
            return True
        except Exception:  # noqa: BLE001 - any other answer would be right
            return False


async def show_opening_blocks_at_256() -> bool:
    import trio

    muxed = _muxer()
    opened = 0
    with trio.move_on_after(60):
        for _ in range(1000):
            await muxed.open_stream()
            opened += 1
    return opened == 256


async def show_full_windows_give_up_after_five_seconds() -> bool:
    import trio
    from libp2p.stream_muxer.exceptions import MuxedStreamError

    stream = await _muxer().open_stream()
    stream.send_window = 0
    before = trio.current_time()
    try:
        await stream.write(b"x")
    except MuxedStreamError:
        return 4.9 < trio.current_time() - before < 6
    return False


async def show_muxer_class_is_ignored() -> bool:
    from libp2p.custom_types import TProtocol
    from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID, Yamux

    class Ours(Yamux):
        pass

    async with stock(muxer_opt={TProtocol(PROTOCOL_ID): Ours}) as server, stock() as client:
        await connect(client, server)
        (connection,) = server.get_network().get_connections(client.get_id())
        return type(connection.muxed_conn) is Yamux


async def show_inbound_slots_are_never_freed() -> bool:
    import trio
    from libp2p.network.config import ConnectionConfig

    config = ConnectionConfig(max_connections=3, min_connections=0, low_watermark=0, high_watermark=3)
    async with stock(connection_config=config) as server:
        for _ in range(3):
            async with stock() as client:
                await connect(client, server)
            await trio.sleep(0.5)
        assert not server.get_network().get_connections()
        async with stock() as client:
            try:
                with trio.fail_after(20):
                    await connect(client, server)
            except Exception:  # noqa: BLE001 - refused, in whichever way
                return True
    return False


async def show_web_addresses_are_unknown() -> bool:
    async with stock("/ip4/127.0.0.1/tcp/0/ws") as server, stock(None, enable_websocket=True) as client:
        await connect(client, server)
        (connection,) = server.get_network().get_connections(client.get_id())
        return connection.muxed_conn.get_remote_address() is None


async def show_peers_are_dialled_unasked() -> bool:
    from libp2p.network.config import ConnectionConfig

    config = ConnectionConfig(min_connections=0, low_watermark=0, high_watermark=300)
    async with stock() as server, stock(connection_config=config) as client:
        client.get_peerstore().add_addrs(server.get_id(), server.get_transport_addrs(), 100)
        await client.get_network().auto_connector.maybe_connect()
        return bool(client.get_network().get_connections(server.get_id()))


def show_reaching_a_limit_lowers_it() -> bool:
    from libp2p.rcmgr.manager import ResourceLimits, ResourceManager

    manager = ResourceManager(limits=ResourceLimits(max_connections=100))
    for _ in range(101):
        manager.acquire_connection("")
    return manager.limits.max_connections < 100


async def show_plaintext_is_accepted() -> bool:
    import trio

    async with stock(sec_opt=None) as host:
        port = int(str(host.get_transport_addrs()[0]).split("/")[4])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"\x13/multistream/1.0.0\n\x11/plaintext/2.0.0\n")
            said = b""
            while said.count(b"\n") < 2:
                said += await stream.receive_some(1024)
        return b"/plaintext/2.0.0" in said


async def show_leaving_leaves_sockets_open() -> bool:
    import trio

    async with stock() as server:
        async with unclosed() as client:
            await connect(client, server)
        await trio.sleep(2)
        return bool(server.get_network().get_connections())


def show_every_read_updates_the_window() -> bool:
    from libp2p.stream_muxer.yamux import yamux

    return yamux._yamux_release_on_read()


async def show_every_second_read_updates_the_window() -> bool:
    import trio

    os.environ["PY_YAMUX_RELEASE_ON_READ"] = "0"
    muxed = _muxer()
    stream = await muxed.open_stream()
    updates = 0

    async def counted(data: bytes) -> None:
        nonlocal updates
        updates += 1
        await trio.lowlevel.checkpoint()

    muxed._write_frame = counted
    for _ in range(100):
        stream.recv_window -= 100
        muxed.stream_buffers[stream.stream_id].extend(bytes(100))
        await stream.read(100)
    return updates > 20


async def show_a_message_is_two_socket_reads() -> bool:
    import trio
    from libp2p.io.trio import TrioTCPStream

    class Socket:
        reads = 0

        async def receive_some(self, size: int) -> bytes:
            self.reads += 1
            await trio.lowlevel.checkpoint()
            return bytes(size)

    socket = Socket()
    stream = TrioTCPStream(socket)  # type: ignore[arg-type]
    await stream.read(2)
    await stream.read(100)
    return socket.reads == 2


async def show_free_locks_yield() -> bool:
    import trio

    muxed = _muxer()
    stream = await muxed.open_stream()
    muxed.stream_buffers[stream.stream_id].extend(bytes(100))

    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: Any) -> None:
            self.count += 1

    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    await stream.read(100)
    return steps.count >= 2


IN_VIRTUAL_TIME = {
    "cancelled_writes_break_the_connection",
    "unanswered_pings_close_nothing",
    "opening_blocks_at_256",
    "full_windows_give_up_after_five_seconds",
}


def main(defect: str) -> None:
    import trio
    import trio.testing

    show: Callable[[], bool | Awaitable[bool]] = globals()[f"show_{defect}"]
    clock = trio.testing.MockClock(autojump_threshold=0) if defect in IN_VIRTUAL_TIME else None
    there = trio.run(show, clock=clock) if iscoroutinefunction(show) else show()
    print("DEFECT" if there else "no longer")
    sys.stdout.flush()
    os._exit(0)  # a stock host leaves threads and sockets behind


if __name__ == "__main__":
    main(sys.argv[1])
