"""The directory's table: the records of :mod:`.directory_index`, so that a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import apsw

from warmline.store.store import Store
from warmline_protocol.records.envelope import OpenedRecord


@dataclass(frozen=True, slots=True)
class Row:
    data: bytes
    home: bool


async def load(store: Store) -> list[Row]:
    """Every stored record, not yet opened."""

    def read(conn: apsw.Connection) -> list[Row]:
        rows = conn.execute("SELECT data, home FROM directory_record ORDER BY id")
        return [Row(data, bool(home)) for data, home in rows]

    return await store.read(read)


async def save(store: Store, record: OpenedRecord, *, home: bool) -> None:
    """Keep a record in the place of an older one with its id; a newer one stays."""
    await save_all(store, [(record, home)])


async def save_all(store: Store, records: Iterable[tuple[OpenedRecord, bool]]) -> None:
    """:func:`save` for several (record, home) at once."""
    rows = [(record.id, record.seq, int(home), record.data) for record, home in records]

    def write(conn: apsw.Connection) -> None:
        conn.executemany(
            "INSERT INTO directory_record (id, seq, home, data) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, home = excluded.home, data = excluded.data "
            "WHERE excluded.seq >= seq",
            rows,
        )

    if rows:
        await store.write(write)


async def forget(store: Store, ids: Iterable[bytes]) -> None:
    """Delete records by id."""
    gone = [(key,) for key in ids]

    def write(conn: apsw.Connection) -> None:
        conn.executemany("DELETE FROM directory_record WHERE id = ?", gone)

    if gone:
        await store.write(write)
