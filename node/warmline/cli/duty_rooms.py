"""What a supporter on duty can do in a room that they host.

``/mute NAME``, ``/unmute NAME``, ``/mutefirst on|off``, ``/slow SECONDS``, ``/cofacilitate NAME``, ``/aside NAME``,
``/handover [NAME]`` and ``/who``; ``/remove NAME`` is with the door. Programs write ``{"do": "mute", "to": "NAME"}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from warmline.cli import words
from warmline.cli.room_guest import who_is_here
from warmline.client.rooms import HostedRoom
from warmline_protocol.errors import UsageError
from warmline_protocol.session import events as said

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from warmline.cli.switchboard import Face, Place, Switchboard, Wish
    from warmline.client.duty import Duty
    from warmline.client.session import SessionEvent

_ASIDE_MS: Final = 10 * 60_000
"""How long somebody who said yes to a word in private is expected at the door."""


class RoomVerbs:
    """Added to the board of somebody on duty."""

    def __init__(self, duty: Duty, face: Face, board: Switchboard) -> None:
        self._duty = duty
        self._face = face
        self._board = board

    def notice(self, place: Place, event: SessionEvent) -> None:
        """Whoever said yes to a word in private comes in without being asked about."""
        if isinstance(event, said.AsideAnswered) and event.yes:
            keeper = self._duty.keeper
            keeper.expect(event.aside, keeper.client.clock.utc_ms() + _ASIDE_MS)

    async def act(self, wish: Wish) -> bool:
        """Do it, and say whether it was one of these."""
        about = wish.target or wish.text
        match wish.verb:
            case "mute":
                await self._with(about, lambda room, member: room.mute(member))
            case "unmute":
                await self._with(about, lambda room, member: room.unmute(member))
            case "cofacilitate":
                await self._with(about, lambda room, member: room.co_facilitate(member))
            case "aside":
                await self._with(about, lambda room, member: room.invite(member))
                self._face.note(f"{about} is asked whether they want a word in private.", words.DIM, event="aside_sent")
            case "mutefirst":
                await self._room().mute_first(_switch(about))
            case "slow":
                await self._room().slow(_seconds(about) * 1000)
            case "handover":
                await self._hand_over(about)
            case "who":
                text, names = who_is_here(self._place())
                self._face.note(f"Here are: {text}.", words.DIM, event="who", people=names)
            case _:
                return False
        return True

    async def _with(self, name: str, do: Callable[[HostedRoom, bytes], Awaitable[object]]) -> None:
        room = self._room()
        await do(room, room.member_called(name))

    def _place(self) -> Place:
        front = self._board.front
        rooms = [each for each in self._board.places.values() if isinstance(each.talk, HostedRoom)]
        if front in rooms:
            return front
        if len(rooms) != 1:
            raise UsageError("no room is meant", hint="Turn to a room of yours with /to N first.")
        return rooms[0]

    def _room(self) -> HostedRoom:
        talk = self._place().talk
        assert isinstance(talk, HostedRoom)
        return talk

    async def _hand_over(self, name: str) -> None:
        room = self._room()
        heir = await self._duty.heir_of(room, name)
        self._face.note(
            f"Telling everybody that {heir.name} opens the next room, and closing this one …",
            words.DIM,
            event="handed_over",
            card=heir.card_id.hex(),
            name=heir.name,
        )
        await room.succeed(heir.card_id)


def _switch(word: str) -> bool:
    if word not in ("on", "off"):
        raise UsageError(f"{word!r:.20} is neither on nor off", hint="Write /mutefirst on, or /mutefirst off.")
    return word == "on"


def _seconds(word: str) -> int:
    if not word.isdecimal():
        raise UsageError(f"{word!r:.20} is not a number of seconds", hint="Write /slow 30, or /slow 0 to end it.")
    return int(word)
