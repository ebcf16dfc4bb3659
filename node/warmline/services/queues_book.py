"""Queues on the disk: each operation as one function of a connection, run inside one savepoint.

The rules are ``warmline_protocol.queue.log``; here a log is read, asked, and written back. Refusals are raised, so
that the savepoint undoes whatever came before them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apsw

from warmline.services import queues_share as share
from warmline.store import budget
from warmline_protocol.errors import BadSignatureError, DiskFullError, RefusedError
from warmline_protocol.limits import CELL_SIZE, QUEUE_CELLS_MAX
from warmline_protocol.queue import auth, work
from warmline_protocol.queue.log import Epoch, Link, Log, View, born, denied, fenced, position, unknown
from warmline_protocol.queue.messages import (
    DOOR,
    LOG,
    Ack,
    Acked,
    Append,
    AppendCommit,
    Cells,
    Create,
    Created,
    Follow,
    Read,
    Receipt,
    Remove,
    Removed,
    WorkNeeded,
)
from warmline_protocol.wire import tag_of

BUDGET_OWNER = "queues"
CELL_COST = CELL_SIZE + 704
"""Bytes of file that one cell takes at most, with its row, B-tree and overflow page (measured by a test)."""
QUEUE_COST = 4096

_COLUMNS = (
    "no, incarnation, entry, reserved, queue, kind, owner, cap, cell_ttl_ms, life_ms, release_ms, "
    "fence, base, base_chain, head, chain, until_ms"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the entry they came through, this channel's nonce, and when. ``now_ms`` is the node's own time, by
    which it forgets; the wall clock is ``ahead_ms`` ahead of it, and what is told to others is in wall time."""

    entry: str
    nonce: bytes
    now_ms: int
    ahead_ms: int = 0

    def wall(self, time_ms: int) -> int:
        return max(0, time_ms + self.ahead_ms)


@dataclass(frozen=True, slots=True)
class Appended:
    """A receipt, and the frame that tells readers of the same cells."""

    receipt: Receipt
    cells: Cells


@dataclass(frozen=True, slots=True)
class Batch:
    """What a reader gets now. ``ended``: this key sees nothing after it. ``renew``: the owner's lease wants renewal."""

    cells: Cells
    ended: bool
    renew: bool
    release_ms: int


@dataclass(frozen=True, slots=True)
class _Row:
    no: int
    incarnation: bytes
    entry: str
    reserved: int
    log: Log

    def id_of(self, seq: int) -> int:
        return self.no << 32 | seq


class Book:
    """All queues of one node. ``generation`` is the store's, which is new after a restore."""

    def __init__(self, node: str, *, generation: Callable[[], bytes], disk_budget: int) -> None:
        self.node = node
        self._generation = generation
        self._disk_budget = disk_budget

    # -- operations

    def create(self, conn: apsw.Connection, msg: Create, who: Caller, fresh: bytes) -> Created:
        """``fresh``: 16 random bytes for the incarnation. The same owner asking for the same again gets the same."""
        log = born(msg, now_ms=who.now_ms)
        self._check_owner(log, msg, who)
        row = _find(conn, log.queue)
        if row is None:
            row = self._insert(conn, log, who, fresh)
        elif not _same_terms(row.log, log):
            raise RefusedError("exists", "this key has a queue here already, made otherwise", hint="Use a fresh key.")
        return Created(log.queue, self._incarnation(row), who.wall(row.log.until_ms))

    def append(
        self, conn: apsw.Connection, msg: Append, who: Caller, *, challenge: bytes, paid: int
    ) -> Appended | WorkNeeded:
        """``paid``: bits of the proof of work that came along, checked by the caller."""
        row = _load(conn, msg.queue, send_hash=auth.key_hash(msg.send_key or b""))
        row.log.check_sender(msg.send_key, msg.fence)
        row = self._with_room(conn, row, len(msg.cells), who.now_ms)
        if row.log.kind == DOOR:
            needed = work.bits_for(row.log.count, row.log.cap)
            if paid < needed:
                return WorkNeeded(challenge, needed)
            _check_door_share(conn, row, who)
        grown, links = row.log.append(msg.cells, now_ms=who.now_ms)
        return self._write(conn, row, grown, links, msg.cells, who)

    def commit(self, conn: apsw.Connection, msg: AppendCommit, who: Caller) -> Appended:
        """Asked again for the commit that it made last, because the answer was lost, it answers the same."""
        row = _load(conn, msg.queue, send_hash=msg.send_hash)
        self._check_owner(row.log, msg, who)
        if (done := self._committed(conn, row, msg, who)) is not None:
            return done
        if row.log.count + len(msg.cells) > row.log.cap:
            row = self._expire(conn, row, who.now_ms)
        grown, links = row.log.commit(
            msg.cells,
            fence=msg.fence,
            send_hash=msg.send_hash,
            read_hash=msg.read_hash,
            new_owner=msg.new_owner,
            now_ms=who.now_ms,
        )
        grown = grown.touch(now_ms=who.now_ms) or grown
        for epoch in grown.epochs[-2:]:
            conn.execute(
                "INSERT OR REPLACE INTO queue_epochs VALUES (?, ?, ?, ?, ?, ?)",
                (row.no, epoch.fence, epoch.send_hash, epoch.read_hash, epoch.first, epoch.last),
            )
        return self._write(conn, row, grown, links, msg.cells, who)

    def read(self, conn: apsw.Connection, msg: Read | Follow, who: Caller, after: int | None, most: int) -> Batch:
        """Up to ``most`` cells after ``after``, or after the message's cursor."""
        row = _load(conn, msg.queue, read_hash=auth.key_hash(msg.read_key or b""))
        view = self._view(row.log, msg, who)
        here = self._incarnation(row)
        after = max(position(msg.cursor, here) if after is None else after, view.after)
        if view.ended and after >= view.head:
            raise fenced(row.log.kind)
        cells = _cells(conn, row, here, after, view.head, most)
        seen = cells.first + len(cells.cells) - 1
        renew = msg.signature is not None and row.log.touch(now_ms=who.now_ms) is not None
        return Batch(cells, view.ended and seen >= view.head, renew, row.log.release_ms)

    def ack(self, conn: apsw.Connection, msg: Ack, who: Caller) -> Acked:
        row = _load(conn, msg.queue)
        self._check_owner(row.log, msg, who)
        if msg.cursor.incarnation != self._incarnation(row):
            raise RefusedError(
                "incarnation", "this log was restored from a backup", hint="Read it again from the start."
            )
        row = _forget(conn, row, row.log.ack(msg.cursor.seq))
        _update(conn, row, row.log.touch(now_ms=who.now_ms) or row.log)
        return Acked(row.log.base)

    def remove(self, conn: apsw.Connection, msg: Remove, who: Caller) -> Removed:
        row = _load(conn, msg.queue)
        self._check_owner(row.log, msg, who)
        _delete(conn, row)
        return Removed()

    def renew(self, conn: apsw.Connection, queue: bytes, now_ms: int) -> None:
        """The owner reads: keep the queue."""
        row = _find(conn, queue)
        if row is not None and (log := row.log.touch(now_ms=now_ms)) is not None:
            _update(conn, row, log)

    def sweep(self, conn: apsw.Connection, now_ms: int, most: int) -> tuple[bytes, ...]:
        """Forget what expired in up to ``most`` queues that have something to forget; their ids."""
        due: Any = conn.execute("SELECT queue FROM queues WHERE due_ms <= ? ORDER BY due_ms LIMIT ?", (now_ms, most))
        names: tuple[bytes, ...] = tuple(queue for (queue,) in due.fetchall())
        for name in names:
            row = self._expire(conn, _load(conn, name), now_ms)
            if row.log.count == 0 and row.log.until_ms <= now_ms:
                _delete(conn, row)
        return names

    # -- parts

    def _incarnation(self, row: _Row) -> bytes:
        return hashlib.sha256(row.incarnation + self._generation()).digest()[:16]

    def _check_owner(self, log: Log, msg: Create | AppendCommit | Read | Follow | Ack | Remove, who: Caller) -> None:
        try:
            auth.check(log.owner, tag_of(type(msg)), log.queue, msg.signature or b"", node=self.node, nonce=who.nonce)
        except BadSignatureError:
            raise denied() from None

    def _view(self, log: Log, msg: Read | Follow, who: Caller) -> View:
        if msg.signature is None:
            return log.view_of_member(msg.read_key)
        self._check_owner(log, msg, who)
        return log.view_of_owner(now_ms=who.wall(who.now_ms))

    def _insert(self, conn: apsw.Connection, log: Log, who: Caller, fresh: bytes) -> _Row:
        size = QUEUE_COST + log.cap * CELL_COST
        counted = share.take(conn, who.entry, size, budget=self._disk_budget, now_ms=who.now_ms)
        try:
            budget.reserve(conn, BUDGET_OWNER, size, budget=self._disk_budget)
        except DiskFullError as error:
            raise RefusedError("budget", error.message, hint="Use another node.") from None
        conn.execute(
            f"INSERT INTO queues ({_COLUMNS[4:]}, due_ms) VALUES ({', '.join('?' * 17)})",
            (fresh, counted, size, *_terms(log), *_changing(log), log.until_ms),
        )
        row = _Row(conn.last_insert_rowid(), fresh, counted, size, log)
        for epoch in log.epochs:
            conn.execute(
                "INSERT INTO queue_epochs VALUES (?, ?, ?, ?, ?, ?)",
                (row.no, epoch.fence, epoch.send_hash, epoch.read_hash, epoch.first, epoch.last),
            )
        return row

    def _committed(self, conn: apsw.Connection, row: _Row, msg: AppendCommit, who: Caller) -> Appended | None:
        newest = row.log.epochs[-1] if row.log.kind == LOG else None
        if newest is None or newest.fence != msg.fence + 1:
            return None
        if (newest.send_hash, newest.read_hash) != (msg.send_hash, msg.read_hash):
            return None
        here, last = self._incarnation(row), newest.first - 1
        again = _cells(conn, row, here, last - len(msg.cells), last, QUEUE_CELLS_MAX)
        if again.cells != msg.cells:
            return None
        place = "SELECT chain, until_ms FROM queue_cells WHERE id = ?"
        found: Any = conn.execute(place, (row.id_of(last),)).fetchall()
        chain, until_ms = found[0]
        return Appended(Receipt(here, last, chain, who.wall(until_ms)), again)

    def _with_room(self, conn: apsw.Connection, row: _Row, cells: int, now_ms: int) -> _Row:
        full = row.log.count + cells > row.log.room
        return self._expire(conn, row, now_ms) if full else row

    def _expire(self, conn: apsw.Connection, row: _Row, now_ms: int) -> _Row:
        low, high = row.id_of(row.log.base), row.id_of(row.log.head)
        kept = conn.execute(
            "SELECT id FROM queue_cells WHERE id > ? AND id <= ? AND until_ms > ? ORDER BY id LIMIT 1",
            (low, high, now_ms),
        ).get
        upto = row.log.head if kept is None else (kept & 0xFFFFFFFF) - 1
        row = _forget(conn, row, row.log.forget(upto))
        _update(conn, row, row.log)
        return row

    def _write(
        self, conn: apsw.Connection, row: _Row, grown: Log, links: Sequence[Link], cells: Sequence[bytes], who: Caller
    ) -> Appended:
        fence = row.log.fence
        entry = who.entry if grown.kind == DOOR else None
        conn.executemany(
            "INSERT INTO queue_cells VALUES (?, ?, ?, ?, ?, ?)",
            [
                (row.id_of(link.seq), fence, link.until_ms, link.chain, entry, cell)
                for link, cell in zip(links, cells, strict=True)
            ],
        )
        _update(conn, row, grown)
        here = self._incarnation(row)
        receipt = Receipt(here, grown.head, grown.chain, who.wall(links[-1].until_ms))
        told = Cells(here, fence, links[0].seq, row.log.chain, grown.head, tuple(cells))
        return Appended(receipt, told)


def forget_cells(conn: apsw.Connection) -> None:
    """Take every cell out of a copy of the store, as if their readers had them all."""
    with conn:
        conn.execute("DELETE FROM queue_cells")
        conn.execute("UPDATE queues SET base = head, base_chain = chain, due_ms = until_ms")
        conn.execute(
            "DELETE FROM queue_epochs WHERE last <= (SELECT base FROM queues WHERE queues.no = queue_epochs.no)"
        )


def _terms(log: Log) -> tuple[object, ...]:
    return (log.queue, log.kind, log.owner, log.cap, log.cell_ttl_ms, log.life_ms, log.release_ms)


def _changing(log: Log) -> tuple[object, ...]:
    return (log.fence, log.base, log.base_chain, log.head, log.chain, log.until_ms)


def _same_terms(old: Log, new: Log) -> bool:
    first = old.epochs[:1] == new.epochs[:1] or old.kind == LOG
    return _terms(old) == _terms(new) and first


def _find(conn: apsw.Connection, queue: bytes, *, send_hash: bytes = b"", read_hash: bytes = b"") -> _Row | None:
    found: Any = conn.execute(f"SELECT {_COLUMNS} FROM queues WHERE queue = ?", (queue,)).fetchone()
    if found is None:
        return None
    no, incarnation, entry, reserved, *rest = found
    log = Log(*(*rest, ()))
    if log.kind != DOOR:
        log = replace(log, epochs=_epochs(conn, no, log.fence, send_hash, read_hash))
    return _Row(no, incarnation, entry, reserved, log)


def _epochs(conn: apsw.Connection, no: int, fence: int, send_hash: bytes, read_hash: bytes) -> tuple[Epoch, ...]:
    """The epochs that matter to a request: the newest, and those whose keys it shows."""
    rows = conn.execute(
        """SELECT fence, send_hash, read_hash, first, last FROM queue_epochs
           WHERE no = ? AND (fence = ? OR send_hash = ? OR read_hash = ?) ORDER BY fence""",
        (no, fence, send_hash, read_hash),
    )
    return tuple(Epoch(*row) for row in rows)


def _load(conn: apsw.Connection, queue: bytes, *, send_hash: bytes = b"", read_hash: bytes = b"") -> _Row:
    row = _find(conn, queue, send_hash=send_hash, read_hash=read_hash)
    if row is None:
        raise unknown()
    return row


def _update(conn: apsw.Connection, row: _Row, log: Log) -> None:
    oldest = conn.execute(
        "SELECT until_ms FROM queue_cells WHERE id > ? AND id <= ? ORDER BY id LIMIT 1",
        (row.id_of(log.base), row.id_of(log.head)),
    ).get
    conn.execute(
        """UPDATE queues SET fence = ?, base = ?, base_chain = ?, head = ?, chain = ?, until_ms = ?, owner = ?,
               due_ms = ? WHERE no = ?""",
        (*_changing(log), log.owner, log.until_ms if oldest is None else oldest, row.no),
    )


def _forget(conn: apsw.Connection, row: _Row, log: Log) -> _Row:
    """Delete the cells that ``log`` has lost in front of it; the row with that log and its chain."""
    if log.base == row.log.base:
        return replace(row, log=log)
    chain = conn.execute("SELECT chain FROM queue_cells WHERE id = ?", (row.id_of(log.base),)).get
    conn.execute("DELETE FROM queue_cells WHERE id > ? AND id <= ?", (row.id_of(row.log.base), row.id_of(log.base)))
    conn.execute("DELETE FROM queue_epochs WHERE no = ? AND last <= ?", (row.no, log.base))
    return replace(row, log=replace(log, base_chain=chain))


def _delete(conn: apsw.Connection, row: _Row) -> None:
    conn.execute("DELETE FROM queue_cells WHERE id > ? AND id <= ?", (row.id_of(0), row.id_of(row.log.head)))
    conn.execute("DELETE FROM queue_epochs WHERE no = ?", (row.no,))
    conn.execute("DELETE FROM queues WHERE no = ?", (row.no,))
    share.give_back(conn, row.entry, row.reserved)
    budget.release(conn, BUDGET_OWNER, row.reserved)


def _cells(conn: apsw.Connection, row: _Row, here: bytes, after: int, head: int, most: int) -> Cells:
    rows: Any = conn.execute(
        "SELECT fence, chain, cell FROM queue_cells WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
        (row.id_of(after), row.id_of(head), min(most, QUEUE_CELLS_MAX)),
    ).fetchall()
    fence = rows[0][0] if rows else row.log.fence
    batch = [cell for epoch, _, cell in rows if epoch == fence]  # fences only rise, so this is a prefix
    before = row.log.base_chain
    if after > row.log.base:
        before = conn.execute("SELECT chain FROM queue_cells WHERE id = ?", (row.id_of(after),)).get or before
    return Cells(here, fence, after + 1, before, head, tuple(batch))


def _check_door_share(conn: apsw.Connection, row: _Row, who: Caller) -> None:
    low, high = row.id_of(row.log.base), row.id_of(row.log.head)
    mine = conn.execute(
        "SELECT count(*) FROM queue_cells WHERE id > ? AND id <= ? AND entry = ?", (low, high, who.entry)
    ).get
    if mine + 1 > row.log.cap - row.log.count:
        raise share.busy("the cells that came through this entry fill its share of the door")
    # Entries cost nothing to invent, and a share for each would shut the door: together they leave a quarter of it.
    if row.log.count < row.log.cap // 2 or share.is_established(conn, who.entry, who.now_ms):
        return
    if share.newcomers_cells(conn, low, high, who.now_ms) + 1 > row.log.cap * 3 // 4:
        raise share.busy("the cells that came through new entries fill their share of the door")
