"""A desk's rota as a TOML file: ``[desk]`` says what it is, ``[people]`` whose cards, each ``[[rota]]`` one time zone.

Like a programme it is read whole or not at all, and every problem names its line and what to write instead. People have
short names that mean something in this file only; nobody else sees them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from warmline_protocol import limits
from warmline_protocol.errors import LocalError, UsageError
from warmline_protocol.records.card import AgeBand
from warmline_protocol.records.desk import QUARTERS_A_DAY, Desk, Shift, ZoneRota
from warmline_protocol.records.envelope import CARD, record_id
from warmline_protocol.records.listing_file import FIELDS as LISTING_FIELDS
from warmline_protocol.records.listing_file import FILE_MAX, ListingFileError, read_wallet
from warmline_protocol.records.schedule import DAY_NAMES, DAYS
from warmline_protocol.records.toml_lines import Lines, Problem, syntax_problem
from warmline_protocol.wire import pack

SHIFT_EXAMPLE: Final = '"mon-fri 20:00-22:30 ana ben"'
_CLOCK: Final = r"(\d{1,2}):(\d{2})"
_SHIFT: Final = re.compile(rf"(\S+)\s+{_CLOCK}\s*-\s*{_CLOCK}\s+(.+)")


@dataclass(frozen=True, slots=True)
class DeskDraft:
    """A desk as its file says it, before it has an owner and a time of signing. ``names`` go with ``people``."""

    slug: str
    name: str
    about: str
    languages: tuple[str, ...]
    topics: tuple[str, ...]
    age: AgeBand
    names: tuple[str, ...]
    people: tuple[bytes, ...]
    rota: tuple[ZoneRota, ...]

    def desk(self, owner: bytes, now_ms: int) -> Desk:
        """The body to sign now."""
        return Desk(
            owner,
            self.slug,
            now_ms,
            now_ms + limits.DESK_LIFE_MS,
            self.name,
            self.about,
            self.languages,
            self.topics,
            self.age,
            self.people,
            self.rota,
        )


def read_desk_file(text: str) -> DeskDraft:
    """The desk of the file; :class:`ListingFileError` with all problems if anything at all is wrong."""
    if len(text.encode()) > FILE_MAX:
        raise ListingFileError([Problem(1, "file", "more than 512 KiB", "A desk has 48 people at most.")])
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ListingFileError([syntax_problem(text, error)]) from None
    return _File(tables, Lines(text)).read()


def parse_shift(text: str, places: Mapping[str, int]) -> tuple[Shift, ...]:
    """``"mon-fri 20:00-22:30 ana ben"``: days, local times in quarter hours, who. One shift for each day."""
    found = _SHIFT.fullmatch(text.strip().lower())
    if not found:
        raise UsageError(f"{text!r:.60} is not a shift", hint=f"Write days, hours and who: {SHIFT_EXAMPLE}.")
    start, end = _quarter(found[2], found[3], text), _quarter(found[4], found[5], text)
    length = end - start if end > start else end - start + QUARTERS_A_DAY  # over midnight
    if start >= QUARTERS_A_DAY:
        raise UsageError(f"{text!r:.60} begins at 24:00", hint="Write 00:00 of the next day.")
    who = tuple(_place(name, places) for name in found[6].replace(",", " ").split())
    return tuple(Shift(day, start, length, who) for day in _days(found[1]))


def _quarter(hours: str, minutes: str, text: str) -> int:
    at = int(hours) * 60 + int(minutes)
    if at > 1440 or int(minutes) % 15:
        raise UsageError(
            f"{text!r:.60} has a time that is no quarter hour", hint="Write times like 20:00, 20:15, 20:30 or 20:45."
        )
    return at // 15


def _days(text: str) -> list[int]:
    if text in ("daily", "every"):
        return list(range(7))
    first, _, last = text.partition("-")
    one, two = _day(first), _day(last or first)
    return [(one + step) % 7 for step in range((two - one) % 7 + 1)]


def _day(word: str) -> int:
    if word in DAYS or word in DAY_NAMES:
        return DAYS.index(word[:3])
    raise UsageError(f"{word!r:.30} is not a day", hint="Write mon, tue-thu or daily.")


def _place(name: str, places: Mapping[str, int]) -> int:
    if name not in places:
        raise UsageError(
            f"nobody is called {name!r:.30}", hint=f"Known in [people]: {', '.join(places) or 'nobody yet'}."
        )
    return places[name]


class _File:
    def __init__(self, tables: Mapping[str, Any], lines: Lines) -> None:
        self._tables = tables
        self._lines = lines
        self._problems: list[Problem] = []

    def read(self) -> DeskDraft:
        for name in sorted(set(self._tables) - {"desk", "people", "rota"}):
            self._note(self._lines.of("", 0, name), name, "no such table", "Use [desk], [people] and [[rota]].")
        desk = self._table("desk")
        for name in sorted(set(desk) - set(_FIELDS)):
            remedy = f"Known fields: {', '.join(_FIELDS)}."
            self._note(self._lines.of("desk", 0, name), name, "no such field", remedy)
        values = {into: self._field(desk, name, read, example) for name, (into, read, example) in _FIELDS.items()}
        names, people = self._people()
        rota = self._rota({name: place for place, name in enumerate(names)})
        draft = DeskDraft(**values, names=names, people=people, rota=rota)
        if not self._problems:
            self._probe(draft)
        if self._problems:
            raise ListingFileError(self._problems)
        return draft

    def _table(self, name: str) -> dict[str, Any]:
        table = self._tables.get(name)
        if isinstance(table, dict):
            return table
        self._note(self._lines.of("", 0, name), name, "missing", f"Write a table [{name}].")
        return {}

    def _field(self, table: Mapping[str, Any], name: str, read: Callable[[Any], Any], example: str) -> Any:
        line = self._lines.of("desk", 0, name)
        if name not in table:
            if name == "about":
                return ""
            if name == "age":
                return AgeBand(limits.AGE_MIN, 120)
            self._note(line, name, "missing", f"Add a line {example}")
            return None
        return self._try(line, name, lambda: read(table[name]), f"Write it like {example}")

    def _people(self) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
        found: dict[str, bytes] = {}
        for name, raw in self._table("people").items():
            line = self._lines.of("people", 0, name)
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
                self._note(line, name, "not a short name", "Use lower-case letters, digits and hyphens.")
                continue
            card = self._try(line, name, partial(_card, raw), 'Write a card\'s id or a wallet: ana = "0x…"')
            if card is not None and card in found.values():
                self._note(line, name, "somebody is here twice", "Keep one name for each person.")
            elif card is not None:
                found[name] = card
        return tuple(found), tuple(found.values())

    def _rota(self, places: Mapping[str, int]) -> tuple[ZoneRota, ...]:
        rotas = self._tables.get("rota")
        if not isinstance(rotas, list) or not rotas or not all(isinstance(each, dict) for each in rotas):
            self._note(1, "rota", "no rota", "Begin the shifts of each time zone with a line [[rota]].")
            return ()
        made = [self._zone(index, each, places) for index, each in enumerate(rotas)]
        return tuple(each for each in made if each is not None)

    def _zone(self, index: int, table: Mapping[str, Any], places: Mapping[str, int]) -> ZoneRota | None:
        for name in sorted(set(table) - {"zone", "shifts"}):
            self._note(self._lines.of("rota", index, name), name, "no such field", "A rota has zone and shifts.")
        line = self._lines.of("rota", index, "shifts")
        zone = self._try(
            self._lines.of("rota", index, "zone"),
            "zone",
            lambda: LISTING_FIELDS["zone"].read(table.get("zone")),
            'Add a line zone = "Europe/Lisbon"',
        )
        raw = table.get("shifts")
        if not isinstance(raw, list) or not raw or not all(isinstance(each, str) for each in raw):
            self._note(line, "shifts", "not a list of shifts", f"Add a line shifts = [{SHIFT_EXAMPLE}]")
            return None
        shifts: list[Shift] = []
        for text in raw:
            shifts += self._try(line, "shifts", partial(parse_shift, text, places), SHIFT_EXAMPLE) or ()
        if zone is None or not shifts:
            return None
        made: ZoneRota | None = self._try(
            line, "shifts", lambda: ZoneRota(zone, tuple(shifts)), "Keep each shift once."
        )
        return made

    def _probe(self, draft: DeskDraft) -> None:
        """The record itself knows every rule: build one with a stand-in owner."""
        try:
            pack(draft.desk(bytes(20), 1))
        except UsageError as error:
            remedy = error.hint if error.hint != UsageError.default_hint else "Shorten it, or list fewer."
            self._note(self._lines.of("", 0, "desk"), "desk", str(error).removeprefix("Desk."), remedy)

    def _try(self, line: int, field: str, read: Callable[[], Any], remedy: str) -> Any:
        try:
            return read()
        except LocalError as error:
            hint = error.hint if error.hint != type(error).default_hint else remedy
            self._note(line, field, str(error), hint)
            return None

    def _note(self, line: int, field: str, message: str, remedy: str) -> None:
        self._problems.append(Problem(line, field, message, remedy))


def _card(raw: Any) -> bytes:
    if isinstance(raw, str) and re.fullmatch(r"[0-9a-fA-F]{64}", raw.strip()):
        return bytes.fromhex(raw)
    return record_id(CARD, read_wallet(raw))


_FIELDS: Final[dict[str, tuple[str, Callable[[Any], Any], str]]] = {
    "id": ("slug", LISTING_FIELDS["id"].read, 'id = "night-owls"'),
    "name": ("name", LISTING_FIELDS["title"].read, 'name = "Night Owls"'),
    "about": ("about", LISTING_FIELDS["summary"].read, 'about = "Who we are."'),
    "languages": ("languages", LISTING_FIELDS["languages"].read, 'languages = ["en", "pt-BR"]'),
    "topics": ("topics", LISTING_FIELDS["topics"].read, 'topics = ["loneliness"]'),
    "age": ("age", LISTING_FIELDS["age"].read, 'age = "18+"'),
}
