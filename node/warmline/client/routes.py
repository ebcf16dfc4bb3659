"""Private routing, the client's half: one throw-away host per purpose, one entry, one circuit.

The entry sees this machine's address and the name of a node; the node sees a key that lives for one purpose. Nobody
sees both, as long as the entry and the node do not work together. Hence the rules held here:

* the client picks the entry, never the node; the node itself is never its own entry, and never dialled directly (the
  host is private, listens nowhere, and is never told the node's address);
* a purpose is one queue, one door attempt, one fetch: its key and its connection are made for it and thrown away
  with it, so that nodes cannot join what one person does at several of them;
* entries are shuffled once per run, not per purpose. Whoever picks anew each time meets, sooner or later, the one
  entry that works with the node at the other end; with a steady choice only few ever have that bad luck at all
  (the argument for Tor's entry guards). Another entry serves only while the first fails;
* entries of another operator and another network than the node come first. Where there is none, the path says so in
  :attr:`Path.weakness`, and the client shows it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from warmline.env import Clock, Rng
from warmline.net.circuit import Circuit, dial_through
from warmline.net.host import HostSettings, Libp2pHost, open_host
from warmline.net.streams import Channel
from warmline_protocol import limits
from warmline_protocol.errors import ConfigError, RefusedError, UnreachableError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.node import NodeAddress

if TYPE_CHECKING:
    from libp2p.abc import ITransport

NETWORK_BITS = {4: 16, 6: 32}
"""Prefix length of one network, for keeping an entry and a node apart."""
SPARES = 2
"""Entries picked from the nodes that the network knows; two, because neither can be its own destination."""


@dataclass(frozen=True, slots=True)
class Diversity:
    """How an entry and a node differ: True, False, or None where it cannot be known."""

    operator: bool | None
    network: bool | None

    @property
    def weakness(self) -> str | None:
        """What to tell the person; None when nothing speaks against the pair."""
        if self.operator is False:
            return "entry and node are run by the same operator, who could see both ends of this connection"
        if self.network is False:
            return "entry and node are in the same network, whose owner could see both ends of this connection"
        return None


class Path:
    """An open circuit to one node for one purpose."""

    def __init__(self, host: Libp2pHost, circuit: Circuit, purpose: str, diversity: Diversity) -> None:
        self._host = host
        self._circuit = circuit
        self.purpose = purpose
        self.diversity = diversity

    @property
    def peer_id(self) -> str:
        """The throw-away peer id that the node sees."""
        return self._host.peer_id

    @property
    def entry(self) -> str:
        return self._circuit.entry

    @property
    def destination(self) -> str:
        return self._circuit.destination

    @property
    def weakness(self) -> str | None:
        """A sentence when entry and node are not as far apart as they should be."""
        return self.diversity.weakness

    @property
    def expires_at(self) -> float:
        """``trio.current_time()`` by which to have opened the next path."""
        return self._circuit.expires_at

    @property
    def closed(self) -> bool:
        return self._circuit.closed

    async def wait_expiring(self) -> None:
        """Return when it is time for the next path: at :attr:`expires_at`, when most of what the entry carries for one
        circuit is used, or at once when this one broke.
        """
        await self._circuit.wait_expiring()

    async def wait_closed(self) -> None:
        await self._circuit.wait_closed()

    async def open_channel(
        self, protocol: str, *, deadline: float | None = None, max_frame: int | None = None
    ) -> Channel:
        """A channel to the node, through the entry."""
        if self._circuit.closed:
            raise UnreachableError("the path to the node is gone", hint="Open a new path.")
        return await self._host.open_channel(
            self._circuit.destination, protocol, deadline=deadline, max_frame=max_frame
        )


class Routes:
    """The entries that a client knows, and the paths through them."""

    def __init__(
        self,
        entries: tuple[str, ...],
        *,
        rng: Rng,
        clock: Clock,
        operator_of: Callable[[str], str | None] = lambda peer: None,
        transports: Sequence[ITransport] | None = None,
    ) -> None:
        """``entries`` are multiaddrs ending in ``/p2p/<peer id>``; ``operator_of`` knows operators from records."""
        self._entries = [(_peer_of(entry), entry) for entry in dict.fromkeys(entries)]
        rng.shuffle(self._entries)
        self._rng = rng
        self._clock = clock
        self._operator_of = operator_of
        self._transports = transports
        self._failed_until: dict[str, float] = {}
        self._spare: list[tuple[str, str]] = []

    def add_spares(self, entries: Sequence[str]) -> None:
        """Nodes to enter by where the only entry is the destination itself; two of them serve for this run.

        The other side of a conversation picks its queues without knowing this side's entries, so with few entries
        that happens to many a queue, and waiting does not mend it.
        """
        known = {peer for peer, _ in self._entries}
        spare = [(_peer_of(entry), entry) for entry in entries]
        self._spare = self._rng.sample([each for each in spare if each[0] not in known], SPARES)

    @property
    def entries(self) -> tuple[str, ...]:
        """Addresses in the order of preference of this run."""
        return tuple(addr for _, addr in self._entries)

    @asynccontextmanager
    async def path(self, purpose: str, node: NodeAddress) -> AsyncIterator[Path]:
        """Open a path to ``node`` for the length of the block.

        Raises :class:`UnreachableError` when no entry gets there; its hint says what each of them answered.
        """
        candidates = self.candidates(node)
        if not candidates:
            raise _no_entry(self._entries)
        key = SigningKey(self._rng.bytes(32))
        settings = HostSettings(private=True, max_connections=8, max_streams=256)
        failure: Exception | None = None
        opening = open_host(settings, key=key, rng=self._rng, clock=self._clock, transports=self._transports)
        async with opening as host:
            try:
                yield await self._first_that_works(host, purpose, node, candidates)
            except Exception as error:  # noqa: BLE001 - raised again below, where no nursery wraps it in a group
                failure = error
        if failure is not None:
            raise failure

    def candidates(self, node: NodeAddress) -> list[tuple[str, str, Diversity]]:
        """(peer id, address, diversity) of the entries for ``node``, the one to try first in front."""
        now = trio.current_time()
        others = [entry for entry in self._entries if entry[0] != node.peer_id]
        others = others or [entry for entry in self._spare if entry[0] != node.peer_id]
        known = [(peer, addr, self._diversity(peer, addr, node)) for peer, addr in others]

        def rank(entry: tuple[str, str, Diversity]) -> tuple[bool, bool]:
            peer, _, diversity = entry
            return self._failed_until.get(peer, 0.0) > now, diversity.weakness is not None

        return sorted(known, key=rank)

    def _diversity(self, peer: str, addr: str, node: NodeAddress) -> Diversity:
        ours, theirs = self._operator_of(peer), self._operator_of(node.peer_id)
        operator = ours != theirs if ours and theirs else None
        near = network_of(addr)
        far = {network_of(where) for where in node.addrs} - {None}
        return Diversity(operator, near not in far if near and far else None)

    async def _first_that_works(
        self, host: Libp2pHost, purpose: str, node: NodeAddress, candidates: list[tuple[str, str, Diversity]]
    ) -> Path:
        reasons: list[str] = []
        for peer, addr, diversity in candidates:
            try:
                circuit = await self._try(host, addr, node.peer_id)
            except WarmlineError as error:
                reasons.append(f"{peer[-8:]}: {error}")
                if not _is_about_destination(error):
                    self._failed_until[peer] = trio.current_time() + limits.ENTRY_RETRY_S
                await host.disconnect(peer)
                continue
            self._failed_until.pop(peer, None)
            return Path(host, circuit, purpose, diversity)
        raise UnreachableError(
            f"no entry reaches node {node.peer_id[-8:]} ({len(reasons)} tried)",
            hint="What the entries said: " + "; ".join(reasons) + ". Add another entry, or try again in a minute.",
        )

    async def _try(self, host: Libp2pHost, addr: str, destination: str) -> Circuit:
        entry = await host.connect(addr, deadline=limits.ENTRY_CONNECT_S)
        return await dial_through(host, entry, destination)


def _is_about_destination(error: WarmlineError) -> bool:
    """Whether the entry itself did its work, so that the next purpose may use it first again."""
    return isinstance(error, RefusedError) and error.code in ("unreachable", "unknown-destination")


def _no_entry(entries: list[tuple[str, str]]) -> UnreachableError:
    if entries:
        return UnreachableError(
            "the only known entry is the node itself, which must not be its own entry",
            hint="Add the address of a node of somebody else to the entries.",
        )
    return UnreachableError("no entry is known", hint="Add at least one node address to the entries.")


def _peer_of(addr: str) -> str:
    head, _, peer = addr.rpartition("/p2p/")
    if not head or not peer or "/" in peer or "/p2p-circuit" in addr:
        raise ConfigError(
            f"{addr!r} is not the address of an entry", hint="Write it like /dns4/node.example/tcp/443/wss/p2p/12D3K..."
        )
    return peer


def network_of(addr: str) -> str | None:
    """The /16 (IPv4) or /32 (IPv6) of a multiaddr; None for names."""
    parts = addr.split("/")
    if len(parts) < 3 or parts[1] not in ("ip4", "ip6"):
        return None
    try:
        address = ipaddress.ip_address(parts[2])
    except ValueError:
        return None
    return str(ipaddress.ip_network((address, NETWORK_BITS[address.version]), strict=False))
