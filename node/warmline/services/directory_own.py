"""What a node says of itself: its own record, signed again when it is due."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from warmline_protocol import limits
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.delegation import Delegation
from warmline_protocol.records.envelope import OpenedRecord, sign_record
from warmline_protocol.records.node import DIRECTORY, Capacity, NodeRecord


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """What the node says of itself. ``delegation`` (scope ``node``) proves the operator's wallet."""

    operator: str
    offers: tuple[str, ...] = (DIRECTORY,)
    capacity: Capacity = field(default_factory=Capacity)
    delegation: Delegation | None = None


class OwnRecord:
    """``every_s``: seconds after which it is signed again though nothing changed; ``said``: what was told last."""

    def __init__(self, key: SigningKey, profile: NodeProfile, *, every_s: float) -> None:
        self._key = key
        self._profile = profile
        self._every_ms = every_s * 1000
        self.said: NodeRecord | None = None

    def due(self, addrs: tuple[str, ...], now_ms: int, held: OpenedRecord | None) -> NodeRecord | None:
        """What to say now, where it is new, changed or old. ``held`` is what the directory has of it."""
        given = self._profile.delegation
        record = NodeRecord(
            self._key.public,
            now_ms,
            now_ms + limits.NODE_LIFE_MS,
            self._key.peer_id,
            addrs[:8],
            self._profile.offers,
            self._profile.operator,
            self._profile.capacity,
            given.wallet if given else None,
        )
        self.said = self.said or self._remembered(held)
        return record if self.said is None or self._is_due(record, self.said) else None

    def signed(self, record: NodeRecord) -> bytes:
        return sign_record(record, self._key, self._profile.delegation)

    def _remembered(self, held: OpenedRecord | None) -> NodeRecord | None:
        """What this node last said of itself: a network that comes back after a power cut has nothing to announce."""
        if held is None or not isinstance(held.body, NodeRecord) or held.delegation != self._profile.delegation:
            return None
        return held.body

    def _is_due(self, new: NodeRecord, old: NodeRecord) -> bool:
        if replace(old, seq=new.seq, not_after=new.not_after) != new:
            return True
        return new.seq - old.seq >= self._every_ms
