"""Nodes that do to signals what they like: the person's side loses its signals, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from support.queues import MemoryPath
from warmline.client.session_client import Client
from warmline.client.signals import open_signals
from warmline.env import SeededRng, SystemClock, run_inline
from warmline.net.api import Channel
from warmline.scopes import sole_error
from warmline_protocol.codec import encode
from warmline_protocol.errors import WarmlineError
from warmline_protocol.queue.signal_messages import Signal, SignalJoin, SignalJoined, Signals
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.signals import SignalKeys, State, seal
from warmline_protocol.wire import from_wire, to_wire

ME, ADA = b"m" * 16, b"a" * 16
KEY, EXPORTER = b"k" * 32, b"e" * 32
NODE = NodeAddress("12D3KooWNode", ("/ip4/127.0.0.1/tcp/4000/p2p/12D3KooWNode",))


class Talk:
    """As much of a conversation as signals look at."""

    def __init__(self) -> None:
        self.closed = ""
        members = [SimpleNamespace(id=ME), SimpleNamespace(id=ADA)]
        group = SimpleNamespace(export=lambda label, context, size: EXPORTER, roster=lambda: members)
        schedule = SimpleNamespace(current=SimpleNamespace(key=KEY))
        self.machine = SimpleNamespace(epoch=1, me=members[0], group=group, schedule=schedule)

    def signal_node(self) -> NodeAddress:
        return NODE

    async def wait_change(self) -> None:
        await trio.sleep_forever()

    async def look(self, what: Callable[[Any], Any]) -> Any:
        await trio.lowlevel.checkpoint()
        return what(self.machine)


class Street:
    """One node, whose handler is the test's."""

    def __init__(self, handler: Callable[[Channel], Awaitable[None]]) -> None:
        self.handler = handler
        self.opened = 0

    @asynccontextmanager
    async def path(self, purpose: str, node: NodeAddress) -> AsyncIterator[Any]:
        self.opened += 1

        async def handled(channel: Channel) -> None:
            try:
                await self.handler(channel)
            except WarmlineError:
                await channel.abort()

        with sole_error():
            async with trio.open_nursery() as nursery:
                memory = MemoryPath(nursery, handled)
                yield SimpleNamespace(open_channel=memory.open_channel, wait_expiring=trio.sleep_forever, weakness=None)
                nursery.cancel_scope.cancel()


async def let_in(channel: Channel) -> None:
    from_wire(await channel.receive(), (SignalJoin,))
    await channel.send(to_wire(SignalJoined()))


async def cuts_off(channel: Channel) -> None:
    await let_in(channel)
    await channel.abort()


async def says_nothing(channel: Channel) -> None:
    await channel.receive()
    await trio.sleep_forever()


async def speaks_noise(channel: Channel) -> None:
    await let_in(channel)
    await channel.send(b"\xff" * 200)
    await trio.sleep_forever()


async def sends_too_many(channel: Channel) -> None:
    await let_in(channel)
    await channel.send(encode({"t": "signals", "frames": [bytes(128)] * 65}))
    await trio.sleep_forever()


async def answers_with_another_message(channel: Channel) -> None:
    await channel.receive()
    await channel.send(to_wire(Signal(bytes(128))))
    await trio.sleep_forever()


@pytest.mark.parametrize(
    "handler", [cuts_off, says_nothing, speaks_noise, sends_too_many, answers_with_another_message]
)
async def test_a_broken_node_is_asked_less_and_less_often(
    handler: Callable[[Channel], Awaitable[None]], autojump_clock: MockClock
) -> None:
    street = Street(handler)
    async with open_signals(a_client(street), Talk()) as signals:  # type: ignore[arg-type]
        signals.set(presence="away")
        await trio.sleep(600)
        assert signals.others == {}
        assert 2 <= street.opened <= 120, "once in fifteen seconds, after the first"


async def test_forged_replayed_and_reflected_signals_show_nobody_who_is_not_there(autojump_clock: MockClock) -> None:
    keys, now, rng = SignalKeys.of(KEY, EXPORTER), SystemClock().utc_ms(), SeededRng("forger")
    real = seal(keys, ADA, now, State(mood="tired"), rng.bytes)
    old = seal(keys, ADA, now - 7 * 60_000, State(presence="away"), rng.bytes)
    mine: list[bytes] = []

    async def plays(channel: Channel) -> None:
        await let_in(channel)
        mine.append(from_wire(await channel.receive(), (Signal,)).frame)
        for frames in ((bytes(128), old), (mine[0], mine[0]), (real,), (real, old, bytes(128))):
            await channel.send(to_wire(Signals(frames)))
        await trio.sleep_forever()

    async with open_signals(a_client(Street(plays)), Talk()) as signals:  # type: ignore[arg-type]
        seen = await signals.__anext__()
        assert (seen.member, seen.state) == (ADA, State(mood="tired"))
        await trio.sleep(5)
        assert signals.others == {ADA: State(mood="tired")}
        assert signals._board.refused == 7
        with trio.move_on_after(1):
            raise AssertionError(f"nothing more is to be seen, but {await signals.__anext__()} is")
    assert len(mine[0]) == 128


def a_client(street: Street) -> Client:
    rng = SeededRng("person")
    return Client(street, list, None, rng, SystemClock(), run_inline)  # type: ignore[arg-type]
