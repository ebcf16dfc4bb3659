"""A journal: one JSON line for everything that a person's program was asked, told and shown.

Lines are in the kernel before the program goes on, so that its death loses none; a task brings them to the disk.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

SYNC_EVERY = 0.25


class Journal:
    """Appends to ``path``."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._written = trio.Event()

    def write(self, what: str, **fields: Any) -> None:
        """``t`` is the machine's time in seconds."""
        line = {"t": round(time.time(), 3), "what": what, **fields}
        os.write(self._file, json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._written.set()

    async def sync_forever(self) -> None:
        while True:
            await self._written.wait()
            self._written = trio.Event()
            await trio.to_thread.run_sync(os.fsync, self._file)
            await trio.sleep(SYNC_EVERY)


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line."""
    with path.open("rb") as file:
        for line in file:
            with suppress(ValueError):
                yield json.loads(line)
