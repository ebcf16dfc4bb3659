"""What a node's directory holds, in memory: answers must not wait for the disk, and judging is synchronous.

The store keeps the same records across restarts. Bounds in records and bytes keep memory known; records that the
chain does not vouch for share a part of the space, so that throw-away keys cannot crowd out the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from warmline_protocol import limits
from warmline_protocol.records.digests import bucket_digest, bucket_of
from warmline_protocol.records.envelope import NODE, OpenedRecord
from warmline_protocol.records.merge import stamp_of
from warmline_protocol.records.messages import Entry
from warmline_protocol.records.node import NodeRecord
from warmline_protocol.records.snapshot import IN_SNAPSHOT, summarise


@dataclass(frozen=True, slots=True)
class Held:
    """A record that is kept and served. ``home`` is true where it was published at this node."""

    record: OpenedRecord
    verified: bool
    home: bool
    summary: bytes


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be held, and how much of that may be unverified. Node records have a room of their own.

    No chain vouches for a node, and relays carry to nodes that they know only: if strangers' cards and listings could
    take the places of node records, one script would end private routing for every node that comes later.

    As many records as fit one shard's index: a node that held more would have to serve several shards.
    """

    records: int = limits.SNAPSHOT_INDEX_MAX // (limits.SUMMARY_ROW_MAX + 2)
    unverified: int = 2_000
    nodes: int = 1_500
    bytes: int = 64 << 20


class DirectoryIndex:
    """The records by id; ``version`` changes with every change."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.own: bytes | None = None
        """The id of this node's own record, for which there is always room."""
        self.version = 0
        self._held: dict[bytes, Held] = {}
        self._counts: dict[tuple[bytes, str], int] = {}
        self._peers: dict[str, bytes] = {}
        self._bytes = 0
        self._unverified = 0
        self._nodes = 0
        self._buckets: list[dict[bytes, bytes]] = [{} for _ in range(limits.DIGEST_BUCKETS)]
        self._digests: list[bytes | None] = [None] * limits.DIGEST_BUCKETS

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        """In id order."""
        return iter([self._held[key] for key in sorted(self._held)])

    def get(self, record_id: bytes) -> Held | None:
        return self._held.get(record_id)

    def count(self, record: OpenedRecord) -> int:
        """How many other live records of the same owner and kind are held."""
        count = self._counts.get((record.owner, record.kind), 0)
        held = self._held.get(record.id)
        return count - 1 if held is not None and held.record.kind == record.kind else count

    def is_older(self, record: OpenedRecord) -> bool:
        """Whether something at least as new is held under its id."""
        held = self._held.get(record.id)
        return held is not None and stamp_of(held.record) >= stamp_of(record)

    def has_room(self, record: OpenedRecord, *, verified: bool) -> bool:
        if record.id in self._held or record.id == self.own:
            return True
        full = len(self._held) >= self.room.records or self._bytes + len(record.data) > self.room.bytes
        if full or verified:
            return not full
        if record.ends == NODE:
            return self._nodes < self.room.nodes
        return self._unverified - self._nodes < self.room.unverified

    def put(self, record: OpenedRecord, *, verified: bool, home: bool) -> None:
        """Keep ``record`` in the place of whatever had its id."""
        self.drop(record.id)
        summary = summarise(record) if record.kind in IN_SNAPSHOT else b""
        self._held[record.id] = Held(record, verified, home, summary)
        key = (record.owner, record.kind)
        self._counts[key] = self._counts.get(key, 0) + 1
        self._bytes += len(record.data)
        self._unverified += not verified
        self._nodes += not verified and record.ends == NODE
        if isinstance(record.body, NodeRecord):
            self._peers[record.body.peer_id] = record.id
        self._buckets[bucket_of(record.id)][record.id] = record.digest
        self._changed(record.id)

    def drop(self, record_id: bytes) -> None:
        """Forget the record under this id, if any."""
        held = self._held.pop(record_id, None)
        if held is None:
            return
        record = held.record
        key = (record.owner, record.kind)
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
        self._bytes -= len(record.data)
        self._unverified -= not held.verified
        self._nodes -= not held.verified and record.ends == NODE
        if isinstance(record.body, NodeRecord):
            self._peers.pop(record.body.peer_id, None)
        del self._buckets[bucket_of(record.id)][record.id]
        self._changed(record.id)

    def over(self, now_ms: int) -> list[bytes]:
        """Ids of records whose time is over."""
        return [held.record.id for held in self if held.record.expires <= now_ms]

    def node(self, peer_id: str, now_ms: int) -> NodeRecord | None:
        """The valid record of a node."""
        record_id = self._peers.get(peer_id)
        held = self._held.get(record_id) if record_id else None
        if held is None or not isinstance(held.record.body, NodeRecord):
            return None
        return held.record.body if held.record.expires > now_ms else None

    def nodes(self, now_ms: int) -> list[OpenedRecord]:
        """Every valid node record, in id order."""
        held = [self._held[key].record for key in sorted(self._peers.values())]
        return [record for record in held if record.expires > now_ms]

    def digests(self) -> bytes:
        """The bucket digests that directory sync compares; only buckets that changed are hashed again."""
        for index, known in enumerate(self._digests):
            if known is None:
                self._digests[index] = bucket_digest(self._buckets[index].items())
        return b"".join(digest for digest in self._digests if digest is not None)

    def bucket(self, index: int) -> tuple[Entry, ...]:
        """The entries of one bucket of directory sync; what does not fit one answer waits for another round."""
        ids = sorted(self._buckets[index])[: limits.ITEMS_MAX]
        records = [self._held[key].record for key in ids]
        return tuple(Entry(record.id, record.seq, record.digest) for record in records)

    def rows(self, now_ms: int) -> list[tuple[bytes, bytes]]:
        """(summary, record) pairs for a snapshot, in id order."""
        return [(held.summary, held.record.data) for held in self if held.summary and held.record.expires > now_ms]

    def wallets(self) -> list[bytes]:
        """The wallets that records in the snapshot speak for."""
        return sorted({held.record.wallet for held in self if held.summary and held.record.wallet})

    def _changed(self, record_id: bytes) -> None:
        self._digests[bucket_of(record_id)] = None
        self.version += 1

    def statistics(self) -> dict[str, int]:
        """Counts; nobody is named."""
        kinds = {f"{kind}s": 0 for kind in (*IN_SNAPSHOT, NODE)}
        for held in self._held.values():
            kinds[f"{held.record.kind}s"] += 1
        return {
            **kinds,
            "records": len(self._held),
            "bytes": self._bytes,
            "unverified": self._unverified - self._nodes,
            "home": sum(held.home for held in self._held.values()),
        }
