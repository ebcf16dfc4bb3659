"""What a supporter on duty can do besides: threads with people who come back, backup, a debrief with a colleague."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from weakref import WeakKeyDictionary

import trio

from warmline.cli import words
from warmline.cli.deeds import Deeds
from warmline.cli.switchboard import Place, Switchboard, Wish
from warmline.client.peers import BACKUP, DEBRIEF, Colleague, Supporting, host_of
from warmline.client.rooms import join_room
from warmline.client.session import Session, SessionEvent
from warmline.client.session_doors import Knocking
from warmline_protocol.errors import BadSignatureError, UsageError, WarmlineError
from warmline_protocol.session import events as said

Find = Callable[[str], Awaitable[Sequence[Colleague]]]
"""Colleagues who may be asked, of that name or all, in no order of worth."""
Who = Callable[[bytes], Awaitable[str]]
"""What the directory says of the owner of a card's key, in words."""


class SupporterDeeds(Deeds):
    """The verbs of a supporter: /backup, /debrief, and threads that the door remembers."""

    def __init__(self, board: Switchboard, supporting: Supporting, find: Find, who: Who, nursery: trio.Nursery) -> None:
        super().__init__(board)
        self._supporting = supporting
        self._find = find
        self._who = who
        self._nursery = nursery
        # Not for longer than the conversations themselves.
        self._wanted: WeakKeyDictionary[Session, tuple[str, str]] = WeakKeyDictionary()
        self._asked_by: WeakKeyDictionary[Session, bytes] = WeakKeyDictionary()

    async def act(self, wish: Wish) -> bool:
        match wish.verb:
            case "backup":
                named, why = _named(wish.words)
                talk = self.talk(wish)
                await talk.ask_backup(why)
                self._wanted[talk] = (named, why)
                self.board.face.note(words.BACKUP_ASKED, words.DIM, event="backup_asked_for")
            case "debrief":
                self._nursery.start_soon(self._debrief, *_named(wish.words))
            case _:
                return await super().act(wish)
        return True

    def notice(self, place: Place, event: SessionEvent) -> None:
        super().notice(place, event)
        talk = place.talk
        if not isinstance(talk, Session):
            return
        match event:
            case said.ThreadAgreed():
                name = talk.peer_name or "somebody"
                self._supporting.keeper.gate.know(talk.thread, name)
                self.board.face.note(
                    f"Your door knows {name} from now on; /forget {name} ends it.",
                    words.DIM,
                    event="thread_kept",
                    name=name,
                )
            case said.BackupAnswered(yes=True) if talk in self._wanted:
                self._nursery.start_soon(self._told, partial(self._bring, talk, *self._wanted.pop(talk)))
            case said.Invited(attempt=attempt, card=card) if talk in self._asked_by:
                self._nursery.start_soon(self._told, partial(self._join, self._asked_by.pop(talk), attempt, card))

    # -- asking

    async def _told(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except WarmlineError as error:
            self.board.complain(error)

    async def _bring(self, seeker: Session, named: str, why: str) -> None:
        """The seeker said yes: find somebody, and open a room for three."""
        supporting = self._supporting
        async with supporting.call(await self._colleagues(named), BACKUP, why, self._calling) as (colleague, session):
            self.board.add(session, colleague.name)
            async with supporting.room_for(seeker, session, why) as room:
                place = self.board.add(room, "the three of you", room=True)
                self.board.to_front(place)
                self.board.face.note(words.BACKUP_COMES, words.BOLD, event="backup_room", name=colleague.name)
                await place.ended.wait()

    async def _debrief(self, named: str, why: str) -> None:
        async def work() -> None:
            colleagues = await self._colleagues(named)
            async with self._supporting.call(colleagues, DEBRIEF, why, self._calling) as (colleague, session):
                place = self.board.add(session, colleague.name)
                self.board.to_front(place)
                await place.ended.wait()

        await self._told(work)

    async def _colleagues(self, named: str) -> Sequence[Colleague]:
        found = await self._find(named)
        if not found:
            raise UsageError("no other peer has a card out right now", hint="Try again later, or another name.")
        return found

    def _calling(self, name: str) -> None:
        self.board.face.note(f"Asking {name} …", words.DIM, event="asking", name=name)

    # -- being asked

    async def knocked(self, knock: Knocking, contacts: Sequence[bytes]) -> tuple[str, str] | None:
        """(what a supporter who knocks asks for, who they are); ("", "") for anybody else; None for a false proof."""
        try:
            asks = self._supporting.asks_of(knock, contacts)
        except BadSignatureError:
            return None
        proof = knock.hello.peer
        return ("", "") if not asks or proof is None else (asks, await self._who(proof.key))

    async def let_in(self, knock: Knocking, talk: Session) -> None:
        """They were accepted: remember what they came with."""
        # Who comes for a debrief was let in to talk, and may ask into no room.
        if knock.hello.peer is not None and knock.hello.peer.wants == BACKUP:
            self._asked_by[talk] = knock.hello.peer.key
        person = self._supporting.keeper.gate.person(knock.attempt)
        if person is not None:
            await talk.came_back(person.word)

    async def _join(self, key: bytes, attempt: bytes, card: bytes) -> None:
        """Into the room of the colleague who asked for backup."""
        contact, me = host_of(card, key), self._supporting.me
        async with join_room(self._supporting.client, contact, b"", me=me, attempt=attempt) as room:
            place = self.board.add(room, "backup", room=True)
            self.board.to_front(place)
            await place.ended.wait()


def _named(text: str) -> tuple[str, str]:
    """``@NAME words`` asks that peer, anything else whoever is there."""
    if not text.startswith("@"):
        return "", text
    name, _, rest = text[1:].partition(" ")
    return name, rest.strip()
