"""What a run looks like while it goes: nodes, messages, faults."""

from __future__ import annotations

import sys
import time
from collections import Counter

from chaos.faults import Weather
from chaos.fleet import Fleet

STATES = ("waiting", "held", "delivered", "expired", "refused", "left held")
PLAIN_EVERY = 10.0
"""Seconds between two lines where the output is no terminal."""


class Picture:
    """Painted over itself on a terminal; a line now and then elsewhere."""

    def __init__(self, fleet: Fleet, weather: Weather, messages: int, seed: int) -> None:
        self.fleet = fleet
        self.weather = weather
        self.messages = messages
        self.seed = seed
        self.began = time.monotonic()
        self._painted = 0
        self._last = 0.0

    def totals(self) -> Counter[str]:
        """All programs' counts together."""
        totals: Counter[str] = Counter()
        for counts in self.fleet.counts.values():
            totals.update(counts)
        return totals

    def paint(self) -> None:
        if sys.stdout.isatty():
            lines = self.lines()
            up = f"\x1b[{self._painted}A" if self._painted else ""
            print(up + "\n".join(line + "\x1b[K" for line in lines), flush=True)
            self._painted = len(lines)
        elif time.monotonic() > self._last + PLAIN_EVERY:
            self._last = time.monotonic()
            print(" | ".join(self.lines()), flush=True)

    def lines(self) -> list[str]:
        totals, seconds = self.totals(), time.monotonic() - self.began
        said = totals["said"]
        full = 40 * said // max(1, self.messages)
        nodes = "  ".join(f"{node.number}:{self._node(node.number)}" for node in self.fleet.nodes)
        now, killed = [fault.kind for fault in self.weather.active.values()], sum(p.kills for p in self.fleet.people)
        states = "  ".join(f"{name} {totals[f'state {name}']}" for name in STATES)
        return [
            f"[{'#' * full:<40}] {said}/{self.messages} said, {said / max(1.0, seconds):.1f}/s, {seconds:.0f} s, "
            f"seed {self.seed}",
            f"nodes    {nodes}",
            f"messages {states}; shown {totals['shown']}",
            f"faults   {self.weather.done} over, now {', '.join(now) or 'calm'}; people killed {killed}{self._still()}",
        ]

    def _still(self) -> str:
        busy = [person.name for person in self.fleet.people if person.name not in self.fleet.finished]
        return f"; at work {', '.join(busy)}" if len(busy) < len(self.fleet.people) else ""

    def _node(self, number: int) -> str:
        node = self.fleet.nodes[number]
        if not node.up:
            return "down"
        return "+".join(sorted(node.state)) or "up"
