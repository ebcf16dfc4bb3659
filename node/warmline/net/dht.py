"""The DHT of nodes: where a record's home node puts it, and who holds the directory's shards.

The library answers (:mod:`warmline.net.dht_server`); asking is our own lookup, the same that clients run, because the
stock one returns its local copy without asking, gives up on the first progress-free round, and counts one provider
twenty times. So ``get`` always asks the network, its own copy being one answer among others; ``find_providers``
names each provider once.

Nobody but the home node puts a record: values and claims of ours are told again by our own timer, other people's
never are, and a sweep drops what the validator no longer takes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from multiaddr import Multiaddr

from warmline.net import patches
from warmline.net.dht_peers import DhtPeers, DhtSettings
from warmline.net.dht_server import (
    CONTENT_SIZE,
    BoundedProviders,
    BoundedValues,
    InjectedValidator,
    SafeKadDHT,
    Select,
    Validate,
)
from warmline.net.host import Libp2pHost
from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.kad import PROTOCOL, KadMessage, KadPeer, KadRecord, KadType
from warmline_protocol.keys import base58_decode
from warmline_protocol.lookup import Contact

NAMESPACE = "warm"
"""Keys are ``/warm/<hex record id>``."""
ENOUGH = 3
"""Nodes that should have heard a value or a claim; below that it is told again soon, not at the next period."""

log = logging.getLogger("warmline.net")

__all__ = ["Dht", "DhtSettings", "open_dht"]


class Dht:
    """Puts, gets, provides and finds; obtained from :func:`open_dht`."""

    def __init__(self, host: Libp2pHost, settings: DhtSettings, validate: Validate, select: Select) -> None:
        raw: Any = host.raw
        self._host = host
        self._settings = settings
        self._validate = validate
        self._select = select
        self._values = BoundedValues(raw, most=settings.values, most_bytes=settings.values_bytes)
        self._providers = BoundedProviders(
            raw,
            host.rng,
            most_keys=settings.provider_keys,
            per_key=settings.providers_per_key,
            seconds=settings.provider_lifetime,
        )
        validator = InjectedValidator(validate, select)
        self._peers = DhtPeers(host, settings)
        self._kad = SafeKadDHT(raw, NAMESPACE, validator, self._values, self._providers, self._peers.table)
        self._own_values: dict[str, bytes] = {}
        self._own_content: set[bytes] = set()
        self._poorly: set[bytes] = set()

    # --- values ---

    async def put(self, key: str, value: bytes) -> int:
        """Store ``value`` at the k closest nodes and keep it there by our own timer; how many took it.

        Raises what the validator raises where ``value`` is not valid under ``key``.
        """
        self._check_key(key)
        if len(value) > limits.KAD_VALUE_MAX:
            raise UsageError(f"a DHT value of {len(value)} bytes where {limits.KAD_VALUE_MAX} are allowed")
        self._validate(key, value)
        self._own_values[key] = value
        return await self._put(key, value)

    async def _put(self, key: str, value: bytes) -> int:
        raw = key.encode()
        self._values.keep(raw, value)
        message = KadMessage(KadType.PUT_VALUE, raw, record=KadRecord(raw, value))
        return await self._tell(raw, message)

    async def get(self, key: str) -> bytes | None:
        """The best valid value that the network holds now, or None.

        Our own copy counts as one answer; where the network's is better it replaces ours.
        """
        self._check_key(key)
        raw = key.encode()
        found = await self._peers.look_up(KadType.GET_VALUE, raw)
        values = [value for _, value in found.values if self._valid(key, value)]
        held = self._values.get(raw)
        if held is not None and self._valid(key, held.value):
            values.append(held.value)
        if not values:
            return None
        best = values[self._select(key, values)] if len(values) > 1 else values[0]
        if held is not None:
            self._values.keep(raw, best)
        return best

    def drop(self, key: str) -> None:
        """Stop telling ``key`` and forget our copy; copies elsewhere end with their record."""
        self._own_values.pop(key, None)
        self._values.remove(key.encode())

    # --- providers ---

    async def provide(self, content: bytes) -> int:
        """Say, now and by our own timer, that this node holds ``content`` (32 bytes); how many nodes heard it."""
        if len(content) != CONTENT_SIZE:
            raise UsageError(f"a content key has {CONTENT_SIZE} bytes")
        self._own_content.add(content)
        addrs = tuple(Multiaddr(addr).to_bytes() for addr in self._host.addrs())
        me = KadPeer(base58_decode(self._host.peer_id), addrs)
        return await self._tell(content, KadMessage(KadType.ADD_PROVIDER, content, providers=(me,)))

    def unprovide(self, content: bytes) -> None:
        """Stop saying so."""
        self._own_content.discard(content)

    async def find_providers(self, content: bytes) -> tuple[str, ...]:
        """Peer ids of everybody who claims to hold ``content``, each once, ourselves not; claims are not proof."""
        found = await self._peers.look_up(KadType.GET_PROVIDERS, content)
        local = (str(info.peer_id) for info in self._providers.get_providers(content))
        named = {contact.peer_id for contact in found.providers}.union(local)
        return tuple(sorted(named - {self._host.peer_id}))

    # --- nodes ---

    async def find_node(self, peer: str) -> Contact | None:
        """Where ``peer`` is said to be."""
        found = await self._peers.look_up(KadType.FIND_NODE, base58_decode(peer))
        return next((contact for contact in found.closest if contact.peer_id == peer), None)

    def peers(self) -> tuple[str, ...]:
        """The routing table."""
        return self._peers.peers()

    async def wait_peers(self, count: int = 1) -> None:
        """Until the routing table holds ``count`` peers."""
        await self._peers.wait_peers(count)

    async def meet(self, peer: str) -> None:
        """Take a connected peer into the routing table once identify says that it serves kad."""
        await self._peers.meet(peer)

    async def refresh(self) -> None:
        """Fill the routing table: consider everybody connected, look ourselves up, and a random place."""
        await self._peers.refresh()

    def statistics(self) -> dict[str, int]:
        """What is held now."""
        return {
            "peers": self._peers.table.size(),
            "values": len(self._values.store),
            "values_bytes": self._values.bytes(),
            "network_estimate": self._peers.size.nodes() or 0,
            "refused_by_network": self._peers.table.refused,
            "provider_keys": self._providers.size(),
            "own_values": len(self._own_values),
            "own_content": len(self._own_content),
        }

    # --- telling ---

    async def _tell(self, key: bytes, message: KadMessage) -> int:
        took = await self._peers.tell_closest(key, message)
        if took < min(ENOUGH, max(1, self._peers.table.size())):
            self._poorly.add(key)
        else:
            self._poorly.discard(key)
        return took

    def _check_key(self, key: str) -> None:
        if not key.startswith(f"/{NAMESPACE}/") or len(key.encode()) > limits.KAD_KEY_MAX:
            raise UsageError(f"a DHT key is /{NAMESPACE}/<hex record id>, not {key[:80]!r}")

    def _valid(self, key: str, value: bytes) -> bool:
        try:
            self._validate(key, value)
        except Exception:  # noqa: BLE001 - whatever a validator raises, its meaning is no
            return False
        return True

    async def republish(self) -> None:
        """Tell our valid values again and forget those that are not valid any more."""
        for key, value in sorted(self._own_values.items()):
            if self._valid(key, value):
                await self._put(key, value)
            else:
                self.drop(key)

    async def provide_again(self) -> None:
        """Claim our content again."""
        for content in sorted(self._own_content):
            await self.provide(content)

    async def retell(self) -> None:
        """Tell again what too few have heard, once there is anybody to tell."""
        values = {key.encode(): key for key in self._own_values}
        self._poorly &= values.keys() | self._own_content
        for key in sorted(self._poorly) if self._peers.table.size() else ():
            if key in self._own_content:
                await self.provide(key)
            elif self._valid(values[key], self._own_values[values[key]]):
                await self._put(values[key], self._own_values[values[key]])
            else:
                self.drop(values[key])
        await trio.lowlevel.checkpoint()

    async def sweep(self) -> None:
        """Drop expired values and claims."""
        await self._values.sweep(self._validate)
        self._providers.cleanup_expired()
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_dht(
    host: Libp2pHost, settings: DhtSettings | None = None, *, validate: Validate, select: Select
) -> AsyncIterator[Dht]:
    """Serve and use the DHT on ``host`` for the length of the block."""
    settings = settings or DhtSettings()
    patches.own_dht_protocol(PROTOCOL)
    patches.bound_kad_frames(limits.KAD_MESSAGE_MAX)
    patches.find_node_of_any_key(limits.KAD_KEY_MAX)
    dht = Dht(host, settings, validate, select)
    send, receive = trio.open_memory_channel[str](1024)

    def changed(peer: str, connected: bool) -> None:
        if connected:
            try:
                send.send_nowait(peer)
            except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
                log.debug("a new peer was not considered for the routing table")

    async with trio.open_nursery() as nursery:
        host.on_peer_change(changed)
        for peer in host.peers():
            changed(peer, True)
        nursery.start_soon(_meet_all, dht, receive, nursery)
        nursery.start_soon(_fill, dht)
        nursery.start_soon(dht._peers.admit_who_answers)
        for period, work in (
            (settings.refresh_seconds, dht.refresh),
            (settings.retell_seconds, dht.retell),
            (settings.republish_seconds, dht.republish),
            (settings.provide_seconds, dht.provide_again),
            (settings.sweep_seconds, dht.sweep),
        ):
            nursery.start_soon(_every, period, work, host)
        try:
            yield dht
        finally:
            host.unserve(PROTOCOL)
            send.close()
            nursery.cancel_scope.cancel()


async def _meet_all(dht: Dht, receive: trio.MemoryReceiveChannel[str], nursery: trio.Nursery) -> None:
    async for peer in receive:
        nursery.start_soon(dht.meet, peer)


async def _fill(dht: Dht) -> None:
    """The first look around, as soon as one peer is known, and two more while the network is being met."""
    await dht.wait_peers(1)
    for pause in (2.0, 15.0, 0.0):
        await _supervised(dht.refresh)
        await trio.sleep(pause)


async def _every(period: float, work: Callable[[], Awaitable[None]], host: Libp2pHost) -> None:
    while True:
        await trio.sleep(period * host.rng.uniform(0.9, 1.1))
        await _supervised(work)


async def _supervised(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception:  # supervised: a failed round is tried again in the next
        log.exception("a DHT round failed")
