"""A transaction that sticks is replaced for a higher fee, mined once, and never for more than was agreed to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from support.chain import PATIENCE_S, Actors, devchain, needs_anvil, open_anvil
from support.endpoints import endpoint
from warmline.chain import deployer, transactions
from warmline.chain.contracts import Contracts
from warmline.chain.devchain import dev_terms
from warmline.chain.errors import RpcError, TakenError
from warmline.chain.plans import dev_plan
from warmline.chain.provider import Rpc, open_rpc
from warmline.chain.transactions import CEILING, Plan, Receipt
from warmline.chain.wallet import dev_wallet
from warmline.env import run_in_thread
from warmline_protocol.errors import DeadlineError


@asynccontextmanager
async def waiting_room(folder: Path) -> AsyncIterator[tuple[Rpc, Actors, Plan]]:
    """anvil that mines only when it is told, and a bond that is priced."""
    async with open_anvil() as rpc:
        plan = dev_plan(dev_terms())
        manifest = await deployer.deploy(rpc, dev_wallet(0), plan, folder / "manifest.json", run_in_thread)
        act = Actors(rpc, Contracts(rpc, manifest))
        planned = await transactions.plan(rpc, act.contracts.bond(7), act.supporter.address)
        await rpc.call("evm_setAutomine", False)
        yield rpc, act, planned


async def pending_fee(rpc: Rpc, act: Actors) -> int:
    """What the supporter's transaction in the pool offers."""
    content = await rpc.call("txpool_content")
    mine = {who.lower(): each for who, each in content["pending"].items()}["0x" + act.supporter.address.hex()]
    (offer,) = mine.values()
    return int(offer["maxFeePerGas"], 16)


@needs_anvil
async def test_a_stuck_transaction_is_replaced_and_mined_once(tmp_path: Path) -> None:
    async with waiting_room(tmp_path) as (rpc, act, planned), trio.open_nursery() as nursery:
        told, enough = [], trio.Event()

        def tell(text: str) -> None:
            told.append(text)
            if len(told) == 2:
                enough.set()

        async def send() -> Receipt:
            return await transactions.send(
                rpc, planned, act.supporter, deadline_s=PATIENCE_S, patience_s=0.3, tell=tell
            )

        async def mine() -> None:
            await enough.wait()
            await rpc.call("anvil_mine", "0x1")

        nursery.start_soon(mine)
        receipt = await send()
        assert receipt.fee <= planned.fee_max
        assert await act.contracts.bond_of(act.supporter.address) == 7
        await rpc.call("anvil_mine", "0x2")
        assert await act.contracts.bond_of(act.supporter.address) == 7
        nonce = await rpc.call("eth_getTransactionCount", "0x" + act.supporter.address.hex(), "latest")
        assert int(nonce, 16) == planned.nonce + 1


@needs_anvil
async def test_no_offer_goes_beyond_what_was_agreed_to(tmp_path: Path) -> None:
    async with waiting_room(tmp_path) as (rpc, act, planned):
        assert planned.fee_ceiling == CEILING * planned.fee_per_gas
        with pytest.raises(DeadlineError, match="not mined"):
            await transactions.send(rpc, planned, act.supporter, deadline_s=4.0, patience_s=0.2)
        assert planned.fee_per_gas < await pending_fee(rpc, act) <= planned.fee_ceiling


@needs_anvil
async def test_a_wallet_that_holds_little_offers_no_more_than_it_holds(tmp_path: Path) -> None:
    async with waiting_room(tmp_path) as (rpc, act, planned):
        holds = planned.call.value + planned.gas * planned.fee_per_gas * 11 // 10
        await rpc.call("anvil_setBalance", "0x" + act.supporter.address.hex(), hex(holds))
        again = await transactions.plan(rpc, planned.call, act.supporter.address)
        assert again.fee_per_gas <= again.fee_ceiling < CEILING * again.fee_per_gas
        assert again.cost_max <= holds


@needs_anvil
async def test_another_transaction_under_the_same_number_is_told(tmp_path: Path) -> None:
    async with waiting_room(tmp_path) as (rpc, act, planned):
        other = await transactions.plan(rpc, act.contracts.bond(1), act.supporter.address)
        await rpc.call("evm_setAutomine", True)
        await transactions.send(rpc, other, act.supporter)
        with pytest.raises((TakenError, RpcError), match=r"took number|nonce"):
            await transactions.send(rpc, planned, act.supporter, deadline_s=PATIENCE_S)
        assert await act.contracts.bond_of(act.supporter.address) == 1


async def test_an_answer_that_is_lost_does_not_lose_the_transaction(tmp_path: Path) -> None:
    lost: list[Any] = []

    def swallow(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_sendRawTransaction" and not lost:
            lost.append(answer)
            raise trio.BrokenResourceError
        return answer

    async with devchain(tmp_path / "chain") as running, open_rpc(running.url) as behind, endpoint(behind) as between:
        between.change = swallow
        async with open_rpc(between.url) as rpc:
            act = Actors(rpc, Contracts(rpc, running.manifest))
            await act.do(act.supporter, act.contracts.bond(3))
            assert lost
            assert await act.contracts.bond_of(act.supporter.address) == 3
