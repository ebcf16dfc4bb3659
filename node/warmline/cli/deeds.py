"""What a person can do in a conversation besides talking: keep it, agree on a thread, copy it, report it, erase all.

The same verbs for people and programs. A program says with its wish what a person is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from warmline.cli import words
from warmline.cli.keeping import Ask, Cupboard
from warmline.cli.switchboard import Face, Place, Switchboard, Wish
from warmline.client.room_joined import JoinedRoom
from warmline.client.session import Conversation, Session, SessionEvent
from warmline.client.session_report import report_of
from warmline.client.session_seeking import Asking
from warmline.client.session_transcript import as_json, as_text
from warmline.env import run_in_thread
from warmline_protocol.errors import ConfigError, UsageError, WarmlineError
from warmline_protocol.session import events as said
from warmline_protocol.session.evidence_bundle import verify_bundle

THREAD, BACKUP = "thread", "backup"
TITLE = "A conversation on warmline"
PANIC_WITHIN = 4.0
"""Seconds after which the program has ended, whatever the network does: a goodbye's time and one more."""


class Deeds:
    """The verbs of both sides. ``cupboard`` is where a seeker keeps; a supporter has none of these. ``erases`` is what
    a panic takes away where nothing can be kept in it now, as in a room."""

    def __init__(self, board: Switchboard, cupboard: Cupboard | None = None, erases: Cupboard | None = None) -> None:
        self.board = board
        self.cupboard = cupboard
        self.erases = erases or cupboard

    async def act(self, wish: Wish) -> bool:
        """Do it, if it is one of these."""
        match wish.verb:
            case "keep":
                await self._keep(wish)
            case "thread":
                await self.thread(wish)
            case "yes" | "no":
                await self._answer(wish, wish.verb == "yes")
            case "lines":
                self.show_lines(self._place(wish).talk)
            case "export":
                await export(self.board, self._place(wish).talk, wish)
            case "report":
                await report(self.board, self._place(wish).talk, wish)
            case "panic":
                await self.panic()
            case _:
                return False
        return True

    def notice(self, place: Place, event: SessionEvent) -> None:
        """Remember what was asked, so that /yes and /no mean something."""
        match event:
            case said.ThreadOffered():
                place.question = THREAD
            case said.BackupAsked():
                place.question = BACKUP
            case said.ThreadAgreed() | said.ThreadDeclined() if place.question == THREAD:
                place.question = ""

    def talk(self, wish: Wish) -> Session:
        """The one-to-one conversation that is meant."""
        talk = self._place(wish).talk
        if not isinstance(talk, Session):
            raise UsageError("that is for a conversation of two", hint="This is a room.")
        return talk

    def _place(self, wish: Wish) -> Place:
        return self.board.place(Wish(wish.verb, wish.target))

    async def _keep(self, wish: Wish) -> None:
        talk = self.talk(wish)
        if self.cupboard is None:
            raise UsageError("a supporter's conversations are not kept", hint="/export FILE writes a copy.")
        await talk.keep(await self.cupboard.open(self.asker(wish)))
        self.board.face.note(
            f"{words.KEPT} Until {words.clock(talk.kept_until_ms)}, `warmline talk --resume` goes on with it.",
            words.DIM,
            event="kept",
            until_ms=talk.kept_until_ms,
        )

    def asker(self, wish: Wish) -> Ask:
        """Where a passphrase comes from: the program's wish, or the person."""
        if "passphrase" in wish.more:

            async def given(_: str) -> str:  # noqa: ASYNC124 - one of two ways
                return str(wish.more["passphrase"])

            return given
        return partial(self.board.face.ask, hidden=True)

    async def thread(self, wish: Wish) -> None:
        """Ask the other side."""
        await self.talk(wish).offer_thread()
        self.board.face.note(words.THREAD_ASKED, words.DIM, event="thread_asked")

    async def _answer(self, wish: Wish, yes: bool) -> None:
        place, talk = self._place(wish), self.talk(wish)
        match place.question:
            case "thread":
                await talk.answer_thread(yes)
            case "backup":
                await talk.answer_backup(yes)
            case _:
                raise UsageError("nobody asks you anything at this moment", hint="/help says what you can do.")
        place.question = ""

    def show_lines(self, talk: Conversation) -> None:
        """What was said, numbered as a report names it."""
        for line in talk.transcript.lines:
            name = "You" if line.mine else line.name
            self.board.face.note(
                f"{line.number:>4}  {name}: {line.text}", line=line.number, mine=line.mine, said=line.text
            )

    async def panic(self) -> None:
        """As :func:`panic`, and knocks that nobody answered yet are taken back."""
        talks = [place.talk for place in self.board.places.values()]
        await panic(self.board.face, self.erases, [each for each in talks if isinstance(each, Asking)])

    async def only_panic(self, wish: Wish) -> bool:
        """Before there is anybody to do the other deeds with."""
        return wish.verb == "panic" and await self.act(wish)


async def panic(face: Face, cupboard: Cupboard | None, asking: Sequence[Asking] = ()) -> None:
    """The screen is empty, everything that is kept on this device is gone, and nothing more is said to anybody: but a
    knock that nobody answered yet is taken back, in the time of a goodbye. Then the program has ended.

    What could not be erased is not told either, since somebody looks at the screen: the exit status is 1, and
    ``warmline talk erase`` says what is left.
    """
    status = 1

    async def end_in_time() -> None:
        """Also where a path hangs while it is closed, which no cancellation hurries."""
        await trio.sleep(PANIC_WITHIN)
        face.end_now(status)

    async def erase() -> None:
        """Not cancelled half way. A keyring may ask the person something meanwhile: the end does not wait for that."""
        nonlocal status
        if cupboard is not None:
            try:
                erased = await run_in_thread(cupboard.erase)
            except (WarmlineError, OSError):
                return
            face.erased(erased.files, erased.key_in_keyring)
        status = 0

    face.blank()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_in_time)
            async with trio.open_nursery() as leaving:
                leaving.start_soon(erase)
                for each in asking:
                    leaving.start_soon(each.take_back)
            nursery.cancel_scope.cancel()
    finally:  # whatever became of that: a traceback would be on the screen
        face.end_now(status)


async def export(board: Switchboard, talk: Conversation, wish: Wish) -> None:
    """A copy for the person, as text and as JSON, on this device and nowhere else."""
    if not wish.words:
        raise UsageError("say where to: /export FILE", hint="FILE.txt and FILE.json are written.")
    lines, path = talk.transcript.lines, _home(wish.words)
    files = [path.with_name(path.name + end) for end in (".txt", ".json")]
    await run_in_thread(partial(_write_new, files[0], as_text(lines, TITLE).encode()))
    await run_in_thread(partial(_write_new, files[1], as_json(lines, TITLE).encode()))
    board.face.note(
        f"{words.EXPORTED} {files[0]} and {files[1]}: {len(lines)} lines.",
        words.WARM,
        event="exported",
        files=[str(each) for each in files],
        lines=len(lines),
    )


async def report(board: Switchboard, talk: Conversation, wish: Wish) -> None:
    """A file that proves what the supporter wrote, and shows of the person's own words what they name."""
    file, _, rest = wish.words.partition(" ")
    if not file:
        raise UsageError("say where to: /report FILE", hint="Numbers of your own lines to include may follow.")
    contact = talk.contact if isinstance(talk, Session | JoinedRoom) else None
    if contact is None:
        raise UsageError("a seeker's words prove nothing", hint="Block ends this contact: /block.")
    include, leave_out, account = await _choices(board, talk, wish, rest)
    data = await run_in_thread(
        partial(
            report_of,
            contact.record,
            talk.evidence,
            talk.transcript.lines,
            include=include,
            leave_out=leave_out,
            account=account,
        )
    )
    path = _home(file)
    await run_in_thread(partial(_write_new, path, data))
    finding = verify_bundle(data)
    board.face.note(
        f"{path} holds {len(finding.texts)} signed messages of {finding.name} and {len(finding.own)} lines of yours. "
        f"`warmline report verify {path}` shows what whoever gets it sees. Its hash is {finding.digest.hex()}.",
        words.BOLD,
        event="reported",
        file=str(path),
        sha256=finding.digest.hex(),
        texts=len(finding.texts),
        own=len(finding.own),
    )


async def _choices(board: Switchboard, talk: Conversation, wish: Wish, rest: str) -> tuple[set[int], set[int], str]:
    more = wish.more
    if more or rest:
        account = str(more.get("account", ""))
        return _numbers(more.get("include", rest)), _numbers(more.get("leave_out", "")), account
    for line in talk.transcript.lines:
        who = "You" if line.mine else line.name
        board.face.note(f"{line.number:>4}  {who}: {line.text}", words.DIM)
    include = _numbers(await board.face.ask("None of your own lines is in it. Numbers to include (Enter: none)"))
    leave_out = _numbers(await board.face.ask("Theirs may repeat what you said. Numbers to leave out (Enter: none)"))
    return include, leave_out, await board.face.ask("What happened, in your words (Enter: nothing)")


def _numbers(given: Any) -> set[int]:
    try:
        parts = given.replace(",", " ").split() if isinstance(given, str) else list(given)
        return {int(part) for part in parts}
    except (TypeError, ValueError):
        raise UsageError("these are no numbers of lines", hint="/lines shows the numbers.") from None


def _home(name: str) -> Path:
    """A path as a shell would read it."""
    return Path(os.path.expanduser(name))


def _write_new(path: Path, data: bytes) -> None:
    """Readable by its owner only; a file that is there is never written over."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise UsageError(f"{path} exists already", hint="Name a file that does not.") from None
    except OSError as error:
        raise ConfigError(f"{path} could not be written: {error.strerror}", hint="Name another place.") from None
