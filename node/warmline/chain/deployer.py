"""Carries out a plan of `deployment` on any chain, so that it can be killed at any moment and started again.

The journal beside the manifest holds every signed transaction *before* it is sent. Whatever happened afterwards (it was
never sent, it waits, it was mined, the answer was lost), sending the same bytes again is right: the chain takes a nonce
once. Nothing in the journal is secret; the key is not.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eth_abi.abi import decode
from eth_hash.auto import keccak

from warmline.chain.contracts import coins, shown
from warmline.chain.deployment import (
    SENDER,
    Create,
    Expect,
    Sending,
    Step,
    addresses,
    answer_types,
    call_data,
    resolve,
    same_code,
    sendings,
)
from warmline.chain.errors import FundsError, JournalError, RpcError
from warmline.chain.journal import Journal
from warmline.chain.manifest import Deployed, Manifest
from warmline.chain.provider import Rpc
from warmline.chain.reverts import explain_revert
from warmline.chain.transactions import GAS_MARGIN, wait_receipt
from warmline.chain.wallet import Wallet
from warmline.env import RunBlocking
from warmline.files import write_whole
from warmline_protocol.errors import UsageError, WorldError

RECEIPT_DEADLINE_S = 600.0


class DeploymentError(WorldError):
    """What is on the chain is not what the plan put there."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps` in order, and what must hold afterwards."""

    steps: tuple[Step, ...]
    expects: tuple[Expect, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """What one transaction took. `resumed`: an earlier run had sent it."""

    says: str
    gas: int
    fee: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """A dry run: gas of every transaction, and what it would cost at the endpoint's present fee."""

    steps: tuple[tuple[str, int], ...]
    fee_per_gas: int

    @property
    def gas(self) -> int:
        return sum(gas for _, gas in self.steps)

    @property
    def cost(self) -> int:
        return self.gas * self.fee_per_gas


async def deploy(
    rpc: Rpc,
    wallet: Wallet,
    plan: Plan,
    manifest_path: Path,
    run_blocking: RunBlocking,
    tell: Callable[[Done], None] = lambda _: None,
) -> Manifest:
    """Deploy, or finish a deployment that was cut off, or find it done; then verify it and write the manifest.

    Raises DeploymentError, UsageError, JournalError, FundsError, RevertError, RpcError, DeadlineError.
    """
    chain = await _Chain.look(rpc, wallet.address)
    async with _journal(manifest_path, run_blocking) as (journal, records):
        head = records[0] if records else None
        if head is None:
            head = chain.head(plan)
            await run_blocking(partial(journal.append, head))
        chain.require_same(head, plan, manifest_path)
        signed = {int(record["step"]): bytes.fromhex(record["raw"]) for record in records[1:]}
        first_block = None
        for index, sending in enumerate(sendings(plan.steps, wallet.address, int(head["nonce"]))):
            raw = signed.get(index)
            if raw is None:
                raw = await _sign(rpc, wallet, sending, chain.chain_id)
                await run_blocking(partial(journal.append, {"step": index, "raw": raw.hex()}))
            done, block = await _settle(rpc, sending, raw, resumed=index in signed)
            first_block = block if first_block is None else first_block
            tell(done)
    assert first_block is not None
    manifest = await verify(rpc, plan, wallet.address, int(head["nonce"]), chain.chain_id, first_block)
    await run_blocking(lambda: write_whole(manifest_path, manifest.to_json().encode()))
    return manifest


async def verify(rpc: Rpc, plan: Plan, sender: bytes, first_nonce: int, chain_id: int, start_block: int) -> Manifest:
    """Compare every contract's code and every expected answer with the chain. Raises DeploymentError, RpcError."""
    places = addresses(plan.steps, sender, first_nonce)
    names = sorted(places)
    codes = await rpc.batch([("eth_getCode", ["0x" + places[name].hex(), "latest"]) for name in names])
    contracts = {}
    for name, found in zip(names, codes, strict=True):
        code = bytes.fromhex(found[2:])
        if not same_code(name, code):
            raise DeploymentError(f"what is at {shown(places[name])} is not {name}")
        contracts[name] = Deployed(places[name], bytes(keccak(code)))
    for expect in plan.expects:
        await _verify_view(rpc, expect, places | {SENDER.contract: sender})
    return Manifest(chain_id, start_block, contracts)


async def estimate(rpc: Rpc, plan: Plan, run_blocking: RunBlocking, now_s: int) -> Estimate:
    """Carry the plan out on an embedded chain that is thrown away. Only the fee is asked of the endpoint."""
    steps = await run_blocking(lambda: _rehearse(plan, now_s))
    return Estimate(tuple(steps), await _fee(rpc))


# -- one transaction


async def _sign(rpc: Rpc, wallet: Wallet, sending: Sending, chain_id: int) -> bytes:
    who = "0x" + wallet.address.hex()
    request = {"from": who, "data": "0x" + sending.data.hex()}
    if sending.to is not None:
        request["to"] = "0x" + sending.to.hex()
    balance, nonce, tip = await rpc.batch(
        [
            ("eth_getBalance", [who, "latest"]),
            ("eth_getTransactionCount", [who, "latest"]),
            ("eth_maxPriorityFeePerGas", []),
        ]
    )
    if int(nonce, 16) != sending.nonce:
        raise DeploymentError(
            f"{shown(wallet.address)} sent other transactions meanwhile: its next is {int(nonce, 16)}, the plan needs "
            f"{sending.nonce}",
            hint="Deploy anew under another manifest name, with an account that does nothing else.",
        )
    try:
        gas = int(int(await rpc.call("eth_estimateGas", request), 16) * GAS_MARGIN)
    except RpcError as error:
        raise explain_revert(error) from error
    fee = await _fee(rpc)
    if int(balance, 16) < gas * fee:
        has = coins(int(balance, 16))
        raise FundsError(f"{shown(wallet.address)} holds {has} coin; to {sending.says} may cost {coins(gas * fee)}")
    return wallet.sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": sending.nonce,
            "to": b"" if sending.to is None else shown(sending.to),
            "value": 0,
            "data": sending.data,
            "gas": gas,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": min(int(tip, 16), fee),
        }
    )


async def _settle(rpc: Rpc, sending: Sending, raw: bytes, *, resumed: bool) -> tuple[Done, int]:
    """Send it unless the chain has it, and wait until it is mined."""
    name = bytes(keccak(raw))
    if await rpc.call("eth_getTransactionReceipt", "0x" + name.hex()) is None:
        refusal = await _offer(rpc, raw)
        # It may have been mined between the two questions, or be waiting since an earlier run.
        if refusal is not None and await rpc.call("eth_getTransactionByHash", "0x" + name.hex()) is None:
            raise DeploymentError(
                f"the chain refused to {sending.says}: {refusal.message}",
                hint="If its account sent something else meanwhile, deploy anew under another manifest name.",
            )
    receipt = await wait_receipt(rpc, name, deadline_s=RECEIPT_DEADLINE_S)
    return Done(sending.says, receipt.gas_used, receipt.fee, resumed), receipt.block


async def _offer(rpc: Rpc, raw: bytes) -> RpcError | None:
    """Send it; what the endpoint says against it."""
    try:
        await rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
    except RpcError as error:
        return error
    return None


async def _fee(rpc: Rpc) -> int:
    block, tip = await rpc.batch([("eth_getBlockByNumber", ["latest", False]), ("eth_maxPriorityFeePerGas", [])])
    return 2 * int(block.get("baseFeePerGas", "0x0"), 16) + int(tip, 16)


async def _verify_view(rpc: Rpc, expect: Expect, places: dict[str, bytes]) -> None:
    data = call_data(expect.contract, expect.view, expect.values, places)
    where = {"to": "0x" + places[expect.contract].hex(), "data": "0x" + data.hex()}
    answer = bytes.fromhex((await rpc.call("eth_call", where, "latest"))[2:])
    found = decode(answer_types(expect.contract, expect.view), answer)
    wanted = resolve(expect.answer, places)
    if (found[0] if len(found) == 1 else tuple(found)) != wanted:
        raise DeploymentError(f"{expect.contract}.{expect.view} answers {found}, and the plan says {wanted}")


# -- what a journal belongs to


@dataclass(frozen=True, slots=True)
class _Chain:
    chain_id: int
    genesis: str
    sender: bytes
    nonce: int
    waiting: int

    @classmethod
    async def look(cls, rpc: Rpc, sender: bytes) -> _Chain:
        who = "0x" + sender.hex()
        chain_id, genesis, nonce, waiting = await rpc.batch(
            [
                ("eth_chainId", []),
                ("eth_getBlockByNumber", ["0x0", False]),
                ("eth_getTransactionCount", [who, "latest"]),
                ("eth_getTransactionCount", [who, "pending"]),
            ]
        )
        return cls(int(chain_id, 16), str(genesis["hash"]), sender, int(nonce, 16), int(waiting, 16))

    def head(self, plan: Plan) -> dict[str, Any]:
        if self.waiting != self.nonce:
            raise UsageError(
                f"{shown(self.sender)} has {self.waiting - self.nonce} transactions waiting",
                hint="Wait until they are mined; the addresses follow from the account's number of transactions.",
            )
        return {"nonce": self.nonce, **self._identity(plan, self.nonce)}

    def require_same(self, head: dict[str, Any], plan: Plan, manifest_path: Path) -> None:
        wanted = self._identity(plan, int(head["nonce"]))
        names = {
            "chain": "chain",
            "genesis": "chain",
            "sender": "account",
            "plan": "version of the contracts or other terms",
        }
        for field, what in names.items():
            if head.get(field) != wanted[field]:
                raise UsageError(
                    f"the deployment that {_journal_path(manifest_path).name} holds is of another {what}",
                    hint="Name another --manifest to deploy anew; the old contracts stay where they are.",
                )

    def _identity(self, plan: Plan, nonce: int) -> dict[str, Any]:
        digest = hashlib.sha256()
        for sending in sendings(plan.steps, self.sender, nonce):
            digest.update(len(sending.data).to_bytes(8, "big") + sending.data)
        return {
            "chain": self.chain_id,
            "genesis": self.genesis,
            "sender": self.sender.hex(),
            "plan": digest.hexdigest(),
        }


def _journal_path(manifest_path: Path) -> Path:
    return manifest_path.with_name(manifest_path.name + ".journal")


@asynccontextmanager
async def _journal(
    manifest_path: Path, run_blocking: RunBlocking
) -> AsyncIterator[tuple[Journal, list[dict[str, Any]]]]:
    path = _journal_path(manifest_path)
    with _own_words(path):
        journal = await run_blocking(lambda: Journal(path))
    with journal:
        yield journal, await run_blocking(lambda: list(journal.recover()))


@contextmanager
def _own_words(path: Path) -> Iterator[None]:
    try:
        yield
    except JournalError as error:
        if "another dev chain" not in error.message:
            raise
        raise JournalError(f"another deployment is writing {path}", hint="Let it finish first.") from error


# -- the rehearsal


def _rehearse(plan: Plan, now_s: int) -> Sequence[tuple[str, int]]:
    """Gas of each transaction, on a chain in memory, sent by its first account."""
    from warmline.chain.accounts import GOVERNANCE, dev_key
    from warmline.chain.embedded import EmbeddedChain

    wallet = Wallet(dev_key(GOVERNANCE))
    used = []
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "rehearsal") as journal:
        chain = EmbeddedChain(journal, lambda: now_s)
        for sending in sendings(plan.steps, wallet.address, 0):
            name = chain.submit(sign_for_dev(wallet, sending))
            receipt = chain.answer("eth_getTransactionReceipt", [name])
            if int(receipt["status"], 16) != 1:
                raise DeploymentError(f"the plan cannot be carried out: {sending.says} fails")
            used.append((sending.says, int(receipt["gasUsed"], 16)))
    return used


def sign_for_dev(wallet: Wallet, sending: Sending) -> bytes:
    """A transaction for the embedded chain, whose fees are known beforehand."""
    from warmline_protocol.limits import DEV_CHAIN_ID

    return wallet.sign_transaction(
        {
            "type": 2,
            "chainId": DEV_CHAIN_ID,
            "nonce": sending.nonce,
            "to": b"" if sending.to is None else shown(sending.to),
            "value": 0,
            "data": sending.data,
            "gas": 8_000_000 if isinstance(sending.step, Create) else 500_000,
            "maxFeePerGas": 10 * 10**9,
            "maxPriorityFeePerGas": 10**9,
        }
    )
