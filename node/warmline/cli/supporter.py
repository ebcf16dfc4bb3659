"""`warmline supporter`: for peer supporters. Wallet, device key, bond and credentials are here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from warmline.cli.card import card
from warmline.cli.delegating import delegate
from warmline.cli.duty import duty
from warmline.cli.ethereum import Options, chain_options, open_session, run
from warmline.cli.standing import respond, standing
from warmline.cli.succession import leaving, successions
from warmline.cli.vouchers import feedback
from warmline_protocol.errors import UsageError

if TYPE_CHECKING:
    from warmline.chain.wallet import Wallet
    from warmline.cli.ethereum import Session
    from warmline_protocol.records.delegation import Delegation

DELEGATION_DAYS = 30
STATES = ("none", "ended, or its issuer was removed", "revoked", "renounced")
"""Why a credential is not valid, by the contract's state."""


@click.group()
def command() -> None:
    """For peer supporters: keys, card, bond, credentials, being on duty."""


for each in (card, delegate, duty, standing, respond, feedback):
    command.add_command(each)


@command.command(short_help="Make a wallet and a device key.")
@click.option("--days", type=click.IntRange(1, DELEGATION_DAYS), default=DELEGATION_DAYS, show_default=True)
@click.option("--on-chain", is_flag=True, help="Write the device key to the chain; a contract wallet: see delegate.")
@chain_options
def register(options: Options, days: int, on_chain: bool) -> None:
    """Make a wallet and a device key, and let the key speak for the wallet. Run it again to renew.

    Nothing is written to the chain unless --on-chain is given, so it costs nothing.
    """

    async def work() -> None:
        async with open_session(options) as session:
            await _register(session, days, on_chain)

    run(work)


async def _register(session: Session, days: int, on_chain: bool) -> None:
    from warmline.chain.contracts import date, shown
    from warmline.chain.supporter import SupporterFiles
    from warmline.env import SystemClock, SystemRng

    options, files = session.options, SupporterFiles(session.options.folder)
    if options.dry_run:
        session.say("You would sign, once, that a key on this device may speak for your wallet. It cannot move money.")
        session.finish(days=days)
        return
    wallet = _wallet_for(session)
    key = files.device_public(SystemRng().bytes(32))
    # After a lost device, only what begins at the revocation or later counts.
    start_s = max(SystemClock().utc_ms() // 1000, await session.contracts.revoked_before(wallet.address))
    delegation = _unsigned(session, wallet.address, key, start_s, start_s + days * 86_400)
    session.say(f"You sign as {wallet.shown}: {delegation.statement}")
    if not options.yes:
        click.confirm("Sign this?", abort=True, err=True)
    if on_chain:
        await session.carry_out(session.contracts.set_delegate(key, delegation.not_after_s), wallet)
    else:
        delegation = _signed(delegation, wallet)
    files.keep_delegation(delegation)
    session.say(f"The device key {key.hex()[:16]}… speaks for {wallet.shown} until {date(delegation.not_after_s)}.")
    session.finish(wallet=shown(wallet.address), key=key.hex(), until_s=delegation.not_after_s)


def _wallet_for(session: Session) -> Wallet:
    from warmline.chain.wallet import create_keystore
    from warmline.cli.ethereum import passphrase
    from warmline.env import SystemRng

    options = session.options
    if options.dev_account is not None or options.wallet_path.exists():
        return session.unlock()
    session.say(f"There is no wallet yet: {options.wallet_path} is made now, locked by a passphrase of yours.")
    wallet = create_keystore(options.wallet_path, passphrase(options, twice=True), SystemRng().bytes(32))
    session.say(f"Your wallet is {wallet.shown}. Keep a copy of that file: nobody can restore it.")
    return wallet


def _unsigned(session: Session, wallet: bytes, key: bytes, start_s: int, end_s: int) -> Delegation:
    from warmline_protocol.records.delegation import SUPPORTER, Delegation

    registry = session.manifest.address("DelegateRegistry")
    return Delegation(wallet, key, SUPPORTER, start_s, end_s, session.manifest.chain_id, registry)


def _signed(delegation: Delegation, wallet: Wallet) -> Delegation:
    from warmline_protocol.records.delegation import with_signature

    return with_signature(delegation, wallet.sign_typed(delegation.typed_data()))


@command.command("lost-device")
@chain_options
def lost_device(options: Options) -> None:
    """End every device key of your wallet at once. Register again afterwards, on the device that you keep."""

    async def work() -> None:
        async with open_session(options) as session:
            now_s = await session.contracts.time_s() + 1
            await session.carry_out(session.contracts.revoke_before(now_s))
            session.finish(revoked_before_s=await session.contracts.revoked_before(session.sender()))

    run(work)


@command.command()
@click.argument("amount")
@click.option("--for", "supporter", help="Bond for another supporter's address; on exit it comes back to you.")
@chain_options
def bond(options: Options, amount: str, supporter: str | None) -> None:
    """Put AMOUNT of coin down as a bond. More bond means more groups, never a better place in a list."""
    run(lambda: _bond(options, amount, supporter))


@command.command(short_help="Bond for another supporter.")
@click.argument("supporter")
@click.argument("amount")
@chain_options
def sponsor(options: Options, supporter: str, amount: str) -> None:
    """Put AMOUNT of coin down for SUPPORTER, as a community does for its people. On exit it comes back to you."""
    run(lambda: _bond(options, amount, supporter))


@command.command("top-up")
@click.argument("amount")
@chain_options
def top_up(options: Options, amount: str) -> None:
    """Add AMOUNT of coin to the bond that you have."""
    run(lambda: _bond(options, amount, None, more=True))


async def _bond(options: Options, amount: str, supporter: str | None, *, more: bool = False) -> None:
    from warmline.chain.contracts import address_of
    from warmline.cli.ethereum import wei_of

    wei, other = wei_of(amount), address_of(supporter) if supporter else None
    async with open_session(options) as session:
        contracts = session.contracts
        if more and not await contracts.bond_of(session.sender()):
            raise UsageError("there is no bond of yours yet", hint="`warmline supporter bond` puts down the first.")
        await session.carry_out(contracts.bond_for(other, wei) if other else contracts.bond(wei))
        await _show_bond(session, other or session.sender())


@command.command("exit")
@click.argument("amount")
@chain_options
def exit_(options: Options, amount: str) -> None:
    """Queue AMOUNT of your bond for taking out. It can be claimed some time later."""

    async def work() -> None:
        from warmline.cli.ethereum import wei_of

        wei = wei_of(amount)
        async with open_session(options) as session:
            await session.carry_out(session.contracts.queue_exit(wei))
            await _show_bond(session, session.sender(), exits=await _open_exits(session))

    run(work)


@command.command()
@click.argument("exit_id", type=click.IntRange(1))
@chain_options
def claim(options: Options, exit_id: int) -> None:
    """Claim a queued exit whose time has come."""

    async def work() -> None:
        async with open_session(options) as session:
            await session.carry_out(session.contracts.claim(exit_id))
            await _show_bond(session, session.sender())

    run(work)


async def _show_bond(session: Session, supporter: bytes, **more: Any) -> None:
    from warmline.chain.contracts import coins, shown

    bonded, exiting = await session.contracts.bond_of(supporter), await session.contracts.exiting_of(supporter)
    if not session.options.dry_run:
        session.say(f"{shown(supporter)}: {coins(bonded)} coin bonded, {coins(exiting)} on the way out.")
    session.finish(supporter=shown(supporter), bond_wei=bonded, exiting_wei=exiting, **more)


async def _open_exits(session: Session) -> list[dict[str, int]]:
    """Exits of the sender that nobody claimed yet, oldest first."""
    from warmline.chain.contracts import coins, date
    from warmline_protocol.records.standing_events import ExitClaimed, ExitQueued

    found: dict[int, dict[str, int]] = {}
    for event in await session.contracts.events_of("SupporterBond", session.sender()):
        if isinstance(event, ExitQueued):
            found[event.exit_id] = {
                "exit_id": event.exit_id,
                "wei": event.amount,
                "claimable_at_s": event.claimable_at_s,
            }
        elif isinstance(event, ExitClaimed):
            found.pop(event.exit_id, None)
    for one in found.values():
        session.say(f"Exit {one['exit_id']}: {coins(one['wei'])} coin, from {date(one['claimable_at_s'])}.")
    return list(found.values())


@command.group()
def credential() -> None:
    """Your credentials, as the chain has them."""


@credential.command("list")
@click.option("--of", "holder", help="Another holder's address; yours if not named.")
@chain_options
def list_(options: Options, holder: str | None) -> None:
    """Show who credentialed you, for what and until when."""

    async def work() -> None:
        from warmline.chain.contracts import address_of

        named = address_of(holder) if holder else None
        async with open_session(options) as session:
            await _list(session, named or session.sender())

    run(work)


@credential.command()
@click.argument("issuer")
@click.argument("type_name", metavar="TYPE")
@chain_options
def renounce(options: Options, issuer: str, type_name: str) -> None:
    """Give up the credential TYPE from ISSUER."""

    async def work() -> None:
        from warmline.chain.contracts import address_of, type_id_of

        giver, type_id = address_of(issuer), type_id_of(type_name)
        async with open_session(options) as session:
            await session.carry_out(session.contracts.renounce(giver, type_id))
            await _list(session, session.sender())

    run(work)


async def _list(session: Session, holder: bytes) -> None:
    from warmline.chain.contracts import shown

    rows = await credential_rows(session, holder)
    session.finish(holder=shown(holder), credentials=rows, successions=await successions(session))


async def credential_rows(session: Session, holder: bytes) -> list[dict[str, Any]]:
    """Every credential that the holder was ever given, told and as data."""
    from warmline.chain.contracts import date, shown, type_name_of
    from warmline_protocol.records.standing_events import CredentialIssued

    events = await session.contracts.events_of("CredentialRegistry", holder)
    given = sorted({(event.type_id, event.issuer) for event in events if isinstance(event, CredentialIssued)})
    rows, now_s = [], await session.contracts.time_s()
    for type_id, issuer in given:
        sunset_at_s, suspended_s = await session.contracts.issuer_dates(issuer)
        held = await session.contracts.credential_of(issuer, holder, type_id)
        valid = await session.contracts.is_valid_from(issuer, holder, type_id)
        until_s = min(held.until_s, sunset_at_s or held.until_s)
        note = leaving(sunset_at_s, suspended_s, now_s)
        rows.append(
            {"type": type_name_of(type_id), "issuer": shown(issuer), "until_s": until_s, "valid": valid, "note": note}
        )
        until = (f"until {date(until_s)}" if valid else STATES[held.state]) + (f" ({note})" if note else "")
        session.say(f"{'valid  ' if valid else 'invalid'}  {type_name_of(type_id)}  from {shown(issuer)}  {until}")
    if not given:
        session.say(f"{shown(holder)} holds no credential.")
    return rows
