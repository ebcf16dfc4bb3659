"""The routing table of a node, so that no network fills it, and what it tells of the size of the whole network.

The library's table splits every full bucket, up to five thousand peers of whatever prefix, and counts networks by the
first address that a peer claims, names not at all. Here only the bucket of our own id splits, as Kademlia says, and
every address counts, with the one that the connection really comes from.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from libp2p.abc import IHost
from libp2p.kad_dht.routing_table import KBucket, RoutingTable
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

from warmline.env import Rng
from warmline_protocol import limits
from warmline_protocol.kad import position
from warmline_protocol.keys import base58_decode
from warmline_protocol.networks import networks_of

SPACE = 1 << 256
ESTIMATES = 16
"""Estimates of the network's size that are kept; their median counts."""
PREFIX_BITS = 10
"""Depth of the buckets that are refreshed in turn: enough for 20,000 nodes, and found in a thousand hashes."""
NEAREST = 4
"""Fewer answers than this near a key say nothing about how dense the network is."""


class DiverseTable(RoutingTable):
    """At most two peers of one open network in a bucket, and eight in all."""

    def __init__(self, host: IHost, remote_of: Callable[[ID], str | None]) -> None:
        super().__init__(host.get_id(), host, max_peers_per_subnet=0)
        self._own = position(host.get_id().to_bytes())
        self._remote_of = remote_of
        self._networks: dict[ID, frozenset[str]] = {}
        self.refused = 0
        """Peers that were not taken because their network has its share."""

    async def add_peer(self, peer_obj: PeerInfo | ID, *, skip_server_mode_check: bool = False) -> bool:
        peer = peer_obj.peer_id if isinstance(peer_obj, PeerInfo) else peer_obj
        if not self.peer_in_table(peer):
            networks = self._networks_of(peer)
            if not self._has_share(peer, networks):
                self.refused += 1
                return False
            self._networks[peer] = networks
        taken = await super().add_peer(peer_obj, skip_server_mode_check=skip_server_mode_check)
        present = set(self.get_peer_ids())
        self._networks = {each: networks for each, networks in self._networks.items() if each in present}
        return taken

    def _has_share(self, peer: ID, networks: frozenset[str]) -> bool:
        beside = set(self.find_bucket(peer).peer_ids())
        in_bucket: Counter[str] = Counter()
        in_table: Counter[str] = Counter()
        for other, theirs in self._networks.items():
            in_table.update(theirs)
            if other in beside:
                in_bucket.update(theirs)
        return all(
            in_bucket[each] < limits.KAD_BUCKET_PER_NETWORK and in_table[each] < limits.KAD_TABLE_PER_NETWORK
            for each in networks
        )

    def _networks_of(self, peer: ID) -> frozenset[str]:
        peerstore: Any = self.host.get_peerstore()
        try:
            told = [str(addr) for addr in peerstore.addrs(peer)]
        except Exception:  # noqa: BLE001 - the peerstore raises for a peer that it has no address of
            told = []
        remote = self._remote_of(peer)
        return networks_of(told if remote is None else [*told, remote])

    def _should_split_bucket(self, bucket: KBucket) -> bool:
        own = bucket.min_range <= self._own < bucket.max_range
        return own and super()._should_split_bucket(bucket)


def key_in_some_bucket(own_id: str, rng: Rng) -> bytes:
    """A random key whose place begins like ours, for a random number of bits: the part of one bucket, to refresh it."""
    bits = int(rng.uniform(1, PREFIX_BITS + 1))
    prefix = position(base58_decode(own_id)) >> (256 - bits)
    while True:
        key = rng.bytes(32)
        if position(key) >> (256 - bits) == prefix:
            return key


class NetworkSize:
    """How many nodes there are, from how near to random keys the nearest ones lie.

    Keys are random, so nobody can crowd them beforehand; a few estimates that were crowded move no median.
    """

    def __init__(self) -> None:
        self._estimates: deque[float] = deque(maxlen=ESTIMATES)

    def note(self, key: bytes, closest: Sequence[bytes]) -> None:
        """``closest`` are raw peer ids that a lookup of ``key`` ended with, nearest first."""
        if len(closest) < NEAREST:
            return
        target = position(key)
        distances = sorted(position(peer) ^ target for peer in closest)
        # The i-th nearest of n random points lies at i/(n+1) of the space on average.
        self._estimates.append(statistics.median(SPACE * rank / max(d, 1) for rank, d in enumerate(distances, 1)))

    def nodes(self) -> int | None:
        """About how many nodes there are; None before the first estimate."""
        return round(statistics.median(self._estimates)) if self._estimates else None

    def radius(self, k: int) -> int:
        """The distance within which ``k`` nodes lie on average; 0 while it is not known."""
        nodes = self.nodes()
        return 0 if nodes is None else min(SPACE, SPACE * k // max(nodes, 1))
