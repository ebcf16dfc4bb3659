"""Feedback epochs from Python, on both chains: signed, posted, vetoed, and what stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_abi import encode

from support.chain import Actors, Opened, anvil, embedded, followed, on_both_chains, until
from support.collectors import SetClock
from support.endpoints import endpoint
from warmline.chain import deployer
from warmline.chain.conduct import ConductChain
from warmline.chain.contracts import Contracts, EpochPost
from warmline.chain.devchain import COLLECTORS, dev_terms
from warmline.chain.endpoints import DisagreeError, open_source
from warmline.chain.errors import RevertError, RpcGarbageError
from warmline.chain.plans import dev_plan
from warmline.chain.source import ChainConfig, FollowedChain
from warmline.chain.wallet import dev_wallet
from warmline.env import run_in_thread
from warmline_protocol.errors import ClockError

ROOTS = [bytes([number]) * 32 for number in range(1, 5)]
DATA = b"d" * 32


on_both = on_both_chains(embedded, anvil)


@asynccontextmanager
async def conducting(opened: Opened, tmp_path: Path) -> AsyncIterator[Actors]:
    """Epochs of four seconds and a window of three: every block of either chain takes a second at least."""
    async with opened(tmp_path) as rpc:
        plan = dev_plan(replace(dev_terms(), epoch_s=4, window_s=3))
        manifest = await deployer.deploy(rpc, dev_wallet(8), plan, tmp_path / "manifest.json", run_in_thread)
        act = Actors(rpc, Contracts(rpc, manifest))
        await act.do(dev_wallet(8), act.contracts.admit_issuer(act.issuer.address, bytes(32)))
        yield act


async def pass_blocks(act: Actors, count: int) -> None:
    for _ in range(count):
        await act.do(act.sponsor, act.contracts.bond(1))


def signed(act: Actors, conduct: EpochPost, *accounts: int) -> dict[bytes, bytes]:
    document = act.contracts.conduct_document(conduct)
    return {dev_wallet(one).address: dev_wallet(one).sign_typed(document) for one in accounts}


async def grant(act: Actors, count: int) -> int:
    """Vouchers for an epoch that is soon over."""
    epoch = int(await act.contracts._view("ConductEpochs", "currentEpoch")) + 1
    await act.do(act.issuer, act.contracts.grant_vouchers(epoch, count, b"k" * 32))
    return epoch


@on_both
async def test_a_root_stands_after_its_window_and_not_after_a_veto(tmp_path: Path, opened: Opened) -> None:
    async with conducting(opened, tmp_path) as act:
        c = act.contracts
        epoch = await grant(act, 10)
        await pass_blocks(act, 8)
        first = EpochPost(epoch, bytes(32), ROOTS[0], DATA, 10)
        await act.do(act.supporter, c.post_epoch(first, signed(act, first, *COLLECTORS[:2])))
        await pass_blocks(act, 3)
        assert await c.standing_epoch() == (epoch, ROOTS[0])
        second = EpochPost(epoch + 1, ROOTS[0], ROOTS[1], DATA, 0)
        await pass_blocks(act, 2)
        await act.do(act.supporter, c.post_epoch(second, signed(act, second, *COLLECTORS)))
        await act.do(dev_wallet(COLLECTORS[2]), c.veto_epoch(epoch + 1, ROOTS[1]))
        await pass_blocks(act, 4)
        assert await c.standing_epoch() == (epoch, ROOTS[0])
        with pytest.raises(RevertError, match="Vetoed"):
            await act.do(act.supporter, c.post_epoch(second, signed(act, second, *COLLECTORS)))


@on_both
async def test_what_collectors_did_not_sign_is_refused(tmp_path: Path, opened: Opened) -> None:
    async with conducting(opened, tmp_path) as act:
        c = act.contracts
        epoch = await grant(act, 10)
        await pass_blocks(act, 8)
        right = EpochPost(epoch, bytes(32), ROOTS[0], DATA, 10)
        good = signed(act, right, *COLLECTORS[:2])
        for wrong, error in [
            (c.post_epoch(replace(right, token_count=11), good), "TooManyTokens"),
            (c.post_epoch(replace(right, root=ROOTS[1]), good), "BadSignature"),
            (c.post_epoch(replace(right, data_hash=ROOTS[1]), good), "BadSignature"),
            (c.post_epoch(right, signed(act, right, COLLECTORS[0])), "TooFewSignatures"),
            (c.post_epoch(right, signed(act, right, 3, COLLECTORS[0])), "NotCollector"),
            (c.post_epoch(replace(right, epoch=epoch + 9), good), "EpochNotOver"),
        ]:
            with pytest.raises(RevertError, match=error):
                await act.do(act.supporter, wrong)
        assert await c.standing_epoch() == (0, bytes(32))


@on_both
async def test_a_node_follows_key_roots_and_collectors(tmp_path: Path, opened: Opened) -> None:
    async with conducting(opened, tmp_path) as act:
        manifest = act.contracts.manifest
        settings = ChainConfig(act.rpc.url, manifest, confirmations=2, poll_s=0.05)
        async with followed(settings, tmp_path / "node.db") as (chain, _):
            epoch = await grant(act, 30)
            await pass_blocks(act, 2)
            await until(chain, lambda: _root(chain, act, epoch) is not None)
            seen = chain.conduct()
            assert seen is not None
            assert _root(chain, act, epoch) == b"k" * 32
            assert seen.contract == manifest.address("ConductEpochs")
            assert (seen.length_s, seen.threshold) == (4, 2)
            assert sorted(seen.collectors) == sorted(dev_wallet(one).address for one in COLLECTORS)
            assert seen.genesis_s == await act.contracts._view("ConductEpochs", "GENESIS")
            kept = seen
        async with followed(settings, tmp_path / "node.db") as (chain, _):
            await until(chain, lambda: chain.conduct() is not None)
            assert chain.conduct() == kept


def _root(chain: FollowedChain, act: Actors, epoch: int) -> bytes | None:
    seen = chain.conduct()
    return None if seen is None else seen.key_root(act.issuer.address, epoch)


async def test_what_is_recomputed_rests_on_no_single_endpoint(tmp_path: Path) -> None:
    async with conducting(embedded, tmp_path) as act, endpoint(act.rpc) as other:
        await grant(act, 10)
        manifest = act.contracts.manifest
        alone = await ConductChain(act.rpc, manifest).now()

        def fewer(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            return answer | {"result": []} if request["method"] == "eth_getLogs" else answer

        def other_collectors(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            named = encode(["address[]", "uint8"], [["0x" + "11" * 20], 1])
            return answer | {"result": "0x" + named.hex()} if request["method"] == "eth_call" else answer

        async with open_source((act.rpc.url, other.url), deadline_s=30) as source:
            assert await ConductChain(act.rpc, manifest, source).now() == alone
            assert await ConductChain(act.rpc, manifest, source).terms()
            for lie in (fewer, other_collectors):
                other.change = lie
                with pytest.raises(DisagreeError):
                    await ConductChain(act.rpc, manifest, source).now()


async def test_the_time_is_that_of_a_block_and_not_what_one_endpoint_calls_the_newest(tmp_path: Path) -> None:
    async with conducting(embedded, tmp_path) as act, endpoint(act.rpc) as liar, endpoint(act.rpc) as third:
        manifest = act.contracts.manifest
        alone = await ConductChain(act.rpc, manifest).now()

        def newest(**says: Any) -> Any:
            def lie(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
                asked = request["method"] == "eth_getBlockByNumber" and request["params"][0] == "latest"
                return answer | {"result": {"number": answer["result"]["number"]} | says} if asked else answer

            return lie

        for lie in (newest(timestamp=hex(1 << 40)), newest()):
            liar.change = lie
            async with open_source((liar.url, act.rpc.url, third.url), deadline_s=30) as source:
                assert await ConductChain(act.rpc, manifest, source).now() == alone
        liar.change = lambda _, answer: answer | {"result": {"number": "0x1"}}
        async with open_source((liar.url,), deadline_s=30) as source:
            with pytest.raises(RpcGarbageError, match="without a timestamp"):
                await ConductChain(act.rpc, manifest, source).now()
            for rubbish in (None, {}, {"number": 3, "timestamp": "0x1"}, {"number": "0x-1"}, "latest"):
                liar.change = lambda _, answer, said=rubbish: answer | {"result": said}  # type: ignore[misc]
                with pytest.raises(RpcGarbageError, match="without a number"):
                    await ConductChain(act.rpc, manifest, source).now()


async def test_a_chain_of_another_hour_is_refused_by_a_clock(tmp_path: Path) -> None:
    async with conducting(embedded, tmp_path) as act:
        manifest = act.contracts.manifest
        clock = SetClock()
        assert await ConductChain(act.rpc, manifest, clock=clock).now()
        clock.ahead_ms += 2 * 3_600_000
        with pytest.raises(ClockError, match="behind this machine's clock"):
            await ConductChain(act.rpc, manifest, clock=clock).now()
