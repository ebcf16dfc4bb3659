"""The small key-value table that every service may use; prefix keys with the owner ("chain/head")."""

from __future__ import annotations

import apsw

Value = int | str | bytes


def get(conn: apsw.Connection, key: str) -> Value | None:
    row = conn.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def put(conn: apsw.Connection, key: str, value: Value) -> None:
    conn.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def drop(conn: apsw.Connection, key: str) -> None:
    conn.execute("DELETE FROM meta WHERE key = ?", (key,))
