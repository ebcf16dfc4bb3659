"""``/warmline/signal/1``: who is on a channel hears the others' newest signals, once a second, while it lasts.

Nothing is stored, receipted or named: a channel is 16 bytes that mean nothing here, a signal 128. What is kept is each
sender's newest signal while the sender stays, and for each reader which of them it has yet to be told: both bounded by
who is there. When the node has more to do than it can, signals are what it leaves out first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from warmline.net.api import Channel, Host
from warmline.net.rpc import refusal
from warmline.scopes import sole_error
from warmline.services.queues_share import NEWCOMER_SHARE, busy
from warmline_protocol.errors import ChannelClosed, DeadlineError, RefusedError, UnreachableError
from warmline_protocol.limits import (
    FOLLOW_HEARTBEAT_MS,
    SIGNAL_BATCH_MS,
    SIGNAL_CHANNEL_MAX,
    SIGNAL_EVERY_MS,
    SIGNAL_FRAME_MAX,
    SIGNAL_SILENCE_MS,
)
from warmline_protocol.queue.signal_messages import PROTOCOL, Signal, SignalJoin, SignalJoined, Signals
from warmline_protocol.wire import from_wire, to_wire

HEARTBEAT_S = FOLLOW_HEARTBEAT_MS / 1000
SILENCE_S = SIGNAL_SILENCE_MS / 1000
APART_S = SIGNAL_EVERY_MS / 1000
JOIN_S = 20.0
SEND_S = 10.0
"""Seconds for a reader to take one batch; who does not is let go."""
HASTE = 8
"""Signals that may come early before their sender is let go: networks deliver late ones together."""
LATE_S = 0.5
"""A round that begins so late means that this node is behind with everything: it leaves this one out."""


@dataclass(frozen=True, slots=True)
class SignalSettings:
    """What an operator grants."""

    people: int = 2048
    per_channel: int = SIGNAL_CHANNEL_MAX
    channels_per_peer: int = 4


@dataclass(frozen=True, slots=True)
class SignalStatistics:
    """People and channels now; since the start: signals taken, batches sent, rounds left out under load, refusals."""

    people: int
    channels: int
    signals: int
    batches: int
    rounds_shed: int
    refused: int


class _Person:
    """One stream: its newest signal, and what it has yet to be told of the others."""

    __slots__ = ("channel", "entry", "fresh", "haste", "held", "last_at", "newcomer", "newest", "owed", "waker")

    def __init__(self, channel: Channel, entry: str, newcomer: bool) -> None:
        self.channel = channel
        self.entry = entry
        self.newcomer = newcomer
        self.newest: bytes | None = None
        self.fresh = False
        self.held: bytes | None = None
        self.last_at = -APART_S
        self.haste = 0
        self.owed: dict[_Person, None] = {}
        self.waker = trio.Event()

    def said(self, frame: bytes, now: float) -> None:
        """One that comes too early is held, in place of any before it, until its time."""
        early = now < self.last_at + APART_S
        self.haste = self.haste + 1 if early else max(0, self.haste - 1)
        self.held = frame
        self.promote(now)

    def promote(self, now: float) -> None:
        if self.held is not None and now >= self.last_at + APART_S:
            self.newest, self.held, self.fresh, self.last_at = self.held, None, True, now

    def left(self) -> None:
        """What it said last, a goodbye most often, goes out with the next round."""
        self.last_at = -APART_S
        self.promote(0.0)

    def owes(self, news: Sequence[_Person]) -> None:
        """Be told of these; who left long ago is dropped where there are more than fit into one batch."""
        self.owed.update(dict.fromkeys(news))
        while len(self.owed) > SIGNAL_CHANNEL_MAX:
            del self.owed[next(iter(self.owed))]
        self.waker.set()


class SignalService:
    """Obtained from :func:`open_signal_service`; `handle` serves one person."""

    def __init__(
        self,
        settings: SignalSettings,
        *,
        entry_of: Callable[[Channel], str],
        established: Callable[[str], Awaitable[bool]],
        crowded: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._entry_of = entry_of
        self._established = established
        self._crowded = crowded
        self._rooms: dict[bytes, dict[_Person, None]] = {}
        self._due: dict[bytes, dict[_Person, None]] = {}
        self._work = trio.Event()
        self._entries: Counter[str] = Counter()
        self._newcomers = 0
        self._people = self._signals = self._batches = self._shed = self._refused = 0

    def statistics(self) -> SignalStatistics:
        return SignalStatistics(self._people, len(self._rooms), self._signals, self._batches, self._shed, self._refused)

    async def handle(self, channel: Channel) -> None:
        """Serve until the other side ends, is silent, hasty or too slow, or breaks the protocol."""
        try:
            data = await channel.receive(deadline=JOIN_S)
        except (ChannelClosed, DeadlineError):
            return
        join = from_wire(data, (SignalJoin,), max_size=SIGNAL_FRAME_MAX)
        entry = self._entry_of(channel)
        newcomer = not await self._established(entry)
        try:
            person = self._admit(join.channel, channel, entry, newcomer)
        except RefusedError as error:
            self._refused += 1
            await channel.send(to_wire(refusal(error)))
            return
        try:
            await channel.send(to_wire(SignalJoined()))
            await self._run(person, join.channel)
        except (ChannelClosed, DeadlineError, UnreachableError):
            return  # gone, or too slow to be here
        finally:
            self._leave(join.channel, person)

    async def rounds(self) -> None:
        """Once a second: pass on what came since."""
        while True:
            await self._work.wait()
            ends = trio.current_time() + SIGNAL_BATCH_MS / 1000
            await trio.sleep_until(ends)
            if self._crowded() or trio.current_time() - ends > LATE_S:
                self._shed += 1
                continue
            self._work = trio.Event()
            self.round()

    def round(self) -> None:
        """Tell everybody on a channel what is new on it; signals that came too early become due later."""
        due, self._due = self._due, {}
        now = trio.current_time()
        for room, senders in due.items():
            news = []
            for sender in senders:
                sender.promote(now)
                if sender.fresh:
                    sender.fresh = False
                    news.append(sender)
                if sender.held is not None:
                    self._mark(room, sender)
            for person in self._rooms.get(room, ()):
                if others := [sender for sender in news if sender is not person]:
                    person.owes(others)

    # -- one person

    def _admit(self, room: bytes, channel: Channel, entry: str, newcomer: bool) -> _Person:
        there, most = self._rooms.get(room, {}), self._settings.people
        # The rule of queues: n greedy entries get 1/(n+1) of the places each; those new to the node share a quarter.
        free = most - self._people
        if newcomer:
            free = min(free, most // NEWCOMER_SHARE - self._newcomers)
        if self._crowded() or len(there) >= self._settings.per_channel or self._entries[entry] + 1 > free:
            raise busy("too many people signal here")
        person = _Person(channel, entry, newcomer)
        person.owes([other for other in there if other.newest is not None])
        self._rooms.setdefault(room, {})[person] = None
        self._entries[entry] += 1
        self._newcomers += newcomer
        self._people += 1
        return person

    def _leave(self, room: bytes, person: _Person) -> None:
        there = self._rooms[room]
        del there[person]
        person.left()
        if person.fresh and there:
            self._mark(room, person)
        if not there:
            del self._rooms[room]
            self._due.pop(room, None)
        self._entries[person.entry] -= 1
        if not self._entries[person.entry]:
            del self._entries[person.entry]
        self._newcomers -= person.newcomer
        self._people -= 1

    async def _run(self, person: _Person, room: bytes) -> None:
        with sole_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, person, room, nursery.cancel_scope)
                await self._tell(person)

    async def _hear(self, person: _Person, room: bytes, scope: trio.CancelScope) -> None:
        try:
            while person.haste <= HASTE:
                data = await person.channel.receive(deadline=SILENCE_S)
                signal = from_wire(data, (Signal,), max_size=SIGNAL_FRAME_MAX)
                self._signals += 1
                person.said(signal.frame, trio.current_time())
                self._mark(room, person)
            await person.channel.abort()  # too hasty to be waited for
        except (ChannelClosed, DeadlineError, UnreachableError):
            pass
        scope.cancel()

    async def _tell(self, person: _Person) -> None:
        while True:
            owed, person.owed = person.owed, {}
            frames = tuple(other.newest for other in owed if other.newest is not None)
            person.waker = trio.Event()
            await person.channel.send(to_wire(Signals(frames)), deadline=SEND_S)
            self._batches += 1
            if not person.owed:
                with trio.move_on_after(HEARTBEAT_S):
                    await person.waker.wait()

    def _mark(self, room: bytes, person: _Person) -> None:
        self._due.setdefault(room, {})[person] = None
        self._work.set()


@asynccontextmanager
async def open_signal_service(
    host: Host,
    *,
    entry_of: Callable[[Channel], str],
    established: Callable[[str], Awaitable[bool]],
    crowded: Callable[[], bool] = lambda: False,
    settings: SignalSettings | None = None,
) -> AsyncIterator[SignalService]:
    """Pass signals on at ``host`` until the block ends.

    ``entry_of``, ``established`` and ``crowded`` are the queue service's: which entry a channel came through, whether
    that entry is known for long, and whether requests for queues are waiting, which go first.
    """
    settings = settings or SignalSettings()
    service = SignalService(settings, entry_of=entry_of, established=established, crowded=crowded)
    with sole_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.rounds)
            host.serve(
                PROTOCOL, service.handle, max_frame=SIGNAL_FRAME_MAX, max_channels_per_peer=settings.channels_per_peer
            )
            try:
                yield service
            finally:
                host.unserve(PROTOCOL)
                nursery.cancel_scope.cancel()
