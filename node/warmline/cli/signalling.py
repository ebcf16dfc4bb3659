"""Who is away, back or typing, as one quiet line each; /away, /back, /mood and small gestures say it of oneself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warmline.client.signals import Seen, Signals, open_signals
from warmline_protocol.errors import UsageError
from warmline_protocol.session.signals import State

if TYPE_CHECKING:
    from warmline.cli.switchboard import Place, Switchboard, Wish

DIM = "2"
DOES = {
    "nod": "nods",
    "wave": "waves",
    "hand": "raises a hand",
    "heart": "sends a heart",
    "breathe": "takes a slow breath",
}
"""A gesture, as the others read it."""
HELP = " /away, /back, /mood WORD, /wave, /nod, /hand, /heart and /breathe say something without words."


class Signalling:
    """The signals of every conversation at a board."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._running: dict[int, Signals] = {}
        self._away = False
        board.face.keys(self._typed)

    async def follow(self, place: Place) -> None:
        """Signal in a conversation for as long as it lasts."""
        async with open_signals(place.talk.client, place.talk) as signals:
            self._running[place.number] = signals
            if self._away:
                signals.set(presence="away")
            known: dict[bytes, State] = {}
            try:
                async for seen in signals:
                    self._show(place, seen, known.get(seen.member))
                    known[seen.member] = seen.state
            finally:
                del self._running[place.number]

    def act(self, wish: Wish) -> bool:
        """Whether it was a wish about signals, and is done."""
        match wish.verb:
            case "away" | "back":
                self._away = wish.verb == "away"
                for signals in self._running.values():
                    signals.set(presence="away" if self._away else "here")
                self._board.face.note(
                    "They see that you are away." if self._away else "They see that you are back.", DIM
                )
            case "mood":
                self._front().set(mood=wish.words)
            case "typing":
                self._front().set(typing=True)
            case gesture if gesture in DOES:
                self._front().set(gesture=gesture)
            case _:
                return False
        return True

    def _front(self) -> Signals:
        front = self._board.front
        if front is None or front.number not in self._running:
            raise UsageError("there is nobody to signal to yet", hint="Wait until somebody is here.")
        return self._running[front.number]

    def _typed(self, text: str) -> None:
        front = self._board.front
        if text and not text.startswith("/") and front is not None and (signals := self._running.get(front.number)):
            signals.set(typing=True)

    def _show(self, place: Place, seen: Seen, before: State | None) -> None:
        name = _name_of(place, seen.member)
        state = seen.state
        muted = seen.member in getattr(place.talk, "listening", ())
        said = [] if muted else sentences(name, state, before, typing=not place.room)
        told = {"place": place.number, "name": name, "member": seen.member.hex(), **_plain(state)}
        self._board.face.signal(place, said, told)


def sentences(name: str, state: State, before: State | None, *, typing: bool) -> list[str]:
    """What of a change is worth a line to a person; most is not."""
    before = before or State()
    said = []
    if state.presence != before.presence and state.presence != "gone" and before.presence != "gone":
        said.append(f"{name} is {'away' if state.presence == 'away' else 'back'}")
    if state.typing and not before.typing and typing:
        said.append(f"{name} is typing …")
    if state.mood and state.mood != before.mood:
        said.append(f"{name} feels {state.mood}")
    if state.gesture:
        said.append(f"{name} {DOES[state.gesture]}")
    return said


def _name_of(place: Place, member: bytes) -> str:
    people: dict[bytes, tuple[str, bytes]] = getattr(place.talk, "people", {})
    return people[member][0] if member in people else place.name


def _plain(state: State) -> dict[str, Any]:
    return {
        "presence": state.presence,
        "typing": state.typing,
        "seat": state.seat,
        "mood": state.mood,
        "gesture": state.gesture,
    }
