"""Twenty nodes in processes of their own, four of them hostile: churn, an hour apart, and the same directory after."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import trio

from support import records as make
from support.fleets import HOSTILE, Fleet, a_fleet
from warmline_protocol.records.envelope import LISTING, end_record, open_record, record_id

NODES = int(os.environ.get("WARMLINE_FLEET", "20"))
HOUR_MS = 3_600_000
MINUTES = 15.0
GONE_WITHIN = 60.0
"""Seconds from healing until what was withdrawn is gone everywhere."""


class Programme:
    """What supporters publish, renew and withdraw, and what everybody should then hold."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.wanted: dict[str, list[object]] = {}

    async def publish(self, node: str, slug: str) -> None:
        data = make.signed_listing("ana", slug, at_ms=self.fleet.clock.utc_ms(), wallet=False)
        await self._tell(node, data)

    async def withdraw(self, node: str, slug: str) -> None:
        now = self.fleet.clock.utc_ms()
        held = open_record(make.signed_listing("ana", slug, at_ms=now - 1, wallet=False))
        await self._tell(node, end_record(held, make.key("ana"), now))

    async def _tell(self, node: str, data: bytes) -> None:
        record = open_record(data)
        assert await self.fleet.ask(node, publish=data.hex()) == "accept"
        self.wanted[record.id.hex()] = [record.kind, record.seq]


def id_of(slug: str) -> str:
    return record_id(LISTING, make.key("ana").public, slug).hex()


@pytest.mark.timeout(60 * MINUTES)
async def test_an_hour_apart_with_liars_and_churn_and_the_same_directory_after(tmp_path: Path) -> None:
    hostile = max(1, NODES // 5)
    names = [f"node {number}" for number in range(NODES)]
    kinds = dict.fromkeys(names, "honest")
    for number in range(hostile):
        kinds[names[-1 - number]] = HOSTILE[number % len(HOSTILE)]
    with trio.fail_after(60 * MINUTES):
        async with a_fleet(tmp_path, kinds) as fleet:
            programme = Programme(fleet)
            honest = fleet.honest
            for number in range(20):
                await programme.publish(honest[number % len(honest)], f"group-{number}")
            took = await fleet.ask_all(honest, until=programme.wanted, seconds=300)
            assert None not in took.values(), took

            # Apart: one half with each bootstrap node, liars in both.
            left = [name for number, name in enumerate(names) if number % 2 == 0]
            right = [name for number, name in enumerate(names) if number % 2 == 1]
            await fleet.split(left, right)
            here = [name for name in left if kinds[name] == "honest"]
            there = [name for name in right if kinds[name] == "honest"]
            for number in range(4):
                await programme.publish(here[number % len(here)], f"here-{number}")
                await programme.publish(there[number % len(there)], f"there-{number}")
            fleet.clock.set(HOUR_MS)  # an hour passes for everybody
            for number in range(4):
                await programme.withdraw(here[-1], f"group-{number}")
                await programme.withdraw(there[-1], f"group-{4 + number}")
                await programme.publish(here[0], f"group-{8 + number}")
            apart = await fleet.ask(there[0], held=[id_of("here-0"), id_of("group-0")])
            assert id_of("here-0") not in apart
            assert apart[id_of("group-0")][0] == LISTING, "the wall held"

            # Churn: one of each half dies and comes back with nothing.
            for name in (here[1], there[1]):
                await fleet.kill(name)
                await fleet.start(name)
            await fleet.split(names)
            healed = time.monotonic()
            took = await fleet.ask_all(honest, until=programme.wanted, seconds=300)
            assert None not in took.values(), {name: seconds for name, seconds in took.items() if seconds is None}
            slowest = max(took.values())
            print(f"{NODES} nodes, {hostile} hostile: the same after {slowest:.1f} s")
            assert slowest < GONE_WITHIN, f"{slowest:.0f} s"
            assert time.monotonic() - healed < GONE_WITHIN + 60
            held = await fleet.ask_all(honest, held=list(programme.wanted))
            assert all(found == held[honest[0]] for found in held.values())
            assert all(fleet.children[name].alive for name in honest)
