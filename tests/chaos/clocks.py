"""A wall clock that somebody else may set while the program runs: eight bytes of a shared file, added to the time."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

_OFFSET = struct.Struct("<q")


class ShiftedClock:
    """The machine's clock and an offset (ms) that lies in ``path``, made when it is not there."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_OFFSET.pack(0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _OFFSET.size)

    @property
    def offset_ms(self) -> int:
        offset: int = _OFFSET.unpack(self._shared[:])[0]
        return offset

    def set(self, offset_ms: int) -> None:
        """From now on the time is so much ahead."""
        self._shared[:] = _OFFSET.pack(offset_ms)

    def utc_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_ms
