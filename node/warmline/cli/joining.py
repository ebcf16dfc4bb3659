"""What `warmline groups join` does: find the group, say what a person should know, knock, and stay until they leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click
import trio

from warmline.cli import words
from warmline.cli.closing import closing_screen
from warmline.cli.deeds import Deeds, panic
from warmline.cli.keeping import Cupboard
from warmline.cli.room_guest import RoomGuest
from warmline.cli.switchboard import Face, JsonFace, Switchboard, TerminalFace, Wish, hearing_panic
from warmline.cli.talk import serve_one
from warmline.cli.terminal import open_terminal
from warmline.client.line import Line, pick_up
from warmline.client.matching import Match, Wanted
from warmline.client.rooms import join_room
from warmline.client.session import Contact, Conversation, SessionSettings, open_session
from warmline.client.session_farewells import open_farewells
from warmline.client.succession import Heir, heirs
from warmline.env import SystemClock, SystemRng, run_in_thread
from warmline_protocol.errors import UsageError, WarmlineError
from warmline_protocol.records.card import Card
from warmline_protocol.records.listing import ROOM, Listing
from warmline_protocol.records.text import check_text
from warmline_protocol.session.hello import rules_digest

if TYPE_CHECKING:
    from warmline.client.session import Persona

SHORTEST_ID = 6


@dataclass(frozen=True, slots=True)
class Joining:
    """What was said on the command line: whether the rules are accepted already, whether to go along when somebody else
    opens the next room, and whether there is a closing screen. ``kept`` is what a panic erases."""

    rules_accepted: bool = False
    follow: bool = False
    settings: SessionSettings | None = None
    closing: bool = False
    kept: Cupboard | None = None


@dataclass(frozen=True, slots=True)
class Over:
    """A conversation that has ended: until the closing screen its evidence stays in memory."""

    board: Switchboard
    talk: Conversation
    deeds: Deeds
    host: str


def settings_of(host_away_after: float | None) -> SessionSettings | None:
    """Other limits for tests: silence of the host in seconds after which a room is read-only, and thrice that, over."""
    if host_away_after is None:
        return None
    away = int(host_away_after * 1000)
    return SessionSettings(room_read_only_ms=away, room_closed_ms=3 * away)


async def join_group(
    entries: tuple[str, ...],
    group: str,
    me: Persona,
    opening: str,
    as_json: bool,
    joining: Joining | None = None,
) -> None:
    """From the entries to the goodbye. UsageError where the group or its host cannot be found."""
    joining = joining or Joining()
    if not as_json:
        click.echo("Looking for the group … (what you look for stays on this machine)")
    check_text("the first line", opening)
    line = await pick_up(
        entries,
        rng=SystemRng(),
        clock=SystemClock(),
        run_blocking=run_in_thread,
        settings=joining.settings or SessionSettings(),
    )
    match, contact = await find_group(line, group)
    async with open_terminal() as terminal, open_farewells(line.client):
        face: Face = JsonFace(terminal) if as_json else TerminalFace(terminal)
        introduce(face, match, me)
        if not joining.rules_accepted and not await rules_accepted(face, as_json, joining.kept):
            face.note("Nothing was sent; nobody has seen your name.", words.DIM, event="rules_declined")
            return
        face.note("Knocking at the door … In a room /who says who is here.", words.DIM)
        if match.listing.kind == ROOM:
            over = await stay(line, face, match, contact, me, opening, joining)
        else:
            over = [await talk_to_host(line, face, match, contact, me, opening, joining.kept)]
        if joining.closing and not over[-1].board.quit:
            await last_words(over)


async def rules_accepted(face: Face, as_json: bool, kept: Cupboard | None) -> bool:
    """Whether the person accepts the rules that were just shown."""
    if not as_json:
        with suppress(UsageError):
            return (await face.ask("Do you accept these rules? (yes or no)")).lower() in ("y", "yes")
        async for _ in _wishes(face, kept):
            pass  # no answer: the end of their input, or a panic
        return False
    async for wish in _wishes(face, kept):
        if wish.verb in ("accept_rules", "leave"):
            return wish.verb == "accept_rules"
        face.note("the rules come first", error="accept the rules", hint='Write {"do": "accept_rules"}, or leave.')
    return False


async def talk_to_host(
    line: Line, face: Face, match: Match, contact: Contact, me: Persona, opening: str, kept: Cupboard | None
) -> Over:
    """A group for one at a time."""
    async with trio.open_nursery() as nursery:
        board = Switchboard(face, nursery)
        deeds = Deeds(board, erases=kept)
        board.also(deeds.act, deeds.notice)
        async with open_session(line.client, contact, me=me, line=opening, listing=match.record.id) as session:
            await serve_one(board, session, match.listing.facilitated_by, nursery)
    return Over(board, session, deeds, match.listing.facilitated_by)


async def last_words(over: Sequence[Over]) -> None:
    """The closing screens: where the person followed from room to room, each host's words are proven by themselves."""
    for each in over:
        if len(over) > 1:
            each.board.face.note(f"The room with {each.host}:", words.BOLD, event="over", host=each.host)
        await closing_screen(each.board, each.talk, each.deeds)


async def stay(
    line: Line, face: Face, match: Match, contact: Contact, me: Persona, opening: str, joining: Joining
) -> list[Over]:
    """The room, and the next one where a successor opens it and the person goes along."""
    over: list[Over] = []
    listing, accepted = match.listing, rules_digest(match.listing.rules)
    while True:
        async with trio.open_nursery() as nursery:
            board = Switchboard(face, nursery)
            async with join_room(line.client, contact, match.record.id, me=me, line=opening, accepted=accepted) as room:
                guest = RoomGuest(board, line, room, me, nursery)
                board.also(guest.act, guest.notice)
                deeds = Deeds(board, erases=joining.kept)
                board.also(deeds.act, deeds.notice)
                await serve_one(board, room, listing.title, nursery, room=True)
        over.append(Over(board, room, deeds, room.peer_name or listing.facilitated_by))
        if board.quit or room.closed != "host gone" or not listing.successors:
            return over
        async with hearing_panic(face, partial(panic, face, joining.kept)):
            heir = await next_host(line, face, listing, room.succession)
        if heir is None or not (joining.follow or await wants_to_follow(face, heir, joining.kept)):
            return over
        contact = heir.contact
        face.note(f"Knocking at {heir.name}'s door …", words.DIM, event="following", name=heir.name)


async def next_host(line: Line, face: Face, listing: Listing, named: bytes) -> Heir | None:
    """Who opens the next room; None, and said so, where nobody can be knocked at."""
    try:
        found = await heirs(line, listing, named)
    except WarmlineError:
        found = []
    if not found:
        face.note("Nobody who could open the room again has a door open now.", words.DIM, event="no_successor")
        return None
    return found[0]


async def wants_to_follow(face: Face, heir: Heir, kept: Cupboard | None) -> bool:
    """Ask. Nobody is told anything before a yes."""
    face.note(
        f"{heir.name} may open the room again. /follow knocks at their door; anything else ends.",
        words.WARM,
        event="successor",
        name=heir.name,
        card=heir.card_id.hex(),
    )
    async for wish in _wishes(face, kept):
        return wish.verb == "follow"
    return False


async def _wishes(face: Face, kept: Cupboard | None) -> AsyncIterator[Wish]:
    """Where no board is there yet to hear a panic."""
    async for wish in face.wishes():
        if wish.verb == "panic":
            await panic(face, kept)
        yield wish


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
    return match, Contact.at_door(host.body, host.key, door.node, door.door, host.data)


def _is_meant(match: Match, group: str) -> bool:
    record = match.record.id.hex()
    return group in (record, match.listing.slug) or (len(group) >= SHORTEST_ID and record.startswith(group))


def introduce(face: Face, match: Match, me: Persona) -> None:
    """The room's rules and what a person should know before anybody sees their name."""
    listing = match.listing
    face.note(
        f"{listing.title}, hosted by {listing.facilitated_by} ({match.vouching.words}). You are {me.name}.",
        "1",
        event="calling",
        group=match.record.id.hex(),
        title=listing.title,
        verified=match.vouching.verified,
        standing=match.vouching.words,
        me=me.name,
    )
    if match.card is not None:
        face.note(f"About reporting: {match.card.mandated_reporter}", "2")
    face.note(words.BEFORE, words.DIM)
    face.note("The rules of this group:", "1", event="rules", rules=list(listing.rules))
    for rule in listing.rules:
        face.note(f"  · {rule}", rule=rule)
