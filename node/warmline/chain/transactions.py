"""From a `Call` to a mined receipt: preflight, price, sign, send, wait, and pay more where it sticks.

Everything is tried with eth_call first, so that a contract's refusal is told in words before anything is signed or
paid. Fees are EIP-1559: twice the present base fee plus the usual tip, which six full blocks in a row do not outrun.
What is not mined in a while is sent again under the same nonce for a higher fee: one of the two is mined, never both.
No price goes beyond what the person agreed to, which is why a plan's ceiling leaves room for replacements.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio
from eth_hash.auto import keccak

from warmline.chain.contracts import Call, coins, shown
from warmline.chain.errors import ChainUnreachableError, FundsError, RevertError, RpcError, TakenError
from warmline.chain.provider import Rpc
from warmline.chain.reverts import explain_revert
from warmline.chain.wallet import Wallet
from warmline_protocol.errors import DeadlineError

log = logging.getLogger(__name__)

GAS_MARGIN = 1.2
"""Over the estimate: state may change before the transaction is mined."""
POLL_S = 0.25
PATIENCE_S = 30.0
"""Seconds that an offer stands before a higher one replaces it: two blocks and a half of the main net."""
CEILING = 3
"""Times the first offer that the last may be; less where the wallet does not hold it."""
RAISE_PERCENT = 125
REPLACEMENT_PERCENT = 110
TAKEN_AFTER = 8
"""Polls in a row that must find our number used by something else."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A priced call. `fee_per_gas` is offered first, `fee_ceiling` at last; both in wei a gas.

    `cost_max` in wei is fee and value together, at most; what is not used is not taken.
    """

    call: Call
    sender: bytes
    chain_id: int
    nonce: int
    gas: int
    fee_per_gas: int
    tip_per_gas: int
    fee_ceiling: int

    @property
    def fee_max(self) -> int:
        return self.gas * self.fee_ceiling

    @property
    def cost_max(self) -> int:
        return self.fee_max + self.call.value


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction. `fee` in wei was paid."""

    hash: bytes
    block: int
    gas_used: int
    fee: int


async def plan(rpc: Rpc, call: Call, sender: bytes, *, pending: int = 0) -> Plan:
    """Price `call`. `pending` transactions of ours go before it. Raises RevertError, FundsError, RpcError."""
    request = {
        "from": "0x" + sender.hex(),
        "to": "0x" + call.to.hex(),
        "data": "0x" + call.data.hex(),
        "value": hex(call.value),
    }
    who = "0x" + sender.hex()
    chain_id, nonce, balance, block, tip = await rpc.batch(
        [
            ("eth_chainId", []),
            ("eth_getTransactionCount", [who, "pending"]),
            ("eth_getBalance", [who, "latest"]),
            ("eth_getBlockByNumber", ["latest", False]),
            ("eth_maxPriorityFeePerGas", []),
        ]
    )
    if int(balance, 16) < call.value:
        raise FundsError(f"{shown(sender)} holds {coins(int(balance, 16))} coin, this needs {coins(call.value)}")
    gas = int(await _estimate(rpc, request) * GAS_MARGIN)
    tip_wei = int(tip, 16)
    fee = 2 * int(block.get("baseFeePerGas", "0x0"), 16) + tip_wei
    left = int(balance, 16) - call.value - gas * fee
    if left < 0:
        needed = coins(call.value + gas * fee)
        raise FundsError(f"{shown(sender)} holds {coins(int(balance, 16))} coin, this may cost {needed} with its fee")
    ceiling = min(fee * CEILING, fee + left // gas)
    return Plan(call, sender, int(chain_id, 16), int(nonce, 16) + pending, gas, fee, tip_wei, ceiling)


async def _estimate(rpc: Rpc, request: dict[str, str]) -> int:
    try:
        await rpc.call("eth_call", request, "latest")
        return int(await rpc.call("eth_estimateGas", request), 16)
    except RpcError as error:
        raise explain_revert(error) from error


async def send(
    rpc: Rpc,
    planned: Plan,
    wallet: Wallet,
    *,
    deadline_s: float = 120.0,
    patience_s: float = PATIENCE_S,
    tell: Callable[[str], None] = lambda text: None,
    sent: Callable[[bytes], None] = lambda name: None,
) -> Receipt:
    """Sign, send and wait until it is mined; after each `patience_s` offer a higher fee, up to the plan's ceiling.

    `tell` hears of each in words, `sent` of each transaction's hash before it leaves. Raises RevertError,
    DeadlineError, RpcError, TakenError. After a DeadlineError it may still be mined; sending again with the same nonce
    cannot do it twice.
    """
    fee, tip, names = planned.fee_per_gas, planned.tip_per_gas, list[bytes]()
    with trio.move_on_after(deadline_s):
        while True:
            raw = _signed(planned, wallet, fee, tip)
            names.append(bytes(keccak(raw)))
            sent(names[-1])
            await _offer(rpc, raw, again=len(names) > 1)
            higher = min(fee * RAISE_PERCENT // 100, planned.fee_ceiling)
            # Nodes take no replacement for less than a tenth more.
            worth_it = higher * 100 >= fee * REPLACEMENT_PERCENT
            with trio.move_on_after(patience_s if worth_it else math.inf):
                return await _first_mined(rpc, names, planned)
            fee, tip = higher, min(-(-tip * RAISE_PERCENT // 100), higher)
            tell(f"No block took it in {patience_s:g} s: offering up to {coins(planned.gas * fee)} coin for it now.")
    raise DeadlineError(
        f"transaction 0x{names[-1].hex()} was sent but not mined in {deadline_s:g} s",
        hint="It may still be mined: look it up before you send it again.",
    )


def _signed(planned: Plan, wallet: Wallet, fee: int, tip: int) -> bytes:
    return wallet.sign_transaction(
        {
            "type": 2,
            "chainId": planned.chain_id,
            "nonce": planned.nonce,
            "to": shown(planned.call.to),
            "value": planned.call.value,
            "data": planned.call.data,
            "gas": planned.gas,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": tip,
        }
    )


async def _offer(rpc: Rpc, raw: bytes, *, again: bool) -> None:
    """Hand it in. What was handed in before may be known already, or mined by now; and an answer may get lost."""
    try:
        await rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
    except RpcError as error:
        known = any(word in error.message.lower() for word in ("already known", "known transaction"))
        if not known and not again:
            raise explain_revert(error) from error
    except ChainUnreachableError:
        log.info("the endpoint gave no answer to a transaction; looking whether it took it")


async def _first_mined(rpc: Rpc, names: list[bytes], planned: Plan) -> Receipt:
    """Poll until one of `names` is mined. Raises RevertError, TakenError."""
    who, taken = "0x" + planned.sender.hex(), 0
    while True:
        calls: list[tuple[str, list[Any]]] = [("eth_getTransactionReceipt", ["0x" + name.hex()]) for name in names]
        try:
            *found, count = await rpc.batch([*calls, ("eth_getTransactionCount", [who, "latest"])])
        except ChainUnreachableError as error:
            log.info("asking again: %s", error)
            await trio.sleep(POLL_S)
            continue
        for name, receipt in zip(names, found, strict=True):
            if receipt is not None and receipt.get("blockNumber") is not None:
                return _receipt(name, receipt)
        # Not at the first sight of it: the count may be read a block later than the receipts.
        taken = taken + 1 if int(count, 16) > planned.nonce else 0
        if taken >= TAKEN_AFTER:
            raise TakenError(f"another transaction of {shown(planned.sender)} took number {planned.nonce}")
        await trio.sleep(POLL_S)


async def wait_receipt(rpc: Rpc, name: bytes, *, deadline_s: float) -> Receipt:
    """Poll until the transaction is mined. Raises RevertError if it failed, DeadlineError."""
    with trio.move_on_after(deadline_s):
        while True:
            found = await rpc.call("eth_getTransactionReceipt", "0x" + name.hex())
            if found is not None and found.get("blockNumber") is not None:
                return _receipt(name, found)
            await trio.sleep(POLL_S)
    raise DeadlineError(
        f"transaction 0x{name.hex()} was sent but not mined in {deadline_s:g} s",
        hint="It may still be mined: look it up before you send it again.",
    )


async def wait_final(rpc: Rpc, receipt: Receipt, confirmations: int, *, deadline_s: float) -> None:
    """Wait until `confirmations` blocks, its own included, are on the receipt's block. Raises DeadlineError."""
    with trio.move_on_after(deadline_s):
        while True:
            if int(await rpc.call("eth_blockNumber"), 16) >= receipt.block + confirmations - 1:
                return
            await trio.sleep(POLL_S)
    raise DeadlineError(f"block {receipt.block} did not get {confirmations} confirmations in {deadline_s:g} s")


def _receipt(name: bytes, found: dict[str, Any]) -> Receipt:
    gas_used = int(found["gasUsed"], 16)
    fee = gas_used * int(found["effectiveGasPrice"], 16)
    if int(found["status"], 16) != 1:
        raise RevertError(
            None,
            f"transaction 0x{name.hex()} was mined but the contract refused it",
            hint=f"The fee of {coins(fee)} coin is lost; run it again to see the reason.",
        )
    return Receipt(name, int(found["blockNumber"], 16), gas_used, fee)
