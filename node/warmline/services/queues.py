"""``/warmline/queue/1``: a node keeps cells for people whom it cannot know.

A channel asks one thing at a time. Every request waits for its entry's turn and becomes one function on the store,
whose answer is sent when the transaction is on the disk: so a receipt is a promise. Nothing here names the peer, a
queue or an address in a log.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import trio

from warmline.env import Clock, Rng
from warmline.net.api import Channel, Host
from warmline.net.rpc import refusal
from warmline.scopes import sole_error
from warmline.services import queues_share as share
from warmline.services.queues_book import Appended, Batch, Book, Caller
from warmline.services.queues_follow import Followers
from warmline.services.queues_time import NodeTime, SteadyTime, WallTime
from warmline.store import Store
from warmline_protocol.errors import ChannelClosed, DeadlineError, DiskFullError, RefusedError
from warmline_protocol.limits import QUEUE_CELLS_MAX, QUEUE_FRAME_MAX, WORK_WINDOW_MS
from warmline_protocol.queue import work
from warmline_protocol.queue.messages import (
    PROTOCOL,
    REQUESTS,
    Ack,
    Append,
    AppendCommit,
    Challenge,
    Create,
    Follow,
    Nonce,
    Read,
    Remove,
    Request,
)
from warmline_protocol.wire import from_wire, to_wire

FAREWELL_S = 5.0
DIRECT = "direct"
"""Stands for the entry of everybody who comes without one."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What an operator grants; seconds where nothing else is said."""

    channels_per_peer: int = 8
    followers: int = 4096
    followers_per_queue: int = 128
    turns: int = 32
    waiting_per_entry: int = 128
    idle_deadline: float = 120.0
    sweep_every: float = 30.0
    sweep_batch: int = 16


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """Since the start: requests answered and refused, cells receipted; followers there are now."""

    answered: int
    refused: int
    cells: int
    followers: int


def entry_of(channel: Channel) -> str:
    """The peer id of the relay that a channel came through, or ``DIRECT``."""
    return channel.via or DIRECT


@asynccontextmanager
async def open_queues(
    host: Host,
    store: Store,
    *,
    clock: Clock,
    rng: Rng,
    settings: QueueSettings | None = None,
    entry_of: Callable[[Channel], str] = entry_of,
) -> AsyncIterator[QueueService]:
    """Offer queues at ``host`` until the block ends; sweeps expired cells meanwhile."""
    settings = settings or QueueSettings()
    time = await SteadyTime.load(clock, store)
    service = QueueService(host.peer_id, store, clock=clock, rng=rng, settings=settings, entry_of=entry_of, time=time)
    with sole_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.sweep_forever)
            nursery.start_soon(_keep_time, time, settings.sweep_every)
            host.serve(
                PROTOCOL,
                service.handle,
                max_frame=QUEUE_FRAME_MAX,
                max_channels_per_peer=settings.channels_per_peer,
            )
            try:
                yield service
            finally:
                host.unserve(PROTOCOL)
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True), trio.move_on_after(FAREWELL_S), suppress(DiskFullError):
                    await time.keep(at_least_ms=0)


async def _keep_time(time: SteadyTime, every: float) -> None:
    while True:
        await trio.sleep(every)
        with suppress(DiskFullError):  # then a little of it is lived twice
            await time.keep()


class QueueService:
    """Obtained from `open_queues`; `handle` serves one channel, `answer` one request."""

    def __init__(
        self,
        node: str,
        store: Store,
        *,
        clock: Clock,
        rng: Rng,
        settings: QueueSettings,
        entry_of: Callable[[Channel], str] = entry_of,
        time: NodeTime | None = None,
    ) -> None:
        self._store = store
        self.clock = clock
        self._time = time or WallTime(clock)
        self._rng = rng
        self._settings = settings
        self._entry_of = entry_of
        self._book = Book(node, generation=lambda: store.generation, disk_budget=store.disk_budget)
        self._turns = share.Turns(slots=settings.turns, waiting_max=settings.waiting_per_entry)
        self._followers = Followers(most=settings.followers, most_per_queue=settings.followers_per_queue)
        self._met: OrderedDict[str, tuple[int, bool]] = OrderedDict()
        self._secret = rng.bytes(32)
        self._paid: OrderedDict[bytes, int] = OrderedDict()
        self._answered = self._refused = self._cells = 0

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(self._answered, self._refused, self._cells, self._followers.count)

    @property
    def crowded(self) -> bool:
        """Whether requests wait for others: what is worth less than they are should wait too."""
        return self._turns.crowded

    async def knows(self, entry: str) -> bool:
        """Whether this entry has been here for a week or more; see ``queues_share``."""
        return await self._established(self._caller(entry))

    async def handle(self, channel: Channel) -> None:
        """Answer requests until the other side ends, follows, or breaks the protocol."""
        entry, nonce = self._entry_of(channel), self._rng.bytes(32)
        while True:
            try:
                data = await channel.receive(deadline=self._settings.idle_deadline)
            except (ChannelClosed, DeadlineError):
                return None
            msg = from_wire(data, REQUESTS, max_size=QUEUE_FRAME_MAX)
            who = self._caller(entry, nonce)
            if isinstance(msg, Follow):
                return await self._follow(channel, msg, entry, nonce)
            reply = await self._answer_or_refuse(msg, who)
            await channel.send(to_wire(reply))

    async def answer(self, msg: Request, who: Caller) -> object:
        """The answer to one request, after its effect is on the disk. Raises RefusedError, DiskFullError."""
        if isinstance(msg, Challenge):
            return Nonce(who.nonce)
        async with self._turns.turn(who.entry, established=await self._established(who)):
            return await self._act(msg, who)

    async def sweep_forever(self) -> None:
        while True:
            await trio.sleep(self._settings.sweep_every)
            try:
                await self.sweep()
            except DiskFullError:
                continue  # deleting needs room in the log file first; what expired waits for the next round

    async def sweep(self) -> int:
        """Forget what expired; the number of queues that forgot something."""
        swept = 0
        most = self._settings.sweep_batch
        while True:
            now = self._time.now_ms()
            names = await self._store.write(partial(self._book.sweep, now_ms=now, most=most), frees=True)
            for name in names:
                self._followers.changed(name)
            swept += len(names)
            if len(names) < most:
                return swept

    # -- requests

    async def _answer_or_refuse(self, msg: Request, who: Caller) -> object:
        try:
            reply = await self.answer(msg, who)
        except RefusedError as error:
            self._refused += 1
            return refusal(error)
        except DiskFullError as error:
            self._refused += 1
            return refusal(error, "disk")
        self._answered += 1
        return reply

    async def _act(self, msg: Request, who: Caller) -> object:
        book, store = self._book, self._store
        match msg:
            case Append():
                return await self._append(msg, who)
            case AppendCommit():
                done = await store.write(lambda conn: book.commit(conn, msg, who))
                self._cells += len(msg.cells)
                self._followers.changed(msg.queue)
                return done.receipt
            case Read():
                return (await self._read(msg, who, None, QUEUE_CELLS_MAX)).cells
            case Ack():
                return await store.write(lambda conn: book.ack(conn, msg, who), frees=True)
            case Create():
                fresh = self._rng.bytes(16)
                return await store.write(lambda conn: book.create(conn, msg, who, fresh))
            case Remove():
                removed = await store.write(lambda conn: book.remove(conn, msg, who), frees=True)
                self._followers.changed(msg.queue)
                return removed
            case _:
                raise RefusedError("kind", "this is answered on a channel of its own")

    async def _append(self, msg: Append, who: Caller) -> object:
        challenge = self._challenge(msg.queue, who.now_ms // WORK_WINDOW_MS)
        paid, proof = self._payment(msg, who.now_ms)
        done = None
        try:
            done = await self._store.write(
                lambda conn: self._book.append(conn, msg, who, challenge=challenge, paid=paid)
            )
        finally:
            if not isinstance(done, Appended):
                self._paid.pop(proof, None)
        if not isinstance(done, Appended):
            return done
        self._cells += len(msg.cells)
        self._followers.told(msg.queue, done.cells)
        return done.receipt

    async def _read(self, msg: Read | Follow, who: Caller, after: int | None, most: int) -> Batch:
        batch = await self._store.read(lambda conn: self._book.read(conn, msg, who, after, most))
        if batch.renew:
            with suppress(DiskFullError):  # what is there can be read on a full disk; the lease is asked for again
                await self._store.write(lambda conn: self._book.renew(conn, msg.queue, who.now_ms))
        return batch

    async def _follow(self, channel: Channel, msg: Follow, entry: str, nonce: bytes) -> None:
        async def load(after: int | None, most: int) -> Batch:
            who = self._caller(entry, nonce)
            async with self._turns.turn(entry, established=await self._established(who)):
                return await self._read(msg, who, after, most)

        try:
            known = await self._established(self._caller(entry))
            await self._followers.serve(channel, msg.queue, load, utc_ms=self.clock.utc_ms, established=known)
        except RefusedError as error:
            self._refused += 1
            await channel.send(to_wire(refusal(error)))

    # -- who asks, and what they paid

    def _caller(self, entry: str, nonce: bytes = b"") -> Caller:
        return Caller(entry, nonce, self._time.now_ms(), self._time.ahead_ms())

    async def _established(self, who: Caller) -> bool:
        met = self._met.get(who.entry)
        if met is None or who.now_ms - met[0] > share.DAY_MS:
            try:
                met = who.now_ms, await self._store.write(lambda conn: share.meet(conn, who.entry, who.now_ms))
            except DiskFullError:  # that nobody can be noted down is no reason to serve nobody
                return await self._store.read(lambda conn: share.is_established(conn, who.entry, who.now_ms))
            self._met[who.entry] = met
            if len(self._met) > share.ENTRIES_MAX:
                self._met.popitem(last=False)
        return met[1]

    def _challenge(self, queue: bytes, window: int) -> bytes:
        return hashlib.sha256(self._secret + queue + window.to_bytes(8)).digest()

    def _payment(self, msg: Append, now_ms: int) -> tuple[int, bytes]:
        """The strength of the proof of work in ``msg``, which pays for one append only, and its name."""
        if msg.work is None or msg.challenge is None:
            return 0, b""
        window = now_ms // WORK_WINDOW_MS
        while self._paid and next(iter(self._paid.values())) < window - 1:
            self._paid.popitem(last=False)
        cell = msg.cells[0]
        proof = hashlib.sha256(msg.challenge + hashlib.sha256(cell).digest()).digest()
        alive = [w for w in (window, window - 1) if self._challenge(msg.queue, w) == msg.challenge]
        if not alive or proof in self._paid:
            return 0, b""
        paid = work.strength(msg.challenge, cell, msg.work)
        self._paid[proof] = window
        return paid, proof
