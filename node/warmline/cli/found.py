"""How `warmline groups find` shows what it found: as it comes, then as a table, or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from warmline.client.finder import Findings, Progress
    from warmline.client.matching import Match


class Found:
    """Told of a search's progress; where somebody watches, each group is named once, when it is first heard of."""

    def __init__(self, zone: str, *, live: bool) -> None:
        self._zone = zone
        self._live = live
        self._named: set[bytes] = set()

    def __call__(self, progress: Progress) -> None:
        if not self._live:
            return
        words = (
            progress.words if progress.age_ms is None else f"{progress.words}, as of {age_words(progress.age_ms)} ago"
        )
        found = f", {len(progress.matches)} groups so far" if progress.matches else ""
        click.echo(f"… {words}{found}", err=True)
        for match in progress.matches:
            if match.record.id not in self._named:
                self._named.add(match.record.id)
                when = " ".join(_moment(match, self._zone).split())
                click.echo(f"  + {match.listing.title} · {when}", err=True)


def age_words(age_ms: int) -> str:
    """A time span as people say it."""
    minutes = age_ms // 60_000
    if minutes < 120:
        return "a moment" if not minutes else f"{minutes} minute{'s' * (minutes != 1)}"
    hours = minutes // 60
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"


def show(found: Findings, zone: str) -> None:
    """The groups as a table, and who held them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if found.matches:
        table = Table(title=f"Groups (times in {zone})", title_justify="left", header_style="bold", show_lines=True)
        table.add_column("when", no_wrap=True)
        table.add_column("group", ratio=3)
        table.add_column("languages, topics", ratio=2)
        table.add_column("id", no_wrap=True)
        for match in found.matches:
            table.add_row(*(escape(cell) for cell in _cells(match, zone)))
        console.print(table)
    else:
        console.print("No group fits. Try fewer words, another time, or no filter at all.")
    count = "1 group" if len(found.matches) == 1 else f"{len(found.matches)} groups"
    console.print(f"{count}, {_held(found)}. Your search stayed on this device.")
    for operator, why in found.failed:
        console.print(escape(f"  {operator} did not answer: {why}"), style="dim")
    for weakness in found.weak:
        console.print(escape(f"  Note: {weakness}."), style="dim")


def _held(found: Findings) -> str:
    if found.age_ms is not None:
        return f"as this device saw them {age_words(found.age_ms)} ago: no node can be reached now"
    asked = "1 operator" if found.operators == 1 else f"{found.operators} different operators"
    return f"as held by nodes of {asked}"


def _cells(match: Match, zone: str) -> tuple[str, ...]:
    listing = match.listing
    seats = "one to one" if listing.kind == "one-to-one" else f"{listing.capacity} seats"
    return (
        _moment(match, zone),
        f"{listing.title}\nwith {listing.facilitated_by} ({match.vouching.words})\n{seats}, ages {listing.age}",
        f"{' '.join(listing.languages)}\n{' '.join(listing.topics)}",
        match.record.id.hex()[:10],
    )


def _moment(match: Match, zone: str) -> str:
    from datetime import UTC, datetime

    from warmline_protocol.records.schedule import load_zone

    if match.meeting is None:
        return f"see {match.listing.zone}"
    start = datetime.fromtimestamp(match.meeting.start / 1000, UTC).astimezone(load_zone(zone))
    minutes = (match.meeting.end - match.meeting.start) // 60_000
    return f"{start:%a %d %b}\n{start:%H:%M}, {minutes} min"


def as_data(found: Findings) -> dict[str, Any]:
    """What is printed with ``--json``; ``age_ms`` is null where nodes answered."""
    return {
        "operators": found.operators,
        "nodes_known": found.nodes_known,
        "age_ms": found.age_ms,
        "failed": [{"operator": operator, "why": why} for operator, why in found.failed],
        "weak": list(found.weak),
        "groups": [_match_data(match) for match in found.matches],
    }


def _match_data(match: Match) -> dict[str, Any]:
    listing = match.listing
    return {
        "record": match.record.id.hex(),
        "id": listing.slug,
        "owner": match.record.owner.hex(),
        "title": listing.title,
        "summary": listing.summary,
        "kind": listing.kind,
        "topics": list(listing.topics),
        "languages": list(listing.languages),
        "zone": listing.zone,
        "next_start_ms": match.meeting.start if match.meeting else None,
        "next_end_ms": match.meeting.end if match.meeting else None,
        "capacity": listing.capacity,
        "age": str(listing.age),
        "facilitated_by": listing.facilitated_by,
        "card": match.card.name if match.card else None,
        "verified": match.vouching.verified,
        "vouching": {"agree": match.vouching.agree, "asked": match.vouching.asked},
    }
