"""A real reorganisation, on anvil: the same contracts on another implementation of the chain."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from eth_abi.abi import encode
from eth_hash.auto import keccak

from support.chain import PATIENCE_S, Actors, find_anvil, followed, until
from warmline.chain.artefact import artefact
from warmline.chain.contracts import Call, Contracts, type_id_of
from warmline.chain.events import unhex
from warmline.chain.manifest import Deployed, Manifest
from warmline.chain.provider import Rpc, open_rpc
from warmline.chain.source import ChainConfig, FollowedChain
from warmline.chain.transactions import wait_receipt
from warmline.chain.wallet import dev_wallet

ANVIL = find_anvil()
TYPE = type_id_of("peer-supporter")
pytestmark = pytest.mark.skipif(
    ANVIL is None and os.environ.get("CI") != "true",
    reason="anvil is not installed: npm ci in contracts/, or name it in WARMLINE_ANVIL",
)


@asynccontextmanager
async def anvil() -> AsyncIterator[Rpc]:
    assert ANVIL is not None, "anvil must be installed where CI=true"
    command = [ANVIL, "--port", "0", "--hardfork", "prague", "--order", "fifo"]
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


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    while await stream.receive_some():
        pass


async def deploy(rpc: Rpc) -> Manifest:
    governance = dev_wallet(0)
    who = "0x" + governance.address.hex()
    contracts: dict[str, Deployed] = {}
    for name in ("AccessManager", "CredentialRegistry", "DelegateRegistry", "SupporterBond"):
        arguments = {
            "AccessManager": lambda: encode(["address"], [who]),
            "CredentialRegistry": lambda: encode(["address"], ["0x" + contracts["AccessManager"].address.hex()]),
            "DelegateRegistry": lambda: b"",
            "SupporterBond": lambda: encode(["uint64"], [60]),
        }[name]()
        data = "0x" + (artefact(name).bytecode + arguments).hex()
        sent = await rpc.call("eth_sendTransaction", {"from": who, "data": data, "gas": hex(6_000_000)})
        await wait_receipt(rpc, unhex(sent), deadline_s=PATIENCE_S)
        receipt = await rpc.call("eth_getTransactionReceipt", sent)
        code = await rpc.call("eth_getCode", receipt["contractAddress"], "latest")
        contracts[name] = Deployed(unhex(receipt["contractAddress"]), bytes(keccak(unhex(code))))
    return Manifest(int(await rpc.call("eth_chainId"), 16), 1, contracts)


def valid(chain: FollowedChain, who: bytes) -> bool:
    head, standing = chain.head(), chain.of(who)
    return head is not None and standing is not None and standing.holds(TYPE, head.time_s)


async def at_head(chain: FollowedChain, rpc: Rpc) -> None:
    with trio.fail_after(PATIENCE_S):
        while True:
            head = await rpc.call("eth_getBlockByNumber", "latest", False)
            ours = chain.head()
            if ours is not None and ours.hash == unhex(head["hash"]):
                return
            with trio.move_on_after(0.2):
                await chain.wait_change()


async def test_a_reorganisation_takes_back_what_it_drops(tmp_path: Path) -> None:
    async with anvil() as rpc:
        manifest = await deploy(rpc)
        act = Actors(rpc, Contracts(rpc, manifest))
        who, c = act.supporter.address, act.contracts
        settings = ChainConfig(rpc.url, manifest, confirmations=3, poll_s=0.05)
        async with followed(settings, tmp_path / "node.db") as (chain, _):
            end = await act.time_s() + 86_400
            await act.do(act.governance, c.admit_issuer(act.issuer.address, bytes(32)))
            await act.do(act.issuer, c.register_type(TYPE, bytes(32)))
            await act.do(act.issuer, c.issue(who, TYPE, end))
            await at_head(chain, rpc)
            assert not valid(chain, who)  # good news waits for finality
            await rpc.call("anvil_mine", "0x2")
            await until(chain, lambda: valid(chain, who))
            # Bad news acts at the first block ...
            await act.do(act.supporter, c.bond(5))
            await act.do(act.issuer, c.revoke(who, TYPE, "unspecified"))
            await until(chain, lambda: not valid(chain, who))
            # ... and goes when a reorganisation drops that block.
            await rpc.call("anvil_reorg", 2, [])
            await rpc.call("anvil_mine", "0x1")
            await at_head(chain, rpc)
            assert valid(chain, who) == await c.is_valid(who, TYPE)
            assert chain.status().reorgs >= 1
            await rpc.call("anvil_mine", "0x3")
            await at_head(chain, rpc)
            assert valid(chain, who) == await c.is_valid(who, TYPE)
            standing = chain.of(who)
            assert standing is not None
            assert standing.bond_wei == await c.bond_of(who)
        # What was saved through all that is the chain as it is now.
        async with followed(settings, tmp_path / "node.db") as (chain, _):
            await at_head(chain, rpc)
            assert valid(chain, who) == await c.is_valid(who, TYPE)
            assert chain.status().reorgs == 0


async def test_a_reorganisation_while_the_node_was_down_is_found(tmp_path: Path) -> None:
    async with anvil() as rpc:
        manifest = await deploy(rpc)
        act = Actors(rpc, Contracts(rpc, manifest))
        who = act.supporter.address
        settings = ChainConfig(rpc.url, manifest, confirmations=5, poll_s=0.05)
        async with followed(settings, tmp_path / "node.db") as (chain, _):
            await act.do(act.supporter, act.contracts.bond(5))
            await rpc.call("anvil_mine", "0x2")
            await at_head(chain, rpc)
        await rpc.call("anvil_reorg", 3, [])
        await rpc.call("anvil_mine", "0x1")
        async with followed(settings, tmp_path / "node.db") as (chain, _):
            await at_head(chain, rpc)
            await rpc.call("anvil_mine", "0x6")
            await at_head(chain, rpc)
            standing = chain.of(who)
            assert (standing.bond_wei if standing else 0) == await act.contracts.bond_of(who)


async def test_deeper_than_finality_the_chain_is_read_again(tmp_path: Path) -> None:
    async with anvil() as rpc:
        manifest = await deploy(rpc)
        act = Actors(rpc, Contracts(rpc, manifest))
        who = act.supporter.address
        settings = ChainConfig(rpc.url, manifest, confirmations=1, poll_s=0.05)
        async with followed(settings, tmp_path / "node.db") as (chain, _):
            await act.do(act.supporter, act.contracts.bond(5))
            await at_head(chain, rpc)
            await rpc.call("anvil_reorg", 1, [])
            await rpc.call("anvil_mine", "0x2")
            await at_head(chain, rpc)
            standing = chain.of(who)
            assert (standing.bond_wei if standing else 0) == await act.contracts.bond_of(who)


async def test_a_transaction_that_another_one_overtakes_is_explained(tmp_path: Path) -> None:
    from warmline.chain import transactions
    from warmline.chain.errors import RpcError

    async with anvil() as rpc:
        manifest = await deploy(rpc)
        act = Actors(rpc, Contracts(rpc, manifest))
        call: Call = act.contracts.bond(5)
        first, second = [await transactions.plan(rpc, call, act.supporter.address) for _ in range(2)]
        await transactions.send(rpc, first, act.supporter, deadline_s=PATIENCE_S)
        with pytest.raises(RpcError, match="nonce"):
            await transactions.send(rpc, second, act.supporter, deadline_s=PATIENCE_S)
        assert await act.contracts.bond_of(act.supporter.address) == 5
