"""The store: what is confirmed is on the disk, what fails leaves nothing, and a file that is not ours is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path

import apsw
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from warmline.env import SystemClock, SystemRng, run_in_thread
from warmline.store import (
    MEMORY,
    MIGRATIONS,
    Migration,
    Store,
    StoreClosedError,
    StoreCorruptError,
    StoreError,
    StoreIOError,
    StoreLockedError,
    StoreVersionError,
    budget,
    meta,
    open_store,
)
from warmline_protocol.errors import DiskFullError

NOTES = Migration("test/notes", "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT")


def opened(
    path: Path | str, *, migrations: Sequence[Migration] = (*MIGRATIONS, NOTES), disk_budget: int = 1 << 30
) -> AbstractAsyncContextManager[Store]:
    return open_store(
        path,
        run_blocking=run_in_thread,
        clock=SystemClock(),
        rng=SystemRng(),
        disk_budget=disk_budget,
        migrations=migrations,
    )


def add(text: str) -> Callable[[apsw.Connection], int]:
    def insert(conn: apsw.Connection) -> int:
        conn.execute("INSERT INTO notes (text) VALUES (?)", (text,))
        return conn.last_insert_rowid()

    return insert


def notes(conn: apsw.Connection) -> list[str]:
    return [text for (text,) in conn.execute("SELECT text FROM notes ORDER BY id")]


async def all_at_once(*jobs: Callable[[], Awaitable[object]]) -> None:
    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(job)


@pytest.mark.parametrize("where", ["file", "memory"])
async def test_what_was_written_is_read(tmp_path: Path, where: str) -> None:
    async with opened(tmp_path / "s.db" if where == "file" else MEMORY) as store:
        assert await store.write(add("one")) == 1
        assert await store.read(notes) == ["one"]


async def test_survives_reopening_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "s.db"
    async with opened(path) as store:
        await store.write(add("one"))
        generation = store.generation
        assert {each.stat().st_mode & 0o077 for each in path.parent.iterdir()} == {0}
    async with opened(path) as store:
        assert await store.read(notes) == ["one"]
        assert store.generation == generation


async def test_waiting_writes_share_a_commit_and_fail_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.write(add("taken"))
        failed = []

        async def put(text: str) -> None:
            try:
                await store.write(add(text))
            except apsw.ConstraintError:
                failed.append(text)

        await all_at_once(*(lambda n=n: put(f"n{n}" if n % 10 else "taken") for n in range(100)))
        assert failed == ["taken"] * 10
        assert len(await store.read(notes)) == 91
        seen = store.statistics()
        assert seen.writes == 101 and seen.commits < 20 and seen.largest_batch > 50 and seen.waiting == 0


async def test_an_exception_undoes_only_its_own_write(tmp_path: Path) -> None:
    def half(conn: apsw.Connection) -> None:
        add("half")(conn)
        raise LookupError("changed my mind")

    async with opened(tmp_path / "s.db") as store:
        with pytest.raises(LookupError):
            await store.write(half)
        await store.write(add("whole"))
        assert await store.read(notes) == ["whole"]


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        with pytest.raises(StoreIOError):
            await store.read(add("sneaky"))
        assert await store.read(notes) == []


async def test_cancelled_writers_hand_on_their_turn(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        for round_ in range(20):
            scopes = [trio.CancelScope() for _ in range(10)]

            async def put(n: int, scopes: list[trio.CancelScope] = scopes, round_: int = round_) -> None:
                with scopes[n]:
                    await store.write(add(f"{round_}/{n}"))

            async with trio.open_nursery() as nursery:
                for n in range(10):
                    nursery.start_soon(put, n)
                await trio.lowlevel.checkpoint()
                for scope in scopes[: round_ % 10]:
                    scope.cancel()
        with trio.fail_after(10):
            await store.write(add("last"))
        assert (await store.read(notes))[-1] == "last"
        assert store.statistics().waiting == 0


async def test_closing_finishes_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    disk = threading.Event()
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        store = await stack.enter_async_context(opened(path))
        nursery.start_soon(store.write, lambda conn: disk.wait(60))
        for n in range(50):
            nursery.start_soon(store.write, add(f"n{n}"))
        await wait_all_tasks_blocked()
        assert store.statistics().waiting == 50
        nursery.start_soon(stack.pop_all().aclose)  # it is emptied, and closed only there
        await wait_all_tasks_blocked()
        with pytest.raises(StoreClosedError):
            await store.write(add("late"))
        disk.set()
    async with opened(path) as store:
        assert len(await store.read(notes)) == 50


async def test_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """In WAL mode only FULL (2) syncs at each COMMIT; with NORMAL a power cut takes what was confirmed."""
    async with opened(tmp_path / "s.db") as store:
        kept = await store.write(lambda conn: (conn.pragma("journal_mode"), conn.pragma("synchronous")))
        assert kept == ("wal", 2)


# -- a full disk


def limit_pages(pages: int) -> Callable[[apsw.Connection], None]:
    return lambda conn: conn.pragma("max_page_count", pages)


async def test_a_full_file_refuses_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    kept: list[str] = []
    refused: list[str] = []
    async with opened(path) as store:
        await store.write(limit_pages(60))

        async def put(n: int) -> None:
            text = f"{n}:" + "x" * 3000
            try:
                await store.write(add(text))
                kept.append(text)
            except DiskFullError as error:
                assert error.hint
                refused.append(text)

        for start in range(0, 120, 20):
            await all_at_once(*(lambda n=n: put(n) for n in range(start, start + 20)))
        assert kept and refused
        assert sorted(await store.read(notes)) == sorted(kept)
        await store.write(lambda conn: conn.execute("DELETE FROM notes WHERE id % 2").fetchall())
        await store.write(add("room again"))
    async with opened(path) as store:
        assert (await store.read(notes))[-1] == "room again"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a tiny tmpfs needs root")
async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = await trio.run_process(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_stderr=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let us mount")
    try:
        kept: list[str] = []
        refused = 0
        async with opened(disk / "s.db") as store:
            for n in range(400):
                text = f"{n}:" + "x" * 5000
                try:
                    await store.write(add(text))
                    kept.append(text)
                except DiskFullError:
                    refused += 1
                if refused > 5:
                    break
            assert await store.read(notes) == kept
        assert kept and refused
        async with opened(disk / "s.db") as store:
            assert await store.read(notes) == kept
    finally:
        with trio.CancelScope(shield=True):
            await trio.run_process(["umount", disk])


# -- a file that cannot be used


async def test_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"this is no database, " * 500)
    with pytest.raises(StoreCorruptError) as caught:
        async with opened(path):
            pass
    assert "backup" in caught.value.hint
    assert path.read_bytes().startswith(b"this is no database")


async def test_damage_inside(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened(path) as store:
        for n in range(50):
            await store.write(add(f"{n}" * 1000))
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError):
        async with opened(path) as store:
            await store.read(notes)


async def test_file_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened(path, migrations=(*MIGRATIONS, NOTES, Migration("future/9", "CREATE TABLE f (x)"))):
        pass
    with pytest.raises(StoreVersionError, match="future/9"):
        async with opened(path):
            pass


async def test_file_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    conn = apsw.Connection(str(path))
    conn.execute("CREATE TABLE theirs (x)")
    conn.close()
    before = path.read_bytes()
    with pytest.raises(StoreVersionError, match="another program"):
        async with opened(path):
            pass
    assert path.read_bytes() == before


async def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened(path) as store:
        await store.write(add("one"))
    bad = Migration("test/bad", "DROP TABLE notes; CREATE TABLE broken (")
    with pytest.raises(apsw.SQLError):
        async with opened(path, migrations=(*MIGRATIONS, NOTES, bad)):
            pass
    async with opened(path) as store:
        assert await store.read(notes) == ["one"]


async def test_two_stores_on_one_file(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    script = (
        "import fcntl, os, sys\n"
        f"f = os.open({str(path) + '.lock'!r}, os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(f, fcntl.LOCK_EX); os.write(f, b'%d' % os.getpid())\n"
        "os.write(1, b'held'); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script]
    async with trio.open_nursery() as nursery:
        other = await nursery.start(partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert await other.stdout.receive_some() == b"held"
        with pytest.raises(StoreLockedError, match=f"another warmline node runs on this directory.*{other.pid}"):
            async with opened(path):
                pass
        await other.stdin.aclose()
    async with opened(path) as store:
        with pytest.raises(StoreLockedError):
            async with opened(path):
                pass
        await store.write(add("still mine"))


async def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(StoreIOError):
        async with opened(tmp_path / "plain" / "s.db"):
            pass


# -- restored copies


async def test_backup_is_complete_and_knows_that_it_is_one(tmp_path: Path) -> None:
    path, copy = tmp_path / "s.db", tmp_path / "copy.db"
    async with opened(path) as store:
        await store.write(add("one"))
        await store.backup(copy)
        await store.write(add("two"))
        generation = store.generation
        with pytest.raises(StoreIOError, match="exists"):
            await store.backup(copy)
    assert copy.stat().st_mode & 0o077 == 0
    path.write_bytes(copy.read_bytes())  # restored in place: even the inode is the old one
    async with opened(path) as store:
        assert await store.read(notes) == ["one"]
        assert store.generation != generation


async def test_a_copied_file_has_another_generation(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        generation = store.generation
    shutil.copy(tmp_path / "s.db", tmp_path / "t.db")
    async with opened(tmp_path / "t.db") as store:
        assert store.generation != generation


async def test_a_file_that_is_copied_over_has_another_generation(tmp_path: Path) -> None:
    """Its inode is the old one, and so is its own word; only the mark beside it knows better."""
    path, copy = tmp_path / "s.db", tmp_path / "old.db"
    async with opened(path) as store:
        await store.write(add("one"))
        generation = store.generation
    shutil.copy(path, copy)
    async with opened(path) as store:
        await store.write(add("two"))
        assert store.generation == generation, "opening it again is no restore"
    path.write_bytes(copy.read_bytes())
    async with opened(path) as store:
        assert await store.read(notes) == ["one"]
        assert store.generation != generation
        again = store.generation
    async with opened(path) as store:
        assert store.generation == again


async def test_a_store_that_was_killed_is_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened(path) as store:
        generation = store.generation
        await store.write(add("one"))
        killed = tmp_path / "killed"
        killed.mkdir()
        for each in ("s.db", "s.db-wal", "s.db.mark"):  # what kill -9 leaves, but for the inode
            shutil.copy(tmp_path / each, killed / each)
        inode = (killed / "s.db").stat().st_ino
        await store.write(lambda conn: meta.put(conn, "store/inode", inode))
        shutil.copy(tmp_path / "s.db-wal", killed / "s.db-wal")
    async with opened(killed / "s.db") as store:
        assert await store.read(notes) == ["one"]
        assert store.generation == generation


@pytest.mark.parametrize("mark", [b"", b"noise", b"-3", b"\xff" * 30])
async def test_a_broken_mark_is_no_mark(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "s.db"
    async with opened(path) as store:
        generation = store.generation
    (tmp_path / "s.db.mark").write_bytes(mark)
    async with opened(path) as store:
        assert store.generation == generation
    assert int((tmp_path / "s.db.mark").read_bytes()[:21]) > 0


async def test_mark_restored(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        before = store.generation
        await store.mark_restored()
        after = store.generation
    assert after != before
    async with opened(tmp_path / "s.db") as store:
        assert store.generation == after


# -- the small tables


async def test_meta_keeps_each_type(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        for value in (7, "seven", b"\x07"):
            await store.write(lambda conn, value=value: meta.put(conn, "k", value))  # type: ignore[misc]
            assert await store.read(lambda conn: meta.get(conn, "k")) == value
        await store.write(lambda conn: meta.drop(conn, "k"))
        assert await store.read(lambda conn: meta.get(conn, "k")) is None


async def test_budget_is_never_promised_twice(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db", disk_budget=100) as store:

        async def take(owner: str, size: int) -> None:
            await store.write(lambda conn: budget.reserve(conn, owner, size, budget=store.disk_budget))

        await take("a", 60)
        with pytest.raises(DiskFullError, match="40 bytes left"):
            await take("b", 41)
        await take("b", 40)
        await store.write(lambda conn: budget.release(conn, "a", 10))
        assert await store.read(budget.reserved) == 90
        assert await store.read(lambda conn: budget.reserved(conn, "a")) == 50
        with pytest.raises(apsw.ConstraintError):
            await store.write(lambda conn: budget.release(conn, "a", 51))
