"""What hands over to what: contracts that are superseded, issuers that leave; and what that asks of people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from warmline.cli.ethereum import Options, chain_options, open_session, run

if TYPE_CHECKING:
    from warmline.cli.ethereum import Session

NONE: Final = "none"
TO_DO: Final = {
    "CredentialRegistry": "your issuers give credentials there; ask them when, for what is here cannot be renewed then",
    "DelegateRegistry": "register your device there: `warmline supporter register` with the new --manifest",
    "SupporterBond": "take your bond out here (`warmline supporter exit`, it is paid out for ever) and bond there",
    "ReportPanel": "reports that are open here end here; new ones are filed there",
    "ConductEpochs": "feedback goes on there; nothing to do",
}
"""What each contract's handover asks of a supporter."""


@click.command(short_help="For governance: announce the contract that takes over from one of these.")
@click.argument("contract", type=click.Choice(list(TO_DO)))
@click.argument("successor")
@chain_options
def succeed(options: Options, contract: str, successor: str) -> None:
    """For governance: announce that SUCCESSOR takes over from CONTRACT in 30 days; `none` withdraws that.

    Nothing moves by itself. The old contract takes nothing new in from then on, and goes on with all that ends or pays
    out. Who reads the chain learns the new address from this announcement: holders and supporters are shown it.
    """

    async def work() -> None:
        from warmline.chain.contracts import address_of

        async with open_session(options) as session:
            heir = bytes(20) if successor == NONE else address_of(successor)
            await session.carry_out(session.contracts.supersede(contract, heir))
            found = [one for one in await successions(session) if one["contract"] == contract]
            if not found and not options.dry_run:
                session.say(f"{contract} has no successor.")
            session.finish(contract=contract, succession=found[0] if found else None)

    run(work)


async def successions(session: Session) -> list[dict[str, Any]]:
    """Every contract of the manifest that hands over, told in words and as data."""
    from warmline.chain.contracts import date, shown

    rows = []
    for contract in TO_DO:
        if contract not in session.manifest.contracts:
            continue
        found = await session.contracts.superseded_by(contract)
        if found is None:
            continue
        heir, since_s = found
        session.say(f"{contract} hands over to {shown(heir)} on {date(since_s)}: {TO_DO[contract]}.")
        rows.append({"contract": contract, "successor": shown(heir), "since_s": since_s, "to_do": TO_DO[contract]})
    return rows


def leaving(sunset_at_s: int, suspended_until_s: int, now_s: int) -> str:
    """What an issuer's dates mean for who holds a credential of its, in words; empty where they mean nothing."""
    from warmline.chain.contracts import date

    if sunset_at_s:
        over = sunset_at_s <= now_s
        return (
            f"its issuer {'left' if over else 'leaves'}: it {'counted' if over else 'counts'} until "
            f"{date(sunset_at_s)}; ask an issuer that stays for a new one"
        )
    if suspended_until_s > now_s:
        return f"its issuer is suspended until {date(suspended_until_s)}; it comes back by itself"
    return ""
