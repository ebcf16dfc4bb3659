"""Sealing to one key that survives a quantum computer: HPKE (RFC 9180) base mode over X-Wing.

Suite: KEM 0x647a (X-Wing: ML-KEM-768 + X25519, draft-connolly-cfrg-xwing-kem), HKDF-SHA256, ChaCha20-Poly1305;
``@hpke/hybridkem-x-wing`` speaks the same bytes. A private key is the draft's 32-byte seed, expanded by SHAKE256.

Encapsulation draws its own randomness inside the library: a sealed envelope is the one thing in a session that
cannot be repeated from a seed.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from warmline_protocol.errors import MalformedError, UsageError

PUBLIC_SIZE = 1216
OVERHEAD = 1120 + 16
_MLKEM_PUBLIC = 1184
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class SealingKey:
    """An X-Wing private key, made from 32 random bytes that the caller brings."""

    __slots__ = ("_key", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise UsageError("an X-Wing seed has 32 bytes")
        self.seed = seed
        expanded = hashlib.shake_256(seed).digest(96)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """What :func:`seal` sealed for ``purpose``; :class:`MalformedError` for anything else."""
        try:
            return _SUITE.decrypt(sealed, self._key, info=_info(purpose))
        except (InvalidTag, ValueError):
            raise MalformedError(f"this {purpose} was not sealed to this key") from None

    def __repr__(self) -> str:
        return "<SealingKey>"


def seal(public: bytes, plaintext: bytes, purpose: str) -> bytes:
    """``plaintext`` sealed to a 1216-byte public key: 1136 bytes longer. :class:`MalformedError` for what is no key,
    which may be found out only here: some X25519 keys have every secret in common with nobody."""
    try:
        return _SUITE.encrypt(plaintext, _public(public), info=_info(purpose))
    except ValueError:
        raise MalformedError("an X-Wing public key that nothing can be sealed to") from None


def check_public(public: bytes) -> None:
    """Raise :class:`MalformedError` for a key that :func:`seal` would not seal to."""
    seal(public, b"", "check")


def _public(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    if len(public) != PUBLIC_SIZE:
        raise MalformedError(f"an X-Wing public key has {PUBLIC_SIZE} bytes")
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC])
        x25519 = X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:])
    except ValueError:
        raise MalformedError("not an X-Wing public key") from None
    return hpke.MLKEM768X25519PublicKey(mlkem, x25519)


def _info(purpose: str) -> bytes:
    return b"warmline/1/" + purpose.encode()
