"""A node that joins late reads a long chain with progress.

No chain that runs here makes a hundred thousand blocks in a test's time (anvil's mining slows with the square of their
number), so the blocks are made up: their logs, the contracts and everything that reads them are real.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import trio

from support.chain import PATIENCE_S, actors, devchain, followed
from support.endpoints import endpoint
from warmline.chain.source import ChainConfig, ChainState

LENGTH = 100_000
EVERY = 9_973
WIDEST = 1_000
"""Blocks of one eth_getLogs that this endpoint allows; many public ones allow no more."""


class LongChain:
    """`LENGTH` blocks, with the same log in each block whose number `EVERY` divides."""

    def __init__(self, log: dict[str, Any], start_s: int) -> None:
        self._log = log
        self._start_s = start_s
        self._by_hash = {self.hash(number): number for number in range(0, LENGTH + 1, EVERY)}
        self.spans: list[int] = []
        self.refused = 0

    @staticmethod
    def hash(number: int) -> str:
        return "0x" + hashlib.sha256(b"block %d" % number).hexdigest()

    def change(self, request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_getBlockByNumber":
            return {"id": request["id"], "result": self._block(request["params"][0])}
        if request["method"] == "eth_getLogs":
            return self._logs(request["params"][0]) | {"id": request["id"]}
        return answer

    def _block(self, name: str) -> dict[str, str]:
        number = {"latest": LENGTH, "finalized": LENGTH - 64}.get(name, -1)
        number = int(name, 16) if number < 0 else number
        time_s = self._start_s + number
        parent = self.hash(number - 1)
        return {"number": hex(number), "hash": self.hash(number), "parentHash": parent, "timestamp": hex(time_s)}

    def _logs(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if "blockHash" in wanted:
            number = self._by_hash.get(wanted["blockHash"])
            return {"result": [] if number is None else [self._at(number)]}
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        if last - first >= WIDEST:
            self.refused += 1
            return {"error": {"code": -32005, "message": "query returned more than 10000 results"}}
        self.spans.append(last - first + 1)
        return {"result": [self._at(number) for number in range(-(-first // EVERY) * EVERY, last + 1, EVERY)]}

    def _at(self, number: int) -> dict[str, Any]:
        return self._log | {"blockNumber": hex(number), "blockHash": self.hash(number)}


@pytest.mark.parametrize("also", [False, True])
async def test_a_hundred_thousand_blocks_are_read_with_progress(tmp_path: Path, also: bool) -> None:
    async with (
        devchain(tmp_path / "chain") as running,
        actors(running) as act,
        endpoint(act.rpc) as between,
        endpoint(act.rpc) as second,
    ):
        await act.do(act.supporter, act.contracts.bond(3))
        (log,) = await act.rpc.call(
            "eth_getLogs", {"fromBlock": "latest", "address": "0x" + running.manifest.address("SupporterBond").hex()}
        )
        made = LongChain(log, await act.time_s() - LENGTH)
        between.change = second.change = made.change
        others = (second.url,) if also else ()
        config = ChainConfig(between.url, running.manifest, poll_s=0.02, also=others)
        async with followed(config, tmp_path / "node.db") as (chain, _):
            behind: list[int] = []
            with trio.fail_after(PATIENCE_S):
                while chain.status().state is not ChainState.LIVE:
                    await chain.wait_change()
                    behind.append(chain.status().lag_blocks)
            standing = chain.of(act.supporter.address)
            assert chain.status().problem is None
    assert standing is not None
    start = max(running.manifest.start_block, 1)
    assert standing.bond_wei == 3 * (LENGTH // EVERY - (start - 1) // EVERY)
    behind = behind[behind.index(max(behind)) :]  # before the first answer nobody knows how long the chain is
    assert behind == sorted(behind, reverse=True)
    assert max(behind) > LENGTH * 0.9
    assert len(behind) > 50
    assert max(made.spans) > WIDEST * 0.9  # it found the width that the endpoint allows ...
    assert made.refused < len(made.spans) / 5  # ... and kept to it
