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

_QUEUES = Migration(
    "queues/1",
    """
    CREATE TABLE queues (
        no INTEGER PRIMARY KEY AUTOINCREMENT,
        queue BLOB NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        owner BLOB NOT NULL,
        cap INTEGER NOT NULL,
        cell_ttl_ms INTEGER NOT NULL,
        life_ms INTEGER NOT NULL,
        release_ms INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        base INTEGER NOT NULL,
        base_chain BLOB NOT NULL,
        head INTEGER NOT NULL,
        chain BLOB NOT NULL,
        until_ms INTEGER NOT NULL,
        due_ms INTEGER NOT NULL,
        incarnation BLOB NOT NULL,
        entry TEXT NOT NULL,
        reserved INTEGER NOT NULL,
        CHECK (base <= head AND head - base <= cap)
    ) STRICT;
    CREATE INDEX queues_due ON queues (due_ms);
    CREATE TABLE queue_epochs (
        no INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        send_hash BLOB NOT NULL,
        read_hash BLOB NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER,
        PRIMARY KEY (no, fence)
    ) STRICT, WITHOUT ROWID;
    -- id is no << 32 | seq: one B-tree, in reading order, and deleting in front is one range.
    CREATE TABLE queue_cells (
        id INTEGER PRIMARY KEY,
        fence INTEGER NOT NULL,
        until_ms INTEGER NOT NULL,
        chain BLOB NOT NULL,
        entry TEXT,
        cell BLOB NOT NULL
    ) STRICT;
    CREATE TABLE queue_entries (
        entry TEXT PRIMARY KEY,
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        reserved INTEGER NOT NULL CHECK (reserved >= 0)
    ) STRICT, WITHOUT ROWID;
    """,
)

_FEEDBACK = Migration(
    "feedback/1",
    """
    CREATE TABLE feedback_answers (
        issuer BLOB NOT NULL,
        epoch INTEGER NOT NULL,
        supporter BLOB NOT NULL,
        number INTEGER NOT NULL,
        blinded BLOB NOT NULL,
        signed BLOB NOT NULL,
        PRIMARY KEY (issuer, epoch, supporter, number)
    ) STRICT, WITHOUT ROWID;
    """,
)

MIGRATIONS: tuple[Migration, ...] = (_STORE, _CHAIN, _DIRECTORY, _QUEUES, _FEEDBACK)
