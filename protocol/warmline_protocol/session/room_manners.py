"""Who may speak in a room, and how often: the same answer for everybody who has read as far.

The host says it whole (``Conduct``), in the log like everything else. So whether a text comes before or after a mute
is the same for all, its sender included, who is thereby the one to tell its person.
"""

from __future__ import annotations

from typing import Any

from warmline_protocol import limits
from warmline_protocol.session.messages import Conduct
from warmline_protocol.wire import pack, unpack

MUTED, SLOW = "muted", "slow mode"


class Manners:
    """What holds at the place in the log that has been read."""

    def __init__(self) -> None:
        self.conduct: Conduct | None = None
        self._last_ms: dict[bytes, int] = {}

    @property
    def helpers(self) -> tuple[bytes, ...]:
        """Those who facilitate with the host."""
        return () if self.conduct is None else self.conduct.helpers

    @property
    def slow_ms(self) -> int:
        return 0 if self.conduct is None else self.conduct.slow_ms

    def voice(self, member: bytes, host: bytes) -> bool:
        """Whether what this member says is shown."""
        conduct = self.conduct
        if conduct is None or member == host or member in conduct.helpers:
            return True
        return member not in conduct.muted and (not conduct.mute_first or member in conduct.voices)

    def refuses(self, member: bytes, host: bytes, sent_ms: int) -> str:
        """Why a text of theirs is not shown; empty where it is. ``sent_ms``: see :func:`plausible`."""
        if not self.voice(member, host):
            return MUTED
        if member == host or member in self.helpers:
            return ""
        last = self._last_ms.get(member)
        return SLOW if last is not None and abs(sent_ms - last) < self.slow_ms else ""

    def spoke(self, member: bytes, sent_ms: int) -> None:
        """A text of theirs was shown."""
        self._last_ms[member] = max(sent_ms, self._last_ms.get(member, 0))

    def wait_ms(self, member: bytes, host: bytes, now_ms: int) -> int:
        """How long slow mode lets this member wait."""
        last = self._last_ms.get(member)
        if last is None or member == host or member in self.helpers:
            return 0
        return max(0, last + self.slow_ms - now_ms)

    def become(self, before: bytes, after: bytes) -> None:
        """A member came back under another id."""
        last = self._last_ms.pop(before, None)
        if last is not None:
            self._last_ms[after] = last

    def to_fields(self) -> list[Any]:
        conduct = [] if self.conduct is None else [pack(self.conduct)]
        return [conduct, [[member, last] for member, last in self._last_ms.items()]]

    @classmethod
    def from_fields(cls, fields: list[Any]) -> Manners:
        manners = cls()
        conduct, last = fields
        manners.conduct = unpack(Conduct, conduct[0]) if conduct else None
        manners._last_ms = dict(last)
        return manners


def plausible(sent_ms: int, now_ms: int) -> int:
    """A sender's time, not further ahead than clocks may be: else slow mode could be talked around."""
    return min(sent_ms, now_ms + limits.CLOCK_SKEW_MS)
