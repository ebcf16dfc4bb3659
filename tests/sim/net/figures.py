"""Numbers out of a run: percentiles, delivery curves as text, tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH = 60
HEIGHT = 12


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of ``values`` do not exceed; nan of nothing."""
    if not values:
        return math.nan
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, math.ceil(share * len(ranked)) - 1))]


@dataclass(slots=True)
class Delivery:
    """Who held one message when; seconds since it was published."""

    published: float
    origin: int
    wanted: frozenset[int]
    """The members that should hold it: honest and up from then on."""
    held: dict[int, float]
    """Filled by the world: member to the virtual second."""

    def delays(self) -> list[float]:
        return [self.held[m] - self.published for m in sorted(self.wanted & self.held.keys()) if m != self.origin]

    def missing(self) -> int:
        return len(self.wanted - self.held.keys())

    def share(self) -> float:
        """Of those that should hold it, how many do."""
        return 1 - self.missing() / max(1, len(self.wanted))

    def until_all(self) -> float:
        """Seconds until all had it; infinite while somebody has not."""
        return math.inf if self.missing() else max(self.delays(), default=0.0)


@dataclass(slots=True)
class Deliveries:
    """All messages of one phase."""

    sent: list[Delivery] = field(default_factory=list)

    def delays(self) -> list[float]:
        return [delay for each in self.sent for delay in each.delays()]

    def share(self, within: float = math.inf) -> float:
        """Deliveries within so many seconds, of those that should have been."""
        due = sum(len(each.wanted - {each.origin}) for each in self.sent)
        return sum(delay <= within for delay in self.delays()) / due if due else math.nan

    def until_all(self) -> list[float]:
        return [each.until_all() for each in self.sent]

    def curve(self, title: str) -> str:
        return curve(self.delays(), title)


def curve(delays: Sequence[float], title: str) -> str:
    """The share delivered by each moment, drawn."""
    if not delays:
        return f"{title}: nothing was delivered"
    ranked = sorted(delays)
    longest = ranked[-1] or 1e-9
    shares = [_until(ranked, longest * (column + 1) / WIDTH) for column in range(WIDTH)]
    lines = [title]
    for row in range(HEIGHT, 0, -1):
        label = f"{100 * row // HEIGHT:>4} % |" if row % 3 == 0 else "       |"
        lines.append(label + "".join("#" if share * HEIGHT >= row - 0.5 else " " for share in shares))
    lines.append("       +" + "-" * WIDTH)
    lines.append(f"        0{f'{longest:.2f} s':>{WIDTH - 1}}")
    return "\n".join(lines)


def _until(ranked: Sequence[float], moment: float) -> float:
    low, high = 0, len(ranked)
    while low < high:
        middle = (low + high) // 2
        if ranked[middle] <= moment + 1e-9:
            low = middle + 1
        else:
            high = middle
    return low / len(ranked)
