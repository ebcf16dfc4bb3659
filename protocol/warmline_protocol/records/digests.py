"""Directory sync in three steps: 256 digests, the entries of the buckets that differ, the records that are missing.

A bucket is the first byte of the record id. Its digest is over every (id, digest) in id order, so two nodes with the
same records agree on it whatever order they learnt them in; an empty bucket is all zero.

An entry is 22 bytes: 8 of the id, the signing time (6, big endian) and 8 of the record's digest. Whoever makes two
records of their own that agree in these harms their own two records; to stand in the way of somebody else's they would
have to hit 64 bits that are given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError

PREFIX = 8
"""Bytes of a record id that name it in directory sync."""


class Entry(NamedTuple):
    """What sync says of one record: eight bytes of its id, its ``seq``, eight bytes of its digest."""

    prefix: bytes
    seq: int
    print: bytes


def bucket_of(record_id: bytes) -> int:
    return record_id[0]


def bucket_digest(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """16 bytes over (record id, record digest) pairs, in any order."""
    ordered = sorted(entries)
    if not ordered:
        return bytes(limits.DIGEST_SIZE)
    whole = hashlib.sha256(b"warmline/1/bucket\0" + b"".join(key + digest for key, digest in ordered))
    return whole.digest()[: limits.DIGEST_SIZE]


def all_digests(held: Mapping[bytes, bytes]) -> bytes:
    """The 256 bucket digests of {record id: record digest}, joined (4096 bytes)."""
    buckets: list[list[tuple[bytes, bytes]]] = [[] for _ in range(limits.DIGEST_BUCKETS)]
    for key, digest in held.items():
        buckets[bucket_of(key)].append((key, digest))
    return b"".join(bucket_digest(bucket) for bucket in buckets)


def differing(ours: bytes, theirs: bytes) -> tuple[int, ...]:
    """The buckets in which two joined digests differ."""
    size = limits.DIGEST_SIZE
    return tuple(
        index
        for index in range(limits.DIGEST_BUCKETS)
        if ours[index * size : (index + 1) * size] != theirs[index * size : (index + 1) * size]
    )


def pack_entry(record_id: bytes, seq: int, digest: bytes) -> bytes:
    """The 22 bytes of one entry; a ``seq`` beyond 48 bits (the year 10889) is cut to the largest."""
    return record_id[:PREFIX] + min(seq, (1 << 48) - 1).to_bytes(6) + digest[:8]


def read_entries(data: bytes) -> tuple[Entry, ...]:
    """Entries that :func:`pack_entry` joined; MalformedError unless they are whole and in id order."""
    size = limits.DIGEST_ENTRY
    if len(data) % size:
        raise MalformedError("entries of directory sync that are cut short")
    parts = (data[at : at + size] for at in range(0, len(data), size))
    entries = tuple(Entry(part[:8], int.from_bytes(part[8:14]), part[14:]) for part in parts)
    if any(one.prefix > two.prefix for one, two in pairwise(entries)):
        raise MalformedError("entries of directory sync that are out of order")
    return entries
