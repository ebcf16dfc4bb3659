"""Conversations at one keyboard: a seeker's one, or a supporter's knocks and up to a few conversations and rooms.

The same board serves a person at a terminal and a program that speaks JSON lines; only what is read and shown differs.
What is typed goes to the conversation in front; ``/help`` says the rest.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import trio

from warmline.cli import signalling, words
from warmline.cli.signalling import Signalling
from warmline.cli.terminal import Terminal, is_panic
from warmline.client import session
from warmline.scopes import sole_error
from warmline_protocol.errors import UsageError, WarmlineError
from warmline_protocol.session import events as said


@dataclass(frozen=True, slots=True)
class Wish:
    """Something the person wants: a verb (``say``, ``leave``, ``accept``, …), whom it is about, and words."""

    verb: str
    target: str = ""
    text: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else a program said with it."""

    @property
    def words(self) -> str:
        """What was said with the verb, by a person or a program."""
        return self.text or self.target


class Face(Protocol):
    """How a board talks with whoever sits at it."""

    def note(self, text: str, style: str = "", **data: Any) -> None:
        """Say something that belongs to no conversation; programs get ``data``."""
        ...

    def event(self, place: Place, event: session.SessionEvent) -> None: ...

    def sent(self, place: Place, message: bytes, text: str) -> None: ...

    def front(self, place: Place | None) -> None: ...

    def call(self) -> None:
        """Somebody knocks: call a person who looks elsewhere."""
        ...

    async def ask(self, words: str, *, hidden: bool = False) -> str:
        """An answer to a question; UsageError where there is nobody to ask, since a program says all in its wish."""
        ...

    def blank(self) -> None:
        """Leave nothing on the screen, and show nothing more."""
        ...

    def end_now(self, status: int = 0) -> NoReturn:
        """End the program at once."""
        ...

    def last_words(self) -> None:
        """From now on an empty line ends it."""
        ...

    def signal(self, place: Place, said: Sequence[str], told: Mapping[str, Any]) -> None:
        """Somebody's presence, typing or gesture: quiet lines for a person, all of it for a program."""
        ...

    def keys(self, typed: Callable[[str], None]) -> None:
        """Hear what stands on the typing line, at each key."""
        ...

    def wishes(self) -> AsyncIterator[Wish]: ...

    async def panic(self) -> None:
        """Until the person wishes to erase all and end; the wish stays among the :meth:`wishes`."""
        ...

    def erased(self, files: Sequence[str], keyring: bool) -> None:
        """Tell a program what is gone. A person looks at an empty screen."""
        ...


@dataclass(slots=True, eq=False)
class Place:
    """One conversation at the board."""

    number: int
    name: str
    talk: session.Conversation
    room: bool = False
    said: dict[bytes, str] = field(default_factory=dict)
    ended: trio.Event = field(default_factory=trio.Event)
    question: str = ""
    """What the other side asked and /yes or /no answers."""


Act = Callable[[Wish], Awaitable[bool]]
"""Does a wish and says whether it knew it."""

Notice = Callable[[Place, session.SessionEvent], None]
"""Hears every event of every place, after it was shown."""


class Switchboard:
    """Reads wishes, shows events. ``acts`` are the extra verbs of a supporter."""

    def __init__(self, face: Face, nursery: trio.Nursery, acts: Act | None = None) -> None:
        self.face = face
        self.places: dict[int, Place] = {}
        self.front: Place | None = None
        self.quit = False
        """Whether the person ended all, by a key or the end of their input."""
        self._nursery = nursery
        self._acts = [] if acts is None else [acts]
        self._notices: list[Notice] = []
        self._count = 0
        self._signals = Signalling(self)

    def also(self, act: Act, notice: Notice | None = None) -> None:
        """More verbs, and somebody who hears the events."""
        self._acts.append(act)
        if notice is not None:
            self._notices.append(notice)

    def add(self, talk: session.Conversation, name: str, *, room: bool = False) -> Place:
        """Show a conversation's events from now on, and put it in front where nothing else is."""
        self._count += 1
        place = Place(self._count, name, talk, room)
        self.places[place.number] = place
        if self.front is None:
            self.to_front(place)
        self._nursery.start_soon(self._follow, place)
        self._nursery.start_soon(self._signals.follow, place)
        return place

    async def serve(self) -> None:
        """Do what is wished until the person ends it."""
        async for wish in self.face.wishes():
            try:
                if wish.verb == "quit":
                    break
                async with hearing_panic(self.face, lambda: self._acted(Wish("panic"))):
                    await self._do(wish)
            except WarmlineError as error:
                self.complain(error)
        self.quit = True

    def complain(self, error: WarmlineError) -> None:
        """Say what did not work, and what to do."""
        self.face.note(f"{error.message}. {error.hint}", words.ALARM, error=error.message, hint=error.hint)

    async def _do(self, wish: Wish) -> None:
        match wish.verb:
            case "say":
                place = self.place(wish)
                message = await place.talk.send(wish.text)
                place.said[message] = wish.text
                self.face.sent(place, message, wish.text)
            case "leave":
                await self.place(wish).talk.aclose()
            case "block":
                await self.place(wish).talk.aclose("blocked")
            case "to":
                self.to_front(self.place(wish))
            case _ if self._signals.act(wish) or await self._acted(wish):
                pass
            case _:
                raise UsageError(f"there is no /{wish.verb} here", hint="/help lists what there is.")

    async def _acted(self, wish: Wish) -> bool:
        for act in self._acts:
            if await act(wish):
                return True
        return False

    def place(self, wish: Wish) -> Place:
        """The conversation that is meant: named, or the one in front."""
        if wish.target:
            for place in self.places.values():
                if wish.target in (str(place.number), place.name):
                    return place
            raise UsageError(f"there is no conversation {wish.target!r}", hint="Conversations are numbered from 1.")
        if self.front is None:
            raise UsageError("there is nobody to say this to yet", hint="Wait until somebody is here.")
        return self.front

    def to_front(self, place: Place | None) -> None:
        """What is typed goes there from now on."""
        self.front = place
        self.face.front(place)

    async def _follow(self, place: Place) -> None:
        async for event in place.talk.events:
            if isinstance(event, said.Joined) and not place.room:
                place.name = event.name
            self.face.event(place, event)
            for notice in self._notices:
                notice(place, event)
            if isinstance(event, said.Joined) and place is self.front:
                self.face.front(place)
        del self.places[place.number]
        if self.front is place:
            self.to_front(next(iter(self.places.values()), None))
        place.ended.set()


@asynccontextmanager
async def hearing_panic(face: Face, act: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """What is done inside keeps no panic waiting, however long it takes."""

    async def hear() -> None:
        await face.panic()
        with trio.CancelScope(shield=True):  # what was being done may end first; the panic goes on
            await act()

    with sole_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            yield
            nursery.cancel_scope.cancel()


# --- faces -----------------------------------------------------------------------------------------------------------

HELP = (
    "Type and press Enter to say something. /leave ends this conversation, /block ends it for good, Ctrl-D ends all. "
    "/to N turns to conversation N. /keep keeps it on this device for a day, /thread asks them whether you may find "
    "each other again, /export FILE writes a copy, /report FILE writes a report that proves what they wrote. "
    "/panic or Ctrl-\\ erases what is kept here and ends at once."
) + signalling.HELP
HELP_SUPPORTER = (
    " When somebody knocks or asks to talk now: /accept N, /show N (their name and words), /decline N (no reason is "
    "given, and it need not be read), /busy N. Your door: /door open, known or desk; /pause, /rest MINUTES, /ready; "
    "/forget NAME. /introduce NAME sends whoever is in front to a colleague of your desk. "
    "/backup WORDS asks the person in front whether a second peer may join, and after a yes asks your colleagues "
    "(@NAME WORDS asks one); /debrief WORDS asks a colleague to talk with you afterwards. "
    "In a room: /remove NAME, /mute NAME, /unmute NAME, /mutefirst on|off, /slow SECONDS, /cofacilitate NAME, "
    "/aside NAME, /handover [NAME], /who."
)
VERBS_WITH_WORDS = frozenset({"thread", "keep", "export", "report", "rate", "backup", "debrief", "lines", "mood"})
"""What follows these is no conversation's number."""


class TerminalFace:
    """A person at a terminal."""

    enter_ends = False
    """Whether an empty line ends the wishes: on the closing screen."""

    def __init__(self, terminal: Terminal, *, supporter: bool = False, many: bool = False) -> None:
        self._terminal = terminal
        self._many = many
        self._help = HELP + (HELP_SUPPORTER if supporter else "")

    def note(self, text: str, style: str = "", **data: Any) -> None:
        self._terminal.show(text, style=style)

    def event(self, place: Place, event: session.SessionEvent) -> None:
        if isinstance(event, said.MessageState):
            shown = words.fate(event, place.said.get(event.id, "your message"))
        else:
            shown = words.sentence(event)
        if shown is not None:
            text, style = shown
            self._terminal.show(f"[{place.number} {place.name}] {text}" if self._many else text, style=style)

    def sent(self, place: Place, message: bytes, text: str) -> None:
        where = f" to {place.name}" if self._many else ""
        self._terminal.show(f"You{where}: {text}", style=words.COOL)

    def front(self, place: Place | None) -> None:
        self._terminal.prompt(f"{place.name} > " if place is not None and place.talk.established else "> ")

    def call(self) -> None:
        self._terminal.bell()

    async def ask(self, words: str, *, hidden: bool = False) -> str:
        answer = await self._terminal.ask(f"{words}: ", hidden=hidden)
        if answer is None:
            raise UsageError("nothing was answered", hint="It stays as it was.")
        return answer.strip()

    def blank(self) -> None:
        self._terminal.wipe()
        with open(os.devnull, "wb") as nowhere:
            for stream in (sys.stdout, sys.stderr):  # what is told meanwhile is not seen
                os.dup2(nowhere.fileno(), stream.fileno())

    def end_now(self, status: int = 0) -> NoReturn:
        os._exit(status)

    def last_words(self) -> None:
        self.enter_ends = True

    def signal(self, place: Place, said: Sequence[str], told: Mapping[str, Any]) -> None:
        for line in said:
            self._terminal.show(f"[{place.number}] {line}" if self._many else line, style=words.DIM)

    def keys(self, typed: Callable[[str], None]) -> None:
        self._terminal.typed = typed

    async def wishes(self) -> AsyncIterator[Wish]:
        async for line in self._terminal.lines():
            text = line.strip()
            if text in ("/help", "/?"):
                self.note(self._help, words.DIM)
            elif text == "/quit":
                return
            elif text.startswith("/"):
                verb, _, rest = text[1:].partition(" ")
                yield Wish(verb, text=rest.strip()) if verb in VERBS_WITH_WORDS else Wish(verb, rest.strip())
            elif text:
                yield Wish("say", text=text)
            elif self.enter_ends:
                return

    async def panic(self) -> None:
        await self._terminal.wait(is_panic)

    def erased(self, files: Sequence[str], keyring: bool) -> None:
        pass


class JsonFace:
    """A program on standard input and output: one JSON object a line, both ways.

    In: ``{"do": "say", "to": "1", "text": "…"}``; ``do`` is a verb of the board, ``to`` whom it is about.
    Out: ``{"event": …, "place": 1, …}`` as ``warmline.client.session.to_json`` writes them, and ``{"note": …}``.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._silent = False

    def _print(self, data: dict[str, Any]) -> None:
        if self._silent:
            return
        sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def note(self, text: str, style: str = "", **data: Any) -> None:
        self._print({"note": text, **data})

    def event(self, place: Place, event: session.SessionEvent) -> None:
        self._print({"place": place.number, "name": place.name, **session.to_json(event)})

    def sent(self, place: Place, message: bytes, text: str) -> None:
        self._print({"event": "sent", "place": place.number, "id": message.hex(), "text": text})

    def front(self, place: Place | None) -> None:
        pass

    def call(self) -> None:
        pass

    async def ask(self, words: str, *, hidden: bool = False) -> str:
        raise UsageError(f"this needs an answer: {words}", hint="A program says it together with its wish.")

    def blank(self) -> None:
        self._silent = True

    def end_now(self, status: int = 0) -> NoReturn:
        os._exit(status)

    def last_words(self) -> None:
        pass

    def signal(self, place: Place, said: Sequence[str], told: Mapping[str, Any]) -> None:
        self._print({"event": "signal", **told})

    def keys(self, typed: Callable[[str], None]) -> None:
        pass  # a program says {"do": "typing"}

    async def wishes(self) -> AsyncIterator[Wish]:
        async for line in self._terminal.lines():
            wish = _wish(line)
            if wish is None:
                self.note("not understood", error='write {"do": "say", "text": "…"}', line=line[:200])
            else:
                yield wish

    def erased(self, files: Sequence[str], keyring: bool) -> None:
        self._silent = False
        self._print({"note": "", "event": "erased", "files": list(files), "keyring": keyring})
        self._silent = True

    async def panic(self) -> None:
        await self._terminal.wait(lambda line: (wish := _wish(line)) is not None and wish.verb == "panic")


def _wish(line: str) -> Wish | None:
    """What a program wishes; None for what cannot be read."""
    try:
        asked = json.loads(line)
        return Wish(str(asked["do"]), str(asked.get("to", "")), str(asked.get("text", "")), dict(asked))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
