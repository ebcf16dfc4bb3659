"""Queues for tests: a service without a network, its owners and senders, and paths over real hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
import trio.testing

from warmline.env import SeededRng, SystemClock, SystemRng, run_in_thread
from warmline.net.api import Channel, Handler, Host
from warmline.services.queues import QueueService, QueueSettings
from warmline.services.queues_book import Caller
from warmline.store import Store, open_store
from warmline_protocol.errors import UnreachableError
from warmline_protocol.keys import SigningKey
from warmline_protocol.limits import CELL_SIZE, QUEUE_FRAME_MAX
from warmline_protocol.queue.auth import key_hash, prove, queue_id
from warmline_protocol.queue.messages import (
    DOOR,
    LOG,
    QUEUE,
    Ack,
    Append,
    AppendCommit,
    Cells,
    Create,
    Created,
    Cursor,
    Read,
    Receipt,
    Remove,
)
from warmline_protocol.wire import tag_of

NODE = "12D3KooWTestNode"
NONCE = b"n" * 32
HOUR_MS = 3600_000
DAY_MS = 24 * HOUR_MS


class HandClock:
    """A wall clock that the test sets."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.now_ms = now_ms

    def utc_ms(self) -> int:
        return self.now_ms


@asynccontextmanager
async def a_store(path: Path | str, **more: Any) -> AsyncIterator[Store]:
    async with open_store(path, run_blocking=run_in_thread, clock=SystemClock(), rng=SystemRng(), **more) as store:
        yield store


def a_service(store: Store, clock: HandClock | None = None, **settings: Any) -> QueueService:
    rng = SeededRng("service")
    return QueueService(NODE, store, clock=clock or HandClock(), rng=rng, settings=QueueSettings(**settings))


def cell(name: str | int) -> bytes:
    """A cell that differs from every other name's."""
    return str(name).encode().ljust(CELL_SIZE, b".")


@dataclass
class Owner:
    """Asks a service directly, as the owner of one queue and as whoever knows its keys."""

    service: QueueService
    kind: str = QUEUE
    name: str = "owner"
    entry: str = "entry"
    fence: int = 0

    def __post_init__(self) -> None:
        self.key = SigningKey(SeededRng(self.name).bytes(32))
        self.queue = queue_id(self.key.public)

    def send_key(self, fence: int | None = None) -> bytes | None:
        epoch = self.fence if fence is None else fence
        return None if self.kind == DOOR else SeededRng(f"send/{self.name}/{epoch}").bytes(32)

    def read_key(self, fence: int | None = None) -> bytes | None:
        epoch = self.fence if fence is None else fence
        return SeededRng(f"read/{self.name}/{epoch}").bytes(32) if self.kind == LOG else None

    def caller(self, entry: str | None = None) -> Caller:
        return Caller(entry or self.entry, NONCE, self.service.clock.utc_ms())

    def sign(self, message: type[Any], *, node: str = NODE, nonce: bytes = NONCE) -> bytes:
        return prove(self.key, tag_of(message), self.queue, node=node, nonce=nonce)

    async def create(
        self, *, cap: int = 16, cell_ttl_ms: int = DAY_MS, life_ms: int = 7 * DAY_MS, release_at: int | None = None
    ) -> Created:
        send, read = self.send_key(), self.read_key()
        msg = Create(
            kind=self.kind,
            owner=self.key.public,
            cap=cap,
            cell_ttl_ms=cell_ttl_ms,
            life_ms=life_ms,
            signature=self.sign(Create),
            send_hash=key_hash(send) if send else None,
            read_hash=key_hash(read) if read else None,
            fence=self.fence if self.kind == LOG else None,
            release_at=release_at,
        )
        answer = await self.service.answer(msg, self.caller())
        assert isinstance(answer, Created)
        return answer

    async def append(self, *cells: bytes, entry: str | None = None, fence: int | None = None, **more: Any) -> Any:
        fence = self.fence if fence is None else fence
        msg = Append(self.queue, cells, self.send_key(fence), fence if self.kind == LOG else None, **more)
        return await self.service.answer(msg, self.caller(entry))

    async def receipt(self, *cells: bytes, **more: Any) -> Receipt:
        answer = await self.append(*cells, **more)
        assert isinstance(answer, Receipt)
        return answer

    async def commit(self, *cells: bytes, fence: int | None = None, new_owner: bytes | None = None) -> Receipt:
        fence = self.fence if fence is None else fence
        send, read = self.send_key(fence + 1), self.read_key(fence + 1)
        assert send and read
        msg = AppendCommit(self.queue, fence, cells, key_hash(send), key_hash(read), self.sign(AppendCommit), new_owner)
        answer = await self.service.answer(msg, self.caller())
        assert isinstance(answer, Receipt)
        self.fence = fence + 1
        return answer

    async def read(self, cursor: Cursor | None = None) -> Cells:
        answer = await self.service.answer(Read(self.queue, cursor, self.sign(Read)), self.caller())
        assert isinstance(answer, Cells)
        return answer

    async def read_as_member(self, fence: int, cursor: Cursor | None = None) -> Cells:
        msg = Read(self.queue, cursor, None, self.read_key(fence))
        answer = await self.service.answer(msg, self.caller())
        assert isinstance(answer, Cells)
        return answer

    async def read_all(self) -> list[bytes]:
        """Every cell, read in batches as a client would."""
        found: list[bytes] = []
        cursor = None
        while (batch := await self.read(cursor)).cells:
            found += batch.cells
            cursor = Cursor(batch.incarnation, batch.first + len(batch.cells) - 1)
        return found

    async def ack(self, cursor: Cursor) -> Any:
        return await self.service.answer(Ack(self.queue, cursor, self.sign(Ack)), self.caller())

    async def remove(self) -> Any:
        return await self.service.answer(Remove(self.queue, self.sign(Remove)), self.caller())


@dataclass(frozen=True)
class HostPath:
    """A path that is simply a connected host."""

    host: Host
    peer: str

    async def open_channel(self, protocol: str) -> Channel:
        return await self.host.open_channel(self.peer, protocol, max_frame=QUEUE_FRAME_MAX)


class MemoryBytes:
    """One end of a stream in memory, as channels want it."""

    def __init__(self, stream: trio.StapledStream[Any, Any]) -> None:
        self._stream = stream

    async def read(self, size: int) -> bytes:
        try:
            return bytes(await self._stream.receive_some(size))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise UnreachableError("reset") from error

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise UnreachableError("reset") from error

    async def close_write(self) -> None:
        await self._stream.send_eof()

    async def finish(self) -> None:
        await self._stream.aclose()

    async def reset(self) -> None:
        await self._stream.aclose()


@dataclass
class MemoryPath:
    """A path without a network: each channel is handled by a task in the test's nursery."""

    nursery: trio.Nursery
    handler: Handler
    lockstep: bool = False

    async def open_channel(self, protocol: str) -> Channel:
        pair = trio.testing.lockstep_stream_pair() if self.lockstep else trio.testing.memory_stream_pair()
        near, far = (Channel(MemoryBytes(end), peer=NODE, protocol=protocol, max_frame=QUEUE_FRAME_MAX) for end in pair)
        self.nursery.start_soon(self._serve, far)
        await trio.lowlevel.checkpoint()
        return near

    async def _serve(self, channel: Channel) -> None:
        async with channel:
            await self.handler(channel)
