"""Directory nodes on real sockets, with gossip, for network and hostile tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from support.hosts import a_host, key_of
from warmline.env import SystemClock, SystemRng, run_inline
from warmline.net.dht import Dht, open_dht
from warmline.net.gossip import Gossip, open_gossip
from warmline.net.host import Libp2pHost
from warmline.net.relay import open_relay
from warmline.services.directory import Directory, DirectorySettings, open_directory
from warmline.services.directory_judge import RecordJudge
from warmline.services.directory_own import NodeProfile
from warmline.store.store import MEMORY, Store, open_store
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.messages import Manifest
from warmline_protocol.records.snapshot import sign_manifest
from warmline_protocol.records.standing import StandingSource

QUICK = DirectorySettings(sync_every=0.5, sync_gap=0.2, sweep_every=0.2, snapshot_age=0.0)


@dataclass(frozen=True, slots=True)
class DirectoryNode:
    host: Libp2pHost
    gossip: Gossip | None
    directory: Directory
    store: Store
    dht: Dht | None = None

    @property
    def addr(self) -> str:
        return self.host.addrs()[0]


@asynccontextmanager
async def a_directory(
    name: str,
    *,
    standing: StandingSource | None = None,
    gossip: bool = True,
    clock: Any = None,
    store: Store | None = None,
    settings: DirectorySettings = QUICK,
    operator: str | None = None,
    offers: tuple[str, ...] = ("directory", "relay"),
    chain: Any = None,
    dht: bool = False,
    relay: bool = False,
    **changes: Any,
) -> AsyncIterator[DirectoryNode]:
    """One node whose key is ``key_of(name)``; ``changes`` are fields of the directory's settings."""
    clock = clock or SystemClock()
    rng = SystemRng()
    judge = RecordJudge(clock=clock, standing=standing)
    found: list[Directory] = []
    async with (
        a_host(name=name) as host,
        _gossip(host, gossip) as speaks,
        _store(store, clock) as kept,
        _relay(host, found, relay),
        _dht(host, judge, dht) as table,
        open_directory(
            host,
            kept,
            judge=judge,
            key=key_of(name),
            profile=NodeProfile(operator or f"{name} house", offers),
            rng=rng,
            run_blocking=run_inline,
            gossip=speaks,
            dht=table,
            chain=chain,
            settings=replace(settings, **changes),
        ) as directory,
    ):
        found.append(directory)
        yield DirectoryNode(host, speaks, directory, kept, table)


def announced(key: SigningKey, **fields: Any) -> Manifest:
    """A manifest signed by ``key``, of an empty directory but for ``fields``, however senseless they are."""
    sizes = fields.get("bucket_sizes", ())
    fields = {"bucket_hashes": bytes(16 * len(sizes)), "index_hash": sha256(b"").digest(), **fields}
    empty: dict[str, Any] = {"id": bytes(16), "now_ms": 1, "shard": 0, "shards": 1, "records": 0, "index_size": 0}
    empty |= {"standing_size": 0, "bucket_sizes": (), "sig": bytes(64)}
    return sign_manifest(Manifest(**{**empty, **fields}), key)


@asynccontextmanager
async def _gossip(host: Libp2pHost, wanted: bool) -> AsyncIterator[Gossip | None]:
    if not wanted:
        yield None
        return
    async with open_gossip(host) as gossip:
        yield gossip


@asynccontextmanager
async def _store(store: Store | None, clock: Any) -> AsyncIterator[Store]:
    if store is not None:
        yield store
        return
    async with open_store(MEMORY, run_blocking=run_inline, clock=clock, rng=SystemRng()) as made:
        yield made


@asynccontextmanager
async def _dht(host: Libp2pHost, judge: RecordJudge, wanted: bool) -> AsyncIterator[Dht | None]:
    if not wanted:
        yield None
        return
    async with open_dht(host, validate=judge.validate_value, select=judge.select_value) as dht:
        yield dht


@asynccontextmanager
async def _relay(host: Libp2pHost, found: list[Directory], wanted: bool) -> AsyncIterator[None]:
    if not wanted:
        yield
        return
    async with open_relay(
        host,
        locate=lambda peer: found[0].locate(peer) if found else None,
        clock=SystemClock(),
    ):
        yield


@asynccontextmanager
async def a_network(
    *names: str, standings: dict[str, StandingSource] | None = None
) -> AsyncIterator[list[DirectoryNode]]:
    """Whole nodes with gossip, DHT and relay, each joined to the first and knowing all the others."""
    standings = standings or {}
    async with AsyncExitStack() as stack:
        nodes = []
        for name in names:
            opening = a_directory(name, standing=standings.get(name), dht=True, relay=True)
            nodes.append(await stack.enter_async_context(opening))
        for node in nodes[1:]:
            await node.host.connect(nodes[0].addr)
        for node in nodes:
            while len(node.directory.nodes()) < len(nodes):
                await node.directory.wait_change()
        yield nodes
