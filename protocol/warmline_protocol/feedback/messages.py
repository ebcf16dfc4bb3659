"""What is said about feedback, one class a message.

Between issuer and supporter: ``Grant``, ``TokenRequest``, ``TokenAnswer``. Inside a session, before the first word: the
grant again, ``TokenAsk``, ``TokenGiven`` or ``TokenMissing``. From a seeker to a collector, sealed: ``Rating``. Among
collectors, and for whoever recomputes: the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from warmline_protocol import limits
from warmline_protocol.wire import U53, Bytes32, OneOf, Range, Size, message

Wallet: TypeAlias = Annotated[bytes, Size(20, 20)]
Number: TypeAlias = Annotated[bytes, Size(limits.FEEDBACK_KEY_SIZE, limits.FEEDBACK_KEY_SIZE)]
"""As long as an epoch key's modulus."""
Signature: TypeAlias = Annotated[bytes, Size(64, 64)]
Epoch: TypeAlias = Annotated[int, Range(1, 2**53 - 1)]
Proof: TypeAlias = Annotated[tuple[Bytes32, ...], Size(0, limits.FEEDBACK_PROOF_MAX)]


@message("feedback-grant")
@dataclass(frozen=True, slots=True)
class Grant:
    """An issuer's vouchers for one supporter in one epoch, with the key that signs tokens for them, and the proof that
    the root on the chain says so."""

    issuer: Wallet
    supporter: Wallet
    epoch: Epoch
    count: Annotated[int, Range(1, limits.FEEDBACK_VOUCHERS_MAX)]
    modulus: Number
    proof: Proof


@message("token-ask")
@dataclass(frozen=True, slots=True)
class TokenAsk:
    """Seeker to supporter: please have this signed. Says nothing about the token that comes of it."""

    blinded: Number


@message("token-request")
@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Supporter to issuer: voucher ``number`` (from 0) for this. Signed by the supporter's delegated ``key``."""

    issuer: Wallet
    supporter: Wallet
    epoch: Epoch
    number: U53
    blinded: Number
    key: Bytes32
    signature: Signature


@message("token-answer")
@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """Issuer to supporter. The same request is answered the same, however often it comes."""

    signed: Number


@message("token-given")
@dataclass(frozen=True, slots=True)
class TokenGiven:
    """Supporter to seeker."""

    signed: Number


@message("token-missing")
@dataclass(frozen=True, slots=True)
class TokenMissing:
    """Supporter to seeker: no feedback about this session will be possible. *Verified* disappears, support goes on."""

    why: Annotated[str, OneOf("no grant", "no voucher", "issuer away", "refused")]


@message("rating")
@dataclass(frozen=True, slots=True)
class Rating:
    """Inside the sealed drop. ``serial`` is a one-use Ed25519 key: the blind-signed token names it, and it signs the
    answer, so that no collector can turn an answer round. ``again`` has been randomised already."""

    grant: Grant
    serial: Bytes32
    prefix: Bytes32
    token: Number
    again: bool
    not_before_s: U53
    signature: Signature


@message("set-announcement")
@dataclass(frozen=True, slots=True)
class SetAnnouncement:
    """A collector's word at the cut-off of an epoch on what it holds, before it has seen what others hold."""

    epoch: Epoch
    collector: Wallet
    count: U53
    digest: Bytes32
    key: Bytes32
    signature: Signature


@message("collector-read")
@dataclass(frozen=True, slots=True)
class CollectorRead:
    """What a collector laid out for an epoch, from a byte on: its announcement, its vote, what it heard announced, its
    set as it is sealed to ``reader``, another collector, or the set ``of`` a third that it passes on to them."""

    what: Annotated[str, OneOf("announcement", "set", "vote", "heard", "passed")]
    epoch: Epoch
    offset: U53
    reader: Wallet | None = None
    of: Wallet | None = None


@message("batch-head")
@dataclass(frozen=True, slots=True)
class BatchHead:
    """First frame of a batch: the contract and the epoch that it is posted for."""

    chain_id: U53
    contract: Wallet
    epoch: Epoch
    tokens: U53


@message("batch-row")
@dataclass(frozen=True, slots=True)
class BatchRow:
    """One answer under the grant in the frame before it."""

    serial: Bytes32
    prefix: Bytes32
    token: Number
    again: bool
    signature: Signature


@message("batch-read")
@dataclass(frozen=True, slots=True)
class BatchRead:
    """The batch with this hash, from a byte on."""

    data_hash: Bytes32
    offset: U53


@message("batch-page")
@dataclass(frozen=True, slots=True)
class BatchPage:
    """``size`` is that of the whole."""

    data: Annotated[bytes, Size(0, limits.FEEDBACK_PAGE_BYTES)]
    size: U53


@message("epoch-vote")
@dataclass(frozen=True, slots=True)
class EpochVote:
    """A collector's signature over what is posted (EIP-712 ``Epoch`` of ConductEpochs), for whoever gathers them."""

    epoch: Epoch
    previous_root: Bytes32
    root: Bytes32
    data_hash: Bytes32
    tokens: U53
    collector: Wallet
    signature: Annotated[bytes, Size(65, 1024)]


@message("collector-sheet")
@dataclass(frozen=True, slots=True)
class CollectorSheet:
    """A collector's keys: its wallet's word (EIP-712) for an Ed25519 key, an X-Wing key to seal to, and how long."""

    chain_id: U53
    contract: Wallet
    collector: Wallet
    key: Bytes32
    sealing: Annotated[bytes, Size(1216, 1216)]
    from_epoch: Epoch
    until_epoch: Epoch
    signature: Annotated[bytes, Size(65, 65)]


@message("set-heard")
@dataclass(frozen=True, slots=True)
class SetHeard:
    """What a collector heard another (or itself) announce, with the sheet that proves whose word it is. ``taken``: it
    has the set, and passes it on to collectors who have not."""

    sheet: CollectorSheet
    said: SetAnnouncement
    taken: bool
