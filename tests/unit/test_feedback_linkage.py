"""The linkage game as a regression: what is published on the attacks page may not grow, and a broken client loses it.

``python -m sim.linkage`` in tests/ plays it in full and prints everything.
"""

from __future__ import annotations

import pytest

from sim.linkage.alarms import Group, chance_of_alarm, to_raise, to_silence
from sim.linkage.community import EPOCHS, Setting, Views, live
from sim.linkage.game import infer, link

HONEST = Setting(supporters=16)
SHORT = Setting(supporters=8, epochs=40)
LINK_MOST = 0.03
ANSWERS_MOST = 0.40
"""Of the adversary's advantage: linking a rating to a session, and telling one person's answer, at these volumes."""


@pytest.fixture(scope="module")
def views() -> Views:
    return live(7, HONEST)


def test_ratings_are_not_linked_to_sessions(views: Views) -> None:
    best = link(views)[0]
    assert best.guesses > 2_500 and 0.1 < best.guessing < 0.3
    assert best.advantage < LINK_MOST, best


def test_answers_of_single_people_stay_deniable(views: Views) -> None:
    found = {each.sessions: each for each in infer(views)}
    assert found["all"].advantage < ANSWERS_MOST, found["all"]
    # Who is named as having said no said yes in most cases, even where there is one session to choose from.
    assert all(each.belief < 0.5 for each in found.values()), found
    assert found["8 and more"].advantage < found["2 to 3"].advantage


def test_longer_epochs_hide_more() -> None:
    week = {each.sessions: each for each in infer(live(3, SHORT))}["all"]
    month = Setting(supporters=8, epochs=10, sessions=tuple(4 * each for each in SHORT.sessions))
    assert {each.sessions: each for each in infer(live(3, month))}["all"].advantage < week.advantage - 0.08


def test_a_client_that_releases_a_week_later_to_the_second_is_found_out() -> None:
    broken = Setting(supporters=8, epochs=40, release=lambda epoch, end_s, draw: end_s + EPOCHS.length_s)
    best = link(live(1, broken))[0]
    assert best.strategy == "by_delay" and best.advantage > 0.7


def test_a_client_that_releases_at_its_hour_is_found_out() -> None:
    def same_hour(epoch: int, end_s: int, draw: object) -> int:
        start = EPOCHS.start(epoch + 1)
        return start + (hash((epoch, end_s)) % 6) * 86_400 + (end_s - start) % 86_400

    broken = Setting(supporters=8, epochs=40, release=same_hour)
    best = link(live(1, broken))[0]
    assert best.strategy == "by_hour" and best.advantage > 0.3


def test_tokens_that_are_not_blind_are_found_out() -> None:
    best = link(live(1, Setting(supporters=8, epochs=40, blind=False)))[0]
    assert best.strategy == "by_bytes" and best.right == 1.0


def test_answers_without_chance_are_found_out() -> None:
    plain = infer(live(1, Setting(supporters=8, epochs=60, say=lambda meant, draw: meant)))
    found = {each.sessions: each for each in plain}
    assert found["all"].advantage > ANSWERS_MOST + 0.15 and found["2 to 3"].advantage > 0.8


def test_alarms_find_who_they_are_for_and_leave_others_alone() -> None:
    assert chance_of_alarm((Group(60, 0.7),)) > 0.95 and chance_of_alarm((Group(130, 0.5),)) > 0.95
    for answers in (30, 60, 130):
        assert chance_of_alarm((Group(answers, 0.05),)) < 0.02


def test_what_silence_and_a_false_alarm_cost() -> None:
    """In vouchers and in sessions, for a quarter; the page of attacks says the same numbers."""
    silence = to_silence(Group(60, 0.7), below=0.5)
    assert silence is not None and silence >= 250
    raising = to_raise(Group(60, 0.05), above=0.5)
    assert raising is not None and raising >= 20
