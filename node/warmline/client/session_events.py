"""What a driver tells besides the machine's own events, and every event as a plain dictionary."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from warmline_protocol.session.events import Event


@dataclass(frozen=True, slots=True)
class HelloHeld:
    """A node holds the Hello; whether anybody reads it is not known."""

    node: str


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """Nobody has answered for so long."""

    seconds: int


@dataclass(frozen=True, slots=True)
class QueueLost:
    """A node no longer has one of this side's queues."""

    node: str


@dataclass(frozen=True, slots=True)
class FeedbackReady:
    """When this is over, one answer about it can be given that nobody can tie to it."""


@dataclass(frozen=True, slots=True)
class FeedbackNone:
    """No feedback will be possible, and so this supporter does not count as verified here. ``why``: no grant, no
    voucher, issuer away, refused, no answer."""

    why: str


DriverEvent: TypeAlias = HelloHeld | StillWaiting | QueueLost | FeedbackReady | FeedbackNone
SessionEvent: TypeAlias = Event | DriverEvent


def to_json(event: SessionEvent) -> dict[str, Any]:
    """A plain dictionary: the event's name in snake case and its fields, bytes as hex."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    return {"event": name} | {key: _plain(value) for key, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return list(value) if isinstance(value, tuple) else value
