"""Which device keys a wallet named on the chain, read so that no single endpoint has to be believed.

Only from logs up to a block that the endpoints agree on: a view of the newest state may differ between honest ones.
Where several are named, each single answer is that of two, or nothing is read: a node waits that out, a judgement must
not.
"""

from __future__ import annotations

from typing import Any, Final

from eth_hash.auto import keccak

from warmline.chain.endpoints import Source
from warmline.chain.events import unhex
from warmline.chain.heads import newest
from warmline.chain.manifest import Manifest
from warmline.chain.spans import logs_between
from warmline.env import Clock

REGISTRY: Final = "DelegateRegistry"
_SET: Final = "0x" + bytes(keccak(b"DelegateSet(address,bytes32,uint64)")).hex()
_REVOKED: Final = "0x" + bytes(keccak(b"DelegatesRevokedBefore(address,uint64)")).hex()


async def was_delegated(
    source: Source, manifest: Manifest, wallet: bytes, key: bytes, clock: Clock | None = None
) -> bool:
    """Whether the wallet ever let this key speak for it: who ended that since answers for before.

    With a clock, here and below: ClockError where the chain's newest block is more than an hour from it.
    """
    return any(_named(log, wallet, key) for log in await _logs(source, manifest, wallet, clock))


async def delegated_until(
    source: Source, manifest: Manifest, wallet: bytes, key: bytes, clock: Clock | None = None
) -> int:
    """Second from which the key speaks for the wallet no more; 0 where it never did, or all keys were ended since."""
    until_s = 0
    for log in await _logs(source, manifest, wallet, clock):
        if log["topics"][0].lower() == _REVOKED:
            until_s = 0
        elif _named(log, wallet, key):
            until_s = int.from_bytes(unhex(log["data"]))
    return until_s


class _Firm:
    """A source whose every answer is that of two, where several endpoints were named."""

    def __init__(self, source: Source) -> None:
        self.call = source.firm


async def _logs(source: Source, manifest: Manifest, wallet: bytes, clock: Clock | None) -> list[Any]:
    """What the registry says of a wallet, oldest first."""
    asked, about = _Firm(source), _topic(wallet)
    head = await newest(asked, clock)
    wanted = {"address": "0x" + manifest.address(REGISTRY).hex(), "topics": [[_SET, _REVOKED], about]}
    logs = await logs_between(asked, wanted, manifest.start_block, head.number)
    # Not every endpoint filters by all topics; what it sends is looked at, too.
    return [log for log in logs if log["topics"][1].lower() == about]


def _named(log: Any, wallet: bytes, key: bytes) -> bool:
    return [topic.lower() for topic in log["topics"]] == [_SET, _topic(wallet), "0x" + key.hex()]


def _topic(wallet: bytes) -> str:
    return "0x" + wallet.rjust(32, b"\0").hex()
