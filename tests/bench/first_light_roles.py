"""The client processes of ``first_light.py``: one role each, JSON lines out, plain words in.

    python first_light_roles.py ROLE '{"entries": [...], ...}'

Stamps are ``time.monotonic_ns``, which all processes of one Linux machine share, so that a sender's stamp can be
compared with a receiver's clock. A role ends when its standard input does.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from warmline.client.line import pick_up
from warmline.client.queues import Cursor, QueueClient
from warmline.client.routes import Routes
from warmline.client.session import Client, Contact, HelloHeld, Persona, Session, open_session
from warmline.client.session_doors import ContactKey, DoorKeeper, OwnDoor, keep_doors
from warmline.env import SeededRng, SystemClock, run_in_thread
from warmline.net.api import Channel
from warmline.net.gossip import open_gossip
from warmline.net.host import HostSettings, Libp2pHost, open_host
from warmline.net.rpc import call
from warmline.services.directory import DirectorySettings, open_directory
from warmline.services.directory_judge import RecordJudge
from warmline.services.directory_own import NodeProfile
from warmline.store.store import open_store
from warmline_protocol import limits
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.queue.messages import QUEUE
from warmline_protocol.records.messages import PROTOCOL as DIRECTORY
from warmline_protocol.records.messages import TOPIC, Publish, Published, Records, RecordsWanted
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.events import Joined, MessageState, TextReceived
from warmline_protocol.session.xwing import SealingKey

Ask = dict[str, Any]
STAMP = struct.Struct(">QI")
FAR_MS = 30 * 24 * 3600_000


def tell(event: str, **data: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **data}) + "\n")
    sys.stdout.flush()


def ms_since(stamp_ns: int) -> float:
    return (time.monotonic_ns() - stamp_ns) / 1e6


async def told() -> AsyncIterator[str]:
    """Lines of standard input, until the parent closes it."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        yield line.strip()


def node_of(addr: str) -> NodeAddress:
    return NodeAddress(addr.rpartition("/p2p/")[2], (addr,))


# --- paths: direct, or through an entry ---------------------------------------------------------------------------


class DirectPath:
    """A connection to the node itself: what a client never does, measured to see what the entry costs."""

    def __init__(self, host: Libp2pHost, peer: str) -> None:
        self._host = host
        self._peer = peer

    async def open_channel(self, protocol: str) -> Channel:
        return await self._host.open_channel(self._peer, protocol)


@asynccontextmanager
async def path_to(ask: Ask, rng: SeededRng) -> AsyncIterator[Any]:
    """To ``ask["node"]``: directly where no entry is named."""
    if ask["entry"]:
        async with Routes((ask["entry"],), rng=rng, clock=SystemClock()).path("bench", node_of(ask["node"])) as path:
            yield path
        return
    key = SigningKey(rng.bytes(32))
    async with open_host(HostSettings(private=True), key=key, rng=rng, clock=SystemClock()) as host:
        yield DirectPath(host, await host.connect(ask["node"]))


# --- queues -------------------------------------------------------------------------------------------------------


async def queue_reader(ask: Ask, rng: SeededRng) -> None:
    """Make a queue, follow it as a session does (acks included), and keep how old each cell was when it came."""
    owner, send_key = SigningKey(rng.bytes(32)), rng.bytes(32)
    ages: list[tuple[int, float]] = []
    async with path_to(ask, rng) as path, QueueClient(path) as client:
        made = await client.create(owner, QUEUE, send_key=send_key, cap=limits.QUEUE_CAP_MAX)
        async with client.follow(made.queue, owner=owner) as cells, trio.open_nursery() as nursery:
            read: list[Cursor] = []

            async def acknowledge() -> None:
                while True:
                    if read:
                        last = read[-1]
                        read.clear()
                        await client.ack(made.queue, owner, last)
                    await trio.sleep(0.05)

            async def follow() -> None:
                async for cursor, cell in cells:
                    stamp, number = STAMP.unpack_from(cell)
                    ages.append((number, ms_since(stamp)))
                    read.append(cursor)

            nursery.start_soon(acknowledge)
            nursery.start_soon(follow)
            tell("ready", queue=made.queue.hex(), send_key=send_key.hex())
            async for word in told():
                # Everything receipted is on its way; the parent says how many there are.
                with trio.move_on_after(10):
                    while len(ages) < int(word):  # noqa: ASYNC110 - counted in another task
                        await trio.sleep(0.005)
                tell("ages", ms=[age for _, age in ages], in_order=ages == sorted(ages, key=lambda each: each[0]))
                ages.clear()
            nursery.cancel_scope.cancel()


async def queue_writer(ask: Ask, rng: SeededRng) -> None:
    """``paced N RATE``: one cell at a time, receipts timed. ``burst SECONDS``: the next as soon as the last is kept."""
    async with path_to(ask, rng) as path, QueueClient(path) as client:
        queue, send_key = bytes.fromhex(ask["queue"]), bytes.fromhex(ask["send_key"])
        body = rng.bytes(limits.CELL_SIZE - STAMP.size)

        async def append(number: int) -> float:
            stamp = time.monotonic_ns()
            await client.append(queue, [STAMP.pack(stamp, number) + body], send_key=send_key)
            return ms_since(stamp)

        await append(0)  # opens the channel; not counted
        tell("ready")
        async for word in told():
            how, *numbers = word.split()
            if how == "paced":
                count, rate = int(numbers[0]), float(numbers[1])
                receipts, took = await paced(append, count, rate)
            else:
                receipts, took = await burst(append, float(numbers[0]))
            tell("receipts", ms=receipts, seconds=took)


async def paced(act: Callable[[int], Awaitable[float]], count: int, rate: float) -> tuple[list[float], float]:
    times: list[float] = []
    start = trio.current_time()
    for number in range(count):
        await trio.sleep_until(start + number / rate)
        times.append(await act(number))
    return times, trio.current_time() - start


async def burst(act: Callable[[int], Awaitable[float]], seconds: float) -> tuple[list[float], float]:
    times: list[float] = []
    start = trio.current_time()
    while trio.current_time() < start + seconds:
        times.append(await act(len(times)))
    return times, trio.current_time() - start


# --- sessions -----------------------------------------------------------------------------------------------------


async def client_of(ask: Ask, rng: SeededRng) -> Client:
    """As ``warmline talk`` makes it; queue nodes are those that the entry names."""
    line = await pick_up((ask["entry"],), rng=rng, clock=SystemClock(), run_blocking=run_in_thread)
    return line.client


async def supporter(ask: Ask, rng: SeededRng) -> None:
    """Keep a door, let everybody in at once, say a word first, and answer each word with its own text."""
    client = await client_of(ask, rng)
    key, contact = SigningKey(rng.bytes(32)), SealingKey(rng.bytes(32))
    door = OwnDoor(node_of(ask["node"]), SigningKey(rng.bytes(32)))
    keys = [ContactKey(contact, SystemClock().utc_ms() + FAR_MS)]
    me = Persona("Ada", rng.bytes(16))
    async with keep_doors(client, [door], lambda: keys, key=key, me=me) as keeper, trio.open_nursery() as nursery:
        nursery.start_soon(let_in, keeper, nursery)
        tell("ready", key=key.public.hex(), contact=contact.public.hex(), door=door.door.door.hex(), node=ask["node"])
        async for _ in told():
            pass
        nursery.cancel_scope.cancel()


async def let_in(keeper: DoorKeeper, nursery: trio.Nursery) -> None:
    async for knock in keeper.knocks:
        session = await keeper.accept(knock)
        await session.send("I am here.")
        nursery.start_soon(hear, session)


async def hear(session: Session) -> None:
    ages: list[float] = []
    async for event in session.events:
        if isinstance(event, TextReceived) and event.text == "how many":
            await session.send(json.dumps([round(age, 2) for age in ages]))
        elif isinstance(event, TextReceived):
            ages.append(ms_since(int(event.text)))


async def seeker(ask: Ask, rng: SeededRng) -> None:
    """``hello``: a whole first contact, timed from the call. ``talk N RATE``: words in one session, one way."""
    client = await client_of(ask, rng)
    found = ask["contact"]
    door = QueueAddress(node_of(found["node"]), bytes.fromhex(found["door"]), bytes(32))
    contact = Contact(bytes.fromhex(found["key"]), bytes.fromhex(found["contact"]), (door,))
    tell("ready", queue_nodes=len(client.queue_nodes()))
    async for word in told():
        how, *numbers = word.split()
        if how == "hello":
            tell("met", **await first_contact(client, contact, rng))
        else:
            tell("talked", **await talk(client, contact, rng, int(numbers[0]), float(numbers[1])))


async def first_contact(client: Client, contact: Contact, rng: SeededRng) -> dict[str, float]:
    start = time.monotonic_ns()
    marks: dict[str, float] = {}
    async with open_session(client, contact, me=Persona("River", rng.bytes(16)), line="hi") as session:
        with trio.fail_after(60):
            async for event in session.events:
                if isinstance(event, HelloHeld):
                    marks["held"] = ms_since(start)
                elif isinstance(event, Joined):
                    marks["joined"] = ms_since(start)
                elif isinstance(event, TextReceived):
                    marks["reply"] = ms_since(start)
                    break
    marks["with_goodbye"] = ms_since(start)
    return marks


async def talk(client: Client, contact: Contact, rng: SeededRng, count: int, rate: float) -> dict[str, Any]:
    """The ages of ``count`` words at the other side, and how long until each was known to be delivered."""
    sent: dict[bytes, int] = {}
    known: list[float] = []
    ages: list[float] = []
    async with (
        open_session(client, contact, me=Persona("River", rng.bytes(16))) as session,
        trio.open_nursery() as nursery,
    ):
        heard = trio.Event()

        async def listen() -> None:
            async for event in session.events:
                if isinstance(event, MessageState) and event.state == "delivered" and event.id in sent:
                    known.append(ms_since(sent[event.id]))
                elif isinstance(event, TextReceived) and event.text.startswith("["):
                    ages.extend(json.loads(event.text))
                    heard.set()

        async def say(number: int) -> float:
            stamp = time.monotonic_ns()
            sent[await session.send(str(stamp))] = stamp
            return ms_since(stamp)

        nursery.start_soon(listen)
        with trio.fail_after(90):
            await session.wait_established()
            await say(0)
            await trio.sleep(0.5)  # the first word opens the way to the other side's queue; not counted
            sent.clear()
            known.clear()
            _, took = await paced(say, count, rate)
            while len(known) < count:  # noqa: ASYNC110 - counted in another task
                await trio.sleep(0.005)
            await session.send("how many")
            await heard.wait()
        nursery.cancel_scope.cancel()
    return {"ages_ms": ages[-count:], "delivered_ms": known, "seconds": took}


# --- the directory ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def directory_of(ask: Ask, rng: SeededRng) -> AsyncIterator[Channel]:
    key = SigningKey(rng.bytes(32))
    async with open_host(HostSettings(private=True), key=key, rng=rng, clock=SystemClock()) as host:
        peer = await host.connect(ask["node"])
        async with await host.open_channel(peer, DIRECTORY, max_frame=limits.DIRECTORY_FRAME_MAX) as channel:
            yield channel


async def directory_node(ask: Ask, rng: SeededRng) -> None:
    """Host, gossip and directory of a node, connected to ``ask["next"]`` only: without DHT and keeper, which would
    soon connect every node of a small network with every other. Records travel by gossip alone.
    """
    key, clock = SigningKey(rng.bytes(32)), SystemClock()
    settings = HostSettings(listen=("/ip4/127.0.0.1/tcp/0",))
    async with (
        open_host(settings, key=key, rng=rng, clock=clock) as host,
        open_gossip(host) as gossip,
        open_store(ask["store"], run_blocking=run_in_thread, clock=clock, rng=rng) as store,
        open_directory(
            host,
            store,
            judge=RecordJudge(clock=clock, standing=None),
            key=key,
            profile=NodeProfile("bench"),
            rng=rng,
            run_blocking=run_in_thread,
            gossip=gossip,
            settings=DirectorySettings(sync_every=3600.0),
        ),
    ):
        if ask["next"]:
            await host.connect(ask["next"])
        tell("ready", addr=host.addrs()[0])
        async for _ in told():
            tell("mesh", peers=len(gossip.mesh(TOPIC)))


async def publisher(ask: Ask, rng: SeededRng) -> None:
    """Hand each record that is told, in hex, to a node; the time before that is its stamp."""
    async with directory_of(ask, rng) as channel:
        tell("ready")
        async for word in told():
            data = bytes.fromhex(word)
            stamp = time.monotonic_ns()
            answer = await call(channel, Publish(data), (Published,), deadline=30.0)
            tell("published", stamp=stamp, ms=ms_since(stamp), verdict=answer.verdict, reason=answer.reason)


async def watcher(ask: Ask, rng: SeededRng) -> None:
    """Ask a node for a record until it holds it; the stamp of the first answer that has it."""
    async with directory_of(ask, rng) as channel:
        tell("ready")
        async for word in told():
            wanted = RecordsWanted((bytes.fromhex(word)[:8],))
            asked = 0
            tell("watching")
            with trio.fail_after(60):
                while not (await call(channel, wanted, (Records,), deadline=30.0)).records:
                    asked += 1
                    await trio.sleep(0.002)
            tell("found", stamp=time.monotonic_ns(), asked=asked)


ROLES = {
    "queue_reader": queue_reader,
    "queue_writer": queue_writer,
    "supporter": supporter,
    "seeker": seeker,
    "directory_node": directory_node,
    "publisher": publisher,
    "watcher": watcher,
}


def main() -> None:
    role, ask = sys.argv[1], json.loads(sys.argv[2])
    trio.run(ROLES[role], ask, SeededRng(f"{ask['seed']}/{role}/{ask.get('number', 0)}"))


if __name__ == "__main__":
    main()
