"""Sessions over queue services without a network between them: a street of nodes that can be switched off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from support.queues import NODE, MemoryPath, a_store
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.client.session import Contact, Conversation, Persona, SessionEvent
from warmline.client.session_doors import ContactKey, DoorKeeper, OwnDoor, keep_doors
from warmline.client.session_lanes import Client, QueueNode, SessionSettings
from warmline.env import SeededRng, SystemClock, run_in_thread
from warmline.net.api import Channel
from warmline.services.queues import QueueService, QueueSettings
from warmline_protocol.errors import UnreachableError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.xwing import SealingKey

PATIENCE = 60
QUICK = SessionSettings(retry_first=0.05, retry_max=0.3, goodbye=2.0, log_silence=2.0)


@dataclass
class House:
    """One node: its queues, and whether its power is on."""

    address: NodeAddress
    service: QueueService
    alive: bool = True
    paths: list[StreetPath] = field(default_factory=list)

    def die(self) -> None:
        """As a power cut: every path ends, none opens."""
        self.alive = False
        for path in self.paths:
            path.cut()

    def wake(self) -> None:
        self.alive = True


class StreetPath:
    """A path that ends when its node dies."""

    weakness = None

    def __init__(self, nursery: trio.Nursery, house: House) -> None:
        async def contained(channel: Channel) -> None:
            with suppress(WarmlineError):  # as the host does around every handler
                await house.service.handle(channel)

        self._memory = MemoryPath(nursery, contained)
        self._gone = trio.Event()
        self._channels: list[Channel] = []
        self._nursery = nursery

    async def open_channel(self, protocol: str) -> Channel:
        if self._gone.is_set():
            raise UnreachableError("the node is gone")
        channel = await self._memory.open_channel(protocol)
        self._channels.append(channel)
        return channel

    async def wait_expiring(self) -> None:
        await self._gone.wait()

    def cut(self) -> None:
        self._gone.set()
        for channel in self._channels:
            self._nursery.start_soon(channel.abort)


class Street:
    """Every node there is, as :class:`warmline.client.session_lanes.Paths`."""

    def __init__(self, houses: list[House]) -> None:
        self.houses = houses
        self.opened: list[tuple[str, str]] = []

    def house(self, peer_id: str) -> House:
        return next(each for each in self.houses if each.address.peer_id == peer_id)

    @asynccontextmanager
    async def path(self, purpose: str, node: NodeAddress) -> AsyncIterator[StreetPath]:
        house = self.house(node.peer_id)
        await trio.lowlevel.checkpoint()
        if not house.alive:
            raise UnreachableError("no entry reaches this node")
        self.opened.append((purpose, node.peer_id))
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            path = StreetPath(nursery, house)
            house.paths.append(path)
            try:
                yield path
            except Exception as error:  # noqa: BLE001 - raised again below, where no nursery wraps it in a group
                failure = error
            finally:
                house.paths.remove(path)
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def client(self, name: str, settings: SessionSettings = QUICK) -> Client:
        rng = SeededRng(name)
        nodes = [QueueNode(house.address, f"operator {n}") for n, house in enumerate(self.houses)]
        return Client(self, lambda: nodes, MlsRsProvider(rng.bytes), rng, SystemClock(), run_in_thread, settings)


@asynccontextmanager
async def a_street(tmp_path: Path, count: int = 4) -> AsyncIterator[Street]:
    async with AsyncExitStack() as stack:
        houses = []
        for number in range(count):
            store = await stack.enter_async_context(a_store(tmp_path / f"node{number}.db"))
            rng = SeededRng(f"node {number}")
            peer = SigningKey(rng.bytes(32)).peer_id
            service = QueueService(NODE, store, clock=SystemClock(), rng=rng, settings=QueueSettings())
            houses.append(House(NodeAddress(peer, (f"/ip4/127.0.0.1/tcp/{4000 + number}/p2p/{peer}",)), service))
        yield Street(houses)


@dataclass
class Supporter:
    """Ada: her keys, her door, her keeper."""

    street: Street
    client: Client
    key: SigningKey
    contact_keys: list[ContactKey]
    doors: list[OwnDoor]
    keeper: DoorKeeper | None = None

    @property
    def contact(self) -> Contact:
        doors = tuple(QueueAddress(each.node, each.door.door, bytes(32)) for each in self.doors)
        return Contact(self.key.public, self.contact_keys[0].key.public, doors)

    @asynccontextmanager
    async def at_the_door(self, **more: Any) -> AsyncIterator[DoorKeeper]:
        async with keep_doors(
            self.client, self.doors, lambda: self.contact_keys, key=self.key, me=Persona("Ada", b"a" * 16), **more
        ) as keeper:
            self.keeper = keeper
            yield keeper


def a_supporter(street: Street, *, doors: int = 1, settings: SessionSettings = QUICK) -> Supporter:
    client = street.client("supporter", settings)
    rng = client.rng
    own = [OwnDoor(house.address, SigningKey(rng.bytes(32))) for house in street.houses[-doors:]]
    contact = ContactKey(SealingKey(rng.bytes(32)), SystemClock().utc_ms() + 3600_000)
    return Supporter(street, client, SigningKey(rng.bytes(32)), [contact], own)


async def until(conversation: Conversation, kind: type[Any], **fields: Any) -> Any:
    """The next event of this kind with these fields; whatever comes before it is read past."""
    with trio.fail_after(PATIENCE):
        async for event in conversation.events:
            if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                return event
    raise AssertionError(f"the conversation ended ({conversation.closed}) without {kind.__name__} {fields}")


async def rest(conversation: Conversation) -> list[SessionEvent]:
    """Everything up to the end."""
    with trio.fail_after(PATIENCE):
        return [event async for event in conversation.events]
