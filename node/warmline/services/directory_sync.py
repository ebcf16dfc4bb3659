"""``/warmline/directory/1``, the asking half: pull what a neighbour has and we have not.

Gossip loses messages and new nodes missed all of it; this is what makes nodes agree. One round is bounded in buckets
and records, so a neighbour with a huge or lying directory costs a round, not the node. Broken records end the round.

Every round also samples the neighbour's clock. One lying clock moves nothing: what counts is the median.
"""

from __future__ import annotations

import statistics
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from warmline.net.api import Channel, Host
from warmline.net.rpc import call
from warmline.services.directory_shelf import Shelf
from warmline_protocol import limits
from warmline_protocol.errors import MalformedError
from warmline_protocol.records.digests import PREFIX, differing, read_entries
from warmline_protocol.records.messages import (
    PROTOCOL,
    Buckets,
    BucketsWanted,
    Digests,
    Records,
    RecordsWanted,
)
from warmline_protocol.verdict import Verdict

RECORDS_A_ROUND: Final = 2000
CLOCKS_MAX: Final = 64
TRIES: Final = 4
RETRY_SECONDS: Final = 0.25


class Clocks:
    """How far the neighbours' clocks are from ours."""

    def __init__(self) -> None:
        self._offsets: OrderedDict[str, int] = OrderedDict()

    def note(self, peer: str, offset_ms: int) -> None:
        self._offsets[peer] = offset_ms
        self._offsets.move_to_end(peer)
        if len(self._offsets) > CLOCKS_MAX:
            self._offsets.popitem(last=False)

    def median_ms(self) -> int | None:
        """Median of theirs minus ours in ms; positive: our clock is slow. None before the first sample."""
        return round(statistics.median(self._offsets.values())) if self._offsets else None

    def samples(self) -> int:
        return len(self._offsets)


class Neighbours:
    """Whom to sync with next, and not too often.

    Two nodes may differ for good (one follows a chain that the other does not), and each hears of the difference when
    the other asks: without the gap they would ask each other for ever.
    """

    def __init__(self, *, gap: float) -> None:
        self._gap = gap
        self._asked: dict[str, float] = {}
        self._begun: OrderedDict[str, float] = OrderedDict()
        self._tries: dict[str, int] = {}
        self._wake = trio.Event()

    def ask(self, peer: str, now: float) -> None:
        """Sync with ``peer`` as soon as the gap allows."""
        self._at(peer, max(now, self._begun.get(peer, -float("inf")) + self._gap))

    def begun(self, peer: str, now: float) -> None:
        self._asked.pop(peer, None)
        self._begun[peer] = now
        self._begun.move_to_end(peer)
        if len(self._begun) > CLOCKS_MAX:
            self._begun.popitem(last=False)

    def done(self, peer: str) -> None:
        self._tries.pop(peer, None)

    def failed(self, peer: str, now: float) -> None:
        """Try a few more times, further and further apart."""
        tries = self._tries[peer] = self._tries.get(peer, 0) + 1
        if tries < TRIES:
            self._at(peer, now + RETRY_SECONDS * 2**tries)
        else:
            self._tries.pop(peer)

    def due(self, connected: Sequence[str], now: float) -> list[str]:
        """Whom to sync with now; who has left is forgotten."""
        for peer in [peer for peer in self._asked if peer not in connected]:
            self._asked.pop(peer)
            self._tries.pop(peer, None)
        return [peer for peer, when in self._asked.items() if when <= now]

    async def wait(self, seconds: float) -> None:
        """Until somebody is due, ``seconds`` at most."""
        end = trio.current_time() + seconds
        while (now := trio.current_time()) < (until := min([end, *self._asked.values()])):
            self._wake = trio.Event()
            with trio.move_on_after(until - now):
                await self._wake.wait()

    def _at(self, peer: str, when: float) -> None:
        self._asked[peer] = min(when, self._asked.get(peer, when))
        self._wake.set()


@dataclass(frozen=True, slots=True)
class Round:
    """What one round brought: records fetched and kept, and the buckets in which the two differed before."""

    differing: int
    fetched: int
    kept: int


async def sync_with(host: Host, peer: str, shelf: Shelf, clocks: Clocks, *, seconds: float, source: str = "") -> Round:
    """Pull from ``peer`` once; ``source`` is what its records count as.

    RemoteError when it broke the rules, WorldError when it did not answer in time.
    """
    async with await host.open_channel(
        peer, PROTOCOL, deadline=seconds, max_frame=limits.DIRECTORY_FRAME_MAX
    ) as channel:
        theirs = await _compare(channel, shelf, clocks, seconds)
        numbers = differing(shelf.index.digests(), theirs.digests)
        wanted: list[bytes] = []
        waiting = bytes(numbers)
        while waiting and len(wanted) < RECORDS_A_ROUND:
            answer = await call(channel, BucketsWanted(waiting), (Buckets,), deadline=seconds)
            asked, waiting = waiting[: answer.covered], waiting[answer.covered :]
            wanted += _wanted(shelf, asked, answer)
        fetched, kept = await _fetch(channel, shelf, wanted[:RECORDS_A_ROUND], seconds, source)
        return Round(len(numbers), fetched, kept)


async def _compare(channel: Channel, shelf: Shelf, clocks: Clocks, seconds: float) -> Digests:
    asked = shelf.judge.clock.utc_ms()
    answer = await call(channel, Digests(asked, shelf.index.digests()), (Digests,), deadline=seconds)
    clocks.note(channel.peer, answer.now_ms - (asked + shelf.judge.clock.utc_ms()) // 2)
    return answer


def _wanted(shelf: Shelf, asked: bytes, answer: Buckets) -> list[bytes]:
    entries = read_entries(answer.entries)
    if any(entry.prefix[0] not in asked for entry in entries):
        raise MalformedError("entries of a bucket that was not asked for")
    return [entry.prefix for entry in entries if shelf.is_wanted(entry)]


async def _fetch(
    channel: Channel, shelf: Shelf, prefixes: Sequence[bytes], seconds: float, source: str
) -> tuple[int, int]:
    fetched = kept = 0
    for start in range(0, len(prefixes), limits.DIRECTORY_FETCH_MAX):
        asked = tuple(prefixes[start : start + limits.DIRECTORY_FETCH_MAX])
        answer = await call(channel, RecordsWanted(asked), (Records,), deadline=seconds)
        if len(answer.records) > len(asked):
            answer = Records(answer.records[: len(asked)])
        for verdict, record in await shelf.take_all(answer.records, source):
            if record is None or record.id[:PREFIX] not in asked:
                raise MalformedError("a neighbour that sends broken records, or others than were asked for")
            fetched += 1
            kept += verdict.verdict is Verdict.ACCEPT
    return fetched, kept
