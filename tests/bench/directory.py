"""What the directory costs: records judged a second, sync of two nodes that nearly agree, lookups, snapshots.

Prints one JSON object. ``--records`` and ``--different`` size the sync; ``--nodes`` the network of the lookups, which
is one process on loopback, so that its figures bound a real network's from the side of the processor only.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import trio
from libp2p.io.trio import TrioTCPStream

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import records as make
from support.directories import a_directory, a_network
from warmline.client.lookup import ClientLookup
from warmline.client.routes import Routes
from warmline.env import SeededRng, SystemClock, run_inline
from warmline.services.directory_index import Room
from warmline.services.directory_judge import RecordJudge
from warmline.services.directory_serve import Snapshots
from warmline.services.directory_shelf import Shelf
from warmline.store.store import MEMORY, open_store
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.delegation import _signer
from warmline_protocol.records.envelope import open_record
from warmline_protocol.records.messages import dht_key, shard_key
from warmline_protocol.records.node import NodeAddress

CLOCK = SystemClock()


class Meter:
    """Counts the bytes that this process writes to TCP sockets: both ends of a connection are in it."""

    def __enter__(self) -> Meter:
        self.total = 0
        self._write = TrioTCPStream.write

        async def counted(stream: Any, data: bytes) -> Any:
            self.total += len(data)
            return await self._write(stream, data)

        TrioTCPStream.write = counted  # type: ignore[method-assign]  # put back on leaving
        return self

    def __exit__(self, *_: object) -> None:
        TrioTCPStream.write = self._write  # type: ignore[method-assign]


def synthetic(count: int, *, at_ms: int, wallets: bool = False, name: str = "owner") -> list[bytes]:
    """Listings as people write them, about 1.1 KB with a wallet's delegation and 0.8 KB without; 4 of each owner."""
    return [
        make.signed_listing(f"{name} {number // 4}", f"group-{number}", at_ms=at_ms, wallet=wallets)
        for number in range(count)
    ]


def p(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def admission(seconds: float) -> dict[str, Any]:
    """Records opened, verified and judged a second on one core, each met for the first time."""
    found: dict[str, Any] = {}
    for wallets in (True, False):
        records = synthetic(600, at_ms=make.NOW, wallets=wallets)
        standings = {n: make.standing(f"owner {n}") for n in range(150)} if wallets else {}
        source = make.FixedStanding(make.head(), *standings.values())

        class Then:
            def utc_ms(self) -> int:
                return make.NOW + 1

        rates = []
        until = time.process_time() + seconds
        while time.process_time() < until:
            judge = RecordJudge(clock=Then(), standing=source)
            _signer.cache_clear()
            gc.collect()
            began = time.process_time()
            for data in records:
                judge.admit(judge.open(data))
            rates.append(len(records) / (time.process_time() - began))
        name = "of_a_wallet_4_a_delegation" if wallets else "of_a_key"
        found[name] = {"median": round(statistics.median(rates)), "best": round(max(rates)), "bytes": len(records[0])}
    return found


async def sync(records: int, different: int) -> dict[str, Any]:
    """Two nodes on real sockets that differ in ``different`` of ``records``: bytes on the wire and time of one pull."""
    room = {"room": Room(unverified=records + different), "sync_every": 10_000.0, "sync_gap": 10_000.0}
    now = CLOCK.utc_ms()
    common = synthetic(records - different, at_ms=now)
    extra = synthetic(different, at_ms=now, name="other")
    async with a_directory("a", gossip=False, **room) as ours, a_directory("b", gossip=False, **room) as theirs:
        began = time.perf_counter()
        for start in range(0, len(common), 500):
            for node in (ours, theirs):
                await node.directory.shelf.take_all(common[start : start + 500])
        await theirs.directory.shelf.take_all(extra)
        filled = time.perf_counter() - began
        peer = await ours.host.connect(theirs.addr)
        await ours.directory.sync(peer)  # whatever the connection itself set off
        for data in extra:
            ours.directory.shelf.index.drop(open_record(data).id)
        with Meter() as meter:
            began = time.perf_counter()
            round_ = await ours.directory.sync(peer)
            took = time.perf_counter() - began
        payload = sum(map(len, extra))
        return {
            "records": records,
            "different": different,
            "fetched": round_.fetched,
            "seconds": round(took, 3),
            "wire_bytes": meter.total,
            "bytes_of_the_differences": payload,
            "ratio": round(meter.total / payload, 2),
            "filling_both_s": round(filled, 2),
        }


async def snapshots(records: int) -> dict[str, Any]:
    """Making the snapshot of a large directory, and of the same after one change."""
    now = CLOCK.utc_ms()
    async with open_store(MEMORY, run_blocking=run_inline, clock=CLOCK, rng=SeededRng(1)) as store:
        shelf = Shelf(store, RecordJudge(clock=CLOCK), Room(unverified=records + 1))
        for start in range(0, records, 500):
            await shelf.take_all(synthetic(500, at_ms=now, name=f"part {start}"))
        served = Snapshots(shelf, SigningKey(bytes(32)), max_age=0.0)
        began = time.perf_counter()
        shards = len(served.newest())
        whole = time.perf_counter() - began
        await shelf.take(make.signed_listing("late", at_ms=now, wallet=False))
        served._build_again = 0.0
        began = time.perf_counter()
        newest = served.newest()
        again = time.perf_counter() - began
        index = sum(each.manifest.index_size for each in newest)
        return {
            "records": len(shelf.index),
            "shards": shards,
            "index_bytes": index,
            "largest_index": max(each.manifest.index_size for each in newest),
            "bodies_bytes": sum(sum(each.manifest.bucket_sizes) for each in newest),
            "make_s": round(whole, 3),
            "make_after_one_change_s": round(again, 3),
        }


async def lookups(nodes: int, times: int) -> dict[str, Any]:
    """Values and providers looked up: by nodes directly, and by a client over circuits."""
    rng = SeededRng(7)
    async with a_network(*(f"n{number}" for number in range(nodes))) as network:
        now = CLOCK.utc_ms()
        keys = []
        for number in range(times):
            data = make.signed_listing(f"k{number}", at_ms=now, wallet=False)
            dht = network[number % nodes].dht
            assert dht is not None
            key = dht_key(open_record(data).id)
            await dht.put(key, data)
            keys.append(key)
        direct, over = [], []
        for number, key in enumerate(keys):
            dht = network[(number + nodes // 2) % nodes].dht
            assert dht is not None
            began = time.perf_counter()
            assert await dht.get(key)
            direct.append(time.perf_counter() - began)
        for _ in range(max(3, times // 4)):
            entry = network[0]
            seeds = [NodeAddress(entry.host.peer_id, entry.host.addrs())]
            routes = Routes((network[1].addr,), rng=rng, clock=CLOCK)
            began = time.perf_counter()
            found = await ClientLookup(routes, seeds, rng=rng, clock=CLOCK).providers(shard_key())
            over.append(time.perf_counter() - began)
            assert len(found) >= nodes - 1
        return {
            "nodes": nodes,
            "get_p50_ms": round(1000 * p(direct, 0.5)),
            "get_p99_ms": round(1000 * p(direct, 0.99)),
            "providers_over_circuits_p50_ms": round(1000 * p(over, 0.5)),
            "providers_over_circuits_max_ms": round(1000 * max(over)),
            "n": [len(direct), len(over)],
        }


async def run(options: argparse.Namespace) -> dict[str, Any]:
    load = os.getloadavg()[0]
    found: dict[str, Any] = {"load_average": round(load, 2), "seed": options.seed}
    found["admission_a_second"] = admission(options.seconds)
    found["sync"] = await sync(options.records, options.different)
    found["snapshot"] = await snapshots(2 * options.records)
    found["lookup"] = await lookups(options.nodes, options.lookups)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0, help="of processor time for each rate")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--different", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--lookups", type=int, default=16)
    print(json.dumps(trio.run(run, parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
