"""Who is at a door, the keys that their Hellos are opened with, and the answers that are left for them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

import trio

from warmline.client.identity import ContactSecret
from warmline.client.session_client import Client, unpack_address
from warmline.client.session_door_lane import DoorLane
from warmline.client.session_outlets import offer
from warmline_protocol import limits
from warmline_protocol.errors import RemoteError, WarmlineError
from warmline_protocol.session.hello import Declined, Hello, seal_answer
from warmline_protocol.session.messages import clean
from warmline_protocol.session.mlswire import lifetime_of_key_package
from warmline_protocol.session.offers import AtDoor, Offer, OfferAnswer, seal_offer_answer
from warmline_protocol.session.xwing import SealingKey

log = logging.getLogger("warmline.client")

DECLINE_AFTER: Final = (20.0, 90.0)
"""Seconds after which whom the door turns away is told so: about what a person takes."""
DECLINES_WAITING: Final = 64
EARLY_SPARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class ContactKey:
    """A contact key's private half; after ``not_after_ms`` it only answers ``stale``."""

    key: SealingKey
    not_after_ms: int

    @classmethod
    def of(cls, secret: ContactSecret) -> ContactKey:
        """From the supporter's identity."""
        return cls(secret.sealing_key(), secret.not_after)


@dataclass(frozen=True, slots=True)
class Knocking:
    """Somebody at the door. ``expected``: this client invited the attempt itself (:meth:`DoorKeeper.expect`), so it
    can be let in without asking. ``known`` is the name under which the supporter knows them."""

    attempt: bytes
    name: str
    avatar: bytes
    line: str
    listing: bytes
    expected: bool
    known: str
    hello: Hello = field(repr=False)
    _lane: DoorLane = field(repr=False)
    _seq: int = field(repr=False)

    @classmethod
    def by(cls, hello: Hello, lane: DoorLane, seq: int, *, expected: bool, known: str) -> Knocking:
        """From a Hello in a door's cell ``seq``; what is shown of it is clean."""
        name = clean(hello.name) if hello.name else ""
        line = clean(hello.line) if hello.line else ""
        avatar = hello.avatar.ljust(limits.AVATAR_SIZE, b"\0")
        return cls(hello.attempt, name, avatar, line, hello.listing, expected, known, hello, lane, seq)


class DoorAnswers:
    """Leaves answers in the queues that whoever is at the door named, best effort."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        self._client = client
        self._nursery = nursery
        self._waiting = 0

    def say(self, hello: Hello, why: str) -> None:
        """``declined``, ``busy`` or ``stale``; returns at once."""
        cells = seal_answer(Declined(hello.attempt, why), hello.reply_secret, self._client.rng.bytes)
        self._nursery.start_soon(self._leave, hello.replies, cells)

    def turn_away(self, hello: Hello, *, busy: bool) -> None:
        """Busy at once, or a no as late as a person might say it; where very many wait for that, not at all."""
        if busy:
            self.say(hello, "busy")
        elif self._waiting < DECLINES_WAITING:
            self._waiting += 1
            self._nursery.start_soon(self._decline_later, hello)

    async def say_to_offer(self, asked: Offer, answer: OfferAnswer) -> None:
        """Returns when it is left, or could not be."""
        cell = seal_offer_answer(answer, asked.reply_secret, self._client.rng.bytes)
        await self._leave((asked.reply,), (cell,))

    async def _decline_later(self, hello: Hello) -> None:
        await trio.sleep(self._client.rng.uniform(*DECLINE_AFTER))
        self._waiting -= 1
        self.say(hello, "declined")

    async def _leave(self, replies: tuple[bytes, ...], cells: tuple[bytes, ...]) -> None:
        with trio.move_on_after(3 * self._client.settings.request):
            try:
                await offer(self._client, [unpack_address(reply) for reply in replies], cells)
            except WarmlineError as error:
                log.debug("an answer could not be left: %s", type(error).__name__)


def ahead_s(hello: Hello, now_ms: int) -> float:
    """Seconds until the Hello's key package is good by this clock; 0 where it is, or where no waiting helps."""
    try:
        ahead = lifetime_of_key_package(hello.key_package)[0] * 1000 - now_ms
    except RemoteError:
        return 0.0
    return ahead / 1000 + EARLY_SPARE if 0 < ahead <= limits.CLOCK_SKEW_MS else 0.0


def replies_of(said: AtDoor) -> tuple[bytes, ...]:
    """The queues that something at the door wants its answer in."""
    if isinstance(said, Hello):
        return said.replies
    return (said.reply,) if isinstance(said, Offer) else ()
