"""The calibrated model: where CPU is free, a message comes along the shortest path, pushed or fetched.

Used for what real nodes cannot be run for (ten thousand of them); its figures are labelled *modelled*. The baseline
scenario compares it with the real nodes of the same run and fails where the two part.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping, Sequence

from warmline.net.gossip import GossipSettings

EAGER = GossipSettings().eager
Link = Callable[[int, int], float]


def first_arrivals(
    origin: int,
    meshes: Mapping[int, Sequence[int]],
    link: Link,
    *,
    flood: Sequence[int] = (),
    eager: int = EAGER,
    rng: random.Random,
) -> dict[int, float]:
    """Seconds from publishing until each node has the message.

    ``link`` is the mean one-way delay of a pair; ``flood``: the connected peers that the author itself sends to. Who
    has the message sends it to ``eager`` of its mesh, drawn by ``rng``, and announces it to the others; whoever lacks
    it then asks the first that announced it, which takes there and back again.
    """
    best: dict[int, float] = {}
    asked: set[int] = set()
    heap = [(0.0, True, origin, origin)]
    while heap:
        at, is_body, node, source = heapq.heappop(heap)
        if node in best:
            continue
        if not is_body:
            if node not in asked:
                asked.add(node)
                heapq.heappush(heap, (at + 2 * link(node, source), True, node, source))
            continue
        best[node] = at
        others = [peer for peer in meshes.get(node, ()) if peer not in (source, origin)]
        pushed = [*flood, *others] if node == origin else rng.sample(others, min(eager, len(others)))
        for peer in {*others, *pushed}:
            if peer not in best:
                heapq.heappush(heap, (at + link(node, peer), peer in pushed, peer, node))
    return best


def a_mesh(nodes: int, *, degrees: Sequence[int], rng: random.Random) -> dict[int, tuple[int, ...]]:
    """A random mesh of ``nodes`` whose degrees are drawn from those that real nodes were seen to have.

    The configuration model: stubs are joined at random; loops and double edges are left out.
    """
    stubs = [node for node in range(nodes) for _ in range(rng.choice(degrees))]
    rng.shuffle(stubs)
    edges: dict[int, set[int]] = {node: set() for node in range(nodes)}
    for one, other in zip(stubs[::2], stubs[1::2], strict=False):
        if one != other:
            edges[one].add(other)
            edges[other].add(one)
    return {node: tuple(sorted(peers)) for node, peers in edges.items()}


def uniform_links(seed: int, low: float, high: float, jitter: float) -> Link:
    """The simulator's delay model without its objects: a delay per pair, fixed by the seed."""
    known: dict[tuple[int, int], float] = {}

    def link(one: int, other: int) -> float:
        pair = (one, other) if one < other else (other, one)
        if pair not in known:
            known[pair] = random.Random(f"{seed}/{pair[0]}/{pair[1]}").uniform(low, high) + jitter / 2
        return known[pair]

    return link
