"""Collectors: whose keys are whose, what each said it holds, and what each signs for the contract.

A collector is a wallet on the chain. The wallet signs a sheet once (EIP-712, under the contract's own domain) and stays
offline: the sheet names the Ed25519 key of its announcements and the X-Wing key that ratings are sealed to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from coincurve import PrivateKey
from eth_hash.auto import keccak

from warmline_protocol.codec import encode
from warmline_protocol.errors import BadSignatureError, UsageError
from warmline_protocol.feedback.messages import CollectorSheet, EpochVote, Rating, SetAnnouncement
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.records.delegation import recover, wallet_of
from warmline_protocol.wire import to_wire

_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_SHEET_TYPE = b"Collector(address collector,bytes32 key,bytes32 sealing,uint64 fromEpoch,uint64 untilEpoch)"
_EPOCH_TYPE = b"Epoch(uint64 epoch,bytes32 previousRoot,bytes32 root,bytes32 dataHash,uint64 tokenCount)"
_ANNOUNCEMENT = "set-announcement"


def _word(value: int | bytes) -> bytes:
    return value.to_bytes(32) if isinstance(value, int) else value.rjust(32, b"\0")


def _digest(chain_id: int, contract: bytes, struct: bytes) -> bytes:
    named = bytes(keccak(b"warmline ConductEpochs")) + bytes(keccak(b"1"))
    domain = keccak(bytes(keccak(_DOMAIN_TYPE)) + named + _word(chain_id) + _word(contract))
    return bytes(keccak(b"\x19\x01" + domain + keccak(struct)))


def sheet_digest(sheet: CollectorSheet) -> bytes:
    """The 32 bytes that the collector's wallet signs."""
    fields = (sheet.collector, sheet.key, bytes(keccak(sheet.sealing)), sheet.from_epoch, sheet.until_epoch)
    struct = bytes(keccak(_SHEET_TYPE)) + b"".join(_word(field) for field in fields)
    return _digest(sheet.chain_id, sheet.contract, struct)


def epoch_digest(chain_id: int, contract: bytes, vote: EpochVote) -> bytes:
    """The 32 bytes that a collector signs for ``post``: ``epochDigest`` of the contract."""
    fields = (vote.epoch, vote.previous_root, vote.root, vote.data_hash, vote.tokens)
    struct = bytes(keccak(_EPOCH_TYPE)) + b"".join(_word(field) for field in fields)
    return _digest(chain_id, contract, struct)


def sign_digest(digest: bytes, private_key: bytes) -> bytes:
    """65 bytes r, s, v (27 or 28) of a 32-byte secp256k1 key."""
    raw = PrivateKey(private_key).sign_recoverable(digest, hasher=None)
    return raw[:64] + bytes([raw[64] + 27])


def wallet_from(private_key: bytes) -> bytes:
    """The 20-byte address of a 32-byte secp256k1 key."""
    return wallet_of(PrivateKey(private_key).public_key)


def check_sheet(sheet: CollectorSheet, collectors: Iterable[bytes], epoch: int) -> None:
    """Raise :class:`BadSignatureError` unless one of the contract's collectors signed it and it is for ``epoch``.

    Collectors that are contract wallets (ERC-1271) cannot sign a sheet; they name a key that can as collector.
    """
    if recover(sheet_digest(sheet), sheet.signature) != sheet.collector:
        raise BadSignatureError("the sheet is not signed by the collector that it names")
    if sheet.collector not in set(collectors):
        raise BadSignatureError("the sheet is of a wallet that is no collector")
    if not sheet.from_epoch <= epoch <= sheet.until_epoch:
        raise BadSignatureError("the sheet is for other epochs")


def check_vote(chain_id: int, contract: bytes, vote: EpochVote) -> None:
    """Raise :class:`BadSignatureError` unless the collector's key signed the vote (not for ERC-1271 wallets)."""
    if recover(epoch_digest(chain_id, contract, vote), vote.signature) != vote.collector:
        raise BadSignatureError("the vote is not signed by the collector that it names")


def set_digest(ratings: Iterable[Rating]) -> bytes:
    """One hash for a set of ratings: over the hashes of each, in order."""
    each = sorted(hashlib.sha256(to_wire(rating)).digest() for rating in ratings)
    return hashlib.sha256(b"warmline/1/feedback set\0" + b"".join(each)).digest()


def announce(sheet: CollectorSheet, epoch: int, ratings: Iterable[Rating], key: SigningKey) -> SetAnnouncement:
    """What a collector says at the cut-off, before it has read the sets of others."""
    if key.public != sheet.key:
        raise UsageError("this is not the key on the collector's sheet")
    held = list(ratings)
    digest = set_digest(held)
    signature = key.sign(_ANNOUNCEMENT, _announced(sheet, epoch, len(held), digest))
    return SetAnnouncement(epoch, sheet.collector, len(held), digest, key.public, signature)


def check_announcement(announcement: SetAnnouncement, sheet: CollectorSheet) -> None:
    """Raise :class:`BadSignatureError` unless the collector of the (checked) ``sheet`` said so."""
    if (announcement.collector, announcement.key) != (sheet.collector, sheet.key):
        raise BadSignatureError("an announcement of somebody else")
    said = _announced(sheet, announcement.epoch, announcement.count, announcement.digest)
    verify(sheet.key, _ANNOUNCEMENT, said, announcement.signature)


def _announced(sheet: CollectorSheet, epoch: int, count: int, digest: bytes) -> bytes:
    return encode([sheet.chain_id, sheet.contract, sheet.collector, epoch, count, digest])
