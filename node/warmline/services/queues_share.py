"""Fair shares, by the entry through which a request came.

A queue node sees no addresses and peer ids are thrown away, so the entry is all that two floods can be told apart by.
Two things are shared. *Turns*: requests of one entry wait behind each other, and entries take turns, so that a flood
fills its own line while nothing is withheld from anybody when there is no crowd. *Space*: a new promise must fit into
what would still be free after everybody's, so n greedy entries get 1/(n+1) each and as much stays free for the next
(the dynamic thresholds of Choudhury and Hahne, 1998).

Entries cost nothing to invent. Those not known for a week, or silent for one, therefore share one turn and a quarter
of the space, within which the same rules hold among them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import apsw
import trio

from warmline_protocol.errors import RefusedError

WEEK_MS = 7 * 24 * 3600_000
DAY_MS = WEEK_MS // 7
ENTRIES_MAX = 4096
NEWCOMERS = ""
NEWCOMER_SHARE = 4
CROWD = "crowd"
"""Stands for all entries that there is no row for: a node that met too many still serves those that are real."""


def busy(why: str) -> RefusedError:
    return RefusedError("busy", why, hint="Try again in a minute, or through another entry.")


class Turns:
    """At most ``slots`` requests at once; who waits is called by class, then by entry, then in order."""

    def __init__(self, *, slots: int, waiting_max: int) -> None:
        self._free = slots
        self._waiting_max = waiting_max
        self._classes: OrderedDict[str, OrderedDict[str, deque[trio.Event]]] = OrderedDict()

    @property
    def crowded(self) -> bool:
        """Whether anybody waits."""
        return bool(self._classes)

    @asynccontextmanager
    async def turn(self, entry: str, *, established: bool) -> AsyncIterator[None]:
        """Hold one slot; RefusedError ``busy`` when this entry has too many requests waiting already."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(entry if established else NEWCOMERS, entry)
        try:
            yield
        finally:
            self._next()

    async def _wait(self, group: str, entry: str) -> None:
        lines = self._classes.setdefault(group, OrderedDict())
        line = lines.setdefault(entry, deque())
        if len(line) >= self._waiting_max:
            raise busy("too many requests came through this entry")
        called = trio.Event()
        line.append(called)
        try:
            await called.wait()
        except trio.Cancelled:
            if called.is_set():
                self._next()
            else:
                line.remove(called)
                self._tidy(group, entry)
            raise

    def _next(self) -> None:
        if not self._classes:
            self._free += 1
            return
        group, lines = next(iter(self._classes.items()))
        entry, line = next(iter(lines.items()))
        line.popleft().set()
        lines.move_to_end(entry)
        self._classes.move_to_end(group)
        self._tidy(group, entry)

    def _tidy(self, group: str, entry: str) -> None:
        lines = self._classes[group]
        if not lines[entry]:
            del lines[entry]
        if not lines:
            del self._classes[group]


def is_established(conn: apsw.Connection, entry: str, now_ms: int) -> bool:
    row = conn.execute("SELECT first_ms, last_ms FROM queue_entries WHERE entry = ?", (entry,)).fetchone()
    return row is not None and row[0] <= now_ms - WEEK_MS and row[1] >= now_ms - WEEK_MS


def meet(conn: apsw.Connection, entry: str, now_ms: int) -> bool:
    """Note that ``entry`` was seen; whether it is established. Called once a day for each."""
    known = is_established(conn, entry, now_ms)
    if not known and conn.execute("SELECT count(*) FROM queue_entries").get >= ENTRIES_MAX:
        conn.execute("DELETE FROM queue_entries WHERE reserved = 0 AND last_ms < ?", (now_ms - WEEK_MS,))
    conn.execute(
        """INSERT INTO queue_entries SELECT ?1, ?2, ?2, 0 WHERE ?3 > (SELECT count(*) FROM queue_entries) OR
               EXISTS (SELECT 1 FROM queue_entries WHERE entry = ?1)
           ON CONFLICT (entry) DO UPDATE SET last_ms = ?2,
               first_ms = iif(last_ms < ?2 - ?4, ?2, first_ms)""",
        (entry, now_ms, ENTRIES_MAX, WEEK_MS),
    )
    return known


def take(conn: apsw.Connection, entry: str, size: int, *, budget: int, now_ms: int) -> str:
    """Count ``size`` bytes to ``entry``, or raise RefusedError ``busy`` when that is more than its share.

    Returns the name that they were counted under, for :func:`give_back`.
    """
    known = is_established(conn, entry, now_ms)
    if not known:
        meet(conn, entry, now_ms)
    mine = conn.execute("SELECT reserved FROM queue_entries WHERE entry = ?", (entry,)).fetchone()
    if mine is None:
        entry, mine = CROWD, (_crowd(conn, now_ms),)
    free = budget - _reserved(conn)
    if not known:
        newcomers = _reserved(conn, "WHERE first_ms > ?1 OR last_ms < ?1", now_ms - WEEK_MS)
        free = min(free, budget // NEWCOMER_SHARE - newcomers)
    if mine[0] + size > free:
        raise busy("the queues made through this entry hold its share of the disk")
    conn.execute("UPDATE queue_entries SET reserved = reserved + ? WHERE entry = ?", (size, entry))
    return entry


def _crowd(conn: apsw.Connection, now_ms: int) -> int:
    """Bytes that the crowd holds. It is always new, however long there is one."""
    conn.execute(
        """INSERT INTO queue_entries VALUES (?1, ?2, ?2, 0)
           ON CONFLICT (entry) DO UPDATE SET first_ms = ?2, last_ms = ?2""",
        (CROWD, now_ms),
    )
    return int(conn.execute("SELECT reserved FROM queue_entries WHERE entry = ?", (CROWD,)).get)


def newcomers_cells(conn: apsw.Connection, low: int, high: int, now_ms: int) -> int:
    """How many cells with ``low < id <= high`` came through entries that are not established."""
    return int(
        conn.execute(
            """SELECT count(*) FROM queue_cells WHERE id > ?1 AND id <= ?2 AND entry NOT IN
                   (SELECT entry FROM queue_entries WHERE first_ms <= ?3 AND last_ms >= ?3)""",
            (low, high, now_ms - WEEK_MS),
        ).get
    )


def give_back(conn: apsw.Connection, entry: str, size: int) -> None:
    conn.execute("UPDATE queue_entries SET reserved = reserved - ? WHERE entry = ?", (size, entry))


def _reserved(conn: apsw.Connection, where: str = "", *args: int) -> int:
    return int(conn.execute(f"SELECT coalesce(sum(reserved), 0) FROM queue_entries {where}", args).get)
