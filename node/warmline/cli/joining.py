"""What `warmline groups join` does: find the group, say what a person should know, knock, and stay until they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import trio

from warmline.cli import words
from warmline.cli.switchboard import Face, JsonFace, Switchboard, TerminalFace
from warmline.cli.talk import serve_one
from warmline.cli.terminal import open_terminal
from warmline.client.line import Line, pick_up
from warmline.client.matching import Match, Wanted
from warmline.client.rooms import join_room
from warmline.client.session import Contact, open_session
from warmline.env import SystemClock, SystemRng, run_in_thread
from warmline_protocol.errors import UsageError
from warmline_protocol.records.card import Card
from warmline_protocol.records.listing import ROOM
from warmline_protocol.records.text import check_text

if TYPE_CHECKING:
    from warmline.client.session import Persona

SHORTEST_ID = 6


async def join_group(entries: tuple[str, ...], group: str, me: Persona, opening: str, as_json: bool) -> None:
    """From the entries to the goodbye. UsageError where the group or its host cannot be found."""
    if not as_json:
        click.echo("Looking for the group … (what you look for stays on this machine)")
    check_text("the first line", opening)
    line = await pick_up(entries, rng=SystemRng(), clock=SystemClock(), run_blocking=run_in_thread)
    match, contact = await find_group(line, group)
    async with open_terminal() as terminal:
        face: Face = JsonFace(terminal) if as_json else TerminalFace(terminal)
        introduce(face, match, me)
        async with trio.open_nursery() as nursery:
            board, listing = Switchboard(face, nursery), match.listing
            if listing.kind == ROOM:
                async with join_room(line.client, contact, match.record.id, me=me, line=opening) as room:
                    await serve_one(board, room, listing.title, nursery, room=True)
            else:
                async with open_session(line.client, contact, me=me, line=opening, listing=match.record.id) as session:
                    await serve_one(board, session, listing.facilitated_by, nursery)


async def find_group(line: Line, group: str) -> tuple[Match, Contact]:
    """The one listing that ``group`` names, and how to knock at its door."""
    collection, _ = await line.finder.collect(Wanted())
    now = line.client.clock.utc_ms()
    found = [match for match in collection.matches(Wanted(), now) if _is_meant(match, group)]
    if not found:
        raise UsageError(
            f"there is no group {group!r}", hint="`warmline groups find` shows the ids of those there are."
        )
    if len(found) > 1:
        titles = ", ".join(f"{match.record.id.hex()[:12]} ({match.listing.title})" for match in found)
        raise UsageError(f"{group!r} could be several groups", hint=f"Say which: {titles}.")
    (match,) = found
    host = next((record for record in collection.records(now) if record.id == match.listing.host), None)
    if host is None or not isinstance(host.body, Card):
        raise UsageError("this group's host has no card out, so nobody could let you in", hint="Try again later.")
    door = match.listing.door
    return match, Contact.at_door(host.body, host.key, door.node, door.door)


def _is_meant(match: Match, group: str) -> bool:
    record = match.record.id.hex()
    return group in (record, match.listing.slug) or (len(group) >= SHORTEST_ID and record.startswith(group))


def introduce(face: Face, match: Match, me: Persona) -> None:
    """The room's rules and what a person should know before anybody sees their name."""
    listing = match.listing
    face.note(
        f"{listing.title}, hosted by {listing.facilitated_by} ({match.vouching.words}). You are {me.name}. "
        "Knocking at the door …",
        "1",
        event="calling",
        group=match.record.id.hex(),
        title=listing.title,
        verified=match.vouching.verified,
        standing=match.vouching.words,
        me=me.name,
    )
    for rule in listing.rules:
        face.note(f"  · {rule}", "2", rule=rule)
    if match.card is not None:
        face.note(f"About reporting: {match.card.mandated_reporter}", "2")
    face.note(words.BEFORE, words.DIM)
