"""`warmline talk`: a seeker's conversation with one peer supporter, from the first screen to the goodbye."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline.cli.entries import entry_option, known_entries
from warmline.cli.keeping import (
    GIVE_BACK,
    Cupboard,
    ask_before,
    keeping_options,
    kept_thread,
    passphrase_of,
    which_kept,
)
from warmline.cli.welcome import choose, closing, first_screen, introduce, opening_line, persona

if TYPE_CHECKING:
    import trio

    from warmline.cli.switchboard import Face, Place, Switchboard
    from warmline.cli.terminal import Terminal
    from warmline.client.line import Line
    from warmline.client.matching import Supporter
    from warmline.client.session import Conversation, Persona


@click.group(invoke_without_command=True, short_help="Talk to a peer, end-to-end encrypted.")
@click.option("--with", "card", default="", metavar="ID", help="The beginning of a card's id, or a supporter's name.")
@click.option("--now", is_flag=True, help="Talk to whoever has time: three people are asked at once.")
@click.option("--age", default="18+", show_default=True, help="Your age band for --now, like 18-30 or 25+.")
@click.option("--topic", "topics", multiple=True, help="A topic, like grief; may be repeated.")
@click.option("--language", "languages", multiple=True, help="A language tag, like en; may be repeated.")
@click.option("--name", default="", help="The name you go by in this conversation. Without one you are asked.")
@click.option("--line", default="", help="An opening line, read by the supporter before they answer.")
@click.option("--thread", default="", metavar="NAME", help="Find somebody again: the name of a thread kept here.")
@click.option("--word", default="", metavar="WORD", help="Find --with again by a thread's word; - asks for it.")
@click.option("--keep", is_flag=True, help="Keep this conversation on this device for a day, encrypted.")
@click.option("--resume", is_flag=True, help="Go on with a conversation that was kept.")
@click.option("--adult", is_flag=True, help="Say that you are 18 or older, instead of being asked.")
@click.option("--closing", "with_closing", is_flag=True, help="With --json: wait for reports after the end.")
@click.option("--second-queue-after", type=float, hidden=True, help="Seconds before the second queue is offered.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines in and out, for programs.")
@keeping_options
@entry_option
@click.pass_context
def command(
    context: click.Context,
    card: str,
    now: bool,
    age: str,
    topics: tuple[str, ...],
    languages: tuple[str, ...],
    name: str,
    line: str,
    thread: str,
    word: str,
    keep: bool,
    resume: bool,
    adult: bool,
    with_closing: bool,
    second_queue_after: float | None,
    as_json: bool,
    folder: Path,
    passphrase_fd: int | None,
    entries: tuple[str, ...],
) -> None:
    """Talk to a peer supporter, end-to-end encrypted, under a name you make up.

    Nothing is kept on this machine unless you ask for it: when you leave, the conversation is gone.
    """
    if context.invoked_subcommand is not None:
        context.obj = folder
        return
    from warmline.client.matching import Wanted

    if not as_json and not resume:
        first_screen(adult)
    elif not adult and not resume:
        raise click.UsageError("a program must say --adult")
    known = known_entries(entries)
    if word == "-":
        word = click.prompt("The thread's word", hide_input=True, err=True)
    call = Call(
        Wanted(topics, languages), card, name, line, thread, word, keep, as_json, with_closing, second_queue_after
    )
    cupboard = Cupboard(folder, passphrase_of(passphrase_fd))
    named = card or thread or word or resume
    if not named and not now and not as_json:
        now = click.confirm("Talk to whoever has time now? (n: choose somebody yourself)", default=True)
    if now and named:
        raise click.UsageError("--now asks whoever has time; leave --with, --thread, --word and --resume out")
    import trio

    if now:
        from warmline.cli.now import now_from_call

        trio.run(now_from_call, known, call, age, cupboard)
    else:
        trio.run(_resume if resume else _talk, known, call, cupboard)
    if not as_json:
        closing()


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Say what was done as JSON.")
@click.pass_obj
def erase(folder: Path, as_json: bool) -> None:
    """Panic: erase what is kept on this device at once, and end the warmline that has it open.

    Asks nothing and needs no passphrase. The key goes first: without it the rest is noise, wherever a disk kept it.
    """
    import json

    erased = Cupboard(folder).erase()
    if as_json:
        click.echo(json.dumps({"files": erased.files, "keyring": erased.key_in_keyring, "ended": erased.ended}))
        return
    if not erased.files and not erased.key_in_keyring:
        click.echo("Nothing was kept on this device.")
        return
    click.echo(f"Gone, and looked for again on the disk: {', '.join(erased.files)}.")
    if erased.key_in_keyring:
        click.echo("Its key is gone from the keyring too.")
    if erased.ended:
        click.echo("The warmline that had it open was ended.")


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked for on the command line."""

    wanted: Any
    card: str
    name: str
    opening: str
    thread: str
    word: str
    keep: bool
    as_json: bool
    with_closing: bool
    second_queue_after: float | None


async def _talk(entries: tuple[str, ...], call: Call, cupboard: Cupboard) -> None:
    import trio

    from warmline_protocol.records.text import check_text

    try:
        word, wanted_card, me = await _found_again(call, cupboard)
        if call.keep:
            await cupboard.open(ask_before)
        me = me or persona(call.name, call.as_json)
        line = await line_for(entries, call)
        chosen = await choose(line, call.wanted, wanted_card, call.as_json)
        opening = call.opening
        if not opening and not call.as_json:
            opening = opening_line(chosen.card.name)
        check_text("the first line", opening)
        await _say_hello(line, chosen, me, opening, word, call, cupboard)
    finally:
        with trio.move_on_after(GIVE_BACK, shield=True):
            await cupboard.close()


async def _found_again(call: Call, cupboard: Cupboard) -> tuple[bytes, str, Persona | None]:
    """A thread's word, the card that it is with and who you are there; without a thread no word and ``--with``."""
    from warmline_protocol.errors import UsageError
    from warmline_protocol.session.known import heard

    if call.thread:
        thread = await kept_thread(cupboard, call.thread)
        return thread.word, thread.card.hex(), thread.me
    if call.word and not call.card:
        raise UsageError("say whose word it is", hint="Add --with NAME.")
    return heard(call.word) if call.word else b"", call.card, None


async def _say_hello(
    line: Line, chosen: Supporter, me: Persona, opening: str, word: bytes, call: Call, cupboard: Cupboard
) -> None:
    import trio

    from warmline.cli.closing import closing_screen
    from warmline.cli.seeker import Met, SeekerDeeds
    from warmline.cli.switchboard import Switchboard
    from warmline.cli.terminal import open_terminal
    from warmline.client.feedback import seeker_side
    from warmline.client.session import Contact, open_session
    from warmline.client.session_farewells import open_farewells

    contact = Contact.of(chosen.card, chosen.record.key, chosen.record.data)
    vault = cupboard.vault if call.keep else None
    async with open_terminal() as terminal, open_farewells(line.client):
        face = _face(terminal, call.as_json)
        introduce(face, chosen, me)
        opened = open_session(
            line.client, contact, me=me, line=opening, thread=word, vault=vault, feedback=seeker_side(chosen)
        )
        async with opened as session, trio.open_nursery() as nursery:
            board = Switchboard(face, nursery)
            met = Met(chosen.record.id, chosen.card.name, me)
            deeds = SeekerDeeds(board, cupboard, line.client, nursery, met)
            board.also(deeds.act, deeds.notice)
            await serve_one(board, session, chosen.card.name, nursery)
        if not board.quit and (call.with_closing or not call.as_json):
            await closing_screen(board, session, deeds)


async def _resume(entries: tuple[str, ...], call: Call, cupboard: Cupboard) -> None:
    """Go on with a kept conversation: what was said is shown, then what came since."""
    import trio

    from warmline.cli import words
    from warmline.cli.closing import closing_screen
    from warmline.cli.seeker import SeekerDeeds
    from warmline.cli.switchboard import Switchboard
    from warmline.cli.terminal import open_terminal
    from warmline.client.session import resume_session
    from warmline.client.session_farewells import open_farewells

    try:
        kept, name = await which_kept(cupboard, call.card)
        assert cupboard.vault is not None
        line = await line_for(entries, call)
        async with open_terminal() as terminal, open_farewells(line.client):
            face = _face(terminal, call.as_json)
            async with resume_session(line.client, cupboard.vault, kept) as session, trio.open_nursery() as nursery:
                face.note(f"Going on with {name}.", "1", event="resumed", name=name)
                for said in session.transcript.lines:
                    who = "You" if said.mine else said.name
                    face.note(
                        f"  {who}: {said.text}",
                        words.DIM,
                        event="earlier",
                        mine=said.mine,
                        said=said.text,
                        id=said.id.hex(),
                        fate=said.fate,
                    )
                board = Switchboard(face, nursery)
                deeds = SeekerDeeds(board, cupboard, line.client, nursery, None)
                board.also(deeds.act, deeds.notice)
                await serve_one(board, session, name, nursery)
            if not board.quit and (call.with_closing or not call.as_json):
                await closing_screen(board, session, deeds)
    finally:
        with trio.move_on_after(GIVE_BACK, shield=True):
            await cupboard.close()


async def line_for(entries: tuple[str, ...], call: Call) -> Line:
    """What a seeker talks over, at the pace that the command line asks for."""
    from warmline.client.line import pick_up
    from warmline.client.session import SessionSettings
    from warmline.env import SystemClock, SystemRng, run_in_thread

    settings = SessionSettings()
    if call.second_queue_after is not None:
        settings = SessionSettings(second_queue_ms=int(call.second_queue_after * 1000))
    if not call.as_json:
        click.echo("Looking for people … (what you look for stays on this machine)")
    return await pick_up(entries, rng=SystemRng(), clock=SystemClock(), run_blocking=run_in_thread, settings=settings)


def _face(terminal: Terminal, as_json: bool) -> Face:
    from warmline.cli.switchboard import JsonFace, TerminalFace

    return JsonFace(terminal) if as_json else TerminalFace(terminal)


async def serve_one(
    board: Switchboard, talk: Conversation, name: str, nursery: trio.Nursery, *, room: bool = False
) -> None:
    """One conversation at the board, until either side ends it."""
    from warmline.cli import words
    from warmline.client.session import Session

    place = board.add(talk, name, room=room)
    nursery.start_soon(_end_with, place, nursery.cancel_scope)
    await board.serve()
    for weakness in talk.weaknesses if board.quit else ():
        board.face.note(f"Note: {weakness}.", "2", weakness=weakness)
    if board.quit and isinstance(talk, Session) and talk.kept_until_ms and not talk.closed:
        board.face.note(f"Put away until {words.clock(talk.kept_until_ms)}: `warmline talk --resume`.", words.DIM)
        talk.detach()
    else:
        await talk.aclose()
    await place.ended.wait()


async def _end_with(place: Place, scope: trio.CancelScope) -> None:
    """A conversation that the other side ended must not wait for somebody to press a key."""
    await place.ended.wait()
    scope.cancel()
