"""What idle followers cost a node: ``python tests/bench/followers.py [--followers N] [--direct]`` prints a JSON object.

The node, its relay and the followers are three processes. Each follower is a throw-away host of its own, as in real
use, which comes through the relay by a circuit (``--direct``: without one) and follows a queue of its own. Memory is
the growth of the node's resident set, CPU is what it burns while nothing happens.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import trio

from support.hosts import a_host
from support.processes import Child, running
from support.queues import HostPath, a_store
from support.relays import relaying
from warmline.client.queues import QueueClient
from warmline.env import SystemClock, SystemRng
from warmline.net.circuit import dial_through
from warmline.services.queues import open_queues
from warmline_protocol.keys import SigningKey

MANY = 4096
SEND = b"s" * 32
IDLE_S = 60.0
PER_ENTRY = 400
"""Followers that come by one entry: as many circuits as a node takes from one."""
LIMITS: dict[str, Any] = {"per_subnet": MANY, "per_destination": MANY, "in_per_relay": MANY, "total": MANY}


async def node(ready: Callable[[dict[str, Any]], None], *, path: str, known: dict[str, list[str]]) -> None:
    """A relay and queue node with room for everybody."""
    async with (
        a_store(path, disk_budget=1 << 34) as store,
        a_host(max_connections=MANY, max_inbound=MANY, max_inbound_per_subnet=MANY) as host,
        relaying(host, known, **LIMITS),
        open_queues(host, store, clock=SystemClock(), rng=SystemRng()),
    ):
        ready({"addr": host.addrs()[0], "peer": host.peer_id})
        await trio.sleep_forever()


def resident(child: Child) -> int:
    return int(Path(f"/proc/{child.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def burnt(child: Child) -> float:
    """Seconds of CPU so far."""
    fields = Path(f"/proc/{child.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def follow(stack: AsyncExitStack, entry: Child | None, to: Child) -> None:
    first = to if entry is None else entry
    host = await stack.enter_async_context(a_host(listen=(), private=True))
    await host.connect(first.facts["addr"])
    if entry is not None:
        await dial_through(host, entry.facts["peer"], to.facts["peer"])
    client = QueueClient(HostPath(host, to.facts["peer"]))
    key = SigningKey(os.urandom(32))
    made = await client.create(key, send_key=SEND, cap=1)
    await client.aclose()
    await stack.enter_async_context(client.follow(made.queue, owner=key))


async def bench(followers: int, entries: list[Child], to: Child) -> dict[str, Any]:
    async with AsyncExitStack() as warm:
        for entry in entries or [None]:
            await follow(warm, entry, to)  # what the first one loads is not what each one costs
        before, began = resident(to), time.monotonic()
        async with AsyncExitStack() as stack:
            for number in range(followers):
                await follow(stack, entries[number % len(entries)] if entries else None, to)
            took = time.monotonic() - began
            grown, busy = resident(to) - before, burnt(to)
            await trio.sleep(IDLE_S)
            busy = burnt(to) - busy
            settled = resident(to) - before
    return {
        "bench": "followers",
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "entries": len(entries),
        "followers": followers,
        "kib_each": round(grown / followers / 1024, 1),
        "kib_each_settled": round(settled / followers / 1024, 1),
        "mb_for_1000": round(settled / followers * 1000 / 1e6, 1),
        "cpu_percent_idle": round(100 * busy / IDLE_S, 2),
        "seconds_to_come": round(took, 1),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=1, help="taken for uniformity; nothing here is drawn from it")
    options.add_argument("--followers", type=int, default=200)
    options.add_argument("--direct", action="store_true")
    chosen = options.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a socket for each follower; children inherit it
    with tempfile.TemporaryDirectory() as folder, running(__file__, "node", path=f"{folder}/a.db", known={}) as to:
        known = {to.facts["peer"]: [to.facts["addr"]]}
        with ExitStack() as stack:
            count = 0 if chosen.direct else -(-chosen.followers // PER_ENTRY)
            entries = [
                stack.enter_context(running(__file__, "node", path=f"{folder}/entry{number}.db", known=known))
                for number in range(count)
            ]
            print(json.dumps(trio.run(bench, chosen.followers, entries, to), indent=2))


if __name__ == "__main__":
    main()
