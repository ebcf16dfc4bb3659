"""A lane to one of a supporter's doors: followed for as long as duty lasts, made where it is not there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from warmline.client.queues import Cursor, QueueClient
from warmline.client.session_client import Backoff, Client, LanePath
from warmline.client.session_lanes import GONE, carry
from warmline.scopes import sole_error
from warmline_protocol.errors import RefusedError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.auth import queue_id
from warmline_protocol.queue.messages import DOOR
from warmline_protocol.records.card import Door
from warmline_protocol.records.node import NodeAddress

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # the stubs that mypy sees know it by this name


log = logging.getLogger("warmline.client")


@dataclass(frozen=True, slots=True)
class OwnDoor:
    """A door: its node and the key that reads it, which lies with the supporter's identity."""

    node: NodeAddress
    owner: SigningKey
    open: bool = True

    @property
    def door(self) -> Door:
        """As a card or a listing names it."""
        return Door(self.node, queue_id(self.owner.public), self.open)


class DoorLane:
    """Follows one door; a cell goes from the node when everything up to it was decided."""

    def __init__(
        self,
        client: Client,
        own: OwnDoor,
        heard: Callable[[DoorLane, int, bytes], None],
        moved: Callable[[], None],
    ) -> None:
        self.own = own
        self.up = False
        self.gone = ""
        self.weakness: str | None = None
        self._client = client
        self._heard = heard
        self._moved = moved
        self._undecided: set[int] = set()
        self._read: Cursor | None = None
        self._acked = 0
        self._decided = trio.Event()

    async def run(  # noqa: ASYNC114 - listing so common a name would blame every other run
        self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Make the door if it is not there, follow it, come back after every failure."""
        backoff = Backoff(self._client)
        started = False
        while not self.gone:
            try:
                async with (
                    self._client.paths.path("door-owner", self.own.node) as path,
                    self._client.queues_over(path) as queues,
                ):
                    self.weakness = path.weakness
                    await self._make_sure(queues)
                    if not started:
                        started = True
                        task_status.started()
                    backoff.reset()
                    await self._follow(path, queues)
            except WarmlineError as error:
                if not started:
                    raise
                if isinstance(error, RefusedError) and error.code in GONE:
                    self.gone = error.message
                log.debug("a door is out of reach: %s", type(error).__name__)
            self._set_up(False)
            await backoff.wait()

    def _set_up(self, up: bool) -> None:
        self.up = up
        self._moved()

    async def _make_sure(self, queues: QueueClient) -> None:
        try:
            await queues.read(queue_id(self.own.owner.public), owner=self.own.owner)
        except RefusedError as error:
            if error.code != "unknown":
                raise
            await queues.create(self.own.owner, DOOR)

    async def _follow(self, path: LanePath, queues: QueueClient) -> None:
        queue = queue_id(self.own.owner.public)
        async with queues.follow(queue, owner=self.own.owner, cursor=self._read) as cells:
            self._set_up(True)

            async def hand_on(batch: list[tuple[Cursor, bytes]]) -> None:  # noqa: ASYNC124 - carry awaits it
                for cursor, cell in batch:
                    if self._read is not None and self._read.incarnation != cursor.incarnation:
                        self._undecided.clear()
                        self._acked = 0
                    self._read = cursor
                    self._undecided.add(cursor.seq)
                    self._heard(self, cursor.seq, cell)

            with sole_error():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._acknowledge, queues, queue)
                    await carry(path, cells.__anext__, hand_on, trio.Event())
                    nursery.cancel_scope.cancel()

    def decided(self, seq: int) -> None:
        """This Hello needs no more keeping."""
        self._undecided.discard(seq)
        self._decided.set()

    async def _acknowledge(self, queues: QueueClient, queue: bytes) -> None:
        while True:
            self._decided = trio.Event()
            upto = self._upto()
            if self._read is not None and upto > self._acked:
                try:
                    await queues.ack(queue, self.own.owner, Cursor(self._read.incarnation, upto))
                    self._acked = upto
                except WarmlineError:
                    return  # the next path sees to it; a Hello that comes twice is known by its attempt
            await self._decided.wait()

    def _upto(self) -> int:
        if self._read is None:
            return 0
        return min(self._undecided) - 1 if self._undecided else self._read.seq
