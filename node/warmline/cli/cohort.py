"""`warmline issuer issue-csv` and `renew`: credentials for many people, with progress, going on where a run stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from warmline.cli.ethereum import MINED_WITHIN_S, Options, chain_options, open_session, run
from warmline_protocol.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmline.chain.cohort import CohortJournal
    from warmline.cli.ethereum import Session

DAY_S = 86_400


@click.command("issue-csv", short_help="Give a credential to everybody in a CSV file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("type_name", metavar="TYPE")
@click.option("--days", type=click.IntRange(1), help="Valid for so many days from the first run.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Valid until this day, 00:00 UTC.")
@chain_options
def issue_csv(options: Options, file: Path, type_name: str, days: int | None, until: object) -> None:
    """Give everybody in FILE the credential TYPE, a hundred in a transaction.

    FILE is a CSV whose first column holds addresses; other columns are for you and are not read. If the run is cut
    off, run the same command again: who has the credential is passed over. What is left is kept beside the file.
    """
    if (days is None) == (until is None):
        raise click.UsageError("name either --days or --until: every credential ends")

    from warmline.chain.cohort import CohortJournal, read_cohort, subject_of
    from warmline.chain.contracts import type_id_of

    try:
        holders, type_id = read_cohort(file.read_text("utf-8")), type_id_of(type_name)
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not a UTF-8 text file", hint="Save it as UTF-8 and try again.") from None

    async def work() -> None:
        from warmline.cli.issuer import end_of

        async with open_session(options) as session:
            manifest = session.manifest
            registry = manifest.address("CredentialRegistry")
            subject = subject_of(holders, type_id, session.sender(), manifest.chain_id, registry)
            end_s = await end_of(session, days, until)
            path = file.with_name(file.name + ".journal")
            journal = CohortJournal.open(path, of=subject, until_s=end_s, keep=not options.dry_run)
            await _give(session, holders, type_id, journal)

    run(work)


@click.command(short_help="Renew what ends soon.")
@click.argument("type_name", metavar="TYPE")
@click.option("--ending-within", type=click.IntRange(1), default=30, show_default=True, help="Days from now.")
@click.option("--days", type=click.IntRange(1), required=True, help="Valid for so many days from now.")
@click.option("--journal", type=click.Path(path_type=Path), help="File to go on from.  [default: in --data]")
@chain_options
def renew(options: Options, type_name: str, ending_within: int, days: int, journal: Path | None) -> None:
    """Renew the credential TYPE for everybody whose own ends soon, a hundred in a transaction."""

    async def work() -> None:
        from warmline.chain.cohort import ACTIVE, CohortJournal, subject_of
        from warmline.chain.contracts import type_id_of
        from warmline.cli.issuer import end_of

        type_id = type_id_of(type_name)
        async with open_session(options) as session:
            manifest, issuer = session.manifest, session.sender()
            now_s = await end_of(session, 0, None)
            everybody = await session.contracts.holders_of(issuer, type_id)
            states = await session.contracts.credentials_of(issuer, everybody, type_id)
            ending = [
                holder
                for holder, state in zip(everybody, states, strict=True)
                if state.state == ACTIVE and now_s < state.until_s <= now_s + ending_within * DAY_S
            ]
            if not ending:
                session.say(f"Nobody's {type_name} from you ends within {ending_within} days.")
                session.finish(renewed=0)
                return
            subject = subject_of(ending, type_id, issuer, manifest.chain_id, manifest.address("CredentialRegistry"))
            path = journal or options.folder / f"renew-{subject[:16]}.journal"
            end_s = now_s + days * DAY_S
            kept = CohortJournal.open(path, of=subject, until_s=end_s, keep=not options.dry_run)
            await _give(session, ending, type_id, kept)

    run(work)


async def _give(session: Session, holders: Sequence[bytes], type_id: bytes, journal: CohortJournal) -> None:
    from warmline.chain.cohort import batches, still_to_do
    from warmline.chain.contracts import date, type_name_of

    contracts, issuer = session.contracts, session.sender()
    await _settle(session, journal)
    states = await contracts.credentials_of(issuer, holders, type_id)
    left = still_to_do(holders, states, journal.until_s)
    parts = batches(left)
    session.say(
        f"{len(holders)} people, {len(holders) - len(left)} of them have it already. "
        f"{len(left)} to give {type_name_of(type_id)} until {date(journal.until_s)}, in {len(parts)} transactions."
    )
    for number, part in enumerate(parts, 1):
        session.say(f"[{number}/{len(parts)}]")
        await session.carry_out(
            contracts.issue_batch(part, type_id, journal.until_s), ask=number == 1, sent=journal.note
        )
        if session.options.dry_run:
            break
        journal.settled()
    done = 0
    if not session.options.dry_run:
        states = await contracts.credentials_of(issuer, holders, type_id)
        done = len(holders) - len(still_to_do(holders, states, journal.until_s))
        session.say(f"{done} of {len(holders)} hold it now.")
        if done == len(holders):
            journal.finish()
    session.finish(people=len(holders), to_give=len(left), hold_it=done, until_s=journal.until_s)


async def _settle(session: Session, journal: CohortJournal) -> None:
    """What an earlier run sent is mined or forgotten before anything is sent again."""
    from warmline.chain import transactions

    for name in list(journal.sent):
        found = await session.rpc.call("eth_getTransactionByHash", "0x" + name)
        if found is not None:
            session.say(f"Waiting for transaction 0x{name[:16]}… of the run before.")
            await transactions.wait_receipt(session.rpc, bytes.fromhex(name), deadline_s=MINED_WITHIN_S)
    if journal.sent:
        journal.settled()
