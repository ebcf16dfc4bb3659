"""Who knocks and goes before they are answered: they say so at the door, and are not accepted into silence.

What they say holds the attempt id of their Hello, sealed to the contact key. Nobody else has that id, but for who
invited them by one (a colleague who introduced them), so nobody else can end their knock. It may be read before the
Hello, which may lie at another door, so it is remembered for a while.

A knock that was taken back, or said once more by the same attempt, is deleted at its node. Somebody could ring without
end that way, where a door that fills up holds them off otherwise: after a few, what the next ones left there stays for
a minute.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import trio

from warmline.client.session_door_lane import DoorLane
from warmline.client.session_knock import Knocking
from warmline.net.gossip_state import TokenBucket

REMEMBERED: Final = 1024
NEWS_MAX: Final = 256
LEAVE_SECOND, LEAVE_MOST = 0.1, 16.0
"""So many a second, and at once, are deleted as soon as they are read."""
STAYS: Final = 60.0


class Leavers:
    """Obtained with a ``DoorKeeper``. ``news`` tells each knock that was taken back after it was shown."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._waiting: dict[bytes, Knocking] = {}
        self._left: dict[bytes, None] = {}
        self._bucket = TokenBucket(LEAVE_SECOND, LEAVE_MOST)
        self._say, self.news = trio.open_memory_channel[Knocking](NEWS_MAX)

    def waits(self, knock: Knocking) -> None:
        """It is shown now. Another Hello of the same attempt takes the place of the one before."""
        before = self._waiting.get(knock.attempt)
        self._waiting[knock.attempt] = knock
        if before is not None:
            self._forget(before)

    def settled(self, knock: Knocking) -> None:
        """It was answered."""
        if self._waiting.get(knock.attempt) is knock:
            del self._waiting[knock.attempt]
        knock._lane.decided(knock._seq)

    def gone(self, attempt: bytes) -> bool:
        """Whether whoever knocked with this attempt id said that they left."""
        return attempt in self._left

    def left(self, lane: DoorLane, seq: int, attempt: bytes) -> None:
        """They say so, in this door's cell ``seq``."""
        self._left[attempt] = None
        while len(self._left) > REMEMBERED:
            del self._left[next(iter(self._left))]
        knock = self._waiting.pop(attempt, None)
        if knock is None:
            lane.decided(seq)
            return
        with suppress(trio.WouldBlock):
            self._say.send_nowait(knock)
        self._forget(knock, (lane, seq))

    def _forget(self, knock: Knocking, *more: tuple[DoorLane, int]) -> None:
        """Delete a knock that is over, and what else belongs to it, at its door's node."""
        cells = ((knock._lane, knock._seq), *more)
        if self._bucket.take():
            _decided(cells)
        else:
            self._nursery.start_soon(self._delete_later, cells)

    async def _delete_later(self, cells: tuple[tuple[DoorLane, int], ...]) -> None:
        await trio.sleep(STAYS)
        _decided(cells)


def _decided(cells: tuple[tuple[DoorLane, int], ...]) -> None:
    for lane, seq in cells:
        lane.decided(seq)
