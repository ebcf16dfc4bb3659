"""Two people over real hosts, relays, circuits and queue nodes, each client behind an entry of its own choice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from support.conversations import until
from support.hosts import a_host
from support.queues import a_store
from support.relays import address, relaying
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.client.rooms import host_room, join_room
from warmline.client.routes import Routes
from warmline.client.session import Contact, Persona, open_session
from warmline.client.session_doors import ContactKey, OwnDoor, keep_doors
from warmline.client.session_lanes import Client, QueueNode, SessionSettings
from warmline.env import SystemClock, SystemRng, run_in_thread
from warmline.net.host import Libp2pHost
from warmline.services.queues import QueueSettings, open_queues
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.session.events import Closed, Left, MessageState, TextReceived
from warmline_protocol.session.xwing import SealingKey

PATIENCE = 120
ENTRIES = 2
"""The first nodes serve as entries only, so that killing a queue node kills nothing else."""
SETTINGS = SessionSettings(retry_first=0.2, retry_max=2.0, goodbye=5.0, second_queue_ms=3_000)


@dataclass
class Node:
    host: Libp2pHost
    scope: trio.CancelScope


@asynccontextmanager
async def some_nodes(tmp_path: Path, count: int) -> AsyncIterator[list[Node]]:
    """Nodes that relay to each other and keep queues, in this process but over real sockets."""
    known: dict[str, Any] = {}
    nodes: list[Node] = []

    async def run(number: int, *, task_status: Any) -> None:  # noqa: ASYNC114 - a local function
        with trio.CancelScope() as scope:
            async with (
                a_store(tmp_path / f"node{number}.db") as store,
                a_host(name=f"node {number}") as host,
                relaying(host, known),
                open_queues(host, store, clock=SystemClock(), rng=SystemRng(), settings=QueueSettings()),
            ):
                task_status.started(Node(host, scope))
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for number in range(count):
            node = await nursery.start(run, number)
            nodes.append(node)
            known[node.host.peer_id] = node.host.addrs()
        yield nodes
        nursery.cancel_scope.cancel()


def a_client(nodes: list[Node], entry: int) -> Client:
    rng = SystemRng()
    routes = Routes((address(nodes[entry].host).addrs[0],), rng=rng, clock=SystemClock())
    offered = [QueueNode(address(each.host), f"operator {n}") for n, each in enumerate(nodes) if n >= ENTRIES]
    return Client(routes, lambda: offered, MlsRsProvider(rng.bytes), rng, SystemClock(), run_in_thread, SETTINGS)


@dataclass
class Ada:
    client: Client
    key: SigningKey
    contact_key: ContactKey
    door: OwnDoor

    @property
    def contact(self) -> Contact:
        door = QueueAddress(self.door.node, self.door.door.door, bytes(32))
        return Contact(self.key.public, self.contact_key.key.public, (door,))

    def at_the_door(self) -> Any:
        me = Persona("Ada", b"a" * 16)
        return keep_doors(self.client, [self.door], lambda: [self.contact_key], key=self.key, me=me)


def an_ada(nodes: list[Node], *, entry: int, door: int) -> Ada:
    rng = SystemRng()
    contact_key = ContactKey(SealingKey(rng.bytes(32)), SystemClock().utc_ms() + 3600_000)
    own = OwnDoor(address(nodes[door].host), SigningKey(rng.bytes(32)))
    return Ada(a_client(nodes, entry), SigningKey(rng.bytes(32)), contact_key, own)


async def test_a_session_through_entries_with_a_queue_node_killed_in_the_middle(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with some_nodes(tmp_path, 6) as nodes:
            ada = an_ada(nodes, entry=0, door=ENTRIES)
            async with (
                ada.at_the_door() as keeper,
                open_session(a_client(nodes, 1), ada.contact, me=Persona("River", b"r" * 16)) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                await seeker.send("hello")
                assert (await until(supporter, TextReceived)).text == "hello"
                await supporter.send("hello, River")
                assert (await until(seeker, TextReceived)).signed
                first = seeker._routes[0].node.peer_id
                next(each for each in nodes if each.host.peer_id == first).scope.cancel()
                sent = [await seeker.send(f"after {number}") for number in range(4)]
                got = [(await until(supporter, TextReceived)).text for _ in sent]
                assert got == [f"after {number}" for number in range(4)]
                for message in sent:
                    await until(seeker, MessageState, id=message, state="delivered")
                await seeker.aclose()
                await until(supporter, Left)


async def test_a_room_of_three_through_entries(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with some_nodes(tmp_path, 5) as nodes, AsyncExitStack() as stack:
            ada = an_ada(nodes, entry=0, door=ENTRIES)
            keeper = await stack.enter_async_context(ada.at_the_door())
            host = await stack.enter_async_context(host_room(ada.client, key=ada.key, me=Persona("Ada", b"a" * 16)))
            members = []
            for entry, name in ((0, "River"), (1, "Moss")):
                member = await stack.enter_async_context(
                    join_room(a_client(nodes, entry), ada.contact, b"L" * 32, me=Persona(name, bytes(16)))
                )
                await host.admit(await keeper.knocks.receive(), keeper)
                await member.wait_established()
                members.append(member)
            message = await host.send("welcome")
            for member in members:
                assert (await until(member, TextReceived)).text == "welcome"
            await until(host, MessageState, id=message, state="delivered")
            await members[1].send("thank you")
            for person in (host, members[0]):
                assert (await until(person, TextReceived)).text == "thank you"
            await host.aclose("closed")
            for member in members:
                assert (await until(member, Closed)).why == "host gone"
