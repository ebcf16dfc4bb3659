"""JSON-RPC over HTTP on Trio: deadlines, batches, size caps, errors that say what to do.

Not web3's own HTTP provider: that one runs in a thread or on asyncio, and neither can be cancelled from Trio.
`Rpc` is what nodes use. `web3_over` puts an AsyncWeb3 on top of one for those who build transactions; web3's
`wait_for_transaction_receipt` and `batch_requests` need asyncio, so use `transactions.wait_receipt` and `Rpc.batch`.

URLs of live endpoints often carry an access key: messages name the host only.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio

from warmline.chain.errors import ChainUnreachableError, RpcError, RpcGarbageError
from warmline.chain.strict_json import loads
from warmline_protocol.errors import ConfigError

if TYPE_CHECKING:
    import httpx
    from web3 import AsyncWeb3

ANSWER_MAX = 32 << 20
"""Bytes of one answer. The largest honest one is a span of logs, about 600 bytes a log."""
BATCH_MAX = 64
"""Calls in one HTTP request; public endpoints refuse more than about 100."""

Call = tuple[str, Sequence[Any]]


def is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "") in ("127.0.0.1", "localhost", "::1")


class Rpc:
    """One endpoint. Obtained from `open_rpc`."""

    def __init__(self, url: str, http: httpx.AsyncClient, deadline_s: float) -> None:
        self.url = url
        self.where = urlsplit(url).netloc.rpartition("@")[2]
        self._http = http
        self._deadline_s = deadline_s
        self._ids = itertools.count(1)

    async def call(self, method: str, *params: Any) -> Any:
        """The result. Raises RpcError, RpcGarbageError, ChainUnreachableError."""
        return self._result(await self._exchange(self._request(method, params)))

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """The results in the order of `calls`; the first error among them is raised."""
        results: list[Any] = []
        for start in range(0, len(calls), BATCH_MAX):
            results += await self._one_batch(calls[start : start + BATCH_MAX])
        return results

    async def raw(self, body: bytes) -> bytes:
        """One HTTP exchange; for adapters that encode requests themselves."""
        import httpx  # here and in `open_rpc`: a node without a chain need not load an HTTP client

        try:
            with trio.fail_after(self._deadline_s):
                return await self._post(body)
        except trio.TooSlowError as error:
            raise ChainUnreachableError(
                f"the chain endpoint {self.where} gave no answer in {self._deadline_s:g} s"
            ) from error
        except httpx.HTTPError as error:
            raise ChainUnreachableError(f"cannot reach the chain endpoint {self.where}: {_why(error)}") from error

    async def _one_batch(self, calls: Sequence[Call]) -> list[Any]:
        requests = [self._request(method, params) for method, params in calls]
        answer = await self._exchange(requests)
        if not isinstance(answer, list):  # an endpoint without batches answers with one error object
            return [await self.call(method, *params) for method, params in calls]
        by_id = {item.get("id"): item for item in answer if isinstance(item, dict)}
        try:
            return [self._result(by_id[request["id"]]) for request in requests]
        except KeyError as error:
            raise RpcGarbageError(f"the chain endpoint {self.where} left out an answer of a batch") from error

    def _request(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    async def _exchange(self, request: Any) -> Any:
        body = await self.raw(json.dumps(request).encode())
        try:
            return loads(body)
        except ValueError as error:
            raise RpcGarbageError(f"the chain endpoint {self.where} did not answer in JSON") from error

    async def _post(self, body: bytes) -> bytes:
        headers = {"content-type": "application/json"}
        async with self._http.stream("POST", self.url, content=body, headers=headers) as response:
            data = bytearray()
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > ANSWER_MAX:
                    raise RpcError(-32005, f"the chain endpoint {self.where} answered with too many bytes")
            # A JSON-RPC error may come with a 4xx or 5xx status: the body says more than the number.
            if response.status_code != 200 and not data.lstrip().startswith((b"{", b"[")):
                raise RpcGarbageError(
                    f"the chain endpoint {self.where} answered with HTTP status {response.status_code}"
                )
        return bytes(data)

    def _result(self, answer: Any) -> Any:
        if not isinstance(answer, dict):
            raise RpcGarbageError(f"the chain endpoint {self.where} answered with something else than an object")
        error = answer.get("error")
        if error is None:
            if "result" not in answer:
                raise RpcGarbageError(f"the chain endpoint {self.where} answered without a result")
            return answer["result"]
        raise _rpc_error(error)


def _rpc_error(error: Any) -> RpcError:
    if not isinstance(error, dict):
        return RpcError(-32603, str(error)[:300])
    code, data = error.get("code"), error.get("data")
    data = data.get("data") if isinstance(data, dict) else data
    return RpcError(
        code if isinstance(code, int) else -32603,
        str(error.get("message", "no reason given"))[:300],
        data=data if isinstance(data, str) else None,
    )


def _why(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


@asynccontextmanager
async def open_rpc(url: str, *, deadline_s: float = 20.0) -> AsyncIterator[Rpc]:
    """A client of the endpoint at `url` (http or https). Connects lazily; raises ConfigError for a bad URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            "the chain URL must look like http://127.0.0.1:8545 or https://...",
            hint="Correct the chain URL; WebSocket endpoints are not supported.",
        )
    import httpx

    # A proxy from the environment must not swallow what is meant for this machine.
    async with httpx.AsyncClient(timeout=None, trust_env=not is_loopback(url)) as http:
        yield Rpc(url, http, deadline_s)


def web3_over(rpc: Rpc) -> AsyncWeb3[Any]:
    """An AsyncWeb3 whose requests go through `rpc`, under its deadline and its errors."""
    from web3 import AsyncWeb3
    from web3.providers.async_base import AsyncJSONBaseProvider
    from web3.types import RPCEndpoint, RPCResponse

    class TrioProvider(AsyncJSONBaseProvider):
        async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
            return self.decode_rpc_response(await rpc.raw(self.encode_rpc_request(method, params)))

        async def is_connected(self, show_traceback: bool = False) -> bool:
            return True

    return AsyncWeb3(TrioProvider())
