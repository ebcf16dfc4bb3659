"""`warmline advocate`: for those who file reports for people without a wallet."""

from __future__ import annotations

import json
from pathlib import Path

import click

from warmline.cli.device import supporter_options
from warmline.cli.docket import (
    carry_step,
    case_options,
    delegation_checked,
    held_cases,
    of_report,
    open_docket,
    remembered,
    show_entry,
    told,
    unlocked_cases,
)
from warmline.cli.entries import entry_option, known_entries
from warmline.cli.ethereum import Options, chain_options, run
from warmline_protocol.errors import UsageError


@click.group()
def command() -> None:
    """For advocates: file reports for people who have no wallet, and hand cases to panellists."""


@command.command("file", short_help="File a report from its evidence.")
@click.argument("evidence", metavar="REFERENCE|FILE")
@click.option("--with-bond", is_flag=True, help="File with a bond of yours instead of within an advocate's quota.")
@case_options
@chain_options
def file_(options: Options, evidence: str, with_bond: bool, case_passphrase_fd: int | None) -> None:
    """File a report: one that came in, by its reference, or one whose evidence is in a file.

    The evidence is verified first. The chain gets a hash that names nobody; what opens it is kept here, encrypted,
    before anything is sent.
    """
    from warmline_protocol.session.evidence_bundle import verify_bundle

    once = remembered(options, case_passphrase_fd)
    if (path := Path(evidence)).is_file():
        data = path.read_bytes()
    else:
        with once() as kept:
            data = kept.received_as(evidence)
    finding = verify_bundle(data)
    respondent = finding.card.wallet
    if respondent is None:
        raise UsageError(
            "this is about somebody without a wallet, of whom the chain knows nothing",
            hint="There is nothing on the chain to rule on. Tell the community whose groups they hold.",
        )

    async def work() -> None:
        from warmline.chain.docket import entry
        from warmline.env import SystemClock, SystemRng
        from warmline_protocol.session.evidence_case import Case

        async with open_docket(options) as (session, reports):
            await delegation_checked(reports, finding, session.source)
            salt, filer = SystemRng().bytes(32), session.sender()
            report_id = reports.report_id(filer, respondent, finding.digest, salt)
            case = Case(report_id, filer, respondent, finding.digest, salt, data, SystemClock().utc_ms())
            terms = await reports.report_terms()
            call = reports.file_with_bond(report_id, terms.filing_bond) if with_bond else reports.file(report_id)
            session.say(told(case, finding))
            if not options.dry_run:
                with once() as kept:
                    kept.keep(case)
            await session.carry_out(call)
            if not options.dry_run:
                with once() as kept:
                    kept.drop_received(data)
            await show_entry(session, reports, await entry(reports, report_id))

    run(work)


@command.command(short_help="Be there for reports.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, for programs.")
@click.option("--case-passphrase-fd", type=int, help="Read the passphrase of your cases from there.")
@supporter_options
@entry_option
def intake(
    as_json: bool, case_passphrase_fd: int | None, passphrase_fd: int | None, folder: Path, entries: tuple[str, ...]
) -> None:
    """Take in reports at the doors of your card, which must claim the credential `report-advocate`.

    What comes is verified, kept encrypted, and its reference told to whoever sent it. Ctrl-C ends it.
    """
    from warmline.cli.device import device_passphrase
    from warmline.cli.docket import case_passphrase
    from warmline.cli.intake import serve_intake

    known = known_entries(entries)
    device = device_passphrase(passphrase_fd)
    words = case_passphrase(folder, case_passphrase_fd)
    import trio

    trio.run(serve_intake, folder, device, words, known, as_json)


@command.command(short_help="Reports that came in.")
@case_options
@chain_options
def received(options: Options, case_passphrase_fd: int | None) -> None:
    """Reports that came in and were not filed yet: about whom, with how many signed messages."""
    from warmline.client.reporting import reference_of
    from warmline_protocol.session.evidence_bundle import verify_bundle

    with unlocked_cases(options, case_passphrase_fd) as kept:
        found = [verify_bundle(each) for each in kept.received()]
    rows = [{"reference": reference_of(one), "about": one.name, "texts": len(one.texts)} for one in found]
    if options.as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['reference']}  about {row['about']}, {row['texts']} signed messages")
    if not rows:
        click.echo("Nothing waits.")


@command.command(short_help="Throw a report away that will not be filed.")
@click.argument("reference")
@case_options
@chain_options
def drop(options: Options, reference: str, case_passphrase_fd: int | None) -> None:
    """Destroy the report REFERENCE, which you will not file. There is no way back."""
    with unlocked_cases(options, case_passphrase_fd) as kept:
        bundle = kept.received_as(reference)
        if not options.yes:
            click.confirm(f"Destroy the report {reference}?", abort=True, err=True)
        kept.drop_received(bundle)
    click.echo("Destroyed.")


@command.command(short_help="The cases that you hold here.")
@case_options
@chain_options
def cases(options: Options, case_passphrase_fd: int | None) -> None:
    """The cases that you filed or hold: where each stands, and the day on which it is destroyed here."""
    run(lambda: held_cases(options, case_passphrase_fd))


@command.command("hand-over", short_help="Seal a case for a panellist.")
@click.argument("report")
@click.option("--to", "reader", required=True, help="Their intake key (`warmline panel key`), or a file of it.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
@case_options
@chain_options
def hand_over(options: Options, report: str, reader: str, out: Path, case_passphrase_fd: int | None) -> None:
    """Write the case of REPORT to a file that only that panellist can open. Send it any way you like."""
    from warmline_protocol.session.evidence_case import seal_case

    key = _key_of(reader)
    with unlocked_cases(options, case_passphrase_fd) as kept:
        case = kept.find(report)
    out.write_bytes(seal_case(case, key))
    click.echo(f"{out} holds the case 0x{case.report_id.hex()[:16]}…, sealed. They take it by `warmline panel take`.")


def _key_of(text: str) -> bytes:
    path = Path(text)
    if len(text) < 256 and path.exists():
        text = path.read_text("ascii", errors="replace")
    try:
        return bytes.fromhex(text.strip())
    except ValueError:
        raise UsageError("this is no intake key", hint="It is the hex text that `warmline panel key` prints.") from None


@command.command(short_help="Ask for a larger panel.")
@click.argument("report")
@chain_options
def appeal(options: Options, report: str) -> None:
    """Appeal against the ruling on REPORT, which you filed or which is about you. Once, and before its time is over."""

    async def work() -> None:
        async with open_docket(options) as (session, reports):
            one = await of_report(reports, report)
            # Who filed with a bond puts another one down; everybody else appeals without.
            bonded = one.report.filer == session.sender() and one.report.stakes
            bond = (await reports.report_terms()).filing_bond if bonded else 0
            await carry_step(session, reports, one.id, reports.appeal(one.id, bond))

    run(work)


@command.command(short_help="For governance: accredit an advocate.")
@click.argument("advocate")
@click.option("--quota", type=click.IntRange(0, 65535), required=True, help="Reports in 30 days; 0 ends it.")
@click.option("--organisation", help="Address of the organisation that they answer to.")
@chain_options
def accredit(options: Options, advocate: str, quota: int, organisation: str | None) -> None:
    """For governance: let ADVOCATE file reports without a bond."""

    async def work() -> None:
        from warmline.chain.contracts import address_of, shown
        from warmline.chain.reports import NOBODY

        who, answers_to = address_of(advocate), address_of(organisation) if organisation else NOBODY
        async with open_docket(options) as (session, reports):
            await session.carry_out(reports.set_advocate(who, quota, answers_to))
            session.finish(advocate=shown(who), quota_left=await reports.quota_left(who))

    run(work)
