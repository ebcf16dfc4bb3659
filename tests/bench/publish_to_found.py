"""How long until a listing published at one node is held by all: real processes on one machine, over loopback.

Prints one JSON object. Nodes know a random handful of others, so that a record goes several hops of gossip; there is
no network delay, so add a round trip of the real network for each hop. ``found`` is asked of every node by the node
itself, on its own clock, from the moment that the order to publish was given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import records as make
from support.fleets import a_fleet
from warmline_protocol.records.envelope import open_record


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def run(options: argparse.Namespace) -> dict[str, Any]:
    load = os.getloadavg()[0]
    names = [f"bench {options.seed} {number}" for number in range(options.nodes)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        kinds = dict.fromkeys(names, "honest")
        async with a_fleet(Path(folder), kinds, degree=options.degree) as fleet:
            started = time.monotonic() - began
            each: list[float] = []
            slowest: list[float] = []
            missing = 0
            for number in range(options.records):
                data = make.signed_listing("ana", f"found-{number}", at_ms=fleet.clock.utc_ms(), wallet=False)
                record = open_record(data)
                wanted = {record.id.hex(): [record.kind, record.seq]}
                home = names[number * 7 % len(names)]
                found: dict[str, float] = {}

                async def one(name: str, wanted: dict[str, Any], found: dict[str, float], begun: float) -> None:
                    if await fleet.ask(name, until=wanted, seconds=options.patience) is not None:
                        found[name] = time.monotonic() - begun

                async with trio.open_nursery() as nursery:
                    begun = time.monotonic()
                    for name in names:
                        if name != home:
                            nursery.start_soon(one, name, wanted, found, begun)
                    await trio.sleep(options.settle)  # all are asked before it is there
                    begun_at = time.monotonic()
                    await fleet.ask(home, publish=data.hex())
                late = [seconds - (begun_at - begun) for seconds in found.values()]
                each += late
                slowest.append(max(late, default=0.0))
                missing += len(names) - 1 - len(found)
            return {
                "load_average": round(load, 2),
                "nodes": options.nodes,
                "records": options.records,
                "started_s": round(started, 1),
                "missing": missing,
                "found_p50_ms": round(1000 * percentile(each, 0.5)),
                "found_p99_ms": round(1000 * percentile(each, 0.99)),
                "all_have_it_p50_ms": round(1000 * percentile(slowest, 0.5)),
                "all_have_it_max_ms": round(1000 * max(slowest)),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--degree", type=int, default=5)
    parser.add_argument("--records", type=int, default=20)
    parser.add_argument("--settle", type=float, default=0.5)
    parser.add_argument("--patience", type=float, default=60.0)
    print(json.dumps(trio.run(run, parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
