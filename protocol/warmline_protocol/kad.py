"""The Kademlia wire message of libp2p (specs/kad-dht), strictly and without generated code.

Clients run their own lookup (``lookup``) and so must read what unknown nodes answer. The generated protobuf class
would take any number of peers, any field twice and any wire type; this reader bounds every list before it builds
anything, refuses a known field of the wrong kind or given twice, and skips fields that it does not know, so that
the library's extensions (signed peer records) cost nothing here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import TypeVar

from warmline_protocol import limits
from warmline_protocol.codec import uvarint
from warmline_protocol.errors import MalformedError, OversizeError
from warmline_protocol.keys import base58_encode
from warmline_protocol.protobuf import BYTES, VARINT, read_varint, walk

PROTOCOL = "/warmline/kad/1.0.0"


T = TypeVar("T")


class KadType(IntEnum):
    """Message types of the kad-dht specification."""

    PUT_VALUE = 0
    GET_VALUE = 1
    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


@dataclass(frozen=True, slots=True)
class KadRecord:
    """A stored value; ``received`` is the holder's own note (RFC 3339) and proves nothing."""

    key: bytes
    value: bytes
    received: str = ""


@dataclass(frozen=True, slots=True)
class KadPeer:
    """``peer_id`` is the raw multihash, ``addrs`` are binary multiaddrs; neither is checked here."""

    peer_id: bytes
    addrs: tuple[bytes, ...] = ()
    connection: int = 0


@dataclass(frozen=True, slots=True)
class KadMessage:
    """One request or answer."""

    type: KadType
    key: bytes = b""
    record: KadRecord | None = None
    closer: tuple[KadPeer, ...] = ()
    providers: tuple[KadPeer, ...] = ()


def position(key: bytes) -> int:
    """Where a key or a raw peer id lies in the 256-bit Kademlia space: the SHA-256 of it."""
    return int.from_bytes(sha256(key).digest())


def encode_kad(message: KadMessage) -> bytes:
    """Protobuf bytes of ``message``, fields in order of their number."""
    out = [_number(1, message.type)] if message.type else []
    if message.key:
        out.append(_blob(2, message.key))
    if message.record is not None:
        out.append(_blob(3, _encode_record(message.record)))
    out += [_blob(8, _encode_peer(peer)) for peer in message.closer]
    out += [_blob(9, _encode_peer(peer)) for peer in message.providers]
    return b"".join(out)


def _encode_record(record: KadRecord) -> bytes:
    fields = ((1, record.key), (2, record.value), (5, record.received.encode()))
    return b"".join(_blob(field, value) for field, value in fields if value)


def _encode_peer(peer: KadPeer) -> bytes:
    addrs = b"".join(_blob(2, addr) for addr in peer.addrs)
    head = _blob(1, peer.peer_id) if peer.peer_id else b""
    return head + addrs + (_number(3, peer.connection) if peer.connection else b"")


def _number(field: int, value: int) -> bytes:
    return uvarint(field << 3 | VARINT) + uvarint(value)


def _blob(field: int, value: bytes) -> bytes:
    return uvarint(field << 3 | BYTES) + uvarint(len(value)) + value


def decode_kad(data: bytes) -> KadMessage:
    """Read one message; :class:`OversizeError` or :class:`MalformedError` for what the limits or the format forbid."""
    if len(data) > limits.KAD_MESSAGE_MAX:
        raise OversizeError(f"a kad message of {len(data)} bytes where at most {limits.KAD_MESSAGE_MAX} are allowed")
    fields = _Fields(data, {1: VARINT, 2: BYTES, 3: BYTES, 8: BYTES, 9: BYTES}, {8, 9})
    number = fields.number(1)
    if number not in list(KadType):
        raise MalformedError(f"an unknown kad message type {number}")
    record = fields.optional(3)
    return KadMessage(
        type=KadType(number),
        key=fields.blob(2, limits.KAD_KEY_MAX),
        record=None if record is None else _decode_record(record),
        closer=fields.many(8, limits.KAD_PEERS_MAX, _decode_peer),
        providers=fields.many(9, limits.KAD_PEERS_MAX, _decode_peer),
    )


def _decode_record(data: bytes) -> KadRecord:
    fields = _Fields(data, {1: BYTES, 2: BYTES, 5: BYTES}, set())
    try:
        received = fields.blob(5, 64).decode("ascii")
    except UnicodeDecodeError:
        raise MalformedError("a record whose time is not text") from None
    return KadRecord(fields.blob(1, limits.KAD_KEY_MAX), fields.blob(2, limits.KAD_VALUE_MAX), received)


def _decode_peer(data: bytes) -> KadPeer:
    fields = _Fields(data, {1: BYTES, 2: BYTES, 3: VARINT}, {2})
    return KadPeer(fields.blob(1, 64), fields.many(2, limits.KAD_ADDRS_MAX, _bounded_addr), fields.number(3))


def _bounded_addr(data: bytes) -> bytes:
    if len(data) > limits.KAD_ADDR_MAX:
        raise OversizeError(f"an address of {len(data)} bytes")
    return data


class _Fields:
    """The known fields of one protobuf message, in order; unknown ones are walked over."""

    def __init__(self, data: bytes, known: dict[int, int], repeated: set[int]) -> None:
        self._numbers: dict[int, int] = {}
        self._blobs: dict[int, list[bytes]] = {}
        for field, wire, value in walk(data):
            if field not in known:
                continue
            if wire != known[field]:
                raise MalformedError(f"protobuf field {field} of the wrong kind")
            if field not in repeated and (field in self._numbers or field in self._blobs):
                raise MalformedError(f"protobuf field {field} given twice")
            if isinstance(value, int):
                self._numbers[field] = value
            else:
                self._blobs.setdefault(field, []).append(value)

    def number(self, field: int) -> int:
        return self._numbers.get(field, 0)

    def optional(self, field: int) -> bytes | None:
        blobs = self._blobs.get(field)
        return blobs[0] if blobs else None

    def blob(self, field: int, most: int) -> bytes:
        value = self.optional(field) or b""
        if len(value) > most:
            raise OversizeError(f"{len(value)} bytes in protobuf field {field} where at most {most} are allowed")
        return value

    def many(self, field: int, most: int, read: Callable[[bytes], T]) -> tuple[T, ...]:
        blobs = self._blobs.get(field, [])
        if len(blobs) > most:
            raise OversizeError(f"{len(blobs)} entries in protobuf field {field} where at most {most} are allowed")
        return tuple(read(blob) for blob in blobs)


# --- addresses ---------------------------------------------------------------------------------------------------

_IP4, _TCP, _IP6, _DNS, _DNS4, _DNS6 = 4, 6, 41, 53, 54, 55
_PLAIN = {448: "tls", 477: "ws", 478: "wss"}
_NAMES = {_DNS: "dns", _DNS4: "dns4", _DNS6: "dns6"}
_P2P = 421


def addr_text(data: bytes) -> str | None:
    """A binary multiaddr as text, for the transports that warmline dials; None for any other or a broken one."""
    try:
        return "".join(_addr_parts(data)) or None
    except (MalformedError, ValueError):
        return None


def _addr_parts(data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data):
        code, at = read_varint(data, at)
        if code in _PLAIN:
            yield f"/{_PLAIN[code]}"
            continue
        if code in (_IP4, _IP6, _TCP):
            size = {_IP4: 4, _IP6: 16, _TCP: 2}[code]
        elif code in _NAMES or code == _P2P:
            size, at = read_varint(data, at)
        else:
            raise MalformedError(f"multiaddr protocol {code}")
        value = data[at : at + size]
        if len(value) != size or size > limits.KAD_ADDR_MAX:
            raise MalformedError("a multiaddr that is cut off")
        at += size
        yield _addr_part(code, value)


def _addr_part(code: int, value: bytes) -> str:
    if code == _TCP:
        return f"/tcp/{int.from_bytes(value)}"
    if code == _P2P:
        return f"/p2p/{base58_encode(value)}"
    if code in _NAMES:
        name = value.decode("ascii")
        if not name or not all(char.isalnum() or char in "-._" for char in name):
            raise MalformedError("a host name with characters that host names do not have")
        return f"/{_NAMES[code]}/{name}"
    address = ipaddress.ip_address(value)
    return f"/ip{address.version}/{address}"
