"""Outlets: one lane to each node that keeps queues of the other side.

A lane owns its path: one purpose, one throw-away key, one circuit, opened again whenever it ends. Failures are
reported, never raised: the session machine keeps every message until it is accounted for.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio

from warmline.client.queues import QueueClient, Receipt
from warmline.client.session_client import Client
from warmline_protocol.errors import RefusedError, UnreachableError, WarmlineError
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.node import NodeAddress


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
