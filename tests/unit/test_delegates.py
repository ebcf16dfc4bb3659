"""Which device keys a wallet named, by endpoints of which one lies in what two need not agree on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from warmline.chain.delegates import _REVOKED, _SET, delegated_until, was_delegated
from warmline.chain.endpoints import Endpoints
from warmline.chain.errors import ChainUnreachableError, RpcError, RpcGarbageError
from warmline.cli.delegating import _is_contract
from warmline_protocol.errors import ClockError

WALLET, KEY, REGISTRY = b"w" * 20, b"k" * 32, b"r" * 20
ABOUT = "0x" + WALLET.rjust(32, b"\0").hex()
UNTIL = 1 << 36
HEAD_S = 1_800_000_000


def entry(number: int, name: str, *topics: str, **more: Any) -> dict[str, Any]:
    where = {"blockNumber": hex(number), "blockHash": "0x" + "11" * 32, "logIndex": "0x0"}
    data = "0x" + UNTIL.to_bytes(32).hex()
    return where | {"address": "0x" + REGISTRY.hex(), "topics": [name, ABOUT, *topics], "data": data} | more


NAMED, ENDED = entry(1, _SET, "0x" + KEY.hex()), entry(2, _REVOKED)


class Endpoint:
    def __init__(self, where: str, *logs: dict[str, Any]) -> None:
        self.where = where
        self.logs = list(logs)

    async def batch(self, calls: Any) -> list[Any]:  # noqa: ASYNC124 - as the real one
        return [self.one(method, *params) for method, params in calls]

    def one(self, method: str, *params: Any) -> Any:
        return self.logs if method == "eth_getLogs" else {"number": "0x5", "timestamp": hex(HEAD_S)}


def source(*rpcs: Endpoint) -> Any:
    several: Any = Endpoints
    return several(rpcs)


manifest: Any = SimpleNamespace(address=lambda name: REGISTRY, start_block=1)


async def test_the_order_in_which_one_endpoint_tells_is_its_own() -> None:
    both = source(Endpoint("liar", ENDED, NAMED), Endpoint("honest", NAMED, ENDED))
    assert await delegated_until(both, manifest, WALLET, KEY) == 0
    both = source(Endpoint("liar", NAMED), Endpoint("honest", NAMED))
    assert await delegated_until(both, manifest, WALLET, KEY) == UNTIL


async def test_what_was_taken_back_was_never_said() -> None:
    both = source(Endpoint("liar", NAMED | {"removed": True}), Endpoint("honest"))
    assert await delegated_until(both, manifest, WALLET, KEY) == 0
    assert not await was_delegated(both, manifest, WALLET, KEY)


class Away(Endpoint):
    async def batch(self, calls: Any) -> list[Any]:
        raise ChainUnreachableError("nothing answers")


async def test_one_that_is_left_alone_is_not_believed() -> None:
    both = source(Endpoint("liar", NAMED), Away("honest"))
    with pytest.raises(ChainUnreachableError, match="one alone"):
        await was_delegated(both, manifest, WALLET, KEY)


class Narrow(Endpoint):
    """Refuses to look at more than one block, so that others are asked more often; shows what it likes in each."""

    async def batch(self, calls: Any) -> list[Any]:
        await trio.sleep(1)
        return await super().batch(calls)

    def one(self, method: str, *params: Any) -> Any:
        if method != "eth_getLogs":
            return super().one(method, *params)
        first, last = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
        if first != last:
            raise RpcError(-32005, "range too large")
        return [each for each in self.logs if int(each["blockNumber"], 16) == first]


class Tired(Narrow):
    """Fails once, at the block that matters, and answers again soon."""

    failed = False

    def one(self, method: str, *params: Any) -> Any:
        if method == "eth_getLogs" and params[0]["fromBlock"] == params[0]["toBlock"] == "0x2" and not self.failed:
            self.failed = True
            raise RpcGarbageError("too many requests")
        return super().one(method, *params)


async def test_not_one_span_is_believed_from_one_alone(autojump_clock: trio.testing.MockClock) -> None:
    both = source(Narrow("liar", NAMED), Tired("honest", NAMED, ENDED))
    with pytest.raises(ChainUnreachableError, match="one alone"):
        await delegated_until(both, manifest, WALLET, KEY)
    both = source(Narrow("another", NAMED, ENDED), Narrow("honest", NAMED, ENDED))
    assert await delegated_until(both, manifest, WALLET, KEY) == 0


async def test_a_head_that_was_told_by_one_alone_is_none() -> None:
    class Deaf(Endpoint):
        def one(self, method: str, *params: Any) -> Any:
            if params[0] == "latest":
                raise ChainUnreachableError("no answer")
            return super().one(method, *params)

    with pytest.raises(ChainUnreachableError, match="one alone"):
        await was_delegated(source(Endpoint("liar"), Deaf("honest", NAMED)), manifest, WALLET, KEY)


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_head_of_another_time_is_refused_where_there_is_a_clock(hours: int) -> None:
    both = source(Endpoint("one", NAMED), Endpoint("two", NAMED))
    clock: Any = SimpleNamespace(utc_ms=lambda: HEAD_S * 1000)
    assert await was_delegated(both, manifest, WALLET, KEY, clock)
    clock.utc_ms = lambda: (HEAD_S + hours * 3600) * 1000
    with pytest.raises(ClockError, match="behind" if hours > 0 else "ahead of") as caught:
        await was_delegated(both, manifest, WALLET, KEY, clock)
    assert "--also" in (caught.value.hint or "")


@pytest.mark.parametrize("said", [None, 3, "code", "0xg", ["0x"]])
async def test_an_endpoint_that_does_not_say_what_code_there_is_is_told_of(said: Any) -> None:
    class Chain(Endpoint):
        def one(self, method: str, *params: Any) -> Any:
            return said

    session: Any = SimpleNamespace(source=source(Chain("one"), Chain("two")))
    with pytest.raises(RpcGarbageError, match="what code"):
        await _is_contract(session, WALLET)


async def test_a_contract_wallet_is_one_that_has_code() -> None:
    class Chain(Endpoint):
        def one(self, method: str, *params: Any) -> Any:
            return "0x6001" if params[0] == "0x" + WALLET.hex() else "0x"

    session: Any = SimpleNamespace(source=source(Chain("one"), Chain("two")))
    assert await _is_contract(session, WALLET)
    assert not await _is_contract(session, KEY[:20])
