"""The composition root: the only place that builds a node, in production and in simulation alike.

Everything that touches the world comes in as an argument. One cancel scope holds the whole node and the store
survives it, so that crash and restart are two lines of a test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from warmline import __version__
from warmline.chain.source import Chain
from warmline.daemon.config import Config
from warmline.env import Clock, Rng, RunBlocking
from warmline.net.addresses import dialable
from warmline.net.dht import Dht, open_dht
from warmline.net.gossip import Gossip, open_gossip
from warmline.net.host import HostSettings, Libp2pHost, open_host
from warmline.net.inspect import peerstore_of
from warmline.net.liveness import Keeper, KeeperSettings, open_keeper
from warmline.net.relay import Relay, open_relay
from warmline.services.directory import Directory, DirectorySettings, open_directory
from warmline.services.directory_judge import RecordJudge
from warmline.services.directory_own import NodeProfile
from warmline.services.feedback import open_feedback
from warmline.services.queues import QueueService, entry_of, open_queues
from warmline.services.signals import SignalService, open_signal_service
from warmline.store.store import Store
from warmline_protocol.circuit_table import CircuitLimits
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.envelope import CARD, record_id
from warmline_protocol.records.messages import TOPIC
from warmline_protocol.records.node import DIRECTORY, KAD, QUEUES, RELAY, Capacity
from warmline_protocol.verdict import Verdict

if TYPE_CHECKING:
    from libp2p.abc import ITransport

MIB = 1 << 20
RECONSIDER_EVERY = 1.0
"""Seconds between two looks at all known nodes: strangers can change the directory hundreds of times a second."""


@dataclass(slots=True)
class Node:
    """A running node; obtained from :func:`build_node`."""

    config: Config
    host: Libp2pHost
    gossip: Gossip
    dht: Dht
    relay: Relay
    directory: Directory
    queues: QueueService | None
    signals: SignalService | None
    keeper: Keeper
    chain: Chain
    store: Store
    clock: Clock
    started_ms: int

    @property
    def peer_id(self) -> str:
        return self.host.peer_id

    async def status(self) -> dict[str, Any]:
        """Everything that ``warmline node status`` shows; plain data, no address but the node's own."""
        return {
            "version": __version__,
            "peer_id": self.peer_id,
            "operator": self.config.node.operator,
            "started_ms": self.started_ms,
            "now_ms": self.clock.utc_ms(),
            "addrs": list(self.host.addrs()),
            "peers": len(self.host.peers()),
            "nodes_known": len(self.directory.nodes()),
            "keeper": self.keeper.statistics(),
            "gossip": self.gossip.statistics(),
            "dht": self.dht.statistics(),
            "relay": _plain(self.relay.statistics()),
            "directory": self.directory.statistics(),
            "queues": None if self.queues is None else _plain(self.queues.statistics()),
            "signals": None if self.signals is None else _plain(self.signals.statistics()),
            "store": _plain(self.store.statistics()),
            "chain": _chain(self.chain),
            "clock_offset_ms": self.directory.clock_offset_ms(),
        }

    async def mesh(self) -> dict[str, Any]:
        """The nodes this one is connected to and knows of, as ``warmline node mesh`` draws them."""
        connected, meshed = set(self.host.peers()), set(self.gossip.mesh(TOPIC))
        graylisted = set(self.gossip.graylisted())
        nodes = [
            {
                "peer_id": record.peer_id,
                "operator": record.operator,
                "offers": list(record.offers),
                "addrs": list(record.addrs),
                "connected": record.peer_id in connected,
                "in_mesh": record.peer_id in meshed,
                "graylisted": record.peer_id in graylisted,
                "age_s": max(0, self.clock.utc_ms() - record.seq) // 1000,
            }
            for record in self.directory.nodes()
            if record.peer_id != self.peer_id
        ]
        known = {str(node["peer_id"]) for node in nodes}
        return {
            "peer_id": self.peer_id,
            "operator": self.config.node.operator,
            "nodes": sorted(nodes, key=lambda node: (not node["connected"], str(node["operator"]))),
            "clients": len(connected - known),
        }

    async def peerstore(self) -> list[dict[str, Any]]:
        """What the host remembers of its peers: what an operator, or whoever seizes this machine, can see."""
        return [_plain(known) for known in peerstore_of(self.host)]


@asynccontextmanager
async def build_node(
    config: Config,
    *,
    key: SigningKey,
    rng: Rng,
    clock: Clock,
    store: Store,
    chain: Chain,
    run_blocking: RunBlocking,
    transports: Sequence[ITransport] | None = None,
    directory_settings: DirectorySettings | None = None,
) -> AsyncIterator[Node]:
    """Run a node until the block is left. Raises ConfigError for what its operator must mend."""
    judge = RecordJudge(clock=clock, standing=chain)
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(
            open_host(_host_settings(config), key=key, rng=rng, clock=clock, transports=transports)
        )
        found: list[Directory] = []
        relay = await stack.enter_async_context(
            open_relay(
                host,
                # No peer is a node before the directory is there to say so.
                locate=lambda peer: _located(found[0], host, peer) if found else None,
                limits=_circuit_limits(config),
                clock=clock,
                hop=config.relay.enabled,
            )
        )
        gossip = await stack.enter_async_context(open_gossip(host))
        dht = await stack.enter_async_context(open_dht(host, validate=judge.validate_value, select=judge.select_value))
        queues = signals = None
        if config.queues.enabled:
            queues = await stack.enter_async_context(open_queues(host, store, clock=clock, rng=rng))
            signals = await stack.enter_async_context(_open_signals(host, queues))
        directory = await stack.enter_async_context(
            open_directory(
                host,
                store,
                judge=judge,
                key=key,
                profile=_profile(config),
                rng=rng,
                run_blocking=run_blocking,
                gossip=gossip,
                dht=dht,
                chain=chain,
                settings=directory_settings,
            )
        )
        found.append(directory)
        if config.feedback.keys or config.feedback.collector:
            feedback = open_feedback(
                host,
                store,
                config.folder / config.feedback.keys if config.feedback.keys else None,
                collector=config.folder / config.feedback.collector if config.feedback.collector else None,
                speaks_for=partial(_speaks_for, directory, judge),
                clock=clock,
                rng=rng,
                run_blocking=run_blocking,
            )
            await stack.enter_async_context(feedback)
        keeper = await stack.enter_async_context(
            open_keeper(
                host,
                KeeperSettings(degree=config.node.peers_min, pinned=config.net.bootstrap),
                candidates=_Candidates(directory, host),
                rng=rng,
            )
        )
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(_meet_new_nodes, directory, keeper)
        yield Node(
            config,
            host,
            gossip,
            dht,
            relay,
            directory,
            queues,
            signals,
            keeper,
            chain,
            store,
            clock,
            started_ms=clock.utc_ms(),
        )
        nursery.cancel_scope.cancel()


def _open_signals(host: Libp2pHost, queues: QueueService) -> AbstractAsyncContextManager[SignalService]:
    return open_signal_service(host, entry_of=entry_of, established=queues.knows, crowded=lambda: queues.crowded)


def _speaks_for(directory: Directory, judge: RecordJudge, wallet: bytes, key: bytes) -> bool:
    """Whether a device key speaks for a wallet now: by the chain, or by a card that this node holds and admits."""
    standing = judge.standing_of(wallet)
    if standing is not None and standing.delegate_until(key) * 1000 > judge.clock.utc_ms():
        return True
    card = directory.record(record_id(CARD, wallet))
    return card is not None and card.key == key and judge.admit(card).verdict is Verdict.ACCEPT


def _located(directory: Directory, host: Libp2pHost, peer: str) -> tuple[str, ...] | None:
    """Where circuits to ``peer`` may be opened; the addresses are what a stranger wrote into a record."""
    told = directory.locate(peer)
    return None if told is None else dialable(told, host.addrs())


class _Candidates:
    """Where the known nodes are, as far as this one may dial them; the same tuple again until one of them changes.

    The keeper asks at every change among its peers, and a directory knows a thousand nodes.
    """

    def __init__(self, directory: Directory, host: Libp2pHost) -> None:
        self._directory = directory
        self._host = host
        self._told: tuple[str, ...] = ()
        self._told_of: tuple[int, tuple[str, ...]] | None = None

    def __call__(self) -> tuple[str, ...]:
        own = self._host.addrs()
        state = self._directory.nodes_version, own
        if state != self._told_of:
            self._told = tuple(addr for record in self._directory.nodes() for addr in dialable(record.addrs, own))
            self._told_of = state
        return self._told


async def _meet_new_nodes(directory: Directory, keeper: Keeper) -> None:
    """A node that was just heard of may be the missing neighbour."""
    seen = directory.nodes_version
    while True:
        while directory.nodes_version == seen:
            await directory.wait_change()
        seen = directory.nodes_version
        keeper.reconsider()
        await trio.sleep(RECONSIDER_EVERY)


def _host_settings(config: Config) -> HostSettings:
    net = config.net
    return HostSettings(
        listen=net.listen,
        announce=net.announce,
        max_connections=net.connections_max,
        max_inbound=net.connections_max * 7 // 8,
        max_inbound_per_subnet=net.connections_per_subnet,
    )


def _circuit_limits(config: Config) -> CircuitLimits:
    relay = config.relay
    return CircuitLimits(
        duration_s=relay.duration_s,
        data=relay.data_mb * MIB,
        total=relay.circuits_max,
        per_subnet=relay.circuits_per_subnet,
        reservations=64 if relay.reservations else 0,
    )


def _profile(config: Config) -> NodeProfile:
    offers = [DIRECTORY, KAD]
    if config.queues.enabled:
        offers.append(QUEUES)
    if config.relay.enabled:
        offers.append(RELAY)
    circuits = config.relay.circuits_max if config.relay.enabled else 0
    capacity = Capacity(circuits, config.node.store_mb if config.queues.enabled else 0)
    return NodeProfile(config.node.operator or "unnamed operator", tuple(sorted(offers)), capacity)


def _chain(chain: Chain) -> dict[str, Any]:
    status = chain.status()
    head = status.head
    return {
        "state": status.state.value,
        "block": None if head is None else head.number,
        "lag_blocks": status.lag_blocks,
        "lag_s": status.lag_s,
        "reorgs": status.reorgs,
        "problem": status.problem,
        "hint": status.hint,
        "endpoints": [dataclasses.asdict(one) for one in status.endpoints],
    }


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value)
