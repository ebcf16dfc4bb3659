"""What a room's member says to the host alone, in the log of all.

A ``Whisper`` holds cells under a key of the secret that came with the member's Hello: the others see that something was
whispered, its length in cells, and no more. The host's way back are the member's own reply queues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from warmline_protocol.errors import MalformedError
from warmline_protocol.session import cells
from warmline_protocol.session.cells import Bundle, Draw, Kind
from warmline_protocol.session.hello import Address
from warmline_protocol.session.keyschedule import EpochKey, derive
from warmline_protocol.session.messages import Whisper
from warmline_protocol.wire import Bytes16, OneOf, Size, from_wire, message, to_wire

_LABEL = "whisper"
VERBS = ("mute", "unmute", "remove")


@message("replies")
@dataclass(frozen=True, slots=True)
class Replies:
    """The member's own queues from now on: one of those that it named before is lost."""

    addresses: Annotated[tuple[Address, ...], Size(1, 2)]


@message("plea")
@dataclass(frozen=True, slots=True)
class Plea:
    """A co-facilitator asks the host's client to do this; only the host commits."""

    verb: Annotated[str, OneOf(*VERBS)]
    member: Bytes16


@message("consent")
@dataclass(frozen=True, slots=True)
class Consent:
    """The answer to ``Invited``: yes, and a Hello with that attempt follows; or no, and no reason is given."""

    aside: Bytes16
    yes: bool


Private: TypeAlias = Replies | Plea | Consent
_PRIVATE: tuple[type[Private], ...] = (Replies, Plea, Consent)


def _key(reply_secret: bytes) -> EpochKey:
    return EpochKey(0, derive(reply_secret, _LABEL))


def seal_whisper(word: Private, reply_secret: bytes, draw: Draw) -> Whisper:
    """Only the host, and only for this member, opens it."""
    bundle = Bundle(Kind.CONTROL, 0, 0, draw(8), to_wire(word))
    return Whisper(cells.seal(bundle, _key(reply_secret).key, _LABEL, draw))


def open_whisper(whisper: Whisper, reply_secret: bytes) -> Private:
    """The inverse; :class:`MalformedError` for anything else."""
    joiner = cells.Joiner()
    for cell in whisper.cells:
        fragment = cells.open_any(cell, (_key(reply_secret),), _LABEL)
        bundle = None if fragment is None else joiner.add(fragment)
        if bundle is not None and bundle.kind is Kind.CONTROL:
            return from_wire(bundle.payload, _PRIVATE)
    raise MalformedError("a whisper that is for nobody here")
