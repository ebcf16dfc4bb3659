"""Wire messages of ``/warmline/directory/1``.

One channel carries requests one after another, each answered by its message or by ``Refused``. Between nodes:
``Digests`` (answered by ``Digests``), ``BucketsWanted``, ``RecordsWanted``. For clients: ``NodesWanted``, ``Publish``
and the snapshot, always fetched whole so that nobody learns what a person looks for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.records.node import DIRECTORY, KAD, QUEUES, RELAY
from warmline_protocol.wire import U53, Bytes16, Bytes32, OneOf, Range, Size, message

PROTOCOL: Final = "/warmline/directory/1"
TOPIC: Final = "/warmline/records/1"
"""Gossip topic whose messages are signed records as they are."""

Record = Annotated[bytes, Size(1, limits.RECORD_MAX)]
INDEX, BODIES, STANDING = "index", "bodies", "standing"


def shard_key(shard: int = 0, depth: int = 0) -> bytes:
    """The 32-byte content key that holders of a shard provide in the DHT.

    Who holds anything provides the key of depth 0, so that clients find holders before they know the depth.
    """
    name = f"warmline/shard/{shard}" if depth == 0 else f"warmline/shard/{depth}/{shard}"
    return hashlib.sha256(name.encode()).digest()


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


@message("buckets-wanted")
@dataclass(frozen=True, slots=True)
class BucketsWanted:
    """What the other side holds in the buckets that differ: their numbers, one byte each, ascending."""

    buckets: Annotated[bytes, Size(1, limits.DIGEST_BUCKETS)]

    def __post_init__(self) -> None:
        if any(one >= two for one, two in pairwise(self.buckets)):
            raise UsageError("buckets that are not in order")


@message("buckets")
@dataclass(frozen=True, slots=True)
class Buckets:
    """The entries (:mod:`.digests`) of the first ``covered`` wanted buckets; the others did not fit."""

    covered: Annotated[int, Range(1, limits.DIGEST_BUCKETS)]
    entries: Annotated[bytes, Size(0, limits.DIGEST_ENTRIES_MAX * limits.DIGEST_ENTRY)]


@message("records-wanted")
@dataclass(frozen=True, slots=True)
class RecordsWanted:
    """Records by the first eight bytes of their ids."""

    prefixes: Annotated[tuple[Annotated[bytes, Size(8, 8)], ...], Size(1, limits.DIRECTORY_FETCH_MAX)]


@message("records")
@dataclass(frozen=True, slots=True)
class Records:
    """Those of the wanted records that the sender still holds, in any order, as many as fit."""

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
    shard: Annotated[int, Range(0, limits.SHARDS_MAX - 1)]


@message("snapshot")
@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot of one shard consists of; parts are then read by its ``id`` while the node keeps it.

    ``index_hash`` is a SHA-256, ``bucket_hashes`` are the first 16 bytes of one for each bucket, joined: parts may come
    from whoever has the same content. ``sig`` is the node's over all other fields (domain ``snapshot``).
    """

    id: Bytes16
    now_ms: U53
    shard: Annotated[int, Range(0, limits.SHARDS_MAX - 1)]
    shards: Annotated[int, Range(1, limits.SHARDS_MAX)]
    records: Annotated[int, Range(0, 1_000_000)]
    index_size: Annotated[int, Range(0, limits.SNAPSHOT_INDEX_MAX)]
    index_hash: Bytes32
    standing_size: Annotated[int, Range(0, 16 << 20)]
    bucket_sizes: Annotated[tuple[Annotated[int, Range(1, 2 << 20)], ...], Size(0, limits.ITEMS_MAX)]
    bucket_hashes: Annotated[bytes, Size(0, limits.ITEMS_MAX * 16)]
    sig: Annotated[bytes, Size(64, 64)]

    def __post_init__(self) -> None:
        if len(self.bucket_hashes) != 16 * len(self.bucket_sizes):
            raise UsageError("a snapshot with another number of bucket hashes than buckets")
        if self.shard >= self.shards or self.shards & (self.shards - 1):
            raise UsageError("shards come in powers of two, and a shard is one of them")

    def bucket_hash(self, bucket: int) -> bytes:
        return self.bucket_hashes[16 * bucket : 16 * bucket + 16]


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
    BucketsWanted,
    RecordsWanted,
    Publish,
    SnapshotWanted,
    PartWanted,
)
