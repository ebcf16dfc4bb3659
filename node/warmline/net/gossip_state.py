"""The bounded bookkeeping of gossip: what was seen, who misbehaved, how much a peer may send, what waits to go out.

Everything here has a cap, forgets by Trio's clock and starts no thread: the library's own caches grow with what
strangers send and keep one operating system thread each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.score import PeerScorer, ScoreParams

from warmline_protocol import limits
from warmline_protocol.codec import frame

BATCH = 60 * 1024
"""Bytes written to a stream at once: one Yamux frame."""


class Remembered:
    """A bounded set of message ids, each remembered for ``seconds`` from when it was first added."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._until: dict[bytes, float] = {}

    def add(self, key: bytes) -> bool:
        """Whether ``key`` was new."""
        if self.has(key):
            return False
        now = trio.current_time()
        self._until.pop(key, None)
        self._until[key] = now + self._seconds
        for old in list(self._expired(now)):
            del self._until[old]
        return True

    def has(self, key: bytes) -> bool:
        until = self._until.get(key)
        return until is not None and until > trio.current_time()

    def __len__(self) -> int:
        return len(self._until)

    def _expired(self, now: float) -> Iterator[bytes]:
        surplus = len(self._until) - self._most
        for index, (key, until) in enumerate(self._until.items()):
            if index >= surplus and until > now:
                return
            yield key


class TokenBucket:
    """``rate`` tokens a second, at most ``burst`` saved up."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = trio.current_time()

    def take(self, amount: float = 1.0) -> bool:
        """Whether there were ``amount`` tokens; they are gone then."""
        self._refill()
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    def owe(self, amount: float) -> float:
        """Take ``amount`` on credit; seconds until the debt is paid."""
        self._refill()
        self._tokens -= amount
        return max(0.0, -self._tokens / self._rate)

    def _refill(self) -> None:
        now = trio.current_time()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


class Graylist:
    """How often each peer forwarded something provably broken, halved every ``half_life`` seconds.

    From ``threshold`` on (five Rejects in a row, since the first has faded a little by then) nothing is taken from the
    peer and it leaves the mesh. Entries fade, because the peer at the
    other end of a connection may be repaired, and the table is bounded: the mildest offender makes room.
    """

    def __init__(self, *, threshold: float = 4.5, half_life: float = 600.0, most: int = 4096) -> None:
        self._threshold = threshold
        self._half_life = half_life
        self._most = most
        self._marks: dict[ID, tuple[float, float]] = {}

    def add(self, peer: ID) -> None:
        """``peer`` forwarded a Reject."""
        if len(self._marks) >= self._most and peer not in self._marks:
            del self._marks[min(self._marks, key=self.marks)]
        self._marks[peer] = (self.marks(peer) + 1.0, trio.current_time())

    def marks(self, peer: ID) -> float:
        """The faded count."""
        count, since = self._marks.get(peer, (0.0, 0.0))
        if not count:
            return 0.0
        return float(count * 0.5 ** ((trio.current_time() - since) / self._half_life))

    def listed(self, peer: ID) -> bool:
        """Whether nothing is taken from ``peer`` now."""
        return peer in self._marks and self.marks(peer) >= self._threshold


class Scorer(PeerScorer):
    """The library's score, replaced by the graylist alone.

    The stock counters grow by one entry per peer and topic that a stranger names, and weigh honest peers by how fast
    they are; here only a Reject counts, and nobody is told of other peers by a prune (no peer exchange).
    """

    def __init__(self, graylist: Graylist) -> None:
        super().__init__(ScoreParams())
        self._graylist = graylist

    def score(self, peer: ID, topics: list[str]) -> float:
        return -self._graylist.marks(peer)

    def allow_publish(self, peer: ID, topics: list[str]) -> bool:
        return not self._graylist.listed(peer)

    def allow_gossip(self, peer: ID, topics: list[str]) -> bool:
        return not self._graylist.listed(peer)

    def is_graylisted(self, peer: ID, topics: list[str]) -> bool:
        return self._graylist.listed(peer)

    def allow_px_from(self, peer: ID, topics: list[str]) -> bool:
        return False

    def on_heartbeat(self, dt_seconds: float = 1.0) -> None:
        return

    def on_join_mesh(self, peer: ID, topic: str) -> None:
        return

    def on_leave_mesh(self, peer: ID, topic: str) -> None:
        return

    def remove_peer(self, peer: ID) -> None:
        return

    def on_first_delivery(self, peer: ID, topic: str) -> None:
        return

    def on_invalid_message(self, peer: ID, topic: str) -> None:
        return

    def penalize_graft_flood(self, peer: ID, amount: float = 10.0) -> None:
        return

    def penalize_iwant_spam(self, peer: ID, amount: float = 5.0) -> None:
        return

    def penalize_ihave_spam(self, peer: ID, amount: float = 5.0) -> None:
        return


class OutQueue:
    """What waits to be written to one peer: encoded frames, control before messages, bounded in bytes.

    It stands in for the library's ``RpcQueue``, which holds protobuf objects, copies each for every peer, drops at 32
    and writes one at a time. Frames are encoded once for all peers, and all that wait go out in one write.
    """

    max_message_size = limits.GOSSIP_FRAME_MAX

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._size = 0
        self._urgent: deque[bytes] = deque()
        self._rest: deque[bytes] = deque()
        self._ready = trio.Event()
        self._idle = trio.Event()
        self._closed = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._urgent) + len(self._rest)

    def push(self, rpc: rpc_pb2.RPC, priority: bool = False) -> bool:
        """Encode and queue; False where the queue is full or closed."""
        return self.push_frame(frame(rpc.SerializeToString()), priority)

    def push_frame(self, data: bytes, priority: bool = False) -> bool:
        """Queue one encoded frame; False where the queue is full or closed."""
        if self._closed or self._size + len(data) > self._most:
            self.dropped += 1
            return False
        (self._urgent if priority else self._rest).append(data)
        self._size += len(data)
        self._ready.set()
        if self._idle.is_set():
            self._idle = trio.Event()
        return True

    async def batch(self) -> bytes | None:
        """Everything that waits, up to one Yamux frame of it; None once closed and empty."""
        while not self:
            self._idle.set()
            if self._closed:
                return None
            self._ready = trio.Event()
            await self._ready.wait()
        parts = [self._pop()]
        size = len(parts[0])
        while self and size + len(self._head()) <= BATCH:
            parts.append(self._pop())
            size += len(parts[-1])
        return b"".join(parts)

    async def wait_idle(self) -> None:
        """Until everything queued has been written."""
        await self._idle.wait()

    def close(self) -> None:
        """Take nothing more; what waits may still go out."""
        self._closed = True
        self._ready.set()

    def split_rpc(self, rpc: rpc_pb2.RPC) -> list[rpc_pb2.RPC]:
        """The library's interface; our RPCs are small and never split."""
        return [rpc]

    def _head(self) -> bytes:
        return (self._urgent or self._rest)[0]

    def _pop(self) -> bytes:
        data = (self._urgent or self._rest).popleft()
        self._size -= len(data)
        return data


@dataclass(slots=True)
class Held:
    """A message whose verdict was Defer."""

    topic: str
    message: rpc_pb2.Message
    peer: ID
    until: float


class DeferPool:
    """Deferred messages by id, bounded in number, in bytes and in what one peer may fill."""

    def __init__(self, *, most: int, most_bytes: int, seconds: float) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._held: dict[bytes, Held] = {}
        self._size = 0
        self._of_peer: dict[ID, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, mid: bytes) -> bool:
        return mid in self._held

    def hold(self, mid: bytes, topic: str, message: rpc_pb2.Message, peer: ID) -> bool:
        """Whether there was room: in all, and in the eighth of the pool that one peer may fill."""
        self.expire()
        size = len(message.data)
        if len(self._held) >= self._most or self._size + size > self._most_bytes:
            return False
        if self._of_peer.get(peer, 0) >= max(1, self._most // 8):
            return False
        self._held[mid] = Held(topic, message, peer, trio.current_time() + self._seconds)
        self._size += size
        self._of_peer[peer] = self._of_peer.get(peer, 0) + 1
        return True

    def release(self, mid: bytes) -> Held | None:
        """Take one out."""
        held = self._held.pop(mid, None)
        if held is None:
            return None
        self._size -= len(held.message.data)
        self._of_peer[held.peer] -= 1
        if not self._of_peer[held.peer]:
            del self._of_peer[held.peer]
        return held

    def ids(self) -> list[bytes]:
        """What is held, oldest first."""
        self.expire()
        return list(self._held)

    def get(self, mid: bytes) -> Held | None:
        return self._held.get(mid)

    def expire(self) -> None:
        """Drop what nobody decided in time; held in order of time, so the oldest are first."""
        now = trio.current_time()
        while self._held:
            mid, held = next(iter(self._held.items()))
            if held.until > now:
                return
            self.release(mid)
