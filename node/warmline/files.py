"""Small files that are replaced whole or not at all, and are on the disk before anybody goes on."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from warmline_protocol.errors import DiskFullError


def write_whole(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Replace the file at ``path``; a new one gets ``mode`` without the umask. Blocking. Raises DiskFullError."""
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise DiskFullError(f"cannot write {path}: {error.strerror}") from error


def write_private(path: Path, data: bytes) -> None:
    """As :func:`write_whole`, for its owner only, in a directory that is made for its owner where it is not there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise DiskFullError(f"cannot write {path}: {error.strerror}") from error
    write_whole(path, data, mode=0o600)


def _sync_folder(folder: Path) -> None:
    """So that a power cut does not bring the file before back. Not every file system can; SQLite goes on then, too."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
