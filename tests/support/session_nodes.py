"""Nodes and people for sessions over real sockets: relays, queue nodes, a client behind an entry of its choice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from support.hosts import a_host
from support.queues import a_store
from support.relays import address, relaying
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.client.routes import Routes
from warmline.client.session import Contact, Persona
from warmline.client.session_doors import ContactKey, OwnDoor, keep_doors
from warmline.client.session_lanes import Client, QueueNode, SessionSettings
from warmline.env import SystemClock, SystemRng, run_in_thread
from warmline.net.host import Libp2pHost
from warmline.services.queues import QueueSettings, entry_of, open_queues
from warmline.services.signals import SignalService, open_signal_service
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.session.xwing import SealingKey

PATIENCE = 120
ENTRIES = 2
"""The first nodes serve as entries only, so that killing a queue node kills nothing else."""
SETTINGS = SessionSettings(retry_first=0.2, retry_max=2.0, goodbye=5.0, second_queue_ms=3_000)


@dataclass
class Node:
    host: Libp2pHost
    scope: trio.CancelScope
    signals: SignalService


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
                open_queues(host, store, clock=SystemClock(), rng=SystemRng(), settings=QueueSettings()) as queues,
                open_signal_service(host, entry_of=entry_of, established=queues.knows) as signals,
            ):
                task_status.started(Node(host, scope, signals))
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
