"""`warmline panel`: for those who decide reports, from the list of cases to the vote and its end."""

from __future__ import annotations

from pathlib import Path

import click

from warmline.cli.docket import (
    carry_step,
    case_options,
    held_cases,
    of_report,
    open_docket,
    show_entries,
    show_entry,
    unlocked_cases,
)
from warmline.cli.ethereum import Options, chain_options, run
from warmline_protocol.errors import UsageError

RULINGS = {"bad-faith": 1, "dismissed": 2, "reproved": 3, "suspended": 4, "barred": 5}


@click.group()
def command() -> None:
    """For panellists: read cases, open reports, vote, and end what is over."""


@command.command(short_help="Every report and where it stands.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not over.")
@chain_options
def cases(options: Options, only_open: bool) -> None:
    """Every report on the chain: where it stands, until when, what comes next, and whether you sit on its panel."""

    async def work() -> None:
        from warmline.chain.docket import docket
        from warmline.chain.reports import Phase

        async with open_docket(options) as (session, reports):
            found = [one for one in await docket(reports) if not (only_open and one.report.phase is Phase.CLOSED)]
            await show_entries(session, reports, found)

    run(work)


@command.command(short_help="One report in full.")
@click.argument("report")
@chain_options
def show(options: Options, report: str) -> None:
    """Where REPORT stands (the beginning of its id is enough), who sits, and what somebody can do now."""

    async def work() -> None:
        async with open_docket(options) as (session, reports):
            await show_entry(session, reports, await of_report(reports, report))

    run(work)


@command.command(short_help="Take a sealed case that an advocate handed you.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@case_options
@chain_options
def take(options: Options, file: Path, case_passphrase_fd: int | None) -> None:
    """Open the sealed case in FILE, check all that it proves, and keep it encrypted until its last day."""
    from warmline.cli.docket import chain_checked, told

    sealed = file.read_bytes()

    async def work() -> None:
        async with open_docket(options) as (session, reports):
            with unlocked_cases(options, case_passphrase_fd) as kept:
                case = kept.open_sealed(sealed)
                finding = await chain_checked(reports, case, session.source)
                kept.keep(case)
            session.say(told(case, finding))
            session.finish(report="0x" + case.report_id.hex(), texts=len(finding.texts), own_lines=len(finding.own))

    run(work)


@command.command(short_help="The cases that you hold here.")
@case_options
@chain_options
def held(options: Options, case_passphrase_fd: int | None) -> None:
    """The cases that you hold, and the day on which each is destroyed here."""
    run(lambda: held_cases(options, case_passphrase_fd))


@command.command(short_help="The public key that cases are sealed to for you.")
@case_options
@chain_options
def key(options: Options, case_passphrase_fd: int | None) -> None:
    """Print your intake key. Give it to advocates: what they hand you is sealed to it."""
    with unlocked_cases(options, case_passphrase_fd) as kept:
        click.echo(kept.intake_key().hex())


@command.command(short_help="Read a case that you hold.")
@click.argument("report")
@case_options
@chain_options
def read(options: Options, report: str, case_passphrase_fd: int | None) -> None:
    """Show the evidence of REPORT: what is proven, what is not, and what is missing."""
    from warmline.cli.docket import evidence_text
    from warmline_protocol.session.evidence_case import examine

    with unlocked_cases(options, case_passphrase_fd) as kept:
        case = kept.find(report)
    click.echo(evidence_text(case, examine(case)))


@command.command(short_help="Open a report, publicly.")
@click.argument("report")
@case_options
@chain_options
def admit(options: Options, report: str, case_passphrase_fd: int | None) -> None:
    """Open REPORT: it becomes public whom it is about, and their exits are held. You will not judge it."""
    from warmline.cli.docket import chain_checked

    with unlocked_cases(options, case_passphrase_fd) as kept:
        case = kept.find(report)

    async def work() -> None:
        async with open_docket(options) as (session, reports):
            await chain_checked(reports, case, session.source)
            call = reports.admit(case.report_id, case.respondent, case.evidence_hash, case.salt)
            await carry_step(session, reports, case.report_id, call)

    run(work)


@command.command(short_help="Commit your vote, hidden.")
@click.argument("report")
@click.argument("ruling", type=click.Choice(list(RULINGS)))
@case_options
@chain_options
def commit(options: Options, report: str, ruling: str, case_passphrase_fd: int | None) -> None:
    """Commit your vote on REPORT: RULING. Nobody sees it before you reveal it, and without revealing it counts as none.

    Suspended and barred end what the person may do here for a time or for good; reproved is a word, not a measure.
    """

    async def work() -> None:
        from warmline.chain.reports import Ruling
        from warmline.client.cases import Vote
        from warmline.env import SystemRng

        async with open_docket(options) as (session, reports):
            entry = await of_report(reports, report)
            chosen, sitting = Ruling(RULINGS[ruling]), entry.report.panel
            salt = SystemRng().bytes(32)
            commitment = reports.vote(entry.id, sitting, session.sender(), chosen, salt)
            if not options.dry_run:
                with unlocked_cases(options, case_passphrase_fd) as kept:
                    kept.keep_vote(Vote(entry.id, sitting, int(chosen), salt))
            await carry_step(session, reports, entry.id, reports.commit_vote(entry.id, commitment))

    run(work)


@command.command(short_help="Reveal the vote that you committed.")
@click.argument("report")
@case_options
@chain_options
def reveal(options: Options, report: str, case_passphrase_fd: int | None) -> None:
    """Show the vote on REPORT that you committed from this directory."""

    async def work() -> None:
        from warmline.chain.reports import Ruling

        async with open_docket(options) as (session, reports):
            entry = await of_report(reports, report)
            with unlocked_cases(options, case_passphrase_fd) as kept:
                mine = kept.vote(entry.id, entry.report.panel)
            if mine is None:
                raise UsageError(
                    "no vote on this report is kept here", hint="Reveal from the directory you voted from."
                )
            call = reports.reveal_vote(entry.id, Ruling(mine.ruling), mine.salt)
            await carry_step(session, reports, entry.id, call)

    run(work)


def _step(name: str, help: str) -> None:
    """A command that moves a report on and that anybody may run."""

    @command.command(name, short_help=help)
    @click.argument("report")
    @chain_options
    def step(options: Options, report: str) -> None:
        async def work() -> None:
            async with open_docket(options) as (session, reports):
                entry = await of_report(reports, report)
                await carry_step(session, reports, entry.id, getattr(reports, name)(entry.id))

        run(work)

    step.help = f"{help} Anybody may."


_step("summon", "Choose the block that decides who sits on REPORT.")
_step("seat", "Draw the panel of REPORT.")
_step("tally", "Count the votes on REPORT.")
_step("close", "End REPORT when its time is over, and carry out what was decided.")


@command.command(short_help="Take back filing bonds that are due to you.")
@click.option("--to", "receiver", help="Another address that gets them.")
@chain_options
def collect(options: Options, receiver: str | None) -> None:
    """Have the filing bonds paid back that are due to you."""

    async def work() -> None:
        from warmline.chain.contracts import address_of, coins

        async with open_docket(options) as (session, reports):
            to = address_of(receiver) if receiver else session.sender()
            owed = await reports.owed_to(session.sender())
            session.say(f"{coins(owed)} coin is due to you.")
            await session.carry_out(reports.collect(to))
            session.finish(collected_wei=owed)

    run(work)


@command.command(short_help="Pass lost filing bonds on to the commons.")
@chain_options
def sweep(options: Options) -> None:
    """Pass the filing bonds that were lost on to the commons, or burn them where the contract has none. Anybody may.

    Nobody gains by it but the commons; you pay the fee.
    """

    async def work() -> None:
        from warmline.chain.contracts import coins

        async with open_docket(options) as (session, reports):
            before = await reports.forfeited()
            session.say(f"{coins(before)} coin of filing bonds was lost and not passed on yet.")
            await session.carry_out(reports.sweep_filing_bonds())
            left = await reports.forfeited()
            if not options.dry_run:
                session.say(f"{coins(before - left)} coin was passed on.")
            session.finish(swept_wei=before - left, forfeited_wei=left)

    run(work)


@command.command(short_help="For governance: accredit or discharge a panellist.")
@click.argument("panellist")
@click.option("--organisation", help="Address of the organisation that they answer to; its cases go to others.")
@click.option("--discharge", is_flag=True, help="Draw them no more.")
@chain_options
def accredit(options: Options, panellist: str, organisation: str | None, discharge: bool) -> None:
    """For governance: let PANELLIST be drawn for panels, or no more."""

    async def work() -> None:
        from warmline.chain.contracts import address_of, shown
        from warmline.chain.reports import NOBODY

        who, answers_to = address_of(panellist), address_of(organisation) if organisation else NOBODY
        async with open_docket(options) as (session, reports):
            await session.carry_out(reports.discharge(who) if discharge else reports.accredit(who, answers_to))
            session.finish(panellist=shown(who), accredited=await reports.is_panellist(who))

    run(work)


@command.command(short_help="Destroy a case that you hold.")
@click.argument("report")
@case_options
@chain_options
def destroy(options: Options, report: str, case_passphrase_fd: int | None) -> None:
    """Destroy what is kept here of REPORT now, before its last day. There is no way back."""
    with unlocked_cases(options, case_passphrase_fd) as kept:
        case = kept.find(report)
        if not options.yes:
            click.confirm(f"Destroy the case {case.report_id.hex()[:16]}…?", abort=True, err=True)
        kept.destroy(case.report_id)
    click.echo("Destroyed.")
