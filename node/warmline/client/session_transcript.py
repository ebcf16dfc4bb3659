"""What was said, in the memory of this process: for the closing screen, a report, an export, and a kept conversation.

It dies with the conversation unless the person kept that, and then a day later. Bounded, oldest lines first out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import StoreError
from warmline_protocol.records.text import shown_time
from warmline_protocol.session.events import Event, MessageState, TextReceived

LINES_MAX = 5000


@dataclass(frozen=True, slots=True)
class Line:
    """``fate`` is the last state of one's own message; ``signed`` says that the supporter's signature held."""

    number: int
    id: bytes
    mine: bool
    name: str
    text: str
    at_ms: int
    fate: str = ""
    signed: bool = False


class Transcript:
    """Lines by number, and which of them changed since they were last saved."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self._lines = {line.number: line for line in lines}
        self._by_id = {line.id: line.number for line in self._lines.values()}
        self._next = max(self._lines, default=0) + 1
        self._changed: set[int] = set()

    @property
    def lines(self) -> list[Line]:
        """Oldest first."""
        return list(self._lines.values())

    def said(self, id: bytes, name: str, text: str, at_ms: int) -> None:
        """One's own words."""
        self._add(Line(self._next, id, True, name, text, at_ms, "waiting"))

    def hear(self, events: Sequence[Event]) -> None:
        """Take in what is worth remembering of these."""
        for event in events:
            if isinstance(event, TextReceived) and event.id not in self._by_id:
                line = Line(self._next, event.id, False, event.name, event.text, event.sent_ms, signed=event.signed)
                self._add(line)
            elif isinstance(event, MessageState) and event.id in self._by_id:
                number = self._by_id[event.id]
                self._lines[number] = replace(self._lines[number], fate=event.state)
                self._changed.add(number)

    def _add(self, line: Line) -> None:
        self._lines[line.number] = line
        self._by_id[line.id] = line.number
        self._changed.add(line.number)
        self._next += 1
        while len(self._lines) > LINES_MAX:
            gone = self._lines.pop(next(iter(self._lines)))
            del self._by_id[gone.id]

    def take_changed(self) -> list[Line]:
        """What is to be saved."""
        changed, self._changed = self._changed, set()
        return [self._lines[number] for number in sorted(changed) if number in self._lines]

    def all_changed(self) -> None:
        """From now on it is saved: all of it is new there."""
        self._changed = set(self._lines)


def pack_line(line: Line) -> bytes:
    """A line for the vault."""
    return encode(asdict(line))


def unpack_line(data: bytes) -> Line:
    """The inverse."""
    fields: Any = decode(data)
    if not isinstance(fields, dict):
        raise StoreError("a kept line that is not one")
    return Line(**fields)


def as_text(lines: Sequence[Line], title: str) -> str:
    """For people: one paragraph a line, times in UTC."""
    rows = [title, ""]
    for line in lines:
        when, text = shown_time(line.at_ms).strftime("%Y-%m-%d %H:%M:%S"), line.text.replace("\n", "\n    ")
        fate = f"   [{line.fate}]" if line.mine and line.fate != "delivered" else ""
        rows.append(f"{when}  {'You' if line.mine else line.name}: {text}{fate}")
    return "\n".join(rows) + "\n"


def as_json(lines: Sequence[Line], title: str) -> str:
    """For programs: the same as JSON."""
    rows = [{**asdict(line), "id": line.id.hex()} for line in lines]
    return json.dumps({"conversation": title, "lines": rows}, ensure_ascii=False, indent=1) + "\n"
