"""The disk budget: promises of space, kept before a byte is written.

A queue that was granted a cap must be able to fill it. So space is *reserved* when the promise is
made, in the same transaction, and the sum of reservations never passes the budget. What is really
on the disk is at most the sum plus SQLite's overhead, which owners include in what they reserve.
"""

from __future__ import annotations

import apsw

from warmline_protocol.errors import DiskFullError


def reserved(conn: apsw.Connection, owner: str | None = None) -> int:
    """Bytes promised, by one owner or by all."""
    where, args = ("", ()) if owner is None else (" WHERE owner = ?", (owner,))
    return int(conn.execute(f"SELECT coalesce(sum(bytes), 0) FROM reserved{where}", args).get)


def reserve(conn: apsw.Connection, owner: str, size: int, *, budget: int) -> None:
    """Promise `size` more bytes to `owner`, or raise DiskFullError and change nothing."""
    free = budget - reserved(conn)
    if size > free:
        raise DiskFullError(
            f"the disk budget has {max(free, 0)} bytes left and {size} were asked for",
            hint="Raise the node's disk budget, or wait until reservations expire.",
        )
    conn.execute(
        "INSERT INTO reserved VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET bytes = bytes + excluded.bytes",
        (owner, size),
    )


def release(conn: apsw.Connection, owner: str, size: int) -> None:
    """Give back what was reserved; more than that is a defect and raises (the table's CHECK)."""
    conn.execute("UPDATE reserved SET bytes = bytes - ? WHERE owner = ?", (size, owner))
