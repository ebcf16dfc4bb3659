"""A chain endpoint of a test's own between the embedded chain and a follower, which may lag, lie or talk rubbish."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from support.chain import Actors
from warmline.chain.http import HttpLimits, serve_http
from warmline.chain.provider import Rpc
from warmline.chain.source import FollowedChain

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
