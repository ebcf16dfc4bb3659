"""Commands of everybody around a report panel, run in this process: each person with a folder of their own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio
from click.testing import CliRunner

from support.court import ADVOCATE, BYSTANDER, RESPONDENT, Court
from support.evidence import bundle_about
from warmline.chain.wallet import Wallet, dev_wallet
from warmline.cli.root import command

DEV = {dev_wallet(number).address: number for number in range(10)}
PASSPHRASE = "nine quiet lamps"


@dataclass
class Hall:
    """Runs commands in this process, each person with a folder of their own."""

    act: Court
    folder: Path

    async def run(self, who: Wallet, *arguments: str, cases: bool = False) -> dict[str, Any]:
        """The JSON that the command prints; what it raises comes out."""
        return await trio.to_thread.run_sync(partial(self._run, who, arguments, cases))

    def _run(self, who: Wallet, arguments: tuple[str, ...], cases: bool) -> dict[str, Any]:
        number = DEV[who.address]
        shared = ["--chain", self.act.rpc.url, "--manifest", str(self.folder / "manifest.json"), "--json"]
        line = [*arguments, *shared, "--data", str(self.folder / str(number)), "--dev-account", str(number)]
        if cases:
            reading, writing = os.pipe()
            os.write(writing, PASSPHRASE.encode() + b"\n")
            os.close(writing)
            line += ["--case-passphrase-fd", str(reading)]
        done = CliRunner().invoke(command, line, standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        lines = done.stdout.strip().splitlines()
        answer: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {"said": done.stdout}
        return answer

    async def panel_key(self, who: Wallet) -> Path:
        said = (await self.run(who, "panel", "key", cases=True))["said"]
        path = self.folder / f"key-{DEV[who.address]}"
        await trio.Path(path).write_text(said)
        return path

    async def bundle(self) -> Path:
        manifest = self.act.reports.manifest
        where = manifest.chain_id, manifest.address("DelegateRegistry")
        texts = ["Hello.", "You could pay me.", "Only a little."]
        path = self.folder / "report.bundle"
        await trio.Path(path).write_bytes(bundle_about(RESPONDENT, *where, texts, own="I need help."))
        return path

    async def filed(self) -> str:
        """A filed report, as its id."""
        done = await self.run(ADVOCATE, "advocate", "file", str(await self.bundle()), cases=True)
        report: str = done["state"]["report"]["id"]
        return report

    async def handed(self, report: str, to: Wallet, by: Wallet = ADVOCATE) -> Path:
        key, out = await self.panel_key(to), self.folder / f"sealed-{DEV[to.address]}"
        await self.run(by, "advocate", "hand-over", report[:18], "--to", str(key), "--out", str(out), cases=True)
        return out


async def judged(hall: Hall, report: str, ruling: str) -> list[Wallet]:
    """Draw whoever sits now and let all of them vote for that."""
    await hall.run(BYSTANDER, "panel", "summon", report)
    await hall.act.pass_blocks(5)
    drawn = await hall.run(BYSTANDER, "panel", "seat", report)
    seated = [dev_wallet(DEV[bytes.fromhex(seat[2:])]) for seat in drawn["state"]["report"]["seats"]]
    for one in seated:
        await hall.run(one, "panel", "commit", report, ruling, cases=True)
    now = await hall.act.reports.report_of(bytes.fromhex(report[2:]))
    terms = await hall.act.reports.report_terms()
    await hall.act.travel_to(now.deadline_s - terms.reveal_s)
    for one in seated:
        await hall.run(one, "panel", "reveal", report, cases=True)
    await hall.run(BYSTANDER, "panel", "tally", report)
    return seated
