"""Canonical msgpack and length-prefixed frames.

Signatures and record ids are over bytes, so every value has exactly one encoding here and a decoder refuses all
others: shortest integers and lengths, map keys strings in UTF-8 byte order without doubles, no floats, nil or
extensions. ``decode`` checks by bounds first (a hostile length must not allocate), then types, depth and the order of
keys, then by encoding again and comparing: whatever trick a non-canonical encoder plays, the bytes differ.

Frames carry an unsigned varint length as libp2p streams do (multiformats/unsigned-varint, minimal form only).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import msgpack

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, OversizeError, UsageError

Value: TypeAlias = "bool | int | str | bytes | Sequence[Value] | Mapping[str, Value]"

_PLAIN = frozenset((bool, int, str, bytes))
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


def encode(value: object) -> bytes:
    """The one canonical msgpack encoding of ``value``; :class:`UsageError` for a type the wire does not know."""
    packed: bytes = msgpack.packb(_canonical(value, 0), use_bin_type=True, strict_types=True)
    return packed


def decode(data: bytes, *, max_size: int = limits.MESSAGE_MAX) -> Value:
    """Decode canonical bytes; :class:`OversizeError` or :class:`MalformedError` for anything else."""
    if len(data) > max_size:
        raise OversizeError(f"{len(data)} bytes where at most {max_size} are allowed")
    budget = _Budget(_values_in(len(data)) if max_size <= limits.MESSAGE_MAX else max_size)
    try:
        value: Value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=budget.on_map,
            list_hook=budget.on_list,
            ext_hook=_no_ext,
            max_str_len=max_size,
            max_bin_len=max_size,
            max_array_len=limits.ITEMS_MAX,
            max_map_len=limits.ITEMS_MAX,
            max_ext_len=0,
        )
        budget.check(value)
        canonical = msgpack.packb(value, use_bin_type=True)  # keys came in order, or on_map refused them
    except MalformedError:
        raise
    except UsageError as error:
        raise MalformedError(f"a value that the wire does not allow: {error}") from None
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise MalformedError(f"not msgpack: {error}") from None
    if canonical != data:
        raise MalformedError("not the canonical encoding of its value")
    return value


def _canonical(value: object, depth: int) -> object:
    if depth > limits.DEPTH_MAX:
        raise UsageError(f"nested deeper than {limits.DEPTH_MAX}")
    match value:
        case bool() | bytes():
            return value
        case int():
            if not _INT_MIN <= value <= _INT_MAX:
                raise UsageError("an integer outside 64 bits")
            return int(value)
        case str():
            return _utf8(value)
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise UsageError("a map key that is not a string")
            keys = sorted(value, key=lambda key: str(key).encode("utf-8", "surrogatepass"))
            return {_utf8(key): _canonical(value[key], depth + 1) for key in keys}
        case list() | tuple():
            return [_canonical(item, depth + 1) for item in value]
        case _:
            raise UsageError(f"{type(value).__name__} has no place on the wire")


def _utf8(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError("a string that is not valid Unicode") from None
    return text


def _values_in(size: int) -> int:
    """How many values a message of ``size`` bytes may hold; what may be larger is this device's own state."""
    return min(limits.VALUES_MAX, limits.VALUES_BASE + size // limits.BYTES_PER_VALUE)


class _Budget:
    """How many values one message may still hold.

    A megabyte of one-byte values costs a reader seconds, and whoever sends it nothing.
    """

    __slots__ = ("_left",)

    def __init__(self, values: int) -> None:
        self._left = values

    def on_map(self, pairs: list[tuple[str, Value]]) -> dict[str, Value]:
        self._spend(len(pairs))
        result = dict(pairs)
        if len(result) != len(pairs):
            raise MalformedError("a map with the same key twice")
        if not all(type(key) is str for key in result):
            raise MalformedError("a map key that is not a string")
        keys = [key.encode() for key in result]
        if keys != sorted(keys):
            raise MalformedError("a map whose keys are out of order")
        return result

    def on_list(self, items: list[Value]) -> list[Value]:
        self._spend(len(items))
        return items

    def check(self, value: object, depth: int = 0) -> None:
        """Refuse types that the wire does not know, and what is nested too deep; cheaper than encoding it anew."""
        if type(value) in _PLAIN:
            return
        if type(value) is not dict and type(value) is not list:
            raise MalformedError(f"a value that the wire does not allow: {type(value).__name__}")
        items = value.values() if type(value) is dict else value
        if items and depth >= limits.DEPTH_MAX:
            raise MalformedError(f"nested deeper than {limits.DEPTH_MAX}")
        for item in items:
            if type(item) not in _PLAIN:
                self.check(item, depth + 1)

    def _spend(self, values: int) -> None:
        self._left -= values + 1
        if self._left < 0:
            raise MalformedError("more values than any message has")


def _no_ext(code: int, data: bytes) -> Value:
    raise MalformedError("a msgpack extension")


def uvarint(number: int) -> bytes:
    """Minimal unsigned varint of ``number`` >= 0."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def frame(payload: bytes) -> bytes:
    """``payload`` behind its varint length."""
    return uvarint(len(payload)) + payload


class FrameReader:
    """Bytes in, frames out. A frame above ``max_size`` raises as soon as its length is read, before any buffering."""

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self._buffer = bytearray()

    @property
    def mid_frame(self) -> bool:
        """Whether an end of stream now would cut a frame."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the network."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next whole frame, or None until more bytes come."""
        header = self._length()
        if header is None:
            return None
        size, start = header
        if len(self._buffer) < start + size:
            return None
        payload = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        return payload

    def _length(self) -> tuple[int, int] | None:
        size = 0
        for index, byte in enumerate(self._buffer[: limits.VARINT_MAX]):
            size |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index > 0:
                    raise MalformedError("a length that is not in its shortest form")
                if size > self.max_size:
                    raise OversizeError(f"a frame of {size} bytes where at most {self.max_size} are allowed")
                return size, index + 1
        if len(self._buffer) >= limits.VARINT_MAX:
            raise OversizeError("a length of more than four bytes")
        return None


def frames(data: bytes, max_size: int) -> Iterator[bytes]:
    """The frames of ``data``; :class:`MalformedError` after the last whole one where bytes are left over."""
    reader = FrameReader(max_size)
    reader.feed(data)
    while (part := reader.next()) is not None:
        yield part
    if reader.mid_frame:
        raise MalformedError("a section that ends in the middle of an item")
