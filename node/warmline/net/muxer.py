"""Yamux with the bounds that the library's lacks (stream_muxer/yamux/yamux.py, 0.8.1).

* The receive window is announced and not enforced: a peer that ignores it is warned about and buffered, without end.
* A peer may open streams without end; each waits as a task for a slot.
* 256 streams at once is all that may be *opened* over one connection, too few for a relay's circuits to one node.
"""

from __future__ import annotations

from typing import Any, Final

import trio
from libp2p.stream_muxer.yamux.yamux import MAX_WINDOW_SIZE, Yamux

MAX_OUTBOUND_STREAMS: Final = 1024
"""Streams that this side may have open at once over one connection."""
BUFFER_MAX: Final = MAX_WINDOW_SIZE + 64 * 1024
"""Bytes one stream may hold unread: the largest window that we ever announce, and one frame."""


class BoundedYamux(Yamux):
    """Closes the connection of a peer that overruns a receive window."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stream_backlog_limit = MAX_OUTBOUND_STREAMS
        self.stream_backlog_semaphore = trio.Semaphore(MAX_OUTBOUND_STREAMS)
        self.stream_buffers = _Buffers()


class _Buffers(dict[int, bytearray]):
    def __setitem__(self, stream: int, buffer: bytearray) -> None:
        super().__setitem__(stream, _BoundedBuffer(buffer))


class _BoundedBuffer(bytearray):
    def extend(self, data: Any) -> None:
        if len(self) + len(data) > BUFFER_MAX:
            # The one exception that Yamux.handle_incoming answers by closing the connection.
            raise trio.TooSlowError("the peer ignores the receive window")
        super().extend(data)
