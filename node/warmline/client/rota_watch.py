"""What a supporter on duty knows of their desks: when they are due, who their colleagues are, who may introduce people.

Read again now and then from the nodes' snapshots, like everything that is searched: nobody is asked about anybody.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import trio

from warmline.client.awake import agreeing
from warmline.client.line import Line
from warmline.client.matching import Collection, FoundDesk, Wanted
from warmline_protocol.errors import RemoteError, UsageError, WarmlineError
from warmline_protocol.records.card import Card
from warmline_protocol.records.envelope import OpenedRecord
from warmline_protocol.records.rota import Watch, next_watch, present_watch
from warmline_protocol.session.offers import Introduced

log = logging.getLogger("warmline.client")

AGAIN: Final = 15 * 60.0
RETRY: Final = 60.0
"""Seconds between two looks at the rotas, and after one that failed."""


@dataclass(frozen=True, slots=True)
class Due:
    """A shift of the supporter's own: running where ``now``, else the next one."""

    desk: str
    watch: Watch
    now: bool


class RotaWatch:
    """Obtained as ``Duty.rotas``. Knows nothing until the first look is over."""

    def __init__(self, line: Line, own: bytes) -> None:
        self._line = line
        self._own = own
        self._desks: list[FoundDesk] = []
        self._cards: dict[bytes, OpenedRecord] = {}
        self._looked = trio.Event()

    async def run(self) -> None:
        """Look now, and again every quarter of an hour."""
        while True:
            pause = AGAIN
            try:
                collection, _ = await self._line.finder.collect(Wanted())
                self.learn(collection)
            except WarmlineError as error:
                log.info("the rotas could not be read: %s", error)
                pause = RETRY
            await trio.sleep(pause * self._line.client.rng.uniform(0.8, 1.0))

    def learn(self, collection: Collection) -> None:
        """Take what was heard for what is so."""
        now = self._line.client.clock.utc_ms()
        records = {each.id: each for each in collection.records(now) if isinstance(each.body, Card)}
        cards = {key: each.body for key, each in records.items() if isinstance(each.body, Card)}
        self._desks = [each for each in collection.desks(now) if self._own in agreeing(each, cards)]
        listed = {card for each in self._desks for card in agreeing(each, cards)}
        self._cards = {key: record for key, record in records.items() if key in listed}
        self._looked.set()

    async def wait_known(self) -> None:
        """Until the rotas were read once."""
        await self._looked.wait()

    def due(self) -> list[Due]:
        """The supporter's running shifts, or else the next one of each desk, soonest first."""
        now = self._line.client.clock.utc_ms()
        found = []
        for each in self._desks:
            running = present_watch(each.desk, now, self._own)
            watch = running or next_watch(each.desk, now, [self._own])
            if watch is not None:
                found.append(Due(each.desk.name, watch, running is not None))
        return sorted(found, key=lambda due: due.watch.start)

    def colleague(self, name: str) -> tuple[OpenedRecord, Card, bytes]:
        """A colleague by name or the beginning of a card's id, with a desk that both are on."""
        found = []
        for key, record in sorted(self._cards.items()):
            card = record.body
            if key == self._own or not isinstance(card, Card):
                continue
            if card.name.casefold() == name.casefold() or (len(name) >= 6 and key.hex().startswith(name)):
                desk = next(each.record.id for each in self._desks if key in each.desk.people)
                found.append((record, card, desk))
        if len(found) == 1:
            return found[0]
        names = sorted(
            each.body.name for key, each in self._cards.items() if key != self._own and isinstance(each.body, Card)
        )
        raise UsageError(
            f"{'nobody' if not found else 'more than one'} of your desk is called {name!r:.40}",
            hint=f"Your colleagues: {', '.join(names) or 'nobody who has a card out'}.",
        )

    def introducer(self, said: Introduced) -> tuple[str, str] | None:
        """The desk and the name of the colleague who made an introduction; None where it proves nothing."""
        try:
            said.check(self._own)
        except RemoteError:
            return None
        for each in self._desks:
            if each.record.id == said.desk:
                for key, record in sorted(self._cards.items()):
                    if record.key == said.key and key in each.desk.people and isinstance(record.body, Card):
                        return each.desk.name, record.body.name
        return None


__all__ = ["Due", "RotaWatch"]
