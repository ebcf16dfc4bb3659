"""The processes of ``sessions.py``: nodes, writers and readers of any system, and people in sessions and rooms.

``python sessions_roles.py ROLE '{...}'``; what they are told comes as lines on standard input, what they found goes
out as JSON lines. With ``WARMLINE_PROFILE`` set to a directory each leaves a profile of its CPU there.
"""

from __future__ import annotations

import cProfile
import hashlib
import json
import os
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from first_light_roles import DirectPath, ms_since, node_of, paced, tell, told
from sessions_people import PEOPLE
from sessions_rivals import CELL, SYSTEMS, Append, Receive, System

from warmline.client.queues import QueueClient
from warmline.client.routes import Routes
from warmline.env import SeededRng, SystemClock, SystemRng, run_in_thread
from warmline.net.circuit import dial_through  # noqa: F401 - loads what a path needs before the clock runs
from warmline.net.host import HostSettings, open_host
from warmline.net.relay import open_relay
from warmline.services.queues import open_queues
from warmline.store.store import open_store
from warmline_protocol import limits
from warmline_protocol.circuit_table import CircuitLimits
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.auth import queue_id
from warmline_protocol.queue.messages import LOG, QUEUE

Ask = dict[str, Any]
STAMP = struct.Struct(">QI")
MANY = 4096


# --- nodes --------------------------------------------------------------------------------------------------------


async def node(ask: Ask, rng: SeededRng) -> None:
    """Queues, and a relay to the nodes ``ask["known"]``, with room for everybody."""
    settings = HostSettings(
        listen=("/ip4/127.0.0.1/tcp/0",), max_connections=MANY, max_inbound=MANY, max_inbound_per_subnet=MANY
    )
    known = {peer: tuple(addrs) for peer, addrs in ask["known"].items()}
    room: Any = CircuitLimits(per_subnet=MANY, per_destination=MANY, in_per_relay=MANY, total=MANY)
    async with (
        open_store(
            ask["path"], run_blocking=run_in_thread, clock=SystemClock(), rng=SystemRng(), disk_budget=1 << 35
        ) as store,
        open_host(settings, key=SigningKey(rng.bytes(32)), rng=rng, clock=SystemClock()) as host,
        open_relay(host, locate=known.get, limits=room, clock=SystemClock()),
        open_queues(host, store, clock=SystemClock(), rng=rng) as queues,
    ):
        tell("ready", addr=host.addrs()[0], peer=host.peer_id)
        async for _ in told():
            found, kept = queues.statistics(), store.statistics()
            tell("statistics", cells=found.cells, commits=kept.commits, writes=kept.writes)


# --- cells, over any system ---------------------------------------------------------------------------------------


class Cells:
    """Queues of a node as a :class:`System`. Topics below 1,000 are queues of two, others are room logs."""

    def __init__(self, ask: Ask, rng: SeededRng) -> None:
        self._ask = ask
        self._rng = rng
        self.system = System(self.writer, self.reader)

    def _keys(self, topic: int) -> tuple[SigningKey, bytes]:
        seed = hashlib.sha256(f"{self._ask['seed']}/{topic}".encode()).digest()
        return SigningKey(seed), hashlib.sha256(seed).digest()

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[QueueClient]:
        async with path_to(self._ask, self._rng) as path, QueueClient(path) as client:
            yield client

    async def _create(self, client: QueueClient, topic: int) -> tuple[SigningKey, bytes, bytes]:
        owner, secret = self._keys(topic)
        if topic < 1000:
            await client.create(owner, QUEUE, send_key=secret, cap=limits.QUEUE_CAP_MAX)
        else:
            await client.create(owner, LOG, send_key=secret, read_key=secret, fence=0, cap=limits.LOG_CAP_MAX)
        return owner, secret, queue_id(owner.public)

    @asynccontextmanager
    async def writer(self, port: int, topic: int, name: str) -> AsyncIterator[Append]:
        async with self._client() as client:
            _, secret, queue = await self._create(client, topic)
            fence = None if topic < 1000 else 0

            async def append(cells: Sequence[bytes]) -> object:
                return await client.append(queue, cells, send_key=secret, fence=fence)

            yield append

    @asynccontextmanager
    async def reader(self, port: int, topic: int, name: str) -> AsyncIterator[Receive]:
        """The owner of a queue acknowledges, as a session does; a member of a room does not."""
        async with self._client() as client:
            owner, secret, queue = await self._create(client, topic)
            two = topic < 1000
            who: Any = {"owner": owner} if two else {"read_key": secret}
            async with client.follow(queue, **who) as cells, trio.open_nursery() as nursery:
                fresh = trio.Event()
                last: Any = None

                async def acknowledge() -> None:
                    nonlocal fresh
                    while True:
                        await fresh.wait()
                        fresh = trio.Event()
                        await client.ack(queue, owner, last)

                async def receive() -> bytes:
                    nonlocal last
                    last, cell = await anext(cells)
                    fresh.set()
                    return cell

                if two:
                    nursery.start_soon(acknowledge)
                yield receive
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def path_to(ask: Ask, rng: SeededRng) -> AsyncIterator[Any]:
    """A throw-away host of its own: through ``ask["entry"]``, or directly where none is named."""
    fresh = SystemRng()
    if ask.get("entry"):
        async with Routes((ask["entry"],), rng=fresh, clock=SystemClock()).path("bench", node_of(ask["node"])) as path:
            yield path
        return
    settings = HostSettings(private=True)
    async with open_host(settings, key=SigningKey(fresh.bytes(32)), rng=fresh, clock=SystemClock()) as host:
        yield DirectPath(host, await host.connect(ask["node"]))


def system_of(ask: Ask, rng: SeededRng) -> System:
    return SYSTEMS[ask["system"]] if ask["system"] in SYSTEMS else Cells(ask, rng).system


def stamped(number: int, body: bytes) -> bytes:
    return STAMP.pack(time.monotonic_ns(), number) + body


async def writer(ask: Ask, rng: SeededRng) -> None:
    """``paced N RATE``: one cell at a time. ``flood SECONDS BATCH``: on all lanes, each append as soon as the last is
    acknowledged. ``count N BATCH``: so many cells in all."""
    system, body = system_of(ask, rng), rng.bytes(CELL - STAMP.size)
    async with AsyncExitStack() as stack:
        lanes: list[Append] = []
        for lane in range(ask["lanes"]):
            topic = ask["topic"] + lane
            lanes.append(await stack.enter_async_context(system.writer(ask.get("port", 0), topic, f"w{topic}")))
        tell("ready")

        async def one(number: int) -> float:
            cell = stamped(number, body)
            start = time.monotonic_ns()
            await lanes[0]([cell])
            return ms_since(start)

        async for word in told():
            how, *numbers = word.split()
            start = time.monotonic()
            if how == "paced":
                times, _ = await paced(one, int(numbers[0]), float(numbers[1]))
                tell("done", ms=times)
            elif how == "count":
                count, batch = int(numbers[0]), int(numbers[1])
                for first in range(0, count, batch):
                    await lanes[0]([stamped(each, body) for each in range(first, min(first + batch, count))])
                tell("done", cells=count, seconds=time.monotonic() - start)
            else:
                cells = await flood(lanes, float(numbers[0]), int(numbers[1]), body)
                tell("done", cells=cells, seconds=time.monotonic() - start)


async def flood(lanes: Sequence[Append], seconds: float, batch: int, body: bytes) -> int:
    total, end = 0, time.monotonic() + seconds

    async def push(append: Append) -> None:
        nonlocal total
        done = 0
        while time.monotonic() < end and done + batch <= 7000:
            await append([stamped(0, body)] * batch)
            done += batch
        total += done

    async with trio.open_nursery() as nursery:
        for append in lanes:
            nursery.start_soon(push, append)
    return total


async def reader(ask: Ask, rng: SeededRng) -> None:
    """``readers`` followers of one topic. ``collect N``: wait until each has N cells since the last time; the age of
    each cell at its *last* reader."""
    system = system_of(ask, rng)
    ages: list[dict[int, float]] = []

    async def follow(number: int, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        mine: dict[int, float] = {}
        async with system.reader(ask.get("port", 0), ask["topic"], f"r{ask['topic']}.{number}") as receive:
            ages.append(mine)
            task_status.started()
            while True:
                stamp, each = STAMP.unpack_from(await receive())
                mine[each] = ms_since(stamp)

    async with trio.open_nursery() as nursery:
        for number in range(ask["readers"]):
            await nursery.start(follow, number)
        tell("ready")
        async for word in told():
            count = int(word.split()[1])
            with trio.move_on_after(60):
                while min(map(len, ages)) < count:  # noqa: ASYNC110 - counted in other tasks
                    await trio.sleep(0.01)
            tell("ages", ms=[max(mine.get(each, 0.0) for mine in ages) for each in range(count)])
            for mine in ages:
                mine.clear()
        nursery.cancel_scope.cancel()


async def returner(ask: Ask, rng: SeededRng) -> None:
    """A reader who was away. ``back N``: from opening the way to the N-th cell."""
    system = system_of(ask, rng)

    def open_reader() -> Any:
        return system.reader(ask.get("port", 0), ask["topic"], f"back{ask['topic']}")

    async with open_reader():
        pass  # so that a queue, or a persistent session, is there
    tell("ready")
    async for word in told():
        start = time.monotonic_ns()
        async with open_reader() as receive:
            await receive()
            first = ms_since(start)
            for _ in range(int(word.split()[1]) - 1):
                await receive()
            tell("back", first_ms=first, all_ms=ms_since(start))


ROLES: dict[str, Callable[[Ask, SeededRng], Awaitable[None]]] = {
    "node": node,
    "writer": writer,
    "reader": reader,
    "returner": returner,
    **PEOPLE,
}


def main() -> None:
    role, ask = sys.argv[1], json.loads(sys.argv[2])
    where = os.environ.get("WARMLINE_PROFILE")
    profile = cProfile.Profile(time.process_time)
    if where:
        profile.enable()
    trio.run(ROLES[role], ask, SeededRng(f"{ask['seed']}/{role}/{ask.get('number', 0)}"))
    if where:
        profile.disable()
        profile.dump_stats(Path(where) / f"{role}{ask.get('number', 0)}.prof")


if __name__ == "__main__":
    main()
