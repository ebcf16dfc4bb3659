"""What the commands that touch the chain share: their options, and the way from a call to its confirmed state.

Every one of them says in words what will be signed and what it may cost, asks, sends, waits until it is final and
shows what holds afterwards. `--dry-run` stops before anything is unlocked or signed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline.cli.device import secret
from warmline_protocol.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from warmline.chain.contracts import Call, Contracts
    from warmline.chain.endpoints import Source
    from warmline.chain.manifest import Manifest
    from warmline.chain.provider import Rpc
    from warmline.chain.transactions import Plan
    from warmline.chain.wallet import Wallet

DEFAULT_URL = "http://127.0.0.1:8545"
MINED_WITHIN_S = 180.0
SOURCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the shared options say. `folder` holds wallet, device key and delegation."""

    url: str
    manifest: Path | None
    folder: Path
    wallet: Path | None
    dev_account: int | None
    passphrase_fd: int | None
    confirmations: int
    dry_run: bool
    as_json: bool
    yes: bool
    also: tuple[str, ...] = ()

    @property
    def wallet_path(self) -> Path:
        return self.wallet or self.folder / "wallet.json"


_SHARED = [
    click.option(
        "--chain", "url", envvar="WARMLINE_CHAIN", default=DEFAULT_URL, show_default=True, help="JSON-RPC URL."
    ),
    click.option(
        "--also",
        multiple=True,
        envvar="WARMLINE_CHAIN_ALSO",
        metavar="URL",
        help="Another JSON-RPC URL of the same chain, run by others: whom a wallet named is then believed only if two "
        "agree; what collectors posted, if none that answers says otherwise.",
    ),
    click.option(
        "--manifest",
        envvar="WARMLINE_MANIFEST",
        type=click.Path(path_type=Path),
        help="Manifest of the contracts. The dev chain tells its own.",
    ),
    click.option(
        "--data",
        "folder",
        envvar="WARMLINE_SUPPORTER",
        type=click.Path(path_type=Path),
        show_default="in your application directory",
        help="Directory of your wallet and device key.",
    ),
    click.option("--wallet", type=click.Path(path_type=Path), help="Wallet file, if not wallet.json in --data."),
    click.option("--dev-account", type=int, help="Sign as this well-known account of a development chain."),
    click.option("--passphrase-fd", type=int, help="Read the wallet's passphrase from this file descriptor."),
    click.option(
        "--confirmations", type=click.IntRange(1, 64), default=1, show_default=True, help="Blocks to wait for."
    ),
    click.option("--dry-run", is_flag=True, help="Say what would be signed and what it may cost; sign nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON; implies --yes."),
    click.option("--yes", is_flag=True, help="Do not ask before signing."),
]


def chain_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options; the command gets them as its first argument, an `Options`."""

    @wraps(command)
    def gathered(
        url: str,
        also: tuple[str, ...],
        manifest: Path | None,
        folder: Path | None,
        wallet: Path | None,
        dev_account: int | None,
        passphrase_fd: int | None,
        confirmations: int,
        dry_run: bool,
        as_json: bool,
        yes: bool,
        **rest: Any,
    ) -> Any:
        where = folder or Path(click.get_app_dir("warmline")) / "supporter"
        options = Options(
            url,
            manifest,
            where,
            wallet,
            dev_account,
            passphrase_fd,
            confirmations,
            dry_run,
            as_json,
            yes or as_json,
            also,
        )
        return command(options, **rest)

    for option in reversed(_SHARED):
        gathered = option(gathered)
    return gathered


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` under Trio. Exceptions come out as they are, for the root to explain."""
    import trio

    trio.run(work)


class Session:
    """One command's view of the chain. Obtained from `open_session`."""

    def __init__(self, options: Options, rpc: Rpc, manifest: Manifest, contracts: Contracts, source: Source) -> None:
        """``rpc`` is what is sent to; ``source`` all endpoints, for what must not rest on one of them."""
        self.options = options
        self.rpc = rpc
        self.source = source
        self.manifest = manifest
        self.contracts = contracts
        self.report: dict[str, Any] = {"chain_id": manifest.chain_id, "transactions": []}
        self._wallet: Wallet | None = None

    def sender(self) -> bytes:
        """Who would sign, without unlocking anything."""
        from warmline.chain.wallet import keystore_address

        if self._wallet is not None:
            return self._wallet.address
        if self.options.dev_account is not None:
            return self.unlock().address
        return keystore_address(self.options.wallet_path)

    def unlock(self) -> Wallet:
        """The wallet, after asking for its passphrase once."""
        if self._wallet is None:
            self._wallet = open_wallet(self.options, dev=is_dev(self))
        return self._wallet

    async def carry_out(
        self,
        call: Call,
        signer: Wallet | None = None,
        *,
        ask: bool = True,
        sent: Callable[[bytes], None] = lambda name: None,
    ) -> None:
        """Say, price, ask, sign, send, wait. With --dry-run only the first two; `sent` hears of hashes beforehand."""
        from warmline.chain import transactions

        planned = await transactions.plan(self.rpc, call, signer.address if signer else self.sender())
        self._tell(planned)
        if self.options.dry_run:
            self.report["transactions"].append(_planned(planned))
            return
        if ask and not self.options.yes:
            click.confirm("Sign this?", abort=True, err=True)
        wallet = signer or self.unlock()
        receipt = await transactions.send(
            self.rpc, planned, wallet, deadline_s=MINED_WITHIN_S, tell=self.say, sent=sent
        )
        await transactions.wait_final(self.rpc, receipt, self.options.confirmations, deadline_s=MINED_WITHIN_S)
        self.say(f"Done in block {receipt.block}; the fee was {_coins(receipt.fee)} coin.")
        self.report["transactions"].append(
            _planned(planned)
            | {"hash": "0x" + receipt.hash.hex(), "block": receipt.block}
            | {"gas_used": receipt.gas_used, "fee_wei": receipt.fee}
        )

    def say(self, text: str) -> None:
        if not self.options.as_json:
            click.echo(text)

    def finish(self, **state: Any) -> None:
        """Print the JSON report, if that was asked for."""
        if self.options.as_json:
            click.echo(json.dumps(self.report | {"dry_run": self.options.dry_run, "state": state}))

    def _tell(self, planned: Plan) -> None:
        from warmline.chain.contracts import shown

        self.say(f"You sign as {shown(planned.sender)}: {planned.call.says}.")
        bonded = f", of which {_coins(planned.call.value)} is the amount itself" if planned.call.value else ""
        self.say(f"It may cost up to {_coins(planned.cost_max)} coin{bonded}; what is not used is not taken.")


@asynccontextmanager
async def open_session(options: Options) -> AsyncIterator[Session]:
    from warmline.chain.contracts import Contracts
    from warmline.chain.endpoints import One, open_source
    from warmline.chain.provider import open_rpc

    async with AsyncExitStack() as stack:
        rpc = await stack.enter_async_context(open_rpc(options.url))
        manifest = await _manifest(options, rpc)
        await _check_chain(rpc, manifest)
        source: Source = One(rpc)
        if options.also:
            source = await stack.enter_async_context(open_source((options.url, *options.also), deadline_s=SOURCE_S))
        yield Session(options, rpc, manifest, Contracts(rpc, manifest), source)


async def _manifest(options: Options, rpc: Rpc) -> Manifest:
    from warmline.chain.errors import ManifestError, RpcError
    from warmline.chain.manifest import parse_manifest, read_manifest
    from warmline.chain.provider import is_loopback

    if options.manifest is not None:
        return read_manifest(options.manifest)
    # An endpoint elsewhere must not choose the contracts that a person signs for.
    if not is_loopback(options.url):
        raise ManifestError("a chain that is not on this machine needs --manifest")
    try:
        return parse_manifest(await rpc.call("warmline_manifest"), options.url)
    except RpcError as error:
        raise ManifestError(f"{options.url} is no warmline dev chain and needs --manifest") from error


async def _check_chain(rpc: Rpc, manifest: Manifest) -> None:
    from eth_hash.auto import keccak

    from warmline.chain.errors import WrongChainError
    from warmline.chain.events import unhex

    chain_id, *codes = await rpc.batch(
        [("eth_chainId", [])]
        + [("eth_getCode", ["0x" + at.address.hex(), "latest"]) for at in manifest.contracts.values()]
    )
    if int(chain_id, 16) != manifest.chain_id:
        raise WrongChainError(f"the endpoint serves chain {int(chain_id, 16)}, the manifest is for {manifest.chain_id}")
    for (name, at), code in zip(manifest.contracts.items(), codes, strict=True):
        if keccak(unhex(code)) != at.code_hash:
            raise WrongChainError(f"{name} is not at the address that the manifest gives, or is another program")


def is_dev(session: Session) -> bool:
    """Whether this is a development chain on this machine: the embedded one, or anvil."""
    from warmline.chain.provider import is_loopback
    from warmline_protocol.limits import DEV_CHAIN_ID

    return is_loopback(session.options.url) and session.manifest.chain_id in (DEV_CHAIN_ID, 31337)


def open_wallet(options: Options, *, dev: bool) -> Wallet:
    from warmline.chain.wallet import dev_wallet, open_keystore

    if options.dev_account is None:
        return open_keystore(options.wallet_path, passphrase(options))
    if not dev:
        raise UsageError(
            "--dev-account is for development chains on this machine only",
            hint="Its keys are public: whatever they hold on a live chain is taken at once.",
        )
    return dev_wallet(options.dev_account)


def passphrase(options: Options, *, twice: bool = False) -> str:
    """From --passphrase-fd, or from the terminal. Never from the command line or the environment."""
    import sys

    if options.passphrase_fd is None and not sys.stdin.isatty():
        raise ConfigError(
            "there is no terminal to ask for the passphrase", hint="Use --passphrase-fd, for example: 3<file"
        )
    return secret(options.passphrase_fd, "Passphrase of your wallet", twice=twice)


def _planned(planned: Plan) -> dict[str, Any]:
    return {
        "contract": planned.call.contract,
        "function": planned.call.function,
        "says": planned.call.says,
        "from": "0x" + planned.sender.hex(),
        "to": "0x" + planned.call.to.hex(),
        "value_wei": planned.call.value,
        "cost_max_wei": planned.cost_max,
    }


def _coins(wei: int) -> str:
    from warmline.chain.contracts import coins

    return coins(wei)


def wei_of(text: str) -> int:
    """An amount of coin as people write it, exact to the wei. Raises UsageError."""
    from decimal import Decimal, InvalidOperation, Overflow, localcontext

    try:
        with localcontext(prec=60):
            wei = Decimal(text) * 10**18
            whole = int(wei) if 0 < wei < 1 << 96 else 0  # int() of 1e999999999 would never come back
    except (InvalidOperation, Overflow) as error:
        raise UsageError(f"{text} is not an amount", hint="Write it like 0.5") from error
    if whole != wei or not whole:
        raise UsageError(f"{text} is not a possible amount", hint="At most 18 digits after the point, and above zero.")
    return whole
