"""What a seeker reads and is asked before the first word, whom they choose, and the last words after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmline.cli.switchboard import Face
    from warmline.client.line import Line
    from warmline.client.matching import Supporter
    from warmline.client.session import Persona


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


async def choose(line: Line, wanted: Any, card: str, as_json: bool) -> Supporter:
    """Whom to talk to: named, or picked from those who fit, who are shown in no order of worth."""
    from warmline_protocol.errors import UsageError

    collection, _ = await line.finder.collect(wanted)
    found = collection.supporters(wanted, line.client.clock.utc_ms(), closed=bool(card))
    if card:
        found = called(found, card)
    if not found:
        raise UsageError(
            "nobody who fits has a card out right now",
            hint="Try fewer filters, or `warmline groups find` for a group that meets soon.",
        )
    line.client.rng.shuffle(found)
    if as_json or len(found) == 1:
        return found[0]
    return _ask_which(found)


def called(found: Sequence[Supporter], name: str) -> list[Supporter]:
    """Those who go by that name, or whose card's id begins like that."""
    return [one for one in found if name == one.card.name or _begins(one, name)]


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
