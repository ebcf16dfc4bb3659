"""The directory of a node: hears records, keeps the welcome ones, serves them, and tells others.

Three ways lead in, all through one judge: somebody publishes here, gossip brings it, or sync pulls it. The node where
a record was published is its home: it announces the record and keeps it in the DHT under its id while it lives. Every
directory provides the shard key in the DHT, which is how clients find holders beyond the nodes they know.

What is searched for is never asked here: clients take whole snapshots.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from warmline.env import Rng, RunBlocking
from warmline.net.api import Channel, Host
from warmline.net.gossip import Gossip, GossipMessage
from warmline.net.gossip_state import TokenBucket
from warmline.net.rpc import answer_calls
from warmline.scopes import sole_error
from warmline.services import directory_serve as serve
from warmline.services.directory_dht import DirectoryDht, RecordDht
from warmline.services.directory_index import Room
from warmline.services.directory_judge import RecordJudge
from warmline.services.directory_own import NodeProfile, OwnRecord
from warmline.services.directory_shelf import Shelf
from warmline.services.directory_sync import Clocks, Neighbours, Round, sync_with
from warmline.store.store import Store
from warmline_protocol import limits
from warmline_protocol.errors import RefusedError, RemoteError, UsageError, WarmlineError, WorldError
from warmline_protocol.keys import SigningKey
from warmline_protocol.networks import networks_of
from warmline_protocol.records.digests import differing
from warmline_protocol.records.envelope import NODE, OpenedRecord, record_id
from warmline_protocol.records.messages import (
    PROTOCOL,
    REQUESTS,
    TOPIC,
    BucketsWanted,
    Digests,
    NodesWanted,
    PartWanted,
    Publish,
    Published,
    RecordsWanted,
    SnapshotWanted,
)
from warmline_protocol.records.node import NodeRecord
from warmline_protocol.verdict import Verdict

log = logging.getLogger("warmline.directory")

SYNC_PEERS: Final = 2
SYNC_AT_ONCE: Final = 4
CHANNELS_PER_PEER: Final = 8


class ChainChanges(Protocol):
    """What the directory needs of the chain besides standing."""

    version: int
    """Counts the changes."""

    async def wait_change(self, seen: int | None = None) -> int: ...


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """Seconds and counts."""

    room: Room = field(default_factory=Room)
    sync_every: float = 30.0
    sync_gap: float = 5.0
    """Least time between two rounds with one neighbour, however often the two differ."""
    sync_deadline: float = 15.0
    dht_deadline: float = 30.0
    dht_every: float = 3600.0
    provide_every: float = 600.0
    sweep_every: float = 30.0
    node_record_every: float = 6 * 3600.0
    publish_rate: float = 10.0
    """Records a second that are taken from whoever comes, those that the chain vouches for beyond it."""
    publish_burst: float = 300.0
    snapshot_age: float = 1.0
    """How stale a snapshot may be before it is made again."""
    call_deadline: float = 60.0


@dataclass(frozen=True, slots=True)
class _Told:
    record: OpenedRecord
    announced: bool


class Directory:
    """Obtained from :func:`open_directory`."""

    def __init__(
        self,
        host: Host,
        shelf: Shelf,
        *,
        key: SigningKey,
        profile: NodeProfile,
        gossip: Gossip | None,
        dht: DirectoryDht | None,
        rng: Rng,
        settings: DirectorySettings,
    ) -> None:
        self.shelf = shelf
        self.clocks = Clocks()
        self._host = host
        self._key = key
        self._gossip = gossip
        self._dht = dht
        self._rng = rng
        self._settings = settings
        self._strangers = TokenBucket(settings.publish_rate, settings.publish_burst)
        self._snapshots = serve.Snapshots(shelf, key, max_age=settings.snapshot_age)
        self._changed = trio.Event()
        self._neighbours = Neighbours(gap=settings.sync_gap)
        self._own = OwnRecord(key, profile, every_s=settings.node_record_every)
        self._own_id = record_id(NODE, key.public)
        self._outbox_send, self._outbox = trio.open_memory_channel[_Told](256)
        shelf.on_welcome = self._welcome
        shelf.on_gone = self._gone
        shelf.index.own = self._own_id

    # --- for the rest of the node --------------------------------------------------------------------------------

    async def publish(self, data: bytes, source: str = "") -> Published:
        """Take in a record at its home node and tell others; the answer is the verdict with what to do about it."""
        answer, record = await self.shelf.take(data, home=True, source=source)
        if answer.verdict is Verdict.ACCEPT and record is not None:
            self._note_change()
            await self._announce(record)
            self._tell_soon(_Told(record, announced=True))
        record_id = record.id if record else b""
        return Published(record_id, answer.verdict.value, answer.reason, answer.hint, answer.verified)

    def locate(self, peer: str) -> tuple[str, ...] | None:
        """The addresses of a node with a valid record; None for everybody else (the relay carries to nodes only)."""
        record = self.shelf.index.node(peer, self.shelf.judge.clock.utc_ms())
        return record.addrs if record else None

    def record(self, record_id: bytes) -> OpenedRecord | None:
        """What is held under an id, a tombstone included."""
        held = self.shelf.index.get(record_id)
        return held.record if held else None

    def nodes(self) -> tuple[NodeRecord, ...]:
        """Every node with a valid record."""
        found = self.shelf.index.nodes(self.shelf.judge.clock.utc_ms())
        return tuple(record.body for record in found if isinstance(record.body, NodeRecord))

    @property
    def nodes_version(self) -> int:
        """Another number whenever :meth:`nodes` may tell something else."""
        return self.shelf.index.nodes_version

    async def wait_change(self) -> None:
        """Until a record comes, goes or changes."""
        await self._changed.wait()

    async def wait_record(self, record_id: bytes) -> OpenedRecord:
        """Until something is held under an id."""
        while (record := self.record(record_id)) is None:
            await self._changed.wait()
        return record

    async def reconsider(self) -> None:
        """Judge again what the chain has a say in: called when the follower moves."""
        before = self.shelf.index.version
        gone = await self.shelf.reconsider()
        if self._gossip is not None:
            await self._gossip.reconsider()
        if self._dht is not None:
            self._dht.drop(gone)
        if self.shelf.index.version != before:
            self._note_change()

    async def sync(self, peer: str) -> Round:
        """Pull once from a connected peer."""
        before = self.shelf.index.version
        try:
            return await sync_with(
                self._host,
                peer,
                self.shelf,
                self.clocks,
                seconds=self._settings.sync_deadline,
                source=self._source_of(peer),
            )
        finally:
            if self.shelf.index.version != before:
                self._note_change()

    def clock_offset_ms(self) -> int | None:
        """Median of the neighbours' clocks minus ours; positive when ours is slow, None before the first sync."""
        return self.clocks.median_ms()

    def statistics(self) -> dict[str, int]:
        return {**self.shelf.statistics(), "clock_samples": self.clocks.samples()}

    # --- answering -----------------------------------------------------------------------------------------------

    async def serve_channel(self, channel: Channel) -> None:
        """Answer one channel until the other side ends."""

        async def answer(question: object) -> object:
            return await self._answer(question, channel)

        await answer_calls(
            channel,
            REQUESTS,
            answer,
            deadline=self._settings.call_deadline,
            max_question=limits.DIRECTORY_QUESTION_MAX,
        )

    async def _answer(self, question: object, channel: Channel) -> object:
        match question:
            case NodesWanted():
                return serve.some_nodes(self.shelf, question, self._rng)
            case Digests():
                return self._compare(question, channel.peer)
            case BucketsWanted():
                return serve.buckets(self.shelf, question)
            case RecordsWanted():
                return serve.records(self.shelf, question)
            case Publish():
                return await self._published(question, f"entry {channel.via or ''}")
            case SnapshotWanted():
                return self._snapshots.manifest(question.shard)
            case PartWanted():
                return self._snapshots.part(question)
            case _:
                raise UsageError(f"no answer for {type(question).__name__}")

    async def _published(self, question: Publish, source: str) -> Published:
        # Every record taken here is told to everybody: one stranger who signs the same one again and again would make
        # this node exceed what others hear from it, and silence its neighbours' records with its own.
        if not self._strangers.take() and not self.shelf.weigh(question.record, source)[0].verified:
            raise RefusedError(
                "busy", "too many records are published here now", hint="Publish through another node, or in a minute."
            )
        try:
            return await self.publish(question.record, source)
        except WarmlineError as error:  # a full disk: the author should know and try elsewhere
            raise RefusedError("not-kept", error.message, hint="Publish through another node.") from error

    def _compare(self, question: Digests, peer: str) -> Digests:
        ours = self.shelf.index.digests()
        if differing(ours, question.digests):
            self._sync_soon(peer)
        return Digests(self.shelf.judge.clock.utc_ms(), ours)

    # --- telling -------------------------------------------------------------------------------------------------

    def _judge_gossip(self, data: bytes, peer: str) -> Verdict:
        return self.shelf.weigh(data, self._source_of(peer))[0].verdict

    def _source_of(self, peer: str) -> str:
        """What a neighbour's records count as: its network, or itself on a private one; who is no node is anybody."""
        record = self.shelf.index.node(peer, self.shelf.judge.clock.utc_ms())
        if record is None:
            return "strangers"
        return min(networks_of(record.addrs), default=f"node {peer}")

    async def _announce(self, record: OpenedRecord) -> None:
        if self._gossip is not None:
            await self._gossip.publish(TOPIC, record.data)

    def _welcome(self, record: OpenedRecord) -> None:
        self._note_change()
        self._tell_soon(_Told(record, announced=False))

    def _gone(self, record_id: bytes) -> None:
        if self._dht is not None:
            self._dht.drop([record_id])

    def _tell_soon(self, told: _Told) -> None:
        try:
            self._outbox_send.send_nowait(told)
        except trio.WouldBlock:
            log.info("many records at once: some reach the DHT with the next round")

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _sync_soon(self, peer: str) -> None:
        self._neighbours.ask(peer, trio.current_time())

    # --- loops ---------------------------------------------------------------------------------------------------

    async def _hear(self, messages: AsyncIterable[GossipMessage]) -> None:
        async for message in messages:
            await self._take_quietly(message.data, self._source_of(message.source_peer))

    async def _take_quietly(self, data: bytes, source: str) -> None:
        try:
            answer, _ = await self.shelf.take(data, source=source)
        except WarmlineError as error:
            log.warning("a record is not kept: %s (%s)", error, error.hint)
            return
        if answer.verdict is Verdict.ACCEPT:
            self._note_change()

    async def _tell(self) -> None:
        async for told in self._outbox:
            if not told.announced:
                await self._announce(told.record)
            if self._dht is not None:
                await self._dht.put(told.record)

    async def _keep_syncing(self) -> None:
        while True:
            await self._neighbours.wait(self._settings.sync_every * self._rng.uniform(0.8, 1.2))
            connected = self._host.peers()
            peers = self._neighbours.due(connected, trio.current_time())[:SYNC_AT_ONCE]
            if not peers:
                peers = self._rng.sample(connected, SYNC_PEERS)
            async with trio.open_nursery() as nursery:
                for peer in peers:
                    nursery.start_soon(self._sync_quietly, peer)

    async def _sync_quietly(self, peer: str) -> None:
        self._neighbours.begun(peer, trio.current_time())
        try:
            await self.sync(peer)
        except RemoteError as error:
            log.info("sync ended: %s", error)
        except WarmlineError as error:
            # A neighbour that has just connected may not be serving yet.
            log.debug("no sync: %s", error)
            self._neighbours.failed(peer, trio.current_time())
        else:
            self._neighbours.done(peer)

    async def _keep_own_record(self) -> None:
        while True:
            with self._despite_the_disk():
                await self.refresh_own_record()
                if await self.shelf.sweep():
                    self._note_change()
            await trio.sleep(self._settings.sweep_every)

    async def _follow_chain(self, chain: ChainChanges, seen: int) -> None:
        while True:
            # What changed while the last judging was under way counts too: the next block may be long in coming.
            seen = await chain.wait_change(seen)
            with self._despite_the_disk():
                await self.reconsider()

    @contextmanager
    def _despite_the_disk(self) -> Iterator[None]:
        """A full disk stops nothing that can be tried again: relays and queues of this node go on."""
        try:
            yield
        except WorldError as error:
            log.warning("the directory could not write: %s (%s)", error, error.hint)

    async def refresh_own_record(self) -> None:
        """Sign and announce the node's own record when it is new, changed or a quarter of its life old."""
        addrs = self._host.addrs()
        if not addrs:
            return
        record = self._own.due(addrs, self.shelf.judge.clock.utc_ms(), self.record(self._own_id))
        if record is None:
            return
        published = await self.publish(self._own.signed(record))
        self._own.said = record
        if published.verdict != Verdict.ACCEPT.value:
            log.warning("this node's own record is refused: %s (%s)", published.reason, published.hint)

    def _peer_changed(self, peer: str, connected: bool) -> None:
        if connected:
            self._sync_soon(peer)


def _kept_in(dht: RecordDht, shelf: Shelf, rng: Rng, settings: DirectorySettings) -> DirectoryDht:
    return DirectoryDht(
        dht,
        shelf,
        rng,
        deadline=settings.dht_deadline,
        put_every=settings.dht_every,
        provide_every=settings.provide_every,
    )


@asynccontextmanager
async def open_directory(
    host: Host,
    store: Store,
    *,
    judge: RecordJudge,
    key: SigningKey,
    profile: NodeProfile,
    rng: Rng,
    run_blocking: RunBlocking,
    gossip: Gossip | None = None,
    dht: RecordDht | None = None,
    chain: ChainChanges | None = None,
    settings: DirectorySettings | None = None,
) -> AsyncIterator[Directory]:
    """Run the directory of a node for the length of the block. ``key`` is the host's own."""
    settings = settings or DirectorySettings()
    shelf = await Shelf.load(store, judge, settings.room, run_blocking)
    kept = None if dht is None else _kept_in(dht, shelf, rng, settings)
    directory = Directory(host, shelf, key=key, profile=profile, gossip=gossip, dht=kept, rng=rng, settings=settings)
    host.serve(
        PROTOCOL,
        directory.serve_channel,
        max_frame=limits.DIRECTORY_FRAME_MAX,
        max_channels_per_peer=CHANNELS_PER_PEER,
    )
    host.on_peer_change(directory._peer_changed)
    try:
        async with AsyncExitStack() as stack:
            stack.enter_context(sole_error())
            messages = None
            if gossip is not None:
                messages = await stack.enter_async_context(gossip.subscribe(TOPIC, directory._judge_gossip))
            nursery = await stack.enter_async_context(trio.open_nursery())
            if messages is not None:
                nursery.start_soon(directory._hear, messages)
            with directory._despite_the_disk():
                await directory.refresh_own_record()
            nursery.start_soon(directory._keep_own_record)
            nursery.start_soon(directory._tell)
            nursery.start_soon(directory._keep_syncing)
            if kept is not None:
                nursery.start_soon(kept.keep_provided, directory._snapshots.shards)
                nursery.start_soon(kept.keep_put)
            if chain is not None:
                nursery.start_soon(directory._follow_chain, chain, chain.version)
            yield directory
            nursery.cancel_scope.cancel()
    finally:
        host.unserve(PROTOCOL)
