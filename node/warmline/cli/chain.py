"""`warmline chain`: the embedded development chain."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline.cli.ethereum import DEFAULT_URL, run
from warmline_protocol.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from warmline.chain.devchain import DevChain, DevChainSettings

WARNING = (
    "For development only. The keys of these accounts are public: coin sent to them on a live chain is taken at once."
)


@click.group()
def command() -> None:
    """The embedded development chain."""


@command.command()
@click.option("--data", type=click.Path(path_type=Path), help="Directory of its journal and manifest.")
@click.option("--port", type=click.IntRange(0, 65535), default=8545, show_default=True, help="0 takes a free one.")
@click.option("--period", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Seconds between blocks.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when it is ready.")
def dev(data: Path | None, port: int, period: float, as_json: bool) -> None:
    """Run a chain with warmline's contracts on this machine, until Ctrl-C.

    It answers JSON-RPC on loopback, keeps what was done across restarts, and writes the manifest that nodes read.
    """
    try:
        from warmline.chain.devchain import DevChainSettings
        from warmline.chain.embedded import EmbeddedChain as _  # noqa: F401 - the extra may be missing
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the embedded chain is not installed: {error.name} is missing",
            hint="Install it with: pip install 'warmline[devchain]'",
        ) from error
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    where = data or Path(click.get_app_dir("warmline")) / "devchain"
    run(lambda: _dev(DevChainSettings(where, port, period), as_json))


async def _dev(settings: DevChainSettings, as_json: bool) -> None:
    import trio

    from warmline.chain.devchain import open_devchain
    from warmline.env import SystemClock, run_in_thread

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_devchain(settings, SystemClock(), run_in_thread) as running:
            _announce(running, as_json)
            async for _ in signals:
                break


def _announce(running: DevChain, as_json: bool) -> None:
    from warmline.chain.accounts import DEV_ACCOUNTS, FAUCET, GOVERNANCE, dev_key
    from warmline.chain.wallet import dev_wallet

    accounts = [dev_wallet(index).shown for index in range(DEV_ACCOUNTS)]
    if as_json:
        ready: dict[str, Any] = {
            "url": running.url,
            "manifest": str(running.manifest_path),
            "chain_id": running.manifest.chain_id,
            "replayed": running.replayed,
            "accounts": accounts,
        }
        click.echo(json.dumps(ready))
        return
    click.echo(f"Chain {running.manifest.chain_id} answers at {running.url}")
    click.echo(f"Manifest for nodes: {running.manifest_path}")
    if running.replayed:
        click.echo(f"{running.replayed} blocks came back from the journal.")
    click.echo("\nAccounts, 10000 coin each at the start (use them with --dev-account N):")
    roles = {GOVERNANCE: "  governance: admits issuers", FAUCET: "  pays for `warmline chain fund`"}
    for index, address in enumerate(accounts):
        click.echo(f"  {index}  {address}  key 0x{dev_key(index).hex()}{roles.get(index, '')}")
    click.secho(f"\n{WARNING}", fg="yellow")


@command.command()
@click.argument("address")
@click.argument("amount", default="100")
@click.option("--chain", "url", envvar="WARMLINE_CHAIN", default=DEFAULT_URL, show_default=True, help="JSON-RPC URL.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fund(address: str, amount: str, url: str, as_json: bool) -> None:
    """Give ADDRESS some coin of the dev chain (100 if no AMOUNT is named)."""
    run(lambda: _fund(address, amount, url, as_json))


async def _fund(address: str, amount: str, url: str, as_json: bool) -> None:
    from warmline.chain import transactions
    from warmline.chain.accounts import FAUCET
    from warmline.chain.contracts import Call, address_of, coins, shown
    from warmline.chain.provider import is_loopback, open_rpc
    from warmline.chain.wallet import dev_wallet
    from warmline.cli.ethereum import wei_of
    from warmline_protocol.limits import DEV_CHAIN_ID

    to, wei = address_of(address), wei_of(amount)
    if not is_loopback(url):
        raise UsageError("only a dev chain on this machine gives coin away")
    async with open_rpc(url) as rpc:
        if int(await rpc.call("eth_chainId"), 16) not in (DEV_CHAIN_ID, 31337):
            raise UsageError(f"{url} is no development chain")
        says = f"give {coins(wei)} coin to {shown(to)}"
        planned = await transactions.plan(rpc, Call("", "", to, b"", says, wei), dev_wallet(FAUCET).address)
        await transactions.send(rpc, planned, dev_wallet(FAUCET))
        balance = int(await rpc.call("eth_getBalance", "0x" + to.hex(), "latest"), 16)
    if as_json:
        click.echo(json.dumps({"address": shown(to), "balance_wei": balance}))
    else:
        click.echo(f"{shown(to)} now holds {coins(balance)} coin.")
