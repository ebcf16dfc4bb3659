"""The relay messages against the library's protobuf, what the reader refuses, and the table of circuits."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.relay.circuit_v2.pb import circuit_pb2 as pb

from warmline_protocol import limits
from warmline_protocol.circuit import (
    HopMessage,
    HopType,
    Limit,
    MessageReader,
    Reservation,
    Status,
    StopMessage,
    StopType,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
)
from warmline_protocol.circuit_table import Circuit, CircuitLimits, CircuitRefused, CircuitTable, Ending, Stage, Way
from warmline_protocol.codec import frame
from warmline_protocol.errors import MalformedError, OversizeError, RemoteError, UsageError

PEERS = st.binary(min_size=1, max_size=64)
UINT32 = st.integers(0, 2**32 - 1)
UINT64 = st.integers(0, 2**64 - 1)
LIMITS = st.builds(Limit, UINT32, UINT64)
RESERVATIONS = st.builds(Reservation, UINT64, st.lists(st.binary(max_size=60), max_size=8).map(tuple))
HOPS = st.builds(
    HopMessage,
    st.sampled_from(HopType),
    st.none() | PEERS,
    st.none() | RESERVATIONS,
    st.none() | LIMITS,
    st.none() | st.sampled_from(Status).map(int),
)
STOPS = st.builds(
    StopMessage,
    st.sampled_from(StopType),
    st.none() | PEERS,
    st.none() | LIMITS,
    st.none() | st.sampled_from(Status).map(int),
)


@given(HOPS)
def test_hop_is_what_the_library_reads_and_writes(message: HopMessage) -> None:
    data = encode_hop(message)
    theirs = pb.HopMessage.FromString(data)
    assert theirs.type == message.type
    assert (theirs.peer.id if theirs.HasField("peer") else None) == message.peer
    assert (theirs.status if theirs.HasField("status") else None) == message.status
    if message.reservation is not None:
        assert theirs.reservation.expire == message.reservation.expire_s
        assert tuple(theirs.reservation.addrs) == message.reservation.addrs
    if message.limit is not None:
        assert (theirs.limit.duration, theirs.limit.data) == (message.limit.duration_s, message.limit.data)
    assert decode_hop(theirs.SerializeToString(deterministic=True)) == message
    assert theirs.SerializeToString(deterministic=True) == data


@given(STOPS)
def test_stop_is_what_the_library_reads_and_writes(message: StopMessage) -> None:
    data = encode_stop(message)
    theirs = pb.StopMessage.FromString(data)
    assert theirs.type == message.type
    assert (theirs.peer.id if theirs.HasField("peer") else None) == message.peer
    assert decode_stop(theirs.SerializeToString(deterministic=True)) == message
    assert theirs.SerializeToString(deterministic=True) == data


def test_fields_of_others_are_skipped_and_their_addresses_dropped() -> None:
    theirs = pb.HopMessage(
        type=pb.HopMessage.CONNECT, peer=pb.PeerId(id=b"peer", addrs=[b"/a", b"/b"]), senderRecord=b"signed"
    )
    assert decode_hop(theirs.SerializeToString()) == HopMessage(HopType.CONNECT, b"peer")


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_their_error(data: bytes) -> None:
    for decode in (decode_hop, decode_stop):
        with contextlib.suppress(RemoteError):
            decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"\x08\x03",
        b"\x08\x81\x00",
        b"\x08\x01\x08\x01",
        b"\x0a\x01\x01",
        b"\x08\x01\x13\x14",
        b"\x08\x01\x12\x05\x0a",
        b"\x08\x01\x12\x02\x0a\x00",
        b"\x08\x01\x12\x00",
        b"\x08\x01\x1a\x00",
        b"\x08\x02\x28\xff\xff\xff\xff\x1f",
        b"\x00\x01",
        b"\x08" + b"\xff" * 11,
        b"\x08\x01\x0d\x01",
    ],
)
def test_what_protobuf_would_let_pass_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_hop(data)


def test_size_and_number_of_addresses_are_bounded() -> None:
    with pytest.raises(OversizeError):
        decode_hop(bytes(limits.CIRCUIT_MESSAGE_MAX + 1))
    many = Reservation(1, (b"x",) * (limits.CIRCUIT_ADDRS_MAX + 1))
    with pytest.raises(OversizeError):
        decode_hop(encode_hop(HopMessage(HopType.STATUS, reservation=many)))


@given(st.binary(max_size=limits.CIRCUIT_MESSAGE_MAX), st.integers(1, 300))
def test_the_reader_takes_one_message_and_leaves_the_rest(body: bytes, step: int) -> None:
    stream = frame(body) + b"the circuit's own bytes"
    reader = MessageReader()
    while reader.wanted:
        size = min(step, reader.wanted)
        reader.feed(stream[:size])
        stream = stream[size:]
    assert reader.message == body
    assert stream == b"the circuit's own bytes"


@pytest.mark.parametrize("header", [b"\x81\x20", b"\xff\xff", b"\x80\x80"])
def test_the_reader_refuses_a_long_message_from_its_length(header: bytes) -> None:
    reader = MessageReader()
    with pytest.raises(OversizeError):
        for byte in header:
            reader.feed(bytes([byte]))


def test_the_reader_is_not_fed_more_than_it_wants() -> None:
    with pytest.raises(UsageError):
        MessageReader().feed(b"\x01\x00")


def test_a_circuit_counts_each_way_and_stops_at_its_limit() -> None:
    circuit = Circuit(b"a", "net", b"b", CircuitLimits(data=100, duration_s=60))
    assert not circuit.carry(Way.UP, 1), "not open yet"
    assert circuit.open(1000.0) == 1060.0
    assert circuit.carry(Way.UP, 100)
    assert circuit.carry(Way.DOWN, 60)
    assert not circuit.carry(Way.DOWN, 41)
    assert (circuit.stage, circuit.ending) == (Stage.CLOSED, Ending.DATA)
    assert circuit.carried == {Way.UP: 100, Way.DOWN: 60}
    circuit.close(Ending.DURATION)
    assert circuit.ending is Ending.DATA, "the first reason stands"
    with pytest.raises(UsageError):
        circuit.open(2000.0)


@pytest.mark.parametrize(
    ("limit", "second", "why"),
    [
        ("total", (b"x", "n2", b"y"), "relay full"),
        ("per_source", (b"s", "n2", b"y"), "peer full"),
        ("per_subnet", (b"x", "n", b"y"), "subnet full"),
        ("per_destination", (b"x", "n2", b"d"), "destination full"),
    ],
)
def test_each_limit_of_the_table(limit: str, second: tuple[bytes, str, bytes], why: str) -> None:
    table = CircuitTable(CircuitLimits(**{limit: 1}))
    first = table.admit(b"s", "n", b"d")
    with pytest.raises(CircuitRefused) as refusal:
        table.admit(*second)
    assert (refusal.value.status, refusal.value.why) == (Status.RESOURCE_LIMIT_EXCEEDED, why)
    table.release(first)
    table.release(first)
    table.admit(*second)
    assert table.statistics().refused == {why: 1}
    assert table.statistics().circuits == 1


def test_the_end_of_a_circuit_is_not_the_end_of_its_neighbours() -> None:
    table = CircuitTable(CircuitLimits())
    mine, theirs = (table.admit(source, "n", b"d") for source in (b"mine", b"theirs"))
    for circuit in (mine, theirs):
        table.open(circuit, 0.0)
    mine.close(Ending.CLOSED)
    table.release(mine)
    assert theirs.stage is Stage.OPEN
    assert theirs.carry(Way.UP, 7)
    assert table.statistics().bytes_up == 7
    assert table.statistics().ended == {"closed": 1}


def test_requests_that_wait_are_bounded_per_peer_and_in_all() -> None:
    table = CircuitTable(CircuitLimits(pending=3, pending_per_source=2))
    for source in (b"a", b"a", b"b"):
        table.begin(source)
    with pytest.raises(CircuitRefused, match="relay busy"):
        table.begin(b"c")
    table.done(b"b")
    with pytest.raises(CircuitRefused, match="one peer"):
        table.begin(b"a")
    table.begin(b"c")


def test_reservations_are_off_by_default_expire_and_are_bounded() -> None:
    with pytest.raises(CircuitRefused) as refusal:
        CircuitTable(CircuitLimits()).reserve(b"a", 0)
    assert refusal.value.status == Status.RESERVATION_REFUSED
    table = CircuitTable(CircuitLimits(reservations=1, reservation_s=60))
    assert table.reserve(b"a", 1000) == 1060
    assert table.reserve(b"a", 1010) == 1070
    assert table.reserved(b"a", 1069)
    assert not table.reserved(b"a", 1070)
    with pytest.raises(CircuitRefused):
        table.reserve(b"b", 1069)
    assert table.reserve(b"b", 1070) == 1130
    table.forget(b"b")
    assert not table.reserved(b"b", 1071)


def test_what_is_granted_is_never_no_limit() -> None:
    assert CircuitLimits(duration_s=0.2, data=0).granted() == Limit(1, 1)
