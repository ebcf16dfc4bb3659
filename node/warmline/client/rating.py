"""The seeker's one answer when a conversation is over: sealed to two collectors, left at a drop of each, and forgotten.

Which two is drawn at random, and so is which of a collector's two nodes takes the cell. Each goes over a path of its
own. Nothing is kept: what could not be left is lost, and the person is told.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from warmline.client.feedback import SeekerSide, epochs_of
from warmline.client.session_client import Client
from warmline.scopes import sole_error
from warmline_protocol.errors import UnreachableError, UsageError, WarmlineError
from warmline_protocol.feedback.messages import Rating
from warmline_protocol.feedback.tokens import seal_rating
from warmline_protocol.records.collector import RELEASES, CollectorRecord

log = logging.getLogger("warmline.client")

COLLECTORS: Final = 2
WITHIN_S: Final = 45.0
"""Seconds for one drop, its path included."""


@dataclass(frozen=True, slots=True)
class Left:
    """How many of the collectors that were meant have it: both, or fewer."""

    reached: int
    meant: int


def can_rate(side: SeekerSide) -> bool:
    """Whether an answer could be left: there is a ticket, and collectors have drops for it."""
    return side.ticket is not None and bool(_ready(side, side.ticket.grant.epoch + 1))


async def rate(client: Client, side: SeekerSide, again: bool) -> Left:
    """Leave the answer to *I would talk to this person again*. UsageError where there is no ticket, or no longer.

    The ticket is gone afterwards, whatever came of it: asking twice would tell who hears both.
    """
    ticket, side.ticket = side.ticket, None
    if ticket is None:
        raise UsageError("no answer is possible", hint="There is one for each conversation that began with a token.")
    epochs = epochs_of(side.conduct)
    released = ticket.grant.epoch + 1
    chosen = client.rng.sample(_ready(side, released), COLLECTORS)
    if not chosen:
        raise UnreachableError("no collector has a drop for this answer", hint="It is not kept. Nothing else to do.")
    rating = await client.run_blocking(partial(ticket.rate, again, epochs, client.rng.bytes))
    slot = next(n for n in range(RELEASES) if epochs.slot(released, n) == rating.not_before_s)
    reached: list[bytes] = []
    async with trio.open_nursery() as nursery:
        for one in chosen:
            nursery.start_soon(_leave, client, one, rating, slot, reached)
    return Left(len(reached), len(chosen))


def _ready(side: SeekerSide, epoch: int) -> list[CollectorRecord]:
    return [one for one in side.collectors if one.drops_of(epoch) is not None]


async def _leave(client: Client, collector: CollectorRecord, rating: Rating, slot: int, reached: list[bytes]) -> None:
    """At one of the collector's nodes, or at the other where that one does not take it."""
    drops = collector.drops_of(rating.grant.epoch + 1)
    assert drops is not None
    cell = await client.run_blocking(partial(seal_rating, rating, collector.sheet.sealing))
    for node in client.rng.sample(list(drops.nodes), len(drops.nodes)):
        try:
            with trio.fail_after(WITHIN_S), sole_error():
                async with client.paths.path("drop", node) as path, client.queues_over(path) as queues:
                    await queues.append(drops.doors[slot], [cell])
        except (WarmlineError, trio.TooSlowError) as error:
            log.info("a drop did not take an answer: %s", type(error).__name__)
        else:
            reached.append(collector.owner)
            return
