"""The outside world as arguments: the clock, randomness, and where blocking work runs.

Everything below the daemon takes these instead of calling ``time``, ``random`` or threads itself, so that a thousand
nodes can run in one process under Trio's mock clock and repeat from a seed.
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Clock(Protocol):
    """Wall-clock time; durations and timers use ``trio.current_time`` instead."""

    def utc_ms(self) -> int:
        """Milliseconds since 1970 in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def utc_ms(self) -> int:
        return time.time_ns() // 1_000_000


class TrioClock:
    """A wall clock that follows Trio's own clock from ``start_ms``: the clock of simulations and tests."""

    def __init__(self, start_ms: int = 1_800_000_000_000) -> None:
        self.start_ms = start_ms
        self.offset_ms = 0

    def utc_ms(self) -> int:
        return self.start_ms + self.offset_ms + math.floor(trio.current_time() * 1000)


class Rng(Protocol):
    """Randomness; unpredictable in production, repeatable in simulation."""

    def bytes(self, size: int) -> bytes: ...

    def uniform(self, low: float, high: float) -> float: ...

    def choice(self, items: Sequence[T]) -> T: ...

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different items, or all of them in random order where there are fewer."""
        ...

    def shuffle(self, items: list[T]) -> None: ...


class _FromRandom:
    def __init__(self, source: random.Random) -> None:
        self._source = source

    def uniform(self, low: float, high: float) -> float:
        return self._source.uniform(low, high)

    def choice(self, items: Sequence[T]) -> T:
        return self._source.choice(items)

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        return self._source.sample(items, min(count, len(items)))

    def shuffle(self, items: list[T]) -> None:
        self._source.shuffle(items)


class SystemRng(_FromRandom):
    """The operating system's random source, for keys and everything else."""

    def __init__(self) -> None:
        super().__init__(random.SystemRandom())

    def bytes(self, size: int) -> bytes:
        return secrets.token_bytes(size)


class SeededRng(_FromRandom):
    """Repeatable randomness; never for anything that a real person depends on."""

    def __init__(self, seed: str | int) -> None:
        super().__init__(random.Random(str(seed)))

    def bytes(self, size: int) -> bytes:
        return self._source.randbytes(size)


class RunBlocking(Protocol):
    """Where disk and hashing run: a thread in production, inline in simulation."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


async def run_in_thread(work: Callable[[], T], /) -> T:
    """Run ``work`` in a worker thread; not cancellable, because half a transaction helps nobody."""
    return await trio.to_thread.run_sync(work)


async def run_inline(work: Callable[[], T], /) -> T:
    """Run ``work`` at once, in order: the simulation's way."""
    await trio.lowlevel.checkpoint()
    return work()
