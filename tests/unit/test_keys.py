"""Identities: RFC 8032 vectors, domains that do not mix, peer ids as libp2p writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

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
