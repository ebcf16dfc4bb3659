"""A community's weekly programme as a TOML file, read whole or not at all.

People write these files by hand, so every problem names its line, its field and what to write instead, and all of
them are told at once.

``[defaults]`` holds what most groups share; each ``[[group]]`` may say otherwise.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from eth_hash.auto import keccak

from warmline_protocol import limits
from warmline_protocol.errors import ConfigError, LocalError, UsageError
from warmline_protocol.records.card import AgeBand, Door
from warmline_protocol.records.envelope import CARD, record_id
from warmline_protocol.records.listing import ONE_TO_ONE, ROOM, Listing, Slot
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.records.schedule import load_zone, parse_slot
from warmline_protocol.records.text import check_language, check_slug, check_text, check_topic
from warmline_protocol.records.toml_lines import Lines, Problem, syntax_problem
from warmline_protocol.wire import pack

FILE_MAX: Final = 512 * 1024
GROUPS_MAX: Final = 128
_PROBE_PEER: Final = "12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw"


class ListingFileError(ConfigError):
    """The file cannot be published; nothing of it was."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        count = len(self.problems)
        head = f"{count} problem{'s' if count > 1 else ''} in this file:\n"
        super().__init__(
            head + "\n".join(f"  {problem}" for problem in self.problems),
            hint="Mend what is named above and publish again; nothing was published.",
        )


@dataclass(frozen=True, slots=True)
class GroupDraft:
    """A group as its file says it, before it has an owner, a door and a time of signing."""

    line: int
    slug: str
    title: str
    summary: str
    kind: str
    topics: tuple[str, ...]
    languages: tuple[str, ...]
    zone: str
    slots: tuple[Slot, ...]
    capacity: int
    min_participants: int
    age: AgeBand
    facilitated_by: str
    co_facilitators: tuple[bytes, ...]
    successors: tuple[bytes, ...]
    rules: tuple[str, ...]
    accessibility: tuple[str, ...]
    opens: int | None
    closes: int | None

    def listing(self, owner: bytes, door: Door, now_ms: int) -> Listing:
        """The body to sign now. The host is the owner's card; others are named by their wallet or their card's id."""
        return Listing(
            owner,
            self.slug,
            now_ms,
            now_ms + limits.LISTING_LIFE_MS,
            self.title,
            self.summary,
            self.kind,
            self.topics,
            self.languages,
            self.zone,
            self.slots,
            self.capacity,
            self.min_participants,
            self.age,
            self.facilitated_by,
            record_id(CARD, owner),
            self.rules,
            self.accessibility,
            door,
            tuple(_card_of(who) for who in self.co_facilitators),
            tuple(_card_of(who) for who in self.successors),
            self.opens,
            self.closes,
        )


def read_listing_file(text: str) -> tuple[GroupDraft, ...]:
    """Every group of the file; :class:`ListingFileError` with all problems if anything at all is wrong."""
    if len(text.encode()) > FILE_MAX:
        raise ListingFileError([Problem(1, "file", "more than 512 KiB", "Split it into several files.")])
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ListingFileError([syntax_problem(text, error)]) from None
    return _File(tables, Lines(text)).read()


# --- reading -----------------------------------------------------------------------------------------------------


class _File:
    def __init__(self, tables: Mapping[str, Any], lines: Lines) -> None:
        self._tables = tables
        self._lines = lines
        self._problems: list[Problem] = []

    def read(self) -> tuple[GroupDraft, ...]:
        for name in sorted(set(self._tables) - {"defaults", "group"}):
            self._note(self._lines.of("", 0, name), name, "no such table", "Use [defaults] and [[group]] only.")
        defaults = self._tables.get("defaults", {})
        groups = self._tables.get("group", [])
        if not isinstance(defaults, dict):
            self._note(self._lines.of("", 0, "defaults"), "defaults", "not a table", "Write [defaults].")
            defaults = {}
        if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups) or not groups:
            self._note(1, "group", "no groups", "Begin each group with a line [[group]].")
            groups = []
        if len(groups) > GROUPS_MAX:
            self._note(1, "group", f"more than {GROUPS_MAX} groups", "Split the file.")
        self._names("defaults", 0, defaults, set(FIELDS) - {"id"})
        drafts = [self._group(index, group, defaults) for index, group in enumerate(groups)]
        self._check_ids(groups)
        if self._problems:
            raise ListingFileError(self._problems)
        return tuple(draft for draft in drafts if draft)

    def _group(self, index: int, group: Mapping[str, Any], defaults: Mapping[str, Any]) -> GroupDraft | None:
        before = len(self._problems)
        self._names("group", index, group, set(FIELDS))
        start = self._lines.of("group", index)
        values: dict[str, Any] = {"line": start}
        for name, field in FIELDS.items():
            values[field.into] = self._value(name, field, index, group, defaults)
        if len(self._problems) > before:
            return None
        draft = GroupDraft(**values)
        self._probe(draft, index)
        return draft

    def _value(
        self, name: str, field: _Field, index: int, group: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> Any:
        if name in group:
            line, raw = self._lines.of("group", index, name), group[name]
        elif name in defaults:
            line, raw = self._lines.of("defaults", 0, name), defaults[name]
        elif field.optional:
            return field.missing
        else:
            where = group.get("id", f"group {index + 1}")
            self._note(self._lines.of("group", index), name, f"missing in {where}", f"Add a line {field.example}")
            return None
        try:
            return field.read(raw)
        except LocalError as error:
            remedy = error.hint if error.hint != type(error).default_hint else f"Write it like {field.example}"
            self._note(line, name, str(error), remedy)
            return None

    def _names(self, table: str, index: int, given: Mapping[str, Any], known: set[str]) -> None:
        for name in sorted(set(given) - known):
            near = difflib.get_close_matches(name, sorted(known), 1)
            remedy = (
                f"Did you mean {near[0]}?" if near else "Remove it; known fields: " + ", ".join(sorted(known)) + "."
            )
            self._note(self._lines.of(table, index, name), name, "no such field", remedy)

    def _check_ids(self, groups: list[Mapping[str, Any]]) -> None:
        seen: dict[str, int] = {}
        for index, group in enumerate(groups):
            slug = group.get("id")
            if not isinstance(slug, str):
                continue
            line = self._lines.of("group", index, "id")
            if slug in seen:
                self._note(line, "id", f"{slug!r} is also the id in line {seen[slug]}", "Give each group its own id.")
            seen.setdefault(slug, line)

    def _probe(self, draft: GroupDraft, index: int) -> None:
        """The listing itself knows every rule: build one with a stand-in owner and door."""
        where = NodeAddress(_PROBE_PEER, (f"/ip4/127.0.0.1/tcp/1/p2p/{_PROBE_PEER}",))
        try:
            # Signed when the programme begins: how far ahead that is, is for the day on which it is signed.
            signed = max(1, min(each for each in (draft.opens, draft.closes, _NEVER) if each is not None))
            pack(draft.listing(bytes(20), Door(where, bytes(16), True), signed))
        except UsageError as error:
            message = str(error)
            named = re.match(r"Listing\.(\w+): ", message)
            name = _SPOKEN.get(named[1], named[1]) if named else _about(message)
            remedy = error.hint if error.hint != UsageError.default_hint else _remedy(message)
            line = self._lines.of("group", index, name)
            self._note(line, name, message.removeprefix(named[0]) if named else message, remedy)

    def _note(self, line: int, field: str, message: str, remedy: str) -> None:
        self._problems.append(Problem(line, field, message, remedy))


_NEVER: Final = 1 << 50
_SHARED: Final = ("min_participants", "facilitator", "capacity", "seats", "closes", "opens")
_SPOKEN: Final = {"slug": "id", "slots": "when"}


def _about(message: str) -> str:
    """The field that a rule about several fields is best mended in."""
    named = next((name for name in _SHARED if name in message), "group")
    return named.replace("facilitator", "capacity").replace("seats", "capacity")


def _remedy(message: str) -> str:
    if "above" in message:
        return "Shorten it, or list fewer."
    return "Write more, or add one." if "below" in message else "Change it."


# --- fields ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    into: str
    read: Callable[[Any], Any]
    example: str
    optional: bool = False
    missing: Any = None


def _string(raw: Any) -> str:
    if not isinstance(raw, str):
        raise UsageError(f"{raw!r:.40} is not text in quotes")
    return raw.strip()


def _text(field: str, *, lines: bool = False) -> Callable[[Any], str]:
    def read(raw: Any) -> str:
        text = _string(raw)
        # TOML's long strings are wrapped for the eye; one empty line stays a paragraph.
        if lines:
            text = "\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
        check_text(field, text, lines=lines)
        return text

    return read


def _whole(raw: Any) -> int:
    if type(raw) is not int:
        raise UsageError(f"{raw!r:.40} is not a whole number")
    return raw


def _seats(raw: Any) -> int:
    seats = _whole(raw)
    if not 2 <= seats <= limits.ROOM_SEATS_MAX:
        raise UsageError(f"{seats} seats", hint=f"A room has 2 to {limits.ROOM_SEATS_MAX} seats; 5 to 12 work best.")
    return seats


def _many(check: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def read(raw: Any) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise UsageError("not a list in brackets")
        return tuple(check(item) for item in raw)

    return read


def _tag(check: Callable[[str], None]) -> Callable[[Any], str]:
    def read(raw: Any) -> str:
        text = _string(raw)
        check(text)
        return text

    return read


def _zone(raw: Any) -> str:
    name = _string(raw)
    load_zone(name)
    return name


def age_band(raw: Any) -> AgeBand:
    text = _string(raw)
    match = re.fullmatch(r"(\d{1,3})(?:\+|\s*-\s*(\d{1,3}))", text)
    if not match:
        raise UsageError(f"{text!r:.40} is not an age band", hint='Write it like "18+" or "25-40".')
    low, high = int(match[1]), int(match[2] or 120)
    if low < limits.AGE_MIN or high > 120:
        raise UsageError(f"ages {low} to {high}", hint=f"This network is for adults: {limits.AGE_MIN} to 120.")
    return AgeBand(low, high)


def _kind(raw: Any) -> str:
    text = _string(raw)
    if text not in (ROOM, ONE_TO_ONE):
        raise UsageError(f"{text!r:.40} is not a kind of group", hint=f'Write "{ROOM}" or "{ONE_TO_ONE}".')
    return text


def read_wallet(raw: Any) -> bytes:
    text = _string(raw)
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        raise UsageError(f"{text!r:.48} is not a wallet address", hint="Write 0x and 40 hexadecimal digits.")
    digits = text[2:]
    if digits.lower() != digits and digits != _capitals(digits):
        raise UsageError(f"{text} has a typing error", hint="Copy the address again: its capitals do not fit.")
    return bytes.fromhex(digits)


def _read_who(raw: Any) -> bytes:
    """A wallet (20 bytes), or the record id of a card (32 bytes): not every supporter has a wallet."""
    text = _string(raw)
    return bytes.fromhex(text) if re.fullmatch(r"[0-9a-f]{64}", text) else read_wallet(text)


def _card_of(who: bytes) -> bytes:
    return who if len(who) == 32 else record_id(CARD, who)


def _capitals(digits: str) -> str:
    """The digits of an address with the capitals that EIP-55 gives them."""
    marks = keccak(digits.lower().encode()).hex()
    return "".join(
        digit.upper() if int(mark, 16) >= 8 else digit.lower() for digit, mark in zip(digits, marks, strict=False)
    )


def _moment(raw: Any) -> int:
    """A TOML offset date-time, or a plain date, which is its midnight in UTC."""
    if isinstance(raw, datetime):
        if raw.tzinfo is None:
            raise UsageError("a time without its zone", hint="Write it like 2027-01-11T18:00:00Z.")
        return round(raw.timestamp() * 1000)
    if isinstance(raw, date):
        return _midnight(raw)
    raise UsageError(f"{raw!r:.40} is not a date", hint="Write it without quotes: 2027-01-11.")


def _midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 86_400_000


FIELDS: Final[dict[str, _Field]] = {
    "id": _Field("slug", _tag(check_slug), 'id = "quiet-mornings"'),
    "title": _Field("title", _text("title"), 'title = "Quiet mornings"'),
    "summary": _Field("summary", _text("summary", lines=True), 'summary = "What happens and for whom."'),
    "kind": _Field("kind", _kind, f'kind = "{ROOM}"', optional=True, missing=ROOM),
    "topics": _Field("topics", _many(_tag(check_topic)), 'topics = ["anxiety", "mornings"]'),
    "languages": _Field("languages", _many(_tag(check_language)), 'languages = ["en", "pt-BR"]'),
    "zone": _Field("zone", _zone, 'zone = "Europe/Lisbon"'),
    "when": _Field("slots", _many(lambda raw: parse_slot(_string(raw))), 'when = ["tue 19:00 60"]'),
    "capacity": _Field("capacity", _seats, "capacity = 12"),
    "min_participants": _Field("min_participants", _whole, "min_participants = 3", optional=True, missing=2),
    "age": _Field("age", age_band, 'age = "18+"', optional=True, missing=AgeBand(limits.AGE_MIN, 120)),
    "facilitated_by": _Field("facilitated_by", _text("facilitated_by"), 'facilitated_by = "Ana"'),
    "co_facilitators": _Field(
        "co_facilitators", _many(_read_who), 'co_facilitators = ["0x…"]', optional=True, missing=()
    ),
    "successors": _Field("successors", _many(_read_who), 'successors = ["0x…"]', optional=True, missing=()),
    "rules": _Field("rules", _many(_text("rules")), 'rules = ["What is said here stays here."]'),
    "accessibility": _Field(
        "accessibility", _many(_text("accessibility")), 'accessibility = ["Text only."]', optional=True, missing=()
    ),
    "opens": _Field("opens", _moment, "opens = 2027-01-11", optional=True),
    "closes": _Field("closes", _moment, "closes = 2027-03-29", optional=True),
}
