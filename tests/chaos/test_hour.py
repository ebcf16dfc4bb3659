"""Two people talk for an hour of virtual time, through the death of an entry, a queue node and one of their programs.

Real nodes, routes, circuits, queues, sessions and the board of the terminal; between them a network in memory and
Trio's mock clock. Times are those that are shipped.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from sim.net.links import Endpoint, Net
from sim.net.shims import without_dht
from sim.net.transport import MemoryTransport
from warmline.chain.source import NullChain
from warmline.cli.switchboard import Place, Switchboard, Wish
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.client.routes import Routes
from warmline.client.session import Client, Contact, Persona, QueueNode, Session, open_session, resume_session
from warmline.client.session_doors import ContactKey, OwnDoor, keep_doors
from warmline.client.session_keep import KIND
from warmline.client.vault import MemoryVault
from warmline.daemon.config import Config, NetSection, NodeSection
from warmline.daemon.node import build_node
from warmline.env import SeededRng, TrioClock, run_inline
from warmline.store.store import MEMORY, open_store
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.events import MessageState, TextReceived
from warmline_protocol.session.xwing import SealingKey

NODES = 6
ENTRIES = {"River": (0, 1), "Ada": (1, 2)}
HOUR = 3600.0
PAUSE = 20.0
"""Seconds between two messages of one person."""
SETTLED_WITHIN = 600.0
DAY_MS = 24 * 3600_000


@dataclass(eq=False)
class Machine:
    """One node's machine, which may lose its power."""

    key: SigningKey
    ip: str
    endpoint: Endpoint
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def address(self) -> NodeAddress:
        return NodeAddress(self.key.peer_id, (f"/ip4/{self.ip}/tcp/7400/p2p/{self.key.peer_id}",))


class Town:
    """All machines and what is between them."""

    def __init__(self) -> None:
        self.net = Net("an hour")
        self.clock = TrioClock()
        self.machines: list[Machine] = []

    async def run_node(self, number: int, *, task_status: Any) -> None:  # noqa: ASYNC114 - a common name
        key = SigningKey(SeededRng(f"node {number}").bytes(32))
        ip = f"20.{number}.0.1"
        machine = Machine(key, ip, self.net.endpoint(f"node {number}", ip))
        config = Config(
            Path(),
            node=NodeSection(operator=f"operator {number}", peers_min=3),
            net=NetSection(
                listen=(f"/ip4/{ip}/tcp/7400",), bootstrap=tuple(each.address.addrs[0] for each in self.machines[-2:])
            ),
        )
        rng, transport = SeededRng(f"life of node {number}"), MemoryTransport(self.net, machine.endpoint, key.peer_id)
        with machine.scope:
            async with (
                open_store(MEMORY, run_blocking=run_inline, clock=self.clock, rng=rng) as store,
                build_node(
                    config,
                    key=key,
                    rng=rng,
                    clock=self.clock,
                    store=store,
                    chain=NullChain(),
                    run_blocking=run_inline,
                    transports=[transport],
                ),
            ):
                self.machines.append(machine)
                task_status.started()
                await trio.sleep_forever()

    def kill(self, peer_id: str) -> None:
        """Its power goes: nobody is told."""
        machine = next(each for each in self.machines if each.key.peer_id == peer_id)
        self.net.crash(machine.endpoint, silent=True)
        machine.scope.cancel()

    def client(self, name: str, life: int) -> tuple[Client, Endpoint]:
        endpoint = self.net.endpoint(f"{name} {life}", f"30.{len(name)}.{life}.1")
        rng = SeededRng(f"{name} {life}")
        entries = tuple(self.machines[number].address.addrs[0] for number in ENTRIES[name])
        routes = MemoryRoutes(self.net, endpoint, entries, rng=rng, clock=self.clock)
        nodes = [QueueNode(each.address, f"operator {n}") for n, each in enumerate(self.machines) if n > 2]
        return Client(routes, lambda: nodes, MlsRsProvider(rng.bytes), rng, self.clock, run_inline), endpoint


class MemoryRoutes(Routes):
    """Routes whose throw-away hosts each have a way into the network in memory."""

    def __init__(self, net: Net, endpoint: Endpoint, entries: tuple[str, ...], **more: Any) -> None:
        super().__init__(entries, **more)
        self._net, self._endpoint = net, endpoint
        self.entry = ""

    @asynccontextmanager
    async def path(self, purpose: str, node: NodeAddress) -> AsyncIterator[Any]:
        """The shipped one, with a transport for the key that it is about to draw."""
        seed = self._rng.bytes(32)
        one_path = copy.copy(self)
        one_path._rng = FirstBytes(seed, self._rng)  # type: ignore[assignment]
        one_path._transports = [MemoryTransport(self._net, self._endpoint, SigningKey(seed).peer_id)]
        async with Routes.path(one_path, purpose, node) as path:
            self.entry = path.entry
            yield path


class FirstBytes:
    """Gives ``first`` at the first question for bytes, then what the other gives."""

    def __init__(self, first: bytes, rng: Any) -> None:
        self._first, self._rng = [first], rng

    def bytes(self, size: int) -> bytes:
        return self._first.pop() if self._first else bytes(self._rng.bytes(size))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rng, name)


class Keyboard:
    """The face of a board at which somebody types a line now and then, and who remembers what was shown."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said: dict[bytes, str] = {}
        self.fates: dict[bytes, MessageState] = {}
        self.shown: Counter[str] = Counter()
        self.stop = trio.Event()
        self.changed = trio.Event()

    async def wishes(self) -> AsyncIterator[Wish]:
        while not self.stop.is_set():
            yield Wish("say", text=f"{self.name}, {len(self.said)}")
            with trio.move_on_after(PAUSE):
                await self.stop.wait()

    async def panic(self) -> None:
        await trio.sleep_forever()

    def sent(self, place: Place, message: bytes, text: str) -> None:
        self.said[message] = text

    def event(self, place: Place, event: Any) -> None:
        if isinstance(event, MessageState):
            self.fates[event.id] = event
        elif isinstance(event, TextReceived):
            self.shown[event.text] += 1
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    @property
    def open(self) -> list[str]:
        return [text for id, text in self.said.items() if id not in self.fates or not self.fates[id].last]

    async def all_told(self) -> None:
        while self.open:
            await self.changed.wait()

    def note(self, text: str, style: str = "", **data: Any) -> None:
        raise AssertionError(f"{self.name} is told: {text}")

    def front(self, place: Place | None) -> None: ...

    def call(self) -> None: ...

    async def ask(self, words: str, *, hidden: bool = False) -> str:
        raise AssertionError("nobody asks anything in this hour")

    def end_now(self) -> NoReturn:
        raise AssertionError("nobody erases anything in this hour")

    def last_words(self) -> None: ...

    def signal(self, place: Place, said: Sequence[str], told: Mapping[str, Any]) -> None: ...

    def keys(self, typed: Callable[[str], None]) -> None: ...


async def sit(keyboard: Keyboard, session: Session, name: str) -> None:
    """At the board until told to stop, and to the end of the conversation."""
    async with trio.open_nursery() as nursery:
        board = Switchboard(keyboard, nursery)
        place = board.add(session, name)
        await board.serve()
        await place.ended.wait()
        nursery.cancel_scope.cancel()


class River:
    """A seeker, whose program dies once."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.keyboard = Keyboard("River")
        self.vault = MemoryVault(town.clock)
        self.scope = trio.CancelScope()
        self.session: Session | None = None
        self.routes: MemoryRoutes | None = None
        self.endpoint: Endpoint | None = None

    async def live(self, contact: Contact, life: int = 0) -> None:
        client, self.endpoint = self.town.client("River", life)
        assert isinstance(client.paths, MemoryRoutes)
        self.routes = client.paths
        with trio.CancelScope() as self.scope:
            if life == 0:
                opened = open_session(client, contact, me=Persona("River", bytes(16)), vault=self.vault)
            else:
                (kept,) = self.vault.ids(KIND)
                opened = resume_session(client, self.vault, kept)
            async with opened as self.session:
                await self.session.wait_established()
                await sit(self.keyboard, self.session, "Ada")

    def die(self) -> MemoryVault:
        """As by kill -9: what is in the vault at this moment is all that is left, and nobody hears of it."""
        left = copy.copy(self.vault)
        left._kept = dict(self.vault._kept)
        assert self.endpoint is not None
        self.town.net.crash(self.endpoint, silent=True)
        self.keyboard, heard = Keyboard("River"), self.keyboard
        self.keyboard.said, self.keyboard.fates, self.keyboard.shown = heard.said, dict(heard.fates), +heard.shown
        heard.note = lambda text, style="", **data: None  # type: ignore[method-assign]
        self.scope.cancel()
        return left


@pytest.mark.timeout(900)  # half a minute on an idle core
async def test_an_hour_with_three_deaths(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    async with AsyncExitStack() as stack:
        stack.enter_context(without_dht())
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(town.net.run)
        for number in range(NODES):
            await nursery.start(town.run_node, number)
        await trio.sleep(30)
        client, _ = town.client("Ada", 0)
        key, sealing = SigningKey(client.rng.bytes(32)), SealingKey(client.rng.bytes(32))
        door = OwnDoor(town.machines[-1].address, SigningKey(client.rng.bytes(32)))
        contact_key = ContactKey(sealing, town.clock.utc_ms() + DAY_MS)
        keeper = await stack.enter_async_context(
            keep_doors(client, [door], lambda: [contact_key], key=key, me=Persona("Ada", b"a" * 16))
        )
        contact = Contact(key.public, sealing.public, (QueueAddress(door.node, door.door.door, bytes(32)),))
        river, ada = River(town), Keyboard("Ada")
        nursery.start_soon(river.live, contact)
        session = await keeper.accept(await keeper.knocks.receive())
        await session.wait_established()
        nursery.start_soon(sit, ada, session, "River")
        began = trio.current_time()

        await trio.sleep(HOUR / 6)
        assert river.routes is not None and river.session is not None
        town.kill(river.routes.entry)
        await trio.sleep(HOUR / 6)
        victim = next(route.node.peer_id for route in river.session._routes if route.node.peer_id != door.node.peer_id)
        town.kill(victim)
        await trio.sleep(HOUR / 6)
        vault = river.die()
        await trio.sleep(90)
        river.vault = vault
        nursery.start_soon(river.live, contact, 1)
        await trio.sleep(HOUR / 2 - 90)
        assert trio.current_time() - began >= HOUR

        for keyboard in (river.keyboard, ada):
            keyboard.stop.set()
        with trio.fail_after(SETTLED_WITHIN):
            await river.keyboard.all_told()
            await ada.all_told()
        for speaker, reader in ((river.keyboard, ada), (ada, river.keyboard)):
            assert len(speaker.said) > 150
            assert {speaker.fates[id].state for id in speaker.said} == {"delivered"}
            assert reader.shown == Counter(speaker.said.values())
        nursery.cancel_scope.cancel()
