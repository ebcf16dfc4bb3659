"""What the chain says of feedback: when epochs are, who collects, and under which root each issuer's keys are.

Good news only: nothing here is a sanction, so it counts when it is final and there is no careful view of it. Times are
seconds, addresses 20 bytes, roots 32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

KEPT_EPOCHS = 16
"""Key roots of so many epochs back are remembered: what feedback may still count, and a few."""


@dataclass(frozen=True, slots=True)
class VouchersGranted:
    """An issuer posted its vouchers of an epoch, once: ``root`` is over (supporter, count, key)."""

    issuer: bytes
    epoch: int
    count: int
    root: bytes


@dataclass(frozen=True, slots=True)
class CollectorsSet:
    """Governance named the collectors anew: ``collectors`` are their addresses, one after another."""

    collectors: bytes
    threshold: int


@dataclass(frozen=True, slots=True)
class KeyRoot:
    """An issuer's root of an epoch, and how many vouchers are under it."""

    issuer: bytes
    epoch: int
    count: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Conduct:
    """Feedback as one node sees it. ``roots`` are those of the epochs around now, by issuer and epoch."""

    contract: bytes
    genesis_s: int
    length_s: int
    collectors: tuple[bytes, ...]
    threshold: int
    roots: tuple[KeyRoot, ...] = ()

    def key_root(self, issuer: bytes, epoch: int) -> bytes | None:
        """The root that an issuer posted for an epoch; None if it posted none."""
        return next((one.root for one in self.roots if (one.issuer, one.epoch) == (issuer, epoch)), None)


@runtime_checkable
class ConductSource(Protocol):
    """Who follows a chain on which feedback is."""

    def conduct(self) -> Conduct | None:
        """None: no chain, or none with feedback. Answers from memory."""
        ...


@dataclass(slots=True)
class ConductFacts:
    """The fold of the two events."""

    roots: dict[tuple[bytes, int], KeyRoot] = field(default_factory=dict)
    collectors: tuple[bytes, ...] = ()
    threshold: int = 0

    def apply(self, event: VouchersGranted | CollectorsSet) -> None:
        match event:
            case VouchersGranted(issuer, epoch, count, root):
                # The contract takes one grant an epoch; whatever claims to be a second one changes nothing.
                self.roots.setdefault((issuer, epoch), KeyRoot(issuer, epoch, count, root))
            case CollectorsSet(collectors, threshold):
                self.collectors = tuple(collectors[at : at + 20] for at in range(0, len(collectors), 20))
                self.threshold = threshold

    def around(self, epoch: int, *, back: int = KEPT_EPOCHS) -> tuple[KeyRoot, ...]:
        """The roots of the epochs from ``back`` before this one on, in order."""
        return tuple(self.roots[key] for key in sorted(self.roots) if key[1] >= epoch - back)

    def forget_before(self, epoch: int) -> None:
        """What is too old to count any more."""
        self.roots = {key: root for key, root in self.roots.items() if key[1] >= epoch}
