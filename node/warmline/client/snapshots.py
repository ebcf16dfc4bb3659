"""Reading a whole directory from one holder, and nothing twice that another holder has brought already.

Index and buckets are named by their hashes, records by theirs, so what three holders hold alike is fetched once. The
same goes for what a cache on this device kept. Everything is checked: the manifest's signature, each part against the
manifest, each record by its own signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import trio

from warmline.net.rpc import call
from warmline.net.streams import Channel
from warmline_protocol.errors import MalformedError, OversizeError, RefusedError, RemoteError
from warmline_protocol.records.envelope import OpenedRecord, open_record
from warmline_protocol.records.messages import (
    BODIES,
    INDEX,
    STANDING,
    Manifest,
    Part,
    PartWanted,
    SnapshotWanted,
)
from warmline_protocol.records.snapshot import Summary, bucket_at, check_manifest, read_bodies, read_index
from warmline_protocol.records.standing_sheet import StandingSheet, read_standing

T = TypeVar("T")

FETCH_MAX: Final = 256 << 20
"""Bytes that one holder may send in one fetch."""
AGAIN: Final = 2
"""Times that a fetch begins anew because the holder's directory changed meanwhile."""


@dataclass(slots=True)
class Library:
    """What is known by now, from whomever."""

    records: dict[bytes, OpenedRecord] = field(default_factory=dict)
    """By the first eight bytes of their digests, as rows name them."""
    _indexes: dict[bytes, tuple[Summary, ...]] = field(default_factory=dict)

    def add(self, records: Iterable[OpenedRecord]) -> None:
        for record in records:
            self.records.setdefault(record.digest[:8], record)


@dataclass(frozen=True, slots=True)
class Directory:
    """All that one holder has; ``sheets`` are the standing sheets of its shards as they came, ``sheet`` all in one."""

    records: tuple[OpenedRecord, ...]
    sheets: tuple[bytes, ...]
    sheet: StandingSheet | None
    fetched: int
    """Bytes that were read for it."""


async def read_directory(channel: Channel, key: bytes, library: Library, *, deadline: float) -> Directory:
    """Every shard of the directory at the other end, whose key is ``key``; ``deadline`` seconds for each question."""
    for again in range(AGAIN + 1):
        try:
            return await _Reader(channel, key, library, deadline).everything()
        except RefusedError as error:
            if error.code not in ("gone", "no-shard") or again == AGAIN:
                raise
    raise AssertionError("unreachable")


class _Reader:
    def __init__(self, channel: Channel, key: bytes, library: Library, deadline: float) -> None:
        self._channel = channel
        self._key = key
        self._library = library
        self._deadline = deadline
        self._fetched = 0

    async def everything(self) -> Directory:
        records: list[OpenedRecord] = []
        sheets: list[bytes] = []
        shard, shards = 0, 1
        while shard < shards:
            manifest = await self._call(SnapshotWanted(shard), Manifest)
            check_manifest(manifest, self._key, shard)
            if shard and manifest.shards != shards:
                raise RefusedError("gone", "the number of shards changed meanwhile")
            shards = manifest.shards
            rows = await self._rows(manifest)
            if manifest.standing_size:
                sheets.append(await self._section(manifest, STANDING, 0, manifest.standing_size))
            records += await self._bodies(manifest, rows)
            shard += 1
        sheet = merged([read_standing(each, self._key) for each in sheets])
        return Directory(tuple(records), tuple(sheets), sheet, self._fetched)

    async def _rows(self, manifest: Manifest) -> tuple[Summary, ...]:
        known = self._library._indexes.get(manifest.index_hash)
        if known is None:
            data = await self._section(manifest, INDEX, 0, manifest.index_size)
            if hashlib.sha256(data).digest() != manifest.index_hash:
                raise MalformedError("an index that is not the one in its manifest")
            known = self._library._indexes[manifest.index_hash] = read_index(data)
        if len(known) != manifest.records:
            raise MalformedError("an index with another number of rows than it said")
        return known

    async def _bodies(self, manifest: Manifest, rows: tuple[Summary, ...]) -> list[OpenedRecord]:
        known = self._library.records
        count = len(rows)
        needed = {bucket_at(at, count) for at, row in enumerate(rows) if row.print not in known}
        for bucket in sorted(needed):
            data = await self._section(manifest, BODIES, bucket, manifest.bucket_sizes[bucket])
            if hashlib.sha256(data).digest()[:16] != manifest.bucket_hash(bucket):
                raise MalformedError("a bucket that is not the one in its manifest")
            self._library.add(record for body in read_bodies(data) if (record := _opened(body)))
            await trio.lowlevel.checkpoint()
        return [known[row.print] for row in rows if row.print in known]

    async def _section(self, manifest: Manifest, section: str, bucket: int, size: int) -> bytes:
        data = bytearray()
        self._fetched += size
        if self._fetched > FETCH_MAX:
            raise OversizeError("a directory that is larger than any may be")
        while len(data) < size:
            part = await self._call(PartWanted(manifest.id, section, bucket, len(data)), Part)
            if not part.data or len(data) + len(part.data) > size:
                raise MalformedError(f"a {section} section of another size than it said")
            data += part.data
        return bytes(data)

    async def _call(self, question: object, answer: type[T]) -> T:
        return await call(self._channel, question, (answer,), deadline=self._deadline)


def merged(sheets: Iterable[StandingSheet | None]) -> StandingSheet | None:
    """The sheets of one holder's shards as one, at the oldest of their blocks; MalformedError for two chains."""
    known = [sheet for sheet in sheets if sheet is not None]
    if not known:
        return None
    if len({sheet.chain.chain_id for sheet in known}) > 1:
        raise MalformedError("standing sheets of different chains from one holder")
    oldest = min((sheet.chain for sheet in known), key=lambda chain: chain.time_s)
    wallets = {wallet: standing for sheet in known for wallet, standing in sheet.wallets.items()}
    conduct = next((sheet.conduct for sheet in known if sheet.conduct is not None), None)
    return StandingSheet(oldest, wallets, conduct)


def _opened(data: bytes) -> OpenedRecord | None:
    """The record, or None for one that is broken: the rest of the bucket may be sound."""
    try:
        return open_record(data)
    except RemoteError:
        return None
