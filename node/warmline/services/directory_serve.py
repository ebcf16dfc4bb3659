"""``/warmline/directory/1``, the answering half. There is no question about one supporter or one search."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
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
    Buckets,
    BucketsWanted,
    Manifest,
    Nodes,
    NodesWanted,
    Part,
    PartWanted,
    Records,
    RecordsWanted,
)
from warmline_protocol.records.node import NodeRecord
from warmline_protocol.records.snapshot import Row, Snapshot, build_snapshot, split_rows
from warmline_protocol.records.standing import ChainHead
from warmline_protocol.records.standing_sheet import sign_standing

BUILD_PAUSE: Final = 2e-4
"""Seconds for each record before large snapshots are made again: about twenty times as long as it takes."""
KEPT_SNAPSHOTS: Final = 32
KEPT_BYTES: Final = 128 << 20
"""While records keep coming a snapshot lives about as many seconds as are kept: time to read it over a slow line."""


class Snapshots:
    """The newest snapshot of each shard, and the last few while somebody may still be reading them."""

    def __init__(self, shelf: Shelf, key: SigningKey, *, max_age: float) -> None:
        self._shelf = shelf
        self._key = key
        self._max_age = max_age
        self._kept: OrderedDict[bytes, Snapshot] = OrderedDict()
        self._newest: list[Snapshot] = []
        self._contents: list[bytes] = []
        self._built: tuple[int, bytes | None] | None = None
        self._build_again = -float("inf")

    def newest(self) -> list[Snapshot]:
        """All shards, no older than ``max_age`` seconds, or of exactly what is held now.

        Where there are several they may be older, so that making them never takes more of a node's time than answering.
        """
        head = self._shelf.judge.head()
        state = (self._shelf.index.version, head.hash if head else None)
        if self._newest and (state == self._built or trio.current_time() < self._build_again):
            return self._newest
        self._build(head)
        self._built = state
        pause = len(self._shelf.index) * BUILD_PAUSE
        self._build_again = trio.current_time() + max(self._max_age, pause if len(self._newest) > 1 else 0.0)
        return self._newest

    def manifest(self, shard: int) -> Manifest:
        """The newest manifest of one shard; refused with ``no-shard`` where there are fewer."""
        shards = self.newest()
        if shard >= len(shards):
            raise RefusedError("no-shard", f"there are {len(shards)} shards, from number 0", hint="Ask for shard 0.")
        return shards[shard].manifest

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

    def shards(self) -> int:
        """How many shards there are now."""
        return len(self.newest())

    def _build(self, head: ChainHead | None) -> None:
        now = self._shelf.judge.clock.utc_ms()
        split = split_rows(self._shelf.index.rows(now))
        contents = [self._content(rows, head) for rows in split]
        same = len(contents) == len(self._contents)
        self._newest = [
            self._newest[shard]
            if same and contents[shard] == self._contents[shard]
            else build_snapshot(rows, self._sheet(rows, head, shard), now, self._key, shard=shard, shards=len(split))
            for shard, rows in enumerate(split)
        ]
        self._contents = contents
        for snapshot in self._newest:
            self._kept[snapshot.manifest.id] = snapshot
            self._kept.move_to_end(snapshot.manifest.id)
        size = sum(snapshot.size for snapshot in self._kept.values())
        while len(self._kept) > 2 * len(split) and (len(self._kept) > KEPT_SNAPSHOTS * len(split) or size > KEPT_BYTES):
            size -= self._kept.popitem(last=False)[1].size

    @staticmethod
    def _content(rows: Sequence[Row], head: ChainHead | None) -> bytes:
        """What a shard consists of: one that is the same need not be made again."""
        whole = hashlib.sha256(head.hash if head else b"")
        for row in rows:
            whole.update(row.summary)  # it holds the print of the record
        return whole.digest()

    def _sheet(self, rows: Sequence[Row], head: ChainHead | None, shard: int) -> bytes:
        if head is None:
            return b""
        wallets = sorted({row.wallet for row in rows if row.wallet})
        known = [self._shelf.judge.standing_of(wallet) for wallet in wallets]
        # Everybody fetches every shard, so what concerns all is in the first one.
        conduct = self._shelf.judge.conduct() if shard == 0 else None
        return sign_standing(head, [standing for standing in known if standing], self._key, conduct)


def some_nodes(shelf: Shelf, wanted: NodesWanted, rng: Rng) -> Nodes:
    """A random sample of the nodes that offer what is wanted."""
    now = shelf.judge.clock.utc_ms()
    fitting = [
        record.data
        for record in shelf.index.nodes(now)
        if isinstance(record.body, NodeRecord) and set(wanted.offers) <= set(record.body.offers)
    ]
    return Nodes(now, tuple(rng.sample(fitting, wanted.limit)))


def buckets(shelf: Shelf, wanted: BucketsWanted) -> Buckets:
    """The entries of as many of the wanted buckets as fit one answer."""
    found: list[bytes] = []
    size = 0
    for number in wanted.buckets:
        entries = shelf.index.bucket(number)
        size += len(entries)
        if found and size > limits.DIGEST_ENTRIES_MAX * limits.DIGEST_ENTRY:
            break
        found.append(entries)
    return Buckets(len(found), b"".join(found)[: limits.DIGEST_ENTRIES_MAX * limits.DIGEST_ENTRY])


def records(shelf: Shelf, wanted: RecordsWanted) -> Records:
    """What is still held of the wanted records."""
    found = [record.data for prefix in sorted(set(wanted.prefixes)) for record in shelf.index.named(prefix)]
    return Records(tuple(found[: limits.DIRECTORY_FETCH_MAX]))
