"""What ends and what hands over, by commands: issuers that go, contracts that are superseded, bonds that were lost."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from support.court import (
    ADVOCATE,
    BYSTANDER,
    DEPLOYER,
    PANELLISTS,
    RESPONDENT,
    Opened,
    StillClock,
    court,
    embedded,
    on_both,
)
from support.hall import Hall, judged
from warmline import env
from warmline.chain.plans import DAY_S
from warmline_protocol.errors import WarmlineError

HOLDER, ISSUER = RESPONDENT, ADVOCATE


@on_both
async def test_holders_are_told_when_their_issuer_leaves_and_where_a_contract_goes(
    tmp_path: Path, opened: Opened
) -> None:
    async with court(opened, tmp_path) as act:
        hall = Hall(act, tmp_path)
        await hall.run(DEPLOYER, "issuer", "admit", ISSUER.shown)
        await hall.run(ISSUER, "issuer", "register", "--type", "peer")
        await hall.run(ISSUER, "issuer", "issue", HOLDER.shown, "peer", "--days", "90")
        (row,) = (await hall.run(HOLDER, "supporter", "credential", "list"))["state"]["credentials"]
        assert (row["valid"], row["note"]) == (True, "")

        planned = await hall.run(DEPLOYER, "issuer", "sunset", ISSUER.shown, "--dry-run")
        assert "go in peace" in planned["transactions"][0]["says"]
        assert planned["transactions"][0]["cost_max_wei"] > 0
        assert planned["state"]["sunset_at_s"] == 0
        ends = (await hall.run(DEPLOYER, "issuer", "sunset", ISSUER.shown))["state"]["sunset_at_s"]
        assert 0 < ends - await act.time_s() <= 30 * DAY_S
        with pytest.raises(WarmlineError):  # it adds nothing more, and only governance lets anybody go
            await hall.run(ISSUER, "issuer", "issue", BYSTANDER.shown, "peer", "--days", "9")
        with pytest.raises(WarmlineError):
            await hall.run(BYSTANDER, "issuer", "sunset", ISSUER.shown)
        (row,) = (await hall.run(HOLDER, "supporter", "credential", "list"))["state"]["credentials"]
        assert (row["valid"], row["until_s"]) == (True, ends)
        assert "ask an issuer that stays" in row["note"]
        await act.travel_to(ends)
        (row,) = (await hall.run(HOLDER, "supporter", "standing"))["state"]["credentials"]
        assert not row["valid"]
        assert "its issuer left" in row["note"]

        # Any contract will do as a successor here; the address must have code.
        heir = "0x" + act.reports.manifest.address("SupporterBond").hex()
        with pytest.raises(WarmlineError):
            await hall.run(DEPLOYER, "issuer", "succeed", "CredentialRegistry", BYSTANDER.shown)
        with pytest.raises(click.UsageError):
            await hall.run(DEPLOYER, "issuer", "succeed", "AccessManager", heir)
        await hall.run(DEPLOYER, "issuer", "succeed", "CredentialRegistry", heir)
        (told,) = (await hall.run(HOLDER, "supporter", "standing"))["state"]["successions"]
        assert (told["contract"], told["successor"].lower()) == ("CredentialRegistry", heir)
        assert "ask them when" in told["to_do"]
        withdrawn = await hall.run(DEPLOYER, "issuer", "succeed", "CredentialRegistry", "none")
        assert withdrawn["state"]["succession"] is None
        assert (await hall.run(HOLDER, "supporter", "credential", "list"))["state"]["successions"] == []


async def test_governance_names_collectors_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "SystemClock", StillClock)  # a command does not believe a chain of another year
    async with court(embedded, tmp_path) as act:
        hall, named = Hall(act, tmp_path), [one.shown for one in PANELLISTS[:3]]
        listed = (await hall.run(BYSTANDER, "conduct", "epochs"))["state"]
        assert (len(listed["collectors"]), listed["threshold"]) == (3, 2)
        naming = ("conduct", "name-collectors", *named, "--threshold")
        with pytest.raises(WarmlineError):
            await hall.run(BYSTANDER, *naming, "2")
        with pytest.raises(WarmlineError):  # half is no quorum
            await hall.run(DEPLOYER, *naming, "1")
        planned = await hall.run(DEPLOYER, *naming, "2", "--dry-run")
        assert planned["state"]["collectors"] == listed["collectors"]
        now = (await hall.run(DEPLOYER, *naming, "2"))["state"]
        assert (set(now["collectors"]), now["threshold"]) == (set(named), 2)


async def test_a_filing_bond_that_was_lost_goes_to_the_commons(tmp_path: Path) -> None:
    async with court(embedded, tmp_path) as act:
        hall, opener = Hall(act, tmp_path), PANELLISTS[0]
        with pytest.raises(WarmlineError):
            await hall.run(BYSTANDER, "panel", "sweep")
        terms = await act.reports.report_terms()
        filed = await hall.run(BYSTANDER, "advocate", "file", str(await hall.bundle()), "--with-bond", cases=True)
        report = filed["state"]["report"]["id"]
        sealed = await hall.handed(report, opener, BYSTANDER)
        await hall.run(opener, "panel", "take", str(sealed), cases=True)
        await hall.run(opener, "panel", "admit", report, cases=True)
        await act.pass_step(bytes.fromhex(report[2:]))
        await judged(hall, report, "bad-faith")
        await act.pass_step(bytes.fromhex(report[2:]))
        await hall.run(BYSTANDER, "panel", "close", report)
        said = await hall.run(BYSTANDER, "panel", "sweep", "--dry-run")
        assert said["state"] == {"swept_wei": 0, "forfeited_wei": terms.filing_bond}
        swept = (await hall.run(BYSTANDER, "panel", "sweep"))["state"]
        assert swept == {"swept_wei": terms.filing_bond, "forfeited_wei": 0}
