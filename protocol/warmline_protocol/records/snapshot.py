"""A node's directory as a client fetches it: a summary index and bodies in buckets, named by a signed manifest.

One index of at most 2 MiB holds a row of at most 256 bytes for every card, listing, desk, collector and tombstone, in
id order; a client reads all of it and searches on its own device. Bodies come in buckets of at least 32 neighbours in
id order, so a bucket tells the node little about which of them was wanted. Rows are hints that nobody signed: what
counts is the body. A row that had to leave tags out says so (``cut``) and then matches every search until its body is
read.

Where one index would pass 2 MiB there are as many shards as keep them at half of that, by the first bits of the record
id, the same rule for everybody; a client fetches all of them. Index and buckets are named by their hashes and the
manifest is signed, so that a client which has the content already, from whomever, fetches it from nobody again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

from warmline_protocol import limits
from warmline_protocol.codec import decode, encode, frame, frames, uvarint
from warmline_protocol.errors import MalformedError
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.records.card import Card
from warmline_protocol.records.desk import Desk
from warmline_protocol.records.envelope import CARD, COLLECTOR, DESK, LISTING, TOMBSTONE, OpenedRecord
from warmline_protocol.records.listing import Listing, Slot
from warmline_protocol.records.messages import Manifest
from warmline_protocol.records.standing_sheet import STANDING_ROW
from warmline_protocol.wire import U53, Bytes32, OneOf, Range, Size, pack, unpack

IN_SNAPSHOT: Final = (CARD, LISTING, DESK, COLLECTOR, TOMBSTONE)
INDEX_MAX: Final = limits.SNAPSHOT_INDEX_MAX
SHARD_RECORDS: Final = limits.SHARD_RECORDS


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of the index. ``print`` is the first 8 bytes of the record's digest; ``slots`` holds 4 bytes a slot."""

    id: Bytes32
    print: Annotated[bytes, Size(8, 8)]
    kind: Annotated[str, OneOf(*IN_SNAPSHOT)]
    seq: U53
    end: U53
    title: Annotated[str, Size(0, 80)]
    topics: Annotated[tuple[str, ...], Size(0, 8)]
    langs: Annotated[tuple[str, ...], Size(0, 6)]
    zone: Annotated[str, Size(0, 40)]
    slots: Annotated[bytes, Size(0, 14 * 4)]
    low: Annotated[int, Range(0, 120)]
    high: Annotated[int, Range(0, 120)]
    cut: bool

    @property
    def weekly(self) -> tuple[Slot, ...]:
        """The weekly slots; MalformedError is for :func:`read_index` to raise, so rows from there are sound."""
        return unpack_slots(self.slots)


def summarise(record: OpenedRecord) -> bytes:
    """The row of a card, listing, desk, collector or tombstone, at most 256 bytes."""
    body = record.body
    row = Summary(
        record.id, record.digest[:8], record.kind, record.seq, record.expires, "", (), (), "", b"", 0, 0, False
    )
    title = ""
    if isinstance(body, Card | Desk):
        title = body.name
        row = replace(row, topics=body.topics, langs=body.languages, low=body.age.low, high=body.age.high)
    elif isinstance(body, Listing):
        title = body.title
        row = replace(row, topics=body.topics, langs=body.languages, low=body.age.low, high=body.age.high)
        row = replace(row, zone=body.zone, slots=pack_slots(body.slots))
    while len(encode(pack(row))) > limits.SUMMARY_ROW_MAX:
        row = _shorter(row)
    room = limits.SUMMARY_ROW_MAX - len(encode(pack(row))) - 1
    return encode(pack(replace(row, title=_clip(title, min(room, 80)))))


def read_index(data: bytes) -> tuple[Summary, ...]:
    """The rows of an index; MalformedError unless all are sound and in strict id order."""
    rows = []
    last = b""
    for raw in frames(data, limits.SUMMARY_ROW_MAX):
        fields = decode(raw, max_size=limits.SUMMARY_ROW_MAX)
        if not isinstance(fields, dict):
            raise MalformedError("a summary that is not a map")
        row = unpack(Summary, fields)
        unpack_slots(row.slots)
        if row.id <= last:
            raise MalformedError("an index that is out of order")
        last = row.id
        rows.append(row)
    return tuple(rows)


def read_bodies(data: bytes) -> tuple[bytes, ...]:
    """The records of one bucket, not yet opened."""
    return tuple(frames(data, limits.RECORD_MAX))


def bucket_count(records: int) -> int:
    """Body buckets for so many records: as many as leave at least 32 in each."""
    return min(limits.ITEMS_MAX, max(1, records // limits.SNAPSHOT_BUCKET_MIN)) if records else 0


def bucket_at(position: int, records: int) -> int:
    """The bucket of the row at ``position`` in the index."""
    return position * bucket_count(records) // records


def shard_depth(records: int, index_size: int) -> int:
    """How many bits of the record id name a shard: none until one index would pass 2 MiB, then by the count alone."""
    if index_size <= INDEX_MAX:
        return 0
    shards = min(-(-records // SHARD_RECORDS), limits.SHARDS_MAX)
    return max(1, (shards - 1).bit_length())


def shard_of(record_id: bytes, depth: int) -> int:
    """The shard of a record: the first ``depth`` bits of its id, so that shards are neighbours in id order."""
    return int.from_bytes(record_id[:4]) >> (32 - depth)


@dataclass(frozen=True, slots=True)
class Row:
    """What a snapshot takes of one record; ``wallet`` is whom its standing is told of."""

    id: bytes
    summary: bytes
    data: bytes
    wallet: bytes | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All bytes of one shard's snapshot, ready to be served in parts."""

    manifest: Manifest
    index: bytes
    bodies: tuple[bytes, ...]
    standing: bytes

    @property
    def size(self) -> int:
        return len(self.index) + len(self.standing) + sum(map(len, self.bodies))


def split_rows(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows in id order by shard, as many shards as the rule says."""
    depth = shard_depth(len(rows), sum(len(row.summary) + len(uvarint(len(row.summary))) for row in rows))
    shards: list[list[Row]] = [[] for _ in range(1 << depth)]
    for row in rows:
        shards[shard_of(row.id, depth)].append(row)
    return shards


def build_snapshot(
    rows: Sequence[Row], standing: bytes, now_ms: int, key: SigningKey, *, shard: int = 0, shards: int = 1
) -> Snapshot:
    """The snapshot of one shard's rows, in id order, with a sheet from :func:`sign_standing`; ``key`` is the node's."""
    index = b"".join(frame(row.summary) for row in rows)
    count = len(rows)
    buckets: list[list[bytes]] = [[] for _ in range(bucket_count(count))]
    for position, row in enumerate(rows):
        buckets[bucket_at(position, count)].append(frame(row.data))
    bodies = tuple(b"".join(bucket) for bucket in buckets)
    index_hash = hashlib.sha256(index).digest()
    bucket_hashes = b"".join(hashlib.sha256(body).digest()[:16] for body in bodies)
    name = hashlib.sha256(encode([shard, shards, index_hash, bucket_hashes, hashlib.sha256(standing).digest()]))
    unsigned = Manifest(
        name.digest()[:16],
        now_ms,
        shard,
        shards,
        count,
        len(index),
        index_hash,
        len(standing),
        tuple(len(body) for body in bodies),
        bucket_hashes,
        bytes(64),
    )
    return Snapshot(sign_manifest(unsigned, key), index, bodies, standing)


def sign_manifest(unsigned: Manifest, key: SigningKey) -> Manifest:
    """``unsigned`` with the signature of the node whose directory it describes."""
    return replace(unsigned, sig=key.sign("snapshot", _signed(unsigned)))


def check_manifest(manifest: Manifest, node_key: bytes, shard: int) -> None:
    """RemoteError unless ``node_key`` signed it for ``shard`` and its sizes can be those of so many records."""
    verify(node_key, "snapshot", _signed(manifest), manifest.sig)
    if manifest.shard != shard:
        raise MalformedError("a snapshot of another shard than was asked for")
    if len(manifest.bucket_sizes) != bucket_count(manifest.records):
        raise MalformedError("a snapshot with another number of buckets than its records need")
    most = (manifest.records + 1) * STANDING_ROW
    if sum(manifest.bucket_sizes) > limits.SNAPSHOT_BODIES_MAX or manifest.standing_size > most:
        raise MalformedError("a snapshot that is larger than its records can be")


def _signed(manifest: Manifest) -> bytes:
    fields = pack(manifest)
    del fields["sig"]
    return encode(fields)


# --- bytes -------------------------------------------------------------------------------------------------------


def pack_slots(slots: Iterable[Slot]) -> bytes:
    """4 bytes a slot: minute of the week and length, big endian."""
    return b"".join((slot.day * 1440 + slot.start).to_bytes(2) + slot.length.to_bytes(2) for slot in slots)


def unpack_slots(data: bytes) -> tuple[Slot, ...]:
    """The inverse of :func:`pack_slots`."""
    if len(data) % 4:
        raise MalformedError("weekly slots that are cut short")
    slots = []
    for at in range(0, len(data), 4):
        day, start = divmod(int.from_bytes(data[at : at + 2]), 1440)
        slots.append(unpack(Slot, {"day": day, "start": start, "length": int.from_bytes(data[at + 2 : at + 4])}))
    return tuple(slots)


def _shorter(row: Summary) -> Summary:
    """``row`` with less in it, marked as cut."""
    if row.topics:
        return replace(row, topics=row.topics[:-1], cut=True)
    return replace(row, slots=row.slots[:-4], cut=True)


def _clip(text: str, size: int) -> str:
    """As much of ``text`` as fits ``size`` bytes of UTF-8, its msgpack prefix included."""
    if len(text.encode()) > 30:
        size -= 1  # a longer prefix
    return text.encode()[: max(size, 0)].decode(errors="ignore")
