"""What a seeker can do besides: a thread under a name of their own, and a second peer whom they said yes to."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from warmline.cli import words
from warmline.cli.deeds import Deeds
from warmline.cli.keeping import Cupboard
from warmline.cli.switchboard import Place, Switchboard, Wish
from warmline.client.rooms import join_room
from warmline.client.session import Client, Persona, Session, SessionEvent
from warmline.client.threads import Thread, keep_thread
from warmline.env import run_in_thread
from warmline_protocol.errors import WarmlineError
from warmline_protocol.session import events as said
from warmline_protocol.session.known import spoken

BACKUP_ROOM = "the three of you"


@dataclass(frozen=True, slots=True)
class Met:
    """Whom the seeker talks to: the id of their card, their name there, and who the seeker is to them."""

    card: bytes
    supporter: str
    me: Persona


class SeekerDeeds(Deeds):
    """Obtained with a board; ``met`` is None where the card's id is not known any more (a conversation resumed)."""

    def __init__(
        self, board: Switchboard, cupboard: Cupboard, client: Client, nursery: trio.Nursery, met: Met | None
    ) -> None:
        super().__init__(board, cupboard)
        self._client = client
        self._nursery = nursery
        self._met = met
        self._thread_name = ""

    async def thread(self, wish: Wish) -> None:
        """``/thread NAME`` keeps it on this device under that name; without one, only its word is shown."""
        if wish.words and self.cupboard is not None:
            await self.cupboard.open(self.asker(wish))
        self._thread_name = wish.words
        talk = self.talk(wish)
        if talk.thread:  # it came of their question, or was agreed before
            await self._keep_thread(talk)
        elif self._place(wish).question == "thread":
            await talk.answer_thread(True)
        else:
            await super().thread(wish)

    def notice(self, place: Place, event: SessionEvent) -> None:
        super().notice(place, event)
        if isinstance(event, said.ThreadAgreed) and isinstance(place.talk, Session):
            self._nursery.start_soon(self._keep_thread, place.talk)
        elif isinstance(event, said.Invited) and isinstance(place.talk, Session):
            self._nursery.start_soon(self._join, place.talk, event)

    async def _keep_thread(self, talk: Session) -> None:
        face, vault = self.board.face, None if self.cupboard is None else self.cupboard.vault
        name, met = self._thread_name, self._met
        if vault is not None and name and met is not None:
            now = self._client.clock.utc_ms()
            thread = Thread(name, talk.thread, met.card, met.supporter, met.me.name, met.me.avatar, now)
            try:
                await run_in_thread(lambda: keep_thread(vault, thread, now))
            except WarmlineError as error:
                self.board.complain(error)
                return
            face.note(
                f"Kept on this device as {name!r}: `warmline talk --thread {name}` finds them again, "
                f"`warmline threads forget {name}` forgets them.",
                words.BOLD,
                event="thread_kept",
                name=name,
            )
            return
        word = spoken(talk.thread)
        face.note(
            f"Nothing is kept here. Write this down, for it finds them again: {word}  (`warmline talk --with "
            f"{'' if met is None else met.supporter} --word …`). /thread NAME keeps it on this device instead.",
            words.BOLD,
            event="thread_word",
            word=word,
        )

    async def _join(self, talk: Session, invited: said.Invited) -> None:
        """Into the room that the supporter opened, after this person's yes."""
        contact, me = talk.contact, talk.me
        if contact is None or me is None:
            return
        async with join_room(self._client, contact, b"", me=me, attempt=invited.attempt) as room:
            place = self.board.add(room, BACKUP_ROOM, room=True)
            self.board.to_front(place)
            await place.ended.wait()
