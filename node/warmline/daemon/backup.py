"""A node's backup: its key, its configuration and its store without any cell, in one file, tried before it is believed.

What people wrote is not in it, not even sealed: a cell in a backup would outlive the day on which it was promised to be
gone. Queues and doors themselves are, so that addresses on cards go on working; senders offer again what was not
delivered. A restored node gives every log a new incarnation by itself (see ``warmline.store.file``).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import apsw

from warmline import __version__
from warmline.daemon import config
from warmline.daemon.home import Home, write_private
from warmline.services.queues_book import forget_cells
from warmline.store import file
from warmline.store.migrations import MIGRATIONS
from warmline_protocol.errors import ConfigError, DiskFullError, MalformedError
from warmline_protocol.keys import SigningKey

FORMAT = 1
MANIFEST, KEY, CONFIG, STORE, CHAIN = "backup.json", "key", config.FILE_NAME, "node.db", "chain.json"
NAMES = (KEY, CONFIG, STORE, CHAIN)
"""The only files that a backup has; ``chain.json`` is the manifest that the configuration names, whatever its name."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in a backup."""

    peer_id: str
    created_ms: int
    queues: int
    records: int
    size: int


def back_up(folder: Path, target: Path, *, now_ms: int) -> Summary:
    """Write the node in ``folder`` to ``target``, running or not, and restore it once to see that it works.

    ConfigError where there is no node or ``target`` exists; DiskFullError, StoreError.
    """
    home = Home(folder)
    settings, key = config.load(folder), home.key()
    if target.exists():
        raise ConfigError(f"{target} exists already", hint="Name a file that does not exist yet.")
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=target.resolve().parent) as near:
            parts = _parts(home, settings, Path(near))
            part = Path(near) / "whole"
            _write(part, parts, key.peer_id, now_ms)
            again = Path(near) / "again"
            restore(part, again)
            summary = _summary(again, part, now_ms)
            part.rename(target)
    except OSError as error:
        raise DiskFullError(f"{target} cannot be written: {error.strerror}", hint="Name another place.") from None
    return summary


def restore(source: Path, folder: Path) -> None:
    """Make the node that ``source`` holds in ``folder``, where there must be none.

    ConfigError where there is one or ``source`` cannot be read; MalformedError for a file that is no whole backup.
    """
    home = Home(folder)
    if home.key_file.exists() or home.store_file.exists() or (folder / CONFIG).exists():
        raise ConfigError(
            f"there is a node in {folder} already", hint="Name an empty directory with --data, or move that node away."
        )
    files = _read(source)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, data in files.items():
            if name == CHAIN:
                place = _chain_manifest(config.load(folder))
                if place is not None:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    write_private(place, data)
            else:
                write_private(folder / name, data)
    except OSError as error:
        raise DiskFullError(f"{folder} cannot be written: {error.strerror}") from None
    config.load(folder)


def _parts(home: Home, settings: config.Config, near: Path) -> dict[str, bytes]:
    parts = {KEY: home.key_file.read_bytes(), CONFIG: (home.folder / CONFIG).read_bytes()}
    if home.store_file.exists():
        copy = near / STORE
        file.backup(str(home.store_file), copy, forget_cells)
        parts[STORE] = copy.read_bytes()
    chain = _chain_manifest(settings)
    if chain is not None and chain.is_file():
        parts[CHAIN] = chain.read_bytes()
    return {name: parts[name] for name in NAMES if name in parts}


def _chain_manifest(settings: config.Config) -> Path | None:
    """The manifest, where it lies in the node's own directory; another place is not ours to save or to write."""
    if not settings.chain.manifest:
        return None
    place = (settings.folder / settings.chain.manifest).resolve()
    return place if place.is_relative_to(settings.folder.resolve()) else None


def _write(target: Path, parts: dict[str, bytes], peer_id: str, now_ms: int) -> None:
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    said = {"format": FORMAT, "version": __version__, "created_ms": now_ms, "peer_id": peer_id, "files": sums}
    files = {MANIFEST: json.dumps(said, indent=1).encode(), **parts}
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as raw:
        with tarfile.open(fileobj=raw, mode="w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode, info.mtime = len(data), 0o600, now_ms // 1000
                tar.addfile(info, io.BytesIO(data))
        raw.flush()
        os.fsync(raw.fileno())


def _read(source: Path) -> dict[str, bytes]:
    """The files of a backup, in the order of ``NAMES``, each as it was written."""
    try:
        with tarfile.open(source, "r:") as tar:
            found = {info.name: stream.read() for info in tar if info.isreg() and (stream := tar.extractfile(info))}
        said = json.loads(found.pop(MANIFEST))
        sums, peer_id, form = dict(said["files"]), str(said["peer_id"]), said["format"]
    except FileNotFoundError:
        raise ConfigError(f"there is no backup {source}", hint="Name the file that `node backup` wrote.") from None
    except (OSError, tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise MalformedError(f"{source} is no backup of a node ({type(error).__name__})") from None
    if form != FORMAT:
        raise MalformedError(f"{source} was written by another warmline", hint="Restore it with that version.")
    whole = set(found) == set(sums) and {KEY, CONFIG} <= set(found) <= set(NAMES)
    if not whole or any(hashlib.sha256(data).hexdigest() != sums[name] for name, data in found.items()):
        raise MalformedError(f"{source} is damaged", hint="Use an older backup.")
    if len(found[KEY]) != 32 or SigningKey(found[KEY]).peer_id != peer_id:
        raise MalformedError(f"{source} has the key of another node", hint="Use another backup.")
    return {name: found[name] for name in NAMES if name in found}


def _summary(folder: Path, part: Path, now_ms: int) -> Summary:
    """Open what was restored as a node would, and count."""
    home, queues, records = Home(folder), 0, 0
    if home.store_file.exists():
        conn = file.open_writer(str(home.store_file), MIGRATIONS, now_ms=now_ms)
        try:
            with file.translated(str(home.store_file), conn):
                if conn.pragma("integrity_check") != "ok":
                    raise MalformedError(
                        "the copy of the store is damaged", hint="`warmline node doctor` may know why."
                    )
                queues = _count(conn, "queues")
                records = _count(conn, "directory_record")
        finally:
            conn.close()
    return Summary(home.key().peer_id, now_ms, queues, records, part.stat().st_size)


def _count(conn: apsw.Connection, table: str) -> int:
    return int(conn.execute(f"SELECT count(*) FROM {table}").get)
