"""A person's side of the network, composed: entries, routes, finder and the client that sessions share."""

from __future__ import annotations

from dataclasses import dataclass

from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.client.finder import Finder, operator_of
from warmline.client.routes import Routes
from warmline.client.session import Client, QueueNode, SessionSettings
from warmline.env import Clock, Rng, RunBlocking
from warmline_protocol.records.node import QUEUES, RELAY, NodeRecord


@dataclass(slots=True)
class Line:
    """Obtained from :func:`pick_up`; ``nodes`` is what the entry told of the network."""

    routes: Routes
    finder: Finder
    client: Client
    nodes: tuple[NodeRecord, ...]


async def pick_up(
    entries: tuple[str, ...],
    *,
    rng: Rng,
    clock: Clock,
    run_blocking: RunBlocking,
    settings: SessionSettings | None = None,
) -> Line:
    """Meet the network by the first entry that answers; UnreachableError when none does."""
    operators: dict[str, str] = {}
    routes = Routes(entries, rng=rng, clock=clock, operator_of=operators.get)
    finder = Finder(routes, rng=rng, clock=clock)
    nodes = await finder.meet_nodes()
    operators.update((node.peer_id, operator_of(node)) for node in nodes)
    routes.add_spares([node.addrs[0] for node in nodes if RELAY in node.offers and node.addrs])
    keepers = [QueueNode(node.address, operator_of(node)) for node in nodes if QUEUES in node.offers]
    only = {entry.rpartition("/p2p/")[2] for entry in routes.entries}
    # The entry knows this machine's address, so it should not also hold its queues.
    keepers = [node for node in keepers if node.address.peer_id not in only] or keepers
    client = Client(
        paths=routes,
        queue_nodes=lambda: keepers,
        provider=MlsRsProvider(rng.bytes),
        rng=rng,
        clock=clock,
        run_blocking=run_blocking,
        settings=settings or SessionSettings(),
    )
    return Line(routes, finder, client, nodes)
