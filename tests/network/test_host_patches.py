"""The cures of ``warmline.net.patches`` and its neighbours, in a process that has them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
from libp2p.io.exceptions import IncompleteReadError
from libp2p.io.utils import read_exactly
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.stream_muxer.yamux.yamux import DEFAULT_WINDOW_SIZE
from libp2p.tools.anyio_service import Service, background_trio_service
from libp2p.tools.anyio_service.trio_tasks import FunctionTask
from libp2p.tools.timed_cache.first_seen_cache import FirstSeenCache
from libp2p.utils.varint import decode_uvarint_from_stream, encode_uvarint

from support.hosts import LOOPBACK, LOOPBACK_WS, PATIENCE, a_host
from warmline.net import patches
from warmline.net.muxer import CONNECTION_MAX, MAX_OUTBOUND_STREAMS, BoundedYamux, PatientStream

patches.apply()


class Dripping:
    """A reader that gives ``step`` bytes at a time."""

    def __init__(self, data: bytes, step: int = 1) -> None:
        self.data, self.step = data, step

    async def read(self, n: int) -> bytes:
        size = min(n, self.step)
        piece, self.data = self.data[:size], self.data[size:]
        return piece


class Silence:
    """A secured connection to a peer that takes everything and says nothing."""

    is_initiator = True

    def __init__(self) -> None:
        self.closed = trio.Event()

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def read(self, n: int) -> bytes:
        await self.closed.wait()
        return b""

    async def close(self) -> None:
        self.closed.set()


async def test_exact_reads_take_small_pieces_and_still_end() -> None:
    assert await read_exactly(Dripping(b"x" * 3000), 3000) == b"x" * 3000  # type: ignore[arg-type]
    with pytest.raises(IncompleteReadError):
        await read_exactly(Dripping(b""), 1)  # type: ignore[arg-type]


async def test_negotiation_lines_are_bounded() -> None:
    for announced in (patches.NEGOTIATION_MAX + 1, 1 << 40):
        reader = Dripping(encode_uvarint(announced) + bytes(100), step=100)
        with pytest.raises(MultiselectCommunicatorError):
            await MultiselectCommunicator(reader).read()  # type: ignore[arg-type]
    line = b"/" + b"x" * 900 + b"\n"
    whole = MultiselectCommunicator(Dripping(encode_uvarint(len(line)) + line))  # type: ignore[arg-type]
    assert await whole.read() == line[:-1].decode()


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 1 << 20, (1 << 63) - 1, (1 << 64) - 1])
async def test_lengths_are_read_right(value: int) -> None:
    assert await decode_uvarint_from_stream(Dripping(encode_uvarint(value))) == value  # type: ignore[arg-type]


async def test_over_long_lengths_are_refused() -> None:
    for bad in (b"\xff" * 20, b"\xff" * 9 + b"\x7f"):
        with pytest.raises(Exception, match="64 bits"):
            await decode_uvarint_from_stream(Dripping(bad))  # type: ignore[arg-type]


def test_caches_start_no_thread_and_sweep() -> None:
    before = threading.active_count()
    cache = FirstSeenCache(ttl=-1)
    for i in range(3 * patches.SWEEP_EVERY):
        cache.add(i.to_bytes(4, "big"))
    assert threading.active_count() == before
    assert cache.length() <= patches.SWEEP_EVERY


async def test_parents_are_found_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("searched")

    monkeypatch.setattr(FunctionTask, "iterate_tasks", classmethod(never))
    family: dict[str, Any] = {}
    told = trio.Event()

    class Nested(Service):
        async def run(self) -> None:
            self.manager.run_task(self.parent_task, name="parent")
            await self.manager.wait_finished()

        async def parent_task(self) -> None:
            self.manager.run_task(trio.sleep_forever, name="child")
            for task in _below(self.manager._root_tasks):  # type: ignore[attr-defined]
                family[task.name] = sorted(child.name for child in task.children)
            told.set()
            await trio.sleep_forever()

    async with background_trio_service(Nested()):
        with trio.fail_after(PATIENCE):
            await told.wait()
    assert family["parent"] == ["child"]


def _below(tasks: Any) -> list[Any]:
    return [below for task in tasks for below in [task, *_below(task.children)]]


async def test_a_peer_that_never_answers_is_hung_up_on(autojump_clock: trio.testing.MockClock) -> None:
    muxed = BoundedYamux(Silence(), ID(b"silent"))
    before = trio.current_time()
    await muxed.start()
    assert muxed.event_closed.is_set()
    assert trio.current_time() - before == pytest.approx(muxed.ping_every + muxed.ping_deadline, abs=2)


async def test_more_than_256_streams_open(autojump_clock: trio.testing.MockClock) -> None:
    muxed = BoundedYamux(Silence(), ID(b"silent"))
    with trio.move_on_after(60):
        for _ in range(MAX_OUTBOUND_STREAMS):
            await muxed.open_stream()
    assert len(muxed.streams) == MAX_OUTBOUND_STREAMS


async def test_a_full_window_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    muxed = BoundedYamux(Silence(), ID(b"silent"))
    stream = await muxed.open_stream()
    assert isinstance(stream, PatientStream)
    stream.send_window = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.write, b"after the pause")
        await trio.sleep(600)
        stream.send_window = 100
    assert stream.send_window == 100 - len(b"after the pause")


@pytest.mark.parametrize("listen", [LOOPBACK, LOOPBACK_WS])
async def test_dialling_does_not_wait(listen: str) -> None:
    async with a_host(listen=(listen,)) as node, a_host(listen=()) as client:
        best = PATIENCE
        for _ in range(5):  # the best of some: other programs run here too
            before = trio.current_time()
            await client.connect(node.addrs()[0])
            best = min(best, trio.current_time() - before)
            await client.disconnect(node.peer_id)
        assert best < 0.2


async def test_closing_does_not_wait() -> None:
    async with a_host() as node, a_host(listen=()) as client:
        best = PATIENCE
        for _ in range(5):
            await client.connect(node.addrs()[0])
            before = trio.current_time()
            await client.disconnect(node.peer_id)
            best = min(best, trio.current_time() - before)
        assert best < 0.1


async def test_nobody_is_dialled_unasked() -> None:
    async with a_host() as node, a_host() as idle:
        idle.raw.get_peerstore().add_addrs(node.raw.get_id(), node.raw.get_transport_addrs(), 100)
        network: Any = idle.raw.get_network()
        await network.auto_connector.maybe_connect()
        network._schedule_auto_connect()
        await trio.sleep(0.3)
        assert idle.peers() == ()


def test_unread_bytes_are_bounded_by_the_window_and_in_all() -> None:
    muxed = BoundedYamux(Silence(), ID(b"silent"))
    for number in range(1, 1000):
        muxed.streams[number] = PatientStream(number, muxed, False)
        muxed.stream_buffers[number] = bytearray()
    with pytest.raises(trio.TooSlowError):
        for _ in range(10):
            muxed.stream_buffers[1].extend(bytes(64 << 10))
    assert len(muxed.stream_buffers[1]) <= DEFAULT_WINDOW_SIZE + (64 << 10)
    with pytest.raises(trio.TooSlowError):
        for number in range(2, 1000):
            muxed.stream_buffers[number].extend(bytes(200 << 10))
    assert sum(map(len, muxed.stream_buffers.values())) <= CONNECTION_MAX + (2 << 20)
    del muxed.stream_buffers[5][:]
    muxed.stream_buffers[5].extend(b"room again")
