"""A report's evidence about a dev account: signed as the product signs it, without a conversation."""

from __future__ import annotations

import hashlib

from support.records import NOW, card, key
from warmline.chain.wallet import Wallet
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.delegation import SUPPORTER, Delegation, with_signature
from warmline_protocol.records.envelope import sign_record
from warmline_protocol.session.evidence import Chapter, SignedWord, Signer, Statement, sign_statement
from warmline_protocol.session.evidence_bundle import OwnLine, make_bundle
from warmline_protocol.session.messages import Text, pack_body


def signed_card_of(wallet: Wallet, chain_id: int, registry: bytes, *, name: str = "Marta") -> tuple[bytes, SigningKey]:
    """A card of that wallet, and the device key that signed it."""
    device, start = key(name), NOW // 1000
    given = Delegation(wallet.address, device.public, SUPPORTER, start, start + 20 * 86_400, chain_id, registry)
    given = with_signature(given, wallet.sign_typed(given.typed_data()))
    return sign_record(card(wallet.address, name=name), device, given), device


def chapter(device: SigningKey, texts: list[str]) -> Chapter:
    """One session in which the supporter wrote these."""
    nonce = hashlib.sha256(b"session").digest()
    signature = sign_statement(device, b"key package", b"group", b"leaf", nonce, nonce)
    statement = Statement(hashlib.sha256(b"key package").digest(), b"group", b"leaf", nonce, nonce, signature)
    signer, words = Signer(device, nonce), []
    for counter, text in enumerate(texts, 1):
        body = pack_body(Text(text))
        proof = signer.sign(counter, body, counter.to_bytes(16))
        words.append(SignedWord(counter, NOW + counter, proof.previous, proof.salt, body, proof.signature))
    return Chapter(statement, tuple(words))


def bundle_about(wallet: Wallet, chain_id: int, registry: bytes, texts: list[str], *, own: str = "") -> bytes:
    """A whole bundle; ``own`` is a line of the seeker, after the first text."""
    record, device = signed_card_of(wallet, chain_id, registry)
    lines = (OwnLine(0, 1, NOW, own),) if own else ()
    return make_bundle(record, [chapter(device, texts)], own=lines, account="They asked me for money.")
