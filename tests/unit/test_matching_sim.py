"""A day of the line in virtual time: repeatable, and better with more people awake."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.matching.figures import by_coverage, figures, told
from sim.matching.people import Habits
from sim.matching.town import Plan, run

PLAN = Plan(supporters=24, zones=3, days=1, seekers_per_hour=4.0, seed=11)


def test_a_seed_repeats_to_the_event_and_another_does_not() -> None:
    first, again = run(PLAN), run(PLAN)
    assert first.outcomes == again.outcomes
    assert run(replace(PLAN, seed=12)).outcomes != first.outcomes
    found = figures(first)
    text = told(first, found) + by_coverage(first.outcomes)
    assert "seed 11" in text and "time to a human, median" in text
    assert found.seekers > 50
    assert 0 < found.median_s < 60
    assert found.covered < 1, "a rota of two dozen people has gaps, and they count"


def test_more_people_awake_means_less_waiting_and_fewer_who_leave() -> None:
    few, many = (figures(run(replace(PLAN, supporters=count))) for count in (8, 48))
    assert many.nobody < few.nobody
    assert many.reached > 1.5 * few.reached


@pytest.mark.parametrize("habit", [{"no_show": 1.0}, {"declines": 0.85}])
def test_who_never_comes_or_always_declines_leaves_nobody_waiting_for_ever(habit: dict[str, float]) -> None:
    town = run(replace(PLAN, habits=replace(Habits(), **habit)))
    assert all(each.end in ("left", "nobody on duty") for each in town.outcomes)
    assert len(town.outcomes) > 50


def test_those_who_vanish_after_a_yes_cost_time_and_no_conversation() -> None:
    calm, broken = (
        figures(run(replace(PLAN, supporters=48, habits=replace(Habits(), vanishes=share)))) for share in (0.0, 0.4)
    )
    assert broken.p90_s > calm.p90_s
    assert broken.reached > 0.6 * calm.reached
