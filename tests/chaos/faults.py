"""Doing to programs what the schedule says, and undoing it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from chaos.clocks import ShiftedClock
from chaos.fleet import Fleet, NodeSeat
from chaos.plan import TOGETHER, Fault

STALL = 15.0
"""Seconds without a fault after which the next one comes, whatever the progress."""


class Weather:
    """Applies faults by progress. ``log`` gets a line for each beginning and end."""

    def __init__(self, fleet: Fleet, faults: list[Fault], said: Callable[[], int], log: Callable[[str], None]) -> None:
        self.fleet = fleet
        self.faults = faults
        self.said = said
        self.log = log
        self.active: dict[int, Fault] = {}
        self.done = 0
        self._links: dict[int, list[Any]] = {}

    async def run(self) -> None:
        """The whole schedule; returns when the last fault is over."""
        async with trio.open_nursery() as nursery:
            for fault in self.faults:
                with trio.move_on_after(STALL):
                    await self.fleet.until(partial(self._due, fault))
                await self.fleet.until(lambda: len(self.active) < TOGETHER)
                self.active[fault.number] = fault
                nursery.start_soon(self._one, fault)

    def _due(self, fault: Fault) -> bool:
        return self.said() >= fault.at

    async def _one(self, fault: Fault) -> None:
        self.log(f"begin {fault}; {self.said()} said")
        try:
            await getattr(self, f"_{fault.kind}")(fault)
        finally:
            del self.active[fault.number]
            self.done += 1
            self.log(f"end #{fault.number}")
            self.fleet.change()

    def _node(self, fault: Fault) -> NodeSeat:
        return self.fleet.nodes[fault.node]

    # -- programs

    async def _kill(self, fault: Fault) -> None:
        node = self._node(fault)
        await self.fleet.kill_node(node)
        await self._come_back(node, fault.seconds)

    async def _stop(self, fault: Fault) -> None:
        node = self._node(fault)
        await self.fleet.stop_node(node)
        await self._come_back(node, fault.seconds)

    async def _restore(self, fault: Fault) -> None:
        """A node is stopped and an older copy of its store put in its place; the first time the copy is made."""
        node = self._node(fault)
        await self.fleet.stop_node(node)
        await trio.to_thread.run_sync(node.copy_or_restore)
        await self._come_back(node, fault.seconds)

    async def _come_back(self, node: NodeSeat, seconds: float) -> None:
        await trio.sleep(seconds)
        node.wanted = True
        self.fleet.change()

    async def _freeze(self, fault: Fault) -> None:
        running = self._node(fault).running
        if running is None:
            return
        with self._marked(fault):
            running.signal(signal.SIGSTOP)
            try:
                await trio.sleep(fault.seconds)
            finally:
                running.signal(signal.SIGCONT)

    async def _die(self, fault: Fault) -> None:
        """A person's program is killed, and goes on with what its vault holds."""
        kept = [person for person in self.fleet.people if person.kept and person.name not in self.fleet.finished]
        if not kept:
            return
        person = kept[fault.node % len(kept)]
        if not person.wanted:
            return  # it is dead already
        await self.fleet.kill_person(person)
        await trio.sleep(fault.seconds)
        await self.fleet.run_person(person)

    # -- the network

    async def _cut(self, fault: Fault) -> None:
        await self._partition(fault, "cut")

    async def _hold(self, fault: Fault) -> None:
        await self._partition(fault, "hold")

    async def _partition(self, fault: Fault, how: str) -> None:
        names = [node.name for node in self.fleet.nodes] + [person.name for person in self.fleet.people]
        away = {names[fault.node], *(names[each] for each in fault.spare)}
        links = [
            [source, node.name, how, 0, 0]
            for source in names
            for node in self.fleet.nodes
            if (source in away) != (node.name in away)
        ]
        await self._with_links(fault, links)

    async def _slow(self, fault: Fault) -> None:
        delay, rate = fault.spare
        node = self._node(fault)
        names = [each.name for each in self.fleet.nodes] + [person.name for person in self.fleet.people]
        links = [[source, node.name, "slow", delay, rate] for source in names]
        links += [[node.name, each.name, "slow", delay, rate] for each in self.fleet.nodes]
        await self._with_links(fault, links)

    async def _with_links(self, fault: Fault, links: list[Any]) -> None:
        self._links[fault.number] = links
        with self._marked(fault):
            await self._set_links()
            await trio.sleep(fault.seconds)
        del self._links[fault.number]
        await self._set_links()

    async def _set_links(self) -> None:
        assert self.fleet.network is not None
        await self.fleet.network.tell({"links": [link for links in self._links.values() for link in links]})

    # -- disks and clocks

    async def _full(self, fault: Fault) -> None:
        node = self._node(fault)
        if not node.small_disk:
            await self._limit(fault)
            return
        with self._marked(fault):
            await trio.to_thread.run_sync(node.fill)
            try:
                await trio.sleep(fault.seconds)
            finally:
                if not any(each.kind == "full" and each.node == fault.node for each in self._others(fault)):
                    node.empty()

    async def _limit(self, fault: Fault) -> None:
        node = self._node(fault)
        with self._marked(fault, "limit"):
            node.limit(4096)
            await trio.sleep(fault.seconds)
            node.limit(-1)

    async def _clock(self, fault: Fault) -> None:
        node = self._node(fault)
        with self._marked(fault):
            node.clock.set(fault.spare[0])
            await trio.sleep(fault.seconds)
            node.clock.set(0)

    async def _expire(self, fault: Fault) -> None:
        """A person's device wakes up a day later, the program with it: what is kept is over after a day without."""
        person = self.fleet.people[fault.node]
        if not person.alive:
            return
        clock = ShiftedClock(self.fleet.folder / person.name / "clock")
        clock.set(clock.offset_ms + fault.spare[0])
        await trio.lowlevel.checkpoint()

    def _others(self, fault: Fault) -> list[Fault]:
        return [each for each in self.active.values() if each is not fault]

    def _marked(self, fault: Fault, state: str = "") -> Any:
        return _Marked(self._node(fault), state or fault.kind)


class _Marked:
    def __init__(self, node: NodeSeat, state: str) -> None:
        self._node, self._state = node, state

    def __enter__(self) -> None:
        self._node.state.add(self._state)

    def __exit__(self, *exc: object) -> None:
        with suppress(KeyError):
            self._node.state.remove(self._state)
