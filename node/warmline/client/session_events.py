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


DriverEvent: TypeAlias = HelloHeld | StillWaiting | QueueLost
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
