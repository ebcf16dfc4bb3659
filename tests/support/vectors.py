"""Makes missing vector rows: ``python -m support.vectors`` (with tests/ as working directory).

Rows that exist are never touched, whatever the code says now: the test that replays them is what finds a change. While
a message is still being shaped, before any release has spoken it, delete its file and run this again.
A message class gets one row with the least and one with everything in it, built from its grammar. Where rules between
fields refuse that, write an example into ``BY_HAND``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import warmline_protocol.vectors as vectors
from support import records as make
from warmline_protocol.codec import encode
from warmline_protocol.errors import WarmlineError
from warmline_protocol.records.delegation import NODE
from warmline_protocol.records.digests import all_digests, pack_entry
from warmline_protocol.records.envelope import end_record, open_record, sign_record
from warmline_protocol.records.listing import Slot
from warmline_protocol.records.messages import TOPIC, dht_key, shard_key
from warmline_protocol.records.schedule import Window, meetings
from warmline_protocol.records.snapshot import Row, build_snapshot, check_manifest, summarise
from warmline_protocol.records.standing_sheet import read_standing, sign_standing
from warmline_protocol.wire import OneOf, Range, Size, _is_union, _split, pack

FOLDER = Path(vectors.__file__).parent


def _creates(cls: type[Any]) -> list[Any]:
    one, two, key, sig = (bytes([n]) * size for n, size in ((1, 32), (2, 32), (3, 32), (4, 64)))
    hour = 3_600_000
    return [
        cls("queue", key, 64, hour, 24 * hour, sig, one),
        cls("queue", key, 1, hour, 24 * hour, sig, one, None, None, make.NOW),
        cls("door", key, 64, hour, 24 * hour, sig),
        cls("log", key, 1024, hour, 24 * hour, sig, one, two, 0),
    ]


def _offers(cls: type[Any]) -> list[Any]:
    attempt, secret, reply = b"\1" * 16, b"\2" * 32, b"\3" * 40
    return [
        cls(attempt, secret, reply, (), 18, 120, "", make.NOW),
        cls(attempt, secret, reply, ("en", "pt-BR"), 25, 40, "new-parents", make.NOW),
    ]


def _manifests(cls: type[Any]) -> list[Any]:
    rows = [
        Row(record.id, summarise(record), record.data, record.wallet)
        for record in sorted(map(open_record, (make.signed_listing(), make.signed_card())), key=lambda each: each.id)
    ]
    sheet = sign_standing(make.head(), [make.standing("ana")], make.key("node"))
    snapshots = [
        build_snapshot([], b"", make.NOW, make.key("node")),
        build_snapshot(rows, sheet, make.NOW, make.key("node"), shard=3, shards=4),
    ]
    for snapshot in snapshots:
        check_manifest(snapshot.manifest, make.key("node").public, snapshot.manifest.shard)
    return [snapshot.manifest for snapshot in snapshots]


BY_HAND: dict[str, Callable[[type[Any]], list[Any]]] = {
    "warmline_protocol.queue.messages:Create": _creates,
    "warmline_protocol.records.messages:BucketsWanted": lambda cls: [cls(b"\0"), cls(bytes([0, 7, 255]))],
    "warmline_protocol.records.messages:Manifest": _manifests,
    "warmline_protocol.session.offers:Offer": _offers,
}
"""``module:Class`` to a function that makes its examples."""


def examples(name: str, cls: type[Any]) -> list[Any]:
    """A smallest and a fuller message of a class."""
    if name in BY_HAND:
        return BY_HAND[name](cls)
    small, full = _build(cls, name, full=False), _build(cls, name, full=True)
    return [small] if small == full else [small, full]


def _build(cls: type[Any], path: str, *, full: bool) -> Any:
    hints = typing.get_type_hints(cls, include_extras=True)
    values = {f.name: _value(hints[f.name], f"{path}.{f.name}", full=full) for f in dataclasses.fields(cls)}
    return cls(**values)


def _value(kind: Any, path: str, *, full: bool) -> Any:
    if _is_union(kind) and type(None) in typing.get_args(kind) and not full:
        return None
    base, rules = _split(kind)
    sizes = [rule for rule in rules if isinstance(rule, Size)]
    low, high = (sizes[0].low, sizes[0].high) if sizes else (0, 4)
    size = min(high, max(low, 3)) if full else low
    seed = hashlib.sha256(path.encode()).digest()
    if typing.get_origin(base) is tuple:
        item = typing.get_args(base)[0]
        return tuple(_value(item, f"{path}.{index}", full=full) for index in range(size))
    if dataclasses.is_dataclass(base):
        return _build(typing.cast("type[Any]", base), path, full=full)
    if base is bytes:
        return (seed * (size // 32 + 1))[:size]
    if base is str:
        chosen = next((rule.choices for rule in rules if isinstance(rule, OneOf)), None)
        return chosen[-1 if full else 0] if chosen else seed.hex()[:size].ljust(size, "x")
    if base is bool:
        return full
    bounds = next((rule for rule in rules if isinstance(rule, Range)), Range(0, 2**53 - 1))
    return bounds.high if full else bounds.low


def message_rows() -> dict[str, list[dict[str, Any]]]:
    """Rows of every message by file: one file a module."""
    files: dict[str, list[dict[str, Any]]] = {}
    for name, cls in vectors.message_types().items():
        file = cls.__module__.removeprefix("warmline_protocol.")
        for number, message in enumerate(examples(name, cls), 1):
            row = vectors.message_row(f"{file}.{cls.__wire_tag__}.{number}", message)
            files.setdefault(f"messages.{file}", []).append(row)
    return files


def record_rows() -> list[dict[str, Any]]:
    """One signed record of each kind, with what an implementation must find in it."""
    given = make.delegation("ana", scope=NODE)
    listing = make.signed_listing()
    tomb = end_record(open_record(listing), make.key("ana"), make.NOW, make.delegation())
    kinds = {
        "listing of a wallet": listing,
        "listing of a key": make.signed_listing(wallet=False),
        "card": make.signed_card(credentials=(make.TYPE,)),
        "desk": make.signed_desk(),
        "collector": make.signed_collector(),
        "card on a desk": make.signed_card(desks=(b"d" * 32,)),
        "node": make.signed_node(),
        "node of a proven operator": sign_record(make.node_record("ana", wallet=given.wallet), make.key("ana"), given),
        "tombstone": tomb,
    }
    return [_record_row(name, data) for name, data in kinds.items()]


def _record_row(name: str, data: bytes) -> dict[str, Any]:
    record = open_record(data)
    given = record.delegation
    return {
        "name": name,
        "kind": record.kind,
        "bytes": data.hex(),
        "id": record.id.hex(),
        "owner": record.owner.hex(),
        "expires": record.expires,
        "body": vectors.as_json(pack(record.body)),
        "summary": summarise(record).hex() if record.kind != "node" else None,
        "delegation_digest": given.digest().hex() if given else None,
        "delegation_text": given.statement if given else None,
    }


def broken_rows() -> list[dict[str, Any]]:
    """Bytes that must be refused, and as what."""
    good = make.signed_listing(wallet=False)
    bent = bytearray(good)
    bent[-1] ^= 1
    given = make.delegation()
    assert given.signature is not None
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    mirrored = dataclasses.replace(
        given,
        signature=given.signature[:32]
        + (order - int.from_bytes(given.signature[32:64])).to_bytes(32)
        + bytes([55 - given.signature[64]]),
    )
    fields = {**_fields(make.signed_listing()), "delegation": pack(mirrored)}
    stripped = {name: value for name, value in _fields(make.signed_listing()).items() if name != "delegation"}
    rows = {
        "nothing": b"",
        "a signature bent by one bit": bytes(bent),
        "a delegation in its high-s form": encode(fields),
        "a delegation taken off": encode(stripped),
        "a record cut short": good[:-1],
        "a byte too many": good + b"\0",
        "an unknown field": encode({**_fields(good), "more": 1}),
        "too large": bytes(16 * 1024 + 1),
    }
    return [_broken_row(name, data) for name, data in rows.items()]


def _fields(data: bytes) -> dict[str, Any]:
    from warmline_protocol.codec import decode

    fields = decode(data)
    assert isinstance(fields, dict)
    return dict(fields)


def _broken_row(name: str, data: bytes) -> dict[str, Any]:
    try:
        open_record(data)
    except WarmlineError as error:
        written = data.hex() if len(data) < 10_000 else None
        return {
            "name": name,
            "bytes": written,
            "zeros": None if written is not None else len(data),
            "error": type(error).__name__,
        }
    raise AssertionError(f"{name} is not refused")


def constant_rows() -> list[dict[str, Any]]:
    """Names, keys and digests that both sides compute."""
    held = {open_record(data).id: open_record(data).digest for data in (make.signed_listing(), make.signed_card())}
    record = open_record(make.signed_listing())
    sheet = sign_standing(make.head(), [make.standing("ana"), make.standing("ben")], make.key("node"))
    assert read_standing(sheet, make.key("node").public)
    return [
        {"name": "gossip topic", "value": TOPIC},
        {"name": "shard key", "value": shard_key().hex()},
        {"name": "shard key of shard 3 at depth 2", "value": shard_key(3, 2).hex()},
        {
            "name": "sync entry of the listing of a wallet",
            "value": pack_entry(record.id, record.seq, record.digest).hex(),
        },
        {"name": "dht key of the listing of a wallet", "value": dht_key(record.id)},
        {
            "name": "digests of the listing and the card of a wallet, hashed",
            "value": hashlib.sha256(all_digests(held)).hexdigest(),
        },
        {"name": "standing sheet", "value": sheet.hex(), "key": make.key("node").public.hex()},
    ]


def schedule_rows() -> list[dict[str, Any]]:
    """Weekly slots and the meetings that they mean, across clock changes."""
    cases = [
        ("Europe/Lisbon", Slot(6, 1140, 60), 1792281600000, 1793664000000),
        ("America/New_York", Slot(6, 150, 60), 1772841600000, 1773100800000),
        ("America/New_York", Slot(6, 90, 60), 1793404800000, 1793664000000),
        ("Asia/Kathmandu", Slot(0, 1410, 90), 1795392000000, 1796601600000),
        ("Pacific/Kiritimati", Slot(4, 0, 30), 1795392000000, 1796601600000),
    ]
    return [
        {
            "name": f"{zone} {slot.day} {slot.start}",
            "zone": zone,
            "slot": [slot.day, slot.start, slot.length],
            "from": start,
            "until": end,
            "meetings": [[m.start, m.end] for m in meetings((slot,), zone, Window(start, end))],
        }
        for zone, slot, start, end in cases
    ]


def all_rows() -> dict[str, list[dict[str, Any]]]:
    return {
        **message_rows(),
        "records": record_rows(),
        "records.broken": broken_rows(),
        "constants": constant_rows(),
        "schedule": schedule_rows(),
    }


def main() -> None:
    """Write the rows that are missing."""
    for name, rows in sorted(all_rows().items()):
        path = FOLDER / f"{name}.json"
        kept = json.loads(path.read_text("utf-8")) if path.exists() else []
        known = {row["name"] for row in kept}
        new = [row for row in rows if row["name"] not in known]
        if new:
            path.write_text(_written(kept + new), "utf-8")
            print(f"{path.name}: {len(new)} new rows")


def _written(rows: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


if __name__ == "__main__":
    main()
