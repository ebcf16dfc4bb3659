"""What of a signal is worth a line."""

from __future__ import annotations

from warmline.cli.signalling import DOES, sentences
from warmline_protocol.session.signals import GESTURES, State


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
