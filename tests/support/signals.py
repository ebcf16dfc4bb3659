"""A signal service without a network, and people on its channels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from support.queues import MemoryPath
from warmline.net.api import Channel
from warmline.net.rpc import call
from warmline.services.signals import SignalService, SignalSettings
from warmline_protocol.errors import ChannelClosed, UnreachableError
from warmline_protocol.queue.signal_messages import PROTOCOL, Signal, SignalJoin, SignalJoined, Signals
from warmline_protocol.wire import from_wire, to_wire

ROOM = b"r" * 16


def a_frame(name: str | int) -> bytes:
    return str(name).encode().ljust(128, b".")


@dataclass
class Someone:
    """One stream at a service."""

    channel: Channel
    batches: list[tuple[bytes, ...]] = field(default_factory=list)

    async def say(self, name: str | int) -> None:
        await self.channel.send(to_wire(Signal(a_frame(name))))

    async def hear(self, seconds: float = 30.0) -> tuple[str, ...]:
        """The next batch that is not empty, as names in order."""
        while True:
            batch = from_wire(await self.channel.receive(deadline=seconds), (Signals,)).frames
            if batch:
                return tuple(sorted(frame.rstrip(b".").decode() for frame in batch))


@dataclass
class Corner:
    """A service, and the way to it."""

    service: SignalService
    path: MemoryPath
    entry: str = "entry"
    known: bool = True
    crowded: bool = False

    async def join(self, room: bytes = ROOM, entry: str = "entry") -> Someone:
        """RefusedError when there is no place."""
        self.entry = entry
        channel = await self.path.open_channel(PROTOCOL)
        await call(channel, SignalJoin(room), (SignalJoined,), deadline=30)
        return Someone(channel)


@asynccontextmanager
async def a_corner(**settings: Any) -> AsyncIterator[Corner]:
    async with trio.open_nursery() as nursery:
        entries: dict[Channel, str] = {}

        async def established(entry: str) -> bool:
            await trio.lowlevel.checkpoint()
            return corner.known

        def entry_of(channel: Channel) -> str:
            return entries.setdefault(channel, corner.entry)

        service = SignalService(
            SignalSettings(**settings), entry_of=entry_of, established=established, crowded=lambda: corner.crowded
        )

        async def handled(channel: Channel) -> None:
            try:
                await service.handle(channel)
            except (ChannelClosed, UnreachableError):
                return

        corner = Corner(service, MemoryPath(nursery, handled))
        nursery.start_soon(service.rounds)
        yield corner
        nursery.cancel_scope.cancel()
