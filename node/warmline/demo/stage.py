"""Who and what is on the stage, and what was measured there."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from warmline.daemon import control
from warmline.daemon.home import Home
from warmline.demo.casting import SEEKERS, SUPPORTERS, Programme, SeekerRole, SupporterRole
from warmline.demo.ledger import Talk
from warmline.demo.processes import Fleet, Program, StepFailedError
from warmline_protocol.errors import WarmlineError

T = TypeVar("T")
OPERATORS = (
    "Harbour House",
    "Casa da Ponte",
    "Nachbarschaft Nord",
    "Kaimahi Collective",
    "Rue des Lilas",
    "Lantern Street",
    "Second Kitchen",
    "Open Window",
    "Old Mill",
    "Blue Door",
)
BETWEEN_LOOKS = 0.1
"""Seconds between two questions to a program that cannot call back."""


@dataclass(slots=True, eq=False)
class NodeSeat:
    """One node. The first one is the seekers' bootstrap, the last one the supporters'; neither keeps queues."""

    name: str
    operator: str
    home: Home
    peer_id: str
    port: int
    hold: socket.socket
    queues: bool
    program: Program | None = None
    ready_after: float = 0.0

    @property
    def addr(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{self.peer_id}"

    @property
    def alive(self) -> bool:
        return self.program is not None and self.program.running

    async def ask(self, question: str) -> Any:
        return await control.ask(self.home.socket, question)


@dataclass(slots=True, eq=False)
class SupporterSeat:
    role: SupporterRole
    folder: Path
    wallet: str = ""
    card: str = ""
    listings: frozenset[str] = frozenset()
    """Record ids of what they published."""
    duty: Program | None = None

    @property
    def on_duty(self) -> Program:
        assert self.duty is not None
        return self.duty


@dataclass(slots=True, eq=False)
class SeekerSeat:
    role: SeekerRole
    folder: Path
    found: list[dict[str, Any]] = field(default_factory=list)
    talk: Program | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What one node's host remembered of its peers at one moment, and the ports that nodes themselves used then."""

    node: str
    peers: list[dict[str, Any]]


@dataclass(slots=True)
class Stage:
    """Handed from step to step."""

    folder: Path
    fleet: Fleet
    programme: Programme
    nodes_wanted: int
    say: Callable[[str], None]
    seekers: list[SeekerSeat]
    supporters: list[SupporterSeat]
    nodes: list[NodeSeat] = field(default_factory=list)
    chain_url: str = ""
    chain_manifest: str = ""
    issuer: str = ""
    room_record: str = ""
    talks: list[Talk] = field(default_factory=list)
    pair: Talk | None = None
    killed: NodeSeat | None = None
    memories: list[Memory] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, fleet: Fleet, programme: Programme, nodes: int, say: Callable[[str], None]) -> Stage:
        seekers = [SeekerSeat(role, folder / role.key) for role in SEEKERS]
        supporters = [SupporterSeat(role, folder / role.key) for role in SUPPORTERS]
        return cls(folder, fleet, programme, nodes, say, seekers, supporters)

    @property
    def bootstrap(self) -> NodeSeat:
        """The only node that seekers know."""
        return self.nodes[0]

    @property
    def entry_of_supporters(self) -> NodeSeat:
        return self.nodes[-1]

    def living(self) -> list[NodeSeat]:
        return [node for node in self.nodes if node.alive]

    def node(self, peer_id: str) -> NodeSeat:
        return next(node for node in self.nodes if node.peer_id == peer_id)

    async def remember(self) -> None:
        """Ask every living node what it knows of its peers, now."""
        self.fleet.watch.look()

        async def ask(node: NodeSeat) -> None:
            self.memories.append(Memory(node.name, await node.ask("peerstore")))

        await all_of([partial(ask, node) for node in self.living()])
        self.fleet.watch.look()


async def all_of(jobs: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Do these at the same time; their results in order. The first failure ends the others."""
    results: list[Any] = [None] * len(jobs)

    async def one(at: int, job: Callable[[], Awaitable[Any]]) -> None:
        results[at] = await job()

    async with trio.open_nursery() as nursery:
        for at, job in enumerate(jobs):
            nursery.start_soon(one, at, job)
    return results


async def until(
    what: str, look: Callable[[], Awaitable[T]], good: Callable[[T], bool], *, within: float, of: Program | None = None
) -> T:
    """Ask again and again, for programs that offer no event, until the answer is ``good``; the answer."""
    last: object = "no answer"
    with trio.move_on_after(within):
        while True:
            with suppress(WarmlineError):
                answer = await look()
                if good(answer):
                    return answer
                last = answer
            if of is not None and not of.running:
                raise of.failure("ended")
            await trio.sleep(BETWEEN_LOOKS)
    raise StepFailedError(f"{what} did not happen within {within:g} s; last seen: {last}"[:500])
