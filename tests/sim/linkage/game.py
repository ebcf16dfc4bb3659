"""Who said that? The adversary has the chain, one issuer's log, one collector's log and one supporter's memory.

**Linking.** For each rating about the malicious supporter the adversary names one of that supporter's sessions of the
epoch that the token shows. Guessing names any of them with equal chance. The advantage is how much more often the best
of the strategies below is right.

**Answers.** For each session the adversary says whether *this* person meant no. It wins by how much more often it says
so of those who did than of those who did not (Youden's J: 0 is guessing, 1 is certainty). Here there is an honest leak:
who has one session in an epoch and sees one answer knows whose it is, and has only its noise to doubt. Randomised
response bounds it at 0.6 for any single person, whatever else is known. ``belief`` says the same in words that a
person can use: how sure the adversary is of those whom it names, where guessing would be as sure as ``prior``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from sim.linkage.community import Session, Views, fingerprint
from warmline_protocol.feedback.messages import Rating

Strategy = Callable[[list[Session], list[Rating], Views], dict[bytes, Session]]


def by_release(sessions: list[Session], ratings: list[Rating], views: Views) -> dict[bytes, Session]:
    """Who talked early in the week is released early in the next."""
    return _spread(sessions, sorted(ratings, key=lambda rating: rating.not_before_s))


def by_arrival(sessions: list[Session], ratings: list[Rating], views: Views) -> dict[bytes, Session]:
    """The order in which they came to the collector."""
    seen = [rating for rating in ratings if rating.serial in views.collector]
    return _spread(sessions, sorted(seen, key=lambda rating: views.collector[rating.serial].place))


def by_delay(sessions: list[Session], ratings: list[Rating], views: Views) -> dict[bytes, Session]:
    """A week later, to the session that was nearest."""
    week = 7 * 86_400
    return {each.serial: min(sessions, key=lambda s: abs(s.end_s + week - each.not_before_s)) for each in ratings}


def by_hour(sessions: list[Session], ratings: list[Rating], views: Views) -> dict[bytes, Session]:
    """People of the night are released at night."""

    def apart(session: Session, rating: Rating) -> int:
        gap = abs(session.end_s - rating.not_before_s) % 86_400
        return min(gap, 86_400 - gap)

    return {each.serial: min(sessions, key=lambda session: apart(session, each)) for each in ratings}


def by_serial(sessions: list[Session], ratings: list[Rating], views: Views) -> dict[bytes, Session]:
    """Batches are in the order of serials; requests were in the order of numbers."""
    return _spread(sessions, sorted(ratings, key=lambda rating: rating.serial))


def by_turn(sessions: list[Session], ratings: list[Rating], views: Views) -> dict[bytes, Session]:
    """Those published first."""
    return _spread(sessions, sorted(ratings, key=lambda r: (views.published[r.serial][0], fingerprint(r))))


def by_bytes(sessions: list[Session], ratings: list[Rating], views: Views) -> dict[bytes, Session]:
    """The same bytes in the issuer's log and in the batch."""
    asked = {line.asked: line.number for line in views.issuer[sessions[0].supporter, sessions[0].epoch]}
    return {each.serial: sessions[asked[each.serial]] for each in ratings if each.serial in asked}


def _spread(sessions: list[Session], ordered: list[Rating]) -> dict[bytes, Session]:
    """The i-th of m ratings to the session at that place of n: fewer rate than talk."""
    size = len(ordered)
    return {each.serial: sessions[(2 * i + 1) * len(sessions) // (2 * size)] for i, each in enumerate(ordered)}


STRATEGIES: tuple[Strategy, ...] = (by_release, by_arrival, by_delay, by_hour, by_serial, by_turn, by_bytes)


@dataclass(frozen=True, slots=True)
class Link:
    """Of one strategy: how often right, how often guessing would be, over how many guesses."""

    strategy: str
    right: float
    guessing: float
    guesses: int

    @property
    def advantage(self) -> float:
        return self.right - self.guessing

    @property
    def error(self) -> float:
        """One standard error of the advantage."""
        return sqrt(max(self.guessing * (1 - self.guessing), 1e-4) / max(self.guesses, 1))


def _rows(views: Views) -> dict[tuple[int, int], list[Rating]]:
    rows: dict[tuple[int, int], list[Rating]] = defaultdict(list)
    for _, rating in views.published.values():
        rows[int.from_bytes(rating.grant.supporter), rating.grant.epoch].append(rating)
    return rows


def link(views: Views) -> tuple[Link, ...]:
    """Every strategy against every supporter in turn, best first."""
    rows, found = _rows(views), []
    for strategy in STRATEGIES:
        right = guessing = guesses = 0.0
        for place, ratings in sorted(rows.items()):
            sessions = views.sessions[place]
            guessed = strategy(sessions, ratings, views)
            guesses += len(guessed)
            guessing += len(guessed) / len(sessions)
            right += sum(session.serial == serial for serial, session in guessed.items())
        total = max(guesses, 1.0)
        found.append(Link(strategy.__name__, right / total, guessing / total, int(guesses)))
    return tuple(sorted(found, key=lambda each: -each.advantage))


@dataclass(frozen=True, slots=True)
class Answers:
    """Youden's J of the best threshold, over sessions of supporters with ``sessions`` sessions in that epoch."""

    sessions: str
    advantage: float
    prior: float
    belief: float
    people: int


BANDS = {"1": (1, 1), "2 to 3": (2, 3), "4 to 7": (4, 7), "8 and more": (8, 10**9), "all": (1, 10**9)}


def infer(views: Views) -> tuple[Answers, ...]:
    """How well the answers of single people can be told from what is published."""
    rows = _rows(views)
    scored: list[tuple[int, float, bool]] = []
    for place, sessions in sorted(views.sessions.items()):
        published = rows.get(place, [])
        share = sum(not rating.again for rating in published) / len(sessions)
        scored += [(len(sessions), share, session.meant is False) for session in sessions]
    found = []
    for name, (low, high) in BANDS.items():
        mine = [(share, no) for count, share, no in scored if low <= count <= high]
        found.append(_best(name, mine))
    return tuple(found)


def _best(name: str, scored: list[tuple[float, bool]]) -> Answers:
    """The threshold with the highest J, by one walk from the most suspicious down."""
    noes = sum(no for _, no in scored)
    if not 0 < noes < len(scored):
        return Answers(name, 0.0, 0.0, 0.0, len(scored))
    prior, best = noes / len(scored), (0.0, 0.0)
    hit = named = 0
    ordered = sorted(scored, reverse=True)
    for place, (share, no) in enumerate(ordered):
        hit, named = hit + no, named + 1
        if place + 1 == len(ordered) or ordered[place + 1][0] != share:
            best = max(best, (hit / noes - (named - hit) / (len(scored) - noes), hit / named))
    return Answers(name, best[0], prior, best[1], len(scored))
