"""The time by which a node forgets: it only runs while the node does, and no wrong clock can hurry it.

A receipt promises that cells are kept for so long. Were that measured by the wall clock, an hour of a wrong date (a
dead battery, a bad time server, a machine that slept) would take cells that were promised a day. So what is kept is
kept for so much of the *node's own* time, which goes on from where the last run left it, at the pace of the steady
clock. Everything lives a little longer by that, and nothing shorter. What is told to others is in wall time, as they
mean it.
"""

from __future__ import annotations

from typing import Protocol

import trio

from warmline.env import Clock
from warmline.store import Store, meta

KEY = "queues/time"
KEEP_EVERY_MS = 600_000
"""How much of its time a node that is killed may live twice."""


class NodeTime(Protocol):
    """Milliseconds since a start that is the epoch's, or was when the node began."""

    def now_ms(self) -> int: ...

    def ahead_ms(self) -> int:
        """How far the wall clock is ahead of it."""
        ...


class WallTime:
    """The wall clock itself, for stores that live no longer than their process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now_ms(self) -> int:
        return self._clock.utc_ms()

    def ahead_ms(self) -> int:
        return 0


class SteadyTime:
    """Obtained from :meth:`load`."""

    def __init__(self, clock: Clock, store: Store, base_ms: int) -> None:
        self._clock = clock
        self._store = store
        self._base_ms = self._kept_ms = base_ms
        self._since = trio.current_time()

    @classmethod
    async def load(cls, clock: Clock, store: Store) -> SteadyTime:
        """Go on where the store says; a new one begins at the wall clock."""
        kept = await store.read(lambda conn: meta.get(conn, KEY))
        return cls(clock, store, kept if isinstance(kept, int) else clock.utc_ms())

    def now_ms(self) -> int:
        return self._base_ms + int((trio.current_time() - self._since) * 1000)

    def ahead_ms(self) -> int:
        return self._clock.utc_ms() - self.now_ms()

    async def keep(self, *, at_least_ms: int = KEEP_EVERY_MS) -> None:
        """Write it down if so much has passed since the last time."""
        now = self.now_ms()
        if now - self._kept_ms >= at_least_ms:
            await self._store.write(lambda conn: meta.put(conn, KEY, now))
            self._kept_ms = now
