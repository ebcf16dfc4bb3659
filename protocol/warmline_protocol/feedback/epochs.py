"""Epochs, as the contract counts them, and the times at which sealed ratings are released.

Epochs count from 1; epoch e lasts from ``genesis + (e-1) * length`` to ``genesis + e * length``. What was rated in
epoch e is released in epoch e+1, at a moment that has nothing to do with when people talked, and posted when that one
is over.
"""

from __future__ import annotations

from dataclasses import dataclass

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.feedback.chance import below
from warmline_protocol.session.cells import Draw


@dataclass(frozen=True, slots=True)
class Epochs:
    """Times in seconds UTC: ``GENESIS`` and ``EPOCH`` of ConductEpochs."""

    genesis_s: int
    length_s: int

    def at(self, now_s: int) -> int:
        """The epoch at a time."""
        if now_s < self.genesis_s:
            raise UsageError("a time before the first epoch")
        return (now_s - self.genesis_s) // self.length_s + 1

    def start(self, epoch: int) -> int:
        """The first second."""
        return self.genesis_s + (epoch - 1) * self.length_s

    def end(self, epoch: int) -> int:
        """The first second after it."""
        return self.start(epoch + 1)

    def slot(self, epoch: int, number: int) -> int:
        """When slot ``number`` (from 0) of an epoch begins."""
        return self.start(epoch) + number * self.length_s // limits.FEEDBACK_SLOTS

    def release(self, rated: int, draw: Draw) -> int:
        """When a rating of epoch ``rated`` is released: a random slot of the epoch after it."""
        return self.slot(rated + 1, below(limits.FEEDBACK_SLOTS - limits.FEEDBACK_SLOTS_LATE, draw))
