"""GossipSub 1.1 with the library's mesh and our own edges.

Kept from py-libp2p: the mesh (graft, prune, back-off, heartbeat arithmetic, fan-out, IHAVE). Replaced: everything
that a stranger can make large or slow, and everything that costs per message. Why each override is here:

* control is read within bounds and only for topics that we joined; the stock handlers keep a back-off entry for every
  topic anybody names and answer the same IWANT for as long as it is asked;
* the message cache is keyed by our content ids; the stock one by (from, seqno), so that with any other id function
  each IHAVE is answered by an IWANT for what was seen long ago;
* ``_emit_control_msgs`` forgets to empty its lists between peers and sends one peer's prunes to the next;
* what was accepted is pushed to a few of the mesh and announced to the rest at once (:mod:`.gossip_lazy`); a body is
  asked of one announcer after another, each promise is counted, and nobody is served one body twice in a few seconds;
* whom we dialled has a share of the mesh, and what no honest peer does counts (:mod:`.gossip_conduct`);
* no sender record rides on each RPC (the stock router signs one per publish and verifies one per receipt), no peer
  exchange, no adaptive parameters, no IP bookkeeping;
* back-offs and rates run by Trio's clock: the stock ones jump with the machine's;
* a message is encoded once and its bytes are queued to every peer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, cast

import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import CacheEntry, MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.rcmgr import Direction

from warmline.net.gossip_conduct import OUTBOUND, Promises, graft_allowance
from warmline.net.gossip_lazy import ANNOUNCED_FROM, Announcements, Wanted
from warmline.net.gossip_state import Graylist, OutQueue, Remembered, Scorer, TokenBucket
from warmline_protocol.codec import frame

PROTOCOL = TProtocol("/meshsub/1.1.0")
CONTROL_MAX = 32
"""Entries of one kind (IHAVE, IWANT, GRAFT, PRUNE) read from one RPC."""
ID_BYTES = 20
IDS_MAX = 64
"""Message ids read from one IHAVE or IWANT, and recent messages replayed to a new subscriber."""
BACK_OFF_MAX = 600
"""Seconds of back-off that a peer may ask for."""
ASK_RATE = 20.0
"""IHAVEs and IWANTs a second that are read from one peer: twice what announcements and heartbeats need."""
SERVE_RATE = 512 * 1024.0
"""Bytes a second that one peer may draw by IWANT."""
SERVED_SECONDS = 5.0
"""Within which one peer gets one message by IWANT once: for as long as the message is there."""

log = logging.getLogger("warmline.net")


class ContentCache(MessageCache):
    """Recent messages by content id."""

    def put_as(self, mid: bytes, message: rpc_pb2.Message) -> None:
        if mid not in self.msgs:
            self.msgs[mid] = message
            self.history[0].append(CacheEntry(mid, message.topicIDs))


class SafeGossipSub(GossipSub):
    """The router; ``graylist`` is shared with the pubsub that judges."""

    mcache: ContentCache

    def __init__(
        self, graylist: Graylist, *, degree: int, degree_low: int, degree_high: int, heartbeat: float, eager: int
    ) -> None:
        super().__init__(
            protocols=[PROTOCOL],
            degree=degree,
            degree_low=degree_low,
            degree_high=degree_high,
            heartbeat_interval=cast(int, heartbeat),
            do_px=False,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
        )
        self.mcache = ContentCache(self.mcache.window_size, self.mcache.history_size)
        self.graylist = graylist
        self.scorer = Scorer(graylist)
        self.known = Remembered(0.0, 0)
        """Ids that need not be asked for; the pubsub puts its own set here."""
        self.eager = eager
        self.wanted = Wanted()
        self._announcements = Announcements(self._announce)
        self._work = trio.Event()
        self._served: dict[ID, TokenBucket] = {}
        self._served_ids = Remembered(SERVED_SECONDS, most=32_768)
        self._grafts: dict[ID, dict[str, TokenBucket]] = {}
        self._asked: dict[ID, dict[str, TokenBucket]] = {}
        self.promises: dict[ID, Promises] = {}

    # --- sending ---

    def forward(self, mid: bytes, message: rpc_pb2.Message, topic: str, *, but: Iterable[ID]) -> None:
        """Pass an accepted message on to the mesh of ``topic``, except to the peers in ``but``.

        A large one is pushed to ``eager`` of them and announced to the others.
        """
        members = sorted(self.mesh.get(topic, set()).difference(but), key=ID.to_bytes)
        if len(message.data) < ANNOUNCED_FROM:
            self._queue(mid, message, set(members))
            return
        pushed = set(self.select_from_minus(self.eager, members, ()))
        self._queue(mid, message, pushed)
        for peer in members:
            if peer not in pushed and not self.graylist.listed(peer):
                self._announcements.add(peer, topic, mid)
        self._work.set()

    def _announce(self, peer: ID, topic: str, mids: list[bytes]) -> None:
        offers = [
            rpc_pb2.ControlIHave(topicID=topic, messageIDs=mids[start : start + IDS_MAX])
            for start in range(0, len(mids), IDS_MAX)
        ]
        self.send_rpc(peer, rpc_pb2.RPC(control=rpc_pb2.ControlMessage(ihave=offers[:CONTROL_MAX])))
        self._pubsub.counts.announced += len(mids)

    def flood(self, mid: bytes, message: rpc_pb2.Message, topic: str) -> None:
        """Queue our own message to every peer in ``topic``: a mesh full of hostile peers cannot silence us."""
        self._queue(mid, message, set(self._pubsub.peer_topics.get(topic, set())))

    def _queue(self, mid: bytes, message: rpc_pb2.Message, peers: set[ID]) -> None:
        self.mcache.put_as(mid, message)
        data = frame(rpc_pb2.RPC(publish=[message]).SerializeToString())
        for peer in sorted(peers, key=ID.to_bytes):
            queue = self._queue_of(peer)
            if queue is not None and not self.graylist.listed(peer):
                queue.push_frame(data)

    def send_rpc(self, peer_id: ID, rpc: rpc_pb2.RPC, priority: bool = False) -> None:
        queue = self._queue_of(peer_id)
        if queue is None:
            return
        self._piggyback_control_retry(peer_id, rpc)
        if not queue.push(rpc, priority=priority):
            self._handle_dropped_rpc(peer_id, rpc, "queue_full")

    def _queue_of(self, peer: ID) -> OutQueue | None:
        return cast("OutQueue | None", self._pubsub.peer_queues.get(peer))

    async def emit_control_message(self, control_msg: rpc_pb2.ControlMessage, to_peer: ID) -> None:
        self.send_rpc(to_peer, rpc_pb2.RPC(control=control_msg), priority=True)

    async def _emit_control_msgs(
        self,
        peers_to_graft: dict[ID, list[str]],
        peers_to_prune: dict[ID, list[str]],
        peers_to_gossip: dict[ID, dict[str, list[bytes]]],
    ) -> None:
        for peer in sorted({*peers_to_graft, *peers_to_prune, *peers_to_gossip}, key=ID.to_bytes):
            gossip = peers_to_gossip.get(peer, {})
            control = rpc_pb2.ControlMessage(
                graft=[rpc_pb2.ControlGraft(topicID=t) for t in peers_to_graft.get(peer, [])],
                prune=[
                    rpc_pb2.ControlPrune(topicID=t, backoff=self.prune_back_off) for t in peers_to_prune.get(peer, [])
                ],
                ihave=[rpc_pb2.ControlIHave(topicID=t, messageIDs=ids[-IDS_MAX:]) for t, ids in gossip.items()],
            )
            await self.emit_control_message(control, peer)

    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """Catch a new subscriber up, through its queue: the stock method writes beside the sending task."""
        for mid in self.mcache.window(topic)[-IDS_MAX:]:
            message = self.mcache.get(mid)
            if message is not None:
                self.send_rpc(peer_id, rpc_pb2.RPC(publish=[message]))

    async def flush_pending_messages(self, peer_id: ID) -> None:
        """Nothing is ever pending: who is not subscribed yet is caught up by ``send_recent_messages``."""

    async def publish(self, msg_forwarder: ID, pubsub_msg: rpc_pb2.Message) -> None:
        raise NotImplementedError("the pubsub calls forward or flood")

    # --- hearing ---

    async def handle_rpc(self, rpc: rpc_pb2.RPC, sender_peer_id: ID) -> None:
        control = rpc.control
        for ihave in control.ihave[:CONTROL_MAX]:
            await self.handle_ihave(ihave, sender_peer_id)
        for iwant in control.iwant[:CONTROL_MAX]:
            await self.handle_iwant(iwant, sender_peer_id)
        for graft in control.graft[:CONTROL_MAX]:
            if graft.topicID in self.mesh:
                await self.handle_graft(graft, sender_peer_id)
        for prune in control.prune[:CONTROL_MAX]:
            if prune.topicID in self.mesh:
                prune.backoff = min(prune.backoff, BACK_OFF_MAX)
                prune.ClearField("peers")
                await self.handle_prune(prune, sender_peer_id)

    async def handle_ihave(self, ihave_msg: rpc_pb2.ControlIHave, sender_peer_id: ID) -> None:
        if ihave_msg.topicID not in self.mesh or self.graylist.listed(sender_peer_id):
            return
        if not self._check_ihave_rate_limit(sender_peer_id, ihave_msg.topicID):
            return
        promises = self.promises.setdefault(sender_peer_id, Promises())
        if not promises.trusted(self.known.has):
            return
        ids = [bytes(mid) for mid in ihave_msg.messageIDs[:IDS_MAX] if len(mid) == ID_BYTES]
        room = promises.room()
        wanted = [mid for mid in ids[:room] if not self.known.has(mid) and self.wanted.offered(mid, sender_peer_id)]
        self._ask(wanted, sender_peer_id)

    def _ask(self, mids: list[bytes], peer: ID) -> None:
        """Ask ``peer`` for the bodies of what it announced."""
        if not mids:
            return
        promises = self.promises.setdefault(peer, Promises())
        for mid in mids:
            promises.asked(mid)
        self._pubsub.counts.fetches += len(mids)
        want = rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=mids)])
        self.send_rpc(peer, rpc_pb2.RPC(control=want), priority=True)
        self._work.set()

    async def handle_iwant(self, iwant_msg: rpc_pb2.ControlIWant, sender_peer_id: ID) -> None:
        if self.graylist.listed(sender_peer_id) or not self._check_iwant_rate_limit(sender_peer_id):
            return
        budget = self._served.setdefault(sender_peer_id, TokenBucket(SERVE_RATE, 4 * SERVE_RATE))
        for mid in iwant_msg.messageIDs[:IDS_MAX]:
            message = self.mcache.get(bytes(mid))
            if message is None or not self._served_ids.add(sender_peer_id.to_bytes() + bytes(mid)):
                continue
            if budget.take(len(message.data) + 256):
                self.send_rpc(sender_peer_id, rpc_pb2.RPC(publish=[message]))

    async def handle_graft(self, graft_msg: rpc_pb2.ControlGraft, sender_peer_id: ID) -> None:
        topic = graft_msg.topicID
        allowance = self._grafts.setdefault(sender_peer_id, {}).setdefault(topic, graft_allowance())
        if not allowance.take():
            self.graylist.add(sender_peer_id)
            return
        members = self.mesh[topic]
        full = len(members) >= self.degree_high and sender_peer_id not in members
        if full and not self._is_outbound(sender_peer_id):
            self._add_back_off(sender_peer_id, topic, False)
            await self.emit_prune(topic, sender_peer_id, False, False)
            return
        await super().handle_graft(graft_msg, sender_peer_id)

    def _check_ihave_rate_limit(self, peer_id: ID, topic: str) -> bool:
        return self._may(peer_id, "ihave")

    def _check_iwant_rate_limit(self, peer_id: ID) -> bool:
        return self._may(peer_id, "iwant")

    def _check_graft_flood_protection(self, peer_id: ID, topic: str) -> bool:
        return True  # handle_graft has counted already

    def _may(self, peer: ID, what: str) -> bool:
        asked = self._asked.setdefault(peer, {})
        return asked.setdefault(what, TokenBucket(ASK_RATE, ASK_RATE)).take()

    async def _do_px(self, px_peers: list[rpc_pb2.PeerInfo]) -> None:
        """A prune must not choose whom we dial."""

    # --- announcements and fetches ---

    async def run(self) -> None:
        self.manager.run_daemon_task(self._keep_fetching)
        await super().run()

    async def _keep_fetching(self) -> None:
        """Send batches when they are due, and ask the next announcer for what did not come."""
        while True:
            self._work = trio.Event()
            self._fetch_elsewhere()
            pause = min(self._announcements.flush(), self.wanted.pause())
            with trio.move_on_after(max(pause, 0.001)):
                await self._work.wait()

    def _fetch_elsewhere(self) -> None:
        asked: dict[ID, list[bytes]] = {}
        for mid, peer in self.wanted.overdue():
            if peer in self._pubsub.peers and not self.graylist.listed(peer):
                asked.setdefault(peer, []).append(mid)
        for peer, mids in asked.items():
            room = self.promises.setdefault(peer, Promises()).room()
            self._ask(mids[: min(room, IDS_MAX)], peer)

    # --- keeping the mesh ---

    async def heartbeat(self) -> None:
        await trio.sleep(self.heartbeat_initial_delay)
        while True:
            try:
                await self._beat()
            except Exception:  # the library's arithmetic over what strangers said; one bad beat must not end gossip
                log.exception("a gossip heartbeat failed")
            await trio.sleep(self.heartbeat_interval)

    async def _beat(self) -> None:
        await self._prune_graylisted()
        graft, prune = self.mesh_heartbeat()
        self.fanout_heartbeat()
        await self._emit_control_msgs(graft, prune, self.gossip_heartbeat())
        self.mcache.shift()
        self._periodic_security_cleanup()
        self._forget_back_offs()

    async def _prune_graylisted(self) -> None:
        for topic, peers in self.mesh.items():
            for peer in sorted((p for p in peers if self.graylist.listed(p)), key=ID.to_bytes):
                peers.discard(peer)
                self._add_back_off(peer, topic, False)
                await self.emit_prune(topic, peer, False, False)

    def mesh_heartbeat(self) -> Any:
        graft, prune = super().mesh_heartbeat()
        for peer, topics in prune.items():
            for topic in topics:  # the stock version lets a pruned peer come back at once
                self._add_back_off(peer, topic, False)
        for topic, members in self.mesh.items():
            for peer in self._missing_outbound(topic, members):
                members.add(peer)
                graft[peer].append(topic)
        return graft, prune

    def _missing_outbound(self, topic: str, members: set[ID]) -> list[ID]:
        """Peers that we dialled and that the mesh still lacks to have its share of them."""
        short = OUTBOUND - sum(map(self._is_outbound, members))
        if short <= 0 or topic not in self._pubsub.peer_topics:
            return []
        others = self._get_in_topic_gossipsub_peers_from_minus(topic, 1 << 16, members, True)
        return self.select_from_minus(short, sorted(filter(self._is_outbound, others), key=ID.to_bytes), ())

    def _is_outbound(self, peer: ID) -> bool:
        """Whether it was we who dialled: nobody can choose to be dialled."""
        connections = self._pubsub.host.get_network().connections.get(peer, ())
        return any(connection.direction is Direction.OUTBOUND for connection in connections)

    def _add_back_off(self, peer: ID, topic: str, is_unsubscribe: bool, backoff_duration: int = 0) -> None:
        seconds = backoff_duration or (self.unsubscribe_back_off if is_unsubscribe else self.prune_back_off)
        waiting = cast(dict[ID, float], self.back_off.setdefault(topic, {}))
        waiting[peer] = max(waiting.get(peer, 0.0), trio.current_time() + seconds)

    def _check_back_off(self, peer: ID, topic: str) -> bool:
        waiting = self.back_off.get(topic, {})
        if waiting.get(peer, 0.0) > trio.current_time():
            return True
        waiting.pop(peer, None)
        return False

    def _forget_back_offs(self) -> None:
        for topic, waiting in list(self.back_off.items()):
            for peer in list(waiting):
                self._check_back_off(peer, topic)
            if not waiting:
                del self.back_off[topic]

    def _get_in_topic_gossipsub_peers_from_minus(
        self, topic: str, num_to_select: int, minus: Iterable[ID], backoff_check: bool = False
    ) -> list[ID]:
        if topic not in self._pubsub.peer_topics:
            return []
        barred = {peer for peer in self._pubsub.peer_topics[topic] if self.graylist.listed(peer)}
        return super()._get_in_topic_gossipsub_peers_from_minus(
            topic, num_to_select, barred.union(minus), backoff_check
        )

    def _select_peers_for_pruning(self, topic: str, num_to_prune: int) -> list[ID]:
        members = sorted(self.mesh[topic], key=ID.to_bytes)
        kept = self.select_from_minus(OUTBOUND, list(filter(self._is_outbound, members)), ())
        return self.select_from_minus(num_to_prune, members, kept)

    def _perform_opportunistic_grafting(self, topic: str, peers_to_graft: Any) -> int:
        return 0  # the stock version regrafts by score; here there is none

    def _track_peer_ip(self, peer_id: ID) -> None:
        """No table of addresses."""

    def remove_peer(self, peer_id: ID) -> None:
        super().remove_peer(peer_id)
        self._served.pop(peer_id, None)
        self._announcements.forget(peer_id)

    @property
    def _pubsub(self) -> Any:
        return self.pubsub
