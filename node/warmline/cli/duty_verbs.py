"""What a supporter on duty can say about their own door: who may knock, when to rest, whom they know, whom they send.

``/door open|known|desk``, ``/pause``, ``/rest MINUTES``, ``/ready``, ``/forget NAME``,
``/introduce COLLEAGUE``. Programs write the same: ``{"do": "door", "text": "known"}``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from warmline_protocol.errors import UsageError
from warmline_protocol.session.known import spoken

if TYPE_CHECKING:
    from warmline.cli.switchboard import Face, Place, Switchboard, Wish
    from warmline.client.duty import Duty

_REST_MOST = 24 * 60
_WHO = {
    "open": "anybody may knock",
    "known": "only people you know",
    "desk": "people you know or whom your desk sends",
}


class Verbs:
    """Added to the board of somebody on duty."""

    def __init__(self, duty: Duty, face: Face, board: Switchboard) -> None:
        self._duty = duty
        self._gate = duty.gate
        self._face = face
        self._board = board

    async def act(self, wish: Wish) -> bool:
        """Do it, and say whether it was one of these."""
        about = " ".join(filter(None, (wish.target, wish.text)))
        match wish.verb:
            case "door":
                self._door(about)
            case "pause" | "rest":
                self._rest(about)
            case "ready":
                self._gate.rest_over()
                self._face.note("Your door takes people again.", "2", event="ready")
            case "forget":
                self._forget(about)
            case "introduce":
                await self._introduce(about)
            case _:
                return False
        return True

    def _door(self, who: str) -> None:
        if who:
            self._gate.rules = replace(self._gate.rules, who=who)
        rules = self._gate.rules
        self._face.note(
            f"Your door: {_WHO[rules.who]}; {rules.at_once} at once, {self._gate.today()} in the last 24 hours.",
            "2",
            event="door",
            door=rules.who,
            today=self._gate.today(),
            full=self._gate.full(self._duty.keeper.busy_seats),
        )

    def _rest(self, minutes: str) -> None:
        if not minutes:
            self._gate.paused = True
            self._face.note("Your door says busy until /ready. Conversations go on.", "2", event="resting", minutes=0)
            return
        if not minutes.isdecimal() or not 1 <= int(minutes) <= _REST_MOST:
            raise UsageError(f"{minutes!r:.20} is not a number of minutes", hint="Write /rest 15, or /pause.")
        before = self._gate.rules
        self._gate.rules = replace(before, rest_minutes=int(minutes))
        self._gate.ended()
        self._gate.rules = before
        self._face.note(
            f"Your door says busy for {minutes} min, or until /ready.", "2", event="resting", minutes=int(minutes)
        )

    def _forget(self, name: str) -> None:
        if not self._gate.forget(name):
            names = sorted({each.name for each in self._gate.book.people})
            raise UsageError(f"nobody is known as {name!r:.40}", hint=f"Known: {', '.join(names) or 'nobody'}.")
        self._face.note(f"{name} is a stranger at your door from now on.", "2", event="forgotten", name=name)

    async def _introduce(self, colleague: str) -> None:
        """Send the person in front to a colleague of the desk, who will know that they were sent."""
        place = self._front()
        card, card_id, word = await self._duty.introduce(colleague)
        text = (
            f"{card.name} of our desk expects you for the next two hours: "
            f"warmline talk --with {card_id.hex()} --word {spoken(word)}"
        )
        await self._say(place, text)
        self._face.note(f"{card.name} knows that somebody comes.", "2", event="introduction", colleague=card.name)

    async def _say(self, place: Place, text: str) -> None:
        message = await place.talk.send(text)
        place.said[message] = text
        self._face.sent(place, message, text)

    def _front(self) -> Place:
        place = self._board.front
        if place is None or place.room:
            raise UsageError("nobody to give this to", hint="Turn to a conversation of two with /to N first.")
        return place


__all__ = ["Verbs"]
