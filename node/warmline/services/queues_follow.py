"""Followers: readers who stay, are told of cells as they come, and cost little while nothing does.

A follower is pulled, not pushed: it is woken, and takes the next batch when its reader has taken the last ones. At most
``FOLLOW_WINDOW`` cells are under way, so a reader who sleeps holds neither memory here nor a closed Yamux window (which
would reset the stream after five seconds). Who is at the end of a busy log gets the frame that was just encoded for
all; everybody else reads from the store, and is asked there each time whether its key still opens. A commit, a removal
or a change of owner sends everybody to the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import trio

from warmline.net.api import Channel
from warmline.net.rpc import refusal
from warmline.scopes import sole_error
from warmline.services.queues_book import Batch
from warmline.services.queues_share import busy
from warmline_protocol.errors import ChannelClosed, DeadlineError, RefusedError, UnreachableError
from warmline_protocol.limits import FOLLOW_HEARTBEAT_MS, FOLLOW_WINDOW, QUEUE_CELLS_MAX
from warmline_protocol.queue.log import fenced
from warmline_protocol.queue.messages import LOG, Cells, Heartbeat, Taken
from warmline_protocol.wire import from_wire, to_wire

HEARTBEAT_S = FOLLOW_HEARTBEAT_MS / 1000
SILENCE_S = 3 * HEARTBEAT_S
FRAMES_MAX = 128
"""Encoded frames kept for followers at the end of their logs, over all logs: 9 MiB at most."""

Load = Callable[[int | None, int], Awaitable[Batch]]
"""Authorise the reader and read: ``load(after, most)``; ``None`` starts at its cursor."""


@dataclass(frozen=True, slots=True)
class _Frame:
    first: int
    last: int
    data: bytes


class _Watch:
    """What the followers of one queue have in common."""

    __slots__ = ("changes", "followers", "frames", "version")

    def __init__(self) -> None:
        self.followers: dict[Follower, None] = {}
        self.frames: deque[_Frame] = deque()
        self.version = 0
        self.changes = 0

    def frame_after(self, seq: int) -> _Frame | None:
        return next((frame for frame in self.frames if frame.first == seq + 1), None)

    def wake(self) -> None:
        self.version += 1
        for follower in self.followers:
            follower.poke()


class Followers:
    """All followers of one node."""

    def __init__(self, *, most: int, most_per_queue: int) -> None:
        self._most = most
        self._most_per_queue = most_per_queue
        self._watches: dict[bytes, _Watch] = {}
        self._framed: deque[_Watch] = deque()
        self.count = 0

    def told(self, queue: bytes, cells: Cells) -> None:
        """These cells are on the disk now."""
        watch = self._watches.get(queue)
        if watch is None:
            return
        frame = _Frame(cells.first, cells.first + len(cells.cells) - 1, to_wire(cells))
        watch.frames.append(frame)
        self._framed.append(watch)
        if len(self._framed) > FRAMES_MAX:
            oldest = self._framed.popleft()
            if oldest.frames:
                oldest.frames.popleft()
        watch.wake()

    def changed(self, queue: bytes) -> None:
        """Keys or owner are others now, or the queue is gone: everybody must ask again."""
        watch = self._watches.get(queue)
        if watch is not None:
            watch.frames.clear()
            watch.changes += 1
            watch.wake()

    async def serve(
        self, channel: Channel, queue: bytes, load: Load, *, utc_ms: Callable[[], int], established: bool = True
    ) -> None:
        """Tell one reader until it goes, stays silent, or may see no more.

        Readers through entries that are not ``established`` leave a quarter of the places to the others.
        """
        watch = self._watches.setdefault(queue, _Watch())
        most = self._most if established else self._most * 3 // 4
        if self.count >= most or len(watch.followers) >= self._most_per_queue:
            self._leave(queue, watch, None)
            raise busy("too many readers follow here")
        follower = Follower(channel, watch, load, utc_ms)
        watch.followers[follower] = None
        self.count += 1
        try:
            await follower.run()
        finally:
            self.count -= 1
            self._leave(queue, watch, follower)

    def _leave(self, queue: bytes, watch: _Watch, follower: Follower | None) -> None:
        if follower is not None:
            del watch.followers[follower]
        if not watch.followers:
            watch.frames.clear()
            self._watches.pop(queue, None)


class Follower:
    """One reader who stays: one task tells, one hears."""

    __slots__ = (
        "_changes",
        "_channel",
        "_checked",
        "_incarnation",
        "_load",
        "_poked",
        "_position",
        "_release_ms",
        "_taken",
        "_utc_ms",
        "_waker",
        "_watch",
    )

    def __init__(self, channel: Channel, watch: _Watch, load: Load, utc_ms: Callable[[], int]) -> None:
        self._channel = channel
        self._watch = watch
        self._load = load
        self._utc_ms = utc_ms
        self._position = self._taken = 0
        self._checked = -1  # version of the watch at which the store had nothing more
        self._changes = -1  # changes of the watch at the last authorisation
        self._release_ms = 0
        self._incarnation = b""
        self._poked = False
        self._waker: trio.Event | None = None

    def poke(self) -> None:
        """Look again, also when this comes while it is looking."""
        self._poked = True
        if self._waker is not None:
            self._waker.set()

    async def run(self) -> None:
        with sole_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, nursery.cancel_scope)
                await self._tell_or_refuse()
                nursery.cancel_scope.cancel()

    async def _tell_or_refuse(self) -> None:
        try:
            await self._tell()
        except RefusedError as error:
            await self._refuse(error)
        except (ChannelClosed, DeadlineError, UnreachableError):
            return  # the reader is gone or too slow: it comes back with its cursor

    async def _tell(self) -> None:
        await self._begin()
        beat_at = trio.current_time() + HEARTBEAT_S
        while True:
            self._poked = False
            if await self._tell_more():
                beat_at = trio.current_time() + HEARTBEAT_S
            elif trio.current_time() >= beat_at:
                await self._beat(self._position)
                beat_at = trio.current_time() + HEARTBEAT_S
            elif not self._poked:
                await self._wait(beat_at)

    async def _begin(self) -> None:
        changes = self._watch.changes
        batch = await self._load(None, 1)
        self._changes = changes
        self._incarnation = batch.cells.incarnation
        self._release_ms = batch.release_ms
        self._position = self._taken = batch.cells.first - 1
        await self._beat(batch.cells.head)

    async def _tell_more(self) -> bool:
        """Send one batch if there is one and the reader has room."""
        room = FOLLOW_WINDOW - (self._position - self._taken)
        if room <= 0:
            return False
        frame = self._ready_frame()
        if frame is not None and frame.last - self._position <= room:
            await self._channel.send(frame.data)
            self._position = frame.last
            return True
        if self._checked == self._watch.version:
            return False
        return await self._tell_stored(min(room, QUEUE_CELLS_MAX))

    def _ready_frame(self) -> _Frame | None:
        current = self._changes == self._watch.changes and not self._held()
        return self._watch.frame_after(self._position) if current else None

    async def _tell_stored(self, most: int) -> bool:
        version, changes, held = self._watch.version, self._watch.changes, self._held()
        batch = await self._load(self._position, most)
        self._changes = changes
        cells = batch.cells
        if cells.cells:
            await self._channel.send(to_wire(cells))
            self._position = cells.first + len(cells.cells) - 1
        elif not held:
            self._checked = version
        if batch.ended:
            raise fenced(LOG)
        return bool(cells.cells)

    def _held(self) -> bool:
        return self._utc_ms() < self._release_ms

    async def _wait(self, beat_at: float) -> None:
        if self._held():
            beat_at = min(beat_at, trio.current_time() + (self._release_ms - self._utc_ms()) / 1000)
        self._waker = trio.Event()
        with trio.move_on_at(beat_at):
            await self._waker.wait()
        self._waker = None

    async def _beat(self, head: int) -> None:
        await self._channel.send(to_wire(Heartbeat(self._incarnation, head)))

    async def _refuse(self, error: RefusedError) -> None:
        with suppress(ChannelClosed, DeadlineError, UnreachableError):  # nobody is left to be told
            await self._channel.send(to_wire(refusal(error)))

    async def _hear(self, scope: trio.CancelScope) -> None:
        try:
            while True:
                data = await self._channel.receive(deadline=SILENCE_S)
                taken = from_wire(data, (Taken,), max_size=64).seq
                self._taken = max(self._taken, min(taken, self._position))
                self.poke()
        except (ChannelClosed, DeadlineError, UnreachableError):
            scope.cancel()
