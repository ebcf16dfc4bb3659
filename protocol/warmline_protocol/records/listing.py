"""Listings: a group that meets, who holds it open, and what a person should know before the first time.

What platforms learned the hard way is part of the shape (a room left open without a host becomes unsafe): a listing
always says who facilitates, when it opens and closes, from how many people on it runs, and its rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.records.card import AgeBand, Door, Languages, Owner, Topics, check_owner, check_tags
from warmline_protocol.records.text import check_slug, check_text, check_unique, check_zone
from warmline_protocol.wire import U53, Bytes32, OneOf, Range, Size

ROOM, ONE_TO_ONE = "room", "one-to-one"
Line = Annotated[str, Size(1, 300)]


@dataclass(frozen=True, slots=True)
class Slot:
    """A weekly time: ``day`` 0 is Monday, ``start`` minutes after local midnight, ``length`` in minutes."""

    day: Annotated[int, Range(0, 6)]
    start: Annotated[int, Range(0, 1439)]
    length: Annotated[int, Range(10, 480)]


@dataclass(frozen=True, slots=True)
class Listing:
    """Kind ``listing``. ``host`` is the record id of the facilitator's card, ``slug`` the listing's name for its owner.

    ``opens`` and ``closes`` (ms, optional) bound a programme that runs for some weeks only; neither lies more than two
    years after the signing (``limits.PROGRAMME_AHEAD_MS``). ``co_facilitators`` and
    ``successors`` are card ids; a successor may open the next group when the host cannot.
    """

    owner: Owner
    slug: Annotated[str, Size(2, 48)]
    seq: U53
    not_after: U53
    title: Annotated[str, Size(3, 80)]
    summary: Annotated[str, Size(10, 1200)]
    kind: Annotated[str, OneOf(ROOM, ONE_TO_ONE)]
    topics: Topics
    languages: Languages
    zone: Annotated[str, Size(2, 40)]
    slots: Annotated[tuple[Slot, ...], Size(1, 14)]
    capacity: Annotated[int, Range(2, limits.ROOM_SEATS_MAX)]
    min_participants: Annotated[int, Range(1, limits.ROOM_SEATS_MAX)]
    age: AgeBand
    facilitated_by: Annotated[str, Size(1, 60)]
    host: Bytes32
    rules: Annotated[tuple[Line, ...], Size(1, 8)]
    accessibility: Annotated[tuple[Line, ...], Size(0, 6)]
    door: Door
    co_facilitators: Annotated[tuple[Bytes32, ...], Size(0, 3)] = ()
    successors: Annotated[tuple[Bytes32, ...], Size(0, 3)] = ()
    opens: U53 | None = None
    closes: U53 | None = None

    def __post_init__(self) -> None:
        check_owner(self.owner)
        check_slug(self.slug)
        check_text("title", self.title)
        check_text("summary", self.summary, lines=True)
        check_text("facilitated_by", self.facilitated_by)
        for line in (*self.rules, *self.accessibility):
            check_text("a rule or accessibility note", line)
        check_tags(self.languages, self.topics)
        check_zone(self.zone)
        check_unique("slots", self.slots)
        check_unique("successors", self.successors)
        self._check_seats()
        self._check_programme()

    def _check_programme(self) -> None:
        if self.opens is not None and self.closes is not None and self.closes <= self.opens:
            raise UsageError("a programme that closes before it opens", hint="Put `closes` after `opens`.")
        for name, when in (("opens", self.opens), ("closes", self.closes)):
            if when is not None and when > self.seq + limits.PROGRAMME_AHEAD_MS:
                raise UsageError(f"a programme that {name} in more than two years", hint=f"Put `{name}` nearer.")

    def _check_seats(self) -> None:
        if self.kind == ONE_TO_ONE and self.capacity != 2:
            raise UsageError("a one-to-one listing with other than two seats", hint="Set capacity = 2.")
        if self.min_participants > self.capacity:
            raise UsageError("min_participants above capacity", hint="Lower min_participants or raise capacity.")
        if self.capacity > limits.ONE_FACILITATOR_SEATS_MAX and not self.co_facilitators:
            raise UsageError(
                f"a room of {self.capacity} with one facilitator",
                hint=f"Name a co-facilitator, or keep to {limits.ONE_FACILITATOR_SEATS_MAX} seats.",
            )
