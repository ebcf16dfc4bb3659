"""Small parts that let a gossip message through py-libp2p in six task switches instead of thirteen.

``trio.Lock`` yields to the scheduler at every acquisition, free or not. The library takes eight such locks for each
message, none of which is ever contended on that path, and a switch costs more than the decryption. And each Noise
message is read from the socket in two calls, length and body, each another switch.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import trio

AHEAD = 16 * 1024
"""Bytes read from a socket at once where fewer were asked for."""


class QuickLock:
    """A fair lock that yields only when it has to wait; what the library uses of ``trio.Lock``.

    Scheduling stays fair: every loop of the library that takes one also reads a socket or waits for an event.
    """

    def __init__(self) -> None:
        self._held = False
        self._line = trio.lowlevel.ParkingLot()

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held

    async def acquire(self) -> None:
        """Take the lock, in order of asking."""
        if self._held:
            await self._line.park()  # release hands the lock over, still held
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        self.acquire_nowait()  # nothing ran in between

    def acquire_nowait(self) -> None:
        """Take the lock if it is free, or raise ``trio.WouldBlock``."""
        if self._held:
            raise trio.WouldBlock
        self._held = True

    def release(self) -> None:
        """Give the lock to the next in line, or free it."""
        if not self._held:
            raise RuntimeError("release of a lock that nobody holds")
        if self._line:
            self._line.unpark()
        else:
            self._held = False

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *ended: object) -> None:
        self.release()


def trio_with_quick_locks() -> ModuleType:
    """The ``trio`` module with :class:`QuickLock` for ``Lock``; for the namespaces of single library modules."""
    namespace = ModuleType("trio")
    namespace.__dict__.update(trio.__dict__)
    namespace.__dict__["Lock"] = QuickLock
    return namespace


CLOSING_PAUSE = 0.1
"""Seconds that the library sleeps when a connection has closed; nothing else in those modules sleeps as long."""
TURNS = 4
"""Rounds of the scheduler that stand in for it: a task woken by the close runs in the first."""


def trio_without_pauses(base: ModuleType) -> ModuleType:
    """``base``, which is ``trio`` or a variant of it, with a ``sleep`` that gives way instead of pausing at a close."""
    namespace = ModuleType("trio")
    namespace.__dict__.update(base.__dict__)
    namespace.__dict__["sleep"] = _sleep
    return namespace


async def _sleep(seconds: float) -> None:
    if seconds != CLOSING_PAUSE:
        await trio.sleep(seconds)
        return
    for _ in range(TURNS):
        await trio.lowlevel.checkpoint()


async def read_ahead(self: Any, n: int | None = None) -> bytes:
    """``TrioTCPStream.read`` that takes what the socket has and keeps what was not asked for."""
    ahead: bytes = self.__dict__.get("_ahead", b"")
    if ahead and n is not None:
        self._ahead = ahead[n:]
        return ahead[:n]
    if n == 0:
        return b""
    if ahead:
        self._ahead = b""
        return ahead
    data: bytes = await self._read_socket(None if n is None else max(n, AHEAD))
    if n is None or len(data) <= n:
        return data
    self._ahead = data[n:]
    return data[:n]


async def credit_by_halves(self: Any, *, bytes_read: int = 0) -> None:
    """``YamuxStream._auto_tune_and_send_window_update``: credit comes back by halves, as in go-yamux."""
    buffered = len(self.conn.stream_buffers.get(self.stream_id, b""))
    used = self.target_recv_window - (self.recv_window + buffered)
    if used < self.target_recv_window // 2:
        return
    self._pending_recv_release = 0
    credit = self._grow_to_delta(buffered) + self._apply_autotune_epoch(buffered)
    await self.send_window_update(credit, skip_lock=True)
