"""Queue messages: what is sent is what arrives, and what does not belong is refused."""

from __future__ import annotations

import dataclasses

import pytest

from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.limits import QUEUE_FRAME_MAX
from warmline_protocol.queue import messages as m
from warmline_protocol.queue.auth import check, key_hash, opens, prove, queue_id
from warmline_protocol.wire import from_wire, pack, to_wire, unpack

B16, B32, B64, CELL = b"q" * 16, b"k" * 32, b"s" * 64, b"c" * 4096
CURSOR = m.Cursor(B16, 7)
MESSAGES = (
    m.Challenge(),
    m.Create("queue", B32, 1024, 60_000, 60_000, B64, send_hash=B32, release_at=1_800_000_000_000),
    m.Create("door", B32, 256, 60_000, 60_000, B64),
    m.Create("log", B32, 8192, 60_000, 60_000, B64, send_hash=B32, read_hash=B32, fence=3),
    m.Append(B16, (CELL,) * 16, B32, 2**32),
    m.Append(B16, (CELL,), work=B64, challenge=B32),
    m.AppendCommit(B16, 0, (CELL,), B32, B32, B64, B32),
    m.Read(B16, CURSOR, B64),
    m.Follow(B16, None, None, B32),
    m.Taken(5),
    m.Ack(B16, CURSOR, B64),
    m.Remove(B16, B64),
    m.Nonce(B32),
    m.Created(B16, B16, 5),
    m.Receipt(B16, 2**53 - 1, B32, 2**53 - 1),
    m.WorkNeeded(B32, 12),
    m.Cells(B16, 2, 2**32, B32, 2**33, (CELL,) * 16),
    m.Heartbeat(B16, 0),
    m.Acked(3),
    m.Removed(),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_there_and_back_within_a_frame(message: object) -> None:
    data = to_wire(message)
    assert len(data) <= QUEUE_FRAME_MAX
    assert from_wire(data, (type(message),)) == message


@pytest.mark.parametrize(
    "change",
    [
        {"send_hash": None},
        {"read_hash": B32},
        {"fence": 1},
        {"kind": "door"},
        {"kind": "log"},
        {"kind": "shelf"},
        {"cap": 0},
        {"cap": 1025},
        {"cell_ttl_ms": 59_999},
        {"life_ms": 10**12},
        {"owner": b"short"},
        {"signature": b"s" * 63},
    ],
    ids=str,
)
def test_a_queue_that_cannot_be(change: dict[str, object]) -> None:
    good = m.Create("queue", B32, 1024, 60_000, 60_000, B64, send_hash=B32)
    fields = {key: value for key, value in {**pack(good), **change}.items() if value is not None}
    with pytest.raises(MalformedError):
        unpack(m.Create, fields)


@pytest.mark.parametrize("cells", [(), (CELL,) * 17, (CELL[:-1],), (CELL + b".",)], ids=("0", "17", "short", "long"))
def test_cells_that_cannot_be(cells: tuple[bytes, ...]) -> None:
    with pytest.raises(UsageError):
        to_wire(m.Append(B16, cells, B32))
    with pytest.raises(MalformedError):
        unpack(m.Append, {"queue": B16, "cells": list(cells), "send_key": B32})


def test_a_signature_is_for_one_operation_queue_node_and_channel() -> None:
    key = SigningKey(b"o" * 32)
    there = {"op": "ack", "queue": B16, "node": "nodeA", "nonce": B32}
    signature = prove(key, "ack", B16, node="nodeA", nonce=B32)
    check(key.public, "ack", B16, signature, node="nodeA", nonce=B32)
    for change in ({"op": "remove"}, {"queue": b"p" * 16}, {"node": "nodeB"}, {"nonce": b"x" * 32}):
        where = {**there, **change}
        with pytest.raises(BadSignatureError):
            check(key.public, where["op"], where["queue"], signature, node=where["node"], nonce=where["nonce"])  # type: ignore[arg-type]


def test_a_node_keeps_what_opens_nothing() -> None:
    kept = key_hash(B32)
    assert opens(B32, kept)
    assert not opens(kept, kept)
    assert not opens(None, kept)
    assert queue_id(B32) != queue_id(b"l" * 32)


def test_messages_are_values() -> None:
    assert all(dataclasses.is_dataclass(each) and hash(each) for each in MESSAGES)
