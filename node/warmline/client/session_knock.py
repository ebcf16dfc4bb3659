"""Who is at a door, and the keys that their Hellos are opened with."""

from __future__ import annotations

from dataclasses import dataclass, field

from warmline.client.identity import ContactSecret
from warmline.client.session_door_lane import DoorLane
from warmline_protocol.session.hello import Hello
from warmline_protocol.session.xwing import SealingKey


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
