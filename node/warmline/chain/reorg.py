"""The reorg-safe follower's heart, without any I/O: spans of blocks in, what changed out.

    base (final) -- span -- span -- ... -- tip
                    \\______ the window ______/

Everything up to `base` is final and never comes back here. Above it is the window, oldest first, each span joined to
the one before by parent hash. Three things can happen: a span *grows* the tip, the tip is *dropped* because the chain
no longer has it, and the oldest spans become *final*. A span is one block, except far below the head, where many
blocks are fetched at once.

What cannot be repaired is a chain whose *final* blocks changed (a dev chain that was wiped, or one finality failed
on): `drop` then raises FinalityBrokenError and the driver starts over from the first block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from warmline_protocol.errors import WorldError
from warmline_protocol.records.standing_events import Event


class FinalityBrokenError(WorldError):
    """The chain replaced blocks that were final."""

    default_hint = "The chain was reset or reorganised deeper than its finality; standing is read again from the start."


class DisconnectedError(WorldError):
    """A span does not continue the tip: the chain changed between two questions. Ask again."""


@dataclass(frozen=True, slots=True)
class Ref:
    """One block by number and hash."""

    number: int
    hash: bytes
    time_s: int


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive blocks `first`..`last.number`; `parent` is the hash of the block before `first`."""

    first: int
    parent: bytes
    last: Ref
    events: tuple[Event, ...] = ()


class Window:
    """The state machine. `limit` bounds the window's spans: more than that unconfirmed is not followed further."""

    def __init__(self, base: Ref, spans: Iterable[Span] = (), *, limit: int = 4096) -> None:
        self.base = base
        self.limit = limit
        self._spans: deque[Span] = deque()
        for span in spans:
            self.grow(span)

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def tip(self) -> Ref:
        return self._spans[-1].last if self._spans else self.base

    @property
    def full(self) -> bool:
        return len(self._spans) >= self.limit

    def pending(self) -> Iterator[Event]:
        """The window's events, oldest first."""
        for span in self._spans:
            yield from span.events

    def grow(self, span: Span) -> None:
        """Join `span` to the tip. Raises DisconnectedError."""
        if span.first != self.tip.number + 1 or span.parent != self.tip.hash or span.last.number < span.first:
            raise DisconnectedError(f"blocks {span.first} to {span.last.number} do not continue {self.tip.number}")
        self._spans.append(span)

    def drop(self) -> Span:
        """Take the tip away, because the chain has another block there. Raises FinalityBrokenError at the base."""
        if not self._spans:
            raise FinalityBrokenError(f"block {self.base.number} was final and is no longer part of the chain")
        return self._spans.pop()

    def ripe(self, number: int) -> bool:
        """Whether `finalize(number)` would make anything final."""
        return bool(self._spans) and self._spans[0].last.number <= number

    def below(self, number: int) -> Ref | None:
        """The highest block of ours at or below `number`; None if even the base is above it."""
        for span in reversed(self._spans):
            if span.last.number <= number:
                return span.last
        return self.base if self.base.number <= number else None

    def finalize(self, number: int) -> list[Span]:
        """The spans that end at or below `number`, oldest first; they leave the window and move the base."""
        done: list[Span] = []
        while self._spans and self._spans[0].last.number <= number:
            done.append(self._spans.popleft())
            self.base = done[-1].last
        return done
