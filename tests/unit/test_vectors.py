"""Replays the committed bytes. A failure here means that the wire has changed."""

from __future__ import annotations

from typing import Any

import pytest

from support import records as make
from warmline_protocol import vectors
from warmline_protocol.errors import RemoteError
from warmline_protocol.records.envelope import open_record
from warmline_protocol.records.listing import Slot
from warmline_protocol.records.messages import TOPIC, dht_key, shard_key
from warmline_protocol.records.schedule import Window, meetings
from warmline_protocol.records.snapshot import summarise
from warmline_protocol.records.standing_sheet import read_standing
from warmline_protocol.wire import from_wire, pack, to_wire, unpack

MESSAGES = [row for name in vectors.names() if name.startswith("messages.") for row in vectors.load(name)]
HOW = "run `python -m support.vectors` in tests/ and commit what it writes"


def named(rows: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(row, id=row["name"]) for row in rows]


def test_every_message_has_a_row() -> None:
    missing = sorted(set(vectors.message_types()) - {row["type"] for row in MESSAGES})
    assert not missing, HOW


@pytest.mark.parametrize("row", named(MESSAGES))
def test_a_message_reads_and_writes_as_committed(row: dict[str, Any]) -> None:
    cls, data = vectors.type_of(row["type"]), bytes.fromhex(row["bytes"])
    message = from_wire(data, (cls,), max_size=len(data))
    assert to_wire(message) == data
    assert vectors.as_json(pack(message)) == row["fields"]
    assert unpack(cls, vectors.from_json(row["fields"])) == message


@pytest.mark.parametrize("row", named(vectors.load("records")))
def test_a_record_opens_as_committed(row: dict[str, Any]) -> None:
    record = open_record(bytes.fromhex(row["bytes"]))
    assert record.kind == row["kind"]
    assert record.id.hex() == row["id"]
    assert record.owner.hex() == row["owner"]
    assert record.expires == row["expires"]
    assert vectors.as_json(pack(record.body)) == row["body"]
    if row["summary"]:
        assert summarise(record).hex() == row["summary"]
    if record.delegation:
        assert record.delegation.digest().hex() == row["delegation_digest"]
        assert record.delegation.statement == row["delegation_text"]


@pytest.mark.parametrize("row", named(vectors.load("records.broken")))
def test_broken_bytes_are_refused_as_committed(row: dict[str, Any]) -> None:
    data = bytes(row["zeros"]) if row["zeros"] else bytes.fromhex(row["bytes"])
    with pytest.raises(RemoteError) as error:
        open_record(data)
    assert type(error.value).__name__ == row["error"]


def test_constants_are_as_committed() -> None:
    rows = {row["name"]: row for row in vectors.load("constants")}
    assert rows["gossip topic"]["value"] == TOPIC
    assert rows["shard key"]["value"] == shard_key().hex()
    listing = open_record(make.signed_listing())
    assert rows["dht key of the listing of a wallet"]["value"] == dht_key(listing.id)
    sheet = rows["standing sheet"]
    read = read_standing(bytes.fromhex(sheet["value"]), bytes.fromhex(sheet["key"]))
    assert read is not None
    assert read.of(make.wallet_of("ana")) == make.standing("ana")


@pytest.mark.parametrize("row", named(vectors.load("schedule")))
def test_meetings_are_as_committed(row: dict[str, Any]) -> None:
    found = meetings((Slot(*row["slot"]),), row["zone"], Window(row["from"], row["until"]))
    assert [[meeting.start, meeting.end] for meeting in found] == row["meetings"]


def test_a_row_is_easy_to_write() -> None:
    cls = vectors.type_of("warmline_protocol.wire:Refused")
    row = vectors.message_row("wire.refused.example", cls("full", "no room", "try another node"))
    assert vectors.from_json(row["fields"])["code"] == "full"
