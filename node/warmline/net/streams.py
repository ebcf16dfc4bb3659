"""Channels: whole frames over one stream, with a deadline on every wait.

A channel never trusts the other side with memory or time: a frame above the protocol's cap is refused from its length
prefix, at most one frame and one read are buffered, and every await ends. Reading happens only when somebody calls
:meth:`Channel.receive`, so a slow reader slows its sender through the muxer's window instead of filling memory.

Two facts of Yamux shape closing. A reset makes the receiver drop what it has not read yet, so a clean close sends an
end of stream and lingers until the other side ends too; only then, or after ``linger`` seconds, the stream goes. And
a half-sent frame cannot be taken back, so a send that is cancelled or late resets the stream.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Protocol

import trio

from warmline_protocol.codec import FrameReader, frame
from warmline_protocol.errors import (
    ChannelClosed,
    DeadlineError,
    MalformedError,
    OversizeError,
    UnreachableError,
    UsageError,
)

READ_SIZE: Final = 64 * 1024
"""Bytes asked of the stream at once: Yamux's largest frame."""
RECEIVE_DEADLINE: Final = 60.0
"""Seconds a reader waits by default: two missed heartbeats of 25 s."""
SEND_DEADLINE: Final = 20.0
"""Seconds one frame may take to be accepted by the other side's window."""
LINGER: Final = 2.0
"""Seconds a clean close waits for the other side's end of stream."""

__all__ = ["ByteStream", "Channel", "ChannelClosed"]


class ByteStream(Protocol):
    """What a channel needs of a muxed stream; every failure is an :class:`UnreachableError`."""

    async def read(self, size: int) -> bytes:
        """1 to ``size`` bytes, or ``b""`` at the end of the stream."""
        ...

    async def write(self, data: bytes) -> None:
        """Write all of ``data``, waiting for the other side's window."""
        ...

    async def close_write(self) -> None:
        """Send the end of stream; reading goes on."""
        ...

    async def finish(self) -> None:
        """Forget a stream that has ended in both directions."""
        ...

    async def reset(self) -> None:
        """End both directions at once; what is in flight is lost. Never raises."""
        ...


class Channel:
    """Whole frames over one stream. One task may send while another receives."""

    def __init__(self, stream: ByteStream, *, peer: str, protocol: str, max_frame: int, via: str | None = None) -> None:
        self.peer = peer
        """The authenticated peer id (base58) at the other end."""
        self.via = via
        """The relay whose circuit an inbound channel came through, or None for a direct connection."""
        self.protocol = protocol
        self.max_frame = max_frame
        self._stream = stream
        self._frames = FrameReader(max_frame)
        self._sending = trio.Lock()
        self._receiving = trio.Lock()
        self._eof_sent = False
        self._eof_seen = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<Channel {self.protocol} {'closed' if self._closed else 'open'}>"

    @property
    def closed(self) -> bool:
        """Whether this side has closed or reset the channel."""
        return self._closed

    async def send(self, data: bytes, *, deadline: float | None = None) -> None:
        """Send one frame, waiting at most ``deadline`` seconds for the other side to have room for it."""
        if self._closed or self._eof_sent:
            raise UsageError("send on a channel that this side has closed")
        if len(data) > self.max_frame:
            raise UsageError(f"a frame of {len(data)} bytes where {self.protocol} allows {self.max_frame}")
        async with self._sending:
            await self._write(frame(data), SEND_DEADLINE if deadline is None else deadline)

    async def receive(self, *, deadline: float | None = None) -> bytes:
        """The next frame, within ``deadline`` seconds.

        :class:`ChannelClosed` at a clean end, :class:`DeadlineError` when nothing came (the channel stays usable),
        :class:`MalformedError` or :class:`OversizeError` for a broken frame (the channel is reset).
        """
        seconds = RECEIVE_DEADLINE if deadline is None else deadline
        with trio.move_on_after(seconds):
            async with self._receiving:
                return await self._next_frame()
        raise DeadlineError(f"no answer on {self.protocol} within {seconds:g} s")

    async def send_eof(self, *, deadline: float | None = None) -> None:
        """Say that nothing more will be sent; receiving goes on."""
        if self._eof_sent or self._closed:
            return
        self._eof_sent = True
        with trio.move_on_after(SEND_DEADLINE if deadline is None else deadline):
            await self._stream.close_write()
            return
        await self.abort()
        raise DeadlineError(f"the other side of {self.protocol} takes nothing more")

    async def aclose(self, *, linger: float = LINGER) -> None:
        """End cleanly: what was sent arrives, what was not read is dropped. Safe to call twice."""
        if self._closed:
            return
        try:
            if await self._end_both(linger):
                self._closed = True
                await self._stream.finish()
        finally:
            with trio.move_on_after(LINGER, shield=True):
                await self.abort()

    async def abort(self) -> None:
        """Reset the stream now; never raises and does not wait for the other side."""
        if self._closed:
            return
        self._closed = True
        with trio.CancelScope(shield=True), trio.move_on_after(LINGER):
            await self._stream.reset()

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            with trio.move_on_after(LINGER, shield=True):
                await self.abort()

    async def _write(self, data: bytes, seconds: float) -> None:
        done = False
        try:
            with trio.move_on_after(seconds):
                await self._stream.write(data)
                done = True
        finally:
            if not done:
                with trio.move_on_after(LINGER, shield=True):
                    await self.abort()
        if not done:
            raise DeadlineError(f"the other side of {self.protocol} took no frame within {seconds:g} s")

    async def _next_frame(self) -> bytes:
        if self._closed:
            raise UsageError("receive on a channel that this side has closed")
        try:
            while (whole := self._frames.next()) is None:
                await self._fill()
        except (MalformedError, OversizeError):
            with trio.move_on_after(LINGER, shield=True):
                await self.abort()
            raise
        return whole

    async def _fill(self) -> None:
        if self._eof_seen:
            raise ChannelClosed(f"the other side ended {self.protocol}")
        data = await self._stream.read(READ_SIZE)
        if data:
            self._frames.feed(data)
            return
        self._eof_seen = True
        if self._frames.mid_frame:
            raise MalformedError(f"{self.protocol} ended in the middle of a frame")

    async def _end_both(self, linger: float) -> bool:
        """Whether both directions ended in time."""
        with trio.move_on_after(linger):
            try:
                if not self._eof_sent:
                    self._eof_sent = True
                    await self._stream.close_write()
                while not self._eof_seen:
                    self._eof_seen = not await self._stream.read(READ_SIZE)
            except UnreachableError:
                return False
            return True
        return False
