"""Cards: what a supporter says of themselves to strangers, and how a stranger says hello.

A card holds no real name, no place and no image: a display name, 16 random bytes from which an avatar is drawn, and
words. The contact key lives as long as the card and is replaced with it (see session first contact).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.records.text import check_language, check_text, check_topic, check_unique
from warmline_protocol.wire import U53, Bytes16, Bytes32, Range, Size

Owner = Annotated[bytes, Size(20, 32)]
"""A wallet (20 bytes) or, without one, an Ed25519 key (32 bytes)."""
Topics = Annotated[tuple[Annotated[str, Size(2, 32)], ...], Size(1, 8)]
Languages = Annotated[tuple[Annotated[str, Size(2, 12)], ...], Size(1, 6)]


@dataclass(frozen=True, slots=True)
class AgeBand:
    """Inclusive years of age that a person or a group feels able to support. 18 and over in this version."""

    low: Annotated[int, Range(limits.AGE_MIN, 120)]
    high: Annotated[int, Range(limits.AGE_MIN, 120)]

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise UsageError("an age band that ends before it begins", hint="Write the younger age first.")

    def overlaps(self, other: AgeBand) -> bool:
        return self.low <= other.high and other.low <= self.high

    def __str__(self) -> str:
        return f"{self.low}+" if self.high == 120 else f"{self.low}-{self.high}"


@dataclass(frozen=True, slots=True)
class ContactKey:
    """X-Wing public key that first-contact messages are sealed to; ``id`` names it without showing it."""

    id: Bytes16
    public: Annotated[bytes, Size(limits.CONTACT_KEY_SIZE, limits.CONTACT_KEY_SIZE)]
    not_after: U53


@dataclass(frozen=True, slots=True)
class Door:
    """A first-contact queue on some node. ``open`` is false where only people who were given a word may knock."""

    node: NodeAddress
    door: Bytes16
    open: bool


@dataclass(frozen=True, slots=True)
class Card:
    """Kind ``card``; an owner has one. ``credentials`` are the type ids that the supporter claims.

    ``desks`` are the record ids of the rotas that the supporter agreed to be on: a rota that names a card which does
    not name it back counts for nothing.
    """

    owner: Owner
    seq: U53
    not_after: U53
    name: Annotated[str, Size(1, 60)]
    avatar: Bytes16
    about: Annotated[str, Size(0, 1200)]
    languages: Languages
    topics: Topics
    age: AgeBand
    mandated_reporter: Annotated[str, Size(1, 400)]
    contact: ContactKey
    doors: Annotated[tuple[Door, ...], Size(1, 3)]
    credentials: Annotated[tuple[Bytes32, ...], Size(0, 8)] = ()
    desks: Annotated[tuple[Bytes32, ...], Size(1, 4)] | None = None

    def __post_init__(self) -> None:
        check_owner(self.owner)
        check_text("name", self.name)
        check_text("about", self.about, lines=True)
        check_text("mandated_reporter", self.mandated_reporter)
        check_tags(self.languages, self.topics)
        check_unique("credentials", self.credentials)
        check_unique("desks", self.desks or ())
        if self.contact.not_after < self.not_after:
            raise UsageError("a card that outlives its contact key", hint="Make a new contact key with the card.")


def check_owner(owner: bytes) -> None:
    if len(owner) not in (20, 32):
        raise UsageError("an owner that is neither a wallet nor a key")


def check_tags(languages: tuple[str, ...], topics: tuple[str, ...]) -> None:
    for tag in languages:
        check_language(tag)
    for tag in topics:
        check_topic(tag)
    check_unique("languages", languages)
    check_unique("topics", topics)
