"""RSA blind signatures, RFC 9474: the issuer signs a token that it cannot recognise later.

No maintained Python library does this, so it is put together here step by step as the RFC says, and held to all four
of its vectors: PSS encoding of RFC 8017 section 9.1.1 over ``hashlib``, modular arithmetic on Python's integers, keys
and the final verification from ``cryptography``. The variant in use is RSABSSA-SHA384-PSS-Randomized.

**Python's integers are not constant time.** Who can measure the issuer's signing closely learns about what goes into
the exponentiation. So nothing fixed goes in: the base is multiplied by a fresh ``r^e`` before and by ``1/r`` after
(base blinding, Kocher 1996), and a fresh multiple of the group order is added to the exponent. What is left to a
listener is the time of an exponentiation with both operands random. Keys live one epoch, sign at most as often as
there are vouchers, and sign nothing else. The seeker's side has no long-lived secret: its blinding factor is used
once, and a listener to its timing would have to run on its machine.

Every result of the private key is checked with the public one before it leaves (RFC 9474 section 7.1): a fault in the
arithmetic would otherwise give the key away.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA384

from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError

Draw: TypeAlias = Callable[[int], bytes]

EXPONENT = 65537
_HASH = 48
_EXPONENT_BLINDING_BYTES = 16


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the four variants of RFC 9474 section 5."""

    name: str
    salt: int
    prefix: int


PSS_RANDOMIZED = Variant("RSABSSA-SHA384-PSS-Randomized", 48, 32)
PSSZERO_RANDOMIZED = Variant("RSABSSA-SHA384-PSSZERO-Randomized", 0, 32)
PSS_DETERMINISTIC = Variant("RSABSSA-SHA384-PSS-Deterministic", 48, 0)
PSSZERO_DETERMINISTIC = Variant("RSABSSA-SHA384-PSSZERO-Deterministic", 0, 0)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """``modulus``: big-endian bytes without leading zeros, a multiple of 8 bits; the exponent is always 65537."""

    modulus: bytes

    def __post_init__(self) -> None:
        if not self.modulus or self.modulus[0] < 0x80 or self.modulus[-1] % 2 == 0:
            raise MalformedError("not an RSA modulus")

    @property
    def n(self) -> int:
        return int.from_bytes(self.modulus)

    def apply(self, number: int) -> int:
        """RSAVP1 of RFC 8017."""
        return pow(number, EXPONENT, self.n)

    def verify(self, message: bytes, signature: bytes, variant: Variant = PSS_RANDOMIZED) -> None:
        """Raise :class:`BadSignatureError` unless ``signature`` is this key's over the prepared ``message``."""
        try:
            key = rsa.RSAPublicNumbers(EXPONENT, self.n).public_key()
            key.verify(signature, message, padding.PSS(padding.MGF1(SHA384()), variant.salt), SHA384())
        except InvalidSignature:
            raise BadSignatureError("a token that this epoch key did not sign") from None
        except ValueError:
            raise MalformedError("an RSA key that nobody would use") from None


class PrivateKey:
    """The issuer's key of one supporter for one epoch."""

    __slots__ = ("_dp", "_dq", "_p", "_q", "_qinv", "public")

    def __init__(self, p: int, q: int) -> None:
        self._p, self._q = p, q
        d = pow(EXPONENT, -1, math.lcm(p - 1, q - 1))
        self._dp, self._dq, self._qinv = d % (p - 1), d % (q - 1), pow(q, -1, p)
        n = p * q
        self.public = PublicKey(n.to_bytes((n.bit_length() + 7) // 8))

    @classmethod
    def generate(cls, bits: int) -> PrivateKey:
        """A fresh key. OpenSSL draws its randomness itself: this cannot be repeated from a seed."""
        numbers = rsa.generate_private_key(EXPONENT, bits).private_numbers()
        return cls(numbers.p, numbers.q)

    def save(self) -> bytes:
        """Secret bytes for :meth:`load`: both primes, each half as long as the modulus."""
        half = len(self.public.modulus) // 2
        return self._p.to_bytes(half) + self._q.to_bytes(half)

    @classmethod
    def load(cls, saved: bytes) -> PrivateKey:
        """The inverse of :meth:`save`."""
        half = len(saved) // 2
        return cls(int.from_bytes(saved[:half]), int.from_bytes(saved[half:]))

    def sign(self, blinded: bytes, draw: Draw) -> bytes:
        """BlindSign of RFC 9474; :class:`MalformedError` for what is no number below the modulus."""
        n = self.public.n
        number = int.from_bytes(blinded)
        if len(blinded) != len(self.public.modulus) or not 0 < number < n:
            raise MalformedError("a blinded message that is not below the modulus")
        factor = _uniform(n, draw)
        signed = self._apply(number * self.public.apply(factor) % n, draw) * pow(factor, -1, n) % n
        if self.public.apply(signed) != number:
            raise UsageError("the signature that was computed is wrong: nothing was sent", hint="Check this machine.")
        return signed.to_bytes(len(blinded))

    def _apply(self, number: int, draw: Draw) -> int:
        """RSASP1 of RFC 8017 by the Chinese remainder theorem, each exponent blinded."""
        one = pow(number, self._blind(self._dp, self._p, draw), self._p)
        two = pow(number, self._blind(self._dq, self._q, draw), self._q)
        return two + self._q * ((one - two) * self._qinv % self._p)

    @staticmethod
    def _blind(exponent: int, prime: int, draw: Draw) -> int:
        return exponent + int.from_bytes(draw(_EXPONENT_BLINDING_BYTES)) * (prime - 1)

    def __repr__(self) -> str:
        return "<PrivateKey>"


@dataclass(frozen=True, slots=True)
class Blinding:
    """The seeker's side between its request and the answer. ``inverse`` is the secret that unlinks the two."""

    message: bytes
    blinded: bytes
    inverse: int

    def __repr__(self) -> str:
        return "<Blinding>"


def prepare(message: bytes, draw: Draw, variant: Variant = PSS_RANDOMIZED) -> bytes:
    """What is really signed: the message behind a random prefix, in the randomised variants."""
    return draw(variant.prefix) + message if variant.prefix else message


def blind(key: PublicKey, message: bytes, draw: Draw, variant: Variant = PSS_RANDOMIZED) -> Blinding:
    """Blind of RFC 9474 for a prepared ``message``."""
    salt = draw(variant.salt) if variant.salt else b""
    number = int.from_bytes(encode_pss(message, key.n.bit_length() - 1, salt))
    if math.gcd(number, key.n) != 1:
        raise MalformedError("an epoch key that divides the message: it is not an RSA key")
    factor = _uniform(key.n, draw)
    try:
        inverse = pow(factor, -1, key.n)
    except ValueError:
        raise MalformedError("an epoch key whose factors anybody can guess") from None
    blinded = number * key.apply(factor) % key.n
    return Blinding(message, blinded.to_bytes(len(key.modulus)), inverse)


def finalize(key: PublicKey, blinding: Blinding, signed: bytes, variant: Variant = PSS_RANDOMIZED) -> bytes:
    """Finalize of RFC 9474: the signature over the message; :class:`BadSignatureError` if the issuer made none."""
    if len(signed) != len(key.modulus):
        raise MalformedError("a blind signature of another length than the modulus")
    signature = (int.from_bytes(signed) * blinding.inverse % key.n).to_bytes(len(key.modulus))
    key.verify(blinding.message, signature, variant)
    return signature


def encode_pss(message: bytes, bits: int, salt: bytes) -> bytes:
    """EMSA-PSS-ENCODE of RFC 8017 section 9.1.1 with SHA-384 and MGF1."""
    size = (bits + 7) // 8
    if size < _HASH + len(salt) + 2:
        raise UsageError("an RSA key too short for SHA-384 and its salt")
    digest = hashlib.sha384(bytes(8) + hashlib.sha384(message).digest() + salt).digest()
    block = b"\x01" + salt
    block = block.rjust(size - _HASH - 1, b"\0")
    masked = bytearray(one ^ two for one, two in zip(block, _mgf1(digest, len(block)), strict=True))
    masked[0] &= 0xFF >> (8 * size - bits)
    return bytes(masked) + digest + b"\xbc"


def _mgf1(seed: bytes, size: int) -> bytes:
    blocks = (hashlib.sha384(seed + index.to_bytes(4)).digest() for index in range(-(-size // _HASH)))
    return b"".join(blocks)[:size]


def _uniform(n: int, draw: Draw) -> int:
    """A number in [1, n) by rejection, as the RFC demands."""
    size, spare = (n.bit_length() + 7) // 8, -n.bit_length() % 8
    while True:
        number = int.from_bytes(draw(size)) >> spare
        if 0 < number < n:
            return number
