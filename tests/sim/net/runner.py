"""Runs one scenario in this process; start it through ``python -m tests.sim.net``, which fixes the hash seed."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from sim.net import shims

PINNED = ("trio", "libp2p", "cryptography", "protobuf", "multiaddr")


def parser() -> argparse.ArgumentParser:
    """The command line; see README.md beside this file."""
    made = argparse.ArgumentParser(prog="python -m tests.sim.net", description=__doc__)
    made.add_argument("scenario", nargs="?", help="which one; without it they are listed")
    made.add_argument("--nodes", type=int, default=100)
    made.add_argument("--seed", type=int, default=7)
    made.add_argument("--messages", type=int, default=20)
    made.add_argument("--rate", type=float, default=2.0, help="messages a virtual second")
    made.add_argument("--bootstrap", type=int, default=3, help="nodes that each node is pinned to; 0: by what it knows")
    made.add_argument("--dht", action="store_true", help="let nodes use the DHT too (costs most of the time)")
    made.add_argument("--events", type=argparse.FileType("w", 1), help="write every event there as text")
    made.add_argument("--json", type=Path, help="write the figures there as well")
    return made


def main(argv: list[str]) -> int:
    """0 when every threshold held, 1 when one did not, 2 for a command that is not understood."""
    shims.install()
    from sim.net import attacks, dhts, projection  # noqa: F401 - they register their scenarios
    from sim.net.scenarios import SCENARIOS

    options = parser().parse_args(argv)
    if options.scenario is None:
        for name, described in SCENARIOS.items():
            print(f"  {name:<14} {described.says}")
        return 0
    if options.scenario not in SCENARIOS:
        print(f"no scenario {options.scenario!r}; there are: {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    report(options)
    return 0


def report(options: argparse.Namespace) -> None:
    """Run, print and end the process; the last lines are what two runs must share."""
    import trio
    from trio.testing import MockClock

    from sim.net.scenarios import SCENARIOS

    began = time.perf_counter()
    shims.seed_everything(options.seed)
    shims.compute_once()
    told: dict[str, Any] = {}
    uses_dht = options.dht or SCENARIOS[options.scenario].dht

    async def whole() -> None:
        from sim.net.runs import Run
        from sim.net.world import Shape, open_world

        shape = Shape(options.nodes, seed=options.seed, bootstrap=options.bootstrap, dht=uses_dht)
        async with open_world(shape) as world:
            shims.fewer_collections()
            world.log = options.events
            run = Run(world, options.messages, options.rate)
            await SCENARIOS[options.scenario].run(run)
            told.update(
                figures=run.figures,
                failures=run.failures,
                events=world.events,
                hash=world.digest(),
                virtual_s=round(trio.current_time(), 3),
            )
            conclude(options, told, began)

    print(f"{options.scenario}: {SCENARIOS[options.scenario].says}")
    print(f"  {options.nodes} nodes, seed {options.seed}, DHT {'on' if uses_dht else 'off'}")
    trio.run(whole, clock=MockClock(autojump_threshold=0))


def conclude(options: argparse.Namespace, told: dict[str, Any], began: float) -> NoReturn:
    """Say the figures and end the process on the spot: to take a thousand nodes down measures nothing."""
    told["real_s"] = round(time.perf_counter() - began, 1)
    told["cpu_s"] = round(time.process_time(), 1)
    told["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    versions = {name: importlib.metadata.version(name) for name in PINNED}
    took = f"{told['real_s']:.0f} s, {told['cpu_s']:.0f} s of CPU"
    print(f"  took {took}, for {told['virtual_s']:.0f} virtual seconds; {told['memory_mb']} MB")
    print(f"python {platform.python_version()} " + " ".join(f"{k} {v}" for k, v in versions.items()))
    print(f"seed {options.seed}")
    print(f"events {told['events']} hash {told['hash']}")
    if options.json:
        options.json.write_text(json.dumps({**told, "versions": versions, "seed": options.seed}, indent=2) + "\n")
    if told["failures"]:
        print("FAILED: " + "; ".join(told["failures"]))
    sys.stdout.flush()
    os._exit(1 if told["failures"] else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
