"""Many directory nodes in processes of their own, some of them hostile, with a wall between them when wanted.

The parent is a host too, connected to every node, and orders by JSON over a channel: publish, hold, split, dial. All
clocks read one shared file, so that an hour can pass for everybody at once.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio

from chaos.clocks import ShiftedClock
from support import records as make
from support.directories import DirectoryNode, a_directory
from support.hosts import Ready, a_host, key_of
from support.processes import Child, start
from warmline.env import SystemRng
from warmline.net.api import Channel
from warmline.net.host import Libp2pHost
from warmline.net.liveness import KeeperSettings, open_keeper
from warmline.services.directory import DirectorySettings
from warmline_protocol.errors import ChannelClosed, UnreachableError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.messages import TOPIC

ORDERS = "/warmline/test/orders/1"
FRAME = 1 << 20
START_SECONDS = 300.0
"""Twenty interpreters that start side by side on two cores keep each other waiting."""
HOSTILE = ("stale", "mute", "junk", "flood")
"""Plays old records again, leaves everything out of its answers, gossips rubbish, fills places with throw-away keys."""


class Wall:
    """Cuts a host off from everybody who is not allowed; nobody is walled off at first."""

    def __init__(self, host: Libp2pHost, nursery: trio.Nursery) -> None:
        self.allowed: set[str] | None = None
        self._host = host
        self._nursery = nursery
        self._connect = host.connect
        host.connect = self._dial  # type: ignore[method-assign]  # a wall has to stand in the way
        host.on_peer_change(self._changed)

    def build(self, allowed: Iterable[str] | None) -> None:
        self.allowed = None if allowed is None else set(allowed)
        for peer in self._host.peers():
            self._changed(peer, True)

    def _changed(self, peer: str, connected: bool) -> None:
        if connected and self.allowed is not None and peer not in self.allowed:
            self._nursery.start_soon(self._host.disconnect, peer)

    async def _dial(self, addr: str, *, deadline: float | None = None) -> str:
        if self.allowed is not None and addr.rpartition("/p2p/")[2] not in self.allowed:
            raise UnreachableError("a wall stands in between")
        return await self._connect(addr, deadline=deadline)


async def fleet_node(ready: Ready, *, name: str, clock: str, kind: str, pinned: Sequence[str], degree: int) -> None:
    """One node of a fleet, until its parent ends."""
    time = ShiftedClock(Path(clock))
    async with (
        a_directory(name, clock=time, settings=DirectorySettings(), relay=True, dht=True) as node,
        trio.open_nursery() as nursery,
    ):
        wall = Wall(node.host, nursery)
        node.host.serve(ORDERS, partial(_obey, node, wall), max_frame=FRAME, max_channels_per_peer=8)
        keeper = open_keeper(
            node.host,
            KeeperSettings(degree=degree, pinned=tuple(pinned), check_every=2.0, backoff_pinned=3.0),
            candidates=lambda: [record.addrs[0] for record in node.directory.nodes()],
            rng=SystemRng(),
        )
        async with keeper:
            if kind != "honest":
                nursery.start_soon(_misbehave, node, kind)
            ready({"peer": node.host.peer_id, "addr": node.addr})
            await trio.sleep_forever()


async def _obey(node: DirectoryNode, wall: Wall, channel: Channel) -> None:
    with suppress(ChannelClosed, UnreachableError):
        while True:
            order = json.loads(await channel.receive(deadline=3600.0))
            answer: Any = None
            if "publish" in order:
                answer = (await node.directory.publish(bytes.fromhex(order["publish"]))).verdict
            elif "held" in order:
                held = {key: node.directory.record(bytes.fromhex(key)) for key in order["held"]}
                answer = {key: [record.kind, record.seq] for key, record in held.items() if record is not None}
            elif "until" in order:
                answer = await _until(node, order["until"], order["seconds"])
            elif "split" in order:
                wall.build(order["split"])
            elif "peers" in order:
                answer = list(node.host.peers())
            await channel.send(json.dumps(answer).encode())


async def _until(node: DirectoryNode, wanted: dict[str, list[Any]], seconds: float) -> float | None:
    """Seconds until this node holds exactly these (kind, seq) under these ids; None where it takes longer."""
    began = trio.current_time()
    with trio.move_on_after(seconds):
        while True:
            held = {key: node.directory.record(bytes.fromhex(key)) for key in wanted}
            if all(record and [record.kind, record.seq] == wanted[key] for key, record in held.items()):
                return trio.current_time() - began
            await node.directory.wait_change()
    return None


async def _misbehave(node: DirectoryNode, kind: str) -> None:
    rng, old = SystemRng(), list[bytes]()
    index = node.directory.shelf.index
    assert node.gossip is not None
    if kind == "mute":
        index.bucket = lambda number: b""  # type: ignore[method-assign]
        index.digests = lambda: rng.bytes(4096)  # type: ignore[method-assign]
        index.rows = lambda now: []  # type: ignore[method-assign]
        return
    while True:
        await trio.sleep(0.5)
        with suppress(WarmlineError):
            if kind == "junk":
                await node.gossip.publish(TOPIC, rng.bytes(200))
            elif kind == "stale":
                old += [held.record.data for held in index if held.record.data not in old][:200]
                if old:
                    await node.gossip.publish(TOPIC, rng.choice(old) + b"")
            else:
                key = SigningKey(rng.bytes(32))
                at = node.directory.shelf.judge.clock.utc_ms()
                card = make.sign_record(make.card(key.public, at_ms=at), key)
                await node.gossip.publish(TOPIC, card)


class Fleet:
    """The parent's view: every node by name, and a channel to each."""

    def __init__(self, host: Libp2pHost, folder: Path, degree: int) -> None:
        self.host = host
        self.clock = ShiftedClock(folder / "clock")
        self.children: dict[str, Child] = {}
        self.kinds: dict[str, str] = {}
        self._clock_file = str(folder / "clock")
        self._channels: dict[str, Channel] = {}
        self._locks: dict[str, trio.Lock] = {}
        self._degree = degree
        self._pinned: list[str] = []

    @property
    def honest(self) -> list[str]:
        return [name for name, kind in self.kinds.items() if kind == "honest"]

    def peer(self, name: str) -> str:
        return key_of(name).peer_id

    async def start(self, name: str, kind: str = "honest", *, pin: bool = False) -> None:
        """Start a node, or start it again with nothing on its disk."""
        options = {
            "name": name,
            "clock": self._clock_file,
            "kind": kind,
            "pinned": self._pinned,
            "degree": self._degree,
        }
        child = await trio.to_thread.run_sync(partial(start, __file__, "fleet_node", seconds=START_SECONDS, **options))
        self.children[name], self.kinds[name] = child, kind
        if pin:
            self._pinned.append(child.facts["addr"])
        await self.host.disconnect(child.facts["peer"])
        await self.host.connect(child.facts["addr"], deadline=60.0)
        channel = await self.host.open_channel(child.facts["peer"], ORDERS, max_frame=FRAME, deadline=60.0)
        self._channels[name], self._locks[name] = channel, trio.Lock()

    async def kill(self, name: str) -> None:
        """SIGKILL."""
        await trio.to_thread.run_sync(self.children[name].kill)

    async def ask(self, name: str, **order: Any) -> Any:
        async with self._locks[name]:
            channel = self._channels[name]
            await channel.send(json.dumps(order).encode(), deadline=60.0)
            return json.loads(await channel.receive(deadline=900.0))

    async def ask_all(self, names: Iterable[str], **order: Any) -> dict[str, Any]:
        """The same order to many at once."""
        found: dict[str, Any] = {}

        async def one(name: str) -> None:
            found[name] = await self.ask(name, **order)

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(one, name)
        return found

    async def split(self, *groups: Sequence[str]) -> None:
        """Walls between groups of names; none where there is one group only."""
        for group in groups:
            allowed = None if len(groups) == 1 else [*(self.peer(name) for name in group), self.host.peer_id]
            await self.ask_all(group, split=allowed)


@asynccontextmanager
async def a_fleet(folder: Path, kinds: dict[str, str], *, degree: int = 5, at_once: int = 3) -> AsyncIterator[Fleet]:
    """Nodes of these names and kinds; the first two are pinned by all, as bootstrap nodes are."""
    async with a_host(max_connections=1000) as host:
        fleet = Fleet(host, folder, degree)
        try:
            names = list(kinds)
            for name in names[:2]:
                await fleet.start(name, kinds[name], pin=True)
            slots = trio.CapacityLimiter(at_once)

            async def one(name: str) -> None:
                async with slots:
                    await fleet.start(name, kinds[name])

            async with trio.open_nursery() as nursery:
                for name in names[2:]:
                    nursery.start_soon(one, name)
            yield fleet
        finally:
            for child in fleet.children.values():
                if child.alive:
                    child.kill()
                child.stop()
