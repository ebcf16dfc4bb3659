"""What of a signal is worth a line."""

from __future__ import annotations

from dataclasses import dataclass

from warmline.cli.signalling import DOES, sentences
from warmline.cli.switchboard import Place, Switchboard
from warmline.client.signals import Seen
from warmline_protocol.session.signals import GESTURES, State


@dataclass
class _Room:
    people: dict[bytes, tuple[str, bytes]]
    listening: tuple[bytes, ...]


class _Quiet:
    """A face that notes what it is told."""

    def __init__(self) -> None:
        self.said: list[list[str]] = []

    def keys(self, typed: object) -> None:
        pass

    def signal(self, place: Place, said: list[str], told: dict[str, object]) -> None:
        self.said.append(said)


def test_who_is_muted_says_nothing_by_gestures_either() -> None:
    face = _Quiet()
    board = Switchboard(face, None)  # type: ignore[arg-type] - nothing runs
    room = _Room({b"r": ("River", b""), b"m": ("Moss", b"")}, (b"r",))
    place = Place(1, "the room", room, room=True)  # type: ignore[arg-type] - people are all that is asked
    for member in (b"r", b"m"):
        board._signals._show(place, Seen(member, State(gesture="wave", gesture_no=1)), None)
    assert face.said == [[], ["Moss waves"]]


def test_most_changes_are_worth_no_line() -> None:
    assert sentences("Ada", State(), None, typing=True) == []
    assert sentences("Ada", State("gone"), State(), typing=True) == []
    assert sentences("Ada", State(), State("gone"), typing=True) == [], "another sentence said that they are here"
    assert sentences("Ada", State(typing=True), State(typing=True), typing=True) == []
    assert sentences("Ada", State(seat=3), State(), typing=True) == []


def test_presence_typing_moods_and_gestures_are() -> None:
    assert sentences("Ada", State("away"), State(), typing=True) == ["Ada is away"]
    assert sentences("Ada", State(), State("away"), typing=True) == ["Ada is back"]
    assert sentences("Ada", State(typing=True), State(), typing=True) == ["Ada is typing …"]
    assert sentences("Ada", State(typing=True), State(), typing=False) == [], "in a room that would be a line a second"
    assert sentences("Ada", State(mood="tired"), None, typing=True) == ["Ada feels tired"]
    assert set(DOES) == set(GESTURES) - {""}
    for gesture, does in DOES.items():
        assert sentences("Ada", State(gesture=gesture, gesture_no=1), State(), typing=True) == [f"Ada {does}"]
