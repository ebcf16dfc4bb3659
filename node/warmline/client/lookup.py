"""The client's own DHT lookup: every question goes through a circuit and under a key made for that one question.

A stock lookup dials some twenty strangers from the seeker's address with the key it looks for. Here each step is a
path of its own (:mod:`warmline.client.routes`): the node asked sees a throw-away peer id, the entry sees which node
is asked and nothing of the question. Answers are claims: values are validated here and the best wins, providers are
only peers worth asking.

One step may go to an entry directly: :meth:`ClientLookup.providers` of a shard, when the client knows nobody else
yet. The entry sees the address anyway, and the question is the same from everybody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from warmline.client.routes import Routes
from warmline.env import Clock, Rng
from warmline.net.addresses import dialable
from warmline.net.dht_lookup import drive, exchange
from warmline.net.host import HostSettings, open_host
from warmline.net.streams import Channel
from warmline_protocol import limits
from warmline_protocol.errors import UnreachableError, WarmlineError
from warmline_protocol.kad import PROTOCOL, KadMessage, KadType
from warmline_protocol.keys import SigningKey, base58_decode
from warmline_protocol.lookup import Contact, Found, Lookup
from warmline_protocol.records.node import NodeAddress

PURPOSE = "lookup"


class ClientLookup:
    """Lookups that start at ``seeds``, the nodes that this client knows; seconds bound one query and one lookup."""

    def __init__(
        self,
        routes: Routes,
        seeds: Iterable[NodeAddress],
        *,
        rng: Rng,
        clock: Clock,
        query_seconds: float = 20.0,
        lookup_seconds: float = 120.0,
    ) -> None:
        self._routes = routes
        self._seeds = [Contact(seed.peer_id, seed.addrs) for seed in seeds]
        self._rng = rng
        self._clock = clock
        self._query_seconds = query_seconds
        self._lookup_seconds = lookup_seconds

    async def value(
        self,
        key: str,
        *,
        validate: Callable[[str, bytes], None],
        select: Callable[[str, Sequence[bytes]], int],
    ) -> bytes | None:
        """The best valid value that any of the k closest nodes holds, or None. ``validate`` raises for a bad one."""
        found = await self._look_up(KadType.GET_VALUE, key.encode())
        values = [value for _, value in found.values if _valid(validate, key, value)]
        return values[select(key, values)] if values else None

    async def providers(
        self, content: bytes, *, told: Callable[[Contact], None] = lambda contact: None
    ) -> tuple[Contact, ...]:
        """Who claims to hold the shard ``content``, nobody twice; ``told`` hears of each at once.

        The lookup goes to its end: one that stopped at the first few names would stop at a liar's. Raises
        :class:`UnreachableError` where not one node answered.
        """
        heard: set[str] = set()

        def hear(found: Found) -> None:
            for contact in found.providers:
                if contact.peer_id not in heard:
                    heard.add(contact.peer_id)
                    told(contact)

        found = await self._look_up(KadType.GET_PROVIDERS, content, told=hear, public=True)
        return found.providers

    async def node(self, peer_id: str) -> Contact | None:
        """Where a node is said to be."""
        found = await self._look_up(KadType.FIND_NODE, base58_decode(peer_id))
        return next((contact for contact in found.closest if contact.peer_id == peer_id), None)

    async def _look_up(
        self, kind: KadType, key: bytes, *, told: Callable[[Found], None] | None = None, public: bool = False
    ) -> Found:
        async def ask(contact: Contact, message: KadMessage) -> KadMessage:
            async with self._channel(contact, public) as channel:
                return await exchange(channel, message, deadline=self._query_seconds)

        found = await drive(
            Lookup(kind, key, self._seeds),
            ask,
            query_seconds=self._query_seconds,
            seconds=self._lookup_seconds,
            told=told,
        )
        if not found.closest:
            raise UnreachableError(
                f"none of the {found.asked} nodes asked answered",
                hint="Check the entries' addresses, or add the address of a node that is up.",
            )
        return found

    @asynccontextmanager
    async def _channel(self, contact: Contact, public: bool) -> AsyncIterator[Channel]:
        entry = self._only_entry(contact) if public else None
        if entry is not None:
            async with self._directly(entry) as channel:
                yield channel
            return
        # Whoever names no address that we could check the network of is nobody: keys are free.
        addrs = dialable(contact.addrs, self._routes.entries)[:8]
        if not addrs:
            raise UnreachableError("a DHT peer without an address on our network")
        node = NodeAddress(contact.peer_id, addrs)
        async with self._routes.path(PURPOSE, node) as path:
            yield await path.open_channel(PROTOCOL, max_frame=limits.KAD_MESSAGE_MAX, deadline=self._query_seconds)

    def _only_entry(self, contact: Contact) -> str | None:
        """The address of ``contact`` where it is the only entry, so that no circuit can lead to it."""
        entries = self._routes.entries
        return entries[0] if len(entries) == 1 and entries[0].endswith(f"/p2p/{contact.peer_id}") else None

    @asynccontextmanager
    async def _directly(self, entry: str) -> AsyncIterator[Channel]:
        key = SigningKey(self._rng.bytes(32))
        failure: WarmlineError | None = None
        async with open_host(HostSettings(private=True), key=key, rng=self._rng, clock=self._clock) as host:
            try:
                peer = await host.connect(entry, deadline=limits.ENTRY_CONNECT_S)
                yield await host.open_channel(
                    peer, PROTOCOL, max_frame=limits.KAD_MESSAGE_MAX, deadline=self._query_seconds
                )
            except WarmlineError as error:
                failure = error
        if failure is not None:  # raised out here, where no nursery wraps it in a group
            raise failure


def _valid(validate: Callable[[str, bytes], None], key: str, value: bytes) -> bool:
    try:
        validate(key, value)
    except Exception:  # noqa: BLE001 - whatever a validator raises, its meaning is no
        return False
    return True
