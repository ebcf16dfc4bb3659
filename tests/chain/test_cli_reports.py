"""A report by commands alone: filed by an advocate from evidence, handed over sealed, judged, appealed, destroyed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from support.court import ADVOCATE, BYSTANDER, PANELLISTS, RESPONDENT, Opened, court, embedded, on_both
from support.evidence import bundle_about
from support.hall import PASSPHRASE, Hall, judged
from support.records import NOW
from warmline.chain.errors import RevertError
from warmline.chain.reports import PANEL
from warmline.client.cases import KEEP_MS, OPEN_MS, Cases, open_cases
from warmline.env import SystemRng
from warmline_protocol.errors import MalformedError, PassphraseError, UsageError
from warmline_protocol.session.evidence_bundle import bundle_digest
from warmline_protocol.session.evidence_case import Case, examine, seal_case


async def phase(hall: Hall, report: str) -> str:
    said: str = (await hall.run(BYSTANDER, "panel", "show", report))["state"]["report"]["phase"]
    return said


@on_both
async def test_a_report_goes_from_evidence_to_a_ruling_by_commands(tmp_path: Path, opened: Opened) -> None:
    async with court(opened, tmp_path) as act:
        hall, opener = Hall(act, tmp_path), PANELLISTS[0]
        report = await hall.filed()
        listed = (await hall.run(BYSTANDER, "panel", "cases", "--open"))["state"]["reports"]
        assert [(one["id"], one["phase"], one["respondent"]) for one in listed] == [(report, "filed", None)]

        sealed = await hall.handed(report, opener)
        taken = (await hall.run(opener, "panel", "take", str(sealed), cases=True))["state"]
        assert (taken["report"], taken["texts"], taken["own_lines"]) == (report, 3, 1)
        read = (await hall.run(opener, "panel", "read", report[:14], cases=True))["said"]
        assert "✓ You could pay me." in read
        assert "They asked me for money." in read
        with pytest.raises(MalformedError):  # sealed to somebody else
            await hall.run(PANELLISTS[1], "panel", "take", str(sealed), cases=True)

        admitted = await hall.run(opener, "panel", "admit", report[:14], cases=True)
        assert admitted["state"]["report"]["respondent"] == RESPONDENT.shown
        answer = tmp_path / "answer.txt"
        answer.write_text("It was a joke.")
        with pytest.raises(UsageError, match="not about you"):
            await hall.run(BYSTANDER, "supporter", "respond", report, str(answer))
        await hall.run(RESPONDENT, "supporter", "respond", report, str(answer))
        assert len((tmp_path / "answer.txt.salt").read_text().strip()) == 64
        assert (tmp_path / "answer.txt.salt").stat().st_mode & 0o077 == 0  # with it the answer could be guessed

        await judged(hall, report, "suspended")
        standing = (await hall.run(BYSTANDER, "supporter", "standing", "--of", RESPONDENT.shown))["state"]
        assert (standing["open_reports"], standing["suspended_until_s"] > 0) == (1, True)
        await hall.run(RESPONDENT, "advocate", "appeal", report)
        # No panel of neutral people is left to draw for it: its time runs out, and the first ruling stands.
        await hall.run(BYSTANDER, "panel", "summon", report)
        await act.pass_blocks(5)
        with pytest.raises(RevertError, match="neutral panellists"):
            await hall.run(BYSTANDER, "panel", "seat", report)
        await act.travel_to((await act.reports.report_of(bytes.fromhex(report[2:]))).ends_s)
        await hall.run(BYSTANDER, "panel", "close", report)
        shown = (await hall.run(BYSTANDER, "panel", "show", report))["state"]["report"]
        assert (shown["phase"], shown["appealed"]) == ("closed", True)
        standing = (await hall.run(BYSTANDER, "supporter", "standing", "--of", RESPONDENT.shown))["state"]
        assert (standing["open_reports"], standing["suspended_until_s"] > 0) == (0, True)

        held = (await hall.run(ADVOCATE, "advocate", "cases", cases=True))["state"]["cases"]
        assert [one["id"] for one in held] == [report]
        await hall.run(opener, "panel", "destroy", report[:14], cases=True)
        assert (await hall.run(opener, "panel", "held", cases=True))["state"]["cases"] == []


@on_both
async def test_what_nobody_acts_on_ends_by_itself(tmp_path: Path, opened: Opened) -> None:
    async with court(opened, tmp_path) as act:
        hall = Hall(act, tmp_path)
        report = await hall.filed()
        await act.pass_step(bytes.fromhex(report[2:]))
        said = (await hall.run(BYSTANDER, "panel", "close", report))["state"]["report"]
        assert (said["phase"], said["respondent"]) == ("closed", None)


async def test_a_vote_whose_salt_is_elsewhere_and_a_case_that_is_not_held_are_said(tmp_path: Path) -> None:
    async with court(embedded, tmp_path) as act:
        hall = Hall(act, tmp_path)
        report = await hall.filed()
        with pytest.raises(UsageError, match="no vote"):
            await hall.run(PANELLISTS[1], "panel", "reveal", report, cases=True)
        with pytest.raises(UsageError, match="no case"):
            await hall.run(PANELLISTS[1], "panel", "admit", report, cases=True)
        with pytest.raises(UsageError, match="0 reports begin"):
            await hall.run(BYSTANDER, "panel", "show", "0xabcdef")
        with pytest.raises(click.UsageError):
            await hall.run(PANELLISTS[1], "panel", "commit", report, "guilty", cases=True)


@dataclass
class Hand:
    """A clock that is moved by hand."""

    now: int = NOW

    def utc_ms(self) -> int:
        return self.now


def a_case(**changes: Any) -> Case:
    bundle = bundle_about(RESPONDENT, 1, b"\x22" * 20, ["Hello."])
    fields = {
        "report_id": b"\1" * 32,
        "filer": ADVOCATE.address,
        "respondent": RESPONDENT.address,
        "evidence_hash": bundle_digest(bundle),
        "salt": b"\2" * 32,
        "bundle": bundle,
        "filed_ms": NOW,
    }
    return Case(**fields | changes)


def held_by(folder: Path, clock: Hand, passphrase: str = PASSPHRASE) -> Any:
    return open_cases(folder, lambda: passphrase, rng=SystemRng(), clock=clock)


def test_evidence_is_destroyed_on_its_last_day(tmp_path: Path) -> None:
    clock, case = Hand(), a_case()
    with held_by(tmp_path, clock) as kept:
        kept.keep(case)
        assert kept.find("0101") == case
        kept.over(case.report_id)
        kept.over(case.report_id)
        assert kept.until_ms(case.report_id) == NOW + KEEP_MS
    clock.now += KEEP_MS - 1
    with held_by(tmp_path, clock) as kept:
        kept.over(case.report_id)  # seen over again: that does not lengthen it
        assert kept.all() == [case]
    clock.now += 1
    with held_by(tmp_path, clock) as kept:
        assert kept.all() == []
    assert all(b"Hello." not in path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(PassphraseError), held_by(tmp_path, clock, "wrong wrong wrong"):
        pass


@pytest.mark.parametrize(
    "changes",
    [
        {"evidence_hash": b"\3" * 32},
        {"respondent": ADVOCATE.address},
        {"bundle": b"\x81"},
        {"bundle": bundle_about(BYSTANDER, 1, b"\x22" * 20, ["Hello."])},
    ],
)
def test_a_case_that_does_not_fit_together_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        examine(a_case(**changes))


def test_a_sealed_case_opens_for_its_reader_only(tmp_path: Path) -> None:
    clock, case = Hand(), a_case()
    with held_by(tmp_path / "one", clock) as one, held_by(tmp_path / "two", clock) as two:
        reader: Cases = one
        sealed = seal_case(case, reader.intake_key())
        assert reader.open_sealed(sealed) == case
        for wrong in (sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b""):
            with pytest.raises(MalformedError):
                reader.open_sealed(wrong)
        with pytest.raises(MalformedError):
            two.open_sealed(sealed)


async def test_a_case_is_kept_for_the_longest_way_that_a_report_can_take(tmp_path: Path) -> None:
    async with court(embedded, tmp_path) as act:
        assert await act.reports._view(PANEL, "LONGEST_PATH") * 1000 < OPEN_MS
