"""The embedded chain, a store and a person's acts on the chain, for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from warmline.chain import transactions
from warmline.chain.contracts import Call, Contracts
from warmline.chain.devchain import DevChain, DevChainSettings, open_devchain
from warmline.chain.provider import Rpc, open_rpc
from warmline.chain.source import Chain, ChainConfig, FollowedChain, open_chain
from warmline.chain.transactions import Receipt
from warmline.chain.wallet import Wallet, dev_wallet
from warmline.env import SystemClock, SystemRng, run_in_thread
from warmline.store.store import Store, open_store

CLOCK = SystemClock()
PATIENCE_S = 60.0
NEVER_S = 3600.0
"""A period that no test reaches: blocks come from transactions only."""


@asynccontextmanager
async def devchain(folder: Path, *, period_s: float = NEVER_S, port: int = 0) -> AsyncIterator[DevChain]:
    async with open_devchain(DevChainSettings(folder, port, period_s), CLOCK, run_in_thread) as running:
        yield running


class Actors:
    """Governance, two issuers and supporters, acting at once and waiting for the receipt."""

    def __init__(self, rpc: Rpc, contracts: Contracts) -> None:
        self.rpc = rpc
        self.contracts = contracts
        self.governance, self.issuer, self.other_issuer, self.supporter, self.sponsor = map(dev_wallet, range(5))

    async def do(self, wallet: Wallet, call: Call) -> Receipt:
        planned = await transactions.plan(self.rpc, call, wallet.address)
        return await transactions.send(self.rpc, planned, wallet, deadline_s=PATIENCE_S)

    async def time_s(self) -> int:
        return int((await self.rpc.call("eth_getBlockByNumber", "latest", False))["timestamp"], 16)


@asynccontextmanager
async def actors(running: DevChain) -> AsyncIterator[Actors]:
    async with open_rpc(running.url) as rpc:
        yield Actors(rpc, Contracts(rpc, running.manifest))


@asynccontextmanager
async def followed(config: ChainConfig, store_path: Path) -> AsyncIterator[tuple[FollowedChain, Store]]:
    async with AsyncExitStack() as stack:
        opened = open_store(store_path, run_blocking=run_in_thread, clock=CLOCK, rng=SystemRng())
        store = await stack.enter_async_context(opened)
        chain: Chain = await stack.enter_async_context(open_chain(config, store, CLOCK, run_in_thread))
        assert isinstance(chain, FollowedChain)
        yield chain, store


async def until(chain: FollowedChain, condition: Callable[[], bool]) -> None:
    """Wait for changes of the chain until `condition` holds."""
    with trio.fail_after(PATIENCE_S):
        while not condition():
            with trio.move_on_after(0.2):  # a status may change without the head moving
                await chain.wait_change()


def warmline(*arguments: str) -> list[str]:
    """The command line of `warmline`, in this environment."""
    return [sys.executable, "-c", "from warmline.cli import main; main()", *arguments]


def find_anvil() -> str | None:
    """anvil from WARMLINE_ANVIL, the contracts' tools or the PATH; None where it is absent."""
    root = Path(__file__).parents[2] / "contracts" / "node_modules" / "@foundry-rs"
    installed = sorted(root.glob("anvil-*/bin/anvil")) if root.is_dir() else []
    return os.environ.get("WARMLINE_ANVIL") or (str(installed[0]) if installed else shutil.which("anvil"))


@asynccontextmanager
async def open_anvil() -> AsyncIterator[Rpc]:
    anvil = find_anvil()
    assert anvil is not None, "anvil must be installed where CI=true"
    command = [anvil, "--port", "0", "--hardfork", "prague", "--order", "fifo"]
    async with trio.open_nursery() as nursery:
        child: trio.Process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
        assert child.stdout is not None
        seen = b""
        with trio.fail_after(PATIENCE_S):
            while b"Listening on " not in seen or not seen.endswith(b"\n"):
                seen += await child.stdout.receive_some()
        where = seen.partition(b"Listening on ")[2].split()[0].decode()
        nursery.start_soon(_drain, child.stdout)
        async with open_rpc(f"http://{where}") as rpc:
            yield rpc
        nursery.cancel_scope.cancel()


needs_anvil = pytest.mark.skipif(
    find_anvil() is None and os.environ.get("CI") != "true",
    reason="anvil is not installed: npm ci in contracts/, or name it in WARMLINE_ANVIL",
)


def on_both_chains(embedded: object, anvil: object) -> pytest.MarkDecorator:
    """Run a test with ``opened`` as the one and as the other, which may be missing where CI is not."""
    return pytest.mark.parametrize("opened", [embedded, pytest.param(anvil, marks=needs_anvil)])


Opened = Callable[[Path], AbstractAsyncContextManager[Rpc]]


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Rpc]:
    async with devchain(folder / "chain") as running, open_rpc(running.url) as rpc:
        yield rpc


@asynccontextmanager
async def anvil(_: Path) -> AsyncIterator[Rpc]:
    """Its blocks are a second apart, however fast they come."""
    async with open_anvil() as rpc:
        await rpc.call("anvil_setBlockTimestampInterval", 1)
        yield rpc


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    while await stream.receive_some():
        pass
