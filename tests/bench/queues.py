"""Queues, measured: ``python tests/bench/queues.py [--seed N] [--path DIR]`` prints one JSON object.

Append-to-receipt is from a client's request over loopback sockets (Noise, Yamux) to its receipt after the disk, one
cell each, at 1 and 32 writers; ``store`` is the same without a network; follower memory is the growth of this
process for 1,000 idle followers over streams in memory, without what a libp2p connection costs besides.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from support.hosts import a_host
from support.queues import HandClock, HostPath, MemoryPath, Owner, a_service, a_store, cell
from warmline.client.queues import QueueClient
from warmline.env import SeededRng, SystemClock, SystemRng
from warmline.services.queues import open_queues
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.messages import LOG

SECONDS = 4.0
APPENDS = 6500
"""A measurement ends here if not by time: the room log that all write to holds 7,168 cells."""
FOLLOWERS = 1000


async def measure(writers: int, append: Callable[[int], Awaitable[object]]) -> dict[str, float]:
    """Writers append one after another for some seconds; milliseconds of each, and cells a second in all."""
    times: list[float] = []
    start = trio.current_time()
    stop = start + SECONDS

    async def write(number: int) -> None:
        while trio.current_time() < stop and len(times) < APPENDS:
            began = time.perf_counter()
            await append(number)
            times.append(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for number in range(writers):
            nursery.start_soon(write, number)
    cuts = statistics.quantiles(times, n=100)
    return {
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
        "cells_per_s": round(len(times) / (trio.current_time() - start), 1),
    }


async def through_store(directory: Path, seed: int, writers: int) -> dict[str, float]:
    async with a_store(directory / f"store{writers}.db", disk_budget=1 << 34) as store:
        service = a_service(store, HandClock())
        owners = [Owner(service, kind=LOG, name=f"{seed}/{n}") for n in range(writers)]
        for owner in owners:
            await owner.create(cap=8192)

        async def append(number: int) -> None:
            await owners[number].receipt(cell(number))

        found = await measure(writers, append)
        found["cells_per_commit"] = round(store.statistics().writes / store.statistics().commits, 1)
        return found


async def through_hosts(directory: Path, seed: int, writers: int) -> dict[str, float]:
    rng = SeededRng(seed)
    async with (
        a_store(directory / f"hosts{writers}.db", disk_budget=1 << 34) as store,
        a_host() as node,
        open_queues(node, store, clock=SystemClock(), rng=SystemRng()),
        a_host(listen=()) as one,
        a_host(listen=()) as two,
        a_host(listen=()) as three,
        a_host(listen=()) as four,
    ):
        hosts = (one, two, three, four)
        for host in hosts:
            await host.connect(node.addrs()[0])
        clients = [QueueClient(HostPath(hosts[n % 4], node.peer_id)) for n in range(writers)]
        key = SigningKey(rng.bytes(32))
        send = rng.bytes(32)
        room = await clients[0].create(key, LOG, send_key=send, read_key=send, fence=0, cap=8192)

        async def append(number: int) -> None:
            await clients[number].append(room.queue, [cell(number)], send_key=send, fence=0)

        found = await measure(writers, append)
        for client in clients:
            await client.aclose()
        return found


async def idle_followers(directory: Path, seed: int) -> dict[str, float]:
    async with a_store(directory / "followers.db") as store, trio.open_nursery() as nursery:
        service = a_service(store, SystemClock())  # type: ignore[arg-type]  # any Clock will do
        owners = [Owner(service, name=f"{seed}/{n}") for n in range(100)]
        for owner in owners:
            await owner.create(cap=1)
        path = MemoryPath(nursery, service.handle)
        before = resident()
        following: list[Any] = []
        for n in range(FOLLOWERS):
            owner = owners[n % len(owners)]
            scope = QueueClient(path).follow(owner.queue, owner=owner.key)
            owner.service = service
            following.append((scope, await scope.__aenter__()))
        grown = resident() - before
        began = time.process_time()
        await trio.sleep(30)
        busy = time.process_time() - began
        nursery.cancel_scope.cancel()
    return {
        "followers": FOLLOWERS,
        "kib_each_with_client_end": round(grown / FOLLOWERS / 1024, 1),
        "cpu_percent_idle": round(100 * busy / 30, 2),
    }


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def bench(directory: Path, seed: int) -> dict[str, Any]:
    return {
        "bench": "queues",
        "seed": seed,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "store": {f"writers_{n}": await through_store(directory, seed, n) for n in (1, 32)},
        "append_to_receipt": {f"writers_{n}": await through_hosts(directory, seed, n) for n in (1, 32)},
        "idle": await idle_followers(directory, seed),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--path", type=Path, help="a directory on the disk to measure; default: a temporary one")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.path) as directory:
        print(json.dumps(trio.run(bench, Path(directory), chosen.seed), indent=2))


if __name__ == "__main__":
    main()
