"""One queue, door or room log as a value: what each operation makes of it, and what is refused.

A log is a window ``base < seq <= head`` over numbered cells. Cells leave it only in front: acknowledged by the reader,
or expired. Appending moves ``head``; nothing else does, and no number is used twice within an incarnation. Every
method returns the next value and raises :class:`RefusedError` where the answer is no, so that a node can write down
the change in one transaction, or none of it.

A room log also has *epochs*. The owner's commit ends epoch ``fence`` with its own cells and begins the next one with
new keys in the same step. A key reads exactly the cells of its epoch: a member who was removed sees the commit that
did it and nothing after, and one who was away goes from commit to commit. Sending takes the newest key *and* its
number, so that a cell sealed for an epoch that is over is refused (``fenced``) while its sender can still seal it
again.

The chain is SHA-256 over (chain before, cell): whoever has one value can check all that follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from warmline_protocol.errors import RefusedError
from warmline_protocol.limits import QUEUE_CELLS_MAX
from warmline_protocol.queue.auth import opens, queue_id
from warmline_protocol.queue.messages import DOOR, LOG, Create, Cursor

SEQ_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Epoch:
    """Keys and cells of one epoch: ``first`` is its first seq, ``last`` its last once it is over."""

    fence: int
    send_hash: bytes
    read_hash: bytes
    first: int
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A cell's place: its number, the chain after it, when it expires (ms UTC)."""

    seq: int
    chain: bytes
    until_ms: int


@dataclass(frozen=True, slots=True)
class View:
    """What one reader may see: cells with ``after < seq <= head``; ``ended`` when the key's epoch is over."""

    after: int
    head: int
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Log:
    """The state of one log. ``epochs`` holds the newest last; a door has none, a queue one."""

    queue: bytes
    kind: str
    owner: bytes
    cap: int
    cell_ttl_ms: int
    life_ms: int
    release_ms: int
    fence: int
    base: int
    base_chain: bytes
    head: int
    chain: bytes
    until_ms: int
    epochs: tuple[Epoch, ...]

    @property
    def count(self) -> int:
        """Cells held now."""
        return self.head - self.base

    @property
    def room(self) -> int:
        """Cells that senders may fill: an eighth of a room log is kept for commits, so that a full one can be led."""
        return self.cap - (self.cap // 8 if self.kind == LOG else 0)

    # -- sending

    def check_sender(self, send_key: bytes | None, fence: int | None) -> None:
        """``denied`` without a key of this log, ``fenced`` with one whose epoch is over; doors are open to all."""
        if self.kind == DOOR:
            return
        mine = [epoch.fence for epoch in self.epochs if opens(send_key, epoch.send_hash)]
        if not mine:
            raise denied()
        if self.kind == LOG and not fence == self.fence == max(mine):
            raise fenced(self.kind)

    def append(self, cells: Sequence[bytes], *, now_ms: int) -> tuple[Log, tuple[Link, ...]]:
        """Add cells, all or none."""
        return self._append(cells, self.room, now_ms)

    def _append(self, cells: Sequence[bytes], room: int, now_ms: int) -> tuple[Log, tuple[Link, ...]]:
        if not 0 < len(cells) <= (1 if self.kind == DOOR else QUEUE_CELLS_MAX):
            raise RefusedError("kind", f"a {self.kind} does not take {len(cells)} cells at once")
        if self.count + len(cells) > room or self.head + len(cells) > SEQ_MAX:
            raise RefusedError(
                "full",
                f"the {self.kind} holds {self.count} of {room} cells",
                hint="Offer it again later, or to the contact's other queue.",
            )
        chain, links = self.chain, []
        for seq, cell in enumerate(cells, self.head + 1):
            chain = link(chain, cell)
            links.append(Link(seq, chain, now_ms + self.cell_ttl_ms))
        return replace(self, head=self.head + len(cells), chain=chain), tuple(links)

    def commit(
        self,
        cells: Sequence[bytes],
        *,
        fence: int,
        send_hash: bytes,
        read_hash: bytes,
        new_owner: bytes | None,
        now_ms: int,
    ) -> tuple[Log, tuple[Link, ...]]:
        """End epoch ``fence`` with these cells and begin the next. The last two of ``epochs`` are the ones changed."""
        if self.kind != LOG:
            raise RefusedError("kind", f"a {self.kind} has no epochs")
        if fence != self.fence:
            raise fenced(self.kind)
        grown, links = self._append(cells, self.cap, now_ms)
        ended = replace(self.epochs[-1], last=grown.head)
        begun = Epoch(fence + 1, send_hash, read_hash, grown.head + 1)
        owner = self.owner if new_owner is None else new_owner
        return replace(grown, fence=fence + 1, owner=owner, epochs=(*self.epochs[:-1], ended, begun)), links

    # -- reading

    def view_of_owner(self, *, now_ms: int) -> View:
        """The owner sees everything, in a drop from its release time on."""
        return View(self.base, self.base if now_ms < self.release_ms else self.head)

    def view_of_member(self, read_key: bytes | None) -> View:
        """A room's member sees the cells of the epoch whose key it holds."""
        for epoch in reversed(self.epochs):
            if self.kind == LOG and opens(read_key, epoch.read_hash):
                head = self.head if epoch.last is None else epoch.last
                return View(max(self.base, epoch.first - 1), head, ended=epoch.last is not None)
        raise denied()

    # -- forgetting

    def ack(self, upto: int) -> Log:
        """Forget what the reader has safe. ``base_chain`` of the result is for the caller to fill."""
        if self.kind == LOG:
            raise RefusedError("kind", "cells leave a room log only by expiry")
        if upto > self.head:
            raise RefusedError("beyond", f"the {self.kind} ends at {self.head}")
        return self.forget(upto)

    def forget(self, upto: int) -> Log:
        """Forget up to ``upto`` because it expired; what is gone already stays gone."""
        return replace(self, base=min(max(self.base, upto), self.head))

    def touch(self, *, now_ms: int) -> Log | None:
        """The owner showed a sign of life: the log with its lease renewed, or None where half of it is left."""
        if self.until_ms - now_ms > self.life_ms // 2:
            return None
        return replace(self, until_ms=now_ms + self.life_ms)


def born(create: Create, *, now_ms: int) -> Log:
    """The log that ``create`` asks for, empty."""
    name = queue_id(create.owner)
    start = hashlib.sha256(b"warmline/1/queue-chain\0" + name).digest()
    fence = create.fence or 0
    epochs = () if create.send_hash is None else (Epoch(fence, create.send_hash, create.read_hash or b"", 1),)
    return Log(
        queue=name,
        kind=create.kind,
        owner=create.owner,
        cap=create.cap,
        cell_ttl_ms=create.cell_ttl_ms,
        life_ms=create.life_ms,
        release_ms=create.release_at or 0,
        fence=fence,
        base=0,
        base_chain=start,
        head=0,
        chain=start,
        until_ms=now_ms + create.life_ms,
        epochs=epochs,
    )


def link(chain: bytes, cell: bytes) -> bytes:
    """The chain after ``cell``."""
    return hashlib.sha256(chain + cell).digest()


def position(cursor: Cursor | None, incarnation: bytes) -> int:
    """The seq after which to read: a cursor of another life of the log counts for nothing."""
    return cursor.seq if cursor is not None and cursor.incarnation == incarnation else 0


def denied() -> RefusedError:
    """One answer for every key or signature that does not open, so that it says nothing about which it was."""
    return RefusedError("denied", "this key does not open this queue", hint="Ask the contact for a fresh address.")


def fenced(kind: str) -> RefusedError:
    return RefusedError(
        "fenced", f"the epoch of this {kind} is over", hint="Read the commit, then seal the message in the new epoch."
    )


def unknown() -> RefusedError:
    return RefusedError("unknown", "no such queue here: it expired, was removed, or was never made")
