"""`warmline supporter delegate`: a wallet that is elsewhere lets this device speak for it.

A plain wallet signs a document (EIP-712) and the signature is brought back; nodes check it by themselves. A contract
wallet (a multisig, say) has no key that could sign, and nodes ask no chain about each record: it carries out one call
of DelegateRegistry, which every node that follows the chain sees.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from warmline.cli.ethereum import Options, chain_options, open_session, run
from warmline_protocol.errors import UsageError

if TYPE_CHECKING:
    from warmline.chain.contracts import Call
    from warmline.cli.ethereum import Session
    from warmline_protocol.records.delegation import Delegation

DAYS = 30


@click.command(short_help="Let a wallet that is elsewhere name this device.")
@click.option("--for", "owner", metavar="ADDRESS", help="The wallet: a contract wallet, or one on other hardware.")
@click.option("--days", type=click.IntRange(1, DAYS), default=DAYS, show_default=True)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write what is to be signed into this file, as JSON."
)
@click.option("--done", is_flag=True, help="It was signed or carried out: check that, and use it from now on.")
@click.option(
    "--signature-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --done: the signature of a plain wallet, as 0x and 130 hex digits.",
)
@chain_options
def delegate(
    options: Options, owner: str | None, days: int, out: Path | None, done: bool, signature_file: Path | None
) -> None:
    """Let a wallet whose key is not on this machine name this device. Two steps; nothing is signed here.

    First --for ADDRESS: shows what the wallet signs (a plain one, EIP-712) or carries out (a contract wallet). After
    that, --done checks it. For a contract wallet the chain is asked, and with --also two endpoints must agree.
    """
    if (owner is None) != done:
        raise click.UsageError("name the wallet with --for, or say --done when it has signed")
    signature = signature_file.read_text("ascii", "replace") if signature_file else None

    async def work() -> None:
        from warmline.chain.contracts import address_of

        async with open_session(options) as session:
            if owner is None:
                await _finish(session, signature)
            else:
                await _ask(session, address_of(owner), days, out)

    run(work)


async def _ask(session: Session, wallet: bytes, days: int, out: Path | None) -> None:
    from warmline.chain.contracts import shown
    from warmline.chain.supporter import SupporterFiles
    from warmline.env import SystemClock, SystemRng, run_in_thread
    from warmline.files import write_whole
    from warmline_protocol.records.delegation import SUPPORTER, Delegation

    files, manifest = SupporterFiles(session.options.folder), session.manifest
    contract = await _is_contract(session, wallet)
    # The contract takes no key of zeros, not even to price it.
    key = b"\x01" * 32 if session.options.dry_run else files.device_public(SystemRng().bytes(32))
    start_s = max(SystemClock().utc_ms() // 1000, await session.contracts.revoked_before(wallet))
    end_s = start_s + days * 86_400
    registry = manifest.address("DelegateRegistry")
    asked = Delegation(wallet, key, SUPPORTER, start_s, end_s, manifest.chain_id, registry)
    session.say(f"{shown(wallet)} is a {'contract' if contract else 'plain'} wallet.")
    call = session.contracts.set_delegate(key, end_s) if contract else None
    document = asked.typed_data() if call is None else _transaction(call, wallet)
    session.say(f"It {'signs' if call is None else 'carries out'}: {asked.statement}")
    session.say(await _cost(session, call, wallet))
    if session.options.dry_run:
        session.say("Without --dry-run a key is made on this device, and what is to be signed is shown.")
    else:
        files.keep_asked(asked)
        if out is not None:
            await run_in_thread(lambda: write_whole(out, json.dumps(document, indent=2).encode() + b"\n"))
            session.say(f"It is in {out}.")
        else:
            session.say(json.dumps(document, indent=2))
        session.say(f"When that is done: warmline supporter delegate --done{'' if contract else ' --signature-file …'}")
    session.finish(wallet=shown(wallet), contract=contract, until_s=end_s, document=document)


async def _finish(session: Session, signature: str | None) -> None:
    from warmline.chain.contracts import date, shown
    from warmline.chain.supporter import SupporterFiles

    files = SupporterFiles(session.options.folder)
    asked = files.asked()
    contract = await _is_contract(session, asked.wallet)
    given = await _on_chain(session, asked) if contract else _signed(asked, signature)
    if not session.options.dry_run:
        files.keep_delegation(given)
    until = date(given.not_after_s)
    session.say(f"The device key {given.key.hex()[:16]}… speaks for {shown(given.wallet)} until {until}.")
    session.finish(wallet=shown(given.wallet), key=given.key.hex(), until_s=given.not_after_s, contract=contract)


async def _is_contract(session: Session, wallet: bytes) -> bool:
    from warmline.chain.errors import RpcGarbageError
    from warmline.chain.events import unhex

    code = await session.source.call("eth_getCode", "0x" + wallet.hex(), "latest")
    try:
        return bool(unhex(code))
    except (TypeError, ValueError) as error:
        raise RpcGarbageError("the chain endpoint does not say what code an address has") from error


async def _on_chain(session: Session, asked: Delegation) -> Delegation:
    """What the registry says, by all endpoints that were named."""
    from dataclasses import replace

    from warmline.chain.delegates import delegated_until
    from warmline.env import SystemClock

    until_s = await delegated_until(session.source, session.manifest, asked.wallet, asked.key, SystemClock())
    if until_s <= await session.contracts.time_s():
        raise UsageError(
            "the wallet has not named this device on the chain, or ended its keys since",
            hint="Carry out what `warmline supporter delegate --for …` showed, and wait for its block.",
        )
    if not session.options.also:
        session.say("One endpoint alone says so: name another with --also to be surer.")
    return replace(asked, not_after_s=min(asked.not_after_s, until_s))


def _signed(asked: Delegation, signature: str | None) -> Delegation:
    from warmline_protocol.records.delegation import with_signature

    if signature is None:
        raise UsageError("a plain wallet's signature is needed", hint="Name its file with --signature-file.")
    try:
        raw = bytes.fromhex(signature.strip().removeprefix("0x"))
    except ValueError:
        raise UsageError("this is not a signature", hint="It is 0x and 130 hex digits.") from None
    if len(raw) != 65:
        raise UsageError(f"a signature of {len(raw)} bytes and not 65", hint="A contract wallet's cannot be used here.")
    # Some wallets write v as 0 and 1.
    return with_signature(asked, raw[:64] + bytes([raw[64] + 27 if raw[64] < 2 else raw[64]]))


def _transaction(call: Call, wallet: bytes) -> dict[str, object]:
    from warmline.chain.contracts import shown

    return {
        "from": shown(wallet),
        "to": shown(call.to),
        "value": "0",
        "data": "0x" + call.data.hex(),
        "says": call.says,
    }


async def _cost(session: Session, call: Call | None, wallet: bytes) -> str:
    if call is None:
        return "Signing costs nothing, and nothing is written to the chain."
    gas = await session.rpc.call(
        "eth_estimateGas", {"from": "0x" + wallet.hex(), "to": "0x" + call.to.hex(), "data": "0x" + call.data.hex()}
    )
    return f"The call takes about {int(gas, 16):,} gas; what the wallet itself takes comes on top. No coin moves."
