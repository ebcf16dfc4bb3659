"""`warmline talk`: a seeker's conversation with one peer supporter, from the first screen to the goodbye."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from warmline.cli.entries import entry_option, known_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    import trio

    from warmline.cli.switchboard import Face, Place, Switchboard
    from warmline.client.line import Line
    from warmline.client.matching import Supporter
    from warmline.client.session import Conversation, Persona


@click.command()
@click.option("--with", "card", default="", metavar="ID", help="The beginning of a card's id, or a supporter's name.")
@click.option("--topic", "topics", multiple=True, help="A topic, like grief; may be repeated.")
@click.option("--language", "languages", multiple=True, help="A language tag, like en; may be repeated.")
@click.option("--name", default="", help="The name you go by in this conversation. Without one you are asked.")
@click.option("--line", default="", help="An opening line, read by the supporter before they answer.")
@click.option("--adult", is_flag=True, help="Say that you are 18 or older, instead of being asked.")
@click.option("--second-queue-after", type=float, hidden=True, help="Seconds before the second queue is offered.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines in and out, for programs.")
@entry_option
def command(
    card: str,
    topics: tuple[str, ...],
    languages: tuple[str, ...],
    name: str,
    line: str,
    adult: bool,
    second_queue_after: float | None,
    as_json: bool,
    entries: tuple[str, ...],
) -> None:
    """Talk to a peer supporter, end-to-end encrypted, under a name you make up.

    Nothing is kept on this machine: when you leave, the conversation is gone.
    """
    from warmline.client.matching import Wanted

    if not as_json:
        first_screen(adult)
    elif not adult:
        raise click.UsageError("a program must say --adult")
    wanted = Wanted(topics, languages)
    known = known_entries(entries)
    me = persona(name, as_json)
    import trio

    trio.run(_talk, known, wanted, card, me, line, as_json, second_queue_after)
    if not as_json:
        closing()


def closing() -> None:
    """The last words of a conversation."""
    from warmline.cli import words

    click.secho(click.wrap_text(words.CLOSING, _width()), dim=True)


def _width() -> int:
    from shutil import get_terminal_size

    return max(20, min(78, get_terminal_size((80, 24)).columns - 2))


def opening_line(name: str) -> str:
    """What they read before they answer."""
    asked = f"A first line for {name} to read? (Enter: none)"
    text: str = click.prompt(asked, default="", show_default=False)
    return text


def first_screen(adult: bool) -> None:
    """What everybody reads before the first word; ends the program kindly for people under 18."""
    from warmline.cli import words

    for paragraph in words.FIRST_SCREEN:
        click.echo(click.wrap_text(paragraph, _width()) + "\n")
    if not adult and not click.confirm("Are you 18 or older?"):
        click.echo(click.wrap_text(words.TOO_YOUNG, _width()))
        raise click.exceptions.Exit(0)


def persona(name: str, as_json: bool) -> Persona:
    """A fresh name and avatar for this one conversation."""
    from warmline.cli import words
    from warmline.client.session import Persona
    from warmline.env import SystemRng
    from warmline_protocol.records.text import check_text

    rng = SystemRng()
    made_up = words.made_up_name(rng.bytes(2))
    if not name:
        name = made_up if as_json else click.prompt("A name for this conversation", default=made_up)
    check_text("the name", name)
    return Persona(name, rng.bytes(16))


async def _talk(
    entries: tuple[str, ...],
    wanted: Any,
    card: str,
    me: Persona,
    opening: str,
    as_json: bool,
    second_queue_after: float | None,
) -> None:
    import trio

    from warmline.cli.switchboard import JsonFace, Switchboard, TerminalFace
    from warmline.cli.terminal import open_terminal
    from warmline.client.line import pick_up
    from warmline.client.session import Contact, SessionSettings, open_session
    from warmline.env import SystemClock, SystemRng, run_in_thread
    from warmline_protocol.records.text import check_text

    settings = SessionSettings()
    if second_queue_after is not None:
        settings = SessionSettings(second_queue_ms=int(second_queue_after * 1000))
    rng, clock = SystemRng(), SystemClock()
    if not as_json:
        click.echo("Looking for people … (what you look for stays on this machine)")
    line = await pick_up(entries, rng=rng, clock=clock, run_blocking=run_in_thread, settings=settings)
    chosen = await choose(line, wanted, card, as_json)
    if not opening and not as_json:
        opening = opening_line(chosen.card.name)
    check_text("the first line", opening)
    async with open_terminal() as terminal:
        face: Face = JsonFace(terminal) if as_json else TerminalFace(terminal)
        introduce(face, chosen, me)
        contact = Contact.of(chosen.card, chosen.record.key)
        async with open_session(line.client, contact, me=me, line=opening) as session, trio.open_nursery() as nursery:
            board = Switchboard(face, nursery)
            await serve_one(board, session, chosen.card.name, nursery)


async def serve_one(
    board: Switchboard, talk: Conversation, name: str, nursery: trio.Nursery, *, room: bool = False
) -> None:
    """One conversation at the board, until either side ends it."""
    place = board.add(talk, name, room=room)
    nursery.start_soon(_end_with, place, nursery.cancel_scope)
    await board.serve()
    for weakness in talk.weaknesses:
        board.face.note(f"Note: {weakness}.", "2", weakness=weakness)
    await talk.aclose()
    await place.ended.wait()


async def _end_with(place: Place, scope: trio.CancelScope) -> None:
    """A conversation that the other side ended must not wait for somebody to press a key."""
    await place.ended.wait()
    scope.cancel()


async def choose(line: Line, wanted: Any, card: str, as_json: bool) -> Supporter:
    """Whom to talk to: named, or picked from those who fit, who are shown in no order of worth."""
    from warmline_protocol.errors import UsageError

    collection, _ = await line.finder.collect(wanted)
    found = collection.supporters(wanted, line.client.clock.utc_ms())
    if card:
        found = [one for one in found if card in (one.card.name, one.record.id.hex()) or _begins(one, card)]
    if not found:
        raise UsageError(
            "nobody who fits has a card out right now",
            hint="Try fewer filters, or `warmline groups find` for a group that meets soon.",
        )
    line.client.rng.shuffle(found)
    if as_json or len(found) == 1:
        return found[0]
    return _ask_which(found)


def _begins(supporter: Supporter, card: str) -> bool:
    return len(card) >= 6 and supporter.record.id.hex().startswith(card)


def _ask_which(found: Sequence[Supporter]) -> Supporter:
    from warmline.cli import words

    for number, one in enumerate(found, 1):
        mark = words.mark_of(one.card.avatar)
        click.echo(f"{number:>3}  {mark} {one.card.name}  ({', '.join(one.card.languages)}; {one.vouching.words})")
        click.echo(f"       {', '.join(one.card.topics)}")
        if one.card.about:
            click.echo(click.wrap_text(one.card.about, _width(), initial_indent="       ", subsequent_indent="       "))
    number = click.prompt("Whom would you like to talk to?", type=click.IntRange(1, len(found)))
    return found[number - 1]


def introduce(face: Face, chosen: Supporter, me: Persona) -> None:
    """What a person should know before their first word reaches anybody."""
    from warmline.cli import words

    card = chosen.card
    data = {
        "event": "calling",
        "supporter": card.name,
        "card": chosen.record.id.hex(),
        "verified": chosen.vouching.verified,
        "standing": chosen.vouching.words,
        "mandated_reporter": card.mandated_reporter,
        "doors": [door.node.peer_id for door in card.doors],
        "me": me.name,
    }
    face.note(f"Calling {card.name} ({chosen.vouching.words}). You are {me.name}.", "1", **data)
    face.note(f"About reporting: {card.mandated_reporter}", "2")
    face.note(words.BEFORE, words.DIM)
