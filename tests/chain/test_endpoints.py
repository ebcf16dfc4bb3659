"""Endpoints as they are found in the wild, between the embedded chain and a follower: slow replicas, small limits, no
batches, lies and rubbish. None of them may lose standing, and each must be named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.chain import actors, devchain, followed, until
from support.endpoints import HONEST, Change, Scene, endpoint
from warmline.chain.source import ChainConfig, ChainState


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
