"""Where a collector of feedback can be reached: its keys, the drops it opened, the node that serves what it publishes.

Seekers read it to leave an answer, other collectors to exchange sets, anybody to fetch a batch. It counts only while
its owner is on the contract's list of collectors; that is for the reader to check, like the sheet's signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.feedback.messages import CollectorSheet, Epoch
from warmline_protocol.records.delegation import Wallet
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.records.text import check_unique
from warmline_protocol.wire import U53, Bytes16, Size

RELEASES = limits.FEEDBACK_SLOTS - limits.FEEDBACK_SLOTS_LATE
"""Slots of an epoch at whose beginning ratings are released."""


@dataclass(frozen=True, slots=True)
class Drops:
    """One epoch's drops: for each slot the id of a door that shows its cells from the slot's beginning on. It is there
    under the same id at each of the ``nodes``."""

    epoch: Epoch
    nodes: Annotated[tuple[NodeAddress, ...], Size(1, 2)]
    doors: Annotated[tuple[Bytes16, ...], Size(RELEASES, RELEASES)]


@dataclass(frozen=True, slots=True)
class CollectorRecord:
    """Kind ``collector``. ``node`` serves announcements, sets, votes and batches under ``/warmline/feedback/1``."""

    owner: Wallet
    seq: U53
    not_after: U53
    sheet: CollectorSheet
    node: NodeAddress
    drops: Annotated[tuple[Drops, ...], Size(0, limits.FEEDBACK_DROPS_MAX)]

    def __post_init__(self) -> None:
        if self.sheet.collector != self.owner:
            raise UsageError("a collector's record with the sheet of another")
        check_unique("epochs", tuple(each.epoch for each in self.drops))

    def drops_of(self, epoch: int) -> Drops | None:
        """Where ratings that are released in an epoch go; None where none were opened yet."""
        return next((each for each in self.drops if each.epoch == epoch), None)
