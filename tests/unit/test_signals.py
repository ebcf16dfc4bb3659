"""Signals without a network: what seals and opens, what a board says and when, and what it does not believe."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from warmline.env import SeededRng
from warmline_protocol import limits, vectors
from warmline_protocol.errors import MalformedError, UsageError
from warmline_protocol.session.signals import GESTURES, MOODS, Seen, SignalBoard, SignalKeys, State, open_frame, seal

NOW = 1_800_000_000_000
RNG = SeededRng("signals")
KEYS = SignalKeys.of(b"o" * 32, b"e" * 32)
NEXT = SignalKeys.of(b"p" * 32, b"f" * 32)
ANA, BEN, EVE = (bytes([n]) * 16 for n in (1, 2, 3))


def board(me: bytes, *members: bytes, keys: SignalKeys = KEYS) -> SignalBoard:
    made = SignalBoard(RNG.bytes)
    made.rekey(keys, me, members or (ANA, BEN))
    return made


def frame(sender: bytes, now_ms: int = NOW, keys: SignalKeys = KEYS, **state: Any) -> bytes:
    return seal(keys, sender, now_ms, State(**state), RNG.bytes)


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", vectors.load("session.signals"), ids=lambda row: row["name"])
def test_a_signal_is_sealed_and_opened_as_committed(row: dict[str, Any]) -> None:
    keys = SignalKeys.of(bytes.fromhex(row["outer"]), bytes.fromhex(row["exporter"]))
    assert (keys.secret.hex(), keys.channel.hex()) == (row["secret"], row["channel"])
    sender, state, data = bytes.fromhex(row["sender"]), State(**row["state"]), bytes.fromhex(row["frame"])
    assert open_frame(keys, data) == (sender, row["counter"], state)
    assert seal(keys, sender, row["counter"], state, lambda size: bytes.fromhex(row["salt"])) == data


def test_every_signal_has_one_size_and_no_two_look_alike() -> None:
    states = [State(), State("away", True, 50, MOODS[-1], GESTURES[-1], 255), State("gone")]
    made = [seal(KEYS, ANA, NOW, state, RNG.bytes) for state in (*states, states[0])]
    assert {len(each) for each in made} == {limits.SIGNAL_SIZE}
    assert len({each[at : at + 8] for each in made for at in range(0, 128, 8)}) == 4 * 16


def test_an_epoch_and_an_outer_key_each_make_another_channel() -> None:
    channels = {SignalKeys.of(bytes([a]) * 32, bytes([b]) * 32).channel for a in range(3) for b in range(3)}
    assert len(channels) == 9


@pytest.mark.parametrize(
    "data",
    [b"", bytes(127), bytes(129), bytes(128), frame(ANA)[:-1], frame(ANA) + b"\0", frame(ANA, keys=NEXT)],
    ids=["empty", "short", "long", "zeros", "cut", "longer", "of another epoch"],
)
def test_what_nobody_here_sealed_does_not_open(data: bytes) -> None:
    with pytest.raises(MalformedError):
        open_frame(KEYS, data)


@pytest.mark.parametrize("at", range(0, 128, 9))
def test_a_bent_signal_does_not_open(at: int) -> None:
    bent = bytearray(frame(ANA))
    bent[at] ^= 1
    with pytest.raises(MalformedError):
        open_frame(KEYS, bytes(bent))


@pytest.mark.parametrize(
    "wrong", [{"presence": "dead"}, {"seat": 51}, {"seat": -1}, {"mood": "hungry"}, {"gesture": "fist"}]
)
def test_a_person_can_only_signal_what_there_is(wrong: dict[str, Any]) -> None:
    mine = board(ANA)
    with pytest.raises(UsageError):
        mine.set(NOW, **wrong)
    assert mine.mine == State()


# --- saying ----------------------------------------------------------------------------------------------------------


def test_a_board_speaks_at_once_then_on_change_two_seconds_apart_then_now_and_again() -> None:
    ana = board(ANA)
    assert ana.frame(NOW)
    assert ana.frame(NOW + 1) is None
    ana.set(NOW + 10, presence="away")
    assert ana.frame(NOW + 11) is None, "too soon after the first"
    assert ana.due_ms() == NOW + limits.SIGNAL_EVERY_MS
    assert ana.frame(NOW + limits.SIGNAL_EVERY_MS)
    assert ana.due_ms() == NOW + limits.SIGNAL_EVERY_MS + limits.SIGNAL_AGAIN_MS


def test_typing_ends_by_itself_and_a_gesture_is_made_once() -> None:
    ana, ben = board(ANA), board(BEN)
    ana.set(NOW, typing=True, gesture="wave")
    seen = hear(ana, ben, NOW)
    assert [each.state for each in seen] == [State(typing=True, gesture="wave", gesture_no=1)]
    later = [each for at in range(1, 40) for each in hear(ana, ben, NOW + at * 500)]
    assert [each.state for each in later] == [State()]
    ana.set(NOW + 30_000, gesture="wave")
    assert [each.state.gesture for each in hear(ana, ben, NOW + 30_000)] == ["wave"], "the same gesture again"


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    ana, ben = board(ANA), board(BEN)
    hear(ana, ben, NOW)
    ana.set(NOW - 60_000, presence="away")
    assert [each.state.presence for each in hear(ana, ben, NOW - 60_000)] == ["away"]


def hear(ana: SignalBoard, ben: SignalBoard, now: int) -> list[Seen]:
    made = ana.frame(now)
    return ben.hear([made] if made else [], now) + ben.tick(now)


# --- hearing ---------------------------------------------------------------------------------------------------------


def test_changes_are_told_once_and_who_is_silent_fades() -> None:
    ben = board(BEN)
    assert ben.hear([frame(ANA, NOW, typing=True)], NOW) == [Seen(ANA, State(typing=True))]
    assert ben.hear([frame(ANA, NOW + 1, typing=True)], NOW) == []
    assert ben.others == {ANA: State(typing=True)}
    assert ben.tick(NOW + 20_000) == [Seen(ANA, State())]
    assert ben.tick(NOW + limits.SIGNAL_LIFE_MS + 1) == [Seen(ANA, State("gone"))]
    assert ben.others == {}
    assert ben.tick(NOW + 2 * limits.SIGNAL_LIFE_MS) == []


def test_replays_strangers_reflections_and_forgeries_change_nothing() -> None:
    ben = board(BEN)
    away, here = frame(ANA, NOW, presence="away"), frame(ANA, NOW + 1)
    assert len(ben.hear([away, here], NOW)) == 2
    assert ben.hear([away, here, away], NOW) == [], "replayed"
    assert ben.hear([frame(EVE)], NOW) == [], "no member"
    assert ben.hear([frame(BEN)], NOW) == [], "one's own, reflected"
    assert ben.hear([bytes(128), frame(ANA, NOW + 9, keys=NEXT)], NOW) == [], "sealed by nobody here"
    hours = 3_600_000
    assert ben.hear([frame(ANA, NOW - hours), frame(ANA, NOW + hours)], NOW) == [], "from another time"
    assert ben.others == {ANA: State()}
    assert ben.refused == 9


def test_who_said_goodbye_is_not_brought_back_by_a_replay() -> None:
    ana, ben = board(ANA), board(BEN)
    first = ana.frame(NOW)
    bye = ana.farewell(NOW + 1)
    assert first and bye
    assert [each.state.presence for each in ben.hear([first, bye], NOW)] == ["here", "gone"]
    assert ben.hear([first, bye], NOW) == []
    assert ben.others == {}


def test_another_epoch_takes_out_who_left_and_opens_nothing_of_the_one_before() -> None:
    ben = board(BEN, ANA, BEN, EVE)
    ben.hear([frame(ANA), frame(EVE)], NOW)
    assert ben.rekey(NEXT, BEN, [ANA, BEN]) == [Seen(EVE, State("gone"))]
    assert ben.others == {ANA: State()}, "who stays is not forgotten"
    assert ben.frame(NOW), "said again in the new epoch"
    assert ben.hear([frame(ANA, NOW + 5), frame(EVE, NOW + 5, keys=NEXT)], NOW) == []
    assert ben.hear([frame(ANA, NOW, keys=NEXT, presence="away")], NOW) == [], "a counter goes on through epochs"
    assert ben.hear([frame(ANA, NOW + 5, keys=NEXT, presence="away")], NOW) == [Seen(ANA, State("away"))]


def test_states_are_plain_data() -> None:
    assert dataclasses.asdict(State()) == {
        "presence": "here",
        "typing": False,
        "seat": 0,
        "mood": "",
        "gesture": "",
        "gesture_no": 0,
    }
