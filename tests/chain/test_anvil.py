"""A real reorganisation, on anvil: the same contracts on another implementation of the chain."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from support.chain import PATIENCE_S, Actors, followed, needs_anvil, open_anvil, until
from warmline.chain import deployer
from warmline.chain.contracts import Call, Contracts, type_id_of
from warmline.chain.devchain import dev_terms
from warmline.chain.events import unhex
from warmline.chain.manifest import Manifest
from warmline.chain.plans import dev_plan
from warmline.chain.provider import Rpc
from warmline.chain.source import ChainConfig, FollowedChain
from warmline.chain.wallet import dev_wallet
from warmline.env import run_in_thread

TYPE = type_id_of("peer-supporter")
pytestmark = needs_anvil


async def deploy(rpc: Rpc, folder: Path) -> Manifest:
    plan = dev_plan(dev_terms())
    return await deployer.deploy(rpc, dev_wallet(0), plan, folder / "manifest.json", run_in_thread)


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
    async with open_anvil() as rpc:
        manifest = await deploy(rpc, tmp_path)
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
    async with open_anvil() as rpc:
        manifest = await deploy(rpc, tmp_path)
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
    async with open_anvil() as rpc:
        manifest = await deploy(rpc, tmp_path)
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

    async with open_anvil() as rpc:
        manifest = await deploy(rpc, tmp_path)
        act = Actors(rpc, Contracts(rpc, manifest))
        call: Call = act.contracts.bond(5)
        first, second = [await transactions.plan(rpc, call, act.supporter.address) for _ in range(2)]
        await transactions.send(rpc, first, act.supporter, deadline_s=PATIENCE_S)
        with pytest.raises(RpcError, match="nonce"):
            await transactions.send(rpc, second, act.supporter, deadline_s=PATIENCE_S)
        assert await act.contracts.bond_of(act.supporter.address) == 5
