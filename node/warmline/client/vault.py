"""What a person keeps of conversations: by default nothing.

A private seeker's vault is memory and dies with the process: closing means that nobody can be made to show anything.
Who opts in gets a file whose every page is encrypted (SQLite3MultipleCiphers, ChaCha20-Poly1305) under a random key;
that key lies beside it, wrapped by Argon2id from a passphrase, or in the operating system's keyring where there is
one. Encrypting fields alone would leave counts, times and relations readable. One process owns the file.

Records are (kind, id, bytes) with a date after which they are gone. Calls block: run them through ``run_blocking``.
Python cannot wipe memory reliably, and a disk keeps what it keeps: :meth:`FileVault.destroy` deletes the wrapped key
first, without which the rest is noise.
"""

from __future__ import annotations

import os
import signal
import threading  # noqa: TID251 - for a lock only: callers come from run_blocking's threads
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import apsw

from warmline.client.identity import open_box, seal_box
from warmline.env import Clock, Rng
from warmline.files import write_private
from warmline.store import file as files
from warmline.store.errors import StoreLockedError
from warmline_protocol.errors import ConfigError, StoreError, UsageError

_KEYRING_SERVICE = "warmline vault"
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS kept (
        kind TEXT NOT NULL, id BLOB NOT NULL, until_ms INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (kind, id)
    ) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """One record: ``data`` until ``until_ms``."""

    kind: str
    id: bytes
    data: bytes
    until_ms: int


class Vault(Protocol):
    """Where sessions that a person wants to keep lie between two runs."""

    def put(self, kind: str, id: bytes, data: bytes, until_ms: int) -> None:
        """Keep ``data`` until then, in place of what was there; on the disk when this returns."""
        ...

    def put_all(self, kept: Sequence[Kept]) -> None:
        """As :meth:`put`, all or none of them."""
        ...

    def get(self, kind: str, id: bytes) -> bytes | None: ...

    def delete(self, kind: str, id: bytes) -> None: ...

    def delete_under(self, kind: str, prefix: bytes) -> None:
        """Forget everything whose id begins with ``prefix``."""
        ...

    def ids(self, kind: str) -> list[bytes]: ...


class MemoryVault:
    """Keeps until the process ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, bytes], tuple[int, bytes]] = {}

    def put(self, kind: str, id: bytes, data: bytes, until_ms: int) -> None:
        """Keep in memory."""
        self._kept[kind, id] = (until_ms, data)

    def put_all(self, kept: Sequence[Kept]) -> None:
        """Keep in memory."""
        for each in kept:
            self.put(each.kind, each.id, each.data, each.until_ms)

    def get(self, kind: str, id: bytes) -> bytes | None:
        """What is kept and not over its date."""
        until_ms, data = self._kept.get((kind, id), (0, b""))
        return data if self._clock.utc_ms() < until_ms else None

    def delete(self, kind: str, id: bytes) -> None:
        """Forget it."""
        self._kept.pop((kind, id), None)

    def delete_under(self, kind: str, prefix: bytes) -> None:
        """Forget these."""
        for each in [each for each in self._kept if each[0] == kind and each[1].startswith(prefix)]:
            del self._kept[each]

    def ids(self, kind: str) -> list[bytes]:
        """The ids of a kind that are not over their date."""
        now = self._clock.utc_ms()
        return sorted(id for (each, id), (until, _) in self._kept.items() if each == kind and now < until)


class FileVault:
    """An encrypted file. Obtained from :func:`open_vault`; safe for several threads, which take turns."""

    def __init__(self, path: Path, connection: apsw.Connection, clock: Clock) -> None:
        self.path = path
        self._connection = connection
        self._clock = clock
        self._turn = threading.Lock()

    def _run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._turn, files.translated(str(self.path)):
            return list(self._connection.execute(sql, values))

    def put(self, kind: str, id: bytes, data: bytes, until_ms: int) -> None:
        """Keep on the disk."""
        self.put_all([Kept(kind, id, data, until_ms)])

    def put_all(self, kept: Sequence[Kept]) -> None:
        """Keep on the disk, in one transaction."""
        rows = [(each.kind, each.id, each.until_ms, each.data) for each in kept]
        with self._turn, files.translated(str(self.path)), self._connection:
            self._still_there()
            self._connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", rows)

    def _still_there(self) -> None:
        """Whoever erased the file did not mean us to write on where nobody can find it."""
        if not self.path.exists():
            raise StoreError("what you kept was erased", hint="Nothing of it is on this device any more.")

    def get(self, kind: str, id: bytes) -> bytes | None:
        """What is kept and not over its date."""
        now = self._clock.utc_ms()
        rows = self._run("SELECT data FROM kept WHERE kind = ? AND id = ? AND until_ms > ?", kind, id, now)
        return rows[0][0] if rows else None

    def delete(self, kind: str, id: bytes) -> None:
        """Forget it; the page is overwritten."""
        self._run("DELETE FROM kept WHERE kind = ? AND id = ?", kind, id)

    def delete_under(self, kind: str, prefix: bytes) -> None:
        """Forget these; their pages are overwritten."""
        self._run("DELETE FROM kept WHERE kind = ? AND substr(id, 1, ?) = ?", kind, len(prefix), prefix)

    def ids(self, kind: str) -> list[bytes]:
        """The ids of a kind that are not over their date; others are deleted on the way."""
        now = self._clock.utc_ms()
        self._run("DELETE FROM kept WHERE until_ms <= ?", now)
        return [row[0] for row in self._run("SELECT id FROM kept WHERE kind = ? ORDER BY id", kind)]

    def destroy(self) -> None:
        """Make the file unreadable for everybody, then take it away. There is no way back."""
        with self._turn:
            _forget_key(self.path)
            self._connection.close()
            _unlink(self.path)


@contextmanager
def open_vault(
    path: Path, *, rng: Rng, clock: Clock, passphrase: Callable[[], str] | None = None
) -> Iterator[FileVault]:
    """The vault at ``path``, made when it is not there. Blocks, for the key derivation too.

    With ``passphrase`` (asked once) the key is wrapped by it; without, it lies in the operating system's keyring.
    Raises PassphraseError for the wrong one, ConfigError when there is no keyring, StoreLockedError when another
    process has it open.
    """
    lock = _lock(path)
    try:
        key = _key(path, rng, passphrase)
        with closing(_connect(path, key)) as connection:
            yield FileVault(path, connection, clock)
    finally:
        lock.close()


@dataclass(frozen=True, slots=True)
class Erased:
    """What :func:`erase` took away. ``ended``: the process that had it open, 0 where there was none."""

    files: tuple[str, ...]
    key_in_keyring: bool
    ended: int


def erase(path: Path) -> Erased:
    """Panic: the key, the vault and whoever has it open are gone when this returns, whatever state they were in.

    The key goes first, and every step is looked at afterwards on the disk. Needs no passphrase. Raises StoreError, with
    what is left, where something could not be taken away.
    """
    there = [each.name for each in _all_files(path) if each.exists()]
    boxed = _box(path).exists()
    with suppress(OSError):  # the rest goes all the same; what is left is told below
        _overwrite_box(path)
    ended = _end_holder(path)
    with suppress(OSError):
        _overwrite_box(path)  # whoever had it open may have been writing it
    for each in _all_files(path):
        with suppress(OSError):
            each.unlink(missing_ok=True)
    # Last, since a keyring may ask its owner something first.
    in_keyring = False if boxed else _forget_in_keyring(path)
    left = [each.name for each in _all_files(path) if each.exists()]
    if left:
        raise StoreError(f"these files are still there: {', '.join(left)}", hint=f"Delete {path.parent} by hand.")
    return Erased(tuple(there), in_keyring, ended)


def _all_files(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in (".key", ".key.new", "", "-wal", "-shm", "-journal", ".lock")]


def _unlink(path: Path) -> None:
    for each in (path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal")):
        each.unlink(missing_ok=True)


def _end_holder(path: Path) -> int:
    """End the process that holds the lock: its memory has the key."""
    if not path.with_name(path.name + ".lock").exists():
        return 0
    try:
        files.lock(path).close()
    except StoreLockedError:
        holder = _holder(path)
        if holder and holder != os.getpid():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(holder, signal.SIGKILL)
            return holder
    return 0


def _holder(path: Path) -> int:
    """The process that the lock file names, 0 where it names none."""
    with suppress(OSError, ValueError):
        return int(path.with_name(path.name + ".lock").read_text("ascii"))
    return 0


def _lock(path: Path) -> files.FileLock:
    try:
        return files.lock(path)
    except StoreLockedError:
        raise StoreLockedError(
            f"another warmline (process {_holder(path) or 'unknown'}) has what you keep here open",
            hint="One program at a time owns it. End that one first; `warmline talk erase` ends it and erases all.",
        ) from None


def _connect(path: Path, key: bytes) -> apsw.Connection:
    if not path.exists():
        files.create_private(path)
    with files.translated(str(path)):
        connection = apsw.Connection(str(path))
        # A raw key: Argon2id of ours is the only derivation.
        connection.pragma("cipher", "chacha20")
        connection.pragma("hexkey", key.hex())
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute(_SCHEMA)
        except apsw.NotADBError:
            connection.close()
            raise StoreError(
                f"{path.name} does not open with its key", hint="The vault or its key file was damaged or replaced."
            ) from None
    return connection


def needs_passphrase(path: Path) -> bool:
    """Whether this vault is, or will be, opened by a passphrase: it was made so, or this machine has no keyring."""
    if _box(path).exists():
        return True
    try:
        _keyring()
    except ConfigError:
        return True
    return False


def _box(path: Path) -> Path:
    return path.with_name(path.name + ".key")


def _key(path: Path, rng: Rng, passphrase: Callable[[], str] | None) -> bytes:
    box = _box(path)
    if path.exists() and path.stat().st_size and not box.exists() and passphrase is not None:
        raise UsageError(f"{path.name} has no key file", hint="Open it by the keyring, or restore its .key file.")
    if passphrase is None:
        return _key_in_keyring(path, rng)
    if box.exists():
        return open_box(box.read_bytes(), passphrase())
    key = rng.bytes(32)
    write_private(box, seal_box(key, passphrase(), rng))
    return key


def _keyring() -> Any:
    import keyring
    from keyring.backends import fail

    if isinstance(keyring.get_keyring(), fail.Keyring):
        raise ConfigError("this machine has no keyring", hint="Choose a passphrase for the vault instead.")
    return keyring


def _key_in_keyring(path: Path, rng: Rng) -> bytes:
    keyring = _keyring()
    name = str(path.resolve())
    found = keyring.get_password(_KEYRING_SERVICE, name)
    if found is not None:
        return bytes.fromhex(found)
    if path.exists() and path.stat().st_size:
        raise ConfigError(f"the keyring holds no key for {path.name}", hint="Open it with its passphrase.")
    key = rng.bytes(32)
    keyring.set_password(_KEYRING_SERVICE, name, key.hex())
    return key


_BY_HAND = "Delete it there by hand: 'warmline vault'."


def _forget_key(path: Path) -> bool:
    """Take the key away wherever it lies; whether it was in a keyring."""
    return False if _overwrite_box(path) else _forget_in_keyring(path)


def _overwrite_box(path: Path) -> bool:
    """Whether the key lay in a file; it is noise before its name goes."""
    box = _box(path)
    if not box.exists():
        return False
    with open(box, "r+b") as file:
        file.write(bytes(box.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    box.unlink()
    return True


def _forget_in_keyring(path: Path) -> bool:
    """Whether a keyring held the key. StoreError where it holds it still."""
    try:
        keyring = _keyring()
    except (ConfigError, ImportError):
        return False
    name = str(path.resolve())
    try:
        if keyring.get_password(_KEYRING_SERVICE, name) is None:
            return False
        keyring.delete_password(_KEYRING_SERVICE, name)
        kept = keyring.get_password(_KEYRING_SERVICE, name) is not None
    except Exception as error:  # each backend raises its own: locked, refused, no bus to speak on
        raise StoreError(f"the keyring did not give the key up: {error}", hint=_BY_HAND) from error
    if kept:
        raise StoreError("the keyring still holds the key", hint=_BY_HAND)
    return True
