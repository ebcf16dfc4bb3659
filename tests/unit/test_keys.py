"""Identities: RFC 8032 vectors, domains that do not mix, peer ids as libp2p writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from warmline_protocol import keys
from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError
from warmline_protocol.keys import SigningKey, base58_decode, base58_encode, peer_id_of, public_of, verify


def test_public_key_of_rfc_8032_test_1():
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert SigningKey(seed).public == public


@given(st.binary(min_size=32, max_size=32))
def test_peer_ids_are_libp2p_s(seed):
    key = SigningKey(seed)
    assert key.peer_id == str(ID.from_pubkey(create_new_key_pair(seed).public_key))
    assert public_of(key.peer_id) == key.public


@given(st.binary(min_size=1, max_size=40))
def test_base58_round_trip(data):
    assert base58_decode(base58_encode(data)) == data


def test_a_signature_holds_for_its_domain_payload_and_key_only():
    key, other = SigningKey(b"a" * 32), SigningKey(b"b" * 32)
    signature = key.sign("listing", b"payload")
    verify(key.public, "listing", b"payload", signature)
    for public, domain, payload, sig in (
        (other.public, "listing", b"payload", signature),
        (key.public, "card", b"payload", signature),
        (key.public, "listing", b"payloae", signature),
        (key.public, "listing", b"payload", signature[:-1]),
        (b"short", "listing", b"payload", signature),
        (b"\0" * 32, "listing", b"payload", b"\0" * 64),
    ):
        with pytest.raises(BadSignatureError):
            verify(public, domain, payload, sig)


@pytest.mark.parametrize("text", ["", "0", "l" * 65, "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "12D3KooW"])
def test_what_is_not_an_ed25519_peer_id(text):
    with pytest.raises(MalformedError):
        public_of(text)


def test_wrong_sizes_are_ours():
    with pytest.raises(UsageError):
        SigningKey(b"short")
    with pytest.raises(UsageError):
        peer_id_of(b"short")


RFC_8032 = [
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
]  # fmt: skip


@pytest.mark.parametrize(("public", "message", "signature"), RFC_8032)
def test_the_checker_holds_to_rfc_8032(
    public: str, message: str, signature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_bound", lambda domain, payload: payload)
    key, payload, proof = (bytes.fromhex(text) for text in (public, message, signature))
    verify(key, "any", payload, proof)
    for bent in (bytes([proof[0] ^ 1]) + proof[1:], proof[:-1], proof + b"x", bytes(64)):
        with pytest.raises(BadSignatureError):
            verify(key, "any", payload, bent)
    order = 2**252 + 27742317777372353535851937790883648493
    malleable = proof[:32] + (int.from_bytes(proof[32:], "little") + order).to_bytes(32, "little")
    with pytest.raises(BadSignatureError):
        verify(key, "any", payload, malleable)


@pytest.mark.parametrize("point", ["01" + 31 * "00", 32 * "00", "ec" + 30 * "ff" + "7f"])
def test_a_key_for_which_anybody_can_sign_is_no_key(point: str) -> None:
    with pytest.raises(BadSignatureError):
        verify(bytes.fromhex(point), "any", b"anything", bytes.fromhex("01" + 31 * "00") + bytes(32))
