"""`warmline groups`: find support groups, publish and withdraw your own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline.cli.device import supporter_options
from warmline.cli.entries import entry_option, known_entries, local_zone
from warmline.cli.keeping import Cupboard, kept_option
from warmline.cli.publishing import load_identity, report, text_of, with_finder

if TYPE_CHECKING:
    from warmline.client.identity import Identity


@click.group()
def command() -> None:
    """Find support groups, join one, or publish your own."""


@command.command(short_help="Publish the groups in a file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Only say whether the file is right; publish nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@supporter_options
@entry_option
def publish(
    file: Path, check: bool, as_json: bool, folder: Path, passphrase_fd: int | None, entries: tuple[str, ...]
) -> None:
    """Sign every group in FILE (TOML) and publish them. They live 48 hours: publish again to renew."""
    from warmline_protocol.records.listing_file import read_listing_file

    text = text_of(file)
    drafts = read_listing_file(text)
    if check:
        click.echo(f"{len(drafts)} groups, all right.")
        return
    from warmline.client.programme import Programme
    from warmline.env import SystemClock
    from warmline_protocol.records.envelope import sign_record

    identity, door = _identity_and_door(folder, passphrase_fd)
    clock = SystemClock()
    now = clock.utc_ms()
    bodies = [draft.listing(identity.owner, door, now) for draft in drafts]
    records = [sign_record(body, identity.key, identity.delegation) for body in bodies]
    answers = with_finder(entries, lambda finder: finder.publish(records))
    Programme(folder, identity, clock).keep(text)
    report([(draft.slug, draft.title) for draft in drafts], answers, as_json)


@command.command(short_help="Take a group of yours out of every directory.")
@click.argument("group_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@supporter_options
@entry_option
def withdraw(group_id: str, as_json: bool, folder: Path, passphrase_fd: int | None, entries: tuple[str, ...]) -> None:
    """Take your group ID (the `id` in its file) out of every directory."""
    from warmline.client.programme import Programme
    from warmline.env import SystemClock
    from warmline_protocol.records.envelope import LISTING, tombstone
    from warmline_protocol.records.text import check_slug

    check_slug(group_id)
    identity = load_identity(folder, passphrase_fd)
    clock = SystemClock()
    now = clock.utc_ms()
    record = tombstone(LISTING, identity.owner, group_id, identity.key, now, identity.delegation)
    Programme(folder, identity, clock).withdraw(group_id)
    answers = with_finder(entries, lambda finder: finder.publish([record]))
    report([(group_id, "withdrawn")], answers, as_json)


@command.command(short_help="Find groups; what you look for stays here.")
@click.option("--topic", "topics", multiple=True, help="A topic, like grief or new-parents; may be repeated.")
@click.option("--language", "languages", multiple=True, help="A language tag, like en or pt-BR; may be repeated.")
@click.option("--when", help='now, today, tonight, tomorrow, "tue", "tue 19:00-21:00", in your time zone.')
@click.option("--kind", type=click.Choice(["room", "one-to-one"]), help="Only rooms, or only one-to-one.")
@click.option("--age", type=click.IntRange(18, 120), help="Your age; only groups that welcome it.")
@click.option("--zone", default=local_zone, show_default="this machine's", help="Your IANA time zone.")
@click.option("--nodes", "holders", type=click.IntRange(1, 16), default=3, show_default=True, help="Nodes to ask.")
@click.option(
    "--keep",
    is_flag=True,
    help="Keep what the nodes hold on this device: public records, nothing of your search. Later searches then show it "
    "at once, with its age, and refresh it. `warmline groups forget` deletes it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@kept_option
@entry_option
def find(
    topics: tuple[str, ...],
    languages: tuple[str, ...],
    when: str | None,
    kind: str | None,
    age: int | None,
    zone: str,
    holders: int,
    keep: bool,
    as_json: bool,
    folder: Path,
    entries: tuple[str, ...],
) -> None:
    """Find groups. What you look for stays on this device: nodes are asked for everything they hold."""
    from warmline.cli.found import Found, as_data, show
    from warmline.client.cache import DirectoryCache
    from warmline.client.finder import FinderSettings
    from warmline.client.matching import Wanted
    from warmline.env import SystemClock
    from warmline_protocol.records.schedule import load_zone, parse_when

    load_zone(zone)
    window = parse_when(when, zone, SystemClock().utc_ms()) if when else None
    wanted = Wanted(topics, languages, window, kind, age)
    tell = Found(zone, live=not as_json and sys.stderr.isatty())
    cache = DirectoryCache(folder)
    settings = FinderSettings(holders=holders)
    found = with_finder(
        entries, lambda finder: finder.find(wanted, tell), settings, cache if keep or cache.exists else None
    )
    if as_json:
        click.echo(json.dumps(as_data(found)))
    else:
        show(found, zone)


@command.command(short_help="Delete what `find --keep` keeps on this device.")
@kept_option
def forget(folder: Path) -> None:
    """Delete the copy of the public directory that `find --keep` keeps on this device."""
    from warmline.client.cache import DirectoryCache

    click.echo("Deleted." if DirectoryCache(folder).forget() else "Nothing was kept.")


@command.command(short_help="Join the room of a group.")
@click.argument("group", metavar="ID")
@click.option("--name", default="", help="The name you go by in this room. Without one you are asked.")
@click.option("--line", default="", help="A line that the host reads before they let you in.")
@click.option("--adult", is_flag=True, help="Say that you are 18 or older, instead of being asked.")
@click.option("--accept-rules", is_flag=True, help="Accept the group's rules, instead of being asked.")
@click.option("--follow", is_flag=True, help="Go along when a successor opens the next room, without being asked.")
@click.option("--closing", "with_closing", is_flag=True, help="With --json: wait for reports after the end.")
@click.option("--host-away-after", type=float, hidden=True, help="Seconds of silence before nothing can be said.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines in and out, for programs.")
@kept_option
@entry_option
def join(
    group: str,
    name: str,
    line: str,
    adult: bool,
    accept_rules: bool,
    follow: bool,
    with_closing: bool,
    host_away_after: float | None,
    as_json: bool,
    folder: Path,
    entries: tuple[str, ...],
) -> None:
    """Join the room of the group ID (as `find` shows it, or the group's own id), end-to-end encrypted.

    Nothing is kept on this machine: once you have left, what the host wrote can be reported, and then it is gone. A
    panic erases what you kept of other conversations, too.
    """
    from warmline.cli.joining import Joining, join_group, settings_of
    from warmline.cli.welcome import closing, first_screen, persona

    if not as_json:
        first_screen(adult)
    elif not adult:
        raise click.UsageError("a program must say --adult")
    import trio

    closing_screen = with_closing or not as_json
    joining = Joining(accept_rules, follow, settings_of(host_away_after), closing_screen, Cupboard(folder))
    trio.run(join_group, known_entries(entries), group, persona(name, as_json), line, as_json, joining)
    if not as_json:
        closing()


# --- work --------------------------------------------------------------------------------------------------------


def _identity_and_door(folder: Path, passphrase_fd: int | None) -> tuple[Identity, Any]:
    from warmline.client.identity import IdentityFiles
    from warmline_protocol.errors import ConfigError
    from warmline_protocol.records.card import Card

    identity = load_identity(folder, passphrase_fd)
    card = IdentityFiles(folder).card()
    if card is None or not isinstance(card.body, Card) or card.owner != identity.owner:
        raise ConfigError(
            "there is no card of yours on this device, so people could not knock",
            hint="Make it first: `warmline supporter card`.",
        )
    return identity, card.body.doors[0]
