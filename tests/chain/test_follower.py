"""Standing as a node follows it on the embedded chain, through restarts and failures, held to the contracts' word."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from support.chain import CLOCK, PATIENCE_S, Actors, actors, devchain, followed, until
from support.processes import start
from warmline.chain import checkpoint
from warmline.chain.contracts import type_id_of
from warmline.chain.devchain import DevChain
from warmline.chain.errors import ManifestError
from warmline.chain.manifest import Deployed, Manifest
from warmline.chain.source import ChainConfig, ChainState, FollowedChain, NullChain, open_chain
from warmline.env import SystemRng, run_in_thread
from warmline.store.store import MEMORY, open_store
from warmline_protocol.records.standing import Standing

TYPE = type_id_of("peer-supporter")
OTHER = type_id_of("facilitator")


def config(running: DevChain) -> ChainConfig:
    return ChainConfig(running.url, running.manifest, poll_s=0.02)


async def credentialed(act: Actors, days: int = 90) -> None:
    await act.do(act.governance, act.contracts.admit_issuer(act.issuer.address, bytes(32)))
    await act.do(act.issuer, act.contracts.register_type(TYPE, bytes(32)))
    end = await act.time_s() + days * 86_400
    await act.do(act.issuer, act.contracts.issue(act.supporter.address, TYPE, end))


def holds(chain: FollowedChain, wallet: bytes, type_id: bytes = TYPE) -> bool:
    head, standing = chain.head(), chain.of(wallet)
    return head is not None and standing is not None and standing.holds(type_id, head.time_s)


async def caught_up(chain: FollowedChain, act: Actors) -> None:
    number = int(await act.rpc.call("eth_blockNumber"), 16)
    await until(chain, lambda: (head := chain.head()) is not None and head.number >= number)


async def test_the_whole_life_of_a_supporter_is_followed(tmp_path: Path) -> None:
    async with (
        devchain(tmp_path / "chain") as running,
        actors(running) as act,
        followed(config(running), tmp_path / "node.db") as (chain, _),
    ):
        who = act.supporter.address
        assert chain.of(who) is None
        await credentialed(act)
        await until(chain, lambda: holds(chain, who))
        await act.do(act.supporter, act.contracts.bond(5))
        await act.do(act.sponsor, act.contracts.bond_for(who, 7))
        await act.do(act.supporter, act.contracts.queue_exit(2))
        await act.do(act.supporter, act.contracts.set_delegate(b"k" * 32, await act.time_s() + 1000))
        await caught_up(chain, act)
        standing = chain.of(who)
        assert standing is not None
        assert (standing.bond_wei, standing.exiting_wei) == (10, 2)
        assert standing.bond_wei == await act.contracts.bond_of(who)
        assert standing.delegate_until(b"k" * 32) == await act.contracts.delegate_until(who, b"k" * 32) > 0
        await act.do(act.supporter, act.contracts.revoke_before(await act.time_s()))
        await act.do(act.issuer, act.contracts.revoke(who, TYPE, "privilegeWithdrawn"))
        await until(chain, lambda: not holds(chain, who))
        await caught_up(chain, act)
        standing = chain.of(who)
        assert standing is not None
        assert standing.delegates == ()
        assert standing.revoked_before_s == await act.contracts.revoked_before(who) > 0
        assert chain.status().state is ChainState.LIVE


async def test_our_fold_agrees_with_the_contract_s_own_view(tmp_path: Path) -> None:
    """After every act, for both holders and types: `holds` is `isValid`."""
    async with (
        devchain(tmp_path / "chain") as running,
        actors(running) as act,
        followed(config(running), tmp_path / "node.db") as (chain, _),
    ):
        c, one, two = act.contracts, act.issuer.address, act.other_issuer.address
        end = await act.time_s() + 86_400
        steps = [
            (act.governance, c.admit_issuer(one, bytes(32))),
            (act.governance, c.admit_issuer(two, bytes(32))),
            (act.issuer, c.register_type(TYPE, bytes(32))),
            (act.other_issuer, c.register_type(OTHER, bytes(32))),
            (act.issuer, c.issue(act.supporter.address, TYPE, end)),
            (act.other_issuer, c.issue(act.supporter.address, OTHER, end)),
            (act.other_issuer, c.issue(act.sponsor.address, OTHER, end)),
            (act.governance, c.remove_issuer(two)),
            (act.governance, c.admit_issuer(two, bytes(32))),
            (act.other_issuer, c.issue(act.sponsor.address, OTHER, end)),
            (act.supporter, c.renounce(one, TYPE)),
            (act.issuer, c.issue(act.supporter.address, TYPE, end)),
            (act.governance, c.suspend_issuer(one, end)),
            (act.governance, c.suspend_issuer(one, 0)),
            (act.issuer, c.revoke(act.supporter.address, TYPE, "superseded")),
            (act.other_issuer, c.resign()),
            (act.governance, c.remove_issuer(two)),
        ]
        for wallet, call in steps:
            await act.do(wallet, call)
            await caught_up(chain, act)
            for holder in (act.supporter.address, act.sponsor.address):
                for type_id in (TYPE, OTHER):
                    assert holds(chain, holder, type_id) == await c.is_valid(holder, type_id), call.says


async def test_it_resumes_from_the_store_without_missing_or_doubling(tmp_path: Path) -> None:
    async with devchain(tmp_path / "chain") as running, actors(running) as act:
        who = act.supporter.address
        async with followed(config(running), tmp_path / "node.db") as (chain, _):
            await act.do(act.supporter, act.contracts.bond(5))
            await caught_up(chain, act)
        await act.do(act.supporter, act.contracts.bond(7))
        for _ in range(3):
            async with followed(config(running), tmp_path / "node.db") as (chain, _):
                before = chain.of(who)
                assert before is not None
                assert before.bond_wei >= 5  # at once, from the store
                await caught_up(chain, act)
                after = chain.of(who)
                assert after is not None
                assert after.bond_wei == 12


async def follow_and_die(
    ready: Callable[[dict[str, Any]], None], url: str, manifest: str, path: str, after: int
) -> None:
    """In a child: follow, and be killed inside the transaction that comes after so many others."""
    writes, saved = 0, checkpoint.save

    def save(conn: apsw.Connection, step: checkpoint.Step) -> None:
        nonlocal writes
        saved(conn, step)
        writes += 1
        if writes > after:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save = save
    ready({})
    async with followed(ChainConfig(url, Path(manifest), poll_s=0.01), Path(path)):
        await trio.sleep_forever()


async def test_killed_in_the_middle_of_a_write_it_resumes_exactly(tmp_path: Path) -> None:
    async with devchain(tmp_path / "chain") as running, actors(running) as act:
        for amount in range(1, 41):
            await act.do(act.supporter, act.contracts.bond(amount))
        for after in (0, 0, 1):
            options = {"url": running.url, "manifest": str(running.manifest_path), "path": str(tmp_path / "node.db")}
            child = await trio.to_thread.run_sync(partial(start, __file__, "follow_and_die", **options, after=after))
            with trio.fail_after(PATIENCE_S):
                assert await trio.to_thread.run_sync(child.process.wait) == -signal.SIGKILL
            child.stop()
        async with followed(config(running), tmp_path / "node.db") as (chain, _):
            await caught_up(chain, act)
            standing = chain.of(act.supporter.address)
            assert standing is not None
            assert standing.bond_wei == sum(range(1, 41))


async def test_an_unreachable_chain_leaves_a_node_running_and_says_so(tmp_path: Path) -> None:
    async with devchain(tmp_path / "chain") as running, actors(running) as act:
        port = int(running.url.rpartition(":")[2])
        await act.do(act.supporter, act.contracts.bond(5))
        async with followed(config(running), tmp_path / "node.db") as (chain, _):
            await caught_up(chain, act)
    settings = ChainConfig(running.url, running.manifest, poll_s=0.02)
    async with followed(settings, tmp_path / "node.db") as (chain, _):
        await until(chain, lambda: chain.status().state is ChainState.LAGGING)
        status = chain.status()
        assert status.hint is not None
        assert "chain dev" in status.hint
        assert status.lag_s is not None
        known = chain.of(act.supporter.address)
        assert known is not None
        assert known.bond_wei == 5
        async with devchain(tmp_path / "chain", port=port):
            await until(chain, lambda: chain.status().state is ChainState.LIVE)


async def test_a_chain_never_reached_knows_nobody(tmp_path: Path) -> None:
    async with devchain(tmp_path / "chain") as running:
        pass
    async with followed(config(running), tmp_path / "node.db") as (chain, _):
        await until(chain, lambda: chain.status().state is ChainState.LAGGING)
        assert chain.head() is None
        assert chain.of(bytes(20)) is None


async def test_a_chain_that_began_anew_is_read_anew(tmp_path: Path) -> None:
    async with devchain(tmp_path / "one") as running, actors(running) as act:
        port = int(running.url.rpartition(":")[2])
        who = act.supporter.address
        genesis_s = int((await act.rpc.call("eth_getBlockByNumber", "0x0", False))["timestamp"], 16)
        for _ in range(5):
            await act.do(act.supporter, act.contracts.bond(5))
        async with followed(config(running), tmp_path / "node.db") as (chain, _):
            await caught_up(chain, act)
    await trio.sleep(max(0, genesis_s + 1 - CLOCK.utc_ms() / 1000))  # or the new chain would have the same genesis
    async with (
        devchain(tmp_path / "two", port=port) as again,
        actors(again) as act,
        followed(config(again), tmp_path / "node.db") as (chain, _),
    ):
        await act.do(act.supporter, act.contracts.bond(1))
        await until(chain, lambda: (found := chain.of(who)) is not None and found.bond_wei == 1)
        assert chain.status().state is ChainState.LIVE


@pytest.mark.parametrize("wrong", ["chain", "code", "address"])
async def test_wrong_contracts_are_never_believed(tmp_path: Path, wrong: str) -> None:
    async with devchain(tmp_path / "chain") as running:
        right = running.manifest
        at = right.contracts["SupporterBond"]
        bad = {"code": Deployed(at.address, bytes(32)), "address": Deployed(b"\x01" * 20, at.code_hash), "chain": at}[
            wrong
        ]
        chain_id = right.chain_id + (wrong == "chain")
        manifest = Manifest(chain_id, right.start_block, {**right.contracts, "SupporterBond": bad})
        async with followed(ChainConfig(running.url, manifest, poll_s=0.02), tmp_path / "node.db") as (chain, _):
            await until(chain, lambda: chain.status().problem is not None)
            assert chain.head() is None
            assert chain.status().hint


async def test_standing_is_read_in_microseconds(tmp_path: Path) -> None:
    async with (
        devchain(tmp_path / "chain") as running,
        actors(running) as act,
        followed(config(running), tmp_path / "node.db") as (chain, _),
    ):
        await credentialed(act)
        await caught_up(chain, act)
        who = act.supporter.address
        took = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(10_000):
                chain.of(who)
            took.append((time.perf_counter() - start) / 10_000)
        assert min(took) < 20e-6


async def test_no_chain_is_a_chain_that_says_nothing(tmp_path: Path) -> None:
    async with (
        open_store(MEMORY, run_blocking=run_in_thread, clock=CLOCK, rng=SystemRng()) as store,
        open_chain(ChainConfig(), store, CLOCK, run_in_thread) as chain,
    ):
        assert isinstance(chain, NullChain)
        assert chain.head() is None
        assert chain.of(bytes(20)) is None
        assert chain.status().state is ChainState.NONE


async def test_a_url_without_a_manifest_is_a_configuration_error() -> None:
    async with open_store(MEMORY, run_blocking=run_in_thread, clock=CLOCK, rng=SystemRng()) as store:
        with pytest.raises(ManifestError):
            async with open_chain(ChainConfig("http://127.0.0.1:1"), store, CLOCK, run_in_thread):
                pass
        with pytest.raises(ManifestError):
            missing = ChainConfig("http://127.0.0.1:1", Path("does-not-exist"))
            async with open_chain(missing, store, CLOCK, run_in_thread):
                pass


async def test_a_long_history_is_fetched_in_spans(tmp_path: Path) -> None:
    async with devchain(tmp_path / "chain") as running, actors(running) as act:
        for _ in range(60):
            await act.do(act.sponsor, act.contracts.bond_for(act.supporter.address, 1))
        async with followed(config(running), tmp_path / "node.db") as (chain, store):
            await caught_up(chain, act)
            standing: Standing | None = chain.of(act.supporter.address)
            assert standing is not None
            assert standing.bond_wei == 60
            # Far fewer writes than blocks.
            assert store.statistics().writes < 20
