"""Circuit relay v2 without a socket: the HOP and STOP messages.

Wire-compatible with the libp2p specification (relay/circuit-v2, protobuf), so that a stock client of any language can
use our relays. Three things differ in *policy*, none on the wire:

* A CONNECT needs no reservation, but goes only to a destination whose node record the relay holds. The specification
  lets the destination choose its relays; then a hostile destination picks three spies of its own and learns every
  visitor's address. Here the visitor chooses, and the record rule keeps the relay from becoming an open proxy.
* State belongs to a circuit, never to a peer (:mod:`warmline_protocol.circuit_table`).
* A message may claim addresses for a peer. They are bounds-checked and dropped: who dials what is decided by records.

The reader is strict where protobuf is lax (duplicate fields, overlong numbers, groups, trailing bytes) but skips
unknown fields, because implementations add their own. Written by hand: five message types of two shapes are less than
a generated module, and the bounds sit where the bytes are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from warmline_protocol import limits
from warmline_protocol.codec import uvarint
from warmline_protocol.errors import MalformedError, OversizeError, UsageError
from warmline_protocol.protobuf import BYTES, UINT64_MAX, VARINT, read_varint, walk

HOP_PROTOCOL: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP_PROTOCOL: Final = "/libp2p/circuit/relay/0.2.0/stop"

_PEER_ID_MAX = 64
_UINT32_MAX = 2**32 - 1


class Status(IntEnum):
    """Answers of a relay or a destination (relay v2 specification)."""

    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


class HopType(IntEnum):
    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class StopType(IntEnum):
    CONNECT = 0
    STATUS = 1


@dataclass(frozen=True, slots=True)
class Limit:
    """What the relay grants one circuit: seconds, and bytes per direction. 0 means no limit."""

    duration_s: int = 0
    data: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """A granted reservation: its end (Unix seconds) and the relay's addresses as binary multiaddrs."""

    expire_s: int
    addrs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class HopMessage:
    """Between client and relay. ``peer`` is a binary peer id; ``status`` a plain number, newer ones included."""

    type: HopType
    peer: bytes | None = None
    reservation: Reservation | None = None
    limit: Limit | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class StopMessage:
    """Between relay and destination."""

    type: StopType
    peer: bytes | None = None
    limit: Limit | None = None
    status: int | None = None


# --- writing -------------------------------------------------------------------------------------------------------


def encode_hop(message: HopMessage) -> bytes:
    """Protobuf of a HOP message, without its length prefix."""
    return b"".join(
        (
            _number(1, message.type),
            _message(2, None if message.peer is None else _data(1, message.peer)),
            _message(3, None if message.reservation is None else _encode_reservation(message.reservation)),
            _message(4, None if message.limit is None else _encode_limit(message.limit)),
            _number(5, message.status),
        )
    )


def encode_stop(message: StopMessage) -> bytes:
    """Protobuf of a STOP message, without its length prefix."""
    return b"".join(
        (
            _number(1, message.type),
            _message(2, None if message.peer is None else _data(1, message.peer)),
            _message(3, None if message.limit is None else _encode_limit(message.limit)),
            _number(4, message.status),
        )
    )


def _encode_reservation(reservation: Reservation) -> bytes:
    return _number(1, reservation.expire_s) + b"".join(_data(2, addr) for addr in reservation.addrs)


def _encode_limit(limit: Limit) -> bytes:
    return _number(1, limit.duration_s) + _number(2, limit.data)


def _varint(number: int) -> bytes:
    if not 0 <= number <= UINT64_MAX:
        raise UsageError(f"{number} does not fit a protobuf number")
    return uvarint(number)


def _number(key: int, value: int | None) -> bytes:
    return b"" if value is None else _varint(key << 3 | VARINT) + _varint(value)


def _data(key: int, value: bytes) -> bytes:
    return _varint(key << 3 | BYTES) + _varint(len(value)) + value


def _message(key: int, value: bytes | None) -> bytes:
    return b"" if value is None else _data(key, value)


# --- reading -------------------------------------------------------------------------------------------------------


def decode_hop(data: bytes) -> HopMessage:
    """Read one HOP message; :class:`MalformedError` or :class:`OversizeError` otherwise."""
    fields = _fields(data, {1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT})
    kind = fields.number(1)
    if kind is None or kind not in HopType.__members__.values():
        raise MalformedError("a HOP message of no known type")
    return HopMessage(
        HopType(kind),
        _decode_peer(fields.data(2)),
        _decode_reservation(fields.data(3)),
        _decode_limit(fields.data(4)),
        fields.number(5, _UINT32_MAX),
    )


def decode_stop(data: bytes) -> StopMessage:
    """Read one STOP message; :class:`MalformedError` or :class:`OversizeError` otherwise."""
    fields = _fields(data, {1: VARINT, 2: BYTES, 3: BYTES, 4: VARINT})
    kind = fields.number(1)
    if kind is None or kind not in StopType.__members__.values():
        raise MalformedError("a STOP message of no known type")
    return StopMessage(
        StopType(kind),
        _decode_peer(fields.data(2)),
        _decode_limit(fields.data(3)),
        fields.number(4, _UINT32_MAX),
    )


def _decode_peer(data: bytes | None) -> bytes | None:
    if data is None:
        return None
    fields = _fields(data, {1: BYTES, 2: BYTES}, repeated=2)
    peer = fields.data(1)
    if not peer or len(peer) > _PEER_ID_MAX:
        raise MalformedError("a peer without a usable id")
    return peer


def _decode_reservation(data: bytes | None) -> Reservation | None:
    if data is None:
        return None
    fields = _fields(data, {1: VARINT, 2: BYTES, 3: BYTES}, repeated=2)
    expire = fields.number(1)
    if expire is None:
        raise MalformedError("a reservation without an end")
    return Reservation(expire, fields.repeated)


def _decode_limit(data: bytes | None) -> Limit | None:
    if data is None:
        return None
    fields = _fields(data, {1: VARINT, 2: VARINT})
    return Limit(fields.number(1, _UINT32_MAX) or 0, fields.number(2) or 0)


@dataclass(slots=True)
class _Fields:
    single: dict[int, int | bytes] = field(default_factory=dict)
    repeated: tuple[bytes, ...] = ()

    def number(self, key: int, most: int = UINT64_MAX) -> int | None:
        value = self.single.get(key)
        if isinstance(value, int) and value > most:
            raise MalformedError(f"field {key} is out of range")
        return value if isinstance(value, int) else None

    def data(self, key: int) -> bytes | None:
        value = self.single.get(key)
        return value if isinstance(value, bytes) else None


def _fields(data: bytes, known: dict[int, int], *, repeated: int = 0) -> _Fields:
    if len(data) > limits.CIRCUIT_MESSAGE_MAX:
        raise OversizeError(f"a relay message of {len(data)} bytes")
    found = _Fields()
    many: list[bytes] = []
    for key, wire, value in walk(data):
        if key not in known:
            continue
        if wire != known[key]:
            raise MalformedError(f"field {key} has the wrong type")
        if key == repeated and isinstance(value, bytes):
            many.append(value)
        elif key in found.single:
            raise MalformedError(f"field {key} comes twice")
        else:
            found.single[key] = value
    if len(many) > limits.CIRCUIT_ADDRS_MAX:
        raise OversizeError(f"{len(many)} addresses in one relay message")
    found.repeated = tuple(many)
    return found


class MessageReader:
    """Takes exactly one length-prefixed message off a stream and not one byte more.

    What follows the message on the same stream is the circuit's own traffic, which a buffering reader would swallow.
    Read :attr:`wanted` bytes (or fewer), :meth:`feed` them, until :attr:`wanted` is 0 and :attr:`message` is there.
    """

    def __init__(self) -> None:
        self.message = b""
        self.wanted = 1
        self._header = bytearray()
        self._in_body = False

    def feed(self, data: bytes) -> None:
        """Add at most :attr:`wanted` bytes."""
        if len(data) > self.wanted:
            raise UsageError("more bytes than asked for")
        if self._in_body:
            self.message += data
            self.wanted -= len(data)
        elif data:
            self._header += data
            if data[-1] < 0x80:
                self._begin_body()
            elif len(self._header) > 1:
                raise OversizeError("a relay message longer than the protocol allows")

    def _begin_body(self) -> None:
        size, _ = read_varint(bytes(self._header), 0)
        if size > limits.CIRCUIT_MESSAGE_MAX:
            raise OversizeError(f"a relay message of {size} bytes")
        self._in_body = True
        self.wanted = size
