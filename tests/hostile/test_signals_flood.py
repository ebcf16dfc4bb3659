"""Signals under attack: floods, frames that are no frames, readers who never read, and the memory that takes."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
import trio

from support.signals import ROOM, a_corner, a_frame
from warmline.services.signals import HASTE
from warmline_protocol.codec import encode
from warmline_protocol.errors import ChannelClosed, RemoteError, UnreachableError
from warmline_protocol.limits import SIGNAL_CHANNEL_MAX
from warmline_protocol.queue.signal_messages import PROTOCOL, Signal, SignalJoin
from warmline_protocol.wire import to_wire

MIB = 1 << 20


async def test_a_flood_is_cut_off_and_the_others_hear_little_of_it(autojump_clock: trio.testing.MockClock) -> None:
    async with a_corner() as corner:
        loud, ben = await corner.join(), await corner.join()
        with pytest.raises((ChannelClosed, UnreachableError)):
            for number in range(100):
                await loud.say(number)
                await trio.sleep(0.001)
        assert [await ben.hear()] == [(str(HASTE + 1),)], "what it said last, once"
        assert corner.service.statistics().people == 1
        assert corner.service.statistics().signals == HASTE + 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 40,
        encode({"t": "signal", "frame": bytes(127)}),
        encode({"t": "signal", "frame": bytes(129)}),
        encode({"t": "signal", "frame": bytes(4096)}),
        encode({"t": "signal", "frame": bytes(128), "more": 1}),
        encode({"t": "signals", "frames": [bytes(128)]}),
        to_wire(SignalJoin(ROOM)),
    ],
    ids=["nothing", "noise", "short", "long", "a cell", "a field more", "a batch", "joining twice"],
)
async def test_what_is_no_signal_ends_its_stream_and_nothing_else(
    data: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.RaisesGroup(RemoteError, allow_unwrapped=True, flatten_subgroups=True):
        async with a_corner() as corner:
            bad = await corner.join()
            await bad.channel.send(data)
            await trio.sleep(10)  # the handler's error is the host's to log; here it ends the test's nursery


async def test_a_stream_must_begin_by_joining(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.RaisesGroup(RemoteError, allow_unwrapped=True, flatten_subgroups=True):
        async with a_corner() as corner:
            channel = await corner.path.open_channel(PROTOCOL)
            await channel.send(to_wire(Signal(a_frame("x"))))
            await trio.sleep(10)


async def test_a_reader_who_never_reads_is_let_go_and_holds_nobody_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_corner() as corner:
        corner.path.lockstep = True  # a window that is never opened
        deaf = await corner.path.open_channel(PROTOCOL)
        await deaf.send(to_wire(SignalJoin(ROOM)))
        corner.path.lockstep = False
        ana, ben = await corner.join(), await corner.join()
        for number in range(12):
            await ana.say(number)
            assert await ben.hear() == (str(number),)
            await trio.sleep(2)
        assert corner.service.statistics().people == 2


async def test_a_full_node_of_the_deaf_and_the_hasty_stays_within_its_memory(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What is kept of a person is bounded whatever everybody does: 24 KiB each, both ends of its stream in memory
    included."""
    people = 512
    async with a_corner(people=2 * people) as corner:
        corner.path.lockstep = True
        streams = []
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(people):
            room = (number // SIGNAL_CHANNEL_MAX).to_bytes(16)
            corner.entry = f"entry {number % 16}"
            channel = await corner.path.open_channel(PROTOCOL)
            await channel.send(to_wire(SignalJoin(room)))
            await channel.receive()
            streams.append(channel)
        for turn in range(3):
            for number, channel in enumerate(streams):
                with trio.move_on_after(0.01):
                    await channel.send(to_wire(Signal(a_frame(f"{turn}.{number}"))))
            await trio.sleep(2)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert corner.service.statistics().people == people
        assert after - before < people * 24 * 1024 + MIB, f"{(after - before) / people:.0f} bytes a person"
