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
_LATE_MOST = 3


class Manners:
    """What holds at the place in the log that has been read."""

    def __init__(self) -> None:
        self.conduct: Conduct | None = None
        self._last_ms: dict[bytes, int] = {}
        self._late_ms: dict[bytes, list[int]] = {}
        """Times of texts that came behind a later one: what was offered again does that, and who cheats."""

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
        if last is None or not self.slow_ms:
            return ""
        late = self._late_ms.get(member, [])
        near = any(abs(sent_ms - each) < self.slow_ms for each in (last, *late))
        # A time far ahead would leave room for any number before it.
        return SLOW if near or (sent_ms < last and len(late) >= _LATE_MOST) else ""

    def spoke(self, member: bytes, sent_ms: int) -> None:
        """A text of theirs was shown."""
        if sent_ms >= self._last_ms.get(member, 0):
            self._last_ms[member] = sent_ms
            self._late_ms.pop(member, None)
        else:
            self._late_ms[member] = [*self._late_ms.get(member, []), sent_ms][-_LATE_MOST:]

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
        late = self._late_ms.pop(before, None)
        if late is not None:
            self._late_ms[after] = late

    def to_fields(self) -> list[Any]:
        conduct = [] if self.conduct is None else [pack(self.conduct)]
        late = [[member, list(times)] for member, times in self._late_ms.items()]
        return [conduct, [[member, last] for member, last in self._last_ms.items()], late]

    @classmethod
    def from_fields(cls, fields: list[Any]) -> Manners:
        manners = cls()
        conduct, last, late = fields
        manners.conduct = unpack(Conduct, conduct[0]) if conduct else None
        manners._last_ms, manners._late_ms = dict(last), dict(late)
        return manners


def plausible(sent_ms: int, now_ms: int) -> int:
    """A sender's time, not further ahead than clocks may be: else slow mode could be talked around."""
    return min(sent_ms, now_ms + limits.CLOCK_SKEW_MS)
