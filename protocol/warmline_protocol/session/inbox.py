"""Order and doubles of one sender, settled by its own counter inside the encryption.

``accounted`` says what an ack may claim; ``shown`` says what the person has seen. The two differ while a later message
waits for an earlier one: it waits for a while, then it is shown, and the earlier one comes late or never.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmline_protocol import limits
from warmline_protocol.session.messages import Ack, Inner, pack_inner, unpack_inner


@dataclass(frozen=True, slots=True)
class Release:
    """What the person sees now: a message (``inner`` is None for one that only keeps a place), or a gap before it."""

    inner: Inner | None
    late: bool = False
    gap: int = 0


class Inbox:
    """Messages of one sender in; messages in order, acks and gaps out."""

    def __init__(self) -> None:
        self.upto = 0
        self.beyond: set[int] = set()
        self.shown = 0
        self.waiting: dict[int, Inner | None] = {}
        self.stuck_since_ms: int | None = None

    def seen(self, counter: int) -> bool:
        """Whether this counter needs no second copy."""
        return counter <= self.upto or counter in self.beyond

    def too_far(self, counter: int) -> bool:
        return counter > self.upto + limits.COUNTER_AHEAD_MAX

    def begin_at(self, floor: int) -> None:
        """For a reader who came later: what the sender gave up or delivered before is no gap."""
        self.upto = self.shown = floor - 1

    def note(self, counter: int) -> None:
        """A message that something else puts in order (a room's log): only remember it."""
        self.beyond.add(counter)
        self._advance()

    def add(self, counter: int, inner: Inner | None) -> None:
        """A message that :meth:`seen` did not know."""
        self.beyond.add(counter)
        self.waiting[counter] = inner
        self._advance()

    def missed_below(self, floor: int) -> int:
        """How many counters below ``floor`` never came; the sender's word for ``floor`` counts as far as it may go."""
        below = range(self.upto + 1, min(floor, self.upto + limits.COUNTER_AHEAD_MAX))
        return sum(each not in self.beyond for each in below)

    def raise_floor(self, floor: int) -> None:
        """The sender has given up everything below ``floor``."""
        floor = min(floor, self.upto + limits.COUNTER_AHEAD_MAX)
        if floor - 1 > self.upto:
            self.upto = floor - 1
            self.beyond = {each for each in self.beyond if each > self.upto}
            self._advance()

    def _advance(self) -> None:
        while self.upto + 1 in self.beyond:
            self.upto += 1
            self.beyond.discard(self.upto)

    def ack(self) -> Ack:
        return Ack(self.upto, tuple(sorted(self.beyond)[:64]))

    def release(self, now_ms: int) -> list[Release]:
        """What may be shown by now, in order."""
        out = [Release(self.waiting.pop(counter), late=True) for counter in self._late()]
        gap = 0
        while self.waiting:
            following = self.shown + 1
            if following in self.waiting:
                out.append(Release(self.waiting.pop(following), gap=gap))
                gap = 0
            elif following <= self.upto or self._patience_ended(now_ms):
                gap += 1
            else:
                break
            self.shown = following
        if not self.waiting:
            self.stuck_since_ms = None
        elif self.stuck_since_ms is None:
            self.stuck_since_ms = now_ms
        return out

    def _late(self) -> list[int]:
        return sorted(counter for counter in self.waiting if counter <= self.shown)

    def _patience_ended(self, now_ms: int) -> bool:
        return self.stuck_since_ms is not None and now_ms >= self.stuck_since_ms + limits.GAP_PATIENCE_MS

    def next_timer(self) -> int | None:
        """When :meth:`release` will have something to say without anything coming."""
        return None if self.stuck_since_ms is None else self.stuck_since_ms + limits.GAP_PATIENCE_MS

    def to_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "upto": self.upto,
            "beyond": sorted(self.beyond),
            "shown": self.shown,
            "waiting": [
                [counter, b"" if inner is None else pack_inner(inner)]
                for counter, inner in sorted(self.waiting.items())
            ],
        }
        if self.stuck_since_ms is not None:
            fields["stuck"] = self.stuck_since_ms
        return fields

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Inbox:
        inbox = cls()
        inbox.upto, inbox.beyond, inbox.shown = fields["upto"], set(fields["beyond"]), fields["shown"]
        inbox.waiting = {counter: unpack_inner(data) if data else None for counter, data in fields["waiting"]}
        inbox.stuck_since_ms = fields.get("stuck")
        return inbox
