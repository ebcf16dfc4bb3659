"""Weekly slots in somebody's time zone, as moments; and what people mean by "tonight".

Slots are wall-clock times, because a group that meets at seven in the evening keeps meeting at seven when the clocks
change. A time that the clock skips (spring) is held by the offset before the change, so the group meets once, an hour
later by the wall; a time that comes twice (autumn) is its first. Lengths are elapsed minutes. All of it is PEP 495 with
fold 0. The zone rules are read from the machine's tz database through ``zoneinfo``; the time is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from warmline_protocol.errors import ConfigError, UsageError
from warmline_protocol.records.listing import Slot

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NOW_MINUTES = 30
WHEN_HINT = 'Say now, today, tonight, tomorrow, a day ("tue"), or a day and hours ("tue 19:00-21:00").'
_RANGE = re.compile(r"([0-2]?\d):([0-5]\d)-([0-2]?\d):([0-5]\d)")


@dataclass(frozen=True, slots=True, order=True)
class Meeting:
    """One meeting, start (inclusive) and end (exclusive) in ms UTC."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """What a person asked for, in ms UTC, with the words they used."""

    start: int
    end: int
    words: str = ""


def load_zone(name: str) -> ZoneInfo:
    """The zone, or :class:`ConfigError` where this machine's tz database does not have it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"this machine does not know the time zone {name!r:.60}",
            hint="Write an IANA name like Europe/Lisbon; if it is one, install the tzdata package.",
        ) from None


class Weekly(Protocol):
    """Something at a weekly wall-clock time: ``day`` 0 is Monday, ``start`` and ``length`` in minutes."""

    @property
    def day(self) -> int: ...

    @property
    def start(self) -> int: ...

    @property
    def length(self) -> int: ...


W = TypeVar("W", bound=Weekly)
_CALENDAR_END_MS = 221_845_392_000_000


def meetings(slots: Sequence[Slot], zone: str, window: Window) -> tuple[Meeting, ...]:
    """Every meeting that overlaps ``window``, in order."""
    return tuple(sorted(meeting for meeting, _ in occurrences(slots, zone, window)))


def occurrences(slots: Sequence[W], zone: str, window: Window) -> list[tuple[Meeting, W]]:
    """When each of ``slots`` happens within ``window``, day by day. UsageError for a window that no calendar has: a
    listing may say that it opens in the year 287396."""
    where = load_zone(zone)
    if not 0 <= window.start <= window.end < _CALENDAR_END_MS:
        raise UsageError("a time that no calendar has", hint="Name one before the year 9000.")
    # One day on each side covers any zone and the longest slot.
    day = local_time(window.start, where).date() - timedelta(days=1)
    last = local_time(window.end, where).date() + timedelta(days=1)
    found = []
    while day <= last:
        for slot in slots:
            if slot.day == day.weekday():
                start = wall_ms(day, slot.start, where)
                meeting = Meeting(start, start + slot.length * 60_000)
                if meeting.start < window.end and meeting.end > window.start:
                    found.append((meeting, slot))
        day += timedelta(days=1)
    return found


def next_meeting(slots: Sequence[Slot], zone: str, now_ms: int) -> Meeting | None:
    """The meeting that runs now, or the next one within nine days; None only without slots."""
    found = meetings(slots, zone, Window(now_ms, now_ms + 9 * 86_400_000))
    return found[0] if found else None


def parse_when(text: str, zone: str, now_ms: int) -> Window:
    """The window that ``text`` means for a person in ``zone``; :class:`UsageError` with examples otherwise.

    ``now`` is the next half hour, ``tonight`` from 17:00 until 03:00, a bare day is the next such day (today counts).
    """
    where = load_zone(zone)
    words = text.strip().lower().split()
    today = local_time(now_ms, where).date()
    match words:
        case ["now"]:
            return Window(now_ms, now_ms + NOW_MINUTES * 60_000, "now")
        case ["tonight"]:
            return _tonight(today, where, now_ms)
        case [day]:
            if (hours := _RANGE.fullmatch(day)) is not None:
                return _hours(today, hours, where, text, now_ms, repeat_days=1)
            start = _day(day, today)
            return Window(max(now_ms, wall_ms(start, 0, where)), wall_ms(start + timedelta(days=1), 0, where), text)
        case [day, span] if (hours := _RANGE.fullmatch(span)) is not None:
            return _hours(_day(day, today), hours, where, text, now_ms, repeat_days=_repeat(day))
        case _:
            raise UsageError(f"{text!r:.60} is not a time that can be searched for", hint=WHEN_HINT)


def parse_slot(text: str) -> Slot:
    """``"tue 19:00 60"``: day, local time, minutes."""
    words = text.strip().lower().split()
    if len(words) == 3 and words[0][:3] in DAYS and words[2].isdecimal():
        clock = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", words[1])
        named = words[0] in DAYS or words[0] in DAY_NAMES
        if clock and named and 10 <= int(words[2]) <= 480:
            return Slot(DAYS.index(words[0][:3]), int(clock[1]) * 60 + int(clock[2]), int(words[2]))
    raise UsageError(
        f"{text!r:.60} is not a weekly time", hint='Write day, time and minutes (10 to 480): "tue 19:00 60".'
    )


def _tonight(today: date, where: ZoneInfo, now_ms: int) -> Window:
    hour = local_time(now_ms, where).hour
    if hour < 3:  # the night that is still going on
        return Window(now_ms, wall_ms(today, 3 * 60, where), "tonight")
    start = wall_ms(today, 17 * 60, where)
    return Window(max(now_ms, start), wall_ms(today + timedelta(days=1), 3 * 60, where), "tonight")


def _repeat(day: str) -> int:
    return 1 if day in ("today", "tomorrow") else 7


def _hours(day: date, hours: re.Match[str], where: ZoneInfo, text: str, now_ms: int, *, repeat_days: int) -> Window:
    first, last = int(hours[1]) * 60 + int(hours[2]), int(hours[3]) * 60 + int(hours[4])
    if first > 1439 or last > 1440:
        raise UsageError(f"{text!r:.60} has an hour past midnight", hint=WHEN_HINT)
    if last <= first:  # over midnight
        last += 1440
    if wall_ms(day, last, where) <= now_ms:
        day += timedelta(days=repeat_days)
    return Window(max(now_ms, wall_ms(day, first, where)), wall_ms(day, last, where), text)


def _day(word: str, today: date) -> date:
    if word == "today":
        return today
    if word == "tomorrow":
        return today + timedelta(days=1)
    if word in DAYS or word in DAY_NAMES:
        return today + timedelta(days=(DAYS.index(word[:3]) - today.weekday()) % 7)
    raise UsageError(f"{word!r:.40} is not a day", hint=WHEN_HINT)


def wall_ms(day: date, minute: int, where: ZoneInfo) -> int:
    """Local wall-clock ``minute`` of ``day`` in ms UTC; minutes past midnight run into the next day."""
    day += timedelta(days=minute // 1440)
    wall = datetime.combine(day, time(minute % 1440 // 60, minute % 60), where)
    return round(wall.timestamp() * 1000)


def local_time(ms: int, where: ZoneInfo) -> datetime:
    """A moment by the clocks of a zone."""
    return datetime.fromtimestamp(ms // 1000, UTC).astimezone(where)
