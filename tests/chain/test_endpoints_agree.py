"""Several endpoints of one chain: what counts is what two of them say, and one that fails ends nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.chain import actors, devchain, followed, until
from support.endpoints import HONEST, Endpoint, Scene, endpoint
from warmline.chain.endpoints import open_source
from warmline.chain.source import ChainConfig, ChainState
from warmline_protocol.errors import ConfigError


@asynccontextmanager
async def several(folder: Path, count: int) -> AsyncIterator[tuple[Scene, list[Endpoint]]]:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(devchain(folder / "chain"))
        act = await stack.enter_async_context(actors(running))
        between = [await stack.enter_async_context(endpoint(act.rpc)) for _ in range(count)]
        first, *others = (one.url for one in between)
        config = ChainConfig(first, running.manifest, confirmations=1, poll_s=0.02, also=tuple(others))
        chain, _ = await stack.enter_async_context(followed(config, folder / "node.db"))
        yield Scene(act, between[0], chain), between


def without_logs(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {"result": []} if request["method"] == "eth_getLogs" else answer


def another_chain(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    if request["method"] == "eth_getBlockByNumber" and isinstance(answer.get("result"), dict):
        answer["result"] = answer["result"] | {"hash": "0x" + "ab" * 32}
    return answer


def states(scene: Scene) -> list[str]:
    return [one.state for one in scene.chain.status().endpoints]


@pytest.mark.parametrize("lie", [without_logs, another_chain])
async def test_two_that_contradict_each_other_give_no_good_news(tmp_path: Path, lie: Any) -> None:
    async with several(tmp_path, 2) as (scene, (_, liar)):
        await scene.bond(4)
        await until(scene.chain, lambda: scene.bonded() == 4)
        assert states(scene) == ["ok", "ok"]
        liar.change = lie
        await scene.bond(5)
        await until(scene.chain, lambda: scene.chain.status().state is ChainState.LAGGING)
        assert scene.bonded() == 4
        assert "differently" in (scene.chain.status().problem or "")
        assert "third" in (scene.chain.status().hint or "")
        liar.change = HONEST
        await until(scene.chain, lambda: scene.bonded() == 9)
        await until(scene.chain, lambda: scene.chain.status().state is ChainState.LIVE)


@pytest.mark.parametrize("lie", [without_logs, another_chain])
async def test_two_against_one_are_believed_and_the_one_is_named(tmp_path: Path, lie: Any) -> None:
    async with several(tmp_path, 3) as (scene, (liar, *_)):
        liar.change = lie
        await scene.bond(4)
        await until(scene.chain, lambda: scene.bonded() == 4)
        await until(scene.chain, lambda: states(scene) == ["disagrees", "ok", "ok"])
        assert scene.chain.status().problem is None


@pytest.mark.parametrize("rubbish", [b"<html>", b"[]", b'{"jsonrpc": "2.0"}'])
async def test_one_that_goes_away_does_not_stop_the_other(tmp_path: Path, rubbish: bytes) -> None:
    async with several(tmp_path, 2) as (scene, (first, _)):
        await scene.bond(4)
        await until(scene.chain, lambda: scene.bonded() == 4)
        first.rubbish = rubbish
        await scene.bond(5)
        await until(scene.chain, lambda: scene.bonded() == 9)
        await until(scene.chain, lambda: states(scene) == ["away", "ok"])
        assert scene.chain.status().problem is None


async def test_all_away_is_a_problem_that_passes(tmp_path: Path) -> None:
    async with several(tmp_path, 2) as (scene, both):
        await scene.bond(4)
        await until(scene.chain, lambda: scene.bonded() == 4)
        for one in both:
            one.rubbish = b"<html>"
        await until(scene.chain, lambda: scene.chain.status().state is ChainState.LAGGING)
        for one in both:
            one.rubbish = None
        await scene.bond(1)
        await until(scene.chain, lambda: scene.bonded() == 5)


async def test_the_pace_is_that_of_the_second_fastest(tmp_path: Path) -> None:
    """A replica that is behind is waited for where two are asked, and not where two others are there."""
    async with several(tmp_path, 3) as (scene, (slow, *_)):
        await scene.bond(4)
        await until(scene.chain, lambda: scene.bonded() == 4)
        head = scene.chain.head()
        assert head is not None
        old = await scene.act.rpc.call("eth_getBlockByNumber", hex(head.number), False)

        def behind(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            if request["method"] != "eth_getBlockByNumber":
                return answer
            if request["params"][0] == "latest":
                return answer | {"result": old}
            return answer | {"result": None} if int(request["params"][0], 16) > head.number else answer

        slow.change = behind
        await scene.bond(5)
        await until(scene.chain, lambda: scene.bonded() == 9)
        assert scene.chain.status().problem is None


async def test_a_small_log_range_at_one_of_two_is_kept_to(tmp_path: Path) -> None:
    def small(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        wanted = request["params"][0] if request["method"] == "eth_getLogs" else {}
        if "fromBlock" in wanted and int(wanted["toBlock"], 16) - int(wanted["fromBlock"], 16) >= 4:
            return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32005, "message": "range too large"}}
        return answer

    async with (
        devchain(tmp_path / "chain") as running,
        actors(running) as act,
        endpoint(act.rpc) as wide,
        endpoint(act.rpc) as narrow,
    ):
        narrow.change = small
        for _ in range(40):
            await act.do(act.supporter, act.contracts.bond(1))
        config = ChainConfig(wide.url, running.manifest, poll_s=0.02, also=(narrow.url,))
        async with followed(config, tmp_path / "node.db") as (chain, _):
            scene = Scene(act, wide, chain)
            await until(chain, lambda: scene.bonded() == 40)
            assert states(scene) == ["ok", "ok"]


async def test_one_that_refuses_everything_is_left_out(tmp_path: Path) -> None:
    def refusing(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "not on this plan"}}

    async with several(tmp_path, 2) as (scene, (_, other)):
        await scene.bond(4)
        await until(scene.chain, lambda: scene.bonded() == 4)
        other.change = refusing
        await scene.bond(5)
        await until(scene.chain, lambda: scene.bonded() == 9)
        assert states(scene) == ["ok", "refuses"]


async def test_the_same_endpoint_twice_is_no_second_opinion() -> None:
    with pytest.raises(ConfigError, match="twice"):
        async with open_source(("http://127.0.0.1:1", "http://127.0.0.1:1"), deadline_s=1):
            pass
