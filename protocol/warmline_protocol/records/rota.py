"""What follows from a desk's rota at some time: who is on duty, who comes next, and where nobody is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from warmline_protocol.errors import LocalError
from warmline_protocol.limits import QUARTER_MS
from warmline_protocol.records.desk import Desk
from warmline_protocol.records.schedule import Meeting, Window, occurrences

WEEK_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Watch:
    """Some people's time on duty: start (inclusive) and end (exclusive) in ms UTC, and card record ids."""

    start: int
    end: int
    people: tuple[bytes, ...]


def watches(desk: Desk, window: Window) -> list[Watch]:
    """Every shift that overlaps ``window``, soonest first. A zone that this machine does not know has none."""
    found = []
    for each in desk.rota:
        try:
            times = occurrences(each.shifts, each.zone, window)
        except LocalError:
            continue
        found += [Watch(m.start, m.end, tuple(desk.people[place] for place in shift.people)) for m, shift in times]
    return sorted(found, key=lambda watch: (watch.start, watch.end, watch.people))


def on_duty(desk: Desk, at_ms: int) -> frozenset[bytes]:
    """The cards whose shift it is at a moment."""
    return frozenset(card for watch in watches(desk, Window(at_ms, at_ms + 1)) for card in watch.people)


def next_watch(desk: Desk, now_ms: int, cards: Iterable[bytes] | None = None) -> Watch | None:
    """The first shift within nine days that has not begun yet; with ``cards`` the first of one of them."""
    wanted = None if cards is None else frozenset(cards)
    for watch in watches(desk, Window(now_ms, now_ms + 9 * 86_400_000)):
        people = tuple(card for card in watch.people if wanted is None or card in wanted)
        if watch.start > now_ms and people:
            return Watch(watch.start, watch.end, people)
    return None


def present_watch(desk: Desk, now_ms: int, card: bytes) -> Watch | None:
    """The shift that a card is on at this moment, the one that ends last where there are several."""
    running = [watch for watch in watches(desk, Window(now_ms, now_ms + 1)) if card in watch.people]
    return max(running, key=lambda watch: watch.end, default=None)


def quarters(all_watches: Sequence[Watch], start_ms: int, count: int) -> list[int]:
    """How many different people are on duty in each of ``count`` quarter hours from ``start_ms`` on.

    Somebody who is there for a part of a quarter only does not count: a gap is never drawn as covered.
    """
    counts = []
    for index in range(count):
        begin, end = start_ms + index * QUARTER_MS, start_ms + (index + 1) * QUARTER_MS
        counts.append(
            len({card for watch in all_watches if watch.start <= begin and watch.end >= end for card in watch.people})
        )
    return counts


def gaps(all_watches: Sequence[Watch], window: Window) -> tuple[Meeting, ...]:
    """The times within ``window`` in which nobody is on duty."""
    found: list[Meeting] = []
    covered = window.start
    for watch in sorted(all_watches, key=lambda each: each.start):
        if watch.start > covered:
            found.append(Meeting(covered, min(watch.start, window.end)))
        covered = max(covered, watch.end)
        if covered >= window.end:
            return tuple(found)
    if covered < window.end:
        found.append(Meeting(covered, window.end))
    return tuple(found)
