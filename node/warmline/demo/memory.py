"""What a running process has in memory, read through proc(5): what whoever seizes the machine would find.

Only what the parent of a process may do anyway; where the system does not allow it, there is no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

CHUNK = 8 << 20
"""Bytes read at once; regions of interpreters are larger than one wants to hold several times."""


def search(pid: int, needles: Sequence[bytes]) -> set[bytes] | None:
    """Which of ``needles`` are in the writable memory of a process; None where that cannot be read."""
    found: set[bytes] = set()
    longest = max(map(len, needles), default=1)
    read = False
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for start, end in _regions(pid):
                for data in _chunks(memory.fileno(), start, end, longest):
                    read = True
                    found |= {needle for needle in needles if needle in data}
    except OSError:
        return None
    return found if read else None


def _regions(pid: int) -> Iterator[tuple[int, int]]:
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            where, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, _, end = where.partition("-")
                yield int(start, 16), int(end, 16)


def _chunks(descriptor: int, start: int, end: int, overlap: int) -> Iterator[bytes]:
    """The region in pieces that overlap, so that nothing is cut in two. What cannot be read is left out."""
    import os

    while start < end:
        try:
            data = os.pread(descriptor, min(CHUNK, end - start), start)
        except OSError:
            return
        if not data:
            return
        yield data
        start += len(data) if start + len(data) >= end else max(1, len(data) - overlap)
