"""`warmline supporter standing` and `respond`: what the chain says of a supporter, and their word to a panel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from warmline.cli.docket import carry_step, of_report, open_docket
from warmline.cli.ethereum import Options, chain_options, run
from warmline_protocol.errors import UsageError

if TYPE_CHECKING:
    from warmline.chain.reports import Reports
    from warmline.cli.ethereum import Session


@click.command(short_help="Everything that the chain says of you.")
@click.option("--of", "supporter", help="Another supporter's address; yours if not named.")
@chain_options
def standing(options: Options, supporter: str | None) -> None:
    """Everything that the chain says of you: credentials, bond, device keys, open reports, suspensions.

    Everybody can read the same. Nothing about the people you listen to is there.
    """

    async def work() -> None:
        from warmline.chain.contracts import address_of

        named = address_of(supporter) if supporter else None
        async with open_docket(options) as (session, reports):
            await _standing(session, reports, named or session.sender())

    run(work)


async def _standing(session: Session, reports: Reports, who: bytes) -> None:
    from warmline.chain.contracts import coins, date, shown
    from warmline.cli.succession import successions
    from warmline.cli.supporter import credential_rows

    rows = await credential_rows(session, who)
    now_s = await reports.time_s()
    bonded, exiting = await reports.bond_of(who), await reports.exiting_of(who)
    revoked, open_reports = await reports.revoked_before(who), await reports.open_reports(who)
    suspended = await reports.suspended_until(who)
    session.say(f"{shown(who)}")
    session.say(f"bond      {coins(bonded)} coin, {coins(exiting)} on the way out")
    session.say(f"devices   {f'those from before {date(revoked)} are revoked' if revoked else 'none revoked'}")
    session.say(f"reports   {open_reports} open{', which hold your exits' if open_reports else ''}")
    session.say(f"suspended {f'until {date(suspended)}' if suspended > now_s else 'no'}")
    handing_over = await successions(session)
    session.finish(
        supporter=shown(who),
        credentials=rows,
        bond_wei=bonded,
        exiting_wei=exiting,
        revoked_before_s=revoked,
        open_reports=open_reports,
        suspended_until_s=suspended if suspended > now_s else 0,
        successions=handing_over,
    )


@click.command(short_help="Answer a report about you.")
@click.argument("report")
@click.argument("text", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@chain_options
def respond(options: Options, report: str, text: Path) -> None:
    """Answer REPORT with what you wrote in the file TEXT.

    The chain gets a salted hash of it. What a panellist needs to check it is written beside the file: hand both over.
    """
    words = text.read_bytes()

    async def work() -> None:
        from warmline.env import SystemRng

        async with open_docket(options) as (session, reports):
            entry = await of_report(reports, report)
            if entry.report.respondent != session.sender():
                raise UsageError("this report is not about you", hint="Only the respondent answers.")
            salt = SystemRng().bytes(32)
            if not options.dry_run:
                _keep(text, salt)
            await carry_step(session, reports, entry.id, reports.respond(entry.id, response_hash(salt, words)))

    run(work)


def response_hash(salt: bytes, words: bytes) -> bytes:
    """What stands on the chain for an answer: SHA-256 of 32 salt bytes and the text."""
    from hashlib import sha256

    return sha256(salt + words).digest()


def _keep(text: Path, salt: bytes) -> None:
    from warmline.files import write_private

    write_private(text.with_name(text.name + ".salt"), f"{salt.hex()}\n".encode())
