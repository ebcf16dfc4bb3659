"""The one bit: how it is turned round, what can be known from many, and when somebody has to look."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmline.env import SeededRng
from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.feedback.chance import allowed, below, estimate, is_alarm, noes_for_alarm, randomise
from warmline_protocol.feedback.epochs import Epochs

MANY = 20_000


@pytest.mark.parametrize("answer", [True, False])
def test_one_in_five_is_turned_round(answer: bool) -> None:
    draw = SeededRng(f"flip {answer}").bytes
    turned = sum(randomise(answer, draw) != answer for _ in range(MANY))
    assert abs(turned - MANY / 5) < 4 * (MANY * 0.2 * 0.8) ** 0.5


@given(st.integers(1, 2000), st.integers(0, 2**32))
def test_below_is_below(bound: int, seed: int) -> None:
    assert 0 <= below(bound, SeededRng(seed).bytes) < bound


def test_below_has_no_remainder_bias() -> None:
    """Of 256 values, 200 choices by remainder would give 56 of them twice the chance."""
    draw = SeededRng("bias").bytes
    drawn = [below(200, draw) for _ in range(MANY)]
    assert abs(sum(each < 56 for each in drawn) / MANY - 56 / 200) < 0.02
    with pytest.raises(UsageError):
        below(0, draw)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_estimate_finds_the_share_again(share: float) -> None:
    draw = SeededRng(f"estimate {share}").bytes
    found = []
    for _ in range(60):
        answers = [number >= share * 200 for number in range(200)]
        noes = sum(not randomise(answer, draw) for answer in answers)
        made = estimate(200, noes)
        assert 0 <= made.share <= 1 and 0.03 < made.error < 0.07
        found.append(made.share)
    assert abs(sum(found) / len(found) - share) < 0.03


def test_an_estimate_of_nothing() -> None:
    for tokens, noes in ((0, 0), (10, 11), (10, -1)):
        with pytest.raises(UsageError):
            estimate(tokens, noes)


def test_the_table_of_alarms() -> None:
    """Committed, because everybody must decide alike: vectors hold the browser to the same numbers."""
    assert {n: noes_for_alarm(n) for n in (10, 20, 30, 40, 50, 100, 200, 500)} == {
        10: 8, 20: 13, 30: 17, 40: 20, 50: 23, 100: 35, 200: 59, 500: 127,
    }  # fmt: skip
    assert [allowed(n) for n in (0, 9, 10, 20, 30, 1000)] == [0, 2, 3, 6, 8, 8]
    assert not is_alarm(0, 0) and not is_alarm(10, 7) and is_alarm(10, 8)


@pytest.mark.parametrize("tokens", [10, 20, 60, 200])
def test_the_risk_of_a_false_alarm_is_what_it_says(tokens: int) -> None:
    """By the other road: floating point, one person after another."""
    meant, chances = allowed(tokens), [1.0]
    for number in range(tokens):
        no = 0.8 if number < meant else 0.2
        grown = [0.0] * (len(chances) + 1)
        for noes, chance in enumerate(chances):
            grown[noes] += chance * (1 - no)
            grown[noes + 1] += chance * no
        chances = grown
    limit = noes_for_alarm(tokens)
    assert sum(chances[limit:]) <= 0.01 < sum(chances[limit - 1 :])
    assert comb(tokens, limit) > 0


def test_more_good_answers_do_not_lower_the_bar_for_what_was_meant() -> None:
    """Beyond saturation the number of true noes that is allowed stays; only the noise of the answers grows."""
    for tokens in range(100, 1000, 100):
        expected = 0.8 * allowed(tokens) + 0.2 * (tokens - allowed(tokens))
        assert 0 < noes_for_alarm(tokens) - expected < 2.6 * 0.4 * tokens**0.5
    assert all(noes_for_alarm(n) <= noes_for_alarm(n + 10) for n in range(10, 400, 10))


def test_releases_say_nothing_about_the_time_of_a_session() -> None:
    epochs = Epochs(1_000_000, 7 * 86_400)
    draw = SeededRng("release").bytes
    releases = [epochs.release(3, draw) for _ in range(4000)]
    assert min(releases) >= epochs.start(4) and max(releases) < epochs.slot(4, 76) < epochs.end(4)
    slots = {(each - epochs.start(4)) * limits.FEEDBACK_SLOTS // epochs.length_s for each in releases}
    assert slots == set(range(limits.FEEDBACK_SLOTS - limits.FEEDBACK_SLOTS_LATE))


def test_epochs_are_those_of_the_contract() -> None:
    epochs = Epochs(1000, 120)
    assert [epochs.at(each) for each in (1000, 1119, 1120)] == [1, 1, 2]
    assert (epochs.start(1), epochs.end(1), epochs.start(2)) == (1000, 1120, 1120)
    with pytest.raises(UsageError):
        epochs.at(999)
