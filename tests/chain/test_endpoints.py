"""Endpoints as they are found in the wild, between the embedded chain and a follower: slow replicas, small limits, no
batches, lies and rubbish. None of them may lose standing, and each must be named."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from support.chain import Actors, actors, devchain, followed, until
from warmline.chain.http import HttpLimits, serve_http
from warmline.chain.provider import Rpc
from warmline.chain.source import ChainConfig, ChainState, FollowedChain

Change = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
HONEST: Change = lambda request, answer: answer  # noqa: E731 - a value of the table below


@dataclass
class Endpoint:
    """Passes requests on to the chain behind it and changes the answers."""

    behind: Rpc
    change: Change = HONEST
    batches: bool = True
    rubbish: bytes | None = None
    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def answer(self, body: bytes) -> bytes:
        if self.rubbish is not None:
            return self.rubbish
        request = json.loads(body)
        if isinstance(request, dict):
            return json.dumps(await self.one(request)).encode()
        if not self.batches:
            error = {"code": -32600, "message": "no batches here"}
            return json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
        return json.dumps([await self.one(one) for one in reversed(request)]).encode()  # order is not promised

    async def one(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request["method"])
        answer = json.loads(await self.behind.raw(json.dumps(request).encode()))
        return self.change(request, answer)


@asynccontextmanager
async def endpoint(behind: Rpc) -> AsyncIterator[Endpoint]:
    made = Endpoint(behind)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    made.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        await serve_http(listeners, made.answer, HttpLimits(), nursery)
        yield made
        nursery.cancel_scope.cancel()


@dataclass
class Scene:
    act: Actors
    endpoint: Endpoint
    chain: FollowedChain

    async def bond(self, amount: int) -> None:
        await self.act.do(self.act.supporter, self.act.contracts.bond(amount))

    def bonded(self) -> int:
        standing = self.chain.of(self.act.supporter.address)
        return standing.bond_wei if standing else 0


@pytest.fixture
async def scene(tmp_path: Path) -> Any:
    async with devchain(tmp_path / "chain") as running, actors(running) as act, endpoint(act.rpc) as between:
        await act.do(act.supporter, act.contracts.bond(1))
        config = ChainConfig(between.url, running.manifest, confirmations=3, poll_s=0.02)
        async with followed(config, tmp_path / "node.db") as (chain, _):
            yield Scene(act, between, chain)


async def grown(scene: Scene, expected: int) -> None:
    """Three more blocks make the first of them final."""
    for _ in range(3):
        await scene.act.do(scene.act.sponsor, scene.act.contracts.bond(1))
    await until(scene.chain, lambda: scene.bonded() == expected)


async def test_an_endpoint_without_batches_is_asked_one_by_one(scene: Scene) -> None:
    scene.endpoint.batches = False
    await scene.bond(4)
    await grown(scene, 5)


async def test_an_endpoint_with_small_log_ranges_is_asked_for_less(tmp_path: Path) -> None:
    def small(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        wanted = request["params"][0] if request["method"] == "eth_getLogs" else {}
        if "fromBlock" in wanted and int(wanted["toBlock"], 16) - int(wanted["fromBlock"], 16) >= 4:
            return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32005, "message": "range too large"}}
        return answer

    async with devchain(tmp_path / "chain") as running, actors(running) as act, endpoint(act.rpc) as between:
        between.change = small
        for _ in range(40):
            await act.do(act.supporter, act.contracts.bond(1))
        config = ChainConfig(between.url, running.manifest, poll_s=0.02)
        async with followed(config, tmp_path / "node.db") as (chain, _):
            scene = Scene(act, between, chain)
            await until(chain, lambda: scene.bonded() == 40)
            assert chain.status().problem is None


async def test_a_replica_that_lags_drops_nothing(scene: Scene) -> None:
    await scene.bond(4)
    await grown(scene, 5)
    await scene.act.do(scene.act.supporter, scene.act.contracts.queue_exit(2))
    await until(scene.chain, lambda: scene.bonded() == 3)
    head = scene.chain.head()
    assert head is not None
    old = await scene.act.rpc.call("eth_getBlockByNumber", hex(head.number - 2), False)

    def lagging(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] != "eth_getBlockByNumber":
            return answer
        tag = request["params"][0]
        if tag == "latest":
            return answer | {"result": old}
        return answer | {"result": None} if int(tag, 16) > head.number - 2 else answer

    scene.endpoint.change = lagging
    scene.endpoint.asked.clear()
    await until(scene.chain, lambda: scene.endpoint.asked.count("eth_getBlockByNumber") > 10)
    assert scene.chain.head() == head
    assert scene.bonded() == 3
    assert scene.chain.status().reorgs == 0
    scene.endpoint.change = HONEST
    await scene.bond(9)
    await grown(scene, 12)


async def test_a_replica_below_what_was_final_is_a_problem_not_a_new_chain(scene: Scene) -> None:
    await grown(scene, 1)
    start = await scene.act.rpc.call("eth_getBlockByNumber", "0x1", False)

    def ancient(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_getBlockByNumber" and request["params"][0] != "0x0":
            return answer | {"result": start if request["params"][0] == "latest" else None}
        return answer

    scene.endpoint.change = ancient
    await until(scene.chain, lambda: scene.chain.status().state is ChainState.LAGGING)
    assert "below block" in (scene.chain.status().problem or "")
    assert scene.bonded() == 1
    scene.endpoint.change = HONEST
    await until(scene.chain, lambda: scene.chain.status().state is ChainState.LIVE)
    assert scene.chain.status().reorgs == 0


def _result(value: Any) -> Change:
    return lambda request, answer: {"jsonrpc": "2.0", "id": request["id"], "result": value}


@pytest.mark.parametrize(
    "change",
    [
        _result(None),
        _result({}),
        _result("0x"),
        _result([1, 2]),
        _result({"number": "0x1", "hash": "zz", "timestamp": "0x1", "parentHash": "0x"}),
        lambda request, answer: {},
        lambda request, answer: {"id": request["id"], "error": "go away"},
        lambda request, answer: {"id": request["id"], "error": {"message": 7, "data": {"data": 9}}},
    ],
)
async def test_answers_that_make_no_sense_change_nothing(scene: Scene, change: Change) -> None:
    await grown(scene, 1)
    scene.endpoint.change = change
    await until(scene.chain, lambda: scene.chain.status().state is ChainState.LAGGING)
    assert scene.bonded() == 1
    scene.endpoint.change = HONEST
    await scene.bond(4)
    await grown(scene, 5)
    assert scene.chain.status().state is ChainState.LIVE


@pytest.mark.parametrize("rubbish", [b"", b"<html>", b"null", b"7", b"[]", b"[" * 900, b'{"jsonrpc": "2.0"}', b"[{}]"])
async def test_what_is_no_json_rpc_is_named(scene: Scene, rubbish: bytes) -> None:
    await grown(scene, 1)
    scene.endpoint.rubbish = rubbish
    await until(scene.chain, lambda: scene.chain.status().state is ChainState.LAGGING)
    assert scene.chain.status().hint
    assert scene.bonded() == 1
    scene.endpoint.rubbish = None
    await until(scene.chain, lambda: scene.chain.status().state is ChainState.LIVE)


async def test_logs_that_do_not_belong_to_the_blocks_are_refused(scene: Scene) -> None:
    await grown(scene, 1)

    def misplaced(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_getLogs":
            answer["result"] = [log | {"blockNumber": "0x1"} for log in answer["result"]]
        return answer

    scene.endpoint.change = misplaced
    await scene.bond(4)
    await until(scene.chain, lambda: scene.chain.status().state is ChainState.LAGGING)
    assert scene.bonded() == 1
    scene.endpoint.change = HONEST
    await grown(scene, 5)
