"""A rota as a week in text: half hours across, days down, how many are on duty in each, gaps drawn as gaps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from warmline_protocol.limits import QUARTER_MS
from warmline_protocol.records.desk import Desk
from warmline_protocol.records.rota import WEEK_MS, Watch, gaps, quarters, watches
from warmline_protocol.records.schedule import Window, load_zone, local_time, wall_ms

GAP = "·"
_HALF_HOURS = 48


@dataclass(frozen=True, slots=True)
class Coverage:
    """The seven days from ``window.start`` on. ``empty`` and ``all`` count quarter hours."""

    window: Window
    watches: tuple[Watch, ...]
    empty: int
    all: int
    holes: int
    longest: tuple[int, int] | None
    """Start and end in ms UTC of the longest gap."""


def agreed_watches(desk: Desk, window: Window, agreed: Collection[bytes] | None) -> list[Watch]:
    """The shifts of those who agreed to be on the desk; of everybody where that is not known (None)."""
    found = []
    for watch in watches(desk, window):
        people = tuple(card for card in watch.people if agreed is None or card in agreed)
        if people:
            found.append(Watch(watch.start, watch.end, people))
    return found


def coverage(desk: Desk, now_ms: int, agreed: Collection[bytes] | None = None) -> Coverage:
    """How much of the next seven days somebody is on duty, from this quarter hour on."""
    start = now_ms - now_ms % QUARTER_MS
    window = Window(start, start + WEEK_MS)
    found = agreed_watches(desk, window, agreed)
    counts = quarters(found, start, WEEK_MS // QUARTER_MS)
    holes = gaps(found, window)
    longest = max(holes, key=lambda hole: hole.end - hole.start, default=None)
    return Coverage(
        window,
        tuple(found),
        counts.count(0),
        len(counts),
        len(holes),
        (longest.start, longest.end) if longest else None,
    )


def week_chart(desk: Desk, zone: str, now_ms: int, agreed: Collection[bytes] | None = None) -> list[str]:
    """The lines of the chart, by the clocks of ``zone``; at most 60 columns wide."""
    where = load_zone(zone)
    today = local_time(now_ms, where).date()
    lines = [_hours()]
    for ahead in range(7):
        day = today + timedelta(days=ahead)
        start, end = wall_ms(day, 0, where), wall_ms(day, 1440, where)
        found = agreed_watches(desk, Window(start, end), agreed)
        lines.append(f"{day:%a %d %b}  {_row(day, zone, found)}")
    minute = local_time(now_ms, where)
    lines.insert(2, " " * (12 + (minute.hour * 60 + minute.minute) // 30) + "^ now")
    lines += _summary(coverage(desk, now_ms, agreed), zone)
    return lines


def _hours() -> str:
    ruler = "".join(f"{hour:<6}" for hour in range(0, 24, 3))
    return " " * 12 + ruler.rstrip()


def _row(day: date, zone: str, found: Sequence[Watch]) -> str:
    where = load_zone(zone)
    cells = []
    for half in range(_HALF_HOURS):
        count = min(quarters(found, wall_ms(day, half * 30, where), 2))
        cells.append(GAP if not count else str(count) if count < 10 else "+")
    return "".join(cells)


def _summary(week: Coverage, zone: str) -> list[str]:
    if not week.empty:
        return ["No gap: somebody is on duty at every hour of the next seven days."]
    share = round(100 * week.empty / week.all)
    gaps_word = "gap" if week.holes == 1 else "gaps"
    lines = [
        f"{GAP} nobody: {week.empty} of {week.all} quarter hours are empty ({share} %), in {week.holes} {gaps_word}."
    ]
    if week.longest:
        lines.append(f"The longest gap: {moment(week.longest[0], zone)} to {moment(week.longest[1], zone)}.")
    return lines


def moment(ms: int, zone: str) -> str:
    """A day and time by the clocks of a zone."""
    return f"{local_time(ms, load_zone(zone)):%a %H:%M}"


def distance(ms: int) -> str:
    """A span in words: minutes below two hours, hours below two days, then days."""
    minutes = max(0, round(ms / 60_000))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"
