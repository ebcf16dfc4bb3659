"""What arrives on a meshsub stream, read and judged within bounds.

The stock Pubsub ends the whole host on one frame that is no protobuf, starts a task per received copy, knows only
True and False from a validator and caches a False for five minutes. This one reads with its own buffer, judges in
the reading task, and knows four verdicts:

* **Accept**: remembered for two minutes, handed to the subscriber, forwarded;
* **Ignore**: dropped, and held against nobody. Remembered for five seconds only, so that the copies of one moment are
  not judged six times, yet a message that was early or over quota is judged afresh when it comes again;
* **Reject**: dropped, remembered by content, counted against the peer that forwarded it;
* **Defer**: held in a bounded pool and not passed on; :meth:`reconsider` judges it again.

A message id is a hash of topic and content, so everything that is *not* about the content must not touch the id: a
good record inside a badly signed envelope counts against its forwarder, but the same record from an honest peer a
moment later is judged as new. Otherwise anybody could silence a record by sending it first, broken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, cast

import trio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError
from libp2p.abc import IHost, INetStream
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub

from warmline.net.gossip_conduct import DOUBT_SHARE, Usefulness, volume_allowance
from warmline.net.gossip_router import SafeGossipSub
from warmline.net.gossip_state import DeferPool, OutQueue, Remembered, TokenBucket
from warmline_protocol import limits
from warmline_protocol.codec import FrameReader
from warmline_protocol.errors import MalformedError, OversizeError
from warmline_protocol.verdict import Verdict

Judge = Callable[[bytes, str], Verdict]
"""(data, base58 id of the peer that forwarded it) -> verdict; synchronous, local and quick."""

READ = 64 * 1024
OPEN_DEADLINE = 10.0
"""Seconds to open our sending stream to a peer."""
SEND_DEADLINE = 20.0
"""Seconds one batch may take; a peer that reads nothing for so long loses its stream."""
PUBLISH_MAX = 256
"""Messages in one frame: ours hold one each, other implementations batch; empty ones cost a reader and no sender."""
ATTEMPTS = 6
"""Tries to open a sending stream, at growing distance (0.5 s to 8 s), before the next connection or inbound stream."""
SIGNING_PREFIX = b"libp2p-pubsub:"
ED25519_ID = bytes.fromhex("002408011220")
"""Identity multihash of an Ed25519 key: the only authors there are here, so a message's ``key`` is never read."""

log = logging.getLogger("warmline.net")


@dataclass(slots=True)
class Counts:
    """What happened since the start; counters only, no names."""

    accepted: int = 0
    duplicates: int = 0
    ignored: int = 0
    rejected: int = 0
    deferred: int = 0
    over_rate: int = 0
    from_graylisted: int = 0
    judge_errors: int = 0
    broken_streams: int = 0
    announced: int = 0
    fetches: int = 0
    sent_bytes: int = 0

    def as_dict(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class PubsubLimits:
    """Per peer: messages a second that are judged and bytes a second that are read; the pool and the queues.

    ``total_rate`` holds for all peers together: peer ids are free, and judging a message costs signature checks. What
    is not heard is fetched by directory sync.
    """

    message_rate: float = 50.0
    message_burst: float = 400.0
    total_rate: float = 250.0
    total_burst: float = 4000.0
    byte_rate: float = 1024 * 1024.0
    byte_burst: float = 4 * 1024 * 1024.0
    subscriptions: int = 64
    outbound_bytes: int = 1024 * 1024
    deferred: int = 1024
    deferred_bytes: int = 4 * 1024 * 1024
    deferred_seconds: float = 600.0
    seen_seconds: float = 120.0
    seen: int = 65_536


@dataclass(slots=True)
class _Topic:
    judge: Judge
    deliver: Callable[[bytes, str], None]


class _Peer:
    """What we count of one peer while it has a stream to us."""

    def __init__(self, limits_: PubsubLimits) -> None:
        self.messages = TokenBucket(limits_.message_rate, limits_.message_burst)
        self.control = TokenBucket(limits_.message_rate, limits_.message_burst)
        self.bytes = TokenBucket(limits_.byte_rate, limits_.byte_burst)
        self.volume = volume_allowance()
        self.usefulness = Usefulness()
        self.streams = 0


def message_id(message: rpc_pb2.Message) -> bytes:
    """20 bytes of SHA-256 over the topics and the data, whoever signed it."""
    topic = "\0".join(message.topicIDs).encode("utf-8", "surrogatepass")
    return sha256(len(topic).to_bytes(4) + topic + message.data).digest()[:20]


def signature_holds(message: rpc_pb2.Message) -> bool:
    """StrictSign: author, sequence number and an Ed25519 signature by the author (libp2p pubsub specification)."""
    author = message.from_id
    if len(author) != 38 or not author.startswith(ED25519_ID) or len(message.seqno) != 8:
        return False
    bare = rpc_pb2.Message(from_id=author, data=message.data, seqno=message.seqno, topicIDs=message.topicIDs)
    try:
        key = Ed25519PublicKey.from_public_bytes(author[len(ED25519_ID) :])
        key.verify(message.signature, SIGNING_PREFIX + bare.SerializeToString())
    except (InvalidSignature, ValueError):
        return False
    return True


class SafePubsub(Pubsub):
    """The library's bookkeeping of peers and subscriptions around our own reading, judging and sending."""

    router: SafeGossipSub

    def __init__(self, host: IHost, router: SafeGossipSub, limits_: PubsubLimits) -> None:
        super().__init__(host, router, strict_signing=True, msg_id_constructor=message_id)
        self.seen_messages.stop()  # the stock cache runs a thread of its own
        self.limits = limits_
        self.counts = Counts()
        self.topics: dict[str, _Topic] = {}
        self.pool = DeferPool(
            most=limits_.deferred, most_bytes=limits_.deferred_bytes, seconds=limits_.deferred_seconds
        )
        self._seen = Remembered(limits_.seen_seconds, limits_.seen)
        self._ignored = Remembered(5.0, 4096)
        self._rejected = Remembered(limits_.seen_seconds, 4096)
        self.seen_messages = cast(Any, self)
        router.known = cast(Remembered, self)
        self._all_messages = TokenBucket(limits_.total_rate, limits_.total_burst)
        self._doubtful = TokenBucket(limits_.total_rate * DOUBT_SHARE, limits_.total_burst * DOUBT_SHARE)
        self._heard: dict[ID, _Peer] = {}
        self._registering: set[ID] = set()
        self._inbound: set[INetStream] = set()
        self.changed = trio.Event()
        """Set, and replaced, whenever a peer or a subscription comes or goes."""

    def add_topic(self, topic: str, judge: Judge, deliver: Callable[[bytes, str], None]) -> None:
        """What to do with messages of ``topic``; subscribing is separate."""
        self.topics[topic] = _Topic(judge, deliver)

    # --- the set of known ids, as the router and the library ask for it ---

    def has(self, mid: bytes) -> bool:
        """Whether ``mid`` need not be asked for or judged now."""
        return self._seen.has(mid) or mid in self.pool or self._rejected.has(mid) or self._ignored.has(mid)

    # --- hearing ---

    async def stream_handler(self, stream: INetStream) -> None:
        peer = cast(Any, stream.muxed_conn).peer_id
        heard = self._heard.setdefault(peer, _Peer(self.limits))
        if heard.streams >= 2:  # one, and its successor while the peer reconnects
            await _reset(stream)
            return
        heard.streams += 1
        self._inbound.add(stream)
        try:
            if peer not in self.peers:
                self._register_later(peer)
            await self.continuously_read_stream(stream)
        finally:
            self._inbound.discard(stream)
            heard.streams -= 1
            if not heard.streams:
                # The peer closed or restarted its gossip: forget what it told us, or its next hello changes nothing.
                self._handle_dead_peer(peer)

    async def continuously_read_stream(self, stream: INetStream) -> None:
        peer = cast(Any, stream.muxed_conn).peer_id
        heard = self._heard.setdefault(peer, _Peer(self.limits))
        reader = FrameReader(limits.GOSSIP_FRAME_MAX)
        try:
            while data := await stream.read(READ):
                debt = heard.bytes.owe(len(data))
                if debt:
                    await trio.sleep(debt)
                reader.feed(data)
                while (whole := reader.next()) is not None:
                    await self._on_frame(peer, heard, whole)
        except (MalformedError, OversizeError):
            self.counts.broken_streams += 1
            self.router.graylist.add(peer)
            await _reset(stream)
        except StreamError:
            log.debug("a gossip stream ended")
        except Exception as error:  # noqa: BLE001 - a library seam fed by a stranger: it may cost this stream, never the host
            self.counts.broken_streams += 1
            log.debug("a gossip stream was dropped: %s", type(error).__name__)
            await _reset(stream)

    async def _on_frame(self, peer: ID, heard: _Peer, data: bytes) -> None:
        rpc = rpc_pb2.RPC()
        try:
            rpc.ParseFromString(data)
        except DecodeError:
            raise MalformedError("a gossip frame that is not an RPC") from None
        if len(rpc.publish) > PUBLISH_MAX:
            raise MalformedError("a gossip frame of too many messages")
        for message in rpc.publish:
            self._on_message(peer, heard, message)
        for option in rpc.subscriptions[: 2 * self.limits.subscriptions]:
            if heard.messages.take():
                await self._on_subscription(peer, option)
        if rpc.HasField("control") and heard.control.take():
            await self.router.handle_rpc(rpc, peer)

    async def _on_subscription(self, peer: ID, option: rpc_pb2.RPC.SubOpts) -> None:
        topic = option.topicid
        if not topic or len(topic) > limits.GOSSIP_TOPIC_MAX:
            return
        if not option.subscribe:
            self._forget_subscription(peer, topic)
            self.router.mesh.get(topic, set()).discard(peer)
        elif peer not in self.peer_topics.get(topic, ()):
            count = self._peer_subscription_count.get(peer, 0)
            if count >= self.limits.subscriptions:
                return
            self._peer_subscription_count[peer] = count + 1
            self.peer_topics.setdefault(topic, set()).add(peer)
            await self._replay_recent_messages(peer, topic)
            await self.router.on_peer_subscribed(peer, topic)
        self._notify()

    def _on_message(self, peer: ID, heard: _Peer, message: rpc_pb2.Message) -> None:
        if len(message.topicIDs) != 1 or message.topicIDs[0] not in self.topics:
            return  # not ours to judge: a peer that has not heard yet that we left the topic, or a stranger's noise
        if self.router.graylist.listed(peer):
            self.counts.from_graylisted += 1
            return
        mid = message_id(message)
        promises = self.router.promises.get(peer)
        if not (promises is not None and promises.kept(mid)) and not heard.volume.take():
            self._reject(peer)  # no honest peer has so much to tell
            return
        if self._seen.has(mid) or mid in self.pool or self._ignored.has(mid):
            self.counts.duplicates += 1
        elif not heard.messages.take() or not self._share_of(heard).take():
            self.counts.over_rate += 1
            self.router.wanted.arrived(mid)  # who is over its rate must not make us fetch it from others
        elif self._rejected.has(mid) or len(message.data) > limits.GOSSIP_DATA_MAX or not signature_holds(message):
            self._reject(peer)
        else:
            verdict = self._verdict(message, peer)
            if verdict is Verdict.ACCEPT:
                heard.usefulness.accepted()
            elif verdict is Verdict.IGNORE:
                heard.usefulness.ignored()
            self._settle(mid, message.topicIDs[0], message, peer, verdict)

    def _share_of(self, heard: _Peer) -> TokenBucket:
        """Where a peer's messages count besides its own rate."""
        return self._doubtful if heard.usefulness.is_doubtful() else self._all_messages

    def _verdict(self, message: rpc_pb2.Message, peer: ID) -> Verdict:
        try:
            return self.topics[message.topicIDs[0]].judge(message.data, str(peer))
        except Exception:  # the judge is ours: its defect must neither end the stream nor blame the peer
            self.counts.judge_errors += 1
            log.exception("a gossip judge failed")
            return Verdict.IGNORE

    def _settle(self, mid: bytes, topic: str, message: rpc_pb2.Message, peer: ID, verdict: Verdict) -> None:
        self.router.wanted.arrived(mid)
        if verdict is Verdict.ACCEPT:
            self.counts.accepted += 1
            self._seen.add(mid)
            self.router.forward(mid, message, topic, but=(peer, ID(message.from_id)))
            self.topics[topic].deliver(message.data, str(peer))
        elif verdict is Verdict.REJECT:
            self._rejected.add(mid)
            self._reject(peer)
        elif verdict is Verdict.DEFER and self.pool.hold(mid, topic, message, peer):
            self.counts.deferred += 1
        else:
            self.counts.ignored += 1
            self._ignored.add(mid)

    def _reject(self, peer: ID) -> None:
        self.counts.rejected += 1
        self.router.graylist.add(peer)

    async def reconsider(self) -> None:
        """Judge everything deferred again, oldest first; what is deferred again keeps its place and its end."""
        for mid in self.pool.ids():
            await trio.lowlevel.checkpoint()
            held = self.pool.get(mid)
            if held is None:
                continue
            verdict = self._verdict(held.message, held.peer) if held.topic in self.topics else Verdict.IGNORE
            if verdict is not Verdict.DEFER and self.pool.release(mid) is not None:
                self._settle(mid, held.topic, held.message, held.peer, verdict)

    # --- speaking ---

    def send(self, topic: str, data: bytes) -> None:
        """Sign and queue our own message to everybody in ``topic``."""
        message = rpc_pb2.Message(from_id=self.my_id.to_bytes(), data=data, seqno=self._next_seqno(), topicIDs=[topic])
        message.signature = self.host.get_private_key().sign(SIGNING_PREFIX + message.SerializeToString())
        mid = message_id(message)
        self._seen.add(mid)
        self.pool.release(mid)
        self.router.flood(mid, message, topic)

    def get_hello_packet(self) -> rpc_pb2.RPC:
        return rpc_pb2.RPC(
            subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic) for topic in self.topic_ids]
        )

    def _build_announce_rpc(self, topic_id: str, subscribe: bool) -> tuple[rpc_pb2.RPC, rpc_pb2.RPC.SubOpts]:
        option = rpc_pb2.RPC.SubOpts(subscribe=subscribe, topicid=topic_id)
        return rpc_pb2.RPC(subscriptions=[option]), option

    # --- peers ---

    def register(self, peer: ID) -> None:
        """Open a sending stream to ``peer`` in the background."""
        self._register_later(peer)

    def _register_later(self, peer: ID) -> None:
        if self.manager.is_running and peer not in self.peers and peer not in self._registering:
            self.manager.run_task(self._handle_new_peer_with_retry, peer)

    async def _handle_new_peer_with_retry(self, peer_id: ID, timeout: float | None = None) -> None:  # noqa: ASYNC109 - upstream signature
        if peer_id in self._registering:
            return
        self._registering.add(peer_id)
        try:
            for attempt in range(ATTEMPTS):
                if peer_id in self.peers or not self._peer_is_connected(peer_id):
                    return
                if await self._try_register(peer_id):
                    return
                await trio.sleep(0.5 * 2 ** min(attempt, 4))
        finally:
            self._registering.discard(peer_id)

    async def _try_register(self, peer: ID) -> bool:
        try:
            with trio.fail_after(OPEN_DEADLINE):
                await self._handle_new_peer(peer)
        except Exception as error:  # noqa: BLE001 - dial, negotiation and stream failures are a dozen classes of the library
            log.debug("no gossip stream yet: %s", type(error).__name__)
        return peer in self.peers

    async def _handle_new_peer(self, peer_id: ID) -> None:
        stream = await self.host.new_stream(peer_id, list(self.protocols))
        if peer_id in self.peers:
            await _reset(stream)
            return
        self.router.add_peer(peer_id, stream.get_protocol())
        self.peers[peer_id] = stream
        queue = OutQueue(self.limits.outbound_bytes)
        self.peer_queues[peer_id] = cast(Any, queue)
        hello = self.get_hello_packet()
        if hello.subscriptions:
            queue.push(hello, priority=True)
        self.manager.run_task(self.handle_sending_messages, peer_id, stream, queue)
        await self._send_recent_messages_to_new_peer(peer_id)
        for topic in [t for t, peers in self.peer_topics.items() if peer_id in peers]:
            await self.router.on_peer_subscribed(peer_id, topic)
        self._notify()

    async def handle_sending_messages(self, peer_id: ID, stream: INetStream, queue: Any) -> None:
        try:
            while (data := await queue.batch()) is not None:
                with trio.fail_after(SEND_DEADLINE):
                    await stream.write(data)
                self.counts.sent_bytes += len(data)
            await _reset(stream)
        except Exception as error:  # noqa: BLE001 - the library's write fails in a dozen ways; each means that this stream is gone
            log.debug("a gossip stream takes nothing more: %s", type(error).__name__)
            await _reset(stream)
            if self.peers.get(peer_id) is stream:
                self._handle_dead_peer(peer_id)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        super()._handle_dead_peer(peer_id)
        if peer_id not in self.peers:
            self._heard.pop(peer_id, None)
        self._notify()

    def _notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def hang_up(self) -> None:
        """Reset every stream of ours, so that peers know at once."""
        async with trio.open_nursery() as nursery:
            for stream in [*self._inbound, *self.peers.values()]:
                nursery.start_soon(_reset, stream)

    def queued(self) -> int:
        """Frames that wait to be written, to all peers."""
        return sum(len(queue) for queue in self.peer_queues.values())


async def _reset(stream: INetStream) -> None:
    try:
        with trio.move_on_after(2):
            await stream.reset()
    except Exception as error:  # noqa: BLE001 - it is broken already
        log.debug("resetting a gossip stream: %s", type(error).__name__)
