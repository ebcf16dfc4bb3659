"""All reports of a chain as a panellist or advocate needs them: where each stands, until when, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from warmline.chain.events import unhex
from warmline.chain.reports import NOBODY, PANEL, Phase, Report, Reports, Ruling
from warmline.chain.spans import logs_between

_FILED: Final = "0x" + keccak(b"ReportFiled(bytes32,address,bool)").hex()


RULINGS: Final = {
    Ruling.NONE: "not ruled yet",
    Ruling.BAD_FAITH: "made in bad faith",
    Ruling.DISMISSED: "dismissed",
    Ruling.REPROVED: "reproved",
    Ruling.SUSPENDED: "suspended for a time",
    Ruling.BARRED: "barred",
}
"""What a ruling means, in words."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One report. ``seats``: who sits on the panel that is in charge now."""

    id: bytes
    report: Report
    seats: tuple[bytes, ...]

    def over(self, now_s: int) -> bool:
        """Whether the present step's time is over, so that anybody may end it with its default."""
        return self.report.phase not in (Phase.NONE, Phase.CLOSED) and now_s >= self.report.deadline_s

    def next_step(self, now_s: int) -> str:
        """What somebody can do now, in words."""
        if self.over(now_s):
            return _WHEN_OVER.get(self.report.phase, "anybody ends it: close")
        if self.report.phase is Phase.DRAWING and self.report.draw_block:
            return "anybody draws the panel: seat"
        return _NEXT[self.report.phase]


_NEXT: Final = {
    Phase.NONE: "nothing: it was never filed",
    Phase.FILED: "a neutral panellist who got the case opens it: admit",
    Phase.ADMITTED: "the respondent answers: respond (then, or when the time is over, anybody: summon)",
    Phase.DRAWING: "anybody chooses the lot: summon",
    Phase.VOTING: "those seated vote: commit, then reveal; then anybody: tally",
    Phase.RULED: "either side may appeal; afterwards anybody: close",
    Phase.CLOSED: "nothing: it is over",
}
_WHEN_OVER: Final = {
    Phase.ADMITTED: "anybody chooses the lot: summon",
    Phase.VOTING: "anybody counts: tally",
}


async def docket(reports: Reports) -> list[Entry]:
    """Every report that was filed, oldest first. One request a report: for people, not for nodes."""
    wanted = {"address": "0x" + reports.manifest.address(PANEL).hex(), "topics": [_FILED]}
    logs = await logs_between(reports.rpc, wanted, reports.manifest.start_block, await reports.height())
    return [await entry(reports, unhex(log["topics"][1])) for log in logs]


async def entry(reports: Reports, report_id: bytes) -> Entry:
    """One report as it stands."""
    report = await reports.report_of(report_id)
    drawn = report.phase in (Phase.VOTING, Phase.RULED, Phase.CLOSED) and report.respondent != NOBODY
    seats = await reports.seats_of(report_id, report.panel) if drawn else []
    return Entry(report_id, report, tuple(seats))
