"""Canonical msgpack: one encoding a value, and a decoder that takes no other."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmline_protocol.codec import FrameReader, decode, encode, frame
from warmline_protocol.errors import MalformedError, OversizeError, UsageError

leaves = st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=40) | st.binary(max_size=40)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_round_trip(value):
    assert decode(encode(value)) == value


@given(st.dictionaries(st.text(max_size=6), st.integers(), max_size=6).filter(bool))
def test_key_order_does_not_matter(mapping):
    mapping = {k: v % 2**32 for k, v in mapping.items()}
    assert encode(dict(reversed(mapping.items()))) == encode(mapping)


@given(st.binary(max_size=200))
def test_noise_never_raises_anything_but_ours(data):
    try:
        value = decode(data)
    except (MalformedError, OversizeError):
        return
    assert encode(value) == data


REFUSED = {
    "float": msgpack.packb(1.5),
    "nil": msgpack.packb(None),
    "extension": msgpack.packb(msgpack.ExtType(1, b"x")),
    "timestamp": msgpack.packb(msgpack.Timestamp(1)),
    "integer key": msgpack.packb({1: 2}),
    "keys out of order": b"\x82\xa1b\x01\xa1a\x02",
    "the same key twice": b"\x82\xa1a\x01\xa1a\x02",
    "a long form of one": b"\xcc\x01",
    "a long form of a string": b"\xd9\x01a",
    "bytes after the value": b"\x01\x01",
    "a cut value": b"\x92\x01",
    "invalid UTF-8": b"\xa1\xff",
    "nothing": b"",
    "a huge array": b"\xdd\xff\xff\xff\xff",
    "a huge string": b"\xdb\xff\xff\xff\xff",
    "deep nesting": b"\x91" * 40 + b"\x01",
    "absurd nesting": b"\x91" * 5000 + b"\x01",
    "never used byte": b"\xc1",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_refused(data):
    with pytest.raises(MalformedError):
        decode(data)


def test_size_cap():
    with pytest.raises(OversizeError):
        decode(encode(b"x" * 100), max_size=50)


@pytest.mark.parametrize("value", [1.5, None, {1: 2}, 2**64, -(2**63) - 1, "\ud800", object(), {1, 2}])
def test_what_the_wire_has_no_place_for(value):
    with pytest.raises(UsageError):
        encode(value)


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 17))
def test_frames_survive_any_cut(payloads, step):
    stream = b"".join(map(frame, payloads))
    reader, out = FrameReader(1000), []
    for start in range(0, len(stream), step):
        reader.feed(stream[start : start + step])
        while (payload := reader.next()) is not None:
            out.append(payload)
    assert out == payloads
    assert not reader.mid_frame


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\x7f", frame(b"x" * 200)[:2]])
def test_a_length_above_the_cap_is_refused_before_its_bytes_come(data):
    reader = FrameReader(100)
    reader.feed(data)
    with pytest.raises(OversizeError):
        reader.next()


def test_a_padded_length_is_refused():
    reader = FrameReader(100)
    reader.feed(b"\x81\x00x")
    with pytest.raises(MalformedError):
        reader.next()
