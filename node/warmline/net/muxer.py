"""Yamux with the bounds that the library's lacks (stream_muxer/yamux/yamux.py, 0.8.1).

* The receive window is announced and not enforced: a peer that ignores it is warned about and buffered, without end.
* 256 streams at once is all that may be *opened* over one connection, too few for a relay's circuits to one node.
* Pings measure; a pong that never comes closes nothing, so a stopped peer counts as connected for ever. Here a silent
  peer's connection is closed, by our own timer, whatever protocols it speaks and over circuits as well.
* A write that is cancelled halfway ends the whole connection; here frames are sent whole.
* A writer that meets a full window polls every 10 ms and gives up after 5 s, which kills the stream of any reader
  that pauses. Here the writer waits for the window, and its caller's deadline decides.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar, Final

import trio
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import (
    FLAG_SYN,
    HEADER_SIZE,
    MAX_MESSAGE_SIZE,
    TYPE_DATA,
    TYPE_PING,
    YAMUX_HEADER_FORMAT,
    Yamux,
    YamuxStream,
)

MAX_OUTBOUND_STREAMS: Final = 1024
"""Streams that this side may have open at once over one connection."""
HANG_UP: Final = 1.0
"""Seconds that closing a silent peer's socket may take."""
CONNECTION_MAX: Final = 64 << 20
"""Bytes that all streams of one connection may hold unread."""


class BoundedYamux(Yamux):
    """Closes the connection of a peer that overruns a receive window or stops answering."""

    ping_every: ClassVar[float] = 15.0
    """Seconds between pings."""
    ping_deadline: ClassVar[float] = 10.0
    """Seconds for a ping to be written and answered."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stream_backlog_limit = MAX_OUTBOUND_STREAMS
        self.stream_backlog_semaphore = trio.Semaphore(MAX_OUTBOUND_STREAMS)
        self.stream_buffers = _Buffers(self)

    async def _write_frame(self, data: bytes) -> None:
        """Send a frame whole, even when the caller is cancelled or late meanwhile.

        Noise numbers its messages: a write that is cancelled after it was encrypted leaves a number unused, and every
        stream of every caller over this connection dies with the next one. So only waiting for the turn can be
        cancelled; a peer that takes nothing for ``ping_deadline`` is silent and loses the connection.
        """
        async with self._write_lock:
            with trio.CancelScope(shield=True), trio.move_on_after(self.ping_deadline) as late:
                await self.secured_conn.write(data)
        if late.cancelled_caught:
            await self._hang_up()
            raise MuxedStreamError("the peer takes nothing")

    async def _measure_rtt_loop(self) -> None:
        """The library's own task of this name measures only; ours also ends what does not answer."""
        while not self.event_shutting_down.is_set():
            with trio.move_on_after(self.ping_every):
                await self.event_shutting_down.wait()
                return
            if not await self._answers():
                await self._hang_up()
                return

    async def _answers(self) -> bool:
        """Whether the peer answers one ping in time; updates the smoothed round-trip time."""
        self._ping_id += 1
        self._ping_event = trio.Event()
        with trio.move_on_after(self.ping_deadline):
            try:
                self._ping_sent_time = trio.current_time()
                await self._write_frame(struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, self._ping_id))
                await self._ping_event.wait()
            except Exception:  # noqa: BLE001 - each transport has its own way to be broken; all mean no answer
                return False
            return True
        return False

    async def _hang_up(self) -> None:
        # Shielded, because the end of this muxer cancels its own tasks, and in two steps: a silent peer answers no
        # WebSocket goodbye either, and everything after the socket must still be told.
        with trio.CancelScope(shield=True):
            self.event_shutting_down.set()
            with trio.move_on_after(HANG_UP):
                await self.secured_conn.close()
            await self._cleanup_on_error()


def with_pings(every: float, deadline: float) -> type[BoundedYamux]:
    """The muxer for a host with these ping times, in seconds."""
    return type("PingingYamux", (BoundedYamux,), {"ping_every": every, "ping_deadline": deadline})


class PatientStream(YamuxStream):
    """Waits for the window as long as its caller does."""

    async def write(self, data: bytes) -> None:
        sent = 0
        while sent < len(data):
            chunk = await self._reserve(data, sent)
            header = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_DATA, 0, self.stream_id, len(chunk))
            await self.conn._write_frame(header + chunk)
            sent += len(chunk)

    async def _reserve(self, data: bytes, sent: int) -> bytes:
        """The next chunk that fits the window, which is then spoken for."""
        pause = 0.002
        while True:
            if self.send_closed or self.closed:
                raise MuxedStreamError("the stream is closed")
            size = min(self.send_window, MAX_MESSAGE_SIZE - HEADER_SIZE, len(data) - sent)
            if size > 0:
                self.send_window -= size
                return data[sent : sent + size]
            # The library's reader raises the window without telling anybody, so this must poll; it slows down.
            await trio.sleep(pause)
            pause = min(pause * 1.5, 0.1)


def use_patient_streams() -> None:
    """Make every Yamux of this process build :class:`PatientStream`; called by ``patches.apply``."""
    yamux.YamuxStream = PatientStream  # type: ignore[misc]


class _Buffers(dict[int, bytearray]):
    """What the streams of one connection hold unread."""

    def __init__(self, muxed: Yamux) -> None:
        super().__init__()
        self.muxed = muxed
        self._fresh = 0

    def __setitem__(self, stream: int, buffer: bytearray) -> None:
        super().__setitem__(stream, _BoundedBuffer(self, stream))
        self[stream].extend(buffer)

    def admit(self, stream: int, size: int) -> None:
        """Raise unless the peer may have sent ``size`` bytes more on ``stream``."""
        window = self.muxed.streams[stream].target_recv_window
        if len(self[stream]) + size > window + MAX_MESSAGE_SIZE or self._too_much(size):
            # The one exception that Yamux.handle_incoming answers by closing the connection.
            raise trio.TooSlowError("the peer ignores the receive window")

    def _too_much(self, size: int) -> bool:
        """Counted anew with every megabyte that arrives: the library empties the buffers in a dozen places."""
        self._fresh += size
        if self._fresh < 1 << 20:
            return False
        self._fresh = 0
        return sum(map(len, self.values())) > CONNECTION_MAX


class _BoundedBuffer(bytearray):
    def __init__(self, buffers: _Buffers, stream: int) -> None:
        super().__init__()
        self._buffers, self._stream = buffers, stream

    def extend(self, data: Any) -> None:
        if data:
            self._buffers.admit(self._stream, len(data))
        super().extend(data)
