"""``/warmline/feedback/1``: what an issuer's node answers its supporters, and what a collector's node hands out.

A grant says how many vouchers somebody has, and so how busy they may be: it is told to them alone, who prove that they
speak for the wallet. A request for a token proves the same (see ``grants``).

What collectors lay out is public, except sets: there may be fewer than ten answers about somebody in one, so each
reader's copy is sealed to that collector, and the node that hands it out cannot read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from warmline_protocol.codec import encode, frame, frames
from warmline_protocol.errors import RefusedError
from warmline_protocol.feedback.messages import BatchRead, CollectorRead, Epoch, Rating, Signature, Wallet
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.limits import CLOCK_SKEW_MS
from warmline_protocol.session import xwing
from warmline_protocol.wire import U53, Bytes32, from_wire, message, to_wire

PROTOCOL = "/warmline/feedback/1"
_DOMAIN = "grant-wanted"
_SET = "rating-set"
_RATING_MAX = 4096


@message("grant-wanted")
@dataclass(frozen=True, slots=True)
class GrantWanted:
    """Supporter to issuer: what am I granted for this epoch? Signed by the delegated ``key`` at ``at_ms``."""

    issuer: Wallet
    supporter: Wallet
    epoch: Epoch
    at_ms: U53
    key: Bytes32
    signature: Signature


def want_grant(issuer: bytes, supporter: bytes, epoch: int, key: SigningKey, now_ms: int) -> GrantWanted:
    """The signed question."""
    signature = key.sign(_DOMAIN, _line(issuer, supporter, epoch, now_ms))
    return GrantWanted(issuer, supporter, epoch, now_ms, key.public, signature)


def check_wanted(wanted: GrantWanted, now_ms: int) -> None:
    """Raise :class:`BadSignatureError` unless that key asks, RefusedError unless it asks now: an old question that
    somebody recorded gets no answer."""
    verify(wanted.key, _DOMAIN, _line(wanted.issuer, wanted.supporter, wanted.epoch, wanted.at_ms), wanted.signature)
    if abs(now_ms - wanted.at_ms) > CLOCK_SKEW_MS:
        raise RefusedError("clock", "this question was not signed now", hint="Set this device's clock.")


def _line(issuer: bytes, supporter: bytes, epoch: int, at_ms: int) -> bytes:
    return encode([issuer, supporter, epoch, at_ms])


# -- collectors


def served_name(question: CollectorRead | BatchRead) -> str:
    """The name of the file in a collector's folder that answers the question."""
    if isinstance(question, BatchRead):
        return f"{question.data_hash.hex()}.batch"
    more = [wallet.hex() for wallet in (question.reader, question.of) if wallet is not None]
    return ".".join([str(question.epoch), question.what, *more])


def write_ratings(ratings: Iterable[Rating]) -> bytes:
    """One frame each."""
    return b"".join(frame(to_wire(rating)) for rating in ratings)


def read_ratings(data: bytes) -> tuple[Rating, ...]:
    """The inverse; signatures are not checked."""
    return tuple(from_wire(part, (Rating,)) for part in frames(data, _RATING_MAX))


def seal_set(ratings: Iterable[Rating], collector: bytes) -> bytes:
    """A set, for the collector with this 1216-byte X-Wing key."""
    return xwing.seal(collector, write_ratings(ratings), _SET)


def open_set(sealed: bytes, key: xwing.SealingKey) -> tuple[Rating, ...]:
    """The inverse; :class:`MalformedError` for anything else."""
    return read_ratings(key.open(sealed, _SET))
