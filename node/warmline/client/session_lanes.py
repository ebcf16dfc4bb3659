"""Inlets: one lane to each queue of one's own, followed for as long as the conversation lasts.

A lane owns its path: one purpose, one throw-away key, one circuit, opened again whenever it ends. It knows nothing of
what the cells mean. The lanes to the other side's queues are in ``session_outlets``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import trio

from warmline.client.queues import Cursor, QueueClient
from warmline.client.session_client import Backoff, Client, LanePath, OwnQueue, QueueNode, SessionSettings
from warmline.scopes import sole_error
from warmline_protocol.errors import RefusedError, UnreachableError, WarmlineError
from warmline_protocol.queue.messages import QUEUE

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # the stubs that mypy sees know it by this name

GONE = frozenset({"unknown", "denied", "kind"})
"""Answers after which following a queue has no use."""

DELETE_AT = 16
"""Cells read and not yet deleted at their node after which that does not wait for the pause."""

Deliver = Callable[[list[tuple[int, bytes]], bytes], Awaitable[None]]
"""Called with numbered cells and the log's incarnation; when it returns, they are safe."""


class Inlet:
    """Follows one's own queue for as long as :meth:`run` runs."""

    def __init__(
        self,
        client: Client,
        own: OwnQueue,
        deliver: Deliver,
        lost: Callable[[Inlet], None] = lambda inlet: None,
        *,
        made: bool = False,
    ) -> None:
        """``lost`` is called when the node says that the queue is gone, and when it has been out of reach for long.

        ``made``: the queue is there already, though perhaps nothing was ever read from it.
        """
        self.own = own
        self._lost = lost
        self.up = False
        self.weakness: str | None = None
        self.gone = ""
        self._down_since: float | None = None
        self._client = client
        self._deliver = deliver
        self._created = made
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._undeleted = 0
        self._read = trio.Event()
        self._read_many = trio.Event()
        if made and own.cursor is not None:
            self._read.set()  # whoever read this before may have ended before it was deleted

    async def run(  # noqa: ASYNC114, ASYNC128 - a common name; _once tells
        self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Make the queue (failures of that are raised to the starter), then follow it through everything."""
        backoff = Backoff(self._client)
        try:
            while not self._stop.is_set() and not self.gone:
                try:
                    await self._once(task_status, backoff)
                except RefusedError as error:
                    self._refused(error)
                except WarmlineError:
                    if not self._created:
                        raise
                self.up = False
                if not self._stop.is_set() and not self.gone:
                    self._notice_silence()
                    await backoff.wait()
        finally:
            self._stopped.set()

    def _refused(self, error: RefusedError) -> None:
        if not self._created:
            raise error
        if error.code in GONE:
            self.gone = error.message
            self._lost(self)

    def _notice_silence(self) -> None:
        now = trio.current_time()
        if self._down_since is None:
            self._down_since = now
        elif now >= self._down_since + self._client.settings.queue_silence:
            self._down_since = now
            self._lost(self)

    async def _once(self, task_status: TaskStatus[None], backoff: Backoff) -> None:
        own = self.own
        async with self._client.paths.path("queue", own.node) as path, self._client.queues_over(path) as queues:
            self.weakness = path.weakness
            if not self._created:
                life = self._client.settings.queue_life_ms
                await queues.create(own.owner, QUEUE, send_key=own.send_key, life_ms=life)
                self._created = True
                task_status.started()
            await self._follow(path, queues, backoff)
            if self._stop.is_set():
                await queues.remove(own.queue, own.owner)

    async def _follow(self, path: LanePath, queues: QueueClient, backoff: Backoff) -> None:
        own = self.own
        async with queues.follow(own.queue, owner=own.owner, cursor=own.cursor) as cells:
            self.up, self._down_since = True, None
            backoff.reset()
            if own.cursor is None:
                own.cursor = Cursor(cells.incarnation, 0)
            if own.cursor.incarnation != cells.incarnation:
                self._read = trio.Event()  # nothing of this log's life was read yet
            with sole_error():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._delete_forever, queues)
                    await carry(path, cells.__anext__, self._hand_on, self._stop)
                    nursery.cancel_scope.cancel()

    async def _hand_on(self, batch: list[tuple[Cursor, bytes]]) -> None:
        last = batch[-1][0]
        await self._deliver([(cursor.seq, cell) for cursor, cell in batch], last.incarnation)
        self.own.cursor = last
        self._undeleted += len(batch)
        self._read.set()
        if self._undeleted >= DELETE_AT:
            self._read_many.set()

    async def _delete_forever(self, queues: QueueClient) -> None:
        """Tell the node what it need not keep, a pause's worth at once: each time costs it a write to its disk, for
        which receipts would have to wait. What a crash leaves there is read again, and known by its counter.
        """
        while True:
            await self._read.wait()
            with trio.move_on_after(self._client.settings.delete_pause):
                await self._read_many.wait()
            self._undeleted, self._read, self._read_many = 0, trio.Event(), trio.Event()
            assert self.own.cursor is not None
            try:
                await queues.ack(self.own.queue, self.own.owner, self.own.cursor)
            except UnreachableError:
                self._read.set()
                raise

    async def close(self) -> None:
        """Stop following and take the queue away, best effort."""
        self._stop.set()
        with trio.move_on_after(self._client.settings.goodbye):
            await self._stopped.wait()


async def carry(
    path: LanePath,
    fetch: Callable[[], Awaitable[tuple[Cursor, bytes]]],
    hand_on: Callable[[list[tuple[Cursor, bytes]]], Awaitable[None]],
    stop: trio.Event,
) -> None:
    """Cells from ``fetch`` to ``hand_on``, as many at a time as there are, until the path ends or ``stop`` is set."""
    send, receive = trio.open_memory_channel[tuple[Cursor, bytes]](64)
    failure: WarmlineError | None = None

    async def until(done: Callable[[], Awaitable[None]]) -> None:
        await done()
        nursery.cancel_scope.cancel()

    async def reader() -> None:
        # What was read before the failure is handed on first: after a room's commit the way on is in it.
        nonlocal failure
        with send:
            try:
                while True:
                    await send.send(await fetch())
            except WarmlineError as error:
                failure = error

    async def writer() -> None:
        nonlocal failure
        try:
            while True:
                await hand_on(await _batch(receive))
        except trio.EndOfChannel:
            pass
        except WarmlineError as error:
            failure = error
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(until, path.wait_expiring)
        nursery.start_soon(until, stop.wait)
        nursery.start_soon(reader)
        nursery.start_soon(writer)
    if failure is not None:
        raise failure


async def _batch(receive: trio.MemoryReceiveChannel[tuple[Cursor, bytes]]) -> list[tuple[Cursor, bytes]]:
    batch = [await receive.receive()]
    while True:
        try:
            batch.append(receive.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return batch


async def open_inlets(
    client: Client,
    nursery: trio.Nursery,
    count: int,
    deliver: Deliver,
    lost: Callable[[Inlet], None],
    *,
    avoid: Sequence[str] = (),
) -> list[Inlet]:
    """Up to ``count`` queues of one's own, at nodes of different operators where there are some, being followed.

    Nodes to ``avoid`` (peer ids) come last.
    :class:`UnreachableError` when no node gives one.
    """
    inlets: list[Inlet] = []
    reasons: list[str] = []
    nodes = client.pick_nodes(avoid=avoid)

    async def open_one() -> None:
        while nodes:
            node = nodes.pop(0)
            inlet = Inlet(client, OwnQueue.at(node.address, client.rng), deliver, lost)
            try:
                with trio.fail_after(client.settings.create):
                    await nursery.start(inlet.run)
            except (WarmlineError, trio.TooSlowError) as error:
                reasons.append(f"{node.address.peer_id[-8:]}: {error or 'too slow'}")
                continue
            inlets.append(inlet)
            return

    async with trio.open_nursery() as opening:
        for _ in range(count):
            opening.start_soon(open_one)
    if not inlets:
        raise UnreachableError(
            "no node gives a queue to receive answers in", hint="; ".join(reasons) or "No queue node is known yet."
        )
    return inlets


__all__ = ["GONE", "Client", "Inlet", "QueueNode", "SessionSettings", "carry", "open_inlets"]
