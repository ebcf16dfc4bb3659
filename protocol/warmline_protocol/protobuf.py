"""Reading protobuf strictly, for the libp2p messages that we speak ourselves (circuit relay v2, Kademlia).

Only what those messages need: varints, bytes and fixed fields to skip; no groups. Numbers must be in their shortest
form, so that a message has one encoding. Meaning is the caller's: fields come in the order in which they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from warmline_protocol.errors import MalformedError

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
UINT64_MAX: Final = 2**64 - 1
FIELD_MAX: Final = 2**29 - 1


def walk(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, value) of every field; :class:`MalformedError` for what protobuf does not have."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        field, wire = tag >> 3, tag & 7
        if not 0 < field <= FIELD_MAX:
            raise MalformedError("a field number that protobuf does not have")
        if wire == VARINT:
            number, at = read_varint(data, at)
            yield field, wire, number
            continue
        if wire == BYTES:
            size, at = read_varint(data, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise MalformedError("a protobuf group, or no wire type at all")
        if size > len(data) - at:
            raise MalformedError("a protobuf field that ends behind its message")
        yield field, wire, data[at : at + size]
        at += size


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned varint at position ``at``, in its shortest form, and the position behind it."""
    number = 0
    for index in range(10):
        if at + index >= len(data):
            raise MalformedError("a protobuf number that is cut off")
        byte = data[at + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if number > UINT64_MAX or (byte == 0 and index > 0):
                raise MalformedError("a protobuf number that is too large or not in its shortest form")
            return number, at + index + 1
    raise MalformedError("a protobuf number of more than ten bytes")
