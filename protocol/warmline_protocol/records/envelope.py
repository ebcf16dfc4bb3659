"""The envelope of every signed record: sign, open, and the id under which the newest one is kept.

``open_record`` is the only way in. It goes from cheap to dear (size, shape, Ed25519, secp256k1) and what it returns is
verified: later code judges time and standing, never signatures. The owner stands inside the signed body, so taking a
delegation off a record, or putting one on, breaks it instead of giving it a second identity.

A *tombstone* ends a record of the same owner. It lives exactly as long after its signing as the record kind may, so no
copy of what it ended can outlive it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.records.card import Card, Owner, check_owner
from warmline_protocol.records.collector import CollectorRecord
from warmline_protocol.records.delegation import NODE as NODE_SCOPE
from warmline_protocol.records.delegation import SUPPORTER, Delegation
from warmline_protocol.records.desk import Desk
from warmline_protocol.records.listing import Listing
from warmline_protocol.records.node import NodeRecord
from warmline_protocol.wire import U53, Bytes32, OneOf, Size, pack, unpack

NODE, CARD, LISTING, DESK, COLLECTOR, TOMBSTONE = "node", "card", "listing", "desk", "collector", "tombstone"
KINDS = (NODE, CARD, LISTING, DESK, COLLECTOR, TOMBSTONE)
LIFE_MS = {
    NODE: limits.NODE_LIFE_MS,
    CARD: limits.CARD_LIFE_MS,
    LISTING: limits.LISTING_LIFE_MS,
    DESK: limits.DESK_LIFE_MS,
    COLLECTOR: limits.COLLECTOR_LIFE_MS,
}


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Kind ``tombstone``: the owner's record ``of`` (kind) and ``slug`` ended at ``seq``."""

    owner: Owner
    of: Annotated[str, OneOf(CARD, LISTING, NODE, DESK, COLLECTOR)]
    slug: Annotated[str, Size(0, 48)]
    seq: U53
    not_after: U53

    def __post_init__(self) -> None:
        check_owner(self.owner)
        if self.not_after != self.seq + LIFE_MS[self.of]:
            raise UsageError("a tombstone that does not outlive what it ends")


Body: TypeAlias = NodeRecord | Card | Listing | Desk | CollectorRecord | Tombstone
_CLASSES: dict[str, type[Body]] = {
    NODE: NodeRecord,
    CARD: Card,
    LISTING: Listing,
    DESK: Desk,
    COLLECTOR: CollectorRecord,
    TOMBSTONE: Tombstone,
}


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """``sig`` is ``key``'s over ``body`` in the domain ``record/<kind>``; ``body`` is canonical msgpack."""

    kind: Annotated[str, OneOf(*KINDS)]
    body: Annotated[bytes, Size(1, limits.RECORD_MAX)]
    key: Bytes32
    sig: Annotated[bytes, Size(64, 64)]
    delegation: Delegation | None = None


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """A record whose signatures hold. ``id`` is 32 bytes, ``digest`` SHA-256 of ``data``, times in ms UTC."""

    data: bytes
    id: bytes
    digest: bytes
    kind: str
    body: Body
    key: bytes
    delegation: Delegation | None

    @property
    def owner(self) -> bytes:
        """The wallet (20 bytes) that the record speaks for, or the key (32 bytes) where it has none."""
        return self.body.owner

    @property
    def wallet(self) -> bytes | None:
        return self.delegation.wallet if self.delegation else None

    @property
    def seq(self) -> int:
        return self.body.seq

    @property
    def ends(self) -> str:
        """The kind of record that lives under this id: a tombstone's is what it ends."""
        return self.body.of if isinstance(self.body, Tombstone) else self.kind

    @property
    def expires(self) -> int:
        """The ms from which nobody serves it; a delegation that ends takes its records along, tombstones excepted."""
        if self.delegation is None or self.kind == TOMBSTONE:
            return self.body.not_after
        return min(self.body.not_after, self.delegation.not_after_s * 1000)


def record_id(kind: str, owner: bytes, slug: str = "") -> bytes:
    """32 bytes: what newer records of the same owner, kind and slug replace each other under."""
    return hashlib.sha256(b"warmline/1/record-id\0" + encode([kind, owner, slug])).digest()


def sign_record(body: Body, key: SigningKey, delegation: Delegation | None = None) -> bytes:
    """The bytes of ``body`` in its envelope; :class:`UsageError` where it would not be valid."""
    kind = next(kind for kind, cls in _CLASSES.items() if type(body) is cls)
    packed = encode(pack(body))
    signed = SignedRecord(kind, packed, key.public, key.sign(f"record/{kind}", packed), delegation)
    data = encode(pack(signed))
    try:
        open_record(data)
    except (MalformedError, BadSignatureError) as error:
        raise UsageError(f"this {kind} would not be valid: {error}", hint=error.hint) from None
    return data


def end_record(ended: OpenedRecord, key: SigningKey, seq: int, delegation: Delegation | None = None) -> bytes:
    """The bytes of a tombstone for ``ended``, signed at ``seq`` ms."""
    slug = ended.body.slug if isinstance(ended.body, Listing | Desk) else ""
    return tombstone(ended.kind, ended.owner, slug, key, max(seq, ended.seq + 1), delegation)


def tombstone(
    of: str, owner: bytes, slug: str, key: SigningKey, seq: int, delegation: Delegation | None = None
) -> bytes:
    """The bytes of a tombstone for the record of ``owner`` that is named by kind and slug."""
    return sign_record(Tombstone(owner, of, slug, seq, seq + LIFE_MS[of]), key, delegation)


def open_record(data: bytes) -> OpenedRecord:
    """The verified record in ``data``; Oversize, Malformed or BadSignature error otherwise."""
    fields = decode(data, max_size=limits.RECORD_MAX)
    if not isinstance(fields, dict):
        raise MalformedError("a record that is not a map")
    signed = unpack(SignedRecord, fields)
    inside = decode(signed.body, max_size=limits.RECORD_MAX)
    if not isinstance(inside, dict):
        raise MalformedError("a record body that is not a map")
    body: Body = unpack(_CLASSES[signed.kind], inside)
    _check_times(signed.kind, body)
    _check_speaker(signed, body)
    verify(signed.key, f"record/{signed.kind}", signed.body, signed.sig)
    if signed.delegation is not None:
        signed.delegation.check()
    digest = hashlib.sha256(data).digest()
    return OpenedRecord(data, _id_of(signed.kind, body), digest, signed.kind, body, signed.key, signed.delegation)


def _id_of(kind: str, body: Body) -> bytes:
    if isinstance(body, Tombstone):
        return record_id(body.of, body.owner, body.slug)
    return record_id(kind, body.owner, body.slug if isinstance(body, Listing | Desk) else "")


def _check_times(kind: str, body: Body) -> None:
    if isinstance(body, Tombstone):
        return
    if not 0 < body.not_after - body.seq <= LIFE_MS[kind]:
        raise MalformedError(f"a {kind} that lives longer than {LIFE_MS[kind] // 3_600_000} hours")


def _check_speaker(signed: SignedRecord, body: Body) -> None:
    given = signed.delegation
    about_node = isinstance(body, NodeRecord) or (isinstance(body, Tombstone) and body.of == NODE)
    if given is not None:
        if given.key != signed.key:
            raise MalformedError("a delegation for another key than the one that signed")
        if given.scope != (NODE_SCOPE if about_node else SUPPORTER):
            raise MalformedError(f"a delegation of scope {given.scope} on this kind of record")
        skew = limits.CLOCK_SKEW_MS
        if not given.not_before_s * 1000 - skew <= body.seq <= given.not_after_s * 1000 + skew:
            raise MalformedError("a record signed outside the time of its delegation")
    if isinstance(body, CollectorRecord) and given is None:
        raise MalformedError("a collector's record without a wallet's delegation")
    if isinstance(body, NodeRecord) and body.wallet != (given.wallet if given else None):
        raise MalformedError("a node record whose operator's wallet is not the one that delegated")
    expected = signed.key if about_node or given is None else given.wallet
    if body.owner != expected:
        raise MalformedError("a record whose owner is not who signed it")
