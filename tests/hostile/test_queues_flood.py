"""Floods: one entry against an honest other, and strangers' bytes against a node in another process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from support.hosts import PATIENCE, Ready, a_host, key_of, raw_stream
from support.processes import Child, running
from support.queues import HandClock, HostPath, Owner, a_service, a_store, cell
from warmline.client.queues import QueueClient
from warmline.env import SystemClock, SystemRng
from warmline.services.queues import open_queues
from warmline_protocol.codec import encode, frame, uvarint
from warmline_protocol.errors import RefusedError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.limits import QUEUE_FRAME_MAX
from warmline_protocol.queue.messages import DOOR, PROTOCOL, QUEUE, Append, Challenge, Follow, Taken
from warmline_protocol.wire import to_wire

TURNS = 4
OWNER = SigningKey(b"o" * 32)
SEND = b"s" * 32


@pytest.mark.parametrize("kind", [QUEUE, DOOR])
async def test_an_honest_entry_is_served_during_a_flood(tmp_path: Path, kind: str) -> None:
    """Counted, not timed: between two of its answers an honest entry waits for a few of the flood's at most."""
    async with a_store(tmp_path / "s.db") as store:
        service = a_service(store, HandClock(), turns=TURNS, waiting_per_entry=64)
        flooded = Owner(service, kind=kind, name="flooded", entry="flood")
        honest = Owner(service, name="honest", entry="honest")
        await flooded.create(cap=256)
        await honest.create(cap=256)
        refused = 0
        crowded = trio.Event()
        waits: list[int] = []

        async def flood() -> None:
            nonlocal refused
            while True:
                try:
                    await flooded.append(cell("flood"))
                except RefusedError:
                    refused += 1
                if refused > 1000:
                    crowded.set()
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(flood)
            await crowded.wait()
            turns_before = store.statistics().writes
            for n in range(30):
                before = store.statistics().writes
                await honest.receipt(cell(n))
                waits.append(store.statistics().writes - before)
            assert store.statistics().writes > turns_before
            nursery.cancel_scope.cancel()
        assert max(waits) <= 3 * TURNS
        assert await honest.read_all() == [cell(n) for n in range(30)]


# -- a node in another process


async def queue_node(ready: Ready, *, path: str) -> None:
    async with (
        a_store(path) as store,
        a_host(name="queue node") as host,
        open_queues(host, store, clock=SystemClock(), rng=SystemRng()),
    ):
        ready({"addr": host.addrs()[0], "peer": host.peer_id})
        await trio.sleep_forever()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    path = tmp_path_factory.mktemp("node") / "s.db"
    with running(__file__, "queue_node", path=str(path)) as child:
        yield child


async def is_kept(node: Child) -> None:
    """An honest stranger makes a queue, appends, follows, removes."""
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as host:
            await host.connect(node.facts["addr"])
            owner = SigningKey(os.urandom(32))
            async with QueueClient(HostPath(host, node.facts["peer"])) as client:
                made = await client.create(owner, send_key=SEND)
                await client.append(made.queue, [cell("kept")], send_key=SEND)
                async with client.follow(made.queue, owner=owner) as cells:
                    assert (await cells.__anext__())[1] == cell("kept")
                await client.remove(made.queue, owner)


QUEUE_ID = b"q" * 16
GOOD = to_wire(Append(QUEUE_ID, (cell(1),), SEND))
FRAMES: dict[str, bytes] = {
    "nothing": b"",
    "empty frame": frame(b""),
    "junk": frame(os.urandom(500)),
    "not a map": frame(encode([1, 2, 3])),
    "no tag": frame(encode({"queue": QUEUE_ID})),
    "unknown tag": frame(encode({"t": "shout"})),
    "an answer": frame(to_wire(Taken(3))),
    "extra field": frame(encode({"t": "challenge", "more": 1})),
    "short cell": frame(encode({"t": "append", "queue": QUEUE_ID, "cells": [b"x" * 4095], "send_key": SEND})),
    "long cell": frame(encode({"t": "append", "queue": QUEUE_ID, "cells": [b"x" * 4097], "send_key": SEND})),
    "17 cells": frame(encode({"t": "append", "queue": QUEUE_ID, "cells": [cell(1)] * 17, "send_key": SEND})),
    "oversize length": uvarint(QUEUE_FRAME_MAX + 1),
    "endless length": b"\xff" * 16,
    "half a frame": frame(GOOD)[:2000],
    "two nulls in a map": frame(b"\x82\xa1t\xa6append\xa1t\xa6append"),
    "deep nesting": frame(b"\x91" * 5000),
    "huge array": frame(b"\xdd\xff\xff\xff\xff"),
    "many unknown queues": frame(GOOD) * 50,
    "follow nothing": frame(to_wire(Follow(QUEUE_ID, None, None, SEND))),
    "many challenges": frame(to_wire(Challenge())) * 500,
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_frames_from_strangers(node: Child, name: str, end: str) -> None:
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as host:
            await host.connect(node.facts["addr"])
            for _ in range(3):
                stream = await raw_stream(host, node.facts["peer"], PROTOCOL)
                try:
                    await stream.write(FRAMES[name])
                    await (stream.close() if end == "close" else stream.reset())
                except Exception as error:  # noqa: BLE001 - the library's many ways to say that the node hung up
                    assert not isinstance(error, AssertionError)
    assert node.alive
    await is_kept(node)


async def test_a_peer_who_opens_channels_without_end(node: Child) -> None:
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as host:
            await host.connect(node.facts["addr"])
            path = HostPath(host, node.facts["peer"])
            channels = []
            for _ in range(100):
                try:
                    channels.append(await path.open_channel(PROTOCOL))
                except WarmlineError:
                    break
            await is_kept(node)
            for channel in channels:
                await channel.abort()
    assert node.alive


async def test_a_reader_who_never_reads(node: Child) -> None:
    """It is sent one window; other readers of the same log, and the sender, do not notice."""
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as lazy, a_host(listen=()) as keen:
            for host in (lazy, keen):
                await host.connect(node.facts["addr"])
            read = b"r" * 32
            async with (
                QueueClient(HostPath(lazy, node.facts["peer"])) as sleeper,
                QueueClient(HostPath(keen, node.facts["peer"])) as client,
            ):
                room = await client.create(OWNER, "log", send_key=SEND, read_key=read, fence=0)
                async with (
                    sleeper.follow(room.queue, read_key=read),
                    client.follow(room.queue, read_key=read) as cells,
                ):
                    for n in range(0, 160, 16):
                        await client.append(room.queue, [cell(n + m) for m in range(16)], send_key=SEND, fence=0)
                        got = [(await cells.__anext__())[1] for _ in range(16)]
                        assert got == [cell(n + m) for m in range(16)]
    await is_kept(node)


def test_the_node_has_an_identity_of_its_own(node: Child) -> None:
    assert node.facts["peer"] == key_of("queue node").peer_id


def test_the_node_wrote_down_nobody(node: Child) -> None:
    """After all of the above: no address, no peer and no queue id in what it logged."""
    said = node.stderr
    assert "127.0.0.1" not in said
    assert QUEUE_ID.hex() not in said
