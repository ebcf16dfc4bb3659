"""Announcements to everybody who listens: lossy, bounded, and safe against whoever speaks.

Gossip here is a way to hear *sooner*; directory sync is what makes nodes agree. So nothing in it blocks: a slow
subscriber loses its oldest messages, a full queue loses the newest, a peer over its rate is not heard, and all of it
is counted in :meth:`Gossip.statistics`. Own messages go to every peer of the topic and are not handed to one's own
subscriber, which has them already.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import trio
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service

from warmline.net.gossip_pubsub import Judge, PubsubLimits, SafePubsub
from warmline.net.gossip_router import PROTOCOL, SafeGossipSub
from warmline.net.gossip_state import Graylist, OutQueue
from warmline.net.host import Libp2pHost
from warmline_protocol import limits
from warmline_protocol.errors import UsageError

log = logging.getLogger("warmline.net")

__all__ = ["Gossip", "GossipMessage", "GossipSettings", "Judge", "PubsubLimits", "Subscription", "open_gossip"]


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """The mesh (GossipSub 1.1 parameters D, D_low, D_high, heartbeat in seconds) and our own bounds."""

    degree: int = 6
    degree_low: int = 4
    degree_high: int = 12
    heartbeat: float = 1.0
    eager: int = 1
    """Of the mesh, how many are sent a message of others unasked; the rest are told its id and fetch it."""
    subscriber_queue: int = 1024
    """Messages kept for a subscriber that does not read; the oldest go first."""
    drain: float = 1.0
    """Seconds that queued messages get to go out when gossip closes."""
    limits: PubsubLimits = field(default_factory=PubsubLimits)


@dataclass(frozen=True, slots=True)
class GossipMessage:
    """One accepted message; ``source_peer`` is the peer that forwarded it, which need not be its author."""

    data: bytes
    source_peer: str


class Subscription:
    """Accepted messages of one topic, in order of arrival; iterate over it."""

    def __init__(self, topic: str, most: int) -> None:
        self.topic = topic
        self.dropped = 0
        """Messages lost because nobody read."""
        self._queue: deque[GossipMessage] = deque()
        self._most = most
        self._ready = trio.Event()

    def __aiter__(self) -> AsyncIterator[GossipMessage]:
        return self

    async def __anext__(self) -> GossipMessage:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._queue:
            self._ready = trio.Event()
            await self._ready.wait()
        message = self._queue.popleft()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return message

    def push(self, data: bytes, peer: str) -> None:
        """Called by gossip for each accepted message."""
        if len(self._queue) >= self._most:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(GossipMessage(data, peer))
        self._ready.set()


class Gossip:
    """Publish and subscribe over one host."""

    def __init__(self, pubsub: SafePubsub, settings: GossipSettings) -> None:
        self._pubsub = pubsub
        self._settings = settings

    async def publish(self, topic: str, data: bytes) -> None:
        """Send ``data`` (1 byte to 64 KiB) to the topic; no receipt, and equal data is told once in two minutes."""
        _check_topic(topic)
        if not 0 < len(data) <= limits.GOSSIP_DATA_MAX:
            raise UsageError(
                f"a gossip message of {len(data)} bytes where 1 to {limits.GOSSIP_DATA_MAX} are allowed",
                hint="Gossip what to fetch and serve the rest over a channel.",
            )
        self._pubsub.send(topic, data)
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def subscribe(self, topic: str, judge: Judge) -> AsyncIterator[Subscription]:
        """Hear what ``judge`` accepts of ``topic`` for the length of the block; one subscription a topic."""
        _check_topic(topic)
        if topic in self._pubsub.topics:
            raise UsageError(f"the topic {topic} has a subscriber already")
        subscription = Subscription(topic, self._settings.subscriber_queue)
        self._pubsub.add_topic(topic, judge, subscription.push)
        try:
            await self._pubsub.subscribe(topic)
            yield subscription
        finally:
            self._pubsub.topics.pop(topic, None)
            with trio.CancelScope(shield=True), trio.move_on_after(self._settings.drain):
                await self._pubsub.unsubscribe(topic)

    async def reconsider(self) -> None:
        """Judge every deferred message again; call it when what the judge waits for has moved."""
        await self._pubsub.reconsider()

    async def wait_peers(self, topic: str, count: int = 1) -> None:
        """Until ``count`` peers that we can send to are in ``topic``."""
        while len(self.topic_peers(topic)) < count:
            await self._pubsub.changed.wait()

    def topic_peers(self, topic: str) -> tuple[str, ...]:
        """Connected peers that subscribe to ``topic``."""
        peers = self._pubsub.peer_topics.get(topic, set())
        return tuple(sorted(str(peer) for peer in peers if peer in self._pubsub.peers))

    def mesh(self, topic: str) -> tuple[str, ...]:
        """The peers that we forward ``topic`` to."""
        return tuple(sorted(str(peer) for peer in self._pubsub.router.mesh.get(topic, set())))

    def graylisted(self) -> tuple[str, ...]:
        """Connected peers that nothing is taken from now."""
        listed = self._pubsub.router.graylist.listed
        return tuple(sorted(str(peer) for peer in self._pubsub.peers if listed(peer)))

    def statistics(self) -> dict[str, int]:
        """Counters since the start, and what is held now; no peer is named."""
        queues = self._pubsub.peer_queues.values()
        return {
            **self._pubsub.counts.as_dict(),
            "held": len(self._pubsub.pool),
            "awaited": len(self._pubsub.router.wanted),
            "peers": len(self._pubsub.peers),
            "topics": len(self._pubsub.topics),
            "queued": self._pubsub.queued(),
            "dropped_outbound": sum(getattr(queue, "dropped", 0) for queue in queues),
        }


@asynccontextmanager
async def open_gossip(host: Libp2pHost, settings: GossipSettings | None = None) -> AsyncIterator[Gossip]:
    """Run gossip on ``host`` for the length of the block; peers connected before are joined too."""
    settings = settings or GossipSettings()
    router = SafeGossipSub(
        Graylist(),
        degree=settings.degree,
        degree_low=settings.degree_low,
        degree_high=settings.degree_high,
        heartbeat=settings.heartbeat,
        eager=settings.eager,
    )
    network: Any = host.raw.get_network()
    before = len(network.notifees)
    pubsub = SafePubsub(host.raw, router, settings.limits)
    notifees = network.notifees[before:]
    async with background_trio_service(pubsub), background_trio_service(router):
        await pubsub.wait_until_ready()
        for peer in sorted(network.connections, key=ID.to_bytes):
            pubsub.register(peer)
        try:
            yield Gossip(pubsub, settings)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(settings.drain):
                await _drain(pubsub)
            host.raw.remove_stream_handler(PROTOCOL)
            for notifee in notifees:
                network.remove_notifee(notifee)
            with trio.CancelScope(shield=True), trio.move_on_after(settings.drain):
                await pubsub.hang_up()


async def _drain(pubsub: SafePubsub) -> None:
    for queue in list(pubsub.peer_queues.values()):
        await cast(OutQueue, queue).wait_idle()


def _check_topic(topic: str) -> None:
    if not 0 < len(topic.encode()) <= limits.GOSSIP_TOPIC_MAX:
        raise UsageError(f"a topic name has 1 to {limits.GOSSIP_TOPIC_MAX} bytes")
