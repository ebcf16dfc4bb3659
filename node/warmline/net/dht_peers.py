"""Whom this node knows in the DHT and what they answer: the routing table, how it is kept filled, and lookups."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.peer.id import ID

from warmline.net.addresses import dialable
from warmline.net.dht_lookup import ask_in_time, drive, exchange
from warmline.net.dht_table import DiverseTable, NetworkSize, key_in_some_bucket
from warmline.net.host import Libp2pHost
from warmline.net.inspect import remote_ends
from warmline_protocol import limits
from warmline_protocol.errors import RemoteError, UnreachableError, WorldError
from warmline_protocol.kad import PROTOCOL, KadMessage, KadType
from warmline_protocol.keys import base58_decode
from warmline_protocol.lookup import Contact, Found, Lookup

IDENTIFY_SECONDS = 15.0
"""How long a new peer may take to say what it serves."""
ADDRS_TRIED = 3
ANSWERED_MAX = 64
"""Peers that answered and wait to be taken into the table; more come again when they answer again."""


@dataclass(frozen=True, slots=True)
class DhtSettings:
    """Times in seconds, sizes in bytes."""

    k: int = limits.KAD_K
    alpha: int = limits.KAD_ALPHA
    query_seconds: float = 10.0
    lookup_seconds: float = 60.0
    refresh_seconds: float = 600.0
    retell_seconds: float = 5.0
    """Between attempts to tell what fewer than three nodes have heard, as when this node has only just started."""
    republish_seconds: float = 3600.0
    provide_seconds: float = 1800.0
    provider_lifetime: float = 3 * 3600.0
    sweep_seconds: float = 60.0
    values: int = 8192
    values_bytes: int = 64 * 1024 * 1024
    provider_keys: int = 4096
    providers_per_key: int = 64


class DhtPeers:
    """The other nodes of the DHT, as one node sees them."""

    def __init__(self, host: Libp2pHost, settings: DhtSettings) -> None:
        raw: Any = host.raw
        self.table = DiverseTable(raw, self._remote_of)
        self.size = NetworkSize()
        self._host = host
        self._settings = settings
        self._changed = trio.Event()
        self._answered, self._to_admit = trio.open_memory_channel[ID](ANSWERED_MAX)

    async def admit_who_answers(self) -> None:
        """Take who answered into the routing table, for as long as the DHT runs.

        Apart from the questions: a full bucket first asks its oldest peer whether it is alive, under a lock, and in a
        network of more than two buckets that was most of a lookup's time. Who had answered by then counted as silent.
        """
        async for peer in self._to_admit:
            await self._admit(peer)

    async def look_up(self, kind: KadType, key: bytes) -> Found:
        """What the network says of ``key``, asked from the nearest that are known; within ``lookup_seconds``."""
        lookup = Lookup(
            kind,
            key,
            [self._contact(peer) for peer in self.table.find_local_closest_peers(key, self._settings.k)],
            own_id=self._host.peer_id,
            k=self._settings.k,
            alpha=self._settings.alpha,
            radius=self.size.radius(self._settings.k),
        )
        settings = self._settings
        return await drive(lookup, self._ask, query_seconds=settings.query_seconds, seconds=settings.lookup_seconds)

    async def tell_closest(self, key: bytes, message: KadMessage) -> int:
        """Say a value or a claim to the nodes closest to ``key``; how many took it."""
        # FIND_NODE takes peer ids only; the two lookups by key name the closest nodes as well.
        kind = KadType.GET_VALUE if message.type is KadType.PUT_VALUE else KadType.GET_PROVIDERS
        found = await self.look_up(kind, key)
        took = 0
        slots = trio.CapacityLimiter(self._settings.alpha)

        async def tell(contact: Contact) -> None:
            nonlocal took
            async with slots:
                answer = await ask_in_time(self._ask, contact, message, self._settings.query_seconds)
            took += answer is not None and answer.type is message.type and answer.key == message.key

        async with trio.open_nursery() as nursery:
            for contact in found.closest:
                nursery.start_soon(tell, contact)
        return took

    async def _ask(self, contact: Contact, message: KadMessage) -> KadMessage:
        peer, seconds = ID.from_string(contact.peer_id), self._settings.query_seconds
        try:
            await self._reach(contact)
            channel = await self._host.open_channel(
                contact.peer_id, PROTOCOL, max_frame=limits.KAD_MESSAGE_MAX, deadline=seconds
            )
        except (RemoteError, WorldError):
            self.table.remove_peer(peer)
            raise
        answer = await exchange(channel, message, deadline=seconds)  # a refused question is no reason to forget it
        with suppress(trio.WouldBlock):
            self._answered.send_nowait(peer)
        return answer

    async def _reach(self, contact: Contact) -> None:
        if self._host.is_connected(contact.peer_id):
            return
        for addr in dialable(contact.addrs, self._host.addrs())[:ADDRS_TRIED]:
            try:
                await self._host.connect(addr)
            except (RemoteError, WorldError):
                continue
            return
        raise UnreachableError("no address of a DHT peer answered")

    def _contact(self, peer: ID) -> Contact:
        info = self.table.get_peer_info(peer)
        addrs = info.addrs if info is not None else []
        texts = (str(addr) for addr in addrs)
        return Contact(str(peer), tuple(t if "/p2p/" in t else f"{t}/p2p/{peer}" for t in texts))

    async def meet(self, peer: str) -> None:
        """Take a connected peer into the routing table once identify says that it serves kad."""
        identity = ID.from_string(peer)
        peerstore: Any = self._host.raw.get_peerstore()
        with trio.move_on_after(IDENTIFY_SECONDS):
            pause = 0.05
            while self._host.is_connected(peer):
                if PROTOCOL in _protocols(peerstore, identity):
                    await self._admit(identity)
                    return
                await trio.sleep(pause)  # identify has no event to wait for
                pause = min(2 * pause, 2.0)

    async def _admit(self, peer: ID) -> None:
        with trio.move_on_after(self._settings.query_seconds):  # a full bucket pings its oldest peer
            if await self.table.add_peer(peer, skip_server_mode_check=True):
                self._changed.set()
                self._changed = trio.Event()

    async def refresh(self) -> None:
        """Fill the routing table: consider everybody connected, look ourselves up, and a random place."""
        peerstore: Any = self._host.raw.get_peerstore()
        for peer in self._host.peers():
            if PROTOCOL in _protocols(peerstore, ID.from_string(peer)):
                await self._admit(ID.from_string(peer))
        if self.table.size():
            await self.look_up(KadType.FIND_NODE, base58_decode(self._host.peer_id))
            await self._look_around(self._host.rng.bytes(32))
            await self._look_around(key_in_some_bucket(self._host.peer_id, self._host.rng))

    async def _look_around(self, key: bytes) -> None:
        found = await self.look_up(KadType.GET_PROVIDERS, key)  # FIND_NODE takes peer ids only
        self.size.note(key, [base58_decode(contact.peer_id) for contact in found.closest[: self._settings.k]])

    def _remote_of(self, peer: ID) -> str | None:
        """A multiaddr of where a peer's connection really comes from."""
        for end in remote_ends(self._host, str(peer)):
            kind = "ip6" if ":" in end else "ip4"
            return f"/{kind}/{end}/tcp/0"
        return None

    def peers(self) -> tuple[str, ...]:
        """The routing table."""
        return tuple(sorted(str(peer) for peer in self.table.get_peer_ids()))

    async def wait_peers(self, count: int = 1) -> None:
        """Until the routing table holds ``count`` peers."""
        while self.table.size() < count:
            await self._changed.wait()


def _protocols(peerstore: Any, peer: ID) -> list[str]:
    try:
        return [str(protocol) for protocol in peerstore.get_protocols(peer)]
    except Exception:  # noqa: BLE001 - the peerstore raises for a peer that it has not heard of yet
        return []
