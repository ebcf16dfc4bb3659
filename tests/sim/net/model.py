"""The calibrated model: where CPU is free, a message first arrives along the shortest path over the meshes.

Used for what real nodes cannot be run for (ten thousand of them); its figures are labelled *modelled*. The baseline
scenario compares it with the real nodes of the same run and fails where the two part.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping, Sequence

Link = Callable[[int, int], float]


def first_arrivals(
    origin: int, meshes: Mapping[int, Sequence[int]], link: Link, *, flood: Sequence[int] = ()
) -> dict[int, float]:
    """Seconds from publishing until each node has the message (Dijkstra, 1959).

    ``link`` is the mean one-way delay of a pair; ``flood``: the connected peers that the author itself sends to.
    """
    best = {origin: 0.0}
    heap = [(link(origin, peer), peer) for peer in flood]
    heap += [(link(origin, peer), peer) for peer in meshes.get(origin, ())]
    heapq.heapify(heap)
    while heap:
        at, node = heapq.heappop(heap)
        if node in best:
            continue
        best[node] = at
        for peer in meshes.get(node, ()):
            if peer not in best:
                heapq.heappush(heap, (at + link(node, peer), peer))
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
