"""`warmline issuer vouchers` and `warmline supporter feedback`: both ends of what a session's first step needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from warmline.cli.device import device_option
from warmline.cli.docket import open_docket
from warmline.cli.ethereum import Options, chain_options, run
from warmline_protocol.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmline.chain.reports import Reports
    from warmline.cli.ethereum import Session
    from warmline_protocol.feedback.epochs import Epochs
    from warmline_protocol.feedback.grants import IssuerEpoch


@click.command(short_help="Grant vouchers for feedback to those you credentialed.")
@click.argument("type_name", metavar="TYPE")
@click.option("--each", type=click.IntRange(1, 1000), default=30, show_default=True, help="For each supporter.")
@click.option("--next", "for_next", is_flag=True, help="For the epoch after this one.")
@click.option(
    "--keys",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory that your node serves: `keys` of its section [feedback].",
)
@chain_options
def vouchers(options: Options, type_name: str, each: int, for_next: bool, keys: Path) -> None:
    """Grant vouchers to everybody who holds your credential TYPE, for the feedback of this epoch or the next.

    Makes a key for each supporter and puts one hash over them on the chain, once an epoch. A session of theirs with a
    stranger begins with one voucher; who has none does not count as verified in it.
    """

    async def work() -> None:
        async with open_docket(options) as (session, reports):
            await _grant(session, reports, type_name, each, for_next, keys)

    run(work)


async def _grant(session: Session, reports: Reports, type_name: str, each: int, for_next: bool, keys: Path) -> None:
    from warmline.chain.contracts import date, type_id_of
    from warmline.env import run_in_thread
    from warmline.files import write_private
    from warmline.services.feedback import keys_file
    from warmline_protocol.feedback.grants import IssuerEpoch

    issuer, epochs = session.sender(), await _epochs(reports)
    epoch = epochs.at(await reports.time_s()) + for_next
    path = keys_file(keys, issuer, epoch)
    holders = await _holders(reports, issuer, type_id_of(type_name))
    if not holders:
        raise UsageError(f"nobody holds {type_name} from you", hint="Issue it first: `warmline issuer issue`.")
    made = await run_in_thread(lambda: _kept(path) or IssuerEpoch.open(issuer, epoch, dict.fromkeys(holders, each)))
    session.say(f"Epoch {epoch}, {date(epochs.start(epoch))} to {date(epochs.end(epoch))}: {len(holders)} supporters.")
    if not session.options.dry_run:
        # Before the root is on the chain: a root whose keys are lost could not be answered for.
        await run_in_thread(lambda: write_private(path, made.snapshot()))
    await session.carry_out(reports.grant_vouchers(epoch, made.vouchers, made.root))
    session.finish(epoch=epoch, vouchers=made.vouchers, root="0x" + made.root.hex(), keys=str(path))


async def _epochs(reports: Reports) -> Epochs:
    from warmline_protocol.feedback.epochs import Epochs

    return Epochs(*await reports.epoch_terms())


async def _holders(reports: Reports, issuer: bytes, type_id: bytes) -> Sequence[bytes]:
    everybody, now_s = await reports.holders_of(issuer, type_id), await reports.time_s()
    states = await reports.credentials_of(issuer, everybody, type_id)
    return [who for who, state in zip(everybody, states, strict=True) if state.state == 1 and state.until_s > now_s]


def _kept(path: Path) -> IssuerEpoch | None:
    """What an earlier run made, whose root may not be on the chain yet."""
    from warmline_protocol.feedback.grants import IssuerEpoch

    try:
        return IssuerEpoch.restore(path.read_bytes())
    except FileNotFoundError:
        return None


@click.command(short_help="Name an issuer that grants you vouchers.")
@click.argument("issuer")
@click.argument("node", metavar="ADDRESS")
@device_option
def feedback(issuer: str, node: str, folder: Path) -> None:
    """Take part in feedback: ISSUER (its address on the chain) answers at the node ADDRESS (/…/p2p/…).

    Your sessions with strangers then begin with a voucher of theirs. They learn that you began one, and nothing of
    whom with.
    """
    from warmline.chain.contracts import address_of, shown
    from warmline.client.feedback import IssuerDesk, PurseFile
    from warmline_protocol.records.node import NodeAddress

    who, peer = address_of(issuer), node.rpartition("/p2p/")[2]
    if not peer or peer == node:
        raise ConfigError(f"{node} does not say which node is meant", hint="It must end in /p2p/<peer id>.")
    PurseFile(folder).add(IssuerDesk(who, NodeAddress(peer, (node,))))
    click.echo(f"From your next duty on, sessions begin with a voucher of {shown(who)}.")
