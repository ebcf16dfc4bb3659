"""A week of a line: rotas, seekers who come when people come, and the real search between them.

The network is a few seconds here and there: a queue, a circuit, a cell. Everything that decides (who is awake, whose
turn it is, when an offer ends, who is full or resting) is the code that ships.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import trio
import trio._core._run as trio_run
from trio.testing import MockClock

from warmline.client.awake import Awake, who_is_awake
from warmline.client.matching import Collection, Holding, Supporter, Wanted
from warmline.client.now import AWAY, BUSY, DECLINED, TAKEN, Search, Yes
from warmline.env import SeededRng
from warmline_protocol import limits
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.card import AgeBand
from warmline_protocol.records.desk import Desk, Shift, ZoneRota
from warmline_protocol.records.envelope import DESK, OpenedRecord, open_record, record_id, sign_record
from warmline_protocol.records.rota import WEEK_MS, quarters, watches
from warmline_protocol.records.schedule import Window
from warmline_protocol.session.offers import Offer, OfferAnswer, OfferOver, Taken

from .people import Habits, Helper

START_MS = 1_795_392_000_000
"""Monday, 23 November 2026, 00:00 UTC."""
ZONES = (
    "Europe/Lisbon",
    "America/Sao_Paulo",
    "Pacific/Auckland",
    "Asia/Kolkata",
    "America/Los_Angeles",
    "Africa/Nairobi",
)
EVENING_UTC = (22, 1, 8, 16, 5, 19)
"""When it is about ten in the evening in each of the zones: people come in their evenings."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated. Each supporter takes ``shifts`` a week, in their own evenings, mornings and noons."""

    supporters: int = 24
    zones: int = 3
    shifts: int = 3
    shift_hours: float = 2.0
    seekers_per_hour: float = 2.0
    days: int = 7
    seed: int = 7
    habits: Habits = field(default_factory=Habits)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seeker: hour of the week, who was on duty, seconds to a human (None: none), and how it ended."""

    hour: float
    on_duty: int
    seconds: float | None
    end: str
    asked: int


class VirtualClock:
    def utc_ms(self) -> int:
        return START_MS + round(trio.current_time() * 1000)


@dataclass(eq=False, slots=True)
class SimRinging:
    """One offer on its way to a helper."""

    town: Town
    helper: Helper
    attempt: bytes
    told: str = ""

    async def left(self) -> bool:
        await trio.sleep(self.town.random.uniform(1.5, 4.0))
        if not self.told and self.helper.present and self.helper.offers is not None:
            until = self.town.clock.utc_ms() + limits.OFFER_MS
            self.helper.offers.came(Offer(self.attempt, bytes(32), b"queue", ("en",), 18, 120, "loneliness", until))
        return True

    async def answer(self) -> str:
        tell, heard = trio.open_memory_channel[OfferAnswer](4)
        self.helper.answers[self.attempt] = tell
        try:
            said = await heard.receive()
        finally:
            del self.helper.answers[self.attempt]
        return TAKEN if isinstance(said, Taken) else {"busy": BUSY, "declined": DECLINED}.get(said.why, AWAY)

    def over(self, why: str) -> None:
        if not self.told:
            self.told = why
            self.town.nursery.start_soon(self._tell, why)

    async def _tell(self, why: str) -> None:
        await trio.sleep(self.town.random.uniform(0.5, 2.0))
        if self.helper.offers is not None:
            self.helper.offers.ended(OfferOver(self.attempt, why))


class Town:
    """Helpers, their desks, and the seekers of some days."""

    def __init__(self, plan: Plan, nursery: trio.Nursery) -> None:
        self.plan = plan
        self.nursery = nursery
        self.random = random.Random(plan.seed)
        self.rng = SeededRng(plan.seed)
        self.clock = VirtualClock()
        self.outcomes: list[Outcome] = []
        self.helpers = [self._helper(number) for number in range(plan.supporters)]
        self.desks = self._rotas()
        self._by_card = {helper.card_id: helper for helper in self.helpers}
        self._collection: Collection | None = None
        self._collected_ms = 0
        self._live = 0
        self._ended = trio.Event()

    def _helper(self, number: int) -> Helper:
        key = SigningKey(self.rng.bytes(32))
        zone = ZONES[number % self.plan.zones]
        return Helper(f"Peer {number}", zone, key, self.plan.habits, random.Random(f"{self.plan.seed} {number}"))

    # -- rotas

    def _rotas(self) -> list[tuple[SigningKey, Desk]]:
        """Desks of up to 40 people; everybody takes evenings of their own zone, and now and then a morning."""
        desks = []
        for start in range(0, len(self.helpers), 40):
            group, owner = self.helpers[start : start + 40], SigningKey(self.rng.bytes(32))
            rota = []
            for zone in sorted({helper.zone for helper in group}):
                shifts = [
                    shift for place, helper in enumerate(group) if helper.zone == zone for shift in self._shifts(place)
                ]
                rota.append(ZoneRota(zone, tuple(dict.fromkeys(shifts))))
            people = tuple(helper.card_id for helper in group)
            body = Desk(
                owner.public,
                f"desk-{start // 40}",
                START_MS,
                START_MS + limits.DESK_LIFE_MS,
                f"Desk {start // 40}",
                "",
                ("en",),
                ("loneliness",),
                AgeBand(18, 120),
                people,
                tuple(rota),
            )
            desks.append((owner, body))
        return desks

    def _shifts(self, place: int) -> list[Shift]:
        """The day and hour are left to those who take them: what a community agrees on, but no better than that."""
        length = round(self.plan.shift_hours * 4)
        days = self.random.sample(range(7), min(7, self.plan.shifts))
        hours = [self.random.choice((7, 12, 18, 19, 20, 21, 22)) for _ in days]
        return [Shift(day, hour * 4, length, (place,)) for day, hour in zip(days, hours, strict=True)]

    def collection(self) -> Collection:
        """What the directory holds now; desks and cards are signed anew once a day."""
        now = self.clock.utc_ms()
        if self._collection is None or now - self._collected_ms > limits.CARD_LIFE_MS // 7:
            records: list[OpenedRecord] = []
            self.desks = [(key, _renewed(desk, now)) for key, desk in self.desks]
            for owner, desk in self.desks:
                records.append(open_record(sign_record(desk, owner)))
            for helper in self.helpers:
                ids = tuple(_desk_id(desk) for _, desk in self.desks if helper.card_id in desk.people)
                records.append(open_record(helper.card(ids, now, limits.CARD_LIFE_MS)))
            self._collection = Collection()
            self._collection.add(Holding("node", "one", tuple(records), None))
            self._collected_ms = now
        return self._collection

    async def _keep_presence(self, helper: Helper) -> None:
        """Come to the shifts on the rota, but for some."""
        window = Window(START_MS, START_MS + self.plan.days * 86_400_000)
        for _, desk in self.desks:
            for watch in watches(desk, window):
                if helper.card_id in watch.people and helper.random.random() >= self.plan.habits.no_show:
                    await trio.sleep(max(0.0, (watch.start - self.clock.utc_ms()) / 1000))
                    helper.present = True
                    helper.on_duty_s += (watch.end - watch.start) / 1000
                    await trio.sleep(max(0.0, (watch.end - self.clock.utc_ms()) / 1000))
                    helper.present = False

    # -- seekers

    async def run(self) -> None:
        """Everything until the last seeker has gone."""
        for helper in self.helpers:
            self.nursery.start_soon(helper.live, self.clock)
            self.nursery.start_soon(self._keep_presence, helper)
        end = self.plan.days * 86_400
        while (at := trio.current_time()) < end:
            # Thinning: arrivals at the highest rate, some of which nobody makes.
            await trio.sleep(self.random.expovariate(2 * self.plan.seekers_per_hour / 3600))
            if self.random.random() < _tide(at) / 2:
                self._live += 1
                self.nursery.start_soon(self._seek)
        while self._live:
            await self._ended.wait()
        self.nursery.cancel_scope.cancel()

    async def _seek(self) -> None:
        began = trio.current_time()
        awake = who_is_awake(self.collection(), Wanted(("loneliness",), ("en",)), self.clock.utc_ms())
        patience = 60.0 + self.random.expovariate(1 / (self.plan.habits.patience_minutes * 60))
        search: Search[Supporter] = Search(awake.tiers, self._ring, rng=self.rng, key=lambda who: who.record.id)
        reached = False
        with trio.move_on_after(patience):
            reached = await self._until_somebody(search, awake)
        seconds = trio.current_time() - began if reached else None
        end = "reached" if reached else "left" if awake.on_duty else "nobody on duty"
        self.outcomes.append(Outcome(began / 3600, len(awake.on_duty), seconds, end, search.asked))
        self._live -= 1
        ended, self._ended = self._ended, trio.Event()
        ended.set()

    async def _until_somebody(self, search: Search[Supporter], awake: Awake) -> bool:
        while True:
            yes = await search.run()
            if yes is None:
                if not awake.on_duty:
                    return False  # a room, a call back, a helpline: said at once, and nobody waits for nobody
                await trio.sleep(self.random.uniform(5, 20))  # the person reads, and chooses to wait
                awake = who_is_awake(self.collection(), Wanted(("loneliness",), ("en",)), self.clock.utc_ms())
                search.again(awake.tiers)
                continue
            if await self._welcomed(yes):
                return True

    async def _welcomed(self, yes: Yes[Supporter]) -> bool:
        helper = self._by_card[yes.who.record.id]
        if self.random.random() < self.plan.habits.vanishes:
            await trio.sleep(limits.OFFER_CLAIM_MS / 1000)
            yes.ringing.over("late")
            return False
        await trio.sleep(self.random.uniform(1.0, 3.0))  # the Hello, at their door
        assert helper.offers is not None
        helper.offers.claimed(yes.attempt)
        self.nursery.start_soon(helper.talk)
        await trio.sleep(self.random.uniform(1.0, 3.0))  # the Welcome
        return True

    def _ring(self, who: Supporter) -> SimRinging:
        return SimRinging(self, self._by_card[who.record.id], self.rng.bytes(16))


def _renewed(desk: Desk, now_ms: int) -> Desk:
    return replace(desk, seq=now_ms, not_after=now_ms + limits.DESK_LIFE_MS)


def _desk_id(desk: Desk) -> bytes:
    return record_id(DESK, desk.owner, desk.slug)


def _tide(seconds: float) -> float:
    """How many come at this hour, 1 on average and 2 at most: a flat part, and each zone's evening."""
    hour = seconds / 3600 % 24
    evenings = [math.exp(-(((hour - peak + 12) % 24 - 12) ** 2) / 8) for peak in EVENING_UTC]
    return min(2.0, 0.55 + 1.3 * sum(evenings) / len(evenings) * 1.7)


def covered(desks: Sequence[Desk], days: int) -> float:
    """The share of quarter hours in which a rota names somebody."""
    window = Window(START_MS, START_MS + min(WEEK_MS, days * 86_400_000))
    found = [watch for desk in desks for watch in watches(desk, window)]
    counts = quarters(found, window.start, (window.end - window.start) // limits.QUARTER_MS)
    return sum(count > 0 for count in counts) / len(counts)


async def simulate(plan: Plan) -> Town:
    """The days of ``plan``; the caller brings the clock."""
    async with trio.open_nursery() as nursery:
        town = Town(plan, nursery)
        await town.run()
    return town


def run(plan: Plan) -> Town:
    """The same from the same seed, to the event."""
    trio_run._r.seed(str(plan.seed))  # the order of tasks that are ready at the same moment
    return trio.run(simulate, plan, clock=MockClock(autojump_threshold=0))
