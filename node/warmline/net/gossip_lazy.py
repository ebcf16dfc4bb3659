"""Announcements in batches, and bodies fetched on a miss.

A node that has accepted a message pushes it to a few of its mesh and tells the others its id only: an IHAVE at once,
not with the next heartbeat. Who lacks it answers with an IWANT. Of six neighbours so five no longer send the body.

* The first id after a pause goes out at once, those that follow within :data:`BATCH_SECONDS` together. So a quiet
  network waits for nothing, and a busy one sends at most eight such frames a second, below the ten that other
  implementations read between two heartbeats.
* A body is asked of one peer at a time. Whoever announces it as well is remembered, and asked when the first has not
  sent it within :data:`ASK_SECONDS`; what nobody sends comes with the heartbeat's IHAVE or with directory sync.
* Nothing is told of a message before it was judged: an id is a promise to have the bytes *and* to vouch for them as
  much as a forwarder does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import trio
from libp2p.peer.id import ID

BATCH_SECONDS: Final = 0.125
ANNOUNCED_FROM: Final = 512
"""Bytes of data from which on an announcement costs less than the body; shorter messages are pushed to everybody."""
ASK_SECONDS: Final = 1.0
"""Until the next announcer is asked: more than a round trip on a slow line, less than a person notices."""
WANTED_MAX: Final = 4096
ANNOUNCERS_MAX: Final = 12
"""Of one message, besides the first: as many as a mesh has."""
PENDING_MAX: Final = 1024
"""Ids that wait for one peer; beyond them the heartbeat's IHAVE must do."""


class Announcements:
    """Ids on their way to peers; ``send`` is called with a peer, a topic and the ids of one batch."""

    def __init__(self, send: Callable[[ID, str, list[bytes]], None]) -> None:
        self._send = send
        self._waiting: dict[ID, dict[str, list[bytes]]] = {}
        self._sent_at: dict[ID, float] = {}

    def add(self, peer: ID, topic: str, mid: bytes) -> None:
        """Tell ``peer`` of ``mid``: at once, or with the next :meth:`flush` that finds it due."""
        now = trio.current_time()
        if peer not in self._waiting and self._sent_at.get(peer, -math.inf) + BATCH_SECONDS <= now:
            self._sent_at[peer] = now
            self._send(peer, topic, [mid])
            return
        ids = self._waiting.setdefault(peer, {}).setdefault(topic, [])
        if len(ids) < PENDING_MAX:
            ids.append(mid)

    def flush(self) -> float:
        """Send what is due; the seconds until the next batch is, infinity when nothing waits."""
        now = trio.current_time()
        for peer in sorted(self._waiting, key=ID.to_bytes):
            if self._sent_at.get(peer, 0.0) + BATCH_SECONDS <= now:
                self._sent_at[peer] = now
                for topic, ids in self._waiting.pop(peer).items():
                    self._send(peer, topic, ids)
        return min((self._sent_at[peer] + BATCH_SECONDS - now for peer in self._waiting), default=math.inf)

    def forget(self, peer: ID) -> None:
        """A peer that is gone."""
        self._waiting.pop(peer, None)
        self._sent_at.pop(peer, None)


@dataclass(slots=True)
class _Fetch:
    due: float
    others: deque[ID] = field(default_factory=deque)


class Wanted:
    """Bodies that were asked for and have not come, in the order of when somebody else is asked."""

    def __init__(self) -> None:
        self._fetches: dict[bytes, _Fetch] = {}

    def __len__(self) -> int:
        return len(self._fetches)

    def offered(self, mid: bytes, peer: ID) -> bool:
        """Whether to ask ``peer`` for it now; where somebody else was asked, it is remembered for later."""
        fetch = self._fetches.get(mid)
        if fetch is None:
            if len(self._fetches) >= WANTED_MAX:
                return False
            self._fetches[mid] = _Fetch(trio.current_time() + ASK_SECONDS)
            return True
        if len(fetch.others) < ANNOUNCERS_MAX and peer not in fetch.others:
            fetch.others.append(peer)
        return False

    def arrived(self, mid: bytes) -> None:
        """It has come, from whomever."""
        self._fetches.pop(mid, None)

    def pause(self) -> float:
        """Seconds until :meth:`overdue` has something to say, infinity while nothing is awaited."""
        fetch = next(iter(self._fetches.values()), None)
        return math.inf if fetch is None else fetch.due - trio.current_time()

    def overdue(self) -> Iterator[tuple[bytes, ID]]:
        """Who is to be asked now for what has not come; what nobody else announced is given up."""
        now = trio.current_time()
        while self._fetches:
            mid, fetch = next(iter(self._fetches.items()))
            if fetch.due > now:
                return
            del self._fetches[mid]
            if fetch.others:
                peer = fetch.others.popleft()
                fetch.due = now + ASK_SECONDS
                self._fetches[mid] = fetch
                yield mid, peer
