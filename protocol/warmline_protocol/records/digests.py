"""Directory sync in three steps: 256 digests, the entries of a bucket that differs, the records that are missing.

A bucket is the first byte of the record id. Its digest is over every (id, digest) in id order, so two nodes with the
same records agree on it whatever order they learnt them in; an empty bucket is all zero.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from warmline_protocol import limits


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
