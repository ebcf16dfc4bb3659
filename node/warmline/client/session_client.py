"""What all conversations of one person share: ways to nodes, the nodes themselves, settings, queues of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import trio

from warmline.client.queues import Cursor, QueueClient
from warmline.env import Clock, Rng, RunBlocking
from warmline.net.api import Channel
from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import MalformedError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.queue.auth import queue_id
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.mls import E2EEProvider
from warmline_protocol.wire import pack, unpack


class LanePath(Protocol):
    """What a lane needs of :class:`warmline.client.routes.Path`."""

    async def open_channel(self, protocol: str) -> Channel: ...

    async def wait_expiring(self) -> None: ...

    @property
    def weakness(self) -> str | None: ...


class Paths(Protocol):
    """What a lane needs of :class:`warmline.client.routes.Routes`."""

    def path(self, purpose: str, node: NodeAddress) -> AbstractAsyncContextManager[LanePath]: ...


Way: TypeAlias = tuple[QueueAddress, tuple[bytes, ...]]
"""A queue, and cells that are sealed for it."""


class Goodbyes(Protocol):
    """What a session needs of :class:`warmline.client.session_farewells.Farewells`."""

    @property
    def waiting(self) -> int: ...

    def keep(self, ways: Sequence[Way]) -> None: ...


@dataclass(frozen=True, slots=True)
class QueueNode:
    """A node that offers queues, and who runs it."""

    address: NodeAddress
    operator: str = ""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Seconds, unless the name says otherwise. Every network wait of a session stands under one of these."""

    request: float = 20.0
    create: float = 45.0
    """One attempt to make a queue at a node, path included."""
    retry_first: float = 0.5
    retry_max: float = 15.0
    idle: float = 120.0
    """An outlet without work closes its path after this."""
    delete_pause: float = 1.0
    """What was read stays on its node for so long, so that deleting costs one request and not one for each cell."""
    goodbye: float = 3.0
    farewell_pause: float = 600.0
    """Between two tries of a goodbye that no node takes, at most."""
    second_queue_ms: int = limits.SECOND_QUEUE_MS
    still_waiting: float = 60.0
    """An unanswered Hello is offered to the next door, and the person told, after this."""
    queue_silence: float = 60.0
    """A queue of one's own whose node is gone for so long is replaced by one elsewhere."""
    log_silence: float = 30.0
    """A room whose log node is gone for so long moves."""
    queue_life_ms: int = 48 * 3600_000
    room_read_only_ms: int = limits.ROOM_READ_ONLY_MS
    room_closed_ms: int = limits.ROOM_CLOSED_MS
    """Silence of a room's host after which nothing can be said, and after which the room is over."""
    heartbeat_ms: int = limits.HEARTBEAT_MS
    """How often a room's host says that it is there, when it says nothing else."""


@dataclass(slots=True)
class Client:
    """What all sessions of one person share. ``queue_nodes`` are those known now, from node records."""

    paths: Paths
    queue_nodes: Callable[[], Sequence[QueueNode]]
    provider: E2EEProvider
    rng: Rng
    clock: Clock
    run_blocking: RunBlocking
    settings: SessionSettings = field(default_factory=SessionSettings)
    farewells: Goodbyes | None = None

    def queues_over(self, path: LanePath) -> QueueClient:
        return QueueClient(path, deadline=self.settings.request, run_blocking=self.run_blocking)

    def pick_nodes(self, *, avoid: Sequence[str] = ()) -> list[QueueNode]:
        """Queue nodes in random order, those of operators not met before in front, ``avoid`` (peer ids) last."""
        nodes = self.rng.sample(list(self.queue_nodes()), len(self.queue_nodes()))
        met: set[str] = set()
        first: list[QueueNode] = []
        rest: list[QueueNode] = []
        for node in nodes:
            known = node.operator or node.address.peer_id
            (rest if known in met or node.address.peer_id in avoid else first).append(node)
            met.add(known)
        return first + rest


@dataclass(slots=True)
class OwnQueue:
    """A queue that others send to, and all that is needed to read it after a restart."""

    node: NodeAddress
    owner: SigningKey
    send_key: bytes
    cursor: Cursor | None = None

    @classmethod
    def at(cls, node: NodeAddress, rng: Rng) -> OwnQueue:
        return cls(node, SigningKey(rng.bytes(32)), rng.bytes(32))

    @property
    def queue(self) -> bytes:
        """Its 16-byte id at the node."""
        return queue_id(self.owner.public)

    @property
    def address(self) -> bytes:
        """As it travels inside a Hello or a Welcome."""
        return pack_address(QueueAddress(self.node, self.queue, self.send_key))


def pack_address(address: QueueAddress) -> bytes:
    """Encoded; with as many of the node's addresses as fit."""
    for count in range(len(address.node.addrs), 0, -1):
        node = NodeAddress(address.node.peer_id, address.node.addrs[:count])
        packed = encode(pack(QueueAddress(node, address.queue, address.send_key)))
        if len(packed) <= limits.QUEUE_ADDRESS_MAX:
            return packed
    raise MalformedError("a node whose shortest address is too long to name")


def unpack_address(data: bytes) -> QueueAddress:
    fields = decode(data, max_size=limits.QUEUE_ADDRESS_MAX)
    if not isinstance(fields, dict):
        raise MalformedError("not a queue address")
    return unpack(QueueAddress, fields)


class Backoff:
    """Pauses that double, with some randomness, so that clients of one dead node do not come back together."""

    def __init__(self, client: Client, longest: float | None = None) -> None:
        """``longest`` pause in seconds; by default that of the settings."""
        self._client = client
        self._longest = client.settings.retry_max if longest is None else longest
        self._pause = client.settings.retry_first

    def reset(self) -> None:
        self._pause = self._client.settings.retry_first

    async def wait(self) -> None:
        pause, self._pause = self._pause, min(2 * self._pause, self._longest)
        await trio.sleep(pause * self._client.rng.uniform(0.5, 1.0))
