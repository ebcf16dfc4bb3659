"""Desks: a community's rota, who is on duty when, in quarter hours and in as many time zones as its people live in.

A desk names people by the record ids of their cards, and a card names its desks back: who publishes a rota can neither
put somebody on duty who did not agree, nor be taken for the desk that somebody did agree to, because the id of a desk
holds its owner. Shifts are weekly wall-clock times like the slots of a listing; see ``schedule`` for what clock
changes do to them. What follows from a rota (who is on duty now, where the gaps are) is in ``rota``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.records.card import AgeBand, Languages, Owner, Topics, check_owner, check_tags
from warmline_protocol.records.text import check_slug, check_text, check_unique, check_zone
from warmline_protocol.wire import U53, Bytes32, Range, Size

QUARTERS_A_DAY = 96


@dataclass(frozen=True, slots=True)
class Shift:
    """A weekly shift: ``day`` 0 is Monday, ``at`` and ``quarters`` count quarter hours from local midnight.

    ``people`` are places in the desk's list of cards.
    """

    day: Annotated[int, Range(0, 6)]
    at: Annotated[int, Range(0, QUARTERS_A_DAY - 1)]
    quarters: Annotated[int, Range(1, QUARTERS_A_DAY)]
    people: Annotated[tuple[Annotated[int, Range(0, limits.DESK_PEOPLE_MAX - 1)], ...], Size(1, 16)]

    def __post_init__(self) -> None:
        check_unique("people", self.people)

    @property
    def start(self) -> int:
        """Minutes after local midnight."""
        return self.at * 15

    @property
    def length(self) -> int:
        """Minutes."""
        return self.quarters * 15


@dataclass(frozen=True, slots=True)
class ZoneRota:
    """The shifts of those who live by one clock (an IANA zone name)."""

    zone: Annotated[str, Size(2, 40)]
    shifts: Annotated[tuple[Shift, ...], Size(1, 128)]

    def __post_init__(self) -> None:
        check_zone(self.zone)
        check_unique("shifts", self.shifts)


@dataclass(frozen=True, slots=True)
class Desk:
    """Kind ``desk``. ``people`` are card record ids; ``slug`` is the desk's name for its owner."""

    owner: Owner
    slug: Annotated[str, Size(2, 48)]
    seq: U53
    not_after: U53
    name: Annotated[str, Size(3, 80)]
    about: Annotated[str, Size(0, 1200)]
    languages: Languages
    topics: Topics
    age: AgeBand
    people: Annotated[tuple[Bytes32, ...], Size(1, limits.DESK_PEOPLE_MAX)]
    rota: Annotated[tuple[ZoneRota, ...], Size(1, 12)]

    def __post_init__(self) -> None:
        check_owner(self.owner)
        check_slug(self.slug)
        check_text("name", self.name)
        check_text("about", self.about, lines=True)
        check_tags(self.languages, self.topics)
        check_unique("people", self.people)
        check_unique("zones", tuple(each.zone for each in self.rota))
        if any(place >= len(self.people) for each in self.rota for shift in each.shifts for place in shift.people):
            raise UsageError("a shift of somebody who is not on the desk", hint="Add their card to the desk's people.")
