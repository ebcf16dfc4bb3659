"""What a member of a room can do beside talking: answer for a word in private, and help to facilitate where asked to.

``/yes`` and ``/no`` answer the host, ``/who`` says who is here, and a co-facilitator has ``/mute NAME``,
``/unmute NAME`` and ``/remove NAME``. Programs write ``{"do": "mute", "to": "NAME"}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline.cli import words
from warmline.client.session import Persona, open_session
from warmline_protocol.errors import UsageError
from warmline_protocol.session import events as said

if TYPE_CHECKING:
    import trio

    from warmline.cli.switchboard import Place, Switchboard, Wish
    from warmline.client.line import Line
    from warmline.client.rooms import JoinedRoom
    from warmline.client.session import SessionEvent

_PLEAS = ("mute", "unmute", "remove")


def who_is_here(place: Place) -> tuple[str, list[str]]:
    """A sentence, and the names: for everybody who asks."""
    room = place.talk
    people: dict[bytes, tuple[str, bytes]] = getattr(room, "people", {})
    listening, helpers = getattr(room, "listening", ()), getattr(room, "co_facilitators", ())
    marks = {
        member: " (listening)" if member in listening else " (facilitates too)" if member in helpers else ""
        for member in people
    }
    names = [name for name, _ in people.values()]
    return ", ".join(f"{name}{marks[member]}" for member, (name, _) in people.items()), names


class RoomGuest:
    """Added to the board of somebody who joined a room."""

    def __init__(self, board: Switchboard, line: Line, room: JoinedRoom, me: Persona, nursery: trio.Nursery) -> None:
        self._board = board
        self._line = line
        self._room = room
        self._me = me
        self._nursery = nursery
        self._aside = b""

    def notice(self, place: Place, event: SessionEvent) -> None:
        """Remember what the host asks."""
        if isinstance(event, said.AsideAsked):
            self._aside = event.aside

    async def act(self, wish: Wish) -> bool:
        """Do it, and say whether it was one of these."""
        about = wish.target or wish.text
        if wish.verb in _PLEAS:
            await self._room.ask(wish.verb, self._room.member_called(about))
            self._board.face.note("The host's client is asked to.", words.DIM, event="asked", verb=wish.verb)
        elif wish.verb in ("yes", "no"):
            await self._answer(wish.verb == "yes")
        elif wish.verb == "who":
            place = next(each for each in self._board.places.values() if each.talk is self._room)
            text, names = who_is_here(place)
            self._board.face.note(f"Here are: {text}.", words.DIM, event="who", people=names)
        else:
            return False
        return True

    async def _answer(self, yes: bool) -> None:
        aside, self._aside = self._aside, b""
        if not aside:
            raise UsageError("nobody asks you anything at this moment", hint="/help says what you can do.")
        await self._room.answer_aside(aside, yes)
        if yes:
            self._nursery.start_soon(self._talk_aside, aside)

    async def _talk_aside(self, aside: bytes) -> None:
        client, contact = self._line.client, self._room.contact
        async with open_session(client, contact, me=self._me, attempt=aside) as session:
            place = self._board.add(session, f"{self._room.peer_name}, in private")
            self._board.face.note(
                f"A word in private is conversation {place.number}: /to {place.number} turns to it.",
                words.DIM,
                event="aside",
                place=place.number,
            )
            await place.ended.wait()
