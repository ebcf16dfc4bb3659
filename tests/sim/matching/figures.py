"""What came of it, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from .town import Outcome, Town, covered


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds and shares. ``abandoned`` is of those who came while somebody was on duty; ``nobody`` of all."""

    seekers: int
    reached: int
    median_s: float
    p90_s: float
    within_minute: float
    abandoned: float
    nobody: float
    covered: float
    asked: float
    fairest: float
    """Most offers to one supporter an hour on duty, over the mean of all."""


def figures(town: Town) -> Figures:
    """Of everybody who came."""
    all_of_them = town.outcomes
    served = [each for each in all_of_them if each.on_duty]
    times = sorted(each.seconds for each in all_of_them if each.seconds is not None)
    rates = [3600 * helper.rung / helper.on_duty_s for helper in town.helpers if helper.on_duty_s]
    return Figures(
        len(all_of_them),
        len(times),
        median(times) if times else 0.0,
        times[min(len(times) - 1, int(0.9 * len(times)))] if times else 0.0,
        _share(sum(seconds <= 60 for seconds in times), len(served)),
        _share(sum(each.seconds is None for each in served), len(served)),
        _share(sum(not each.on_duty for each in all_of_them), len(all_of_them)),
        covered([desk for _, desk in town.desks], town.plan.days),
        _share(sum(each.asked for each in served), len(served)),
        max(rates) / (sum(rates) / len(rates)) if rates and sum(rates) else 0.0,
    )


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


def told(town: Town, found: Figures) -> str:
    """For a person."""
    plan = town.plan
    return "\n".join(
        (
            f"{plan.supporters} supporters in {plan.zones} time zones, each {plan.shifts} shifts a week of "
            f"{plan.shift_hours:g} h; {plan.seekers_per_hour:g} seekers an hour for {plan.days} days; seed {plan.seed}",
            f"hours with somebody on a rota          {found.covered:7.0%}",
            f"seekers                                {found.seekers:7d}",
            f"  who found nobody on duty             {found.nobody:7.0%}",
            "of those who came while somebody was on duty:",
            f"  reached a human within a minute      {found.within_minute:7.0%}",
            f"  left without one                     {found.abandoned:7.0%}",
            f"  people asked, on average             {found.asked:7.1f}",
            f"time to a human, median                {found.median_s:7.1f} s",
            f"time to a human, p90                   {found.p90_s:7.1f} s",
            f"most offers an hour on duty, over mean {found.fairest:7.2f}",
        )
    )


def by_coverage(outcomes: list[Outcome]) -> str:
    """Time to a human by how many were on duty."""
    lines = ["on duty   seekers   reached   median"]
    for low, high in ((0, 0), (1, 1), (2, 3), (4, 7), (8, 1000)):
        group = [each for each in outcomes if low <= each.on_duty <= high]
        times = [each.seconds for each in group if each.seconds is not None]
        if group:
            name = str(low) if low == high else f"{low}-{high}" if high < 1000 else f"{low}+"
            middle = f"{median(times):6.1f} s" if times else "       –"
            lines.append(f"{name:>7}   {len(group):7d}   {len(times) / len(group):7.0%}   {middle}")
    return "\n".join(lines)
