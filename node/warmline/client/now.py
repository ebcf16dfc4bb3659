"""Talk to someone now: three people asked at once, whoever says yes first, and no memory of who did not.

:class:`Search` knows nothing of the network. It is told how to ring at somebody's door and gets answers, so that what
decides about waiting times is the same in a terminal and in the simulation (``tests/sim/matching``).

*Fair* is: at random among those who fit and are on duty, then at random among those who fit and may be there; whoever
was just asked comes last among them. No bond, rating or answering time plays a part, and nothing is remembered after
the search. A yes that leads nowhere (they vanished, or a thief of their contact key answered) counts like no answer: go
on with :meth:`Search.run`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import trio

from warmline.env import Rng
from warmline_protocol import limits
from warmline_protocol.session.offers import ANSWERED, LATE, LEFT

C = TypeVar("C")
TAKEN, DECLINED, BUSY, AWAY = "taken", "declined", "busy", "away"
"""Answers at a door; ``away``: the door could not be reached, or nobody answered."""
WON: Final = "won"
"""Their yes counted. Should the search go on, it led nowhere: they are not asked again."""
ASKED_MOST: Final = 3
"""How often one search asks the same person who does not answer."""
BUSY_PAUSE: Final = 20.0
"""Seconds before somebody who was busy is asked again."""


class Ringing(Protocol):
    """One offer on its way to one person."""

    attempt: bytes

    async def left(self) -> bool:
        """Whether it stands at their door, once that is known."""
        ...

    async def answer(self) -> str:
        """``taken``, ``declined``, ``busy`` or ``away``."""
        ...

    def over(self, why: str) -> None:
        """Tell them that it is over; returns at once."""
        ...


@dataclass(frozen=True, slots=True)
class NowSettings:
    """Seconds and counts."""

    at_once: int = limits.OFFERS_AT_ONCE
    stands: float = limits.OFFER_MS / 1000
    search: float = limits.OFFER_SEARCH_MS / 1000
    tell_every: float = 5.0


@dataclass(frozen=True, slots=True)
class Asking:
    """Progress: seconds so far, how many different people were asked, how many are being asked now."""

    seconds: int
    asked: int
    now: int


@dataclass(frozen=True, slots=True)
class Yes(Generic[C]):
    """Somebody said yes; say Hello to them with this attempt id."""

    who: C
    attempt: bytes
    ringing: Ringing


@dataclass(slots=True, eq=False)
class _Turn(Generic[C]):
    who: C
    tier: int
    asked: int = 0
    not_before: float = 0.0

    @property
    def rank(self) -> int:
        """Lower is sooner. The first two tiers take turns; the third, who have no reason to be there, comes last."""
        return 2 * self.asked + (self.tier if self.tier < 2 else 2 * ASKED_MOST - 1)


class Rotation(Generic[C]):
    """Whose turn it is. ``tiers`` are groups of candidates, those to ask first in front."""

    def __init__(self, tiers: Sequence[Sequence[C]], rng: Rng) -> None:
        self._waiting: deque[_Turn[C]] = deque()
        self._out = 0
        for number, tier in enumerate(tiers):
            order = [_Turn(each, number) for each in tier]
            rng.shuffle(order)
            self._waiting += order

    def next(self, now: float) -> _Turn[C] | None:
        """The next one who may be asked; None where nobody may be at this moment."""
        turn = min((turn for turn in self._waiting if turn.not_before <= now), key=lambda turn: turn.rank, default=None)
        if turn is not None:
            self._waiting.remove(turn)
            self._out += 1
            turn.asked += 1
        return turn

    def back(self, turn: _Turn[C], answer: str, now: float) -> None:
        """Whoever was asked goes last, or out: a no is a no, and three times no answer is nobody there."""
        self._out -= 1
        if answer in (DECLINED, WON) or turn.asked >= ASKED_MOST:
            return
        turn.not_before = now + BUSY_PAUSE if answer == BUSY else now
        self._waiting.append(turn)

    @property
    def next_at(self) -> float | None:
        """When somebody may be asked again; None when nobody is left."""
        return min((turn.not_before for turn in self._waiting), default=None)

    @property
    def empty(self) -> bool:
        """Nobody waits for a turn, and nobody is being asked."""
        return not self._waiting and not self._out


class Search(Generic[C]):
    """One person's search for somebody to talk to now."""

    def __init__(
        self,
        tiers: Sequence[Sequence[C]],
        ring: Callable[[C], Ringing],
        *,
        rng: Rng,
        settings: NowSettings | None = None,
        tell: Callable[[Asking], None] = lambda asking: None,
        key: Callable[[C], object] = id,
    ) -> None:
        """``key`` tells whether two candidates are the same person."""
        self._rotation = Rotation(tiers, rng)
        self._ring = ring
        self._settings = settings or NowSettings()
        self._tell = tell
        self._rng = rng
        self._key = key
        self._no: set[object] = set()
        self._asked: set[object] = set()
        self._began = trio.current_time()
        self._ringing: list[Ringing] = []
        self._yes: Yes[C] | None = None
        self._moved = trio.Event()

    @property
    def asked(self) -> int:
        """How many different people were asked so far."""
        return len(self._asked)

    def again(self, tiers: Sequence[Sequence[C]]) -> None:
        """The person wants to wait: everybody may be asked once more, but for those who said no."""
        left = [[who for who in tier if self._key(who) not in self._no] for tier in tiers]
        self._rotation = Rotation(left, self._rng)

    async def run(self) -> Yes[C] | None:
        """The first who says yes; None after a minute without one, or when everybody who could be asked was.

        May be called again: after a yes that led nowhere, or by somebody who wants to wait longer. Cancelling it tells
        whoever is being asked that the person left.
        """
        self._yes = None
        why = LEFT
        try:
            with trio.move_on_after(self._settings.search):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._report)
                    for _ in range(self._settings.at_once):
                        nursery.start_soon(self._ask_in_turn, nursery.cancel_scope)
            why = LATE if self._yes is None else ANSWERED
        finally:
            for ringing in self._ringing:
                ringing.over(why)
            self._ringing.clear()
        return self._yes

    async def _ask_in_turn(self, found: trio.CancelScope) -> None:
        while self._yes is None and not self._rotation.empty:
            turn = self._rotation.next(trio.current_time())
            if turn is None:
                await self._wait_turn()
                continue
            answer = AWAY
            try:
                answer = await self._ask(turn)
            finally:
                won = self._yes is not None and self._yes.who is turn.who
                self._rotation.back(turn, WON if won else answer, trio.current_time())
                self._move()
            if answer == TAKEN:
                found.cancel()
                return
        found.cancel()  # nobody is left: waiting on would only look like hope

    async def _ask(self, turn: _Turn[C]) -> str:
        self._asked.add(self._key(turn.who))
        ringing = self._ring(turn.who)
        self._ringing.append(ringing)
        answer, left = AWAY, False
        with trio.move_on_after(self._settings.stands):
            left = await ringing.left()
        with trio.move_on_after(self._settings.stands if left else 0):
            answer = await ringing.answer()
        self._ringing.remove(ringing)
        if answer == DECLINED:
            self._no.add(self._key(turn.who))
        if answer == TAKEN and self._yes is None:
            self._yes = Yes(turn.who, ringing.attempt, ringing)
        else:
            ringing.over(ANSWERED if answer == TAKEN else LATE)
        return answer

    async def _wait_turn(self) -> None:
        at = self._rotation.next_at
        pause = self._settings.search if at is None else max(0.0, at - trio.current_time())
        with trio.move_on_after(pause):
            await self._moved.wait()

    def _move(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()

    async def _report(self) -> None:
        while True:
            seconds = int(trio.current_time() - self._began)
            self._tell(Asking(seconds, self.asked, len(self._ringing)))
            await trio.sleep(self._settings.tell_every)
