"""A person's side of queues: one `QueueClient` for each path to a node.

Errors are of two kinds. :class:`RefusedError` is the node's considered no (``code`` says which, see
protocol/queues.md); :class:`UnreachableError` means that no answer came, so that the request may or may not have
happened: ask again on a new path. All requests may be asked twice; an append then adds its cells twice, and readers
drop the double by the counter inside the encryption. Reconnecting is the caller's part, who knows other paths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Final, Protocol, TypeVar

import trio

from warmline.env import RunBlocking, run_in_thread
from warmline.net.api import Channel
from warmline.net.rpc import call, expect
from warmline_protocol.errors import ChannelClosed, DeadlineError, MalformedError, RefusedError, UnreachableError
from warmline_protocol.keys import SigningKey
from warmline_protocol.limits import FOLLOW_HEARTBEAT_MS, FOLLOW_WINDOW, MESSAGE_TTL_MS
from warmline_protocol.queue.auth import key_hash, prove, queue_id
from warmline_protocol.queue.log import link
from warmline_protocol.queue.messages import (
    DOOR,
    LOG,
    PROTOCOL,
    QUEUE,
    Ack,
    Acked,
    Append,
    AppendCommit,
    Cells,
    Challenge,
    Create,
    Created,
    Cursor,
    Follow,
    Heartbeat,
    Nonce,
    Read,
    Receipt,
    Remove,
    Removed,
    Taken,
    WorkNeeded,
)
from warmline_protocol.queue.work import solve
from warmline_protocol.wire import tag_of, to_wire

A = TypeVar("A")

DEADLINE: Final = 20.0
"""Seconds for one request and its answer, through an entry and with the node's disk in between."""
HEARTBEAT_DEADLINE: Final = FOLLOW_HEARTBEAT_MS / 1000 + 15.0
"""Seconds of silence after which a followed node counts as gone."""
IDLE: Final = 60.0
"""Seconds after which an unused channel is not trusted to be open still; nodes close theirs after 120 s."""
LIFE_MS: Final = 7 * 24 * 3600_000
CAPS: Final = {QUEUE: 64, DOOR: 64, LOG: 1024}

_SAID: Final[tuple[type[Cells | Heartbeat], ...]] = (Cells, Heartbeat)

__all__ = ["Cursor", "Following", "Path", "QueueClient", "Receipt"]


class Path(Protocol):
    """A way to one node; the channel's ``peer`` is that node's authenticated peer id."""

    async def open_channel(self, protocol: str) -> Channel: ...


class QueueClient:
    """Requests to one node over one path; safe for several tasks, which take turns on one channel."""

    def __init__(self, path: Path, *, deadline: float = DEADLINE, run_blocking: RunBlocking = run_in_thread) -> None:
        self._path = path
        self._deadline = deadline
        self._run_blocking = run_blocking
        self._turn = trio.Lock()
        self._channel: Channel | None = None
        self._nonce = b""
        self._used_at = 0.0

    async def aclose(self) -> None:
        """Close the request channel; channels that are followed close with their own block."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.aclose()

    async def __aenter__(self) -> QueueClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(2):
            if error is not None and self._channel is not None:
                # Cancelled, most often, and the path's own tasks with it: nobody is left to read the other side's
                # goodbye, and waiting for it would cost the whole deadline.
                await self._channel.abort()
            await self.aclose()

    # -- owners

    async def create(
        self,
        owner: SigningKey,
        kind: str = QUEUE,
        *,
        send_key: bytes | None = None,
        read_key: bytes | None = None,
        fence: int | None = None,
        cap: int | None = None,
        cell_ttl_ms: int = MESSAGE_TTL_MS,
        life_ms: int = LIFE_MS,
        release_at: int | None = None,
    ) -> Created:
        """Make the queue of ``owner`` (a fresh key for each queue), or find it made already on these terms.

        ``queue`` takes ``send_key``; ``log`` takes ``send_key``, ``read_key`` and ``fence``, its first epoch; ``door``
        takes none. ``release_at`` (ms UTC) makes a drop. Refused: ``budget``, ``busy``, ``exists``, ``denied``.
        """

        def ask(sign: Callable[[str, bytes], bytes]) -> Create:
            return Create(
                kind=kind,
                owner=owner.public,
                cap=CAPS[kind] if cap is None else cap,
                cell_ttl_ms=cell_ttl_ms,
                life_ms=life_ms,
                signature=sign(tag_of(Create), queue_id(owner.public)),
                send_hash=None if send_key is None else key_hash(send_key),
                read_hash=None if read_key is None else key_hash(read_key),
                fence=fence,
                release_at=release_at,
            )

        return await self._ask_signed(owner, ask, Created)

    async def append_commit(
        self,
        queue: bytes,
        owner: SigningKey,
        cells: Sequence[bytes],
        *,
        fence: int,
        send_key: bytes,
        read_key: bytes,
        new_owner: bytes | None = None,
    ) -> Receipt:
        """End epoch ``fence`` of a room log with these cells; the keys are those of ``fence + 1``.

        Asked again after a lost answer it returns the same receipt. Refused: ``fenced`` when the log is at another
        epoch, ``full``, ``denied``, ``unknown``.
        """

        def ask(sign: Callable[[str, bytes], bytes]) -> AppendCommit:
            return AppendCommit(
                queue=queue,
                fence=fence,
                cells=tuple(cells),
                send_hash=key_hash(send_key),
                read_hash=key_hash(read_key),
                signature=sign(tag_of(AppendCommit), queue),
                new_owner=new_owner,
            )

        return await self._ask_signed(owner, ask, Receipt)

    async def ack(self, queue: bytes, owner: SigningKey, cursor: Cursor) -> int:
        """Delete up to ``cursor``, which the reader has safe; the seq up to which cells are gone.

        Refused: ``incarnation`` after a restore (read again from the start), ``kind`` for a room log.
        """

        def ask(sign: Callable[[str, bytes], bytes]) -> Ack:
            return Ack(queue, cursor, sign(tag_of(Ack), queue))

        return (await self._ask_signed(owner, ask, Acked)).base

    async def remove(self, queue: bytes, owner: SigningKey) -> None:
        """Delete the queue with all it holds."""
        await self._ask_signed(owner, lambda sign: Remove(queue, sign(tag_of(Remove), queue)), Removed)

    # -- senders

    async def append(
        self, queue: bytes, cells: Sequence[bytes], *, send_key: bytes | None = None, fence: int | None = None
    ) -> Receipt:
        """Add 1 to 16 cells, all or none; with the receipt they are on the node's disk.

        ``send_key`` for queues and logs, ``fence`` for logs, neither for doors (one cell). A crowded door's proof of
        work is done here. Refused: ``full``, ``fenced``, ``denied``, ``unknown``, ``busy``, ``disk``.
        """
        msg = Append(queue, tuple(cells), send_key, fence)
        answer = await self._offer(msg)
        for _ in range(3):  # the price may rise, and the challenge change, while the proof is made
            if isinstance(answer, Receipt):
                return answer
            work = await self._run_blocking(partial(solve, answer.challenge, msg.cells[0], answer.bits))
            answer = await self._offer(replace(msg, work=work, challenge=answer.challenge))
        if isinstance(answer, Receipt):
            return answer
        raise RefusedError("work", "the door's price rose faster than it could be paid", hint="Try another door.")

    async def _offer(self, msg: Append) -> Receipt | WorkNeeded:
        answers: tuple[type[Receipt | WorkNeeded], ...] = (Receipt, WorkNeeded)
        return await self._ask(msg, *answers)

    # -- readers

    async def read(
        self,
        queue: bytes,
        *,
        owner: SigningKey | None = None,
        read_key: bytes | None = None,
        cursor: Cursor | None = None,
    ) -> Cells:
        """Up to 16 cells after ``cursor``, as owner or as a member of a room. Refused: ``fenced`` (the epoch of this
        read key is over and read to its end), ``denied``, ``unknown``."""
        if owner is None:
            return await self._ask(Read(queue, cursor, None, read_key), Cells)
        return await self._ask_signed(owner, lambda sign: Read(queue, cursor, sign(tag_of(Read), queue)), Cells)

    @asynccontextmanager
    async def follow(
        self,
        queue: bytes,
        *,
        owner: SigningKey | None = None,
        read_key: bytes | None = None,
        cursor: Cursor | None = None,
    ) -> AsyncIterator[Following]:
        """Every cell after ``cursor``, those there are and those to come, as ``(Cursor, cell)``, on its own channel.

        ``async with client.follow(queue, owner=key, cursor=last) as cells: async for cursor, cell in cells: ...``
        ends by an exception only: UnreachableError (come back with the last cursor), or RefusedError, of which
        ``fenced`` is a room's ordinary turn: open the commit just read, come back with the next read key.
        """
        channel = await self._open()
        try:
            signature = None
            if owner is not None:
                nonce = await self._unanswered(call(channel, Challenge(), (Nonce,), deadline=self._deadline))
                signature = prove(owner, tag_of(Follow), queue, node=channel.peer, nonce=nonce.nonce)
            ask = Follow(queue, cursor, signature, read_key if owner is None else None)
            first = await self._unanswered(call(channel, ask, (Heartbeat,), deadline=self._deadline))
            yield Following(channel, first)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                await channel.abort()

    # -- one question, one answer

    async def _ask(self, msg: object, *answers: type[A]) -> A:
        async with self._turn:
            channel = await self._ready()
            return await self._call(channel, msg, *answers)

    async def _ask_signed(
        self, owner: SigningKey, ask: Callable[[Callable[[str, bytes], bytes]], object], answer: type[A]
    ) -> A:
        async with self._turn:
            channel = await self._ready()
            if not self._nonce:
                self._nonce = (await self._call(channel, Challenge(), Nonce)).nonce
            nonce = self._nonce

            def sign(op: str, queue: bytes) -> bytes:
                return prove(owner, op, queue, node=channel.peer, nonce=nonce)

            return await self._call(channel, ask(sign), answer)

    async def _call(self, channel: Channel, msg: object, *answers: type[A]) -> A:
        done = False
        try:
            answer = await self._unanswered(call(channel, msg, answers, deadline=self._deadline))
            done = True
        except RefusedError:
            done = True
            raise
        finally:
            if not done:  # a late answer must not be taken for the next one
                self._channel = None
                with trio.CancelScope(shield=True), trio.move_on_after(2):
                    await channel.abort()
        self._used_at = trio.current_time()
        return answer

    async def _ready(self) -> Channel:
        stale = trio.current_time() - self._used_at > IDLE
        if self._channel is None or self._channel.closed or stale:
            if self._channel is not None:
                await self._channel.abort()
            self._channel, self._nonce = None, b""
            self._channel = await self._open()
            self._used_at = trio.current_time()
        return self._channel

    async def _open(self) -> Channel:
        with trio.move_on_after(self._deadline):
            return await self._path.open_channel(PROTOCOL)
        raise UnreachableError("the queue node could not be reached in time")

    async def _unanswered(self, waiting: Awaitable[A]) -> A:
        try:
            return await waiting
        except (ChannelClosed, DeadlineError) as error:
            raise UnreachableError(f"the queue node did not answer: {error}") from error


class Following:
    """Cells of one log as they come; obtained from :meth:`QueueClient.follow`."""

    def __init__(self, channel: Channel, first: Heartbeat) -> None:
        self.incarnation = first.incarnation
        """The life of the log; another one than your cursor's means that it is read from the start."""
        self.head = first.head
        """The last cell there was at the node's last word."""
        self._channel = channel
        self._ready: deque[tuple[int, bytes]] = deque()
        self._seq = self._told = 0
        self._chain: bytes | None = None

    def __aiter__(self) -> Following:
        return self

    async def __anext__(self) -> tuple[Cursor, bytes]:
        while not self._ready:
            await self._hear()
        seq, cell = self._ready.popleft()
        return Cursor(self.incarnation, seq), cell

    async def _hear(self) -> None:
        """Only called when everything heard before has been taken."""
        if self._seq - self._told >= FOLLOW_WINDOW // 2:
            await self._tell()
        try:
            said: Cells | Heartbeat = await expect(self._channel, _SAID, deadline=HEARTBEAT_DEADLINE)
        except (ChannelClosed, DeadlineError) as error:
            raise UnreachableError(f"the queue node is gone: {error}") from error
        self.head = max(self.head, said.head)
        if isinstance(said, Heartbeat):
            await self._tell()
        else:
            self._take(said)

    def _take(self, said: Cells) -> None:
        if self._chain is not None and (said.before != self._chain or said.first != self._seq + 1):
            raise MalformedError("the node's log does not continue where it left off")
        self._chain = said.before
        for seq, cell in enumerate(said.cells, said.first):
            self._chain = link(self._chain, cell)
            self._ready.append((seq, cell))
        self._seq = said.first + len(said.cells) - 1

    async def _tell(self) -> None:
        self._told = self._seq
        try:
            await self._channel.send(to_wire(Taken(self._seq)))
        except DeadlineError as error:
            raise UnreachableError(f"the queue node is gone: {error}") from error
