"""What moves between the two streams of a circuit, and how the two end together.

Two rules of the muxer shape the pumps. A write must not be cancelled once it has begun: half a chunk would be lost
in the middle of somebody's ciphertext. So a pump first waits (cancellable) for window, then writes no more than fits
(shielded, and bounded by the muxer). And nothing is read that cannot be written yet: a slow end fills its own window
and stops its peer, not this node's memory.
"""

from __future__ import annotations

import logging
from typing import Any, Final, cast

import trio
from libp2p.abc import INetStream

from warmline.net.circuit import STREAM_ERRORS
from warmline_protocol import limits
from warmline_protocol.circuit_table import Circuit, Ending, Way

CHUNK: Final = 64 * 1024
"""Bytes moved at once: Yamux's largest frame."""
STALL_POLL: Final = 0.02
"""Seconds between looks at a full window; the muxer offers no event for it."""

log = logging.getLogger("warmline.net.relay")


async def carry(circuit: Circuit, client: INetStream, destination: INetStream) -> None:
    """Move bytes both ways until one end ends, stalls, or passes the circuit's limit. The caller brings the timer."""
    async with trio.open_nursery() as nursery:
        for way, source, target in ((Way.UP, client, destination), (Way.DOWN, destination, client)):
            nursery.start_soon(_pump, circuit, way, source, target, nursery.cancel_scope)


async def _pump(circuit: Circuit, way: Way, source: INetStream, target: INetStream, both: trio.CancelScope) -> None:
    try:
        while data := await source.read(CHUNK):
            if not circuit.carry(way, len(data)):
                break
            if not await _write_all(target, data):
                circuit.close(Ending.STALLED)
                break
    except STREAM_ERRORS as error:
        log.debug("a circuit's stream ended: %s", type(error).__name__)
    circuit.close(Ending.CLOSED)
    both.cancel()


async def _write_all(stream: INetStream, data: bytes) -> bool:
    """Write ``data`` as the window allows; False when it stayed shut for too long."""
    view = memoryview(data)
    while view:
        room = await _room(stream)
        if not room:
            return False
        with trio.CancelScope(shield=True):
            await stream.write(bytes(view[:room]))
        view = view[room:]
    return True


async def _room(stream: INetStream) -> int:
    muxed = cast(Any, stream).muxed_stream
    with trio.move_on_after(limits.CIRCUIT_STALL_S):
        while not muxed.send_window and not muxed.send_closed:  # noqa: ASYNC110 - the muxer has no event for it
            await trio.sleep(STALL_POLL)
    return CHUNK if muxed.send_closed else min(muxed.send_window, CHUNK)


async def end_both(circuit: Circuit, client: INetStream, destination: INetStream, *, shut: bool) -> None:
    """End both streams: by an end of stream after a clean close, by a reset for every other reason."""
    clean = circuit.ending is Ending.CLOSED and not shut
    async with trio.open_nursery() as nursery:
        for stream in (client, destination):
            nursery.start_soon(part if clean else reset, stream)


async def part(stream: INetStream, seconds: float = limits.CIRCUIT_FAREWELL_S) -> None:
    """End of stream, then ``seconds`` for the other side to end too: a reset would discard what it has not read."""
    with trio.move_on_after(seconds):
        try:
            with trio.CancelScope(shield=True):
                await stream.close()
            while await cast(Any, stream).muxed_stream.read(CHUNK):
                pass
        except STREAM_ERRORS:
            pass
    await reset(stream)


async def reset(stream: INetStream | None) -> None:
    """End a stream at once; never raises what its connection can cause."""
    if stream is None:
        return
    with trio.CancelScope(shield=True), trio.move_on_after(limits.CIRCUIT_FAREWELL_S):
        try:
            await stream.reset()
        except STREAM_ERRORS as error:
            log.debug("resetting a stream: %s", type(error).__name__)
