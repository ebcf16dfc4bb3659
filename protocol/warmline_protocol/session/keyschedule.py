"""The outer keys: what a relay that records today would have to break besides MLS.

``K(e+1) = HKDF-SHA256(ikm = K(e), salt = exporter(e+1), info = label)``: each epoch mixes what X-Wing brought at the
start with what MLS renewed since. The commit that ends epoch e travels under K(e); a joiner is told K(e+1) in its
Welcome envelope and never K(e). After a commit one old key stays until the peer speaks in the new epoch, ten minutes
at most; with no common order in a one-to-one session a message may still be on its way under it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from warmline_protocol import limits
from warmline_protocol.errors import UsageError

EXPORTER_LABEL = b"warmline/1/outer"
_NEXT = b"warmline/1/outer next"
_FIRST = b"warmline/1/outer first"


def derive(key: bytes, purpose: str, *, salt: bytes = b"", size: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869) of ``key`` for one named purpose."""
    return _hkdf(key, salt, b"warmline/1/" + purpose.encode(), size)


def first_key(reply_secret: bytes, random: bytes) -> bytes:
    """K(0): the joiner's secret, which came sealed by X-Wing, and 32 random bytes of the host."""
    if len(reply_secret) != 32 or len(random) != 32:
        raise UsageError("K(0) is made of two values of 32 bytes")
    return _hkdf(reply_secret, random, _FIRST, 32)


def next_key(key: bytes, exporter: bytes) -> bytes:
    """K(e+1) from K(e) and the MLS exporter of epoch e+1 (label ``EXPORTER_LABEL``, 32 bytes)."""
    return _hkdf(key, exporter, _NEXT, 32)


def _hkdf(key: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(key)


@dataclass(frozen=True, slots=True)
class EpochKey:
    """One outer key and the epoch, by our own count, that it belongs to."""

    number: int
    key: bytes

    @property
    def digest(self) -> bytes:
        """16 bytes that two members compare to know that they are in step."""
        return derive(self.key, "outer digest", size=16)

    @property
    def send_key(self) -> bytes:
        """The capability to append to a room log in this epoch."""
        return derive(self.key, "log send")

    @property
    def read_key(self) -> bytes:
        """The capability to read a room log in this epoch."""
        return derive(self.key, "log read")


class KeySchedule:
    """The current outer key and, for a while, the one before it."""

    def __init__(
        self, current: EpochKey, previous: EpochKey | None = None, previous_until_ms: int | None = None
    ) -> None:
        self.current = current
        self.previous = previous
        self.previous_until_ms = previous_until_ms

    def advance(self, exporter: bytes, now_ms: int) -> EpochKey:
        """Enter the next epoch; the key before the one kept, if any, is gone."""
        self.previous = self.current
        self.previous_until_ms = now_ms + limits.OLD_EPOCH_MS
        self.current = EpochKey(self.current.number + 1, next_key(self.current.key, exporter))
        return self.current

    def candidates(self) -> tuple[EpochKey, ...]:
        """The keys to try on a cell, newest first."""
        return (self.current,) if self.previous is None else (self.current, self.previous)

    def expired(self, now_ms: int) -> bool:
        """Whether the old key has outlived its ten minutes."""
        return self.previous_until_ms is not None and now_ms >= self.previous_until_ms

    def forget_previous(self) -> bool:
        """Drop the old key; True if there was one, so that the engine's old epoch goes with it."""
        had = self.previous is not None
        self.previous = self.previous_until_ms = None
        return had
