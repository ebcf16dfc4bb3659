"""Feedback as its contract tells it: key roots, what was posted, what stands, what can be vetoed.

Reads every log of the contract once and then only what is new, with some blocks again in case of a reorganisation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from warmline.chain.contracts import Call, Contracts, address_of, shown
from warmline.chain.endpoints import One, Source
from warmline.chain.errors import RpcGarbageError
from warmline.chain.events import decode_log, unhex
from warmline.chain.heads import newest
from warmline.chain.manifest import Manifest
from warmline.chain.provider import Rpc
from warmline.chain.spans import logs_between
from warmline.env import Clock
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.messages import CollectorSheet
from warmline_protocol.records.conduct import Conduct, KeyRoot, VouchersGranted

CONTRACT: Final = "ConductEpochs"
AGAIN: Final = 64
"""Blocks that are read again each time."""
_POSTED: Final = bytes(keccak(b"EpochPosted(uint64,bytes32,bytes32,bytes32,uint64,uint64)"))
_VETOED: Final = bytes(keccak(b"EpochVetoed(uint64,bytes32,address)"))


@dataclass(frozen=True, slots=True)
class Post:
    """What collectors posted for an epoch. It stands from ``stands_at_s`` on, unless it is ``vetoed``."""

    epoch: int
    previous_root: bytes
    root: bytes
    data_hash: bytes
    tokens: int
    stands_at_s: int
    vetoed: bool = False

    @property
    def said(self) -> dict[str, object]:
        """As ``Collector.objections`` takes it."""
        return {"epoch": self.epoch, "root": self.root, "data_hash": self.data_hash, "tokens": self.tokens}


@dataclass(frozen=True, slots=True)
class ConductNow:
    """Everything at one block, whose time is ``time_s``. ``vouchers``: all that were granted, by epoch."""

    time_s: int
    posts: tuple[Post, ...]
    roots: Mapping[tuple[bytes, int], KeyRoot]
    collectors: tuple[bytes, ...]
    threshold: int

    def key_root(self, issuer: bytes, epoch: int) -> bytes | None:
        found = self.roots.get((issuer, epoch))
        return None if found is None else found.root

    def vouchers(self, epoch: int) -> int:
        """``vouchersOf``."""
        return sum(root.count for (_, granted), root in self.roots.items() if granted == epoch)

    def standing(self) -> tuple[Post, ...]:
        """What stands, in order: the last is the present root's."""
        return tuple(post for post in self.posts if not post.vetoed and post.stands_at_s <= self.time_s)

    def pending(self) -> Post | None:
        """What can still be vetoed."""
        last = self.posts[-1] if self.posts else None
        return last if last is not None and not last.vetoed and last.stands_at_s > self.time_s else None

    def vetoed(self, epoch: int, root: bytes) -> bool:
        """Whether this can never be posted again."""
        return any(post.vetoed and (post.epoch, post.root) == (epoch, root) for post in self.posts)


class ConductChain(Contracts):
    """Reads the contract's logs; `now` is one look."""

    _logs: list[Mapping[str, Any]]
    _next = 0
    _terms: tuple[Epochs, int] | None = None

    def __init__(
        self, rpc: Rpc, manifest: Manifest, source: Source | None = None, *, clock: Clock | None = None
    ) -> None:
        """``source``: all endpoints that are asked, where there are more than ``rpc``: then those that answer must
        agree. With a clock, a chain whose newest block is more than an hour from it is refused."""
        super().__init__(rpc, manifest)
        self._clock = clock
        self._source = source or One(rpc)

    async def terms(self) -> tuple[Epochs, int]:
        """The epochs, and how many seconds a post can be vetoed."""
        if self._terms is None:
            genesis, length, window = [
                (await self._agreed(name, "uint64"))[0] for name in ("GENESIS", "EPOCH", "WINDOW")
            ]
            self._terms = Epochs(genesis, length), window
        return self._terms

    def set_collectors(self, named: Collection[bytes], threshold: int) -> Call:
        """In place of those before, from now on. The contract wants more than half of them as threshold, 16 at most."""
        ordered = sorted(set(named))
        says = f"name {', '.join(map(shown, ordered))} as collectors of feedback, of whom {threshold} must sign"
        return self._call(CONTRACT, "setCollectors", says, [shown(one) for one in ordered], threshold)

    async def now(self) -> ConductNow:
        """What the newest block knows. Raises RpcError, ChainUnreachableError, DisagreeError, ClockError."""
        head = await newest(self._source, self._clock)
        height = head.number
        first = max(self.manifest.start_block, self._next - AGAIN)
        kept = [log for log in getattr(self, "_logs", []) if int(log["blockNumber"], 16) < first]
        wanted = {"address": "0x" + self.manifest.address(CONTRACT).hex()}
        self._logs = kept + await logs_between(self._source, wanted, first, height)
        self._next = height + 1
        named, threshold = await self._agreed("collectors", "address[]", "uint8", at=hex(height))
        collectors = tuple(address_of(one) for one in named)
        return ConductNow(head.time_s, self._posts(), self._roots(), collectors, threshold)

    async def _agreed(self, function: str, *types: str, at: str = "latest") -> tuple[Any, ...]:
        """A view without arguments; ``latest`` only for what never changes."""
        asked = {
            "to": shown(self.manifest.address(CONTRACT)),
            "data": self._contract(CONTRACT).encode_abi(function, []),
        }
        answer = await self._source.call("eth_call", asked, at)
        try:
            return tuple(decode(types, unhex(answer)))
        except (DecodingError, TypeError, ValueError) as error:
            raise RpcGarbageError(f"the chain endpoint answered {function} with something else") from error

    async def conduct(self, seen: ConductNow) -> Conduct:
        """As nodes tell it."""
        epochs, _ = await self.terms()
        roots = tuple(seen.roots[key] for key in sorted(seen.roots))
        contract = self.manifest.address(CONTRACT)
        return Conduct(contract, epochs.genesis_s, epochs.length_s, seen.collectors, seen.threshold, roots)

    def _roots(self) -> dict[tuple[bytes, int], KeyRoot]:
        names = self.manifest.names()
        events = [decode_log(log, names) for log in self._logs]
        return {
            (event.issuer, event.epoch): KeyRoot(event.issuer, event.epoch, event.count, event.root)
            for event in reversed(events)
            if isinstance(event, VouchersGranted)
        }

    def _posts(self) -> tuple[Post, ...]:
        posts: list[Post] = []
        try:
            for log in self._logs:
                topics, data = [unhex(each) for each in log["topics"]], unhex(log["data"])
                words = [data[at : at + 32] for at in range(0, len(data), 32)]
                if topics[0] == _POSTED:
                    previous, root, data_hash, tokens, stands_at = words
                    counts = int.from_bytes(topics[1]), int.from_bytes(tokens), int.from_bytes(stands_at)
                    posts.append(Post(counts[0], previous, root, data_hash, counts[1], counts[2]))
                elif topics[0] == _VETOED:
                    posts = [_vetoed(post, int.from_bytes(topics[1]), words[0]) for post in posts]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise RpcGarbageError(f"the chain endpoint sent a log that cannot be read: {error}") from error
        return tuple(posts)

    def sheet_document(self, sheet: CollectorSheet) -> dict[str, Any]:
        """The EIP-712 document that a collector's wallet signs for its keys (`Wallet.sign_typed`)."""
        fields = {
            "collector": "address",
            "key": "bytes32",
            "sealing": "bytes32",
            "fromEpoch": "uint64",
            "untilEpoch": "uint64",
        }
        domain = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}
        return {
            "types": {
                "EIP712Domain": [{"name": name, "type": kind} for name, kind in domain.items()],
                "Collector": [{"name": name, "type": kind} for name, kind in fields.items()],
            },
            "primaryType": "Collector",
            "domain": {
                "name": "warmline ConductEpochs",
                "version": "1",
                "chainId": self.manifest.chain_id,
                "verifyingContract": shown(self.manifest.address(CONTRACT)),
            },
            "message": {
                "collector": shown(sheet.collector),
                "key": sheet.key,
                "sealing": bytes(keccak(sheet.sealing)),
                "fromEpoch": sheet.from_epoch,
                "untilEpoch": sheet.until_epoch,
            },
        }


def _vetoed(post: Post, epoch: int, root: bytes) -> Post:
    if (post.epoch, post.root) != (epoch, root):
        return post
    return Post(post.epoch, post.previous_root, post.root, post.data_hash, post.tokens, post.stands_at_s, vetoed=True)
