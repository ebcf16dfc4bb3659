"""The kad codec beside libp2p's generated protobuf class, and against bytes that nobody honest sends."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.kad_dht.pb import kademlia_pb2
from multiaddr import Multiaddr

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, OversizeError
from warmline_protocol.kad import KadMessage, KadPeer, KadRecord, KadType, addr_text, decode_kad, encode_kad

peers = st.lists(
    st.builds(
        KadPeer,
        st.binary(max_size=64),
        st.lists(st.binary(max_size=40), max_size=4).map(tuple),
        st.integers(0, 3),
    ),
    max_size=4,
).map(tuple)
messages = st.builds(
    KadMessage,
    st.sampled_from(KadType),
    st.binary(max_size=limits.KAD_KEY_MAX),
    st.none() | st.builds(KadRecord, st.binary(max_size=20), st.binary(max_size=200), st.just("2026-01-01")),
    peers,
    peers,
)


def as_libp2p(message: KadMessage) -> kademlia_pb2.Message:
    theirs = kademlia_pb2.Message(type=int(message.type))
    if message.key:
        theirs.key = message.key
    if message.record is not None:
        theirs.record.key = message.record.key
        theirs.record.value = message.record.value
        theirs.record.timeReceived = message.record.received
    for ours, target in ((message.closer, theirs.closerPeers), (message.providers, theirs.providerPeers)):
        for peer in ours:
            entry = target.add(id=peer.peer_id, addrs=peer.addrs)
            if peer.connection:
                entry.connection = peer.connection
    return theirs


@given(messages)
def test_bytes_equal_libp2ps_and_come_back(message: KadMessage) -> None:
    data = encode_kad(message)
    assert data == as_libp2p(message).SerializeToString()
    assert decode_kad(data) == message


def test_the_librarys_extensions_are_walked_over() -> None:
    theirs = kademlia_pb2.Message(type=4, key=b"k", senderRecord=b"x" * 300, clusterLevelRaw=10)
    theirs.closerPeers.add(id=b"i", signedRecord=b"y" * 200)
    assert decode_kad(theirs.SerializeToString()) == KadMessage(KadType.FIND_NODE, b"k", closer=(KadPeer(b"i"),))


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_are_refused_as_the_senders_fault(data: bytes) -> None:
    with contextlib.suppress(MalformedError, OversizeError):
        decode_kad(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # a tag without its number
        b"\x08\x06",  # a type that does not exist
        b"\x08\x00\x08\x01",  # the type twice
        b"\x12\x01a\x12\x01b",  # the key twice
        b"\x12\x7fa",  # longer than the message
        b"\x10\x01",  # the key as a number
        b"\x0a\x01a",  # the type as bytes
        b"\x00\x01",  # field number 0
        b"\x0b\x0c",  # a group
        b"\x08" + b"\x80" * 10 + b"\x01",  # an endless number
        b"\x08" + b"\xff" * 9 + b"\x7f",  # more than 64 bits
    ],
)
def test_broken_protobuf_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_kad(data)


@pytest.mark.parametrize(
    "message",
    [
        KadMessage(KadType.GET_VALUE, b"k" * 129),
        KadMessage(KadType.FIND_NODE, closer=(KadPeer(b"i"),) * (limits.KAD_PEERS_MAX + 1)),
        KadMessage(KadType.FIND_NODE, closer=(KadPeer(b"i", (b"a",) * (limits.KAD_ADDRS_MAX + 1)),)),
        KadMessage(KadType.FIND_NODE, closer=(KadPeer(b"i", (b"a" * 300,)),)),
        KadMessage(KadType.FIND_NODE, closer=(KadPeer(b"i" * 65),)),
        KadMessage(KadType.GET_VALUE, record=KadRecord(b"k", bytes(limits.KAD_VALUE_MAX + 1))),
        KadMessage(KadType.GET_VALUE, record=KadRecord(b"k", bytes(limits.KAD_MESSAGE_MAX))),
    ],
)
def test_too_much_of_anything_is_oversize(message: KadMessage) -> None:
    with pytest.raises(OversizeError):
        decode_kad(encode_kad(message))


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/10.1.2.3/tcp/4001",
        "/ip6/2001:db8::1/tcp/443/wss",
        "/dns4/node.example.org/tcp/443/tls/ws",
        "/dns/x.example/tcp/80/ws/p2p/12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2",
    ],
)
def test_addresses_read_as_the_library_reads_them(text: str) -> None:
    assert addr_text(Multiaddr(text).to_bytes()) == text


@given(st.binary(max_size=80))
def test_a_broken_address_is_none(data: bytes) -> None:
    text = addr_text(data)
    assert text is None or text.startswith("/")
