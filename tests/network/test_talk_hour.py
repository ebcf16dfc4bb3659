"""Two terminals talk for an hour of virtual time while an entry, a queue node and one client die: all is accounted for.

Real hosts, relays, circuits (Noise and Yamux inside), queue services, sessions, vault and boards, on a network in
memory under Trio's mock clock. Crypto and SQLite run for real and take no virtual time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from sim.net.links import Endpoint, Net
from sim.net.transport import MemoryTransport
from warmline.cli.switchboard import Switchboard, TerminalFace
from warmline.cli.terminal import Terminal
from warmline.client import routes
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.client.routes import Routes
from warmline.client.session import Client, Contact, Persona, QueueNode, Session, open_session, resume_session
from warmline.client.session_doors import ContactKey, OwnDoor, keep_doors
from warmline.client.session_keep import KIND
from warmline.client.vault import FileVault, Kept, open_vault
from warmline.env import SeededRng, TrioClock, run_inline
from warmline.net.host import HostSettings, open_host
from warmline.net.relay import open_relay
from warmline.services.queues import QueueSettings, entry_of, open_queues
from warmline.services.signals import open_signal_service
from warmline.store.store import MEMORY, open_store
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.events import MessageState, TextReceived
from warmline_protocol.session.xwing import SealingKey

HOUR = 3600.0
ENTRIES, NODES = 3, 7
PORT = 7400


class Paper(Terminal):
    """A terminal whose keys are a channel and whose screen is a list."""

    def __init__(self) -> None:
        super().__init__(interactive=False)
        self.keys, self._typed_lines = trio.open_memory_channel[str](1000)
        self.screen: list[str] = []

    def show(self, text: str, *, style: str = "") -> None:
        self.screen.append(text)

    async def _read(self, *, ahead: bool = False) -> None:
        async with self._reading:
            try:
                if ahead or not self._ready:
                    self._ready.append(await self._typed_lines.receive())
            except trio.EndOfChannel:
                self._ended = True


@dataclass
class Desk:
    """One person at their terminal, and everything that their board told, over all lives of their client."""

    name: str
    said: dict[bytes, str] = field(default_factory=dict)
    fates: dict[bytes, list[str]] = field(default_factory=dict)
    heard: list[TextReceived] = field(default_factory=list)
    paper: Paper | None = None

    def board(self, nursery: trio.Nursery) -> Switchboard:
        self.paper = Paper()
        board = Switchboard(Recording(self), nursery)
        board.also(_no_act, lambda place, event: self.notice(event))
        return board

    def notice(self, event: Any) -> None:
        if isinstance(event, TextReceived):
            self.heard.append(event)
        elif isinstance(event, MessageState):
            self.fates.setdefault(event.id, []).append(event.state)

    def type(self, text: str) -> None:
        assert self.paper is not None
        self.paper.keys.send_nowait(text)


async def _no_act(wish: Any) -> bool:
    await trio.lowlevel.checkpoint()
    return False


class Recording(TerminalFace):
    """The terminal's own face, with a note of what was said under which id."""

    def __init__(self, desk: Desk) -> None:
        assert desk.paper is not None
        super().__init__(desk.paper)
        self._desk = desk

    def sent(self, place: Any, message: bytes, text: str) -> None:
        super().sent(place, message, text)
        self._desk.said[message] = text


class Disk(FileVault):
    """A vault that a dead process writes to no more: what runs on while it is torn down reaches no disk."""

    dead = False

    def put_all(self, kept: Sequence[Kept]) -> None:
        if not self.dead:
            super().put_all(kept)

    def delete(self, kind: str, id: bytes) -> None:
        if not self.dead:
            super().delete(kind, id)

    def delete_under(self, kind: str, prefix: bytes) -> None:
        if not self.dead:
            super().delete_under(kind, prefix)


class Town:
    """Nodes and machines of people."""

    def __init__(self, net: Net, nursery: trio.Nursery) -> None:
        self.net = net
        self.clock = TrioClock()
        self.nursery = nursery
        self.keys = [SigningKey(bytes([number + 1]) * 32) for number in range(NODES)]
        self.addresses = [
            NodeAddress(key.peer_id, (f"/ip4/20.{number}.0.1/tcp/{PORT}/p2p/{key.peer_id}",))
            for number, key in enumerate(self.keys)
        ]
        self.lives = 0
        self.scopes: dict[int, trio.CancelScope] = {}
        self.ends: dict[int, Endpoint] = {}
        self.stores: dict[int, Any] = {}

    def _locate(self, peer: str) -> tuple[str, ...] | None:
        return next((each.addrs for each in self.addresses if each.peer_id == peer), None)

    async def start(self, number: int) -> None:
        await self.nursery.start(self._run, number)

    async def _run(self, number: int, *, task_status: Any) -> None:  # noqa: ASYNC114 - a local class
        key, end = self.keys[number], self.net.endpoint(f"node {number}", f"20.{number}.0.1")
        rng = SeededRng(f"node {number}")
        settings = HostSettings(listen=(f"/ip4/20.{number}.0.1/tcp/{PORT}",))
        transport = MemoryTransport(self.net, end, key.peer_id)
        with trio.CancelScope() as scope:
            async with (
                open_host(settings, key=key, rng=rng, clock=self.clock, transports=[transport]) as host,
                open_relay(host, locate=self._locate, clock=self.clock),
                open_queues(host, self.stores[number], clock=self.clock, rng=rng, settings=QueueSettings()) as queues,
                open_signal_service(host, entry_of=entry_of, established=queues.knows),
            ):
                self.scopes[number], self.ends[number] = scope, end
                task_status.started()
                await trio.sleep_forever()

    def kill(self, number: int) -> None:
        self.net.crash(self.ends[number])
        self.scopes[number].cancel()

    def client(self, name: str, ip: str, entries: Sequence[int]) -> Client:
        """A person's machine, at an address of its own, behind these entries."""
        self.lives += 1
        rng = SeededRng(f"{name}, life {self.lives}")  # nobody draws the same ids in two lives
        here = self.net.endpoint(name, ip)
        _MACHINES[name] = (self.net, here)
        chosen = tuple(self.addresses[number].addrs[0] for number in entries)
        ways = Routes(chosen, rng=rng, clock=self.clock, transports=[Placeholder(name)])  # type: ignore[list-item]
        nodes = [QueueNode(self.addresses[n], f"operator {n}") for n in range(ENTRIES, NODES)]
        return Client(ways, lambda: nodes, MlsRsProvider(rng.bytes), rng, self.clock, run_inline)


_MACHINES: dict[str, tuple[Net, Endpoint]] = {}


@dataclass(frozen=True)
class Placeholder:
    """Stands for the machine: a client makes a host per purpose, and each needs a transport with its own name."""

    name: str


@pytest.fixture
def on_machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def opened(settings: HostSettings, *, key: SigningKey, transports: Any, **rest: Any) -> Any:
        net, here = _MACHINES[transports[0].name]
        return open_host(settings, key=key, transports=[MemoryTransport(net, here, key.peer_id)], **rest)

    monkeypatch.setattr(routes, "open_host", opened)
    yield
    _MACHINES.clear()


@asynccontextmanager
async def a_town() -> AsyncIterator[Town]:
    net = Net("an hour")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(net.run)
        town = Town(net, nursery)
        async with trio.open_nursery() as holding:
            for number in range(NODES):
                await holding.start(_hold_store, town, number)
                await town.start(number)
            yield town
            holding.cancel_scope.cancel()
            nursery.cancel_scope.cancel()


async def _hold_store(town: Town, number: int, *, task_status: Any) -> None:  # noqa: ASYNC114 - a local helper
    opening = open_store(MEMORY, run_blocking=run_inline, clock=town.clock, rng=SeededRng(f"store {number}"))
    async with opening as town.stores[number]:
        task_status.started()
        await trio.sleep_forever()


async def minute(number: float) -> None:
    await trio.sleep_until(60 * number)


async def test_an_hour_through_three_deaths(autojump_clock: Any, on_machines: None, tmp_path: Path) -> None:
    random = Random(6)
    async with a_town() as town:
        rng = SeededRng("ada")
        key, contact_key = SigningKey(rng.bytes(32)), ContactKey(SealingKey(rng.bytes(32)), 2**50)
        door = OwnDoor(town.addresses[ENTRIES], SigningKey(rng.bytes(32)))
        contact = Contact(key.public, contact_key.key.public, (QueueAddress(door.node, door.door.door, bytes(32)),))
        hers, his = Desk("Ada"), Desk("River")
        ada = town.client("ada", "30.0.0.1", [2, 1])
        async with (
            keep_doors(ada, [door], lambda: [contact_key], key=key, me=Persona("Ada", b"a" * 16)) as keeper,
            trio.open_nursery() as nursery,
        ):
            lives = Lives(town, his, contact, tmp_path / "river.db")
            nursery.start_soon(lives.first)
            session = await keeper.accept(await keeper.knocks.receive())
            board = hers.board(nursery)
            board.add(session, "River")
            nursery.start_soon(board.serve)
            await lives.talking.wait()
            nursery.start_soon(chat, hers, random, 18.0)
            nursery.start_soon(chat, his, random, 23.0)
            await minute(10)
            town.kill(lives.entries[0])
            await minute(20)
            lost = lives.session._inlets[0].own.node.peer_id
            number = next(n for n, each in enumerate(town.addresses) if each.peer_id == lost)
            town.kill(number)
            await minute(35)
            lives.die()
            await minute(38)
            nursery.start_soon(lives.second)
            await minute(45)
            await town.start(number)
            await minute(64)
            account(hers, his)
            assert lives.resumed
            # keys were renewed on their timer, half an hour each, through all of it
            assert session._machine.epoch == lives.session._machine.epoch >= 2
            nursery.cancel_scope.cancel()


class Lives:
    """River's client: one life until its machine dies, and one that goes on from the disk."""

    def __init__(self, town: Town, desk: Desk, contact: Contact, path: Path) -> None:
        self.town = town
        self.desk = desk
        self.contact = contact
        self.path = path
        self.entries = (0, 1)
        self.talking = trio.Event()
        self.resumed = False
        self.session: Session
        self._scope = trio.CancelScope()
        self._disk: Disk | None = None

    def _vault(self) -> Any:
        return open_vault(
            self.path, rng=SeededRng("vault"), clock=self.town.clock, passphrase=lambda: "four quiet winter rivers"
        )

    async def first(self) -> None:
        client = self.town.client("river", "30.0.0.2", self.entries)
        with self._vault() as vault, self._scope:
            vault.__class__ = Disk
            self._disk = vault
            me = Persona("River", b"r" * 16)
            async with open_session(client, self.contact, me=me, vault=vault) as session, trio.open_nursery() as own:
                self.session = session
                board = self.desk.board(own)
                board.add(session, "Ada")
                await session.wait_established()
                self.talking.set()
                await board.serve()

    def die(self) -> None:
        """The power goes: nothing more reaches the network, the disk, or the person."""
        assert self._disk is not None
        self._disk.dead = True
        self.town.net.crash(self.town.net.endpoints["river"], silent=True)
        self.desk.paper = None
        self._scope.cancel()

    async def second(self) -> None:
        client = self.town.client("river", "30.0.0.2", self.entries)
        with self._vault() as vault:
            (kept,) = vault.ids(KIND)
            async with resume_session(client, vault, kept) as session, trio.open_nursery() as own:
                self.session, self.resumed = session, True
                for line in session.transcript.lines:
                    if line.mine:
                        self.desk.said[line.id] = line.text
                board = self.desk.board(own)
                board.add(session, "Ada")
                await board.serve()


async def chat(desk: Desk, random: Random, pause: float) -> None:
    """A person who writes now and then, for an hour, whenever their terminal is there."""
    number = 0
    while trio.current_time() < HOUR:
        await trio.sleep(random.uniform(0.2, 2) * pause)
        if desk.paper is not None:
            number += 1
            desk.type(f"{desk.name} {number}")


def account(hers: Desk, his: Desk) -> None:
    for speaker, hearer in ((hers, his), (his, hers)):
        assert len(speaker.said) > 80
        heard = Counter(each.id for each in hearer.heard if not each.again)
        told = {each.id for each in hearer.heard}
        # each was shown once, or again where a death left it unsure whether it had been
        assert set(heard.values()) == {1}
        assert told == set(speaker.said), "said and heard"
        for message, text in speaker.said.items():
            assert speaker.fates[message][-1] == "delivered", (text, speaker.fates[message])
