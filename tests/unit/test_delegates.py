"""Which device keys a wallet named, by endpoints of which one lies in what two need not agree on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from warmline.chain.delegates import _REVOKED, _SET, delegated_until, was_delegated
from warmline.chain.endpoints import Endpoints
from warmline.chain.errors import ChainUnreachableError

WALLET, KEY, REGISTRY = b"w" * 20, b"k" * 32, b"r" * 20
ABOUT = "0x" + WALLET.rjust(32, b"\0").hex()
UNTIL = 1 << 36


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
        return [self.logs if method == "eth_getLogs" else {"number": "0x5"} for method, _ in calls]


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
