"""A person's signals in one conversation: presence, typing, seat, mood and gestures, theirs and the others'.

``async with open_signals(client, talk) as signals:``, with ``talk`` a session or a room, then

``signals.set(presence="away")``   also typing=True, seat=3, mood="tired", gesture="wave"; never waits
``async for seen in signals:``     :class:`Seen` (member id, state), each change of somebody else
``signals.others``                 {member id: State} of what is known now

They travel over a path of their own to the node where the other side reads anyway (a pair: the supporter's first
queue; a room: its log), on a channel that changes with each epoch. Nothing is kept, promised or retried: without
a node they are missing, and the conversation goes on.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import trio

from warmline.client.session_client import Backoff, Client, LanePath
from warmline.client.session_conversation import Conversation
from warmline.net.api import Channel
from warmline.net.rpc import call, expect
from warmline.scopes import sole_error
from warmline_protocol.errors import ChannelClosed, WarmlineError
from warmline_protocol.limits import SIGNAL_SILENCE_MS
from warmline_protocol.queue.signal_messages import PROTOCOL, Signal, SignalJoin, SignalJoined
from warmline_protocol.queue.signal_messages import Signals as Batch
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.machine import Machine
from warmline_protocol.session.signals import SIGNAL_LABEL, Seen, SignalBoard, SignalKeys, State
from warmline_protocol.wire import to_wire

DEADLINE = 20.0
"""Seconds to come onto a channel."""
GOODBYE = 1.0
STEADY = 30.0
"""Seconds after which a channel counts as one that works."""
SILENCE = SIGNAL_SILENCE_MS / 1000
TICK = 1.0
"""Seconds between two looks at what time changes."""

__all__ = ["Seen", "Signals", "State", "open_signals"]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where this epoch's channel is. The machine is part of it: a fresh Hello begins its epochs again."""

    machine: int
    epoch: int
    node: NodeAddress


class Signals:
    """Obtained from :func:`open_signals`."""

    def __init__(self, client: Client, talk: Conversation) -> None:
        self._client = client
        self._talk = talk
        self._board = SignalBoard(client.rng.bytes)
        self._news, self._changes = trio.open_memory_channel[Seen](math.inf)
        self._set = trio.Event()
        self.up = False
        """Whether a node passes signals on at this moment."""

    @property
    def mine(self) -> State:
        return self._board.mine

    @property
    def others(self) -> dict[bytes, State]:
        return self._board.others

    def set(
        self,
        *,
        presence: str | None = None,
        typing: bool | None = None,
        seat: int | None = None,
        mood: str | None = None,
        gesture: str | None = None,
    ) -> None:
        """Change what the others see; what is not named stays. Typing ends by itself. UsageError for unknown words."""
        now = self._client.clock.utc_ms()
        self._board.set(now, presence=presence, typing=typing, seat=seat, mood=mood, gesture=gesture)
        self._set.set()

    def __aiter__(self) -> Signals:
        return self

    async def __anext__(self) -> Seen:
        try:
            return await self._changes.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    # -- running

    async def run(self) -> None:
        """Until the conversation ends: be on the channel of each of its epochs."""
        backoff = Backoff(self._client)
        with self._news:
            while not self._talk.closed:
                place = self._place()
                if place is None:
                    await self._talk.wait_change()
                    continue
                with suppress(WarmlineError, trio.TooSlowError):  # nothing hangs on signals: try again, less often
                    await self._be_at(place, backoff)
                self.up = False
                if self._place() == place and not self._talk.closed:
                    await backoff.wait()

    def _place(self) -> _Place | None:
        node, machine = self._talk.signal_node(), self._talk.machine
        return None if node is None or machine is None else _Place(id(machine), machine.epoch, node)

    async def _be_at(self, place: _Place, backoff: Backoff) -> None:
        async with self._client.paths.path("signal", place.node) as path:
            with trio.fail_after(DEADLINE):
                channel = await path.open_channel(PROTOCOL)
            try:
                keys = await self._rekey()
                await call(channel, SignalJoin(keys.channel), (SignalJoined,), deadline=DEADLINE)
                self.up, since = True, trio.current_time()
                await self._converse(channel, path, place)
                if trio.current_time() > since + STEADY:  # a node that lets us in and cuts us off is not asked at once
                    backoff.reset()
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(GOODBYE):
                    await self._say_goodbye(channel, place)

    async def _rekey(self) -> SignalKeys:
        """Take the keys of the epoch of this moment; if it is another than the place's, that is noticed soon."""

        def look(machine: Machine) -> tuple[SignalKeys, bytes, list[bytes]]:
            exporter = machine.group.export(SIGNAL_LABEL, b"", 32)
            members = [each.id for each in machine.group.roster()]
            return SignalKeys.of(machine.schedule.current.key, exporter), machine.me.id, members

        keys, me, members = await self._talk.look(look)
        self._tell(self._board.rekey(keys, me, members))
        return keys

    async def _converse(self, channel: Channel, path: LanePath, place: _Place) -> None:
        with sole_error():
            async with trio.open_nursery() as nursery:
                scope = nursery.cancel_scope
                nursery.start_soon(_to_its_end, partial(self._say, channel), scope)
                nursery.start_soon(_to_its_end, partial(self._hear, channel), scope)
                nursery.start_soon(_to_its_end, partial(self._until_elsewhere, place), scope)
                nursery.start_soon(_to_its_end, path.wait_expiring, scope)
                nursery.start_soon(self._fade)

    async def _say(self, channel: Channel) -> None:
        while True:
            self._set = trio.Event()
            now = self._client.clock.utc_ms()
            frame = self._board.frame(now)
            if frame is not None:
                await channel.send(to_wire(Signal(frame)))
            due = self._board.due_ms()
            assert due is not None
            with trio.move_on_after(max(0.05, (due - now) / 1000)):
                await self._set.wait()
                due = self._board.due_ms()
                await trio.sleep(max(0.0, ((due or now) - self._client.clock.utc_ms()) / 1000))

    async def _hear(self, channel: Channel) -> None:
        while True:
            batch = await expect(channel, (Batch,), deadline=SILENCE)
            self._tell(self._board.hear(batch.frames, self._client.clock.utc_ms()))

    async def _fade(self) -> None:
        while True:
            await trio.sleep(TICK)
            self._tell(self._board.tick(self._client.clock.utc_ms()))

    async def _until_elsewhere(self, place: _Place) -> None:
        while self._place() == place and not self._talk.closed:
            await self._talk.wait_change()

    async def _say_goodbye(self, channel: Channel, place: _Place) -> None:
        """Leaving, not moving: then the others need not wait to see it."""
        frame = self._board.farewell(self._client.clock.utc_ms())
        moving = self._place() not in (place, None) and not self._talk.closed
        if frame is None or moving or channel.closed:
            return await channel.abort()
        try:
            await channel.send(to_wire(Signal(frame)), deadline=GOODBYE)
            await channel.aclose(linger=GOODBYE)
        except (WarmlineError, ChannelClosed):
            await channel.abort()

    def _tell(self, changes: list[Seen]) -> None:
        for seen in changes:
            self._news.send_nowait(seen)


async def _to_its_end(task: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    """The first of several that ends, or whose stream breaks, ends them all."""
    with suppress(WarmlineError):
        await task()
    scope.cancel()


@asynccontextmanager
async def open_signals(client: Client, talk: Conversation) -> AsyncIterator[Signals]:
    """Signal in ``talk`` until the block or the conversation ends."""
    with sole_error():
        async with trio.open_nursery() as nursery:
            signals = Signals(client, talk)
            nursery.start_soon(signals.run)
            yield signals
            nursery.cancel_scope.cancel()
