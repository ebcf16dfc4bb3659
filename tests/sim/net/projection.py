"""Networks that cannot be run: the model, fed with what real nodes were seen to do. Every figure is *modelled*."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sim.net.figures import percentile
from sim.net.model import a_mesh, first_arrivals, uniform_links
from sim.net.runs import Run
from sim.net.scenarios import scenario

SIZES = (100, 1_000, 10_000)
ORIGINS = 5


@scenario("real nodes give mesh degrees; the model then tells of 100, 1,000 and 10,000 nodes")
async def projection(run: Run) -> None:
    await run.build()
    meshes = run.meshes(run.world.honest())
    degrees = sorted(len(mesh) for mesh in meshes.values())
    run.report("mesh degree of the real nodes, mean", sum(degrees) / len(degrees))
    p99 = [project(run, size, degrees) for size in SIZES]
    run.hold("ten times the nodes add less than 0.5 s to the slowest 1 %", p99[2] - p99[1] < 0.5)
    run.hold("10,000 nodes have a listing within 2 s", p99[2] < 2)


def project(run: Run, size: int, degrees: Sequence[int]) -> float:
    """The figures of ``size`` nodes with these degrees; the 99th percentile of single deliveries in seconds."""
    links = run.world.net.links
    seed = run.world.shape.seed
    meshes = a_mesh(size, degrees=degrees, rng=random.Random(f"mesh/{seed}/{size}"))
    link = uniform_links(seed, links.low, links.high, links.jitter)
    origins = random.Random(f"origins/{seed}").sample(range(size), ORIGINS)
    rng = random.Random(f"pushes/{seed}")
    reached = [first_arrivals(origin, meshes, link, rng=rng) for origin in origins]
    delays = [delay for arrivals in reached for delay in arrivals.values() if delay]
    name = f"modelled, {size:,} nodes"
    run.report(f"{name}: reached by the mesh alone", 100 * len(delays) / (size - 1) / ORIGINS, "%")
    run.report(f"{name}: node has it, p50", 1000 * percentile(delays, 0.5), "ms")
    run.report(f"{name}: node has it, p99", 1000 * percentile(delays, 0.99), "ms")
    run.report(f"{name}: all have it, mean", 1000 * sum(max(each.values()) for each in reached) / ORIGINS, "ms")
    # Each node pushes or announces it to its mesh but for whoever it came from.
    run.report(f"{name}: pushes and announcements per delivery", sum(map(len, meshes.values())) / size - 1)
    return percentile(delays, 0.99)
