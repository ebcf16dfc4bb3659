"""A wallet's word that an Ed25519 key may speak for it until a date (EIP-712).

The wallet stays offline: it signs this once, and the key on the device signs cards, listings and sessions. What the
wallet shows its owner is a sentence with a date in it, not numbers, because people sign what they cannot read
otherwise. ``scope`` keeps a node's key from ever signing as a supporter: node keys lie unencrypted on servers.

Hashing and recovery come from libsecp256k1 and one Keccak; the usual Ethereum packages would add half a second to the
start of every command. A test holds the digest and the signature to ``eth_account``'s.

Only wallets with a secp256k1 key can sign here. Contract wallets (ERC-1271) use ``DelegateRegistry.setDelegate``: the
delegation then carries no signature and is proven by standing (see :mod:`.admission`).

Signatures are 65 bytes r, s, v with s in the lower half (EIP-2) and v 27 or 28: one encoding each, so nobody can make
a second valid copy of a record by bending its delegation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

from coincurve import PrivateKey, PublicKey
from eth_hash.auto import keccak

from warmline_protocol import limits
from warmline_protocol.errors import BadSignatureError, UsageError
from warmline_protocol.wire import U53, Bytes32, OneOf, Size

Wallet = Annotated[bytes, Size(20, 20)]

SUPPORTER, NODE = "supporter", "node"
_MAY = {
    SUPPORTER: "sign my warmline card, my group listings and my sessions",
    NODE: "say that I run this warmline node",
}
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_DELEGATION_TYPE = "Delegation(string statement,address wallet,bytes32 key,uint64 notBefore,uint64 notAfter)"
_DELEGATION_HASH = keccak(_DELEGATION_TYPE.encode())
_DOMAIN_HASHES = keccak(_DOMAIN_TYPE.encode()) + keccak(b"warmline") + keccak(b"1")


@dataclass(frozen=True, slots=True)
class Delegation:
    """Times in seconds, as on the chain. ``registry`` is the DelegateRegistry that may cut it short.

    ``signature`` is None for a delegation that only the chain proves.
    """

    wallet: Wallet
    key: Bytes32
    scope: Annotated[str, OneOf(SUPPORTER, NODE)]
    not_before_s: U53
    not_after_s: U53
    chain_id: U53
    registry: Wallet
    signature: Annotated[bytes, Size(65, 65)] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.not_after_s - self.not_before_s <= limits.DELEGATION_LIFE_S:
            raise UsageError(
                "a delegation that does not last between one second and 30 days",
                hint="Sign a new delegation for at most 30 days.",
            )
        if self.not_after_s >= 1 << 37:
            raise UsageError("a date beyond the year 6000")

    @property
    def statement(self) -> str:
        """The sentence that the wallet shows."""
        until = datetime.fromtimestamp(self.not_after_s, UTC).strftime("%d %B %Y %H:%M UTC")
        return f"This device key may {_MAY[self.scope]} until {until}. It cannot move money."

    def typed_data(self) -> dict[str, Any]:
        """The EIP-712 document (``eth_signTypedData_v4``) that a wallet signs."""
        return {
            "types": {
                "EIP712Domain": _fields(_DOMAIN_TYPE),
                "Delegation": _fields(_DELEGATION_TYPE),
            },
            "primaryType": "Delegation",
            "domain": {
                "name": "warmline",
                "version": "1",
                "chainId": self.chain_id,
                "verifyingContract": "0x" + self.registry.hex(),
            },
            "message": {
                "statement": self.statement,
                "wallet": "0x" + self.wallet.hex(),
                "key": "0x" + self.key.hex(),
                "notBefore": self.not_before_s,
                "notAfter": self.not_after_s,
            },
        }

    def digest(self) -> bytes:
        """The 32 bytes that are signed (EIP-712: 0x1901, domain separator, struct hash)."""
        struct = keccak(
            _DELEGATION_HASH
            + keccak(self.statement.encode())
            + self.wallet.rjust(32, b"\0")
            + self.key
            + _word(self.not_before_s)
            + _word(self.not_after_s)
        )
        return bytes(keccak(b"\x19\x01" + _domain(self.chain_id, self.registry) + struct))

    def check(self) -> None:
        """Raise :class:`BadSignatureError` unless the wallet signed; does nothing where only the chain can tell."""
        if self.signature is not None and _signer(self) != self.wallet:
            raise BadSignatureError("the delegation is not signed by the wallet that it names")


@lru_cache(maxsize=64)
def _domain(chain_id: int, registry: bytes) -> bytes:
    """The domain separator: the same for all of one chain."""
    return bytes(keccak(_DOMAIN_HASHES + _word(chain_id) + registry.rjust(32, b"\0")))


@lru_cache(maxsize=4096)
def _signer(given: Delegation) -> bytes:
    """Who signed a delegation, remembered: one stands on all records that a supporter signs under it."""
    return recover(given.digest(), given.signature or b"")


def recover(digest: bytes, signature: bytes) -> bytes:
    """The 20-byte wallet that signed ``digest``; only the canonical form of a signature is read."""
    s, v = int.from_bytes(signature[32:64]), signature[64]
    if not 0 < s <= _HALF_ORDER:
        raise BadSignatureError("a wallet signature in its malleable form (high s)")
    if v not in (27, 28):
        raise BadSignatureError("a wallet signature whose v is not 27 or 28")
    try:
        signer = PublicKey.from_signature_and_message(signature[:64] + bytes([v - 27]), digest, hasher=None)
    except ValueError:
        raise BadSignatureError("a wallet signature that recovers to nobody") from None
    return wallet_of(signer)


def wallet_of(public: PublicKey) -> bytes:
    """The 20-byte address of a secp256k1 key: the end of the Keccak-256 of its coordinates."""
    return bytes(keccak(public.format(compressed=False)[1:])[-20:])


def sign_delegation(unsigned: Delegation, private_key: bytes) -> Delegation:
    """``unsigned`` with the signature of the 32-byte secp256k1 ``private_key`` of its wallet."""
    wallet_key = PrivateKey(private_key)
    if wallet_of(wallet_key.public_key) != unsigned.wallet:
        raise UsageError("this is not the wallet's key", hint="Unlock the wallet that the delegation names.")
    raw = wallet_key.sign_recoverable(unsigned.digest(), hasher=None)
    return with_signature(unsigned, raw[:64] + bytes([raw[64] + 27]))


def with_signature(unsigned: Delegation, signature: bytes) -> Delegation:
    """``unsigned`` with a signature that a wallet returned, checked."""
    signed = Delegation(
        unsigned.wallet,
        unsigned.key,
        unsigned.scope,
        unsigned.not_before_s,
        unsigned.not_after_s,
        unsigned.chain_id,
        unsigned.registry,
        signature,
    )
    signed.check()
    return signed


def _word(number: int) -> bytes:
    return number.to_bytes(32)


def _fields(signature: str) -> list[dict[str, str]]:
    inside = signature[signature.index("(") + 1 : -1]
    return [{"type": kind, "name": name} for kind, name in (part.split(" ") for part in inside.split(","))]
