"""What a node's directory holds, in memory: answers must not wait for the disk, and judging is synchronous.

The store keeps the same records across restarts. Bounds in records and bytes keep memory known; records that the
chain does not vouch for share a part of the space, so that throw-away keys cannot crowd out the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from warmline_protocol import limits
from warmline_protocol.records.digests import bucket_digest, bucket_of, pack_entry
from warmline_protocol.records.envelope import NODE, OpenedRecord
from warmline_protocol.records.merge import stamp_of
from warmline_protocol.records.node import NodeRecord
from warmline_protocol.records.snapshot import IN_SNAPSHOT, Row, summarise


@dataclass(frozen=True, slots=True)
class Held:
    """A record that is kept and served. ``home`` is true where it was published at this node."""

    record: OpenedRecord
    verified: bool
    home: bool
    summary: bytes
    source: str = ""
    """Through whom it came first: an entry, a neighbour's network. What space is shared by."""

    @property
    def crowd(self) -> bool:
        """Which of the two rooms of what no chain vouches for it takes a place in: node records have their own."""
        return self.record.ends == NODE


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be held, and how much of that may be unverified. Node records have a room of their own.

    No chain vouches for a node, and relays carry to nodes that they know only: if strangers' cards and listings could
    take the places of node records, one script would end private routing for every node that comes later.
    """

    records: int = 32_768
    unverified: int = 2_000
    nodes: int = 1_500
    bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Whether a record fits, and the id of the one that goes for it, if any."""

    fits: bool
    instead_of: bytes | None = None


class DirectoryIndex:
    """The records by id; ``version`` changes with every change."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.own: bytes | None = None
        """The id of this node's own record, for which there is always room."""
        self.version = 0
        self.nodes_version = 0
        """Changes when a node record comes or goes: far more rarely."""
        self._held: dict[bytes, Held] = {}
        self._counts: dict[tuple[bytes, str], int] = {}
        self._peers: dict[str, bytes] = {}
        self._bytes = 0
        self._unverified = 0
        self._nodes = 0
        self._sources: dict[bool, dict[str, dict[bytes, None]]] = {False: {}, True: {}}
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

    def place(self, record: OpenedRecord, *, verified: bool, source: str) -> Place:
        """Whether there is room for ``record``, and which record would have to go for it.

        Places of what no chain vouches for are shared by source, as a fair queue shares a line: while there is room
        anybody takes it, and when there is none, whoever has most gives way to whoever has less. Many keys behind one
        entry or one neighbour so take what is left over, never the places of others.
        """
        if record.id in self._held or record.id == self.own:
            return Place(True)
        full = len(self._held) >= self.room.records or self._bytes + len(record.data) > self.room.bytes
        if verified:
            return Place(True) if not full else self._instead(None, (False, True))
        nodes = record.ends == NODE
        taken, most = (
            (self._nodes, self.room.nodes) if nodes else (self._unverified - self._nodes, self.room.unverified)
        )
        if not full and taken < most:
            return Place(True)
        return self._instead(source, (nodes,))

    def _instead(self, source: str | None, rooms: tuple[bool, ...]) -> Place:
        """The latest that came through whoever has most, if that is more than ``source`` would have then."""
        sizes = ((len(ids), room, who) for room in rooms for who, ids in self._sources[room].items() if who != source)
        most, room, who = max(sizes, default=(0, False, ""))
        least = 0 if source is None else len(self._sources[rooms[0]].get(source, ())) + 1
        if most <= least:
            return Place(False)
        victim = next((each for each in reversed(self._sources[room][who]) if each != self.own), None)
        return Place(victim is not None, victim)

    def put(self, record: OpenedRecord, *, verified: bool, home: bool, source: str = "") -> None:
        """Keep ``record`` in the place of whatever had its id; it stays counted to whom that came through."""
        before = self._held.get(record.id)
        source = before.source if before is not None else source
        self.drop(record.id)
        summary = summarise(record) if record.kind in IN_SNAPSHOT else b""
        held = self._held[record.id] = Held(record, verified, home, summary, source)
        if not verified:
            self._sources[held.crowd].setdefault(source, {})[record.id] = None
        key = (record.owner, record.kind)
        self._counts[key] = self._counts.get(key, 0) + 1
        self._bytes += len(record.data)
        self._unverified += not verified
        self._nodes += not verified and record.ends == NODE
        if isinstance(record.body, NodeRecord):
            self._peers[record.body.peer_id] = record.id
            self.nodes_version += 1
        self._buckets[bucket_of(record.id)][record.id] = record.digest
        self._changed(record.id)

    def drop(self, record_id: bytes) -> None:
        """Forget the record under this id, if any."""
        held = self._held.pop(record_id, None)
        if held is None:
            return
        record = held.record
        if not held.verified:
            theirs = self._sources[held.crowd][held.source]
            del theirs[record_id]
            if not theirs:
                del self._sources[held.crowd][held.source]
        key = (record.owner, record.kind)
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
        self._bytes -= len(record.data)
        self._unverified -= not held.verified
        self._nodes -= not held.verified and record.ends == NODE
        if isinstance(record.body, NodeRecord):
            self._peers.pop(record.body.peer_id, None)
            self.nodes_version += 1
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

    def bucket(self, index: int) -> bytes:
        """The entries of one bucket of directory sync, in id order."""
        records = (self._held[key].record for key in sorted(self._buckets[index]))
        return b"".join(pack_entry(record.id, record.seq, record.digest) for record in records)

    def named(self, prefix: bytes) -> list[OpenedRecord]:
        """The records whose ids begin with ``prefix``: one, unless somebody made more on purpose."""
        return [self._held[key].record for key in self._buckets[prefix[0]] if key.startswith(prefix)]

    def rows(self, now_ms: int) -> list[Row]:
        """What a snapshot takes of every record that belongs in one, in id order."""
        return [
            Row(held.record.id, held.summary, held.record.data, held.record.wallet)
            for held in self
            if held.summary and held.record.expires > now_ms
        ]

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
