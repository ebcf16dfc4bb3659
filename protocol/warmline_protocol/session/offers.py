"""What stands at a door besides a Hello: thin offers, the news that one is over, and introductions by a desk.

*Talk to someone now* asks three supporters at once, so it asks with as little as possible: an ``Offer`` holds
languages, an age band and one topic, a time, and where to answer. Whoever takes it is sent a ``Hello`` with the same
attempt id, which their client lets in without asking again; name and first line are in that Hello and no earlier. The
others get an ``OfferOver``. Each of the three has an attempt id and a secret of its own, so that none of them can end
or answer the offer of another, and two who compare notes find nothing to compare.

An ``Introduced`` comes from a colleague of a desk: somebody who will knock with this word. What makes it good is that
its key belongs to a card on that desk's rota; whoever hears it checks that.

All are one cell sealed like a Hello. The answer is ``Taken`` or ``Declined``, in one cell to the queue that was named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from warmline_protocol import limits
from warmline_protocol.codec import encode
from warmline_protocol.errors import MalformedError, RemoteError, UsageError
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.records.text import check_language, check_topic
from warmline_protocol.session import cells, xwing
from warmline_protocol.session.cells import Bundle, Draw, Kind
from warmline_protocol.session.hello import (
    ANSWER_LABEL,
    Address,
    Declined,
    Hello,
    answer_key,
    open_at_door,
    seal_for_door,
)
from warmline_protocol.wire import U53, Bytes16, Bytes32, OneOf, Range, Size, from_wire, message, to_wire

ANSWERED, LEFT, LATE = "answered", "left", "late"
Language = Annotated[str, Size(2, 12)]
Years = Annotated[int, Range(limits.AGE_MIN, 120)]


@message("offer")
@dataclass(frozen=True, slots=True)
class Offer:
    """Would you talk to somebody now? Nobody is named. ``topic`` is a tag or empty."""

    attempt: Bytes16
    reply_secret: Bytes32
    reply: Address
    languages: Annotated[tuple[Language, ...], Size(0, 4)]
    age_low: Years
    age_high: Years
    topic: Annotated[str, Size(0, 32)]
    until_ms: U53

    def __post_init__(self) -> None:
        for tag in self.languages:
            check_language(tag)
        if self.topic:
            check_topic(self.topic)
        if self.age_low > self.age_high:
            raise UsageError("an age band that ends before it begins", hint="Write the younger age first.")


@message("offer-over")
@dataclass(frozen=True, slots=True)
class OfferOver:
    """The offer is over, and nobody did anything wrong: somebody answered first, the person left, or time went by."""

    attempt: Bytes16
    why: Annotated[str, OneOf(ANSWERED, LEFT, LATE)]


@message("introduced")
@dataclass(frozen=True, slots=True)
class Introduced:
    """A colleague of ``desk`` sends somebody to the owner of ``card``: whoever knocks with this word until then."""

    desk: Bytes32
    card: Bytes32
    word: Bytes16
    until_ms: U53
    key: Bytes32
    signature: Annotated[bytes, Size(64, 64)]

    def check(self, card: bytes) -> None:
        """Raise :class:`BadSignatureError` unless ``key`` signed it, MalformedError when it is for another card."""
        if self.card != card:
            raise MalformedError("an introduction to somebody else")
        verify(self.key, "introduced", _introduction(self.desk, self.card, self.word, self.until_ms), self.signature)


@message("taken")
@dataclass(frozen=True, slots=True)
class Taken:
    """Yes: say Hello with the same attempt id."""

    attempt: Bytes16


AtDoor: TypeAlias = Hello | Offer | OfferOver | Introduced
_AT_DOOR: tuple[type[AtDoor], ...] = (Hello, Offer, OfferOver, Introduced)
OfferAnswer: TypeAlias = Taken | Declined
_OFFER_ANSWERS: tuple[type[OfferAnswer], ...] = (Taken, Declined)


def introduce(key: SigningKey, desk: bytes, card: bytes, word: bytes, until_ms: int) -> Introduced:
    """Signed with the delegated key of whoever introduces; ``desk`` and ``card`` are record ids."""
    signature = key.sign("introduced", _introduction(desk, card, word, until_ms))
    return Introduced(desk, card, word, until_ms, key.public, signature)


def _introduction(desk: bytes, card: bytes, word: bytes, until_ms: int) -> bytes:
    return encode([desk, card, word, until_ms])


def seal_at_door(said: AtDoor, contact: bytes) -> bytes:
    """One cell for the door whose card shows the 1216-byte ``contact`` key."""
    return seal_for_door(to_wire(said), contact)


def read_at_door(cell: bytes, keys: Sequence[xwing.SealingKey]) -> tuple[AtDoor, int]:
    """What a door's cell says and which of ``keys`` opened it; :class:`MalformedError` for anything else."""
    body, index = open_at_door(cell, keys)
    return from_wire(body, _AT_DOOR), index


def seal_offer_answer(answer: OfferAnswer, reply_secret: bytes, draw: Draw) -> bytes:
    """One cell for the queue that the offer named."""
    (cell,) = cells.seal(
        Bundle(Kind.ANSWER, 0, 0, draw(8), to_wire(answer)), answer_key(reply_secret).key, ANSWER_LABEL, draw
    )
    return cell


def read_offer_answer(cell: bytes, reply_secret: bytes) -> OfferAnswer | None:
    """The answer in a cell of the offer's queue; None for what is no answer to it."""
    fragment = cells.open_any(cell, (answer_key(reply_secret),), ANSWER_LABEL)
    bundle = None if fragment is None else cells.Joiner().add(fragment)
    if bundle is None or bundle.kind is not Kind.ANSWER:
        return None
    try:
        return from_wire(bundle.payload, _OFFER_ANSWERS)
    except RemoteError:
        return None
