"""Every table a node keeps, as an ordered list of steps.

Each service owns the tables that its step creates and appends later steps of its own. A file
remembers steps by *name*, so that two branches which each add one can be merged in any order.
A step is never edited once released: it is followed by another. Steps run in list order, each file
through the ones it lacks, all in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Migration:
    """`name` is stored in the file and unique for ever; `sql` may hold several statements."""

    name: str
    sql: str


_STORE = Migration(
    "store/1",
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE reserved (
        owner TEXT PRIMARY KEY,
        bytes INTEGER NOT NULL CHECK (bytes >= 0)
    ) STRICT, WITHOUT ROWID;
    """,
)

_CHAIN = Migration(
    "chain/1",
    """
    CREATE TABLE chain_base (
        identity BLOB NOT NULL, manifest BLOB NOT NULL,
        number INTEGER NOT NULL, hash BLOB NOT NULL, time_s INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE chain_span (
        first INTEGER PRIMARY KEY, parent BLOB NOT NULL,
        last INTEGER NOT NULL, hash BLOB NOT NULL, time_s INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE chain_event (
        last INTEGER NOT NULL, position INTEGER NOT NULL, row BLOB NOT NULL,
        PRIMARY KEY (last, position)
    ) STRICT, WITHOUT ROWID;
    """,
)

_DIRECTORY = Migration(
    "directory/1",
    """
    CREATE TABLE directory_record (
        id BLOB PRIMARY KEY,
        seq INTEGER NOT NULL,
        home INTEGER NOT NULL,
        data BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
)

MIGRATIONS: tuple[Migration, ...] = (_STORE, _CHAIN, _DIRECTORY)
