"""The defects of py-libp2p 0.8.1 that gossip and the DHT work around, shown on the library as shipped.

Each ``show_*`` runs in a process that never imports ``warmline`` and prints DEFECT where it finds one; a new pinned
version that fails a test here lets the named cure go.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

CURES = {
    "a_frame_that_is_no_protobuf_escapes": "gossip_pubsub.SafePubsub.continuously_read_stream",
    "a_junk_key_escapes": "gossip_pubsub.signature_holds",
    "a_validator_error_escapes": "gossip_pubsub.SafePubsub._verdict",
    "prunes_leak_to_the_next_peer": "gossip_router.SafeGossipSub._emit_control_msgs",
    "prunes_of_any_topic_are_kept": "gossip_router.SafeGossipSub.handle_rpc",
    "the_message_cache_ignores_the_id_function": "gossip_router.ContentCache",
    "providers_are_repeated": "dht.Dht.find_providers",
    "kad_frames_of_four_mebibytes": "patches.bound_kad_frames",
    "closest_nodes_to_a_records_key_are_not_told": "patches.find_node_of_any_key",
    "free_locks_yield": "patches.lock_without_yielding",
    "a_noise_message_is_two_reads": "patches.read_ahead",
    "small_reads_update_the_window": "patches.credit_by_halves",
}


@pytest.mark.parametrize("defect", CURES)
def test_the_pinned_library_still_has(defect: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("LIBP2P")}
    env["PY_YAMUX_RELEASE_ON_READ"] = "0"
    ran = subprocess.run(
        [sys.executable, __file__, defect], capture_output=True, text=True, timeout=120, env=env, check=False
    )
    assert ran.stdout.strip().endswith("DEFECT"), f"cure: {CURES[defect]}\n{ran.stdout}\n{ran.stderr[-3000:]}"


# --- what the subprocess runs -----------------------------------------------------------------------------------


def a_router() -> Any:
    from libp2p.pubsub.gossipsub import GossipSub

    return GossipSub(protocols=["/meshsub/1.1.0"], degree=6, degree_low=4, degree_high=12)  # type: ignore[list-item]


def a_pubsub() -> Any:
    from libp2p import create_new_ed25519_key_pair, new_host
    from libp2p.pubsub.pubsub import Pubsub

    return Pubsub(new_host(key_pair=create_new_ed25519_key_pair()), a_router(), strict_signing=True)


def an_id(letter: bytes) -> Any:
    from libp2p.peer.id import ID

    return ID(b"\x12\x20" + letter * 32)


async def escapes(attempt: Any) -> bool:
    try:
        await attempt
    except Exception as error:  # noqa: BLE001 - any escape is the defect
        return type(error).__name__ in ("DecodeError", "ZeroDivisionError")
    return False


async def show_a_frame_that_is_no_protobuf_escapes() -> bool:
    pubsub = a_pubsub()
    pubsub._manager = SimpleNamespace(is_running=True)
    body = bytearray(b"\x04\xff\xff\xff\xff")

    async def read(n: int) -> bytes:
        piece = bytes(body[:n])
        del body[:n]
        return piece

    stream = SimpleNamespace(read=read, muxed_conn=SimpleNamespace(peer_id=an_id(b"a")), metric_send_channel=None)
    return await escapes(pubsub.stream_handler(stream))


async def show_a_junk_key_escapes() -> bool:
    from libp2p.pubsub.pb import rpc_pb2

    message = rpc_pb2.Message(from_id=an_id(b"b").to_bytes(), key=b"junk", signature=b"s", seqno=b"1", topicIDs=["t"])
    return await escapes(a_pubsub().push_msg(an_id(b"a"), message))


async def show_a_validator_error_escapes() -> bool:
    from libp2p.pubsub.pb import rpc_pb2

    pubsub = a_pubsub()
    pubsub.set_topic_validator("t", lambda peer, message: 1 // 0, False)
    message = rpc_pb2.Message(from_id=an_id(b"b").to_bytes(), topicIDs=["t"])
    return await escapes(pubsub.validate_msg(an_id(b"a"), message))


async def show_prunes_leak_to_the_next_peer() -> bool:
    router, sent = a_router(), {}
    first, second = an_id(b"a"), an_id(b"b")

    async def emit(control: Any, peer: Any) -> None:
        sent[peer] = control

    router.emit_control_message = emit
    await router._emit_control_msgs({first: ["t"], second: ["u"]}, {first: ["only first"]}, {})
    return [prune.topicID for prune in sent[second].prune] == ["only first"]


async def show_prunes_of_any_topic_are_kept() -> bool:
    from libp2p.pubsub.pb import rpc_pb2

    router = a_router()
    for number in range(100):
        prune = rpc_pb2.ControlPrune(topicID=f"never heard of {number}", backoff=2**40)
        await router.handle_prune(prune, an_id(b"a"))
    return len(router.back_off) == 100


async def show_the_message_cache_ignores_the_id_function() -> bool:
    from libp2p.pubsub.pb import rpc_pb2

    pubsub = a_pubsub()
    pubsub._msg_id_constructor = lambda message: b"by content"
    pubsub.router.mcache.put(rpc_pb2.Message(from_id=b"f", seqno=b"s", topicIDs=["t"]))
    return pubsub.router.mcache.window("t") == [b"fs"]


async def show_providers_are_repeated() -> bool:
    from libp2p import create_new_ed25519_key_pair, new_host
    from libp2p.kad_dht.provider_store import ProviderStore
    from libp2p.peer.peerinfo import PeerInfo

    asked = [an_id(bytes([letter])) for letter in b"abcd"]

    async def closest(key: bytes) -> list[Any]:
        return asked

    store = ProviderStore(
        new_host(key_pair=create_new_ed25519_key_pair()), SimpleNamespace(find_closest_peers_network=closest)
    )

    async def answer(peer: Any, key: bytes) -> tuple[list[Any], list[Any]]:
        return [PeerInfo(an_id(b"p"), [])], []

    store._get_providers_from_peer_with_closers = answer  # type: ignore[method-assign]
    return len(await store.find_providers(b"k" * 32)) == len(asked)


async def show_closest_nodes_to_a_records_key_are_not_told() -> bool:
    import inspect

    from libp2p.kad_dht import kad_dht

    source = inspect.getsource(kad_dht.KadDHT)
    return "if 2 <= len(target_key) <= 50" in source and source.count("multihash.decode(") == 1


async def show_kad_frames_of_four_mebibytes() -> bool:
    from libp2p.kad_dht import kad_dht

    return kad_dht.MAX_DHT_MESSAGE_SIZE == 4 << 20


class Socket:
    """A trio stream that has one Noise message ready and never waits."""

    def __init__(self) -> None:
        self.data = bytearray(b"\x00\x05hello")
        self.reads = 0

    async def receive_some(self, n: int) -> bytes:
        self.reads += 1
        piece = bytes(self.data[:n])
        del self.data[:n]
        return piece


class Steps(trio.abc.Instrument):
    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def read_noise_message() -> tuple[int, int]:
    """(socket reads, task steps) of one message that is there already."""
    from libp2p.io.trio import TrioTCPStream
    from libp2p.security.noise.io import NoisePacketReadWriter

    socket, steps = Socket(), Steps()
    reader = NoisePacketReadWriter(TrioTCPStream(socket))  # type: ignore[arg-type]
    trio.lowlevel.add_instrument(steps)
    assert await reader.read_msg() == b"hello"
    trio.lowlevel.remove_instrument(steps)
    return socket.reads, steps.count


async def show_free_locks_yield() -> bool:
    return (await read_noise_message())[1] >= 2


async def show_a_noise_message_is_two_reads() -> bool:
    return (await read_noise_message())[0] == 2


async def window_updates() -> int:
    """Updates sent for forty reads of 100 bytes."""
    from libp2p.stream_muxer.yamux import yamux

    sent = []

    async def write(data: bytes) -> None:
        sent.append(data)

    conn = SimpleNamespace(stream_buffers={1: bytearray()}, rtt=lambda: 0.01, _write_frame=write)
    stream = yamux.YamuxStream(1, conn, True)  # type: ignore[arg-type]
    for _ in range(40):
        stream.recv_window -= 100
        await stream._auto_tune_and_send_window_update(bytes_read=100)
    return len(sent)


async def show_small_reads_update_the_window() -> bool:
    return await window_updates() >= 10


# --- the cures, in this process ---------------------------------------------------------------------------------


@pytest.fixture
def patched() -> None:
    from warmline.net import patches

    patches.apply()


@pytest.mark.usefixtures("patched")
async def test_a_message_that_is_there_is_one_read_and_no_switch() -> None:
    assert await read_noise_message() == (1, 0)


@pytest.mark.usefixtures("patched")
async def test_credit_comes_back_by_halves_and_in_full() -> None:
    from libp2p.stream_muxer.yamux import yamux

    assert await window_updates() == 0
    sent = []

    async def write(data: bytes) -> None:
        sent.append(int.from_bytes(data[8:12]))

    conn = SimpleNamespace(stream_buffers={1: bytearray()}, rtt=lambda: 0.0, _write_frame=write)
    stream = yamux.YamuxStream(1, conn, True)  # type: ignore[arg-type]
    for _ in range(200):
        stream.recv_window -= 4096
        assert stream.recv_window > 0
        await stream._auto_tune_and_send_window_update(bytes_read=4096)
    assert 2 <= len(sent) <= 8
    assert stream.recv_window <= stream.target_recv_window


async def test_a_quick_lock_is_fair_and_survives_cancellation() -> None:
    from warmline.net.quick import QuickLock

    lock, order = QuickLock(), []

    async def take(number: int) -> None:
        async with lock:
            order.append(number)
            await trio.testing.wait_all_tasks_blocked()

    await lock.acquire()
    with pytest.raises(trio.WouldBlock):
        lock.acquire_nowait()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(take, number)
            await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.01):
            await lock.acquire()
        lock.release()
    assert order == [0, 1, 2]
    assert not lock.locked()
    with pytest.raises(RuntimeError):
        lock.release()


if __name__ == "__main__":
    print("DEFECT" if trio.run(globals()[f"show_{sys.argv[1]}"]) else "GONE", flush=True)
    os._exit(0)  # a stock pubsub leaves a thread behind
