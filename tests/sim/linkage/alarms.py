"""What it costs to silence an alarm, and to raise a false one, in vouchers and in sessions.

One quarter is thirteen epochs. Every answer is drawn and turned round by itself; the rule is the protocol's own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from warmline_protocol import limits
from warmline_protocol.feedback.chance import is_alarm

QUARTER = limits.FEEDBACK_WINDOW_EPOCHS
FLIP = limits.FEEDBACK_FLIP[0] / limits.FEEDBACK_FLIP[1]


@dataclass(frozen=True, slots=True)
class Group:
    """People who answer alike: how many a quarter, and the share of them who mean no."""

    answers: int
    noes: float


def chance_of_alarm(groups: tuple[Group, ...], *, runs: int = 400, seed: int = 1) -> float:
    """How likely an alarm is raised over a quarter; only whole tens are heard."""
    chance, raised = random.Random(seed), 0
    for _ in range(runs):
        said = [_says_no(group, chance) for group in groups for _ in range(group.answers)]
        chance.shuffle(said)
        heard = said[: len(said) // limits.FEEDBACK_STEP * limits.FEEDBACK_STEP]
        raised += is_alarm(len(heard), sum(heard))
    return raised / runs


def _says_no(group: Group, chance: random.Random) -> bool:
    return (chance.random() < group.noes) != (chance.random() < FLIP)


def to_silence(real: Group, *, below: float, most: int = 2000) -> int | None:
    """Good answers that a supporter must give itself in a quarter so that an alarm is less likely than ``below``."""
    return _least(lambda extra: chance_of_alarm((real, Group(extra, 0.0))) < below, most)


def to_raise(honest: Group, *, above: float, most: int = 2000) -> int | None:
    """Sessions that a hostile group must hold with an honest supporter in a quarter, each ending in a no."""
    return _least(lambda extra: chance_of_alarm((honest, Group(extra, 1.0))) > above, most)


def _least(works: Callable[[int], bool], most: int) -> int | None:
    """The smallest ten that works, by doubling and halving; the chance is close enough to monotone."""
    low, high = 0, 10
    if works(0):
        return 0
    while not works(high):
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > limits.FEEDBACK_STEP:
        middle = (low + high) // 2 // limits.FEEDBACK_STEP * limits.FEEDBACK_STEP
        low, high = (low, middle) if works(middle) else (middle, high)
    return high
