"""Ed25519 identities, what they sign, and the libp2p peer id of each.

Every signature is over ``warmline/1/<domain> 0x00 <payload>``, so that bytes signed for one purpose prove nothing
in another (RFC 8032 Ed25519: signed by ``cryptography``, checked by libsodium through PyNaCl, which takes half of the
time that OpenSSL takes and refuses keys and nonces of small order, for which anybody could sign anything).
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_sign_BYTES, crypto_sign_open, crypto_sign_PUBLICKEYBYTES
from nacl.exceptions import CryptoError

from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# Identity multihash (0x00, length 36) of the protobuf {Type: Ed25519, Data: 32 bytes} (libp2p peer-ids spec).
_PEER_ID_PREFIX = bytes.fromhex("002408011220")


class SigningKey:
    """An Ed25519 private key, made from 32 random bytes that the caller brings."""

    __slots__ = ("_key", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise UsageError("an Ed25519 seed has 32 bytes")
        self.seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    @property
    def peer_id(self) -> str:
        """The libp2p peer id of this key."""
        return peer_id_of(self.public)

    def sign(self, domain: str, payload: bytes) -> bytes:
        """64-byte signature over ``payload`` in ``domain``."""
        return self._key.sign(_bound(domain, payload))

    def __repr__(self) -> str:
        return f"<SigningKey of {self.peer_id}>"


def verify(public: bytes, domain: str, payload: bytes, signature: bytes) -> None:
    """Raise :class:`BadSignatureError` unless ``signature`` is ``public``'s over ``payload`` in ``domain``."""
    if len(signature) != crypto_sign_BYTES or len(public) != crypto_sign_PUBLICKEYBYTES:
        raise BadSignatureError(f"the signature of this {domain} does not verify")
    try:
        crypto_sign_open(signature + _bound(domain, payload), public)
    except CryptoError:
        raise BadSignatureError(f"the signature of this {domain} does not verify") from None


def _bound(domain: str, payload: bytes) -> bytes:
    return b"warmline/1/" + domain.encode() + b"\0" + payload


def peer_id_of(public: bytes) -> str:
    """Base58 peer id of a 32-byte Ed25519 public key."""
    if len(public) != 32:
        raise UsageError("an Ed25519 public key has 32 bytes")
    return base58_encode(_PEER_ID_PREFIX + public)


def public_of(peer_id: str) -> bytes:
    """The 32-byte Ed25519 public key inside a peer id; :class:`MalformedError` for any other kind of id."""
    raw = base58_decode(peer_id)
    if len(raw) != len(_PEER_ID_PREFIX) + 32 or not raw.startswith(_PEER_ID_PREFIX):
        raise MalformedError("not the peer id of an Ed25519 key")
    return raw[len(_PEER_ID_PREFIX) :]


def base58_encode(data: bytes) -> str:
    """Base58 (Bitcoin alphabet), as peer ids are written."""
    number = int.from_bytes(data)
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + digits


def base58_decode(text: str) -> bytes:
    """The inverse; at most 64 characters, which is more than any peer id has."""
    if not 0 < len(text) <= 64:
        raise MalformedError("not a base58 peer id")
    number = 0
    for char in text:
        digit = _BASE58.find(char)
        if digit < 0:
            raise MalformedError("a character outside base58")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)
