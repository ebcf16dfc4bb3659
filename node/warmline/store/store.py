"""One SQLite file for everything a node keeps, written by one transaction at a time.

A receipt may be given only when the cells are on the disk, and waiting for the disk costs
milliseconds. So writes that arrive while the disk is busy share the next transaction (*group
commit*): each in a savepoint, so that one that fails is undone alone, and all are answered after
one COMMIT. There is no writer task: the first who comes writes, and on the way out makes the one
who waited longest write next. So the store has no nursery that could wrap its users' exceptions, it
outlives the cancel scopes of those who use it, and in a simulation its order is the callers' order.

If SQLite gives up a whole transaction (a full disk does that), its writes are run again one by
one: those that fit succeed, each other fails by itself. Therefore what is passed to `write` must
have no effect but on the connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import apsw
import outcome
import trio

from warmline.env import Clock, Rng, RunBlocking
from warmline.store import file
from warmline.store.errors import StoreClosedError, translate
from warmline.store.file import MEMORY
from warmline.store.migrations import MIGRATIONS, Migration
from warmline_protocol.errors import DiskFullError

T = TypeVar("T")
MAX_BATCH = 256
READERS = 2
TURN_EVERY = 10.0
"""Seconds of use after which the file's turn steps on: what a copy must be older than to be known as one."""
CLOSE_DEADLINE = 60.0
"""Seconds for the disk to take what was asked for before the store closed."""


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Since the store was opened: COMMITs, writes in them, the largest batch; writes waiting now."""

    commits: int
    writes: int
    largest_batch: int
    waiting: int


@dataclass(slots=True, eq=False)
class _Job(Generic[T]):
    fn: Callable[[apsw.Connection], T]
    frees: bool = False
    woken: trio.Event = field(default_factory=trio.Event)
    result: outcome.Outcome[T] | None = None
    abandoned: bool = False


class Store:
    """Obtained from `open_store`."""

    def __init__(
        self,
        path: str,
        writer: apsw.Connection,
        generation: bytes,
        *,
        run_blocking: RunBlocking,
        rng: Rng,
        disk_budget: int,
    ) -> None:
        self.path = path
        #: Bytes that services may promise in all; see `warmline.store.budget`.
        self.disk_budget = disk_budget
        #: Changes when the file was restored from a copy: what a node promised since is not in it.
        self.generation = generation
        self._writer = writer
        self._run_blocking = run_blocking
        self._rng = rng
        self._pending: list[_Job[Any]] = []
        self._writing = False
        self._idle_readers: list[apsw.Connection] = []
        self._reader_slots = trio.Semaphore(READERS)
        self._closed = False
        self._commits = self._writes = self._largest_batch = 0
        self._turned_at = -TURN_EVERY

    async def write(self, fn: Callable[[apsw.Connection], T], *, frees: bool = False) -> T:
        """Run `fn(connection)` in the next transaction; return its result once that is on the disk.

        ``frees`` says that it deletes: on a full disk it gets the room that is held back for that.

        If `fn` raises, what it did is undone and the exception is raised here. Raises DiskFullError
        when there is no room: nothing of this write remains. Cancelled while waiting, the write may or
        may not have happened. `fn` must return plain data (no cursor), may run twice, and runs in a thread.
        """
        self._check_open()
        job = _Job(fn, frees)
        self._pending.append(job)
        if not self._writing:
            self._writing = True
        else:
            await self._wait_turn(job)
        if job.result is None:
            await self._lead()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        assert job.result is not None
        result: outcome.Outcome[T] = job.result
        return result.unwrap()

    async def read(self, fn: Callable[[apsw.Connection], T]) -> T:
        """Run `fn(connection)` on one consistent view of what is committed. `fn` cannot write."""
        if self.path == MEMORY:
            return await self.write(fn)
        async with self._reader_slots:
            self._check_open()
            return await self._run_blocking(lambda: self._read(fn))

    async def mark_restored(self) -> None:
        """Say that the file is an older state than what was promised: every incarnation changes."""

        def renew(conn: apsw.Connection) -> bytes:
            return file.renew_generation(conn, self._rng.bytes, file.inode_of(self.path))

        self.generation = await self.write(renew)

    async def backup(self, target: Path, clean: Callable[[apsw.Connection], None] = lambda conn: None) -> None:
        """Write a consistent copy while the node runs, and ``clean`` it. Opened from there, it knows it is a copy."""
        self._check_open()
        await self._run_blocking(lambda: file.backup(self.path, target, clean))

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(self._commits, self._writes, self._largest_batch, len(self._pending))

    # -- the turn to write

    async def _wait_turn(self, job: _Job[T]) -> None:
        try:
            await job.woken.wait()
        except trio.Cancelled:
            job.abandoned = True
            if job in self._pending:
                self._pending.remove(job)
                if job.woken.is_set():
                    self._pass_on()
            raise

    async def _lead(self) -> None:
        batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
        step = trio.current_time() >= self._turned_at + TURN_EVERY
        if step:
            self._turned_at = trio.current_time()
        try:
            # A thread cannot be cancelled, and the others in the batch wait for this one.
            with trio.CancelScope(shield=True):
                await self._run_blocking(lambda: self._write_batch(batch, step))
        finally:
            self._commits += 1
            self._writes += len(batch)
            self._largest_batch = max(self._largest_batch, len(batch))
            for done in batch:
                done.woken.set()
            self._pass_on()

    def _pass_on(self) -> None:
        if self._pending:
            self._pending[0].woken.set()
        else:
            self._writing = False

    # -- in the thread

    def _write_batch(self, batch: Sequence[_Job[Any]], step: bool) -> None:
        turn: _Job[int] = _Job(file.step_turn)
        _run_batch(self._writer, [*batch, turn] if step else batch)
        if isinstance(turn.result, outcome.Value):
            file.mark(self.path, turn.result.value)
            file.take_ballast(self.path)
        self._free([job for job in batch if job.frees and _is_full(job)])

    def _free(self, jobs: Sequence[_Job[Any]]) -> None:
        """Let these delete, in the room that is held back, and take that again from what they gave."""
        if not jobs or not file.drop_ballast(self.path):
            return
        for job in jobs:
            _run_batch(self._writer, [job])
        with suppress(apsw.Error):
            file.shrink(self._writer)
        file.take_ballast(self.path)

    def _read(self, fn: Callable[[apsw.Connection], T]) -> T:
        conn = self._idle_readers.pop() if self._idle_readers else file.open_reader(self.path)
        try:
            conn.execute("BEGIN")
            return fn(conn)
        except apsw.Error as error:
            raise translate(error, conn) from error
        finally:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            self._idle_readers.append(conn)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(
                "the store is closed", hint="Something outlived its node, which is a defect: please report it."
            )

    async def _aclose(self) -> None:
        self._closed = True
        while self._writing:
            await self._wait_idle()
        for _ in range(READERS):
            await self._reader_slots.acquire()
        await self._run_blocking(self._close_connections)

    async def _wait_idle(self) -> None:
        job: _Job[None] = _Job(lambda conn: None)
        self._pending.append(job)
        await job.woken.wait()
        if job.result is None:
            await self._lead()

    def _close_connections(self) -> None:
        for reader in self._idle_readers:
            reader.close()
        # So that no copy of an earlier state is as new as what this run leaves.
        with suppress(apsw.Error):
            file.mark(self.path, file.step_turn(self._writer))
        self._writer.close()


def _is_full(job: _Job[Any]) -> bool:
    return isinstance(job.result, outcome.Error) and isinstance(job.result.error, DiskFullError)


def _run_batch(conn: apsw.Connection, jobs: Sequence[_Job[Any]]) -> None:
    live = [job for job in jobs if not job.abandoned]
    if not live:
        return
    try:
        conn.execute("BEGIN IMMEDIATE")
        for job in live:
            job.result = _in_savepoint(conn, job.fn)
        conn.execute("COMMIT")
    except (apsw.Error, _TransactionLostError) as error:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        _after_failure(conn, live, error)


def _after_failure(conn: apsw.Connection, jobs: Sequence[_Job[Any]], error: Exception) -> None:
    if len(jobs) > 1:
        for job in jobs:
            _run_batch(conn, [job])
        return
    cause = error.cause if isinstance(error, _TransactionLostError) else error
    jobs[0].result = outcome.Error(translate(cause, conn))


class _TransactionLostError(Exception):
    """SQLite rolled the whole transaction back by itself."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _in_savepoint(conn: apsw.Connection, fn: Callable[[apsw.Connection], T]) -> outcome.Outcome[T]:
    conn.execute("SAVEPOINT job")
    result = outcome.capture(fn, conn)
    if not conn.in_transaction:
        cause = result.error if isinstance(result, outcome.Error) else RuntimeError("fn ended the transaction")
        raise _TransactionLostError(cause)
    if isinstance(result, outcome.Error):
        conn.execute("ROLLBACK TO job")
        result = outcome.Error(translate(result.error, conn))
    conn.execute("RELEASE job")
    return result


@asynccontextmanager
async def open_store(
    path: Path | str,
    *,
    run_blocking: RunBlocking,
    clock: Clock,
    rng: Rng,
    disk_budget: int = 1 << 30,
    migrations: Sequence[Migration] = MIGRATIONS,
) -> AsyncIterator[Store]:
    """Open the file at `path` (made if missing), or a store that lives in memory for `MEMORY`.

    Raises StoreLockedError, StoreVersionError, StoreCorruptError, StoreIOError, DiskFullError.
    On leaving the block, writes already asked for are finished.
    """
    opened, lock = await run_blocking(lambda: _open(str(path), migrations, clock.utc_ms()))
    try:
        generation = await run_blocking(lambda: file.settle_generation(opened, str(path), rng.bytes))
        store = Store(str(path), opened, generation, run_blocking=run_blocking, rng=rng, disk_budget=disk_budget)
    except BaseException:
        opened.close(force=True)
        if lock is not None:
            lock.close()
        raise
    try:
        yield store
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_DEADLINE):
            await store._aclose()
        if lock is not None:
            lock.close()


def _open(path: str, migrations: Sequence[Migration], now_ms: int) -> tuple[apsw.Connection, file.FileLock | None]:
    if path == MEMORY:
        return file.open_writer(path, migrations, now_ms=now_ms), None
    held = file.lock(Path(path))
    try:
        file.create_private(Path(path))
        return _open_writer(path, migrations, now_ms), held
    except BaseException:
        held.close()
        raise


def _open_writer(path: str, migrations: Sequence[Migration], now_ms: int) -> apsw.Connection:
    try:
        opened = file.open_writer(path, migrations, now_ms=now_ms)
    except DiskFullError:
        if not file.drop_ballast(path):
            raise
        return file.open_writer(path, migrations, now_ms=now_ms)
    file.take_ballast(path)
    return opened
