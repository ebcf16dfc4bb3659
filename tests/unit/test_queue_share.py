"""Turns: no entry waits for another's flood."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from warmline.services.queues_share import Turns
from warmline_protocol.errors import RefusedError


class Scene:
    """Requests that write down when they had their turn, and end when they are told."""

    def __init__(self, nursery: trio.Nursery, *, slots: int = 1, waiting_max: int = 100) -> None:
        self.turns = Turns(slots=slots, waiting_max=waiting_max)
        self.nursery = nursery
        self.order: list[str] = []
        self.refused: list[str] = []
        self._inside: dict[str, trio.Event] = {}

    async def ask(self, entry: str, name: str, *, established: bool = True) -> None:
        self.nursery.start_soon(self._one, entry, name, established)
        await wait_all_tasks_blocked()

    async def _one(self, entry: str, name: str, established: bool) -> None:
        try:
            async with self.turns.turn(entry, established=established):
                self.order.append(name)
                self._inside[name] = trio.Event()
                await self._inside[name].wait()
        except RefusedError as error:
            assert error.code == "busy"
            self.refused.append(name)

    async def end_all(self) -> None:
        while self._inside:
            self._inside.pop(next(iter(self._inside))).set()
            await wait_all_tasks_blocked()


async def test_nothing_waits_without_a_crowd() -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(nursery, slots=3)
        for name in "abc":
            await scene.ask("one", name)
        assert scene.order == ["a", "b", "c"]
        await scene.end_all()


async def test_entries_take_turns() -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(nursery)
        for n in range(20):
            await scene.ask("flood", f"f{n}")
        for n in range(3):
            await scene.ask("honest", f"h{n}")
        await scene.end_all()
        assert scene.order[:7] == ["f0", "f1", "h0", "f2", "h1", "f3", "h2"]
        assert len(scene.order) == 23


async def test_new_entries_share_one_turn_and_take_turns_in_it() -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(nursery)
        await scene.ask("known", "k0")
        for n in range(6):
            await scene.ask(f"new{n % 3}", f"n{n}", established=False)
        for n in range(1, 4):
            await scene.ask("known", f"k{n}")
        await scene.end_all()
        assert scene.order == ["k0", "n0", "k1", "n1", "k2", "n2", "k3", "n3", "n4", "n5"]


async def test_a_line_is_bounded_for_its_own_entry_only() -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(nursery, waiting_max=2)
        for n in range(5):
            await scene.ask("flood", f"f{n}")
        await scene.ask("honest", "h")
        assert scene.refused == ["f3", "f4"]
        await scene.end_all()
        assert scene.order == ["f0", "f1", "h", "f2"]


async def test_who_leaves_the_line_loses_nobody_a_turn() -> None:
    turns = Turns(slots=1, waiting_max=100)
    reached = []

    async def ask(name: str, scope: trio.CancelScope) -> None:
        with scope:
            async with turns.turn(name[0], established=True):
                reached.append(name)
                await trio.testing.wait_all_tasks_blocked()

    for round_ in range(10):
        async with trio.open_nursery() as nursery:
            scopes = [trio.CancelScope() for _ in range(9)]
            for n, scope in enumerate(scopes):
                nursery.start_soon(ask, f"{n % 3}", scope)
            await trio.lowlevel.checkpoint()
            for scope in scopes[round_ % 4 :: 2]:
                scope.cancel()
    with trio.fail_after(5):
        await ask("last", trio.CancelScope())
    assert reached[-1] == "last"


async def test_an_error_inside_gives_the_turn_back() -> None:
    turns = Turns(slots=1, waiting_max=1)
    for _ in range(3):
        with pytest.raises(LookupError):
            async with turns.turn("e", established=True):
                raise LookupError
