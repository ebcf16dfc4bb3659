"""Wire messages of ``/warmline/directory/1``.

One channel carries requests one after another, each answered by its message or by ``Refused``. Between nodes:
``Digests`` (answered by ``Digests``), ``BucketWanted``, ``RecordsWanted``. For clients: ``NodesWanted``, ``Publish``
and the snapshot, always fetched whole so that nobody learns what a person looks for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Final

from warmline_protocol import limits
from warmline_protocol.records.node import DIRECTORY, KAD, QUEUES, RELAY
from warmline_protocol.wire import U53, Bytes16, Bytes32, OneOf, Range, Size, message

PROTOCOL: Final = "/warmline/directory/1"
TOPIC: Final = "/warmline/records/1"
"""Gossip topic whose messages are signed records as they are."""

Record = Annotated[bytes, Size(1, limits.RECORD_MAX)]
INDEX, BODIES, STANDING = "index", "bodies", "standing"


def shard_key(shard: int = 0) -> bytes:
    """The 32-byte content key that holders of a shard provide in the DHT."""
    return hashlib.sha256(f"warmline/shard/{shard}".encode()).digest()


def dht_key(record_id: bytes) -> str:
    """Where the home node puts a record in the DHT."""
    return f"/warm/{record_id.hex()}"


@message("nodes-wanted")
@dataclass(frozen=True, slots=True)
class NodesWanted:
    """A random sample of node records that offer all of ``offers``."""

    offers: Annotated[tuple[Annotated[str, OneOf(QUEUES, DIRECTORY, KAD, RELAY)], ...], Size(0, 4)]
    limit: Annotated[int, Range(1, limits.DIRECTORY_NODES_MAX)]


@message("nodes")
@dataclass(frozen=True, slots=True)
class Nodes:
    now_ms: U53
    records: Annotated[tuple[Record, ...], Size(0, limits.DIRECTORY_NODES_MAX)]


@message("digests")
@dataclass(frozen=True, slots=True)
class Digests:
    """The sender's clock and its 256 bucket digests, joined."""

    now_ms: U53
    digests: Annotated[
        bytes,
        Size(limits.DIGEST_BUCKETS * limits.DIGEST_SIZE, limits.DIGEST_BUCKETS * limits.DIGEST_SIZE),
    ]


@message("bucket-wanted")
@dataclass(frozen=True, slots=True)
class BucketWanted:
    index: Annotated[int, Range(0, limits.DIGEST_BUCKETS - 1)]


@dataclass(frozen=True, slots=True)
class Entry:
    id: Bytes32
    seq: U53
    digest: Bytes32


@message("bucket")
@dataclass(frozen=True, slots=True)
class Bucket:
    entries: Annotated[tuple[Entry, ...], Size(0, limits.ITEMS_MAX)]


@message("records-wanted")
@dataclass(frozen=True, slots=True)
class RecordsWanted:
    ids: Annotated[tuple[Bytes32, ...], Size(1, limits.DIRECTORY_FETCH_MAX)]


@message("records")
@dataclass(frozen=True, slots=True)
class Records:
    """Those of the wanted records that the sender still holds, in any order."""

    records: Annotated[tuple[Record, ...], Size(0, limits.DIRECTORY_FETCH_MAX)]


@message("publish")
@dataclass(frozen=True, slots=True)
class Publish:
    record: Record


@message("published")
@dataclass(frozen=True, slots=True)
class Published:
    """The node's verdict on a record that was handed to it, with a reason code and a hint for its author."""

    id: Annotated[bytes, Size(0, 32)]
    verdict: Annotated[str, OneOf("accept", "ignore", "reject", "defer")]
    reason: Annotated[str, Size(1, 40)]
    hint: Annotated[str, Size(0, limits.REFUSAL_TEXT_MAX)]
    verified: bool


@message("snapshot-wanted")
@dataclass(frozen=True, slots=True)
class SnapshotWanted:
    shard: Annotated[int, Range(0, 4095)]


@message("snapshot")
@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot consists of; parts are then read by its ``id`` while the node keeps it."""

    id: Bytes16
    now_ms: U53
    shards: Annotated[int, Range(1, 4096)]
    records: Annotated[int, Range(0, 1_000_000)]
    index_size: Annotated[int, Range(0, limits.SNAPSHOT_INDEX_MAX)]
    standing_size: Annotated[int, Range(0, 16 << 20)]
    bucket_sizes: Annotated[tuple[Annotated[int, Range(1, 2 << 20)], ...], Size(0, limits.ITEMS_MAX)]


@message("part-wanted")
@dataclass(frozen=True, slots=True)
class PartWanted:
    """Bytes of one section from ``offset``; ``bucket`` counts only for bodies."""

    snapshot: Bytes16
    section: Annotated[str, OneOf(INDEX, BODIES, STANDING)]
    bucket: Annotated[int, Range(0, limits.ITEMS_MAX)]
    offset: Annotated[int, Range(0, 16 << 20)]


@message("part")
@dataclass(frozen=True, slots=True)
class Part:
    data: Annotated[bytes, Size(0, limits.SNAPSHOT_PART_MAX)]


REQUESTS: Final = (
    NodesWanted,
    Digests,
    BucketWanted,
    RecordsWanted,
    Publish,
    SnapshotWanted,
    PartWanted,
)
