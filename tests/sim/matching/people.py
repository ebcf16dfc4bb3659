"""Supporters who behave like people: late, asleep, busy, tired. Their clients are the real ones, without a network."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import trio

from warmline.client.door_policy import DoorGate, DoorRules
from warmline.client.offers import Offered, Offers
from warmline.env import Clock
from warmline_protocol import limits
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.card import AgeBand, Card, ContactKey, Door
from warmline_protocol.records.envelope import CARD, record_id, sign_record
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.offers import Offer, OfferAnswer


@dataclass(frozen=True, slots=True)
class Habits:
    """Seconds and shares. Guesses about people, said here so that they can be doubted and changed."""

    no_show: float = 0.1
    """Of shifts, that nobody came to."""
    away: float = 0.15
    """Of offers, that came while somebody was out of the room."""
    declines: float = 0.1
    vanishes: float = 0.03
    """Of yeses, after which the connection breaks."""
    reaction: float = 6.0
    """Median seconds from the ring to an answer (log-normal, sigma 0.6)."""
    talk_minutes: float = 30.0
    """Median length of a conversation (log-normal, sigma 0.5)."""
    at_once: int = 2
    per_day: int = 4
    rest_minutes: int = 10
    patience_minutes: float = 6.0
    """A seeker's: a minute, and an exponential time of this mean beyond it."""


@dataclass(eq=False, slots=True)
class Helper:
    """A supporter and their client; ``answers`` gets what they said to an offer."""

    name: str
    zone: str
    key: SigningKey
    habits: Habits
    random: random.Random
    present: bool = False
    talking: int = 0
    rung: int = 0
    on_duty_s: float = 0.0
    offers: Offers | None = None
    gate: DoorGate | None = None
    answers: dict[bytes, trio.MemorySendChannel[OfferAnswer]] = field(default_factory=dict)

    def card(self, desks: tuple[bytes, ...], now_ms: int, life_ms: int) -> bytes:
        """Signed; its contact key is never used here."""
        where = NodeAddress(self.key.peer_id, (f"/ip4/127.0.0.1/tcp/1/p2p/{self.key.peer_id}",))
        end = now_ms + min(life_ms, limits.CARD_LIFE_MS)
        contact = ContactKey(bytes(16), bytes(limits.CONTACT_KEY_SIZE), end)
        door = Door(where, self.key.public[:16], True)
        body = Card(
            self.key.public,
            now_ms,
            end,
            self.name,
            bytes(16),
            "",
            ("en",),
            ("loneliness",),
            AgeBand(18, 120),
            "No duty to report.",
            contact,
            (door,),
            (),
            desks or None,
        )
        return sign_record(body, self.key)

    @property
    def card_id(self) -> bytes:
        return record_id(CARD, self.key.public)

    async def live(self, clock: Clock) -> None:
        """Answer offers for as long as the simulation runs."""
        habits = self.habits
        self.gate = DoorGate(DoorRules("open", habits.at_once, habits.per_day, habits.rest_minutes), clock)
        gate = self.gate
        async with trio.open_nursery() as nursery:
            offers = Offers(
                clock,
                nursery,
                self._answer,
                lambda: gate.takes_offers(self.talking + offers.taken),
                lambda attempt, until_ms: None,
            )
            self.offers = offers
            async for offered in offers.news:
                if not offered.over:
                    self.rung += 1
                    nursery.start_soon(self._consider, offers, offered)

    async def _consider(self, offers: Offers, offered: Offered) -> None:
        chance = self.random.random()
        if chance < self.habits.away:
            return
        await trio.sleep(self.random.lognormvariate(0, 0.6) * self.habits.reaction)
        if offered.over or self.talking:
            return
        if chance < self.habits.away + self.habits.declines:
            await offers.decline(offered)
        else:
            await offers.take(offered)

    async def _answer(self, offer: Offer, answer: OfferAnswer) -> None:
        await trio.sleep(self.random.uniform(0.5, 1.5))
        channel = self.answers.get(offer.attempt)
        if channel is not None:
            channel.send_nowait(answer)

    async def talk(self) -> None:
        """One conversation, from the Welcome to the goodbye and the rest after it."""
        assert self.gate is not None
        self.talking += 1
        self.gate.began()
        await trio.sleep(self.random.lognormvariate(0, 0.5) * self.habits.talk_minutes * 60)
        self.talking -= 1
        self.gate.ended()
