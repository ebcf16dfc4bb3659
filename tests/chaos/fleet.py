"""Everything that runs: nodes, people, the network between them; started, killed, frozen and heard here."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from chaos.clocks import ShiftedClock
from warmline.daemon.home import Home
from warmline.env import SystemRng
from warmline_protocol.keys import peer_id_of

HERE = Path(__file__).resolve().parent
DISK = 48 << 20
"""Bytes of a node's own small disk, where this machine lets one be mounted."""
READY = 120.0
STOP = 30.0
"""Seconds for a graceful stop on a busy machine before it counts as a hang."""


@dataclass(eq=False)
class Running:
    """A process of ours. ``facts`` are the JSON lines that it printed last, by their first field."""

    name: str
    process: trio.Process
    lines: list[Any] = field(default_factory=list)
    ended: trio.Event = field(default_factory=trio.Event)
    _turn: trio.Lock = field(default_factory=trio.Lock)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return not self.ended.is_set()

    async def tell(self, data: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._turn:
                await self.process.stdin.send_all(json.dumps(data).encode() + b"\n")

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def kill(self) -> None:
        if self.alive:
            self.signal(signal.SIGKILL)
            await self.ended.wait()


@dataclass(eq=False)
class NodeSeat:
    """One node over all its lives. ``state`` is what the picture shows."""

    number: int
    home: Home
    port: int
    public_port: int = 0
    peer_id: str = ""
    small_disk: bool = False
    running: Running | None = None
    wanted: bool = True
    starts: int = 0
    kills: int = 0
    state: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def addr(self) -> str:
        return self.addr_at(self.public_port)

    def addr_at(self, port: int) -> str:
        """Its address by another port of the network."""
        return f"/ip4/127.0.0.1/tcp/{port}/p2p/{self.peer_id}"

    @property
    def up(self) -> bool:
        return self.running is not None and self.running.alive

    @property
    def clock_file(self) -> Path:
        return self.home.folder.parent / f"{self.name}.clock"

    @property
    def clock(self) -> ShiftedClock:
        return ShiftedClock(self.clock_file)

    @property
    def ballast(self) -> Path:
        return self.home.folder / "ballast"

    def fill(self) -> None:
        """No block of its disk is free any more."""
        with suppress(OSError), self.ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        self.ballast.unlink(missing_ok=True)

    def copy_or_restore(self) -> None:
        """Put the store as it was at the last call in the place of the present one, and keep the latter's copy."""
        files = [self.home.store_file.with_name(self.home.store_file.name + end) for end in ("", "-wal")]
        kept = self.home.folder.parent / f"{self.name}.copy"
        before, now = kept / "before", kept / "now"
        now.mkdir(parents=True, exist_ok=True)
        for file in files:
            if file.exists():
                shutil.copyfile(file, now / file.name)
        if before.exists():
            for file in self.home.folder.glob(f"{self.home.store_file.name}*"):
                file.unlink()  # its small disk need not hold both
            for file in before.iterdir():
                file.chmod(0o600)
                shutil.copyfile(file, self.home.folder / "copied")
                (self.home.folder / "copied").replace(self.home.folder / file.name)
            shutil.rmtree(before)
        now.rename(before)

    def limit(self, size: int) -> None:
        """From now on no file of the process may grow beyond ``size``; -1: as it was."""
        if self.running is not None:
            with suppress(ProcessLookupError):
                resource.prlimit(self.running.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@dataclass(eq=False)
class PersonSeat:
    """One program of people over all its lives. ``kept``: its conversations lie in a vault, so it may be killed."""

    name: str
    config: Path
    kept: bool
    running: Running | None = None
    wanted: bool = True
    kills: int = 0

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.alive


class Fleet:
    """Obtained from :func:`open_fleet`."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.folder = folder
        self.nodes: list[NodeSeat] = []
        self.people: list[PersonSeat] = []
        self.network: Running | None = None
        self.deaths: list[str] = []
        """Programs that ended and were not asked to."""
        self.heard = trio.Event()
        self.counts: dict[str, dict[str, int]] = {}
        self.finished: set[str] = set()
        self._ports: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str, bool], dict[str, Any]] = {}
        self._nursery = nursery

    # -- programs

    async def start(self, name: str, *words: str, listen: Any = None) -> Running:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await trio.lowlevel.open_process(
                [sys.executable, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        running = Running(name, process)
        self._nursery.start_soon(self._listen, running, listen or (lambda running, line: None))
        return running

    async def _listen(self, running: Running, listen: Any) -> None:
        assert running.process.stdout is not None
        with trio.CancelScope(shield=True):
            rest = b""
            async for chunk in running.process.stdout:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    running.lines.append(line) if len(running.lines) < 8 else None
                    listen(running, line)
                self.change()
            await running.process.wait()
            running.ended.set()
            self.change()

    def change(self) -> None:
        heard, self.heard = self.heard, trio.Event()
        heard.set()

    async def until(self, true: Any) -> None:
        while not true():
            await self.heard.wait()

    async def tell_pids(self) -> None:
        pids = {node.name: node.running.pid for node in self.nodes if node.running is not None and node.up}
        assert self.network is not None
        await self.network.tell({"pids": pids})

    # -- nodes

    async def open_network(self, count: int) -> None:
        """The network, and a place for each node in it."""
        self.network = await self.start("network", str(HERE / "network.py"), listen=self._hear_network)
        for number in range(count):
            folder = self.folder / f"node{number}"
            folder.mkdir()
            node = NodeSeat(number, Home(folder), _free_port(), small_disk=_mount(folder))
            self.nodes.append(node)
            node.public_port = await self.port(node)

    async def port(self, node: NodeSeat, source: str = "") -> int:
        """A port of the network by which ``source``, or anybody, reaches this node."""
        assert self.network is not None
        await self.network.tell({"node": node.name, "source": source, "to": node.port})
        with trio.fail_after(READY):
            await self.until(lambda: (node.name, source) in self._ports)
        return self._ports[node.name, source]

    def _hear_network(self, running: Running, line: bytes) -> None:
        told = json.loads(line)
        self._ports[told["node"], told["source"]] = told["port"]

    def furnish(self) -> None:
        """Keys and configurations; each node is told of one neighbour."""
        before: NodeSeat | None = None
        for node in self.nodes:
            node.home.create(
                SystemRng(),
                {
                    "node": {"operator": f"operator {node.number}", "store_mb": 512},
                    "net": {
                        "listen": (f"/ip4/127.0.0.1/tcp/{node.port}",),
                        "announce": (f"/ip4/127.0.0.1/tcp/{node.public_port}",),
                        "bootstrap": (before.addr,) if before else (),
                        "connections_max": 1200,
                        "connections_per_subnet": 1000,
                    },
                    "relay": {"circuits_per_subnet": 1000},
                },
            )
            node.peer_id = peer_id_of(node.home.key().public)
            before = node

    async def run_node(self, node: NodeSeat) -> bool:
        """Start it and wait until it says that it is ready; False when it ended instead (its disk is full)."""
        node.starts += 1
        node.running = running = await self.start(
            node.name, str(HERE / "node_process.py"), str(node.home.folder), str(node.clock_file)
        )
        await self.tell_pids()
        with trio.move_on_after(READY):
            await self.until(lambda: b"ready" in running.lines or not running.alive)
            return running.alive
        self.deaths.append(f"{node.name} was not ready within {READY:g} s")
        return False

    async def keep_node(self, node: NodeSeat) -> None:
        """Run it whenever it is wanted; whoever kills it says so first by taking ``wanted`` away."""
        while True:
            await self.until(lambda: node.wanted)
            good = await self.run_node(node)
            assert node.running is not None
            await node.running.ended.wait()
            if node.wanted:
                code, troubled = node.running.process.returncode, node.state & {"full", "limit"}
                if not troubled or good:
                    self.deaths.append(f"{node.name} ended by itself with code {code}, being {sorted(node.state)}")
                await trio.sleep(1)

    async def kill_node(self, node: NodeSeat) -> None:
        node.wanted = False
        node.kills += 1
        if node.running is not None:
            await node.running.kill()

    async def stop_node(self, node: NodeSeat) -> None:
        """SIGTERM; one that does not end is killed, and that is told."""
        node.wanted = False
        if node.running is None or not node.up:
            return
        node.running.signal(signal.SIGTERM)
        with trio.move_on_after(STOP):
            await node.running.ended.wait()
            return
        self.deaths.append(f"{node.name} did not end within {STOP:g} s of SIGTERM")
        await node.running.kill()

    # -- people

    async def run_person(self, seat: PersonSeat) -> None:
        """Start it, for the first time or again; what others told meanwhile is told to it."""
        seat.running = await self.start(seat.name, str(HERE / "person.py"), str(seat.config), listen=self.hear_person)
        seat.wanted = True
        for fact in list(self._told.values()):
            await seat.running.tell(fact)

    async def kill_person(self, seat: PersonSeat) -> None:
        seat.wanted = False
        seat.kills += 1
        if seat.running is not None:
            await seat.running.kill()

    def hear_person(self, running: Running, line: bytes) -> None:
        fact = json.loads(line)
        if "counts" in fact:
            self.counts[running.name] = fact["counts"]
        elif "finished" in fact:
            self.finished.add(running.name)
        elif "talk" in fact:
            self._told[fact["talk"], fact["who"], fact["done"]] = fact
            for person in self.people:
                if person.running is not None and person.running is not running:
                    self._nursery.start_soon(person.running.tell, fact)

    async def end(self) -> None:
        """Kill what is left, and give the disks back."""
        programs = [seat.running for seat in (*self.people, *self.nodes) if seat.running]
        for program in programs:
            program.signal(signal.SIGCONT)
            program.signal(signal.SIGKILL)
        for program in programs:
            await program.ended.wait()
        if self.network is not None:
            await self.network.kill()


@asynccontextmanager
async def open_fleet(folder: Path) -> AsyncIterator[Fleet]:
    """A fleet that has ended, to the last process, when the block is left for whatever reason."""
    async with trio.open_nursery() as nursery:
        fleet = Fleet(folder, nursery)
        try:
            yield fleet
        finally:
            for seat in (*fleet.nodes, *fleet.people):
                seat.wanted = False
            with trio.CancelScope(shield=True):
                await fleet.end()
                for node in fleet.nodes:
                    if node.small_disk:
                        await trio.to_thread.run_sync(_unmount, node.home.folder)
            nursery.cancel_scope.cancel()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _mount(folder: Path) -> bool:
    """A small disk of its own for this folder; False where this user may not."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "chaos", str(folder)]
    with suppress(OSError):
        return subprocess.run(words, check=False, capture_output=True).returncode == 0
    return False


def _unmount(folder: Path) -> None:
    with suppress(OSError):
        subprocess.run(["umount", str(folder)], check=False, capture_output=True)
