"""Which of two records under one id stays: the later signing time, the same for everybody who sees both.

Ties (one key signing twice in a millisecond) go to the tombstone, then to the higher digest, so that all nodes settle
on the same bytes without talking about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from warmline_protocol.records.envelope import TOMBSTONE, OpenedRecord


@dataclass(frozen=True, slots=True, order=True)
class Stamp:
    """The order of records under one id."""

    seq: int
    ended: bool
    digest: bytes


def stamp_of(record: OpenedRecord) -> Stamp:
    return Stamp(record.seq, record.kind == TOMBSTONE, record.digest)


def newest(records: Iterable[OpenedRecord]) -> dict[bytes, OpenedRecord]:
    """The winning record under each id, tombstones included: what a union of several holders is."""
    kept: dict[bytes, OpenedRecord] = {}
    for record in records:
        held = kept.get(record.id)
        if held is None or stamp_of(record) > stamp_of(held):
            kept[record.id] = record
    return kept


def living(records: Iterable[OpenedRecord], now_ms: int) -> list[OpenedRecord]:
    """The newest records that are neither ended nor expired, by id.

    Tombstones take part until their own end, which by their shape is no earlier than that of anything they end.
    """
    merged = newest(record for record in records if record.body.not_after > now_ms)
    return [merged[key] for key in sorted(merged) if merged[key].kind != TOMBSTONE and merged[key].expires > now_ms]
