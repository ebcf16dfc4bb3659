"""A wallet that is elsewhere: a contract names a device by one call, a plain wallet by a signature; both by commands.

Nodes ask no chain about each record, so a contract wallet's own signatures (ERC-1271) are nothing to them; what they
follow is the registry.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from eth_account import Account
from eth_hash.auto import keccak

from support import records as make
from support.chain import CLOCK, Actors, Opened, anvil, embedded, followed, on_both_chains, until
from support.endpoints import endpoint
from support.hall import Hall
from warmline.chain import deployer
from warmline.chain.contracts import Call, Contracts, shown, type_id_of
from warmline.chain.devchain import dev_terms
from warmline.chain.endpoints import DisagreeError
from warmline.chain.plans import dev_plan
from warmline.chain.source import ChainConfig
from warmline.chain.supporter import SupporterFiles
from warmline.chain.transactions import wait_receipt
from warmline.chain.wallet import dev_wallet
from warmline.env import run_in_thread
from warmline_protocol.errors import BadSignatureError, UsageError
from warmline_protocol.records.admission import AdmissionLimits, admit
from warmline_protocol.records.envelope import open_record, sign_record
from warmline_protocol.verdict import Verdict

FORWARD = bytes.fromhex("6014360380601460003760006000826000600060003560601c5af115602057005b60006000fd")
"""Runtime of the smallest contract account: calls the first 20 bytes of what it is sent with the rest; no owner."""
GOVERNANCE, ANA = dev_wallet(8), dev_wallet(3)
on_both = on_both_chains(embedded, anvil)


@asynccontextmanager
async def deployed(opened: Opened, folder: Path) -> AsyncIterator[tuple[Actors, Hall]]:
    async with opened(folder) as rpc:
        plan = dev_plan(dev_terms())
        manifest = await deployer.deploy(rpc, GOVERNANCE, plan, folder / "manifest.json", run_in_thread)
        act = Actors(rpc, Contracts(rpc, manifest))
        yield act, Hall(cast(Any, act), folder)


async def contract_account(act: Actors) -> bytes:
    """A new contract wallet's address."""
    code = bytes.fromhex(f"60{len(FORWARD):02x}80600b6000396000f3") + FORWARD
    who = act.sponsor
    chain, nonce = await act.rpc.batch([("eth_chainId", []), ("eth_getTransactionCount", [who.shown, "latest"])])
    fields = {"gas": 200_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9, "value": 0, "data": code}
    fields |= {"nonce": int(nonce, 16), "chainId": int(chain, 16)}
    signed = Account.sign_transaction(fields, who._account.key)
    name = await act.rpc.call("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    await wait_receipt(act.rpc, bytes.fromhex(name[2:]), deadline_s=30)
    receipt = await act.rpc.call("eth_getTransactionReceipt", name)
    return bytes.fromhex(receipt["contractAddress"][2:])


async def carry_out(act: Actors, wallet: bytes, to: str, data: str) -> None:
    """Whoever owns the wallet has it do that."""
    inner = bytes.fromhex(to[2:] + data[2:])
    await act.do(act.sponsor, Call("Wallet", "forward", wallet, inner, "act through the wallet"))


@on_both
async def test_a_contract_wallet_names_a_device_and_nodes_verify_what_it_signs(tmp_path: Path, opened: Opened) -> None:
    async with deployed(opened, tmp_path) as (act, hall):
        wallet = await contract_account(act)
        config = ChainConfig(act.rpc.url, act.contracts.manifest, confirmations=1, poll_s=0.1)
        async with followed(config, tmp_path / "node.db") as (chain, _):
            await act.do(GOVERNANCE, act.contracts.admit_issuer(act.issuer.address, bytes(32)))
            await act.do(act.issuer, act.contracts.register_type(type_id_of("peer"), bytes(32)))
            await act.do(act.issuer, act.contracts.issue(wallet, type_id_of("peer"), await act.time_s() + 86_400))

            planned = (await hall.run(ANA, "supporter", "delegate", "--for", shown(wallet), "--dry-run"))["state"]
            assert planned["contract"]
            files = SupporterFiles(tmp_path / "3")
            assert not files.folder.exists()
            out = tmp_path / "to sign.json"
            asked = await hall.run(ANA, "supporter", "delegate", "--for", shown(wallet), "--out", str(out))
            call = json.loads(await trio.Path(out).read_text())
            assert call == asked["state"]["document"]
            assert (call["from"], call["value"]) == (shown(wallet), "0")
            with pytest.raises(UsageError, match="not named this device"):
                await hall.run(ANA, "supporter", "delegate", "--done")
            await carry_out(act, wallet, call["to"], call["data"])
            done = (await hall.run(ANA, "supporter", "delegate", "--done"))["state"]
            assert (done["wallet"], done["contract"]) == (shown(wallet), True)

            given, key = files.delegation(), files.device_key()
            assert (given.signature, given.key) == (None, key.public)
            now_ms = CLOCK.utc_ms()
            card = make.card(wallet, at_ms=now_ms, credentials=(type_id_of("peer"),))
            record = open_record(sign_record(card, key, given))

            def judged() -> Any:
                standing, head = chain.of(wallet), chain.head()
                return admit(record, standing=standing, head=head, limits=AdmissionLimits(), now_ms=CLOCK.utc_ms())

            await until(chain, lambda: judged().verified)
            assert judged().verdict is Verdict.ACCEPT
            # A lost device: one call of the wallet ends all of them, at nodes as for the command.
            revoke = act.contracts.revoke_before(await act.time_s() + 1)
            await carry_out(act, wallet, "0x" + revoke.to.hex(), "0x" + revoke.data.hex())
            await until(chain, lambda: judged().reason == "delegation_revoked")


async def test_one_endpoint_that_lies_makes_no_device_a_wallets(tmp_path: Path) -> None:
    async with deployed(embedded, tmp_path) as (act, hall), endpoint(act.rpc) as liar:
        wallet = await contract_account(act)
        await hall.run(ANA, "supporter", "delegate", "--for", shown(wallet))
        key = SupporterFiles(tmp_path / "3").device_public(b"")
        registry = act.contracts.manifest.address("DelegateRegistry")
        name = "0x" + bytes(keccak(b"DelegateSet(address,bytes32,uint64)")).hex()

        def invent(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            if request["method"] == "eth_getLogs":
                about = [name, "0x" + wallet.rjust(32, b"\0").hex(), "0x" + key.hex()]
                said = {"address": "0x" + registry.hex(), "topics": about, "data": "0x" + (1 << 36).to_bytes(32).hex()}
                where = {"blockNumber": "0x1", "blockHash": "0x" + "11" * 32, "logIndex": "0x0"}
                answer["result"] = [said | where | {"transactionHash": "0x" + "22" * 32}]
            return answer

        liar.change = invent
        with pytest.raises(DisagreeError):
            await hall.run(ANA, "supporter", "delegate", "--done", "--also", liar.url)
        liar.change = lambda request, answer: answer
        with pytest.raises(UsageError, match="not named this device"):
            await hall.run(ANA, "supporter", "delegate", "--done", "--also", liar.url)
        call = act.contracts.set_delegate(key, await act.time_s() + 86_400)
        await carry_out(act, wallet, "0x" + call.to.hex(), "0x" + call.data.hex())
        done = await hall.run(ANA, "supporter", "delegate", "--done", "--also", liar.url)
        assert done["state"]["key"] == key.hex()


async def test_a_plain_wallet_elsewhere_signs_a_document(tmp_path: Path) -> None:
    async with deployed(embedded, tmp_path) as (_, hall):
        owner, out = dev_wallet(6), tmp_path / "to sign.json"
        await hall.run(ANA, "supporter", "delegate", "--for", owner.shown, "--out", str(out))
        document = json.loads(await trio.Path(out).read_text())
        assert "It cannot move money." in document["message"]["statement"]
        for name, signer in (("wrong", dev_wallet(5)), ("right", owner)):
            signature = Account.sign_typed_data(signer._account.key, full_message=document).signature
            await trio.Path(tmp_path / name).write_text("0x" + bytes(signature).hex())
        done = ("supporter", "delegate", "--done")
        with pytest.raises(UsageError, match="signature is needed"):
            await hall.run(ANA, *done)
        with pytest.raises(BadSignatureError):
            await hall.run(ANA, *done, "--signature-file", str(tmp_path / "wrong"))
        said = (await hall.run(ANA, *done, "--signature-file", str(tmp_path / "right")))["state"]
        assert (said["wallet"], said["contract"]) == (owner.shown, False)
        SupporterFiles(tmp_path / "3").delegation().check()
