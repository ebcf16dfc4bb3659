"""What a host remembers of others, read out of the library's own stores: for operators and for privacy tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from libp2p.peer.id import ID

from warmline.net.host import Libp2pHost


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """One entry of the peerstore, joined with the connections that are open now."""

    peer: str
    addrs: tuple[str, ...]
    """Every address remembered, listen and observed alike."""
    connections: tuple[str, ...]
    """The remote end of each open connection: a socket address, or ``circuit``."""


def peerstore_of(host: Libp2pHost) -> tuple[KnownPeer, ...]:
    """Everything the host remembers of its peers, sorted by peer id."""
    raw: Any = host.raw
    store, swarm = raw.get_peerstore(), raw.get_network()
    known = {str(peer): peer for peer in [*store.peer_ids(), *swarm.connections]}
    return tuple(
        KnownPeer(
            name,
            tuple(sorted(str(addr) for addr in _addrs(store, peer))),
            tuple(sorted(_remote_end(connection) for connection in swarm.get_connections(peer))),
        )
        for name, peer in sorted(known.items())
        if name != host.peer_id
    )


def remote_ends(host: Libp2pHost, peer: str) -> tuple[str, ...]:
    """The IP addresses that a peer's open connections come from; none for circuits."""
    swarm: Any = host.raw.get_network()
    ends = (_remote_end(connection) for connection in swarm.get_connections(ID.from_string(peer)))
    return tuple(sorted(end.rpartition(":")[0].strip("[]") for end in ends if end != "circuit"))


def _addrs(store: Any, peer: Any) -> list[Any]:
    data = store.peer_data_map.get(peer)
    return [] if data is None else list(data.addrs)


def _remote_end(connection: Any) -> str:
    secured = getattr(connection.muxed_conn, "secured_conn", None)
    find = getattr(secured, "get_remote_address", None) or getattr(connection.muxed_conn, "get_remote_address", None)
    remote = find() if find is not None else None
    return f"{remote[0]}:{remote[1]}" if remote else "circuit"
