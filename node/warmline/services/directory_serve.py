"""``/warmline/directory/1``, the answering half. There is no question about one supporter or one search."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import trio

from warmline.env import Rng
from warmline.services.directory_shelf import Shelf
from warmline_protocol import limits
from warmline_protocol.errors import RefusedError
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.messages import (
    BODIES,
    INDEX,
    Bucket,
    BucketWanted,
    Manifest,
    Nodes,
    NodesWanted,
    Part,
    PartWanted,
    Records,
    RecordsWanted,
)
from warmline_protocol.records.node import NodeRecord
from warmline_protocol.records.snapshot import Snapshot, build_snapshot, sign_standing

KEPT_SNAPSHOTS: Final = 32
KEPT_BYTES: Final = 128 << 20
"""While records keep coming a snapshot lives about as many seconds as are kept: time to read it over a slow line."""


class Snapshots:
    """The newest snapshot, and the last few while somebody may still be reading them."""

    def __init__(self, shelf: Shelf, key: SigningKey, *, max_age: float) -> None:
        self._shelf = shelf
        self._key = key
        self._max_age = max_age
        self._kept: OrderedDict[bytes, Snapshot] = OrderedDict()
        self._built: tuple[int, bytes | None] | None = None
        self._built_at = -float("inf")

    def newest(self) -> Snapshot:
        """A snapshot no older than ``max_age`` seconds, or of exactly what is held now."""
        head = self._shelf.judge.head()
        state = (self._shelf.index.version, head.hash if head else None)
        young = trio.current_time() - self._built_at < self._max_age
        if self._kept and (state == self._built or young):
            return next(reversed(self._kept.values()))
        snapshot = self._build()
        self._built, self._built_at = state, trio.current_time()
        self._kept[snapshot.manifest.id] = snapshot
        self._kept.move_to_end(snapshot.manifest.id)
        while len(self._kept) > KEPT_SNAPSHOTS or (len(self._kept) > 2 and self._bytes() > KEPT_BYTES):
            self._kept.popitem(last=False)
        return snapshot

    def part(self, wanted: PartWanted) -> Part:
        """Bytes of a snapshot that is still kept; refused with ``gone`` otherwise."""
        snapshot = self._kept.get(wanted.snapshot)
        if snapshot is None:
            raise RefusedError("gone", "this snapshot has been replaced", hint="Start again with the newest one.")
        if wanted.section == BODIES:
            if wanted.bucket >= len(snapshot.bodies):
                raise RefusedError("no-bucket", "this snapshot has fewer buckets")
            section = snapshot.bodies[wanted.bucket]
        else:
            section = snapshot.index if wanted.section == INDEX else snapshot.standing
        return Part(section[wanted.offset : wanted.offset + limits.SNAPSHOT_PART_MAX])

    def _bytes(self) -> int:
        manifests = (snapshot.manifest for snapshot in self._kept.values())
        return sum(each.index_size + each.standing_size + sum(each.bucket_sizes) for each in manifests)

    def _build(self) -> Snapshot:
        shelf, now = self._shelf, self._shelf.judge.clock.utc_ms()
        head = shelf.judge.head()
        sheet = b""
        if head is not None:
            known = [shelf.judge.standing_of(wallet) for wallet in shelf.index.wallets()]
            sheet = sign_standing(head, [standing for standing in known if standing], self._key)
        return build_snapshot(shelf.index.rows(now), sheet, now)


def manifest(snapshots: Snapshots, shard: int) -> Manifest:
    """The newest manifest; there is one shard."""
    if shard != 0:
        raise RefusedError("no-shard", "there is one shard, number 0", hint="Ask for shard 0.")
    return snapshots.newest().manifest


def some_nodes(shelf: Shelf, wanted: NodesWanted, rng: Rng) -> Nodes:
    """A random sample of the nodes that offer what is wanted."""
    now = shelf.judge.clock.utc_ms()
    fitting = [
        record.data
        for record in shelf.index.nodes(now)
        if isinstance(record.body, NodeRecord) and set(wanted.offers) <= set(record.body.offers)
    ]
    return Nodes(now, tuple(rng.sample(fitting, wanted.limit)))


def bucket(shelf: Shelf, wanted: BucketWanted) -> Bucket:
    return Bucket(shelf.index.bucket(wanted.index))


def records(shelf: Shelf, wanted: RecordsWanted) -> Records:
    """What is still held of the wanted records."""
    found = [held.record.data for key in sorted(set(wanted.ids)) if (held := shelf.index.get(key))]
    return Records(tuple(found))
