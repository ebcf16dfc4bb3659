"""Outlets: one lane to each node that keeps queues of the other side.

A lane owns its path: one purpose, one throw-away key, one circuit, opened again whenever it ends. Failures are
reported, never raised: the session machine keeps every message until it is accounted for.

What waits for the same queue goes together, sixteen cells at most: an append adds all its cells or none, so one receipt
is a receipt for each message in it. A node learns that they were said in one go, which their times show it anyway.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio

from warmline.client.queues import QueueClient, Receipt
from warmline.client.session_client import Client
from warmline_protocol import limits
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
    address: QueueAddress | None = None
    cells: tuple[bytes, ...] = ()
    """Where these go; jobs to the same address may go together. Without an address a job goes alone."""
    what: object = None
    all_done: Callable[[Sequence[object], str, Receipt], Awaitable[None]] | None = None
    """Called once in the place of ``done`` for jobs that went together, with ``what`` of each."""


class Outlet:
    """Sends to one node, one request at a time, over a path that it opens when there is work."""

    def __init__(self, client: Client, node: NodeAddress) -> None:
        self.node = node
        self.weakness: str | None = None
        self._client = client
        self._send, self._receive = trio.open_memory_channel[Job](math.inf)
        self._group: list[Job] = []
        self._ahead: Job | None = None

    def put(self, job: Job) -> None:
        """Queue a job; the session's outbox bounds how many there are."""
        self._send.send_nowait(job)

    async def run(self) -> None:
        while True:
            self._group = self._group or await self._gather()
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
                while self._group and usable:
                    group, self._group = self._group, []
                    usable = await self._perform_group(queues, group) and not expiring.is_set()
                    if usable:
                        with trio.move_on_after(self._client.settings.idle):
                            self._group = await self._gather()
                nursery.cancel_scope.cancel()

    async def _gather(self) -> list[Job]:
        """The next job, and what waits behind it and may go along, in order."""
        first, self._ahead = self._ahead or await self._receive.receive(), None
        group, room = [first], limits.QUEUE_CELLS_MAX - len(first.cells)
        while first.address is not None:
            try:
                following = self._receive.receive_nowait()
            except trio.WouldBlock:
                break
            if following.address != first.address or len(following.cells) > room:
                self._ahead = following
                break
            group.append(following)
            room -= len(following.cells)
        return group

    async def _perform_group(self, queues: QueueClient, group: list[Job]) -> bool:
        if len(group) > 1:
            whole = await self._perform_together(queues, group)
            if whole is not None:
                return whole
        for index, job in enumerate(group):
            if not await self._perform(queues, job):
                for rest in group[index + 1 :]:
                    await rest.failed("unreachable", "the path ended")
                return False
        return True

    async def _perform_together(self, queues: QueueClient, group: list[Job]) -> bool | None:
        """One append for all; None when its node refused all, and may take some."""
        address = group[0].address
        assert address is not None
        cells = [cell for job in group for cell in job.cells]
        try:
            receipt = await queues.append(address.queue, cells, send_key=address.send_key)
        except RefusedError:
            return None
        except WarmlineError as error:
            for job in group:
                await job.failed("unreachable", str(error))
            return False
        tell_all = group[0].all_done
        if tell_all is not None and all(job.all_done == tell_all for job in group):
            await tell_all([job.what for job in group], self.node.peer_id, receipt)
            return True
        for job in group:
            await job.done(self.node.peer_id, receipt)
        return True

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
        jobs = self._group + ([] if self._ahead is None else [self._ahead])
        self._group, self._ahead = [], None
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
    what: object = None,
    all_done: Callable[[Sequence[object], str, Receipt], Awaitable[None]] | None = None,
) -> Job:
    """Append ``cells`` to a queue, or with ``fence`` to a room log. See :class:`Job`."""

    async def perform(queues: QueueClient) -> Receipt:
        return await queues.append(address.queue, cells, send_key=address.send_key, fence=fence)

    return Job(perform, done, failed, address if fence is None else None, cells, what, all_done)


async def offer(client: Client, addresses: Sequence[QueueAddress], cells: tuple[bytes, ...]) -> tuple[str, Receipt]:
    """Append once, to the first queue that takes it: (node, receipt). For answers outside any session.

    With one address its refusal is raised; with more :class:`UnreachableError`, which says what each answered.
    """
    reasons: list[str] = []
    for address in addresses:
        try:
            async with client.paths.path("send", address.node) as path, client.queues_over(path) as queues:
                receipt = await queues.append(address.queue, cells, send_key=address.send_key)
                return address.node.peer_id, receipt
        except WarmlineError as error:
            if len(addresses) == 1 and isinstance(error, RefusedError):
                raise
            reasons.append(f"{address.node.peer_id[-8:]}: {error}")
    raise UnreachableError("no queue took it", hint="; ".join(reasons))
