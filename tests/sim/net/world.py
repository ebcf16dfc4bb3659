"""Whole nodes in one process: started, watched, crashed and restarted with the same store and key."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import apsw
import trio

from sim.net.links import Endpoint, Links, Net, tick
from sim.net.shims import EPOCH, without_dht
from sim.net.transport import MemoryTransport
from warmline.chain.source import NullChain
from warmline.daemon.config import Config, NetSection, NodeSection, QueuesSection
from warmline.daemon.node import Node, build_node
from warmline.env import SeededRng, TrioClock, run_inline
from warmline.services.directory import DirectorySettings
from warmline.store.store import MEMORY, Store, open_store
from warmline_protocol import limits
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.envelope import open_record, sign_record
from warmline_protocol.records.node import DIRECTORY, KAD, RELAY, Capacity, NodeRecord

START_MS = int(EPOCH * 1000)
PORT = 7400
WATCH_SHORT = 8
"""Bytes of a digest that go into the event hash."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the simulated network is; times in seconds."""

    nodes: int
    seed: int = 7
    bootstrap: int = 3
    """Earlier nodes that each node's operator was told of."""
    degree: int = 6
    """``peers_min`` of each node's configuration."""
    stagger: float = 10.0
    """Nodes start within so many seconds."""
    links: Links = field(default_factory=Links)
    directory: DirectorySettings = field(default_factory=DirectorySettings)
    dht: bool = False
    """Whether nodes use the DHT: its lookups cost more than all the rest, so that only small runs do."""
    warm: bool = True
    """The nodes know of each other from before, as after a power cut: no flood of first announcements."""
    skew: float = 2.0
    """Clocks are off by so many seconds at most, either way."""


@dataclass(eq=False)
class Member:
    """One machine: what outlives a crash, and the node while it runs."""

    index: int
    key: SigningKey
    ip: str
    clock: TrioClock
    bootstrap: tuple[str, ...]
    operator: str
    store: Store | None = None
    endpoint: Endpoint | None = None
    node: Node | None = None
    scope: trio.CancelScope | None = None
    starts: int = 0
    misbehave: Callable[[Node], None] | None = None
    """Applied to the node each time it has started: what makes a member hostile."""
    ended: trio.Event = field(default_factory=trio.Event)
    peer_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.peer_id = self.key.peer_id

    @property
    def name(self) -> str:
        return f"n{self.index}"

    @property
    def addr(self) -> str:
        return f"/ip4/{self.ip}/tcp/{PORT}/p2p/{self.peer_id}"

    @property
    def is_honest(self) -> bool:
        return self.misbehave is None

    @property
    def is_up(self) -> bool:
        return self.node is not None

    @property
    def running(self) -> Node:
        assert self.node is not None, f"{self.name} does not run"
        return self.node


class World:
    """The network and its members; obtained from :func:`open_world`."""

    def __init__(self, shape: Shape, net: Net, nursery: trio.Nursery, stack: AsyncExitStack) -> None:
        self.shape = shape
        self.net = net
        self.nursery = nursery
        self.rng = random.Random(f"world/{shape.seed}")
        """The scenario's own randomness, apart from the links'."""
        self.members: list[Member] = []
        self.held_at: dict[bytes, dict[int, float]] = {}
        """Record digest to member to the virtual second at which it first held the record; only what is watched."""
        self.on_held: Callable[[int, bytes], None] = lambda member, record: None
        self._stack = stack
        self._events = hashlib.sha256()
        self.events = 0
        self._told = 0
        net.on_event = lambda event, here, there: self.note(event, -1, f"{here} {there}")
        self.log: TextIO | None = None
        """Where every event goes as text too: to find where two runs part."""

    # --- the log that two runs must share ---

    def note(self, event: str, member: int, what: bytes | str = b"") -> None:
        """One event for the hash of the run."""
        detail = what.hex() if isinstance(what, bytes) else what
        line = f"{tick()} {event} {member} {detail}\n"
        self._events.update(line.encode())
        self.events += 1
        if self.log is not None:
            self.log.write(line)

    def digest(self) -> str:
        """SHA-256 over every event so far: (virtual ms, event, node, what)."""
        return self._events.hexdigest()

    def tell(self) -> int:
        """The next of a row of numbers, for names that differ."""
        self._told += 1
        return self._told

    def watch(self, record: bytes) -> dict[int, float]:
        """Remember from now on who holds the record with this digest, and since when."""
        return self.held_at.setdefault(record, {})

    # --- members ---

    def enroll(self, count: int) -> None:
        """Members that do not run yet; each is told of a few earlier ones."""
        for _ in range(count):
            index = len(self.members)
            key = SigningKey(hashlib.sha256(f"member/{self.shape.seed}/{index}".encode()).digest())
            earlier = self.rng.sample(self.members, min(self.shape.bootstrap, index))
            ip = f"{20 + (index >> 8)}.{index & 255}.0.1"  # a network of its own: tables take few peers of one
            told = tuple(member.addr for member in earlier)
            self.members.append(Member(index, key, ip, TrioClock(), told, f"operator {index}"))

    async def open_stores(self) -> None:
        """A store for every member; when warm, all hold every node's record already."""
        image = await self._warm_image() if self.shape.warm else None
        for member in self.members:
            if member.store is None:
                rng = SeededRng(f"{self.shape.seed}/store/{member.index}")
                opening = open_store(MEMORY, run_blocking=run_inline, clock=member.clock, rng=rng)
                member.store = await self._stack.enter_async_context(opening)
                if image is not None:
                    await member.store.write(lambda conn: _fill(conn, image))

    async def _warm_image(self) -> list[tuple[bytes, int, int, bytes]]:
        """The rows of every node's own record, signed at the start of the run."""
        rows = []
        for member in self.members:
            data = sign_record(self._own_record(member), member.key)
            opened = open_record(data)
            rows.append((opened.id, opened.seq, 0, data))
        await trio.lowlevel.checkpoint()
        return rows

    def _own_record(self, member: Member) -> NodeRecord:
        offers = tuple(sorted((DIRECTORY, KAD, RELAY)))
        end = START_MS + limits.NODE_LIFE_MS
        capacity = Capacity(Config(Path()).relay.circuits_max, 0)
        return NodeRecord(
            member.key.public,
            START_MS,
            end,
            member.peer_id,
            (member.addr,),
            offers,
            member.operator,
            capacity,
            None,
        )

    async def start(self, index: int) -> Member:
        """Run a member's node; returns once it is up."""
        member = self.members[index]
        if not member.starts:
            # Its first own record then equals the one that all the others hold already.
            member.clock.offset_ms = -tick() if self.shape.warm else self._skew_ms()
        member.starts += 1
        member.endpoint = self.net.endpoint(member.name, member.ip)
        member.ended = trio.Event()
        await self.nursery.start(self._host, member)
        self.note("up", index)
        return member

    def _skew_ms(self) -> int:
        return round(1000 * self.rng.uniform(-self.shape.skew, self.shape.skew))

    async def _host(self, member: Member, task_status: trio.TaskStatus[None]) -> None:
        assert member.endpoint is not None and member.store is not None
        transport = MemoryTransport(self.net, member.endpoint, member.peer_id)
        try:
            with trio.CancelScope() as member.scope:
                async with build_node(
                    self._config(member),
                    key=member.key,
                    rng=SeededRng(f"{self.shape.seed}/{member.index}/{member.starts}"),
                    clock=member.clock,
                    store=member.store,
                    chain=NullChain(),
                    run_blocking=run_inline,
                    transports=[transport],
                    directory_settings=self.shape.directory,
                ) as node:
                    self._watch_directory(member, node)
                    if member.misbehave is not None:
                        member.misbehave(node)
                    member.node = node
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            member.node = None
            member.ended.set()

    def _config(self, member: Member) -> Config:
        return Config(
            Path(),
            node=NodeSection(operator=member.operator, peers_min=self.shape.degree),
            net=NetSection(listen=(f"/ip4/{member.ip}/tcp/{PORT}",), bootstrap=member.bootstrap),
            queues=QueuesSection(enabled=False),
        )

    def _watch_directory(self, member: Member, node: Node) -> None:
        index: Any = node.directory.shelf.index
        put = index.put

        def noting(record: Any, **how: Any) -> None:
            put(record, **how)
            self._held(member.index, record.digest)

        index.put = noting

    def _held(self, member: int, record: bytes) -> None:
        self.note("hold", member, record[:WATCH_SHORT])
        if record in self.held_at:
            self.held_at[record].setdefault(member, trio.current_time())
        self.on_held(member, record)

    async def crash(self, index: int, *, silent: bool = False) -> None:
        """Kill a node; its store and key stay. ``silent``: its peers hear nothing, as when the power goes."""
        member = self.members[index]
        assert member.endpoint is not None and member.scope is not None
        self.note("crash", index)
        self.net.crash(member.endpoint, silent=silent)
        member.scope.cancel()
        await member.ended.wait()

    def up(self) -> list[Member]:
        return [member for member in self.members if member.is_up]

    def honest(self) -> list[Member]:
        """The honest ones that run now."""
        return [member for member in self.members if member.is_up and member.is_honest]

    async def start_all(self, indices: Sequence[int] | None = None) -> None:
        """Start members one after another, evenly spread over the stagger."""
        chosen = range(len(self.members)) if indices is None else indices
        pause = self.shape.stagger / max(1, len(chosen))
        for index in chosen:
            await self.start(index)
            await trio.sleep(pause)


def _fill(conn: apsw.Connection, rows: Sequence[tuple[bytes, int, int, bytes]]) -> None:
    conn.executemany("INSERT INTO directory_record (id, seq, home, data) VALUES (?, ?, ?, ?)", rows)


@asynccontextmanager
async def open_world(shape: Shape) -> AsyncIterator[World]:
    """An empty network of ``shape.nodes`` members that do not run yet. Run it under a mock clock."""
    async with AsyncExitStack() as stack:
        net = Net(shape.seed, shape.links)
        if not shape.dht:
            stack.enter_context(without_dht())
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(net.run)
        world = World(shape, net, nursery, stack)
        world.enroll(shape.nodes)
        await world.open_stores()
        yield world
        nursery.cancel_scope.cancel()
