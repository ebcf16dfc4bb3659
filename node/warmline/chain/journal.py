"""The dev chain's memory: an append-only file, one line a block, on the disk before anybody is answered.

py-evm keeps its state in memory only, so a restart replays what was signed. A line is `crc32 json`; a torn last line
is what a crash leaves and is cut off. A bad line with good ones after it is not a crash: then nothing is touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from warmline.chain.errors import JournalError
from warmline_protocol.errors import DiskFullError


class Journal:
    """Blocking. The file is locked while it is open: two chains must not write one history."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a write that failed must not be tried again behind our back when the file is closed.
            self._file = path.open("a+b", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise JournalError(
                f"another dev chain is running on {path.parent}", hint="Stop it, or give another --data directory."
            ) from error
        except OSError as error:
            raise JournalError(f"cannot use {path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def recover(self) -> Iterator[dict[str, Any]]:
        """Every whole record in order; what a crash tore off at the end is cut away first. Raises JournalError."""
        self._file.seek(0)
        lines = self._file.read().split(b"\n")
        records = [_parse(line) for line in lines]
        good = next((at for at, record in enumerate(records) if record is None), len(records))
        if any(record is not None for record in records[good:]):
            raise JournalError(f"{self.path} is damaged in line {good + 1}")
        self._file.truncate(sum(len(line) + 1 for line in lines[:good]))
        self._sync()
        for record in records[:good]:
            assert record is not None
            yield record

    def append(self, record: dict[str, Any]) -> None:
        """Returns when the record is on the disk. Raises DiskFullError, after which the chain must stop."""
        body = json.dumps(record, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (zlib.crc32(body), body)
        try:
            while line:
                line = line[self._file.write(line) :]
            self._sync()
        except OSError as error:
            raise DiskFullError(f"cannot write {self.path}: {error.strerror}") from error

    def _sync(self) -> None:
        os.fsync(self._file.fileno())


def _parse(line: bytes) -> dict[str, Any] | None:
    """None for anything that is not a whole record."""
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body) or not body:
        return None
    record = json.loads(body)
    return record if isinstance(record, dict) else None
