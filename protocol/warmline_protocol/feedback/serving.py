"""``/warmline/feedback/1``: what an issuer's node answers its supporters.

A grant says how many vouchers somebody has, and so how busy they may be: it is told to them alone, who prove that they
speak for the wallet. A request for a token proves the same (see ``grants``).
"""

from __future__ import annotations

from dataclasses import dataclass

from warmline_protocol.codec import encode
from warmline_protocol.errors import RefusedError
from warmline_protocol.feedback.messages import Epoch, Signature, Wallet
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.limits import CLOCK_SKEW_MS
from warmline_protocol.wire import U53, Bytes32, message

PROTOCOL = "/warmline/feedback/1"
_DOMAIN = "grant-wanted"


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
