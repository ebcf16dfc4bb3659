"""``python -m tests.sim.matching --supporters 24 --seed 7`` from the root of the checkout."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict

from .figures import by_coverage, figures, told
from .town import ZONES, Plan, run


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to a human and abandonment, for N supporters across time zones.")
    parser.add_argument("--supporters", type=int, nargs="+", default=[12, 24, 48, 96])
    parser.add_argument("--zones", type=int, default=3, choices=range(1, len(ZONES) + 1))
    parser.add_argument("--shifts", type=int, default=3, help="a week, for each supporter")
    parser.add_argument("--seekers", type=float, default=2.0, help="an hour, on average")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for supporters in given.supporters:
        plan = Plan(supporters, given.zones, given.shifts, 2.0, given.seekers, given.days, given.seed)
        began = time.perf_counter()
        town = run(plan)
        found = figures(town)
        if given.json:
            print(json.dumps({"supporters": supporters, "seed": given.seed, **asdict(found)}))
            continue
        print(told(town, found))
        print(by_coverage(town.outcomes))
        print(f"({time.perf_counter() - began:.1f} s of real time)\n")


main()
