"""Node records: where a node is, what it offers, and who says that they run it.

A node record belongs to the node's own key (its peer id), never to a wallet: relays ask "is this peer a node", and the
answer must not depend on a chain. An operator who wants to be known proves their wallet by a delegation of scope
``node`` in the envelope.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from warmline_protocol.errors import UsageError
from warmline_protocol.keys import public_of
from warmline_protocol.records.text import check_text, check_unique
from warmline_protocol.wire import U53, Bytes32, OneOf, Range, Size

PeerId = Annotated[str, Size(40, 60)]
Address = Annotated[str, Size(8, 300)]

QUEUES, DIRECTORY, KAD, RELAY = "queues", "directory", "kad", "relay"


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node and where to reach it: peer id (base58) and multiaddrs that end in ``/p2p/<peer id>``."""

    peer_id: PeerId
    addrs: Annotated[tuple[Address, ...], Size(1, 8)]

    def __post_init__(self) -> None:
        check_addrs(self.peer_id, self.addrs)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the operator grants, for clients that spread load: a hint, never a promise."""

    circuits: Annotated[int, Range(0, 100_000)] = 0
    queue_mib: Annotated[int, Range(0, 100_000_000)] = 0


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """Kind ``node``. ``operator`` is a free name; ``wallet`` is proven by the envelope's delegation or absent."""

    owner: Bytes32
    seq: U53
    not_after: U53
    peer_id: PeerId
    addrs: Annotated[tuple[Address, ...], Size(1, 8)]
    offers: Annotated[tuple[Annotated[str, OneOf(QUEUES, DIRECTORY, KAD, RELAY)], ...], Size(1, 4)]
    operator: Annotated[str, Size(1, 80)]
    capacity: Capacity
    wallet: Annotated[bytes, Size(20, 20)] | None = None

    def __post_init__(self) -> None:
        check_addrs(self.peer_id, self.addrs)
        check_text("operator", self.operator)
        check_unique("offers", self.offers)
        if public_of(self.peer_id) != self.owner:
            raise UsageError("a node record that is not about its own key")

    @property
    def address(self) -> NodeAddress:
        return NodeAddress(self.peer_id, self.addrs)


def check_addrs(peer_id: str, addrs: tuple[str, ...]) -> None:
    """Every address names the peer itself, so that no record can send circuits to somebody else's machine by name."""
    for addr in addrs:
        if not addr.startswith("/") or not addr.endswith(f"/p2p/{peer_id}") or "/p2p-circuit" in addr:
            raise UsageError(
                f"{addr!r:.80} is not an address of peer {peer_id:.16}", hint="Addresses end in /p2p/<peer id>."
            )
        check_text("address", addr)
    check_unique("addrs", addrs)
