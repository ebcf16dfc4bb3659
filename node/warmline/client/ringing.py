"""Offers on their way: one queue to be answered in and one cell at one door for each, and the news that it is over.

Every offer has a queue, an attempt id and a secret of its own. Two supporters who are asked for the same person cannot
tell that they were, and neither can speak for the other.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

import trio

from warmline.client.now import AWAY, BUSY, DECLINED, TAKEN
from warmline.client.session_client import Client
from warmline.client.session_lanes import Inlet, open_inlets
from warmline.client.session_seeking import Contact
from warmline_protocol import limits
from warmline_protocol.errors import UnreachableError, WarmlineError
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.card import AgeBand
from warmline_protocol.session.offers import Offer, OfferOver, Taken, read_offer_answer, seal_at_door

log = logging.getLogger("warmline.client")

LEAVE_WITHIN = 45.0
"""Seconds to make a queue and leave the offer, and again to say that it is over."""
_ANSWERS = {"declined": DECLINED, "busy": BUSY, "stale": DECLINED}


@dataclass(frozen=True, slots=True)
class Asked:
    """All that an offer says of a person. ``topic`` may be empty."""

    languages: tuple[str, ...]
    age: AgeBand
    topic: str


class DoorRinging:
    """One offer. Runs by itself in the nursery of :class:`DoorRinger`; nothing is awaited to end it."""

    def __init__(self, client: Client, contact: Contact, asked: Asked) -> None:
        self.attempt = client.rng.bytes(16)
        self._secret = client.rng.bytes(32)
        self._client = client
        self._contact = contact
        self._asked = asked
        self._known = trio.Event()
        self._answered = trio.Event()
        self._answer = AWAY
        self._over = trio.Event()
        self._why = ""
        self._door: QueueAddress | None = None

    async def left(self) -> bool:
        """Whether a door took it, once that is known."""
        await self._known.wait()
        return self._door is not None

    async def answer(self) -> str:
        """What they said; ``away`` where no door took the offer."""
        await self._answered.wait()
        return self._answer

    def over(self, why: str) -> None:
        """Enough: the queue goes, and they are told ``why`` unless they said no themselves."""
        self._why = self._why or why
        self._over.set()

    def claimed(self) -> None:
        """The Hello says the rest: the queue goes."""
        self._over.set()

    async def run(self) -> None:
        """From the queue to the farewell."""
        async with trio.open_nursery() as nursery:
            inlets: list[Inlet] = []
            try:
                with trio.fail_after(LEAVE_WITHIN):
                    inlets = await open_inlets(self._client, nursery, 1, self._deliver, lambda inlet: None)
                    await self._leave_offer(inlets[0].own.address)
            except (WarmlineError, trio.TooSlowError) as error:
                log.debug("an offer could not be left: %s", type(error).__name__)
                self._answered.set()
            self._known.set()
            await self._over.wait()
            await self._say_over()
            for inlet in inlets:
                await inlet.close()
            nursery.cancel_scope.cancel()

    async def _deliver(self, cells: list[tuple[int, bytes]], incarnation: bytes) -> None:
        for _, cell in cells:
            said = read_offer_answer(cell, self._secret)
            if said is None or said.attempt != self.attempt or self._answered.is_set():
                continue
            self._answer = TAKEN if isinstance(said, Taken) else _ANSWERS[said.why]
            self._answered.set()

    async def _leave_offer(self, reply: bytes) -> None:
        asked, client = self._asked, self._client
        until = client.clock.utc_ms() + limits.OFFER_MS
        said = Offer(
            self.attempt,
            self._secret,
            reply,
            asked.languages[:4],
            asked.age.low,
            asked.age.high,
            asked.topic,
            until,
        )
        cell = await client.run_blocking(partial(seal_at_door, said, self._contact.contact))
        doors = client.rng.sample(list(self._contact.doors), len(self._contact.doors))
        for door in doors:
            if self._over.is_set():
                return
            try:
                await self._append(door, cell)
            except WarmlineError:
                continue
            self._door = door
            return
        raise UnreachableError("none of the doors takes the offer")

    async def _say_over(self) -> None:
        if self._door is None or not self._why or self._answer in (DECLINED, BUSY):
            return
        client = self._client
        cell = await client.run_blocking(
            partial(seal_at_door, OfferOver(self.attempt, self._why), self._contact.contact)
        )
        with trio.move_on_after(LEAVE_WITHIN):
            try:
                await self._append(self._door, cell)
            except WarmlineError as error:
                log.debug("the end of an offer could not be told: %s", type(error).__name__)

    async def _append(self, door: QueueAddress, cell: bytes) -> None:
        async with self._client.paths.path("door", door.node) as path, self._client.queues_over(path) as queues:
            await queues.append(door.queue, [cell])


class DoorRinger:
    """Rings at doors; ``nursery`` runs what is on its way, and ends it when it is cancelled."""

    def __init__(self, client: Client, nursery: trio.Nursery, asked: Asked) -> None:
        self._client = client
        self._nursery = nursery
        self._asked = asked
        self._under_way = 0
        self._less = trio.Event()

    def ring(self, contact: Contact) -> DoorRinging:
        """Begin to offer."""
        ringing = DoorRinging(self._client, contact, self._asked)
        self._under_way += 1
        self._nursery.start_soon(self._run, ringing)
        return ringing

    async def wait_quiet(self) -> None:
        """Until every offer is over and its end was told."""
        while self._under_way:
            await self._less.wait()

    async def _run(self, ringing: DoorRinging) -> None:
        try:
            await ringing.run()
        finally:
            self._under_way -= 1
            less, self._less = self._less, trio.Event()
            less.set()


__all__ = ["Asked", "DoorRinger", "DoorRinging"]
