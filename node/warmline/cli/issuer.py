"""`warmline issuer`: for organisations that train and credential supporters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from warmline.cli.alarms import alarms
from warmline.cli.cohort import issue_csv, renew
from warmline.cli.ethereum import Options, chain_options, open_session, run
from warmline.cli.succession import succeed
from warmline.cli.vouchers import vouchers
from warmline_protocol.errors import UsageError

if TYPE_CHECKING:
    from warmline.cli.ethereum import Session

REASON_NAMES = (
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
)


@click.group()
def command() -> None:
    """For organisations that train and credential supporters."""


for each in (issue_csv, renew, vouchers, alarms, succeed):
    command.add_command(each)


@command.command(short_help="Register a type of credential, as an issuer.")
@click.option("--type", "type_name", required=True, help="Name of the credential that you give, up to 31 bytes.")
@click.option("--document-hash", default="0x" + "00" * 32, help="keccak-256 of the text that defines it.")
@chain_options
def register(options: Options, type_name: str, document_hash: str) -> None:
    """Become an issuer on the dev chain and register a credential type there.

    On a live chain governance admits issuers; then this registers the type only.
    """

    async def work() -> None:
        async with open_session(options) as session:
            await _register(session, type_name, document_hash)

    run(work)


async def _register(session: Session, type_name: str, document_hash: str) -> None:
    from warmline.chain.accounts import GOVERNANCE
    from warmline.chain.contracts import shown, type_id_of
    from warmline.chain.wallet import dev_wallet
    from warmline.cli.ethereum import is_dev

    type_id, document = type_id_of(type_name), type_id_of(document_hash)
    issuer = session.sender()
    admitted = await session.contracts.issuer_admitted(issuer)
    if not admitted and not is_dev(session):
        raise UsageError(
            f"{shown(issuer)} is not admitted on this chain", hint="Ask the chain's governance to admit this address."
        )
    if not admitted:
        await session.carry_out(session.contracts.admit_issuer(issuer, document), dev_wallet(GOVERNANCE))
    steward = await session.contracts.steward_of(type_id)
    if steward not in (None, issuer):
        raise UsageError(f"the type {type_name} is registered by {shown(steward or b'')}", hint="Choose another name.")
    if steward is None and session.options.dry_run and not admitted:
        session.say(f"After that you would register the type {type_name}.")
    elif steward is None:
        await session.carry_out(session.contracts.register_type(type_id, document))
    if not session.options.dry_run:
        session.say(f"{shown(issuer)} is an admitted issuer of {type_name}.")
    session.finish(issuer=shown(issuer), type=type_name, admitted=await session.contracts.issuer_admitted(issuer))


@command.command(short_help="Let another issuer give a type of yours.")
@click.argument("issuer")
@click.argument("type_name", metavar="TYPE")
@click.option("--withdraw", is_flag=True, help="Take the recognition back: what it gave of it stops being valid.")
@chain_options
def recognise(options: Options, issuer: str, type_name: str, withdraw: bool) -> None:
    """Let ISSUER give your credential TYPE too, in its own name, or take that back."""

    async def work() -> None:
        from warmline.chain.contracts import address_of, shown, type_id_of

        other, type_id = address_of(issuer), type_id_of(type_name)
        async with open_session(options) as session:
            contracts = session.contracts
            call = contracts.withdraw_recognition if withdraw else contracts.recognise
            await session.carry_out(call(type_id, other))
            recognised = await contracts.is_recognised(type_id, other)
            if not options.dry_run:
                session.say(f"{shown(other)} is {'' if recognised else 'not '}recognised for {type_name}.")
            session.finish(issuer=shown(other), type=type_name, recognised=recognised)

    run(work)


@command.command(short_help="Stop being an issuer.")
@chain_options
def resign(options: Options) -> None:
    """Stop being an issuer. What you issued stays valid for 30 days, so that people can find another one."""

    async def work() -> None:
        from warmline.chain.contracts import shown

        async with open_session(options) as session:
            await session.carry_out(session.contracts.resign())
            session.finish(issuer=shown(session.sender()), admitted=await _admitted(session))

    run(work)


@command.command(short_help="For governance: let an issuer go in peace.")
@click.argument("issuer")
@chain_options
def sunset(options: Options, issuer: str) -> None:
    """For governance: let ISSUER go, which did nothing wrong. What it issued counts for 30 days more.

    It adds nothing from now on, and this cannot be taken back; afterwards it can be admitted anew. Its holders are told
    by `warmline supporter standing` to find another issuer. Who hands its people over lets the other one give its types
    first: `warmline issuer recognise`.
    """

    async def work() -> None:
        from warmline.chain.contracts import address_of, date, shown

        who = address_of(issuer)
        async with open_session(options) as session:
            await session.carry_out(session.contracts.sunset_issuer(who))
            sunset_at_s, _ = await session.contracts.issuer_dates(who)
            if not options.dry_run:
                session.say(f"What {shown(who)} issued counts until {date(sunset_at_s)}.")
            session.finish(issuer=shown(who), sunset_at_s=sunset_at_s)

    run(work)


@command.command(short_help="For governance: suspend an issuer for a time.")
@click.argument("issuer")
@click.option("--days", type=click.IntRange(0), required=True, help="From now; 0 lifts a suspension.")
@chain_options
def suspend(options: Options, issuer: str, days: int) -> None:
    """For governance: suspend ISSUER and everything it issued, for a time."""

    async def work() -> None:
        from warmline.chain.contracts import address_of, shown

        who = address_of(issuer)
        async with open_session(options) as session:
            until_s = await end_of(session, days, None)
            await session.carry_out(session.contracts.suspend_issuer(who, until_s))
            session.finish(issuer=shown(who), suspended_until_s=until_s)

    run(work)


@command.command(short_help="For governance: admit an issuer.")
@click.argument("issuer")
@click.option("--metadata-hash", default="0x" + "00" * 32, help="keccak-256 of what is published about the issuer.")
@chain_options
def admit(options: Options, issuer: str, metadata_hash: str) -> None:
    """For governance: admit ISSUER. On the dev chain sign with --dev-account 0."""

    async def work() -> None:
        from warmline.chain.contracts import address_of, shown, type_id_of

        who = address_of(issuer)
        async with open_session(options) as session:
            await session.carry_out(session.contracts.admit_issuer(who, type_id_of(metadata_hash)))
            session.finish(issuer=shown(who), admitted=await session.contracts.issuer_admitted(who))

    run(work)


@command.command(short_help="For governance: remove an issuer.")
@click.argument("issuer")
@chain_options
def remove(options: Options, issuer: str) -> None:
    """For governance: remove ISSUER; everything it issued stops being valid."""

    async def work() -> None:
        from warmline.chain.contracts import address_of, shown

        who = address_of(issuer)
        async with open_session(options) as session:
            await session.carry_out(session.contracts.remove_issuer(who))
            session.finish(issuer=shown(who), admitted=await session.contracts.issuer_admitted(who))

    run(work)


@command.command()
@click.argument("holder")
@click.argument("type_name", metavar="TYPE")
@click.option("--days", type=click.IntRange(1), help="Valid for so many days from now.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Valid until this day, 00:00 UTC.")
@chain_options
def issue(options: Options, holder: str, type_name: str, days: int | None, until: object) -> None:
    """Give HOLDER the credential TYPE. Issuing again before it ends renews it."""
    if (days is None) == (until is None):
        raise click.UsageError("name either --days or --until: every credential ends")

    async def work() -> None:
        from warmline.chain.contracts import address_of, type_id_of

        who, type_id = address_of(holder), type_id_of(type_name)
        async with open_session(options) as session:
            end = await end_of(session, days, until)
            await session.carry_out(session.contracts.issue(who, type_id, end))
            await _show(session, who, type_id)

    run(work)


@command.command()
@click.argument("holder")
@click.argument("type_name", metavar="TYPE")
@click.option("--reason", type=click.Choice(REASON_NAMES), default="unspecified", show_default=True)
@chain_options
def revoke(options: Options, holder: str, type_name: str, reason: str) -> None:
    """Take the credential TYPE from HOLDER. It acts at the next block; anyone can read the reason."""

    async def work() -> None:
        from warmline.chain.contracts import address_of, type_id_of

        who, type_id = address_of(holder), type_id_of(type_name)
        async with open_session(options) as session:
            await session.carry_out(session.contracts.revoke(who, type_id, reason))
            await _show(session, who, type_id)

    run(work)


async def end_of(session: Session, days: int | None, until: object) -> int:
    """Seconds. Days count from the chain's time, by which the contract judges."""
    import datetime

    if isinstance(until, datetime.datetime):
        return int(until.replace(tzinfo=datetime.UTC).timestamp())
    return await session.contracts.time_s() + (days or 0) * 86_400


async def _show(session: Session, holder: bytes, type_id: bytes) -> None:
    from warmline.chain.contracts import date, shown, type_name_of

    held = await session.contracts.credential_of(session.sender(), holder, type_id)
    valid = await session.contracts.is_valid(holder, type_id)
    if not session.options.dry_run:
        until = f" until {date(held.until_s)}" if valid else ""
        session.say(f"{shown(holder)}: {type_name_of(type_id)} is {'valid' if valid else 'not valid'}{until}.")
    session.finish(holder=shown(holder), type=type_name_of(type_id), valid=valid, until_s=held.until_s)


async def _admitted(session: Session) -> bool:
    return await session.contracts.issuer_admitted(session.sender())
