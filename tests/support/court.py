"""A report panel with everybody who has a part in it, on either chain, and time that passes when it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from support.chain import NEVER_S, Actors, on_both_chains, open_anvil
from warmline.chain import deployer
from warmline.chain.contracts import Call
from warmline.chain.devchain import DevChainSettings, dev_terms, open_devchain
from warmline.chain.errors import RevertError
from warmline.chain.plans import DAY_S, ReportTimes, dev_plan
from warmline.chain.provider import Rpc, open_rpc
from warmline.chain.reports import Reports
from warmline.chain.wallet import Wallet, dev_wallet
from warmline.env import run_in_thread

EVIDENCE, SALT, ANSWER = b"e" * 32, b"s" * 32, b"a" * 32
EXIT_DELAY_S = 75 * DAY_S
BOND = 10_000
SUSPENSION_S = 90 * DAY_S
DEPLOYER, ADVOCATE, RESPONDENT, BYSTANDER = dev_wallet(8), dev_wallet(1), dev_wallet(3), dev_wallet(9)
PANELLISTS = [dev_wallet(index) for index in (0, 2, 5, 6, 7)]
Travel = Callable[[int], Awaitable[None]]
Opened = Callable[[Path], AbstractAsyncContextManager[tuple[Rpc, Travel]]]


@dataclass
class StillClock:
    """Stands until it is moved: a block takes one second, and no deadline passes because the machine is slow."""

    time_ms: int = 1_800_000_000_000

    def utc_ms(self) -> int:
        return self.time_ms


@asynccontextmanager
async def embedded(tmp_path: Path) -> AsyncIterator[tuple[Rpc, Travel]]:
    clock = StillClock()

    async def travel(to_s: int) -> None:
        await trio.lowlevel.checkpoint()
        clock.time_ms = to_s * 1000

    settings = DevChainSettings(tmp_path / "chain", 0, NEVER_S)
    async with open_devchain(settings, clock, run_in_thread) as running, open_rpc(running.url) as rpc:
        yield rpc, travel


@asynccontextmanager
async def anvil(_: Path) -> AsyncIterator[tuple[Rpc, Travel]]:
    async with open_anvil() as rpc:
        await rpc.call("anvil_setBlockTimestampInterval", 1)

        async def travel(to_s: int) -> None:
            await rpc.call("evm_setNextBlockTimestamp", to_s)

        yield rpc, travel


on_both = on_both_chains(embedded, anvil)


class Court(Actors):
    """Five neutral panellists; advocate and respondent are panellists too, who must not judge their own case."""

    def __init__(self, rpc: Rpc, reports: Reports, travel: Travel) -> None:
        super().__init__(rpc, reports)
        self.reports = reports
        self._travel = travel

    async def refused(self, wallet: Wallet, call: Call, name: str, words: str) -> None:
        with pytest.raises(RevertError, match=words) as caught:
            await self.do(wallet, call)
        assert caught.value.name == name
        assert caught.value.hint

    async def pass_blocks(self, count: int) -> None:
        await trio.lowlevel.checkpoint()
        for _ in range(count):
            await self.do(BYSTANDER, self.reports.bond(1))

    async def travel_to(self, time_s: int) -> None:
        await self._travel(time_s)
        await self.pass_blocks(1)
        assert await self.time_s() >= time_s

    async def pass_step(self, report_id: bytes) -> None:
        await self.travel_to((await self.reports.report_of(report_id)).deadline_s)

    async def seated(self, report_id: bytes) -> list[Wallet]:
        by_address = {one.address: one for one in [*PANELLISTS, ADVOCATE, RESPONDENT]}
        return [by_address[one] for one in await self.reports.seats_of(report_id)]

    async def draw(self, report_id: bytes) -> list[Wallet]:
        await self.do(BYSTANDER, self.reports.summon(report_id))
        await self.refused(BYSTANDER, self.reports.seat(report_id), "LotNotKnown", "yet to come")
        await self.pass_blocks(5)
        await self.do(BYSTANDER, self.reports.seat(report_id))
        return await self.seated(report_id)


@asynccontextmanager
async def court(opened: Opened, tmp_path: Path) -> AsyncIterator[Court]:
    async with opened(tmp_path) as (rpc, travel):
        plan = dev_plan(replace(dev_terms(), report=ReportTimes(), exit_delay_s=EXIT_DELAY_S))
        manifest = await deployer.deploy(rpc, DEPLOYER, plan, tmp_path / "manifest.json", run_in_thread)
        act = Court(rpc, Reports(rpc, manifest), travel)
        for one in [*PANELLISTS, ADVOCATE, RESPONDENT]:
            await act.do(DEPLOYER, act.reports.accredit(one.address))
        await act.do(DEPLOYER, act.reports.set_advocate(ADVOCATE.address, 2))
        await act.do(RESPONDENT, act.reports.bond(BOND))
        yield act
