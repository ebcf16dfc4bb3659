"""SIGKILL in the middle of appends: every receipted cell is there afterwards, in order, under an unbroken chain.

Each round a process opens the same store and lets eight writers append bundles as fast as they can, writing down a
line for every receipt. It is killed at some receipt. Then the store is opened here and held against the lines.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from support.processes import Child, running
from support.queues import HandClock, Owner, a_service, a_store, cell
from warmline_protocol.queue.log import link
from warmline_protocol.queue.messages import LOG, Receipt

ROUNDS = 10
WRITERS = 8


async def writers(ready: Callable[[dict[str, Any]], None], *, path: str, round_: int) -> None:
    """The process that is killed."""
    async with a_store(path) as store:
        room = Owner(a_service(store, HandClock()), kind=LOG)
        await room.create(cap=8192)
        ready({})
        async with trio.open_nursery() as nursery:
            for writer in range(WRITERS):
                nursery.start_soon(write, room, f"{round_}/{writer}")


async def write(room: Owner, name: str) -> None:
    dice = random.Random(name)
    for number in range(1000):
        count = dice.choice((1, 1, 2, 4))
        receipt = await room.receipt(*bundle(f"{name}/{number}", count))
        os.write(1, f"{receipt.seq} {count} {receipt.chain.hex()} {name}/{number}\n".encode())


def bundle(name: str, count: int) -> list[bytes]:
    return [cell(f"{name}/{part}") for part in range(count)]


def read_until(child: Child, lines: int) -> list[str]:
    """That many receipts, then the kill, then whatever was still given."""
    assert child.process.stdout is not None
    given = [child.process.stdout.readline() for _ in range(lines)]
    child.kill()
    given += child.process.stdout.readlines()
    return [line.decode() for line in given if line.endswith(b"\n")]


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_receipted_cell_survives(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    path = tmp_path / "s.db"
    receipts: list[str] = []
    for round_ in range(ROUNDS):
        with running(__file__, "writers", path=str(path), round_=round_) as child:
            receipts += read_until(child, dice.randint(1, 80))
        await check(path, receipts)
    assert len(receipts) > ROUNDS


async def check(path: Path, receipts: list[str]) -> None:
    async with a_store(path) as store:
        room = Owner(a_service(store, HandClock()), kind=LOG)
        batch = await room.read()
        cells = [b"", *await room.read_all()]
        chains = [batch.before]
        for each in cells[1:]:
            chains.append(link(chains[-1], each))
        for line in receipts:
            seq, count, chain, name = line.split()
            last, size = int(seq), int(count)
            assert cells[last - size + 1 : last + 1] == bundle(name, size)
            assert chains[last].hex() == chain
        assert batch.head == len(cells) - 1
        assert await store.read(lambda conn: conn.pragma("integrity_check")) == "ok"
        assert isinstance(await room.receipt(cell("goes on")), Receipt)
