"""An epoch's batch: the bytes behind the root on the chain, and how anybody computes that root again.

A batch is a row of frames: ``BatchHead``, then for each grant the ``Grant`` and its rows. Grants are in the order of
(supporter, epoch, issuer), rows in that of their serials, so that one set of answers has one batch. Its hash is
SHA-256. The root is a tree (see :mod:`.tree`) of each supporter's answers and noes, in tens.

Nothing in a batch has to be believed: each row holds a token under a key under a root that the issuer posted before the
epoch was over, and a signature by the key that the token names. What a batch cannot show is what was left out; that is
for collectors to see (:mod:`.collect`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from warmline_protocol import limits
from warmline_protocol.codec import FrameReader, encode, frame
from warmline_protocol.errors import MalformedError, OversizeError, UsageError
from warmline_protocol.feedback import tree
from warmline_protocol.feedback.grants import check_grant
from warmline_protocol.feedback.messages import BatchHead, BatchRow, Grant, Rating
from warmline_protocol.feedback.tokens import check_answer
from warmline_protocol.wire import from_wire, to_wire

KeyRoots: TypeAlias = Callable[[bytes, int], bytes | None]
"""The key root that an issuer posted for an epoch (``keyRootOf``), or None."""
GrantName: TypeAlias = tuple[bytes, int, bytes]
"""Supporter, epoch, issuer."""

_TOTALS = "totals"
_FRAME_MAX = 4096
_FRAMES: tuple[type[Grant | BatchRow], ...] = (Grant, BatchRow)


@dataclass(frozen=True, slots=True)
class Total:
    """Answers about one supporter in one batch, and how many of them said no. Randomised, not de-biased."""

    tokens: int
    noes: int


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What a batch comes to. ``epoch``, ``root``, ``data_hash`` and ``tokens`` must be what was posted."""

    epoch: int
    data_hash: bytes
    root: bytes
    tokens: int
    totals: Mapping[bytes, Total]
    serials: Mapping[bytes, GrantName]


def name_of(grant: Grant) -> GrantName:
    """What tells grants apart, in the order of batches."""
    return (grant.supporter, grant.epoch, grant.issuer)


def totals_root(totals: Mapping[bytes, Total], epoch: int) -> bytes:
    """The root to post."""
    leaves = {wallet: encode([epoch, total.tokens, total.noes]) for wallet, total in totals.items()}
    return tree.root(_TOTALS, leaves)


def totals_proof(totals: Mapping[bytes, Total], epoch: int, wallet: bytes) -> tuple[bytes, ...]:
    """Proof for one supporter's total."""
    return tree.proof({each: encode([epoch, t.tokens, t.noes]) for each, t in totals.items()}, wallet)


def check_total(root: bytes, epoch: int, wallet: bytes, total: Total, proof: tuple[bytes, ...]) -> None:
    """Raise unless the posted ``root`` says so."""
    tree.check(_TOTALS, root, wallet, encode([epoch, total.tokens, total.noes]), proof)


def write_batch(chain_id: int, contract: bytes, epoch: int, ratings: Iterable[Rating]) -> bytes:
    """The batch of these ratings, whatever their order."""
    ordered = sorted(ratings, key=lambda rating: (name_of(rating.grant), rating.serial))
    parts = [frame(to_wire(BatchHead(chain_id, contract, epoch, len(ordered))))]
    current: Grant | None = None
    for rating in ordered:
        if rating.grant != current:
            current = rating.grant
            parts.append(frame(to_wire(current)))
        row = BatchRow(rating.serial, rating.prefix, rating.token, rating.again, rating.signature)
        parts.append(frame(to_wire(row)))
    data = b"".join(parts)
    if len(data) > limits.FEEDBACK_BATCH_MAX:
        raise UsageError("a batch above its limit", hint="Hold answers back until the next epoch.")
    return data


def data_hash(data: bytes) -> bytes:
    """What the contract names the batch by."""
    return hashlib.sha256(data).digest()


def read_batch(data: bytes) -> tuple[BatchHead, Iterator[Rating]]:
    """The head and, one after another, the ratings; :class:`MalformedError` for any other order or shape.

    Signatures are not checked here. ``not_before_s`` is not kept by a batch and is 0.
    """
    if len(data) > limits.FEEDBACK_BATCH_MAX:
        raise OversizeError("a batch above its limit")
    reader = FrameReader(_FRAME_MAX)
    reader.feed(data)
    first = reader.next()
    if first is None:
        raise MalformedError("a batch without a head")
    return from_wire(first, (BatchHead,)), _ratings(reader)


def _ratings(reader: FrameReader) -> Iterator[Rating]:
    grant: Grant | None = None
    serial, empty = b"", False
    while (part := reader.next()) is not None:
        item: Grant | BatchRow = from_wire(part, _FRAMES)
        if isinstance(item, Grant):
            if empty or (grant is not None and name_of(grant) >= name_of(item)):
                raise MalformedError("grants out of order in a batch, or without rows")
            grant, serial, empty = item, b"", True
            continue
        if grant is None or item.serial <= serial:
            raise MalformedError("rows out of order in a batch")
        serial, empty = item.serial, False
        yield Rating(grant, item.serial, item.prefix, item.token, item.again, 0, item.signature)
    if reader.mid_frame or empty:
        raise MalformedError("a batch that ends too early")


class Ledger:
    """What earlier batches used up. To recompute a chain of epochs, feed it their batches in order."""

    def __init__(self, chain_id: int, contract: bytes, key_roots: KeyRoots) -> None:
        self._place = (chain_id, contract)
        self._key_roots = key_roots
        self._spent: dict[bytes, GrantName] = {}
        self._used: Counter[GrantName] = Counter()

    def is_spent(self, serial: bytes) -> bool:
        return serial in self._spent

    def root_for(self, grant: Grant, epoch: int) -> bytes:
        """The root that a grant must be under to count in the batch of ``epoch``; :class:`MalformedError` if none."""
        root = self._key_roots(grant.issuer, grant.epoch)
        if root is None:
            raise MalformedError("a grant under a root that nobody posted")
        if not epoch - limits.FEEDBACK_WINDOW_EPOCHS <= grant.epoch < epoch:
            raise MalformedError("an answer of an epoch that does not count here")
        return root

    def check(self, data: bytes, vouchers: int) -> Recomputed:
        """Recompute a batch; RemoteError unless all in it is as it must be. ``vouchers``: ``vouchersOf(epoch)``.

        About 0.15 ms an answer.
        """
        head, ratings = read_batch(data)
        if (head.chain_id, head.contract) != self._place:
            raise MalformedError("a batch for another contract")
        tokens: Counter[bytes] = Counter()
        noes: Counter[bytes] = Counter()
        used = self._used.copy()
        serials: dict[bytes, GrantName] = {}
        checked: GrantName | None = None
        for rating in ratings:
            name = name_of(rating.grant)
            if name != checked:
                check_grant(rating.grant, self.root_for(rating.grant, head.epoch))
                checked = name
            check_answer(rating)
            if self.is_spent(rating.serial) or rating.serial in serials:
                raise MalformedError("a token that was counted before")
            used[name] += 1
            if used[name] > rating.grant.count:
                raise MalformedError("more tokens than the supporter was granted vouchers")
            serials[rating.serial] = name
            tokens[rating.grant.supporter] += 1
            noes[rating.grant.supporter] += not rating.again
        if any(count % limits.FEEDBACK_STEP for count in tokens.values()):
            raise MalformedError(f"answers about somebody that are not in steps of {limits.FEEDBACK_STEP}")
        if len(serials) != head.tokens or head.tokens > vouchers:
            raise MalformedError("not as many answers as the head says, or more than there are vouchers")
        totals = {wallet: Total(tokens[wallet], noes[wallet]) for wallet in sorted(tokens)}
        root = totals_root(totals, head.epoch)
        return Recomputed(head.epoch, data_hash(data), root, len(serials), totals, serials)

    def add(self, settled: Recomputed) -> None:
        """This batch stands: its tokens are spent. What is too old to come again is forgotten."""
        self._spent.update(settled.serials)
        self._used.update(settled.serials.values())
        oldest = settled.epoch - limits.FEEDBACK_WINDOW_EPOCHS
        self._spent = {serial: name for serial, name in self._spent.items() if name[1] >= oldest}
        self._used = Counter({name: count for name, count in self._used.items() if name[1] >= oldest})


class Window:
    """Totals of the last thirteen epochs, from which alarms are raised."""

    def __init__(self) -> None:
        self._epochs: dict[int, Mapping[bytes, Total]] = {}

    def add(self, epoch: int, totals: Mapping[bytes, Total]) -> None:
        """Totals that stand."""
        self._epochs[epoch] = totals
        for old in [each for each in self._epochs if each <= max(self._epochs) - limits.FEEDBACK_WINDOW_EPOCHS]:
            del self._epochs[old]

    def of(self, wallet: bytes) -> Total:
        """The sum for one supporter."""
        found = [totals[wallet] for totals in self._epochs.values() if wallet in totals]
        return Total(sum(each.tokens for each in found), sum(each.noes for each in found))

    def wallets(self) -> tuple[bytes, ...]:
        """Everybody about whom something is known."""
        return tuple(sorted({wallet for totals in self._epochs.values() for wallet in totals}))
