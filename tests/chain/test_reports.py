"""A whole report from Python, on both chains, with the periods of a live chain: filed, judged and carried out."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import records as make
from support.chain import followed, until
from support.court import (
    ADVOCATE,
    ANSWER,
    BOND,
    BYSTANDER,
    EVIDENCE,
    EXIT_DELAY_S,
    PANELLISTS,
    RESPONDENT,
    SALT,
    SUSPENSION_S,
    Opened,
    court,
    embedded,
    on_both,
)
from warmline.chain.manifest import Manifest
from warmline.chain.plans import DAY_S, ReportTimes
from warmline.chain.reports import NOBODY, PANEL, Phase, Ruling
from warmline.chain.source import ChainConfig
from warmline_protocol.errors import UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.admission import Admission, AdmissionLimits, admit
from warmline_protocol.records.delegation import SUPPORTER, Delegation, sign_delegation
from warmline_protocol.records.envelope import open_record, sign_record
from warmline_protocol.records.standing import ChainHead, Standing


@on_both
async def test_a_report_is_judged_and_carried_out(tmp_path: Path, opened: Opened) -> None:
    async with court(opened, tmp_path) as act:
        r, who = act.reports, RESPONDENT.address
        report_id = r.report_id(ADVOCATE.address, who, EVIDENCE, SALT)
        assert report_id == await r._view(PANEL, "reportIdOf", ADVOCATE.address, who, EVIDENCE, SALT)
        await act.do(ADVOCATE, r.file(report_id))
        filed = await r.report_of(report_id)
        assert (filed.phase, filed.filer, filed.respondent) == (Phase.FILED, ADVOCATE.address, NOBODY)
        assert await r.quota_left(ADVOCATE.address) == 1

        await act.do(PANELLISTS[0], r.admit(report_id, who, EVIDENCE, SALT))
        admitted = await r.report_of(report_id)
        assert (admitted.phase, admitted.respondent) == (Phase.ADMITTED, who)
        assert await r.open_reports(who) == 1
        await act.do(RESPONDENT, r.respond(report_id, ANSWER))

        panel = await act.draw(report_id)
        assert len(panel) == 3
        assert not {one.address for one in panel} & {PANELLISTS[0].address, ADVOCATE.address, who}
        votes = {
            one: (ruling, bytes([number]) * 32)
            for number, (one, ruling) in enumerate(
                zip(panel, (Ruling.SUSPENDED, Ruling.BARRED, Ruling.DISMISSED), strict=True), 1
            )
        }
        for one, (ruling, salt) in votes.items():
            vote = r.vote(report_id, 0, one.address, ruling, salt)
            assert vote == await r._view(PANEL, "voteHash", report_id, 0, one.address, int(ruling), salt)
            await act.do(one, r.commit_vote(report_id, vote))
        voting = await r.report_of(report_id)
        await act.travel_to(voting.deadline_s - ReportTimes().reveal_s)
        for one, (ruling, salt) in votes.items():
            await act.do(one, r.reveal_vote(report_id, ruling, salt))
        await act.do(BYSTANDER, r.tally(report_id))
        ruled = await r.report_of(report_id)
        assert (ruled.phase, ruled.ruling, ruled.revealed) == (Phase.RULED, Ruling.SUSPENDED, 3)
        assert await r.suspended_until(who) == ruled.ends_s
        assert await r.bond_of(who) == BOND
        await act.refused(BYSTANDER, r.close(report_id), "NotNow", "can be appealed, until")

        await act.pass_step(report_id)
        await act.do(BYSTANDER, r.close(report_id))
        closed = await r.report_of(report_id)
        assert (closed.phase, closed.ruling) == (Phase.CLOSED, Ruling.SUSPENDED)
        until_s = closed.suspended_from_s + SUSPENSION_S
        assert await r.suspended_until(who) == until_s > await act.time_s()
        assert await r.bond_of(who) == BOND - BOND // 10
        assert await r.open_reports(who) == 0

        config = ChainConfig(act.rpc.url, r.manifest, confirmations=1, poll_s=0.02)
        async with followed(config, tmp_path / "node.db") as (chain, _):
            await until(chain, lambda: (s := chain.of(who)) is not None and s.suspended_until_s == until_s)
            standing = chain.of(who)
            assert standing is not None
            assert standing.bond_wei == BOND - BOND // 10
            # What the suspended one signs stops travelling; when the time is over, it may again.
            head = chain.head()
            assert head is not None
            reasons = [judged(r.manifest, standing, head, s).reason for s in (head.time_s, until_s)]
            assert reasons == ["suspended", "no_credential"]


def judged(manifest: Manifest, standing: Standing, head: ChainHead, at_s: int) -> Admission:
    """A listing of the respondent's that is signed and judged at that time."""
    key, registry = SigningKey(b"k" * 32), manifest.address("DelegateRegistry")
    asked = Delegation(RESPONDENT.address, key.public, SUPPORTER, at_s, at_s + DAY_S, manifest.chain_id, registry)
    given = sign_delegation(asked, bytes(RESPONDENT._account.key))
    record = open_record(sign_record(make.listing(RESPONDENT.address, at_ms=at_s * 1000), key, given))
    return admit(record, standing=standing, head=head, limits=AdmissionLimits(), now_ms=at_s * 1000)


@on_both
async def test_when_nobody_acts_everything_is_given_back(tmp_path: Path, opened: Opened) -> None:
    async with court(opened, tmp_path) as act:
        r, who = act.reports, RESPONDENT.address
        filing_bond = (await r.report_terms()).filing_bond
        unheard = r.report_id(BYSTANDER.address, who, EVIDENCE, b"u" * 32)
        heard = r.report_id(BYSTANDER.address, who, EVIDENCE, SALT)
        await act.do(RESPONDENT, r.queue_exit(BOND))
        claimable_s = await act.time_s() + EXIT_DELAY_S
        await act.travel_to(claimable_s - DAY_S)
        for report_id in (unheard, heard):
            await act.do(BYSTANDER, r.file_with_bond(report_id, filing_bond))
        await act.do(PANELLISTS[0], r.admit(heard, who, EVIDENCE, SALT))
        await act.travel_to(claimable_s)
        await act.refused(RESPONDENT, r.claim(1), "Locked", "is open: nothing can be claimed before")
        await act.refused(BYSTANDER, r.close(heard), "NotNow", "admitted, until")

        await act.travel_to((await r.report_of(heard)).deadline_s + ReportTimes().draw_s)
        for report_id in (unheard, heard):
            await act.do(PANELLISTS[1], r.close(report_id))
            closed = await r.report_of(report_id)
            assert (closed.phase, closed.ruling, closed.stakes) == (Phase.CLOSED, Ruling.NONE, 0)
        assert (await r.report_of(unheard)).respondent == NOBODY
        assert await r.owed_to(BYSTANDER.address) == 2 * filing_bond
        await act.do(BYSTANDER, r.collect(BYSTANDER.address))
        assert await r.owed_to(BYSTANDER.address) == 0
        await act.refused(BYSTANDER, r.collect(BYSTANDER.address), "NothingOwed", "nothing is owed")
        assert (await r.suspended_until(who), await r.open_reports(who)) == (0, 0)
        await act.do(RESPONDENT, r.claim(1))
        assert await r.exiting_of(who) == 0


@on_both
async def test_who_is_not_neutral_or_shows_something_else_is_refused(tmp_path: Path, opened: Opened) -> None:
    async with court(opened, tmp_path) as act:
        r, who = act.reports, RESPONDENT.address
        report_id = r.report_id(ADVOCATE.address, who, EVIDENCE, SALT)
        await act.refused(BYSTANDER, r.file(report_id), "NoQuota", "no advocate")
        await act.refused(BYSTANDER, r.file_with_bond(report_id, 1), "WrongAmount", "0.05 coin must be sent")
        await act.do(ADVOCATE, r.file(report_id))
        await act.refused(ADVOCATE, r.file(report_id), "AlreadyFiled", "filed before")
        right = r.admit(report_id, who, EVIDENCE, SALT)
        for party in (ADVOCATE, RESPONDENT, BYSTANDER):
            await act.refused(party, right, "NotNeutral", "party to neither side")
        for wrong in (
            r.admit(report_id, who, EVIDENCE, b"x" * 32),
            r.admit(report_id, who, b"x" * 32, SALT),
            r.admit(report_id, BYSTANDER.address, EVIDENCE, SALT),
        ):
            await act.refused(
                PANELLISTS[0], wrong, "NotWhatWasFiled", "the salt is not what this report was filed with"
            )
        await act.do(PANELLISTS[0], right)
        await act.refused(BYSTANDER, r.respond(report_id, ANSWER), "NotParty", "not a party")
        await act.refused(BYSTANDER, r.summon(report_id), "NotNow", "admitted, until")
        await act.do(RESPONDENT, r.respond(report_id, ANSWER))
        voter, *_ = await act.draw(report_id)
        for other in (ADVOCATE, RESPONDENT, PANELLISTS[0], BYSTANDER):
            vote = r.vote(report_id, 0, other.address, Ruling.BARRED, SALT)
            await act.refused(other, r.commit_vote(report_id, vote), "NotSeated", "no seat")
        vote = r.vote(report_id, 0, voter.address, Ruling.SUSPENDED, SALT)
        await act.do(voter, r.commit_vote(report_id, vote))
        await act.refused(voter, r.commit_vote(report_id, vote), "WrongVote", "given before")
        reveal = r.reveal_vote(report_id, Ruling.SUSPENDED, SALT)
        await act.refused(voter, reveal, "NotNow", "before its panel")
        await act.travel_to((await r.report_of(report_id)).deadline_s - ReportTimes().reveal_s)
        for wrong in (
            r.reveal_vote(report_id, Ruling.SUSPENDED, b"x" * 32),
            r.reveal_vote(report_id, Ruling.BARRED, SALT),
        ):
            await act.refused(voter, wrong, "WrongVote", "not a vote that")
        await act.refused(RESPONDENT, reveal, "WrongVote", "not a vote that")
        await act.do(voter, reveal)
        await act.refused(voter, reveal, "WrongVote", "given before")
        await act.pass_step(report_id)
        await act.do(BYSTANDER, r.tally(report_id))
        ruled = await r.report_of(report_id)
        assert (ruled.ruling, await r.suspended_until(who)) == (Ruling.DISMISSED, 0)
        await act.refused(RESPONDENT, r.appeal(report_id), "NotParty", "not a party")


async def test_a_short_salt_is_refused_before_it_is_filed(tmp_path: Path) -> None:
    async with court(embedded, tmp_path) as act:
        with pytest.raises(UsageError, match="the salt has 31 bytes"):
            act.reports.report_id(ADVOCATE.address, RESPONDENT.address, EVIDENCE, b"s" * 31)
        with pytest.raises(UsageError, match="must be for something"):
            act.reports.vote(EVIDENCE, 0, ADVOCATE.address, Ruling.NONE, SALT)
