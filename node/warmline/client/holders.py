"""Who may hold the directory, who runs them as far as that can be known, and in which order to ask them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from warmline_protocol.errors import WarmlineError
from warmline_protocol.networks import networks_of
from warmline_protocol.records.node import NodeAddress, NodeRecord


@dataclass(frozen=True, slots=True)
class Holder:
    """A node that may hold the directory. ``operator`` is a proven wallet, a name, or just the peer; where several
    share a network it is one name for all of them."""

    address: NodeAddress
    operator: str


def operator_of(record: NodeRecord) -> str:
    """Who runs a node: a wallet that proved it, else the name given."""
    return "0x" + record.wallet.hex() if record.wallet else record.operator


def one_voice_a_network(holders: Sequence[Holder]) -> list[Holder]:
    """The same holders, those that share a network under one operator's name.

    Keys and operators' names are free, addresses on the open network are not: otherwise one machine with twenty names
    would outvote everybody else, and be all that a search ever hears.
    """
    groups: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := groups.setdefault(name, name)) != name:
            name = above
        return name

    for holder in holders:
        for network in sorted(networks_of(holder.address.addrs)):
            low, high = sorted((root(f"operator {holder.operator}"), root(f"network {network}")))
            groups[low] = high
    names: dict[str, str] = {}
    for holder in sorted(holders, key=lambda each: each.operator):
        names.setdefault(root(f"operator {holder.operator}"), holder.operator)
    return [replace(holder, operator=names[root(f"operator {holder.operator}")]) for holder in holders]


def diverse(holders: Sequence[Holder], *, last: set[str]) -> list[Holder]:
    """One holder of each operator first, then the others; those in ``last`` (the entries) where nobody else is left."""
    seen: set[str] = set()
    first: list[Holder] = []
    rest: list[Holder] = []
    for holder in sorted(holders, key=lambda holder: holder.address.peer_id in last):
        (rest if holder.operator in seen else first).append(holder)
        seen.add(holder.operator)
    return first + rest


def address_of(peer_id: str, addrs: Iterable[str]) -> NodeAddress | None:
    """A stranger's claim of where a peer is, if it is one at all."""
    told = tuple(addrs)[:8]
    try:
        return NodeAddress(peer_id, told) if told else None
    except WarmlineError:
        return None


class Acquaintance:
    """Whom a search has heard of, and from whom: what one informant alone names, it may have made up."""

    def __init__(self) -> None:
        self.records: dict[str, NodeRecord] = {}
        self._claims: dict[str, NodeAddress] = {}
        self._named_by: dict[str, set[str]] = {}

    def learn(self, record: NodeRecord, informant: str) -> bool:
        """A valid node record; whether it is news."""
        held = self.records.get(record.peer_id)
        self._named_by.setdefault(record.peer_id, set()).add(informant)
        if held is not None and record.seq <= held.seq:
            return False
        self.records[record.peer_id] = record
        return held is None

    def hear(self, address: NodeAddress, informant: str) -> None:
        """Somebody says that a node holds the directory."""
        self._claims.setdefault(address.peer_id, address)
        self._named_by.setdefault(address.peer_id, set()).add(informant)

    def only_by(self, peer: str) -> str | None:
        """Who alone named ``peer``; None where several did."""
        named = self._named_by.get(peer, set())
        return next(iter(named)) if len(named) == 1 else None

    def holders(self, offers: str) -> list[Holder]:
        """Everybody that offers the directory or is said to hold it, by peer id, one voice a network."""
        found = {
            peer: Holder(record.address, operator_of(record))
            for peer, record in self.records.items()
            if offers in record.offers
        }
        for peer, address in self._claims.items():
            record = self.records.get(peer)
            name = operator_of(record) if record is not None else f"node {peer[-8:]}"
            found.setdefault(peer, Holder(address, name))
        return one_voice_a_network([found[peer] for peer in sorted(found)])
