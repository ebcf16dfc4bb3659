"""The embedded chain as a real process: it keeps everything it answered for, and shrugs off bad requests."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from support.chain import CLOCK, PATIENCE_S, Actors, actors, devchain, warmline
from warmline.chain.contracts import Contracts
from warmline.chain.deployment import sendings
from warmline.chain.devchain import dev_terms
from warmline.chain.errors import ChainUnreachableError, JournalError, RpcError
from warmline.chain.manifest import read_manifest
from warmline.chain.plans import dev_plan
from warmline.chain.provider import open_rpc, web3_over
from warmline.chain.wallet import dev_wallet
from warmline_protocol.errors import UsageError
from warmline_protocol.limits import DEV_CHAIN_ID


@contextmanager
def process(folder: Path, *more: str, **options: Any) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    command = warmline("chain", "dev", "--data", str(folder), "--port", "0", "--json", *more)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    try:
        assert child.stdout is not None
        yield child, json.loads(child.stdout.readline())
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


async def state_of(url: str, manifest: Path) -> dict[str, Any]:
    async with open_rpc(url) as rpc:
        head = await rpc.call("eth_getBlockByNumber", "latest", False)
        contracts = Contracts(rpc, read_manifest(manifest))
        bond = await contracts.bond_of(dev_wallet(3).address)
        return {"number": int(head["number"], 16), "hash": head["hash"], "bond": bond}


async def test_kill_minus_nine_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    with process(tmp_path, "--period", "3600") as (child, ready):
        manifest = Path(ready["manifest"])
        async with open_rpc(ready["url"]) as rpc:
            act = Actors(rpc, Contracts(rpc, read_manifest(manifest)))
            for amount in (1, 2, 3):
                await act.do(act.supporter, act.contracts.bond(amount))
        before = await state_of(ready["url"], manifest)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    # What a crash in the middle of the next write would leave behind.
    with (tmp_path / "chain.journal").open("ab") as journal:
        journal.write(b'deadbeef {"time": 17')
    with process(tmp_path, "--period", "3600") as (_, again):
        assert again["replayed"] == before["number"] == 3 + len(dev_plan(dev_terms()).steps)
        assert await state_of(again["url"], Path(again["manifest"])) == before
        assert before["bond"] == 6


def test_it_ends_cleanly_when_asked(tmp_path: Path) -> None:
    with process(tmp_path) as (child, ready):
        assert ready["chain_id"] == DEV_CHAIN_ID
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=PATIENCE_S) == 0


async def test_two_chains_do_not_share_a_directory(tmp_path: Path) -> None:
    async with devchain(tmp_path):
        with pytest.raises(JournalError, match="another dev chain"):
            async with devchain(tmp_path):
                pass


async def test_a_taken_port_is_said_plainly(tmp_path: Path) -> None:
    async with devchain(tmp_path / "a") as running:
        port = int(running.url.rpartition(":")[2])
        with pytest.raises(UsageError, match="taken") as caught:
            async with devchain(tmp_path / "b", port=port):
                pass
        assert "--port" in caught.value.hint


async def test_a_journal_that_replays_otherwise_is_refused(tmp_path: Path) -> None:
    from warmline.chain.journal import Journal

    async with devchain(tmp_path):
        pass
    with Journal(tmp_path / "chain.journal") as journal:
        list(journal.recover())
        journal.append({"time": CLOCK.utc_ms() // 1000 + 100, "raw": [], "hash": "00" * 32})
    with pytest.raises(JournalError, match="another hash"):
        async with devchain(tmp_path):
            pass


async def test_time_advances_without_transactions(tmp_path: Path) -> None:
    async with devchain(tmp_path, period_s=0.05) as running, actors(running) as act:
        start = int(await act.rpc.call("eth_blockNumber"), 16)
        with trio.fail_after(PATIENCE_S):
            number = start
            while number < start + 3:
                number = int(await act.rpc.call("eth_blockNumber"), 16)
        head = await act.rpc.call("eth_getBlockByNumber", "latest", False)
        assert abs(int(head["timestamp"], 16) - CLOCK.utc_ms() // 1000) < 60


async def test_web3_and_our_own_client_see_the_same_chain(tmp_path: Path) -> None:
    async with devchain(tmp_path) as running, actors(running) as act:
        await act.do(act.governance, act.contracts.admit_issuer(act.issuer.address, bytes(32)))
        w3 = web3_over(act.rpc)
        block = await w3.eth.get_block("latest", full_transactions=True)
        receipt = await w3.eth.get_transaction_receipt(block["transactions"][0]["hash"])  # type: ignore[index]
        assert receipt["status"] == 1
        assert (await w3.eth.get_logs({"fromBlock": 0, "toBlock": "latest"}))[-1]["logIndex"] == 0
        assert await w3.eth.chain_id == DEV_CHAIN_ID
        assert await w3.eth.get_balance(act.issuer.shown) == 10_000 * 10**18  # type: ignore[arg-type]
        ours = await act.rpc.call("eth_getBlockByHash", "0x" + block["hash"].hex(), False)
        assert int(ours["number"], 16) == block["number"]
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(act.contracts.bond_of, act.supporter.address)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_nothing", []),
        ("", []),
        ("eth_call", []),
        ("eth_call", [7]),
        ("eth_call", [{"to": "0xzz"}]),
        ("eth_call", [{"to": "0x" + "11" * 20, "gas": "0x-1"}]),
        ("eth_getBalance", ["0x"]),
        ("eth_getBalance", ["0x" + "11" * 20, "0xffffff"]),
        ("eth_getLogs", [{"blockHash": "0x00"}]),
        ("eth_getLogs", [{"fromBlock": 7}]),
        ("eth_getBlockByNumber", ["soon", False]),
        ("eth_sendRawTransaction", ["0x"]),
        ("eth_sendRawTransaction", ["0x02c0"]),
        ("eth_sendRawTransaction", ["0x03c0"]),
        ("eth_sendRawTransaction", ["0x" + "f8" * 100]),
        ("eth_sendRawTransaction", ["hello"]),
        ("eth_feeHistory", [{}, "latest", []]),
        ("eth_getTransactionReceipt", [None]),
    ],
)
async def test_a_bad_request_is_an_error_for_its_sender_only(quiet: Actors, method: str, params: list[Any]) -> None:
    before = await quiet.rpc.call("eth_blockNumber")
    with pytest.raises(RpcError):
        await quiet.rpc.call(method, *params)
    assert await quiet.rpc.call("eth_blockNumber") == before


async def test_transactions_that_cannot_run_leave_no_trace(quiet: Actors) -> None:
    def signed(**change: Any) -> str:
        base = {"type": 2, "chainId": DEV_CHAIN_ID, "nonce": 0, "to": quiet.issuer.shown, "value": 1, "gas": 21_000}
        fees = {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9}
        return "0x" + quiet.sponsor.sign_transaction(base | fees | change).hex()

    before = await quiet.rpc.call("eth_getBlockByNumber", "latest", False)
    for bad in (
        signed(nonce=9),
        signed(value=10**30),
        signed(chainId=1),
        signed(gas=20_000),
        signed(maxFeePerGas=0, maxPriorityFeePerGas=0),
    ):
        with pytest.raises(RpcError):
            await quiet.rpc.call("eth_sendRawTransaction", bad)
    assert await quiet.rpc.call("eth_getBlockByNumber", "latest", False) == before
    name = await quiet.rpc.call("eth_sendRawTransaction", signed())
    assert await quiet.rpc.call("eth_sendRawTransaction", signed()) == name  # said twice, done once


@pytest.fixture
async def quiet(tmp_path: Path) -> Any:
    async with devchain(tmp_path) as running, actors(running) as act:
        yield act


# -- the HTTP seam


ASK = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (JSON, ASK, 200),
        (JSON | {"host": "localhost:1234"}, ASK, 200),
        (JSON | {"host": "evil.example"}, ASK, 403),
        (JSON | {"host": "127.0.0.1.evil.example:80"}, ASK, 403),
        (JSON | {"origin": "https://evil.example"}, ASK, 403),
        ({"content-type": "text/plain"}, ASK, 415),
        (JSON, b"{", 200),
        (JSON, b"[" * 100_000, 200),
        (JSON, b"[]", 200),
        (JSON, b"[1,2]", 200),
        (JSON, b"x" * (5 << 20), 413),
    ],
)
async def test_only_this_machine_s_programs_are_answered(
    quiet: Actors, headers: dict[str, str], body: bytes, status: int
) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            answer = await http.post(quiet.rpc.url, content=body, headers=headers)
            assert answer.status_code == status
        except (httpx.WriteError, httpx.ReadError):  # the answer may cross with the rest of an oversize body
            assert status == 413
    assert await quiet.rpc.call("eth_chainId") == hex(DEV_CHAIN_ID)


async def test_get_is_refused(quiet: Actors) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(quiet.rpc.url)).status_code == 405


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff" * 100,
        b"POST / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000,
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/json\r\n\r\nzz\r\n",
        b"",
    ],
)
async def test_bytes_that_are_no_http_end_their_connection_only(quiet: Actors, data: bytes) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", int(quiet.rpc.url.rpartition(":")[2]))
    async with stream:
        with trio.move_on_after(PATIENCE_S), suppress(trio.BrokenResourceError):
            await stream.send_all(data)
            await stream.send_eof()
            while await stream.receive_some(65536):
                pass
    assert await quiet.rpc.call("eth_chainId") == hex(DEV_CHAIN_ID)


async def test_slow_clients_do_not_hold_the_door(tmp_path: Path) -> None:
    from warmline.chain.devchain import DevChainSettings, open_devchain
    from warmline.chain.http import HttpLimits
    from warmline.env import run_in_thread

    limits = HttpLimits(connections=2, idle_s=0.2, request_s=0.2)
    async with open_devchain(DevChainSettings(tmp_path, http=limits), CLOCK, run_in_thread) as running:
        port = int(running.url.rpartition(":")[2])
        slow = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(5)]
        for stream in slow:
            with trio.fail_after(PATIENCE_S), suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""  # each is closed: too many, or too slow
        async with open_rpc(running.url) as rpc:
            assert await rpc.call("eth_chainId") == hex(DEV_CHAIN_ID)


# -- the client's side


async def test_nothing_there_is_unreachable_with_a_hint() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()
    async with open_rpc(f"http://user:secret@127.0.0.1:{port}/key") as rpc:
        with pytest.raises(ChainUnreachableError) as caught:
            await rpc.call("eth_chainId")
    assert "chain dev" in caught.value.hint
    assert "secret" not in str(caught.value)
    assert "key" not in str(caught.value)


async def test_an_endpoint_that_never_answers_runs_into_the_deadline() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with open_rpc(f"http://127.0.0.1:{port}", deadline_s=0.2) as rpc:
        with pytest.raises(ChainUnreachableError, match="no answer"):
            await rpc.call("eth_chainId")
    for listener in listeners:
        await listener.aclose()


async def test_a_call_can_be_cancelled(tmp_path: Path) -> None:
    async with devchain(tmp_path) as running, open_rpc(running.url) as rpc:
        for _ in range(20):
            with trio.CancelScope() as scope:
                scope.cancel()
                await rpc.call("eth_chainId")
            assert scope.cancelled_caught
        assert await rpc.call("eth_chainId") == hex(DEV_CHAIN_ID)


async def test_a_batch_keeps_its_order_and_its_size(quiet: Actors) -> None:
    answers = await quiet.rpc.batch([("eth_getBlockByNumber", [hex(at % 5), False]) for at in range(150)])
    assert [int(block["number"], 16) for block in answers] == [at % 5 for at in range(150)]


CREATIONS = sum(2 * len(one.data) + 400 for one in sendings(dev_plan(dev_terms()).steps, bytes(20), 0))
"""About what the contracts take in the journal, in bytes."""


def _little_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (CREATIONS + 10_000, CREATIONS + 10_000))


async def test_a_full_disk_stops_the_chain_and_loses_nothing(tmp_path: Path) -> None:
    sent: list[str] = []
    with process(tmp_path, "--period", "3600", preexec_fn=_little_disk, stderr=subprocess.PIPE) as (child, ready):
        async with open_rpc(ready["url"]) as rpc:
            act = Actors(rpc, Contracts(rpc, read_manifest(Path(ready["manifest"]))))
            with pytest.raises((RpcError, ChainUnreachableError)):
                for _ in range(100):
                    receipt = await act.do(act.supporter, act.contracts.bond(1))
                    sent.append("0x" + receipt.hash.hex())
        assert await trio.to_thread.run_sync(child.wait) == 1
        assert child.stderr is not None
        words = child.stderr.read().decode()
        assert "cannot write" in words
        assert "→" in words
    with process(tmp_path, "--period", "3600") as (_, again):
        assert sent
        async with open_rpc(again["url"]) as rpc:
            for name in sent:
                assert await rpc.call("eth_getTransactionReceipt", name) is not None
