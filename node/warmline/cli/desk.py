"""`warmline desk`: a community's rota, published, found and drawn as a week with its gaps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline.cli.device import supporter_options
from warmline.cli.entries import entry_option, local_zone
from warmline.cli.publishing import load_identity, report, text_of, with_finder

if TYPE_CHECKING:
    from warmline.client.matching import Collection, FoundDesk
    from warmline_protocol.records.card import Card

_zone_option = click.option("--zone", default=local_zone, show_default="this machine's", help="Your IANA time zone.")


@click.group()
def command() -> None:
    """See who is on duty when, or publish your community's rota."""


@command.command(short_help="Publish the rota in a file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Only draw the week and say whether the file is right; publish nothing.")
@_zone_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@supporter_options
@entry_option
def publish(
    file: Path,
    check: bool,
    zone: str,
    as_json: bool,
    folder: Path,
    passphrase_fd: int | None,
    entries: tuple[str, ...],
) -> None:
    """Sign the desk in FILE (TOML) and publish it. It lives seven days; duty on this device renews it.

    Whoever is on the rota counts once their own card names the desk: `warmline supporter card … --desk ID`.
    """
    from warmline.env import SystemClock
    from warmline_protocol.records.desk_file import read_desk_file

    text, now = text_of(file), SystemClock().utc_ms()
    draft = read_desk_file(text)
    if check:
        from warmline.cli.rota_chart import week_chart

        click.echo(f"{draft.name}: {len(draft.people)} people, all right. As if everybody had agreed, in {zone}:\n")
        click.echo("\n".join(week_chart(draft.desk(bytes(20), now), zone, now)))
        return
    from warmline.client.rota_files import RotaFiles
    from warmline_protocol.records.envelope import sign_record

    identity = load_identity(folder, passphrase_fd)
    record = sign_record(draft.desk(identity.owner, now), identity.key, identity.delegation)
    answers = with_finder(entries, lambda finder: finder.publish([record]))
    RotaFiles(folder, identity, SystemClock()).keep(draft.slug, text)
    report([(draft.slug, draft.name)], answers, as_json)
    if not as_json:
        click.echo(f"→ People on it confirm with: warmline supporter card … --desk {answers[0].id.hex()}")


@command.command(short_help="Take a rota of yours out of every directory.")
@click.argument("desk_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@supporter_options
@entry_option
def withdraw(desk_id: str, as_json: bool, folder: Path, passphrase_fd: int | None, entries: tuple[str, ...]) -> None:
    """Take your desk ID (the `id` in its file) out of every directory."""
    from warmline.client.rota_files import RotaFiles
    from warmline.env import SystemClock
    from warmline_protocol.records.envelope import DESK, tombstone
    from warmline_protocol.records.text import check_slug

    check_slug(desk_id)
    identity = load_identity(folder, passphrase_fd)
    clock = SystemClock()
    record = tombstone(DESK, identity.owner, desk_id, identity.key, clock.utc_ms(), identity.delegation)
    RotaFiles(folder, identity, clock).withdraw(desk_id)
    answers = with_finder(entries, lambda finder: finder.publish([record]))
    report([(desk_id, "withdrawn")], answers, as_json)


@command.command(short_help="Find desks, and who is awake.")
@click.option("--topic", "topics", multiple=True, help="A topic, like grief; may be repeated.")
@click.option("--language", "languages", multiple=True, help="A language tag, like en; may be repeated.")
@_zone_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@entry_option
def find(
    topics: tuple[str, ...], languages: tuple[str, ...], zone: str, as_json: bool, entries: tuple[str, ...]
) -> None:
    """Find desks and how many are on duty now. What you look for stays on this device."""
    from warmline.client.matching import Wanted
    from warmline.env import SystemClock

    wanted = Wanted(topics, languages)
    collection, _ = with_finder(entries, lambda finder: finder.collect(wanted))
    now = SystemClock().utc_ms()
    rows = [_row(each, collection, now) for each in collection.desks(now) if _fits(each, topics, languages)]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        _print_row(row, zone, now)
    if not rows:
        click.echo("No desk fits. Try fewer words; `warmline groups find` shows groups that meet.")


@command.command(short_help="Draw a desk's week, gaps as gaps.")
@click.argument("desk_id", metavar="ID")
@_zone_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@entry_option
def show(desk_id: str, zone: str, as_json: bool, entries: tuple[str, ...]) -> None:
    """Draw the next seven days of the desk ID (as `find` shows it, or its own id), by the clocks of your zone."""
    from warmline.cli.rota_chart import week_chart
    from warmline.client.matching import Wanted
    from warmline.env import SystemClock
    from warmline_protocol.records.schedule import load_zone

    load_zone(zone)
    collection, _ = with_finder(entries, lambda finder: finder.collect(Wanted()))
    now = SystemClock().utc_ms()
    found = _the_one(collection, desk_id, now)
    row = _row(found, collection, now)
    if as_json:
        click.echo(json.dumps({**row, **_week_data(found, collection, now)}))
        return
    _print_row(row, zone, now)
    if found.desk.about:
        click.echo(found.desk.about + "\n")
    click.echo(f"How many are on duty, in half hours of {zone}:")
    click.echo("\n".join(week_chart(found.desk, zone, now, _agreed(found, collection, now))))
    if row["agreed"] < row["people"]:
        click.echo(
            f"{row['agreed']} of {row['people']} people on this rota name the desk on their own cards; "
            "the others are not counted."
        )


def _the_one(collection: Collection, desk_id: str, now_ms: int) -> FoundDesk:
    from warmline_protocol.errors import UsageError

    desks = collection.desks(now_ms)
    found = [each for each in desks if _is_meant(each, desk_id)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"there is no desk {desk_id!r}", hint="`warmline desk find` shows those there are.")
    # The same short id at two owners: one may pose as the other, and only the record id tells them apart.
    which = ", ".join(f"{each.record.id.hex()[:12]} ({each.desk.name})" for each in found)
    raise UsageError(f"{desk_id!r} could be several desks", hint=f"Say which: {which}.")


def _is_meant(found: FoundDesk, desk_id: str) -> bool:
    record = found.record.id.hex()
    return desk_id in (found.desk.slug, record) or (len(desk_id) >= 6 and record.startswith(desk_id))


def _fits(found: FoundDesk, topics: tuple[str, ...], languages: tuple[str, ...]) -> bool:
    from warmline.client.matching import speaks

    if topics and not set(topics) & set(found.desk.topics):
        return False
    return not languages or any(speaks(mine, asked) for mine in found.desk.languages for asked in languages)


def _cards(collection: Collection, now_ms: int) -> dict[bytes, Card]:
    from warmline_protocol.records.card import Card

    return {each.id: each.body for each in collection.records(now_ms) if isinstance(each.body, Card)}


def _agreed(found: FoundDesk, collection: Collection, now_ms: int) -> set[bytes]:
    from warmline.client.awake import agreeing

    return agreeing(found, _cards(collection, now_ms))


def _row(found: FoundDesk, collection: Collection, now_ms: int) -> dict[str, Any]:
    from warmline_protocol.records.rota import next_watch, on_duty

    agreed = _agreed(found, collection, now_ms)
    coming = next_watch(found.desk, now_ms, agreed)
    return {
        "record": found.record.id.hex(),
        "id": found.desk.slug,
        "name": found.desk.name,
        "languages": list(found.desk.languages),
        "topics": list(found.desk.topics),
        "age": str(found.desk.age),
        "people": len(found.desk.people),
        "agreed": len(agreed),
        "on_duty": len(on_duty(found.desk, now_ms) & agreed),
        "next_start_ms": coming.start if coming else None,
        "zones": [each.zone for each in found.desk.rota],
        "verified": found.vouching.verified,
        "standing": found.vouching.words,
    }


def _week_data(found: FoundDesk, collection: Collection, now_ms: int) -> dict[str, Any]:
    from warmline.cli.rota_chart import coverage
    from warmline_protocol.records.rota import gaps

    week = coverage(found.desk, now_ms, _agreed(found, collection, now_ms))
    return {
        "quarters": week.all,
        "empty": week.empty,
        "gaps": [{"start_ms": gap.start, "end_ms": gap.end} for gap in gaps(week.watches, week.window)],
        "watches": [
            {"start_ms": each.start, "end_ms": each.end, "cards": [card.hex() for card in each.people]}
            for each in week.watches
        ],
    }


def _print_row(row: dict[str, Any], zone: str, now_ms: int) -> None:
    from warmline.cli.rota_chart import distance, moment

    count = row["on_duty"]
    awake = f"{count} on duty now" if count else "nobody on duty now"
    start = row["next_start_ms"]
    coming = f"; next shift {moment(start, zone)} (in {distance(start - now_ms)})" if start else "; no shift is coming"
    click.echo(f"{row['name']}  ({row['standing']})  {row['record'][:10]}")
    click.echo(f"  {awake}{coming}")
    click.echo(f"  {', '.join(row['languages'])}; {', '.join(row['topics'])}; zones {', '.join(row['zones'])}")
