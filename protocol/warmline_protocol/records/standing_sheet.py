"""What a node's chain view says of *all* supporters of its directory, signed with the block it was read at.

There is no question about one supporter, because asking would tell who is interested in whom.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from warmline_protocol import limits
from warmline_protocol.codec import decode, encode, frame, frames
from warmline_protocol.errors import MalformedError
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.records.conduct import Conduct, KeyRoot
from warmline_protocol.records.delegation import Wallet
from warmline_protocol.records.standing import ChainHead, Credential, Standing
from warmline_protocol.wire import U53, Bytes32, Range, Size, pack, unpack

GWEI: Final = 10**9
STANDING_ROW: Final = 4096


@dataclass(frozen=True, slots=True)
class CredentialRow:
    type: Bytes32
    issuer: Wallet
    until_s: U53


@dataclass(frozen=True, slots=True)
class DelegateRow:
    key: Bytes32
    until_s: U53


@dataclass(frozen=True, slots=True)
class StandingRow:
    wallet: Wallet
    credentials: Annotated[tuple[CredentialRow, ...], Size(0, 16)]
    delegates: Annotated[tuple[DelegateRow, ...], Size(0, 16)]
    bond_gwei: U53
    suspended_until_s: U53
    revoked_before_s: U53


@dataclass(frozen=True, slots=True)
class ConductRow:
    """When epochs are and who collects. ``collectors``: addresses, one after another."""

    contract: Wallet
    genesis_s: U53
    length_s: Annotated[int, Range(1, 2**53 - 1)]
    collectors: Annotated[bytes, Size(0, 64 * 20)]
    threshold: Annotated[int, Range(0, 64)]


@dataclass(frozen=True, slots=True)
class KeyRootRow:
    issuer: Wallet
    epoch: U53
    count: U53
    root: Bytes32


@dataclass(frozen=True, slots=True)
class SheetHead:
    """Which block the sheet was read at, and the SHA-256 of its rows.

    ``keys``, where there is feedback: so many rows at the end are key roots, and the one before them is the conduct's.
    """

    chain_id: U53
    number: U53
    hash: Bytes32
    time_s: U53
    rows: Bytes32
    keys: Annotated[int, Range(0, limits.KEY_ROOTS_MAX)] | None = None


@dataclass(frozen=True, slots=True)
class SignedHead:
    head: Annotated[bytes, Size(1, 512)]
    sig: Annotated[bytes, Size(64, 64)]


@dataclass(frozen=True, slots=True)
class StandingSheet:
    """What one node says of all supporters at one block; a ``StandingSource`` for admission on the client."""

    chain: ChainHead
    wallets: dict[bytes, Standing]
    conduct: Conduct | None = None

    def head(self) -> ChainHead | None:
        return self.chain

    def of(self, wallet: bytes) -> Standing | None:
        return self.wallets.get(wallet)


def sign_standing(
    head: ChainHead, standings: Iterable[Standing], key: SigningKey, conduct: Conduct | None = None
) -> bytes:
    """The sheet of these supporters, and of feedback where it is given, signed with the node's key."""
    parts: list[object] = [_standing_row(s, head.time_s) for s in sorted(standings, key=lambda each: each.wallet)]
    keys = None
    if conduct is not None:
        roots = conduct.roots[-limits.KEY_ROOTS_MAX :]
        collectors = b"".join(conduct.collectors)
        parts.append(ConductRow(conduct.contract, conduct.genesis_s, conduct.length_s, collectors, conduct.threshold))
        parts += [KeyRootRow(one.issuer, one.epoch, one.count, one.root) for one in roots]
        keys = len(roots)
    rows = b"".join(frame(encode(pack(part))) for part in parts)
    digest = hashlib.sha256(rows).digest()
    packed = encode(pack(SheetHead(head.chain_id, head.number, head.hash, head.time_s, digest, keys)))
    return frame(encode(pack(SignedHead(packed, key.sign("standing", packed))))) + rows


def read_standing(data: bytes, node_key: bytes) -> StandingSheet | None:
    """The sheet that ``node_key`` signed; None for a node without a chain; RemoteError for anything unsound."""
    if not data:
        return None
    first, *parts = list(frames(data, STANDING_ROW))
    signed = unpack(SignedHead, _map(first))
    verify(node_key, "standing", signed.head, signed.sig)
    head = unpack(SheetHead, _map(signed.head))
    rows = data[len(frame(first)) :]
    if hashlib.sha256(rows).digest() != head.rows:
        raise MalformedError("a standing sheet whose rows are not those that were signed")
    conduct = None
    if head.keys is not None:
        if len(parts) <= head.keys:
            raise MalformedError("a standing sheet with fewer rows than it says")
        parts, kept = parts[: -head.keys - 1], parts[-head.keys - 1 :]
        conduct = _conduct(kept[0], kept[1:])
    standings = [_standing(unpack(StandingRow, _map(part))) for part in parts]
    chain = ChainHead(head.chain_id, head.number, head.hash, head.time_s)
    return StandingSheet(chain, {standing.wallet: standing for standing in standings}, conduct)


def _conduct(first: bytes, roots: Sequence[bytes]) -> Conduct:
    row = unpack(ConductRow, _map(first))
    if len(row.collectors) % 20:
        raise MalformedError("collectors that are no addresses")
    keys = [unpack(KeyRootRow, _map(part)) for part in roots]
    return Conduct(
        row.contract,
        row.genesis_s,
        row.length_s,
        tuple(row.collectors[at : at + 20] for at in range(0, len(row.collectors), 20)),
        row.threshold,
        tuple(KeyRoot(each.issuer, each.epoch, each.count, each.root) for each in keys),
    )


def _standing_row(standing: Standing, at_s: int) -> StandingRow:
    held = [each for each in standing.credentials if each.from_s <= at_s]  # not those of a suspended issuer
    return StandingRow(
        standing.wallet,
        tuple(CredentialRow(c.type_id, c.issuer, c.until_s) for c in held[:16]),
        tuple(DelegateRow(key, until) for key, until in standing.delegates[-16:]),
        min(standing.bond_wei // GWEI, 2**53 - 1),
        standing.suspended_until_s,
        standing.revoked_before_s,
    )


def _standing(row: StandingRow) -> Standing:
    return Standing(
        row.wallet,
        tuple(Credential(c.type, c.issuer, c.until_s) for c in row.credentials),
        row.bond_gwei * GWEI,
        0,
        tuple((d.key, d.until_s) for d in row.delegates),
        row.revoked_before_s,
        row.suspended_until_s,
    )


def _map(data: bytes) -> dict[str, object]:
    fields = decode(data)
    if not isinstance(fields, dict):
        raise MalformedError("not a map")
    return dict(fields)
