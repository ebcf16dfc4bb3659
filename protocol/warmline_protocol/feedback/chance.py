"""Chance for the one bit that a seeker gives, and what can be known from many of them.

An answer is turned round with a chance of one in five before it leaves the device (randomised response, Warner 1965),
so that whoever sees it and knows whose it is still cannot say what was answered. From n answers of which k say *no*,
the expected number of people who really meant no is ``(k - n/5) / (1 - 2/5)``.

**An alarm, not a score.** Whether one is raised is decided by an exact test, in integers, so that everybody decides
alike. It asks: if the true noes were as many as the threshold allows, how likely would so many be heard? Good answers
saturate at 20: more of them make up for no bad one, though the noise of each still hides some.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb, sqrt

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.session.cells import Draw

_FLIPPED, _OUT_OF = limits.FEEDBACK_FLIP


def below(bound: int, draw: Draw) -> int:
    """A number in [0, bound), uniform: by rejection, never by a remainder."""
    if bound < 1:
        raise UsageError("nothing is below one choice")
    size = (max(1, bound - 1).bit_length() + 7) // 8
    fits = 256**size - 256**size % bound
    while True:
        number = int.from_bytes(draw(size))
        if number < fits:
            return number % bound


def randomise(answer: bool, draw: Draw) -> bool:
    """What is sent for ``answer``."""
    return not answer if below(_OUT_OF, draw) < _FLIPPED else answer


@dataclass(frozen=True, slots=True)
class Estimate:
    """``share`` of people who would not talk to the person again, and one standard error; both between 0 and 1."""

    share: float
    error: float


def estimate(tokens: int, noes: int) -> Estimate:
    """The de-biased share of noes among ``tokens`` answers."""
    if not 0 <= noes <= tokens or not tokens:
        raise UsageError("an estimate needs answers, and no more noes than those")
    flip = _FLIPPED / _OUT_OF
    heard = noes / tokens
    # The noise alone, where all answers agree, is flip * (1 - flip); never less is claimed.
    spread = max(heard * (1 - heard), flip * (1 - flip))
    share = min(1.0, max(0.0, (heard - flip) / (1 - 2 * flip)))
    return Estimate(share, min(1.0, sqrt(spread / tokens) / (1 - 2 * flip)))


def allowed(tokens: int) -> int:
    """How many true noes among ``tokens`` answers the threshold allows, with good ones saturated."""
    part, whole = limits.FEEDBACK_ALARM_SHARE
    return min(tokens * part // whole, limits.FEEDBACK_SATURATION * part // (whole - part))


@lru_cache(maxsize=4096)
def noes_for_alarm(tokens: int) -> int:
    """The fewest noes among ``tokens`` randomised answers that raise an alarm; above ``tokens`` if none do."""
    base, risk = _OUT_OF**tokens, limits.FEEDBACK_ALARM_RISK
    tail = 0
    for noes, ways in reversed(list(enumerate(_distribution(tokens, allowed(tokens))))):
        tail += ways
        if tail * risk[1] > base * risk[0]:
            return noes + 1
    return 0


def is_alarm(tokens: int, noes: int) -> bool:
    """Whether ``noes`` of ``tokens`` answers make the issuer look."""
    return tokens > 0 and noes >= noes_for_alarm(tokens)


def _distribution(tokens: int, meant: int) -> list[int]:
    """For each number of noes heard, its probability times 5^tokens, when ``meant`` people meant no."""
    kept = _binomial(meant, _OUT_OF - _FLIPPED, _FLIPPED)
    turned = _binomial(tokens - meant, _FLIPPED, _OUT_OF - _FLIPPED)
    total = [0] * (tokens + 1)
    for one, ways in enumerate(kept):
        for two, others in enumerate(turned):
            total[one + two] += ways * others
    return total


def _binomial(count: int, hit: int, miss: int) -> list[int]:
    return [comb(count, each) * hit**each * miss ** (count - each) for each in range(count + 1)]
