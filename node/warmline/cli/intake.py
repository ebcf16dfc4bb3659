"""What `warmline advocate intake` does: an advocate's doors, at which reports arrive, are checked and kept."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from warmline.client.cases import Cases, open_cases
from warmline.client.duty import Duty, open_duty
from warmline.client.line import pick_up
from warmline.client.reporting import Arrived, attend, reference_of
from warmline.client.session_doors import Knocking
from warmline.env import SystemClock, SystemRng, run_in_thread
from warmline_protocol.errors import WarmlineError

SEATS = 8
"""Reports that arrive at the same time; who comes beyond that is told that it is busy, and tries again."""


async def serve_intake(folder: Path, device: str, cases: str, entries: tuple[str, ...], as_json: bool) -> None:
    """Until it is cancelled. Raises as ``open_duty`` and ``open_cases``."""
    rng, clock = SystemRng(), SystemClock()

    def say(text: str, **data: Any) -> None:
        click.echo(json.dumps(data | {"said": text}) if as_json else text)

    line = await pick_up(entries, rng=rng, clock=clock, run_blocking=run_in_thread)
    # Held open for as long as this runs: one process owns the cases.
    with open_cases(folder, lambda: cases, rng=rng, clock=clock) as kept:
        async with open_duty(line, folder, device, seats=SEATS) as duty, trio.open_nursery() as nursery:
            say(f"Taking reports as {duty.name}, at {duty.doors_up} doors.", event="intake", doors=duty.doors_up)
            async for knock in duty.knocks:
                nursery.start_soon(_one, duty, knock, kept, say)


async def _one(duty: Duty, knock: Knocking, kept: Cases, say: Any) -> None:
    """One person's session. What goes wrong in it ends it alone."""

    async def keep(arrived: Arrived) -> None:
        await run_in_thread(partial(kept.receive, arrived.bundle))
        reference = reference_of(arrived.finding)
        say(f"A report about {arrived.finding.name}: {reference}", event="report", reference=reference)

    try:
        talk = (await duty.let_in(knock)).talk
        await attend(talk, keep)
    except WarmlineError as error:
        say(f"A session ended early: {error}", event="problem")
