"""Who opens a group's next room when its host cannot: the cards that its listing names, seen from both sides."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import trio

from warmline.client.line import Line
from warmline.client.matching import Wanted
from warmline.client.session import Contact
from warmline_protocol.errors import WarmlineError
from warmline_protocol.records.card import Card
from warmline_protocol.records.listing import ROOM, Listing

log = logging.getLogger("warmline.client")

LOOK_EVERY: Final = 900.0
"""Seconds between two looks at which groups name this supporter."""


@dataclass(frozen=True, slots=True)
class Heir:
    """A successor with a card out: whose door to knock at."""

    card_id: bytes
    name: str
    contact: Contact


async def heirs(line: Line, listing: Listing, named: bytes = b"") -> list[Heir]:
    """Successors of ``listing`` who can be knocked at, whom the host ``named`` first."""
    collection, _ = await line.finder.collect(Wanted())
    records = {each.id: each for each in collection.records(line.client.clock.utc_ms())}
    wanted = [each for each in (named, *listing.successors) if each in listing.successors and each != listing.host]
    found = []
    for card_id in dict.fromkeys(wanted):
        record = records.get(card_id)
        if record is not None and isinstance(record.body, Card):
            found.append(Heir(card_id, record.body.name, Contact.of(record.body, record.key, record.data)))
    return found


async def watch_inheritance(line: Line, card_id: bytes, listings: dict[bytes, Listing]) -> None:
    """Keep ``listings`` with those of others that name this card as a successor: people may knock for them here."""
    inherited: set[bytes] = set()
    while True:
        try:
            collection, _ = await line.finder.collect(Wanted())
        except WarmlineError as error:
            log.info("which groups name you as their successor is not known: %s", error)
        else:
            now = line.client.clock.utc_ms()
            mine = {
                each.id: each.body
                for each in collection.records(now)
                if isinstance(each.body, Listing) and each.body.kind == ROOM and card_id in each.body.successors
            }
            for gone in inherited - set(mine):
                listings.pop(gone, None)
            inherited = {each for each in mine if each in inherited or each not in listings}
            listings.update({each: mine[each] for each in sorted(inherited)})
        await trio.sleep(LOOK_EVERY * line.client.rng.uniform(0.8, 1.0))
