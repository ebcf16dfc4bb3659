"""The truth about who is awake, from rotas and cards that were heard from several nodes.

Somebody counts as on duty when a rota says so *and* their own card names that desk: a rota that lists people who never
agreed lists nobody. A rota is a promise; whether the person is at their machine shows only when they answer.

Cards and rotas cost nothing to make, so a script could fill a whole night with people of its own. Where anybody who
fits is verified, those who are not come after all who are; where nobody is, as without a chain, there is nothing to
tell them apart by, and the seeker is told that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warmline.client.matching import Collection, FoundDesk, Supporter, Wanted
from warmline_protocol.records.card import Card
from warmline_protocol.records.rota import Watch, next_watch, on_duty


@dataclass(frozen=True, slots=True)
class NextWatch:
    """When the next shift of people who fit begins; ``who`` are those of them whose cards are known."""

    desk: str
    watch: Watch
    who: tuple[Supporter, ...]


@dataclass(frozen=True, slots=True)
class Awake:
    """``on_duty`` fit and are on a rota now; ``others`` fit, have an open door, and are on no rota; ``off`` fit and
    are on a rota at another time. ``on_duty_all`` counts everybody on duty, fitting or not."""

    on_duty: tuple[Supporter, ...]
    others: tuple[Supporter, ...]
    off: tuple[Supporter, ...]
    on_duty_all: int
    desks: int
    next: NextWatch | None

    @property
    def tiers(self) -> tuple[tuple[Supporter, ...], ...]:
        """Whom to ask, in this order; within each nobody comes before anybody."""
        if not any(one.vouching.verified for one in (*self.on_duty, *self.others)):
            return (self.on_duty, self.others, self.off)
        rest = [one for one in (*self.on_duty, *self.others) if not one.vouching.verified]
        return (_verified(self.on_duty), _verified(self.others), (*rest, *self.off))

    @property
    def on_duty_verified(self) -> int:
        return len(_verified(self.on_duty))


def _verified(people: Sequence[Supporter]) -> tuple[Supporter, ...]:
    return tuple(one for one in people if one.vouching.verified)


def who_is_awake(collection: Collection, wanted: Wanted, now_ms: int) -> Awake:
    """Sort those who fit by what the rotas say of this moment."""
    desks = collection.desks(now_ms)
    cards = {record.id: record.body for record in collection.records(now_ms) if isinstance(record.body, Card)}
    fitting = {one.record.id: one for one in collection.supporters(wanted, now_ms)}
    present: set[bytes] = set()
    listed: set[bytes] = set()
    for found in desks:
        agreed = agreeing(found, cards)
        listed |= agreed
        present |= on_duty(found.desk, now_ms) & agreed
    return Awake(
        tuple(one for card, one in sorted(fitting.items()) if card in present),
        tuple(one for card, one in sorted(fitting.items()) if card not in listed),
        tuple(one for card, one in sorted(fitting.items()) if card in listed - present),
        len(present),
        len(desks),
        _next(desks, cards, fitting, now_ms),
    )


def agreeing(found: FoundDesk, cards: dict[bytes, Card]) -> set[bytes]:
    """The cards on a rota that name its desk back."""
    return {card for card in found.desk.people if card in cards and found.record.id in (cards[card].desks or ())}


def _next(
    desks: Sequence[FoundDesk], cards: dict[bytes, Card], fitting: dict[bytes, Supporter], now_ms: int
) -> NextWatch | None:
    soonest: NextWatch | None = None
    for found in desks:
        wanted = agreeing(found, cards) & set(fitting)
        watch = next_watch(found.desk, now_ms, wanted) if wanted else None
        if watch is not None and (soonest is None or watch.start < soonest.watch.start):
            who = tuple(fitting[card] for card in sorted(watch.people))
            soonest = NextWatch(found.desk.name, watch, who)
    return soonest
