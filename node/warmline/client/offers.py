"""The supporter's side of "talk to someone now": offers that come, are taken or left, and end by themselves.

An offer names nobody. It is shown for twenty seconds at most, and not at all where its end came in the same breath: a
machine that was asleep must not ring for people who have long been answered. Taking one reserves a seat until the
seeker's Hello is there, half a minute at most. Whatever happens to an offer is held against nobody, on either side.

A stranger can send offers without end. Three are shown at once and a few a minute, the rest get ``busy`` while there is
patience for it, and then no answer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from warmline.client.door_policy import Decision
from warmline.env import Clock
from warmline.net.gossip_state import TokenBucket
from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.session.hello import Declined
from warmline_protocol.session.offers import ANSWERED, LATE, Offer, OfferAnswer, OfferOver, Taken

log = logging.getLogger("warmline.client")

SHOWN_MAX: Final = 3
RING_AFTER: Final = 0.25
"""Seconds in which an offer's end may still come with it."""
RINGS_SECOND, RINGS_MOST = 0.2, 6.0
ANSWERS_SECOND, ANSWERS_MOST = 0.2, 10.0
REMEMBERED: Final = 256
CLAIMED, LOST, PASSED = "claimed", "lost", "passed"
"""Besides the protocol's words: they said Hello; they never came; the supporter said no."""

Answer = Callable[[Offer, OfferAnswer], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Offered:
    """One offer. ``over`` is empty while it can be taken, or was taken and is waited for."""

    offer: Offer
    number: int
    taken: bool = False
    over: str = ""
    _ended: trio.Event = field(default_factory=trio.Event)

    @property
    def attempt(self) -> bytes:
        return self.offer.attempt


class Offers:
    """Obtained as ``DoorKeeper.offers``. ``news`` tells each :class:`Offered` when it is shown, and when it is over."""

    def __init__(
        self,
        clock: Clock,
        nursery: trio.Nursery,
        answer: Answer,
        welcome: Callable[[], Decision],
        expect: Callable[[bytes, int], None],
    ) -> None:
        self._clock = clock
        self._nursery = nursery
        self._answer = answer
        self._welcome = welcome
        self._expect = expect
        self._open: dict[bytes, Offered] = {}
        self._seen: dict[bytes, None] = {}
        self._count = 0
        self._rings = TokenBucket(RINGS_SECOND, RINGS_MOST)
        self._answers = TokenBucket(ANSWERS_SECOND, ANSWERS_MOST)
        self._say, self.news = trio.open_memory_channel[Offered](math.inf)

    @property
    def taken(self) -> int:
        """Seats that wait for somebody who was told yes."""
        return sum(each.taken for each in self._open.values())

    # -- hearing

    def came(self, offer: Offer) -> None:
        """Somebody asks."""
        if offer.attempt in self._seen or self._clock.utc_ms() > offer.until_ms + limits.CLOCK_SKEW_MS:
            return
        self._seen[offer.attempt] = None
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        decision = self._welcome()
        if decision is Decision.SHOW and len(self._open) < SHOWN_MAX and self._rings.take():
            self._count += 1
            offered = self._open[offer.attempt] = Offered(offer, self._count)
            self._nursery.start_soon(self._stand, offered)
        elif decision is not Decision.LATER and self._answers.take():
            self._nursery.start_soon(self._answer, offer, Declined(offer.attempt, "busy"))

    def ended(self, said: OfferOver) -> None:
        """The seeker says that it is over."""
        self._end(self._open.get(said.attempt), said.why)

    def claimed(self, attempt: bytes) -> None:
        """Their Hello is here."""
        self._end(self._open.get(attempt), CLAIMED)

    # -- answering

    async def take(self, offered: Offered) -> None:
        """Yes. :class:`UsageError` when it is over already."""
        if offered.over:
            raise UsageError("this offer is over", hint=_AFTER.get(offered.over, "Another one will come."))
        if offered.taken:
            return
        offered.taken = True
        self._expect(offered.attempt, self._clock.utc_ms() + limits.OFFER_MS + limits.OFFER_CLAIM_MS)
        self._nursery.start_soon(self._wait_claim, offered)
        await self._answer(offered.offer, Taken(offered.attempt))

    async def decline(self, offered: Offered) -> None:
        """No, without a reason; nothing is counted."""
        if offered.over or offered.taken:
            return
        self._end(offered, PASSED)
        await self._answer(offered.offer, Declined(offered.attempt, "declined"))

    # -- time

    async def _stand(self, offered: Offered) -> None:
        with trio.move_on_after(RING_AFTER):
            await offered._ended.wait()
            return  # over before anybody saw it
        self._say.send_nowait(offered)
        with trio.move_on_after(limits.OFFER_MS / 1000 - RING_AFTER):
            await offered._ended.wait()
        if not offered.taken:
            self._end(offered, LATE)
        await offered._ended.wait()
        self._say.send_nowait(offered)

    async def _wait_claim(self, offered: Offered) -> None:
        with trio.move_on_after(limits.OFFER_CLAIM_MS / 1000):
            await offered._ended.wait()
        self._end(offered, LOST)

    def _end(self, offered: Offered | None, why: str) -> None:
        if offered is not None and not offered.over:
            offered.over = why
            self._open.pop(offered.attempt, None)
            offered._ended.set()


_AFTER = {
    ANSWERED: "Somebody else answered first. That is good news.",
    LATE: "An offer stands for 20 seconds; they ask others now.",
}

__all__ = ["CLAIMED", "LOST", "PASSED", "Offered", "Offers"]
