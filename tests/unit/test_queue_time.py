"""Clocks that jump: what was promised to be kept for so long is kept for so long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from support.queues import DAY_MS, HOUR_MS, NODE, HandClock, Owner, cell
from warmline.env import SeededRng, SystemClock, SystemRng, run_inline
from warmline.services.queues import QueueService, QueueSettings
from warmline.services.queues_time import KEEP_EVERY_MS, SteadyTime
from warmline.store import Store, open_store
from warmline_protocol.errors import RefusedError

JUMPS = pytest.mark.parametrize(
    "jump_ms",
    [60_000, 2 * HOUR_MS, 40 * DAY_MS, 10 * 365 * DAY_MS, -60_000, -2 * HOUR_MS, -40 * DAY_MS, -1_700_000_000_000],
)


@asynccontextmanager
async def a_store(path: Path) -> AsyncIterator[Store]:
    async with open_store(path, run_blocking=run_inline, clock=SystemClock(), rng=SystemRng()) as store:
        yield store


async def a_service(store: Store, clock: HandClock) -> tuple[QueueService, SteadyTime]:
    time = await SteadyTime.load(clock, store)
    settings = QueueSettings()
    return QueueService(NODE, store, clock=clock, rng=SeededRng("s"), settings=settings, time=time), time


def owner_at(service: QueueService) -> Owner:
    owner = Owner(service)
    owner.caller = lambda entry=None: service._caller(entry or owner.entry, b"n" * 32)  # type: ignore[method-assign]
    return owner


@JUMPS
async def test_a_jump_of_the_clock_eats_nothing_and_keeps_nothing_for_ever(
    jump_ms: int, tmp_path: Path, autojump_clock: MockClock
) -> None:
    clock = HandClock()
    async with a_store(tmp_path / "s.db") as store:
        service, _ = await a_service(store, clock)
        owner = owner_at(service)
        await owner.create(cell_ttl_ms=HOUR_MS, life_ms=DAY_MS)
        await owner.receipt(cell("before"))
        clock.now_ms += jump_ms
        await service.sweep()
        receipt = await owner.receipt(cell("after"))
        assert receipt.until_ms == pytest.approx(max(0, clock.now_ms + HOUR_MS), abs=1000), "told in wall time"
        assert await owner.read_all() == [cell("before"), cell("after")]
        await trio.sleep(HOUR_MS / 1000 - 60)
        await service.sweep()
        assert len(await owner.read_all()) == 2, "kept as long as was promised"
        clock.now_ms -= jump_ms  # somebody mends the clock
        await trio.sleep(120)
        await service.sweep()
        assert await owner.read_all() == [], "and no longer"
        await trio.sleep(2 * DAY_MS / 1000)
        await service.sweep()
        with pytest.raises(RefusedError) as refusal:
            await owner.read()
        assert refusal.value.code == "unknown"


@JUMPS
async def test_a_restart_with_a_wrong_clock_eats_nothing_either(
    jump_ms: int, tmp_path: Path, autojump_clock: MockClock
) -> None:
    clock = HandClock()
    async with a_store(tmp_path / "s.db") as store:
        service, time = await a_service(store, clock)
        owner = owner_at(service)
        await owner.create(cell_ttl_ms=HOUR_MS)
        await owner.receipt(cell("before"))
        await trio.sleep(HOUR_MS / 2000)
        await time.keep(at_least_ms=0)
    clock.now_ms += jump_ms
    async with a_store(tmp_path / "s.db") as store:
        service, _ = await a_service(store, clock)
        await service.sweep()
        owner = owner_at(service)
        assert await owner.read_all() == [cell("before")]
        await trio.sleep(HOUR_MS / 2000 + 60)
        await service.sweep()
        assert await owner.read_all() == [], "the half hour before the restart counts"


async def test_a_node_that_is_killed_lives_a_little_of_its_time_twice(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with a_store(tmp_path / "s.db") as store:
        time = await SteadyTime.load(HandClock(), store)
        start = time.now_ms()
        for _ in range(100):
            await trio.sleep(30)
            await time.keep()
        again = await SteadyTime.load(HandClock(), store)
        assert 0 <= time.now_ms() - again.now_ms() < KEEP_EVERY_MS
        assert again.now_ms() > start


async def test_a_drop_releases_by_the_wall_clock(tmp_path: Path, autojump_clock: MockClock) -> None:
    """What its creator asked for is a date. A clock that jumps ahead shows it early, which is written down."""
    clock = HandClock()
    async with a_store(tmp_path / "s.db") as store:
        service, _ = await a_service(store, clock)
        owner = owner_at(service)
        await owner.create(release_at=clock.now_ms + HOUR_MS)
        await owner.receipt(cell("later"))
        assert await owner.read_all() == []
        clock.now_ms += HOUR_MS
        assert await owner.read_all() == [cell("later")]
