"""What a peer may do in gossip, and which limits no honest peer can reach.

GossipSub 1.1 scores peers by weighted counters (P1 to P7) whose stock weights also punish who is slow. Here a peer is
*marked* only for what an honest one cannot do, whatever its clock, its link, its load or its chain says; with five
marks (``Graylist``) it leaves the mesh at the next heartbeat and nothing is taken from it. What merely costs us is
limited instead. Derivation, with the numbers of ``PubsubLimits`` and a heartbeat of 1 s:

**Reject**: 1 mark each. Whether bytes are well formed and signed is the same for every node, and an honest one judges
before it forwards: it sends none. Five in a row graylist within a heartbeat of the fifth.

**GRAFT**: an honest peer sends one and has us in its mesh until a PRUNE, from us or of its own; then it backs off for
60 s. So at most one a minute on one stream, plus one for a stream that is being replaced and one for a subscription
that was renewed: a burst of 3. Each above is a mark. One a heartbeat is graylisted by the eighth.

**Volume**: an honest peer forwards what it accepted, and it accepts at most ``total_rate`` = 250/s with a burst of
4 000 from everybody together; it publishes 10/s with a burst of 300 of others' records; it replays 64 recent ones to
a new subscriber. What is late arrives at once: a write takes 20 s at most and pings notice a dead link in 25 s, so
45 s of 260/s, 11 700 more. In any stretch of T seconds that is at most 16 064 + 260 T messages, duplicates included
and what we asked for by IWANT taken off; 300/s with a burst of 17 000 is above it for every T. Each message above is
a mark: r messages a second are graylisted after 17 000 / (r - 300) s. Up to there the excess over 50/s is dropped
unjudged, which costs a hash each.

**IHAVE for what never comes** can be a slow link (an answer that takes over two seconds finds the message gone), so it
is no mark. Twice the ids of one IHAVE unkept, faded with a half-life of a minute: its IHAVEs are not read for a while.
At most 256 are asked of one peer before it has sent them or three seconds have passed, however many it announces.

**IGNORE** is no mark: clocks, chain views and quotas differ. But whoever sends mostly what is ignored shares a fifth
of the total rate with the others who do, so that a flood of stale records cannot push fresh ones out.

**A mesh of strangers**: two of the mesh (less than D_low, at most D/2, as GossipSub 1.1 asks; a third costs 0.7
copies more per delivery) are peers that *we* dialled, and a full mesh takes no GRAFT from others: whoever opens many
connections to us fills at most the rest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import trio

from warmline.net.gossip_state import TokenBucket

GRAFT_RATE: Final = 1 / 60
GRAFT_BURST: Final = 3.0
VOLUME_RATE: Final = 300.0
VOLUME_BURST: Final = 17_000.0
PROMISE_SECONDS: Final = 3.0
PROMISES_MAX: Final = 256
BROKEN_MAX: Final = 128.0
BROKEN_HALF_LIFE: Final = 60.0
DOUBT_FROM: Final = 50.0
"""Ignored messages, faded, from which on a peer can be doubtful."""
DOUBT_RATIO: Final = 4.0
DOUBT_HALF_LIFE: Final = 60.0
DOUBT_SHARE: Final = 0.2
"""Of the total rate, for all doubtful peers together."""
OUTBOUND: Final = 2


class Faded:
    """A count that halves every ``half_life`` seconds."""

    def __init__(self, half_life: float) -> None:
        self._half_life = half_life
        self._count = 0.0
        self._at = trio.current_time()

    def add(self, amount: float = 1.0) -> None:
        self._count = self.value() + amount
        self._at = trio.current_time()

    def value(self) -> float:
        if not self._count:
            return 0.0
        return float(self._count * 0.5 ** ((trio.current_time() - self._at) / self._half_life))


class Promises:
    """The ids that a peer said it has and we asked it for."""

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._broken = Faded(BROKEN_HALF_LIFE)

    def asked(self, mid: bytes) -> None:
        self._until[mid] = trio.current_time() + PROMISE_SECONDS
        if len(self._until) > PROMISES_MAX:
            self._until.popitem(last=False)

    def room(self) -> int:
        """How many more ids may be asked of the peer before it has kept, or broken, what it promised."""
        now = trio.current_time()
        return PROMISES_MAX - sum(until > now for until in self._until.values())

    def kept(self, mid: bytes) -> bool:
        """Whether a message that has come was asked for; late ones count, for as long as they are remembered."""
        return self._until.pop(mid, None) is not None

    def trusted(self, known: Callable[[bytes], bool]) -> bool:
        """Whether to read the peer's IHAVEs; what came from anybody in time is not held against it."""
        now = trio.current_time()
        for mid, until in list(self._until.items()):
            if until > now:
                break
            del self._until[mid]
            if not known(mid):
                self._broken.add()
        return self._broken.value() < BROKEN_MAX


class Usefulness:
    """Whether what a peer sends is mostly ignored."""

    def __init__(self) -> None:
        self._accepted = Faded(DOUBT_HALF_LIFE)
        self._ignored = Faded(DOUBT_HALF_LIFE)

    def accepted(self) -> None:
        self._accepted.add()

    def ignored(self) -> None:
        self._ignored.add()

    def is_doubtful(self) -> bool:
        ignored = self._ignored.value()
        return ignored > DOUBT_FROM and ignored > DOUBT_RATIO * self._accepted.value()


def graft_allowance() -> TokenBucket:
    """What one peer may graft in one topic."""
    return TokenBucket(GRAFT_RATE, GRAFT_BURST)


def volume_allowance() -> TokenBucket:
    """Messages of any kind that one peer may send without being asked."""
    return TokenBucket(VOLUME_RATE, VOLUME_BURST)
