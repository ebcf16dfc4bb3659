"""The message grammar holds in both directions."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from warmline_protocol.codec import encode
from warmline_protocol.errors import MalformedError, UsageError
from warmline_protocol.wire import OneOf, Range, Refused, Size, from_wire, message, to_wire


@dataclass(frozen=True, slots=True)
class Part:
    name: Annotated[str, Size(1, 4)]


@message("sample")
@dataclass(frozen=True, slots=True)
class Sample:
    key: Annotated[bytes, Size(2, 2)]
    count: Annotated[int, Range(0, 9)]
    parts: Annotated[tuple[Part, ...], Size(0, 2)]
    tags: tuple[Annotated[str, OneOf("a", "b")], ...] = ()
    note: Annotated[str, Size(0, 8)] | None = None
    loud: bool = False


GOOD = Sample(b"ab", 3, (Part("x"), Part("y")), ("a",), "hi", True)
WIRE = {"t": "sample", "key": b"ab", "count": 3, "parts": [{"name": "x"}], "tags": [], "loud": False}


@pytest.mark.parametrize("msg", [GOOD, Sample(b"ab", 0, ())])
def test_round_trip(msg):
    assert from_wire(to_wire(msg), (Refused, Sample)) == msg


def test_none_is_an_absent_key():
    assert b"note" not in to_wire(Sample(b"ab", 0, ()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": b"abc"}, "above 2"),
        ({"key": "ab"}, "str where bytes"),
        ({"count": 10}, "outside 0..9"),
        ({"count": True}, "bool where int"),
        ({"parts": [{"name": ""}]}, "below 1"),
        ({"parts": [{"name": "x", "more": 1}]}, "no field 'more'"),
        ({"parts": [1]}, "not a map"),
        ({"parts": "x"}, "not a list"),
        ({"tags": ["c"]}, "not one of a, b"),
        ({"extra": 1}, "no field 'extra'"),
        ({"t": "other"}, "was expected"),
        ({"t": 1}, "was expected"),
    ],
)
def test_a_wrong_field_is_named(change, says):
    with pytest.raises(MalformedError, match=says):
        from_wire(encode(WIRE | change), (Sample,))


@pytest.mark.parametrize("missing", ["t", "key", "count", "parts", "loud"])
def test_a_missing_field_is_refused(missing):
    with pytest.raises(MalformedError):
        from_wire(encode({k: v for k, v in WIRE.items() if k != missing}), (Sample,))


def test_not_a_map():
    with pytest.raises(MalformedError):
        from_wire(encode([1]), (Sample,))


def test_a_local_mistake_does_not_leave():
    with pytest.raises(UsageError, match=r"Sample\.count"):
        to_wire(Sample(b"ab", 10, ()))
