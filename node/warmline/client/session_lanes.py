"""Queues as lanes: an inlet for each queue of one's own, an outlet for each queue of the other side.

A lane owns its path: one purpose, one throw-away key, one circuit, opened again whenever it ends. It knows nothing of
what the cells mean. Failures are reported, never raised: what to do about them is the session machine's business,
which keeps every message until it is accounted for.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import trio

from warmline.client.queues import Cursor, QueueClient, Receipt
from warmline.env import Clock, Rng, RunBlocking
from warmline.net.api import Channel
from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import MalformedError, RefusedError, UnreachableError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.queue.auth import queue_id
from warmline_protocol.queue.messages import LOG, QUEUE
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.mls import E2EEProvider
from warmline_protocol.wire import pack, unpack

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # the stubs that mypy sees know it by this name

GONE = frozenset({"unknown", "denied", "kind"})
"""Answers after which following a queue has no use."""


class LanePath(Protocol):
    """What a lane needs of :class:`warmline.client.routes.Path`."""

    async def open_channel(self, protocol: str) -> Channel: ...

    async def wait_expiring(self) -> None: ...

    @property
    def weakness(self) -> str | None: ...


class Paths(Protocol):
    """What a lane needs of :class:`warmline.client.routes.Routes`."""

    def path(self, purpose: str, node: NodeAddress) -> AbstractAsyncContextManager[LanePath]: ...


@dataclass(frozen=True, slots=True)
class QueueNode:
    """A node that offers queues, and who runs it."""

    address: NodeAddress
    operator: str = ""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Seconds, unless the name says otherwise. Every network wait of a session stands under one of these."""

    request: float = 20.0
    create: float = 45.0
    """One attempt to make a queue at a node, path included."""
    retry_first: float = 0.5
    retry_max: float = 15.0
    idle: float = 120.0
    """An outlet without work closes its path after this."""
    goodbye: float = 3.0
    second_queue_ms: int = limits.SECOND_QUEUE_MS
    still_waiting: float = 60.0
    """An unanswered Hello is offered to the next door, and the person told, after this."""
    log_silence: float = 30.0
    """A room whose log node is gone for so long moves."""
    queue_life_ms: int = 48 * 3600_000


@dataclass(slots=True)
class Client:
    """What all sessions of one person share. ``queue_nodes`` are those known now, from node records."""

    paths: Paths
    queue_nodes: Callable[[], Sequence[QueueNode]]
    provider: E2EEProvider
    rng: Rng
    clock: Clock
    run_blocking: RunBlocking
    settings: SessionSettings = field(default_factory=SessionSettings)

    def queues_over(self, path: LanePath) -> QueueClient:
        return QueueClient(path, deadline=self.settings.request, run_blocking=self.run_blocking)

    def pick_nodes(self, *, avoid: Sequence[str] = ()) -> list[QueueNode]:
        """Queue nodes in random order, those of operators not met before in front, ``avoid`` (peer ids) last."""
        nodes = self.rng.sample(list(self.queue_nodes()), len(self.queue_nodes()))
        met: set[str] = set()
        first: list[QueueNode] = []
        rest: list[QueueNode] = []
        for node in nodes:
            known = node.operator or node.address.peer_id
            (rest if known in met or node.address.peer_id in avoid else first).append(node)
            met.add(known)
        return first + rest


@dataclass(slots=True)
class OwnQueue:
    """A queue that others send to, and all that is needed to read it after a restart."""

    node: NodeAddress
    owner: SigningKey
    send_key: bytes
    cursor: Cursor | None = None

    @classmethod
    def at(cls, node: NodeAddress, rng: Rng) -> OwnQueue:
        return cls(node, SigningKey(rng.bytes(32)), rng.bytes(32))

    @property
    def queue(self) -> bytes:
        """Its 16-byte id at the node."""
        return queue_id(self.owner.public)

    @property
    def address(self) -> bytes:
        """As it travels inside a Hello or a Welcome."""
        return pack_address(QueueAddress(self.node, self.queue, self.send_key))


def pack_address(address: QueueAddress) -> bytes:
    """Encoded; with as many of the node's addresses as fit."""
    for count in range(len(address.node.addrs), 0, -1):
        node = NodeAddress(address.node.peer_id, address.node.addrs[:count])
        packed = encode(pack(QueueAddress(node, address.queue, address.send_key)))
        if len(packed) <= limits.QUEUE_ADDRESS_MAX:
            return packed
    raise MalformedError("a node whose shortest address is too long to name")


def unpack_address(data: bytes) -> QueueAddress:
    fields = decode(data, max_size=limits.QUEUE_ADDRESS_MAX)
    if not isinstance(fields, dict):
        raise MalformedError("not a queue address")
    return unpack(QueueAddress, fields)


class Backoff:
    """Pauses that double, with some randomness, so that clients of one dead node do not come back together."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pause = client.settings.retry_first

    def reset(self) -> None:
        self._pause = self._client.settings.retry_first

    async def wait(self) -> None:
        pause, self._pause = self._pause, min(2 * self._pause, self._client.settings.retry_max)
        await trio.sleep(pause * self._client.rng.uniform(0.5, 1.0))


Deliver = Callable[[list[tuple[int, bytes]], bytes], Awaitable[None]]
"""Called with numbered cells and the log's incarnation; when it returns, they are safe."""


class Inlet:
    """Follows one's own queue for as long as :meth:`run` runs."""

    def __init__(
        self, client: Client, own: OwnQueue, deliver: Deliver, lost: Callable[[NodeAddress], None] = lambda node: None
    ) -> None:
        """``lost`` is called when the node says that the queue is gone."""
        self.own = own
        self._lost = lost
        self.up = False
        self.weakness: str | None = None
        self.gone = ""
        self._client = client
        self._deliver = deliver
        self._created = own.cursor is not None
        self._stop = trio.Event()
        self._stopped = trio.Event()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
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
                    await backoff.wait()
        finally:
            self._stopped.set()

    def _refused(self, error: RefusedError) -> None:
        if not self._created:
            raise error
        if error.code in GONE:
            self.gone = error.message
            self._lost(self.own.node)

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
            self.up = True
            backoff.reset()
            if own.cursor is None:
                own.cursor = Cursor(cells.incarnation, 0)
            await carry(path, cells.__anext__, self._hand_on(queues), self._stop)

    def _hand_on(self, queues: QueueClient) -> Callable[[list[tuple[Cursor, bytes]]], Awaitable[None]]:
        async def hand_on(batch: list[tuple[Cursor, bytes]]) -> None:
            last = batch[-1][0]
            await self._deliver([(cursor.seq, cell) for cursor, cell in batch], last.incarnation)
            self.own.cursor = last
            await queues.ack(self.own.queue, self.own.owner, last)

        return hand_on

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


@dataclass(frozen=True, slots=True)
class Job:
    """One append: how to do it, and whom to tell."""

    perform: Callable[[QueueClient], Awaitable[Receipt]]
    done: Callable[[str, Receipt], Awaitable[None]]
    """Called with the node's peer id."""
    failed: Callable[[str, str], Awaitable[None]]
    """Called with a code and the reason."""


class Outlet:
    """Sends to one node, one request at a time, over a path that it opens when there is work."""

    def __init__(self, client: Client, node: NodeAddress) -> None:
        self.node = node
        self.weakness: str | None = None
        self._client = client
        self._send, self._receive = trio.open_memory_channel[Job](math.inf)
        self._job: Job | None = None

    def put(self, job: Job) -> None:
        """Queue a job; the session's outbox bounds how many there are."""
        self._send.send_nowait(job)

    async def run(self) -> None:
        while True:
            self._job = self._job or await self._receive.receive()
            try:
                await self._serve()
            except WarmlineError as error:
                await self._fail_all(error)

    async def _serve(self) -> None:
        """Work on one path until it ends or nothing comes."""
        async with self._client.paths.path("send", self.node) as path, self._client.queues_over(path) as queues:
            self.weakness = path.weakness
            expiring = trio.Event()

            async def watch() -> None:
                await path.wait_expiring()
                expiring.set()

            usable = True
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                while self._job is not None and usable:
                    usable = await self._perform(queues, self._job) and not expiring.is_set()
                    self._job = await self._next() if usable else None
                nursery.cancel_scope.cancel()

    async def _next(self) -> Job | None:
        with trio.move_on_after(self._client.settings.idle):
            return await self._receive.receive()
        return None

    async def _perform(self, queues: QueueClient, job: Job) -> bool:
        """Do it and tell; whether the path is still good. A refusal is an answer like any other."""
        try:
            receipt = await job.perform(queues)
        except RefusedError as error:
            await job.failed(error.code, error.message)
            return True
        except WarmlineError as error:
            await job.failed("unreachable", str(error))
            return False
        await job.done(self.node.peer_id, receipt)
        return True

    async def _fail_all(self, error: WarmlineError) -> None:
        # What waits behind a dead path would wait for one dial each.
        jobs = [] if self._job is None else [self._job]
        self._job = None
        while True:
            try:
                jobs.append(self._receive.receive_nowait())
            except trio.WouldBlock:
                break
        for each in jobs:
            await each.failed("unreachable", str(error))


def append_job(
    address: QueueAddress,
    cells: tuple[bytes, ...],
    done: Callable[[str, Receipt], Awaitable[None]],
    failed: Callable[[str, str], Awaitable[None]],
    *,
    fence: int | None = None,
) -> Job:
    """Append ``cells`` to a queue, or with ``fence`` to a room log."""

    async def perform(queues: QueueClient) -> Receipt:
        return await queues.append(address.queue, cells, send_key=address.send_key, fence=fence)

    return Job(perform, done, failed)


async def open_inlets(
    client: Client, nursery: trio.Nursery, count: int, deliver: Deliver, lost: Callable[[NodeAddress], None]
) -> list[Inlet]:
    """Up to ``count`` queues of one's own, at nodes of different operators where there are some, being followed.

    :class:`UnreachableError` when no node gives one.
    """
    inlets: list[Inlet] = []
    reasons: list[str] = []
    nodes = client.pick_nodes()

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


async def offer(client: Client, addresses: Sequence[QueueAddress], cells: tuple[bytes, ...]) -> tuple[str, Receipt]:
    """Append once, to the first queue that takes it: (node, receipt). For answers outside any session."""
    reasons: list[str] = []
    for address in addresses:
        try:
            async with client.paths.path("send", address.node) as path, client.queues_over(path) as queues:
                receipt = await queues.append(address.queue, cells, send_key=address.send_key)
                return address.node.peer_id, receipt
        except WarmlineError as error:
            reasons.append(f"{address.node.peer_id[-8:]}: {error}")
    raise UnreachableError("no queue took it", hint="; ".join(reasons))


__all__ = [
    "LOG",
    "Backoff",
    "Client",
    "Inlet",
    "Job",
    "Outlet",
    "OwnQueue",
    "Paths",
    "QueueNode",
    "SessionSettings",
    "append_job",
    "offer",
    "open_inlets",
    "pack_address",
    "unpack_address",
]
