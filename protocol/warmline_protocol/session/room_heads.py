"""The hash chain over a room's log, as one reader computes it, and what it was at the last few hundred places.

Everybody says with each message how far they have read and what the chain was there. A node that shows two people
different logs, or leaves a cell out for one of them, is found out by the first message that passes between them.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from warmline_protocol.queue.log import link

HEAD_SIZE: Final = 16
"""Bytes of a head that travel in messages."""
_KEPT = 1024


def log_start(incarnation: bytes) -> bytes:
    """The chain of an empty log."""
    return hashlib.sha256(b"warmline/1/room-log\0" + incarnation).digest()


class Heads:
    """The chain after each of the last cells, by number."""

    def __init__(self, seq: int = 0, head: bytes = b"") -> None:
        self.seq = seq
        self.head = head
        self._known = {seq: head}

    def read(self, seq: int, cell: bytes) -> None:
        """The next cell."""
        self.seq, self.head = seq, link(self.head, cell)
        self._known[seq] = self.head
        if len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]

    @property
    def short(self) -> bytes:
        """What travels in a message."""
        return self.head[:HEAD_SIZE]

    def at(self, seq: int) -> bytes | None:
        """The chain after cell ``seq``; None for what is too long ago, or not read here."""
        return self._known.get(seq)

    def contradict(self, seq: int, short: bytes) -> bool:
        """Whether somebody else's head at ``seq`` cannot be of the log that was read here."""
        known = self._known.get(seq)
        return known is not None and known[:HEAD_SIZE] != short

    def to_fields(self) -> list[Any]:
        return [[seq, head] for seq, head in self._known.items()]

    @classmethod
    def from_fields(cls, fields: list[Any]) -> Heads:
        heads = cls()
        heads._known = dict(fields)
        heads.seq, heads.head = next(reversed(heads._known.items()))
        return heads
