"""Channels over a stream in memory: frames, caps, deadlines, endings."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock as Clock

from warmline.net.streams import LINGER, READ_SIZE, RECEIVE_DEADLINE, SEND_DEADLINE, Channel, ChannelClosed
from warmline_protocol.codec import frame
from warmline_protocol.errors import DeadlineError, MalformedError, OversizeError, UnreachableError, UsageError

CAP = 1000


class MemoryStream:
    """One end of a pair; ``window`` bytes may wait unread before a writer waits."""

    def __init__(self, window: int = 100_000) -> None:
        self.window = window
        self.other: MemoryStream = self
        self.inbox = bytearray()
        self.ended = self.was_reset = self.finished = False
        self.changed = trio.Event()

    def _change(self) -> None:
        for end in (self, self.other):
            end.changed.set()
            end.changed = trio.Event()

    async def read(self, size: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self.inbox:
            if self.was_reset:
                raise UnreachableError("reset")
            if self.ended:
                return b""
            await self.changed.wait()
        data = bytes(self.inbox[:size])
        del self.inbox[:size]
        self._change()
        return data

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        for start in range(0, len(data), 64):
            while len(self.other.inbox) >= self.window:
                await self.changed.wait()
            if self.was_reset:
                raise UnreachableError("reset")
            self.other.inbox += data[start : start + 64]
            self._change()

    async def close_write(self) -> None:
        await trio.lowlevel.checkpoint()
        self.other.ended = True
        self._change()

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()
        self.finished = True

    async def reset(self) -> None:
        self.was_reset = self.other.was_reset = True
        self.other.inbox.clear()
        self._change()
        await trio.lowlevel.checkpoint()


def pair(window: int = 100_000) -> tuple[Channel, Channel, MemoryStream, MemoryStream]:
    left, right = MemoryStream(window), MemoryStream(window)
    left.other, right.other = right, left
    return (
        Channel(left, peer="right", protocol="/t/1", max_frame=CAP),
        Channel(right, peer="left", protocol="/t/1", max_frame=CAP),
        left,
        right,
    )


async def test_frames_arrive_whole_and_in_order(autojump_clock: Clock) -> None:
    a, b, _, _ = pair()
    frames = [b"", b"x", bytes(CAP), b"last"]
    for data in frames:
        await a.send(data)
    assert [await b.receive() for _ in frames] == frames


async def test_a_frame_in_single_bytes_is_one_frame(autojump_clock: Clock) -> None:
    _, b, left, _ = pair()
    for byte in frame(b"slowly"):
        await left.write(bytes([byte]))
    assert await b.receive() == b"slowly"


async def test_the_cap_holds_on_both_sides(autojump_clock: Clock) -> None:
    a, b, left, right = pair()
    with pytest.raises(UsageError):
        await a.send(bytes(CAP + 1))
    await left.write(frame(bytes(CAP + 1)))
    with pytest.raises(OversizeError):
        await b.receive()
    assert right.was_reset


@pytest.mark.parametrize("bad", [b"\xff" * 12, b"\x80\x00", b"\xff\xff\xff\xff\x7f"])
async def test_a_broken_length_resets(bad: bytes, autojump_clock: Clock) -> None:
    _, b, left, right = pair()
    await left.write(bad)
    with pytest.raises((MalformedError, OversizeError)):
        await b.receive()
    assert right.was_reset
    with pytest.raises(UsageError):
        await b.receive()


async def test_a_clean_end_is_closed_and_a_cut_frame_is_malformed(autojump_clock: Clock) -> None:
    a, b, _, _ = pair()
    await a.send(b"one")
    await a.send_eof()
    assert await b.receive() == b"one"
    for _ in range(2):
        with pytest.raises(ChannelClosed):
            await b.receive()
    _, b, left, _ = pair()
    await left.write(frame(b"cut short")[:-1])
    await left.close_write()
    with pytest.raises(MalformedError):
        await b.receive()


async def test_half_close_lets_the_answer_through(autojump_clock: Clock) -> None:
    a, b, _, _ = pair()
    await a.send(b"question")
    await a.send_eof()
    assert await b.receive() == b"question"
    await b.send(b"answer")
    assert await a.receive() == b"answer"
    with pytest.raises(UsageError):
        await a.send(b"more")


async def test_receive_ends_in_time_and_the_channel_stays(autojump_clock: Clock) -> None:
    a, b, left, _ = pair()
    before = trio.current_time()
    with pytest.raises(DeadlineError):
        await b.receive()
    assert trio.current_time() - before == pytest.approx(RECEIVE_DEADLINE)
    whole = frame(b"in two halves")
    await left.write(whole[:5])
    with pytest.raises(DeadlineError):
        await b.receive(deadline=1)
    await left.write(whole[5:])
    assert await b.receive() == b"in two halves"
    await a.send(b"and on")
    assert await b.receive() == b"and on"


async def test_a_reader_that_takes_nothing_ends_the_send_and_the_stream(autojump_clock: Clock) -> None:
    a, _, left, _ = pair(window=128)
    await a.send(bytes(100))
    before = trio.current_time()
    with pytest.raises(DeadlineError):
        await a.send(bytes(CAP))
    assert trio.current_time() - before == pytest.approx(SEND_DEADLINE)
    assert left.was_reset
    with pytest.raises(UsageError):
        await a.send(b"x")


async def test_a_cancelled_send_resets_because_half_a_frame_is_out(autojump_clock: Clock) -> None:
    a, _, left, _ = pair(window=128)
    with trio.move_on_after(1):
        await a.send(bytes(CAP))
    assert left.was_reset


async def test_a_cancelled_receive_loses_nothing(autojump_clock: Clock) -> None:
    a, b, _, _ = pair()
    with trio.move_on_after(1):
        await b.receive()
    await a.send(b"kept")
    assert await b.receive() == b"kept"


async def test_a_slow_reader_slows_the_sender(autojump_clock: Clock) -> None:
    a, b, _, right = pair(window=2000)
    sent = 0

    async def sender() -> None:
        nonlocal sent
        while True:
            await a.send(bytes(CAP))
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender)
        await trio.sleep(10)
        assert sent <= 3
        assert len(right.inbox) <= 2000 + 64
        for _ in range(20):
            await b.receive()
        assert sent >= 20
        nursery.cancel_scope.cancel()
    assert READ_SIZE >= CAP


async def test_closing_delivers_what_was_sent(autojump_clock: Clock) -> None:
    a, b, left, right = pair()
    async with trio.open_nursery() as nursery:
        await a.send(b"last words")
        nursery.start_soon(a.aclose)
        assert await b.receive() == b"last words"
        await b.aclose()
    assert left.finished
    assert right.finished
    assert not left.was_reset


async def test_closing_lingers_so_long_and_no_longer(autojump_clock: Clock) -> None:
    a, _, left, _ = pair()
    before = trio.current_time()
    await a.aclose()
    assert trio.current_time() - before == pytest.approx(LINGER)
    assert left.was_reset
    await a.aclose()
    await a.abort()


async def test_leaving_the_block_with_an_error_resets(autojump_clock: Clock) -> None:
    a, _, left, _ = pair()
    with pytest.raises(ZeroDivisionError):
        async with a:
            raise ZeroDivisionError
    assert left.was_reset


async def test_cancelling_a_close_resets(autojump_clock: Clock) -> None:
    a, _, left, _ = pair()
    with trio.move_on_after(0.5):
        await a.aclose()
    assert left.was_reset


async def test_two_senders_do_not_mix_their_frames(autojump_clock: Clock) -> None:
    a, b, _, _ = pair(window=100)
    async with trio.open_nursery() as nursery:
        for letter in (b"a", b"b", b"c"):
            nursery.start_soon(a.send, letter * 500)
        got = sorted([await b.receive() for _ in range(3)])
    assert got == [b"a" * 500, b"b" * 500, b"c" * 500]
