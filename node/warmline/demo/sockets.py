"""Who is connected to whom, read from the kernel (proc(5)): no program is asked about itself.

On systems without /proc there is nothing to read; the rows that rest on it then say so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio

EVERY = 0.2
"""Seconds between two looks. A connection that lives shorter than this may be missed."""
ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Connection:
    """TCP ports of one established connection over loopback."""

    local: int
    remote: int


def available() -> bool:
    return Path("/proc/self/net/tcp").exists()


def connections_of(pid: int) -> set[Connection]:
    """The established connections of a process; empty when it has ended."""
    table = established()
    return {table[inode] for inode in _socket_inodes(pid) if inode in table}


def established() -> dict[str, Connection]:
    """Every established connection of this machine (of this network namespace) by its socket's inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/self/net/{name}").read_text("ascii").splitlines()[1:]:
                parts = line.split()
                if parts[3] == ESTABLISHED:
                    found[parts[9]] = Connection(_port(parts[1]), _port(parts[2]))
    return found


def _socket_inodes(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(descriptor.path)
                if target.startswith("socket:["):
                    yield target[8:-1]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


class Running(Protocol):
    """What the watch needs of a program."""

    @property
    def pid(self) -> int: ...

    @property
    def running(self) -> bool: ...


@dataclass(slots=True)
class Watch:
    """Remembers every connection that was ever seen of each party's programs."""

    seen: dict[str, set[Connection]] = field(default_factory=dict)
    looks: int = 0
    _watched: list[tuple[str, Running]] = field(default_factory=list)

    def add(self, party: str, program: Running) -> None:
        self._watched.append((party, program))
        self.seen.setdefault(party, set())

    def look(self) -> None:
        self._watched = [(party, program) for party, program in self._watched if program.running]
        table = established()
        for party, program in self._watched:
            self.seen[party] |= {table[inode] for inode in _socket_inodes(program.pid) if inode in table}
        self.looks += 1

    def ports_of(self, *parties: str) -> set[int]:
        """The ports at which these parties' machines were seen by others."""
        return {connection.local for party in parties for connection in self.seen.get(party, ())}

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while available():
            self.look()
            await trio.sleep(EVERY)
