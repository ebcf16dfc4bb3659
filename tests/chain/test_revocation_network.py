"""A revocation on anvil, seen by three real nodes and by an open client, and a reorganisation that takes it back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from support.chain import Actors, needs_anvil, open_anvil
from support.commands import PASSPHRASE, Network, run
from warmline.chain import deployer
from warmline.chain.contracts import Contracts, type_id_of
from warmline.chain.devchain import dev_terms
from warmline.chain.plans import dev_plan
from warmline.chain.provider import Rpc
from warmline.chain.wallet import dev_wallet
from warmline.client.line import Line, pick_up
from warmline.client.matching import Wanted
from warmline.env import SystemClock, SystemRng, run_in_thread

PROMISED_S = 30.0
PATIENCE_S = 120.0
MARTA = 3
TYPE = type_id_of("peer-supporter")
LISTINGS = 27

pytestmark = needs_anvil


@dataclass
class Scene:
    rpc: Rpc
    act: Actors
    network: Network
    client: Line

    async def verified(self) -> bool:
        """What a client that was there all the time shows now."""
        collection, _ = await self.client.finder.collect(Wanted())
        found = collection.supporters(Wanted(), self.client.client.clock.utc_ms())
        return any(one.vouching.verified and one.vouching.agree == 3 for one in found)

    async def listings(self) -> list[int]:
        """How many each node holds."""
        asked = [await trio.to_thread.run_sync(partial(node.ask, "status")) for node in self.network.nodes]
        return [status["directory"]["listings"] for status in asked]

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc.call("anvil_mine", hex(blocks))


async def until(condition: Callable[[], Any]) -> float:
    """Seconds until ``condition`` holds."""
    started = trio.current_time()
    with trio.fail_after(PATIENCE_S):
        while not await condition():  # each look asks real nodes, which takes its time
            pass
    return trio.current_time() - started


@asynccontextmanager
async def a_scene(folder: Path) -> AsyncIterator[Scene]:
    async with open_anvil() as rpc:
        manifest_file = folder / "manifest.json"
        manifest = await deployer.deploy(rpc, dev_wallet(0), dev_plan(dev_terms()), manifest_file, run_in_thread)
        act = Actors(rpc, Contracts(rpc, manifest))
        wallet = dev_wallet(MARTA).address
        await act.do(act.governance, act.contracts.admit_issuer(act.issuer.address, bytes(32)))
        await act.do(act.issuer, act.contracts.register_type(TYPE, bytes(32)))
        await act.do(act.issuer, act.contracts.issue(wallet, TYPE, await act.time_s() + 30 * 86_400))
        await act.do(dev_wallet(MARTA), act.contracts.bond(10**17))
        chain = ("--chain", rpc.url, "--manifest", str(manifest_file))
        network = Network(folder)
        try:
            await trio.to_thread.run_sync(partial(people, network, chain, folder))
            (entry,) = network.entry[1:]
            line = await pick_up((entry,), rng=SystemRng(), clock=SystemClock(), run_blocking=run_in_thread)
            yield Scene(rpc, act, network, line)
        finally:
            with trio.move_on_after(PATIENCE_S, shield=True):
                await trio.to_thread.run_sync(network.close)


def people(network: Network, chain: tuple[str, ...], folder: Path) -> None:
    """Three nodes of different operators, and Marta with her card and a week of groups."""
    for _ in range(3):
        network.start_node(*chain)
    for node in network.nodes:
        node.wait_status("nodes_known", lambda known: known == 3)
    marta = str(folder / "marta")
    done = run("supporter", "register", "--dev-account", str(MARTA), "--yes", *chain, "--data", marta)
    assert done.returncode == 0, done.stderr
    card = ("--name", "Marta", "--language", "en", "--topic", "grief", "--credential", "peer-supporter")
    done = run("supporter", "card", *card, "--data", marta, *network.entry, passphrase=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    week = Path(__file__).parents[2] / "deploy" / "examples" / "weekly_programme.toml"
    done = run("groups", "publish", str(week), "--data", marta, *network.entry, passphrase=PASSPHRASE)
    assert done.returncode == 0, done.stderr


async def test_a_revocation_goes_everywhere_and_a_reorganisation_brings_the_word_and_the_groups_back(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with a_scene(tmp_path) as scene:
        await scene.mine(80)  # anvil calls final what is two epochs old
        await until(scene.verified)
        await until(lambda: _all(scene, LISTINGS))
        await scene.act.do(scene.act.issuer, scene.act.contracts.revoke(dev_wallet(MARTA).address, TYPE, "unspecified"))
        gone = await until(lambda: _not(scene.verified))
        dropped = await until(lambda: _all(scene, 0))
        await scene.rpc.call("anvil_reorg", 1, [])
        await scene.mine(3)
        back = await until(scene.verified)
        listed = await until(lambda: _all(scene, LISTINGS))
        print(f"revoked: not verified after {gone:.1f} s, listings dropped {dropped:.1f} s later")
        print(f"taken back: verified after {back:.1f} s, listings there again {listed:.1f} s later")
        for name, value in (("gone_s", gone), ("dropped_s", dropped), ("back_s", back), ("listed_s", listed)):
            record_property(name, round(value, 1))
        assert gone < PROMISED_S
        assert back < PROMISED_S
        assert listed < PROMISED_S  # nobody published them again


async def _all(scene: Scene, count: int) -> bool:
    return await scene.listings() == [count] * 3


async def _not(condition: Callable[[], Any]) -> bool:
    return not await condition()
