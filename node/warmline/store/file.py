"""Opening the one file: the lock, the pragmas, the steps, and whether this is a restored copy."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw

from warmline.store import meta
from warmline.store.errors import StoreIOError, StoreLockedError, StoreVersionError, corrupt, translate
from warmline.store.migrations import Migration

APPLICATION_ID = 0x7761726D  # "warm", at byte 68 of the file
GENERATION_BYTES = 16
MEMORY = ":memory:"
"""The path of a store that lives in memory."""
MARK_BYTES = 21
SHRINK_STEPS, SHRINK_PAGES = 33, 32
"""A shrink gives back 4 MiB at most before others may write again."""
BALLASTS = (6 << 20, 512 << 10)
"""Bytes kept free for a full disk, the first that fit: without room for SQLite's log, which grows to 4 MiB before it is
brought home, nothing can be deleted, nor the file even be opened."""

# synchronous=FULL makes COMMIT wait for the disk in WAL mode too (NORMAL does not: a power cut
# would take receipted cells). The WAL is cut back to 64 MiB after a burst. Freed pages go back to
# the file system bit by bit; secure_delete=fast overwrites content that was deleted where that costs no I/O.
_EVERY_CONNECTION = """
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA cache_size = -2048;
    PRAGMA temp_store = MEMORY;
"""
_WRITER_ONLY = """
    PRAGMA secure_delete = FAST;
    PRAGMA journal_size_limit = 67108864;
"""


class FileLock:
    """One process per file, released by the kernel however the process ends."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StoreLockedError(
                f"another warmline node runs on this directory ({path.parent}, process {holder or 'unknown'})",
                hint="Stop that node first, or give this one a directory of its own.",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        os.close(self._descriptor)


def lock(path: Path) -> FileLock:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileLock(path)
    except OSError as error:
        raise StoreIOError(
            f"the store's directory {path.parent} cannot be used: {error.strerror}",
            hint="Check that it exists and belongs to you.",
        ) from error


def create_private(path: Path) -> None:
    """Make the file before SQLite does, readable by its owner only; SQLite copies the mode to the WAL."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def translated(path: str, connection: apsw.Connection | None = None) -> Iterator[None]:
    try:
        yield
    except apsw.NotADBError as error:
        raise corrupt("it is not an SQLite file", path) from error
    except apsw.CorruptError as error:
        raise corrupt(str(error), path) from error
    except apsw.Error as error:
        raise translate(error, connection) from error


def open_writer(path: str, migrations: Sequence[Migration], *, now_ms: int) -> apsw.Connection:
    """The connection that writes, with every migration applied; raises our errors only."""
    with translated(path):
        conn = apsw.Connection(path)
    try:
        with translated(path, conn):
            check_kind(conn, path)
            conn.pragma("auto_vacuum", "incremental")  # only takes effect on a file with no tables yet
            conn.pragma("journal_mode", "wal")
            conn.execute(_EVERY_CONNECTION + _WRITER_ONLY)
            migrate(conn, migrations, now_ms=now_ms)
    except BaseException:
        conn.close(force=True)
        raise
    return conn


def open_reader(path: str) -> apsw.Connection:
    with translated(path):
        conn = apsw.Connection(path)
        conn.execute(_EVERY_CONNECTION)
        conn.pragma("query_only", True)
    return conn


def check_kind(conn: apsw.Connection, path: str) -> None:
    found = conn.pragma("application_id")
    if found not in (0, APPLICATION_ID) or (found == 0 and conn.execute("SELECT count(*) FROM sqlite_schema").get):
        raise StoreVersionError(f"{path} belongs to another program", hint="Give the node a directory of its own.")


def migrate(conn: apsw.Connection, migrations: Sequence[Migration], *, now_ms: int) -> None:
    known = [step.name for step in migrations]
    conn.execute("BEGIN IMMEDIATE")
    try:
        conn.execute(
            "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_ms INTEGER NOT NULL) STRICT"
        )
        applied = {str(name) for (name,) in conn.execute("SELECT name FROM migrations")}
        unknown = sorted(applied.difference(known))
        if unknown:
            raise StoreVersionError(
                f"the store was written by a newer warmline (it has {', '.join(unknown)})",
                hint="Install the newer version again, or restore a backup made with this one.",
            )
        for step in migrations:
            if step.name not in applied:
                conn.execute(step.sql)
                conn.execute("INSERT INTO migrations VALUES (?, ?)", (step.name, now_ms))
        conn.pragma("application_id", APPLICATION_ID)
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise


def settle_generation(conn: apsw.Connection, path: str, fresh: Callable[[int], bytes]) -> bytes:
    """The file's generation: new for a new file, for a restored backup and for a copied file.

    Backups are written without one (see `backup`), so a restore needs no step that could be forgotten.
    A file that an operator copied by hand is known by its inode, and one that was copied *over* this one by the
    mark beside it, which is then ahead of it. A snapshot of a whole virtual machine cannot be seen from in
    here: that operator calls `Store.mark_restored`.
    """
    inode = inode_of(path)
    found = meta.get(conn, "store/generation")
    known = isinstance(found, bytes) and meta.get(conn, "store/inode") == inode
    behind = turn_of(conn) < beside(path)
    with contextlib.suppress(apsw.FullError):  # a full disk must still open: what it holds is wanted
        step_turn(conn, at_least=beside(path))
        mark(path, turn_of(conn))
    return found if isinstance(found, bytes) and known and not behind else renew_generation(conn, fresh, inode)


def turn_of(conn: apsw.Connection) -> int:
    """A number that rises while the store is used: an older state has a smaller one."""
    turn = meta.get(conn, "store/turn")
    return turn if isinstance(turn, int) else 0


def step_turn(conn: apsw.Connection, *, at_least: int = 0) -> int:
    turn = max(turn_of(conn), at_least) + 1
    meta.put(conn, "store/turn", turn)
    return turn


def beside(path: str) -> int:
    """The highest turn that is known to have been on the disk, kept in a file of its own; 0 where there is none."""
    try:
        return int(mark_of(path).read_bytes()[:MARK_BYTES])
    except (OSError, ValueError):
        return 0


def mark(path: str, turn: int) -> None:
    """Note a turn after its COMMIT. Where that fails, a copied file may go unnoticed, and nothing else."""
    if path == MEMORY:
        return
    with contextlib.suppress(OSError):
        # In place, since a full disk has room for nothing new.
        descriptor = os.open(mark_of(path), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, f"{turn:020}\n".encode(), 0)
        finally:
            os.close(descriptor)


def take_ballast(path: str) -> None:
    """Hold some of the disk behind the mark, if there is as much; nothing happens where it is held already."""
    if path == MEMORY:
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(mark_of(path), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < BALLASTS[0]:
                _allocate(descriptor)
        finally:
            os.close(descriptor)


def _allocate(descriptor: int) -> None:
    for size in BALLASTS:
        with contextlib.suppress(OSError):
            os.posix_fallocate(descriptor, MARK_BYTES, size)
            return


def drop_ballast(path: str) -> bool:
    """Give that room back; whether there was any."""
    try:
        held = mark_of(path).stat().st_size > MARK_BYTES
        os.truncate(mark_of(path), MARK_BYTES)
    except OSError:
        return False
    return held


def shrink(conn: apsw.Connection) -> None:
    """Give what was deleted back to a full disk, in steps that need little room themselves."""
    for _ in range(SHRINK_STEPS):
        conn.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        if not conn.pragma("freelist_count"):
            return
        conn.execute(f"PRAGMA incremental_vacuum({SHRINK_PAGES})")


def mark_of(path: str) -> Path:
    return Path(path + ".mark")


def inode_of(path: str) -> int:
    return 0 if path == MEMORY else os.stat(path).st_ino


def renew_generation(conn: apsw.Connection, fresh: Callable[[int], bytes], inode: int) -> bytes:
    generation = fresh(GENERATION_BYTES)
    with conn:
        meta.put(conn, "store/generation", generation)
        meta.put(conn, "store/inode", inode)
    return generation


def backup(path: str, target: Path, clean: Callable[[apsw.Connection], None] = lambda conn: None) -> None:
    """A consistent, compact copy of a live file at `target` (which must not exist), without a generation.

    ``clean`` takes out of the copy what must not be in it; its pages are written anew, so that nothing of it stays.
    """
    if target.exists():
        raise StoreIOError(f"{target} exists already", hint="Name a file that does not exist yet.")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    with translated(path):
        source = apsw.Connection(path)
        try:
            create_private(part)
            source.execute("VACUUM INTO ?", (str(part),))
        finally:
            source.close()
    copy = apsw.Connection(str(part))
    with translated(str(part)):
        meta.drop(copy, "store/generation")
        clean(copy)
        copy.execute("VACUUM")
        copy.close()
    with open(part, "rb") as done:
        os.fsync(done.fileno())
    part.rename(target)
