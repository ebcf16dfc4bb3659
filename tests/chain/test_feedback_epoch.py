"""An epoch of feedback through the contract, with nothing made up: vouchers and key root granted by an issuer, tokens
signed, ratings collected by three, the root posted under two signatures, and what stands recomputed from the batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from support.chain import Actors, Opened, anvil, embedded, on_both_chains
from support.feedback import World, rsa_key, wallet
from warmline.chain import deployer
from warmline.chain.contracts import Contracts, EpochPost
from warmline.chain.devchain import COLLECTORS, dev_terms
from warmline.chain.errors import RevertError
from warmline.chain.plans import dev_plan
from warmline.chain.wallet import dev_wallet
from warmline.env import run_in_thread
from warmline_protocol.feedback.batch import Ledger
from warmline_protocol.feedback.collect import Collector
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.messages import EpochVote, SetAnnouncement
from warmline_protocol.feedback.sheets import check_vote, epoch_digest, set_digest

on_both = on_both_chains(embedded, anvil)


async def view(act: Actors, name: str, *arguments: object) -> int:
    return int(await act.contracts._view("ConductEpochs", name, *arguments))


async def pass_until(act: Actors, epoch: int) -> None:
    """Blocks until ``epoch`` has begun, and two more: a view may be a block ahead of what is mined next."""
    while await view(act, "currentEpoch") < epoch:
        await act.do(act.sponsor, act.contracts.bond(1))
    await pass_blocks(act, 2)


async def pass_blocks(act: Actors, count: int) -> None:
    for _ in range(count):
        await act.do(act.sponsor, act.contracts.bond(1))


@on_both
async def test_an_epoch_of_feedback_stands(tmp_path: Path, opened: Opened) -> None:
    async with opened(tmp_path) as rpc:
        plan = dev_plan(dataclasses.replace(dev_terms(), epoch_s=8, window_s=3))
        manifest = await deployer.deploy(rpc, dev_wallet(8), plan, tmp_path / "manifest.json", run_in_thread)
        act = Actors(rpc, Contracts(rpc, manifest))
        await act.do(dev_wallet(8), act.contracts.admit_issuer(act.issuer.address, bytes(32)))
        epochs = Epochs(await view(act, "GENESIS"), await view(act, "EPOCH"))
        chain_id, contract = manifest.chain_id, manifest.address("ConductEpochs")

        # An issuer grants vouchers for two epochs: one in which people talk, and one in which their ratings arrive.
        world = World(supporters=("ana",), vouchers=10)
        world.issuer = act.issuer.address
        rsa_key(0)  # so that the epoch is not over before its key is made
        rated = await view(act, "currentEpoch") + 1
        for epoch in (rated, rated + 1):
            made = world.open(epoch)
            await act.do(act.issuer, act.contracts.grant_vouchers(epoch, made.vouchers, made.root))
        roots = {
            e: bytes(await act.contracts._view("ConductEpochs", "keyRootOf", world.issuer, e))
            for e in (rated, rated + 1)
        }
        assert roots[rated] == world.issuers[rated].root

        def root_of(issuer: bytes, epoch: int) -> bytes | None:
            return roots.get(epoch) if issuer == world.issuer else None

        ratings = [world.ticket("ana", rated).rate(number > 1, epochs, world.draw) for number in range(10)]
        collectors = [Collector(epochs, Ledger(chain_id, contract, root_of)) for _ in range(3)]
        for number, rating in enumerate(ratings):
            for each in (collectors[number % 3], collectors[(number + 1) % 3]):
                each.accept(rating, epochs.end(rated + 1) - 1)
        for one in collectors:
            for two in collectors:
                held = two.cut_off(rated + 1)
                said = SetAnnouncement(rated + 1, bytes(20), len(held), set_digest(held), bytes(32), bytes(64))
                one.merge(said, held)
        vouchers = await view(act, "vouchersOf", rated + 1)
        (data,) = {each.batch(rated + 1, vouchers, chain_id, contract) for each in collectors}
        found = Ledger(chain_id, contract, root_of).check(data, vouchers)
        assert found.totals[wallet("ana")].tokens == found.tokens == 10

        # Two of three sign, as their wallets show it and as the protocol hashes it; anybody posts.
        conduct = EpochPost(found.epoch, bytes(32), found.root, found.data_hash, found.tokens)
        document = act.contracts.conduct_document(conduct)
        signed = {dev_wallet(one).address: dev_wallet(one).sign_typed(document) for one in COLLECTORS[:2]}
        for collector, signature in signed.items():
            vote = EpochVote(found.epoch, bytes(32), found.root, found.data_hash, found.tokens, collector, signature)
            check_vote(chain_id, contract, vote)
            digest = bytes(
                await act.contracts._view(
                    "ConductEpochs", "epochDigest", found.epoch, bytes(32), found.root, found.data_hash, found.tokens
                )
            )
            assert digest == epoch_digest(chain_id, contract, vote)
        with pytest.raises(RevertError, match="EpochNotOver"):
            await act.do(act.supporter, act.contracts.post_epoch(conduct, signed))
        await pass_until(act, rated + 2)
        await act.do(act.supporter, act.contracts.post_epoch(conduct, signed))
        posted = {"epoch": found.epoch, "root": found.root, "data_hash": found.data_hash, "tokens": found.tokens}
        for each in collectors:
            assert each.objections(data, vouchers, posted) == ()
        await pass_blocks(act, 4)
        assert await act.contracts.standing_epoch() == (found.epoch, found.root)
        for each in collectors:
            each.settle(found)
            assert each.held == {}
