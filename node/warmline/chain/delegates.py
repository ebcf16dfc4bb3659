"""Which device keys a wallet named on the chain, read so that no single endpoint has to be believed.

Only from logs up to a block that the endpoints agree on: a view of the newest state may differ between honest ones.
Where several are named and all but one are away, nothing is read: a node waits that out, a judgement must not.
"""

from __future__ import annotations

from typing import Any, Final

from eth_hash.auto import keccak

from warmline.chain.endpoints import AGREE, Source
from warmline.chain.errors import ChainUnreachableError
from warmline.chain.events import unhex
from warmline.chain.manifest import Manifest
from warmline.chain.spans import logs_between

REGISTRY: Final = "DelegateRegistry"
_SET: Final = "0x" + bytes(keccak(b"DelegateSet(address,bytes32,uint64)")).hex()
_REVOKED: Final = "0x" + bytes(keccak(b"DelegatesRevokedBefore(address,uint64)")).hex()


async def was_delegated(source: Source, manifest: Manifest, wallet: bytes, key: bytes) -> bool:
    """Whether the wallet ever let this key speak for it: who ended that since answers for before."""
    return any(_named(log, wallet, key) for log in await _logs(source, manifest, wallet))


async def delegated_until(source: Source, manifest: Manifest, wallet: bytes, key: bytes) -> int:
    """Second from which the key speaks for the wallet no more; 0 where it never did, or all keys were ended since."""
    until_s = 0
    for log in await _logs(source, manifest, wallet):
        if log["topics"][0].lower() == _REVOKED:
            until_s = 0
        elif _named(log, wallet, key):
            until_s = int.from_bytes(unhex(log["data"]))
    return until_s


async def _logs(source: Source, manifest: Manifest, wallet: bytes) -> list[Any]:
    """What the registry says of a wallet, oldest first."""
    head = await source.call("eth_getBlockByNumber", "latest", False)
    about = _topic(wallet)
    wanted = {"address": "0x" + manifest.address(REGISTRY).hex(), "topics": [[_SET, _REVOKED], about]}
    logs = await logs_between(source, wanted, manifest.start_block, int(head["number"], 16))
    states = [one.state for one in source.statuses()]
    if states and states.count("ok") < AGREE:
        raise ChainUnreachableError(
            "of the chain endpoints that were named only one answers, and one alone is not believed",
            hint="Try again, or name another with --also.",
        )
    # Not every endpoint filters by all topics; what it sends is looked at, too.
    return [log for log in logs if log["topics"][1].lower() == about]


def _named(log: Any, wallet: bytes, key: bytes) -> bool:
    return [topic.lower() for topic in log["topics"]] == [_SET, _topic(wallet), "0x" + key.hex()]


def _topic(wallet: bytes) -> str:
    return "0x" + wallet.rjust(32, b"\0").hex()
