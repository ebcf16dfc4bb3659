"""Directories on real sockets: publish at one node, find at another, by gossip and by sync."""

from __future__ import annotations

from pathlib import Path

import trio

from support import records as make
from support.directories import QUICK, a_directory
from support.hosts import PATIENCE, a_host
from warmline.env import SystemClock, SystemRng, run_inline
from warmline.net.rpc import call
from warmline.store.store import open_store
from warmline_protocol import limits
from warmline_protocol.records.envelope import TOMBSTONE, end_record, open_record
from warmline_protocol.records.messages import (
    INDEX,
    PROTOCOL,
    TOPIC,
    Manifest,
    Nodes,
    NodesWanted,
    Part,
    PartWanted,
    Publish,
    Published,
    SnapshotWanted,
)
from warmline_protocol.records.snapshot import read_index
from warmline_protocol.records.standing import ChainHead, Standing

CLOCK = SystemClock()


def now() -> int:
    return CLOCK.utc_ms()


async def test_published_at_one_node_and_found_at_another_by_gossip() -> None:
    async with a_directory("a", sync_every=600, sync_gap=600) as a, a_directory("b", sync_every=600, sync_gap=600) as b:
        with trio.fail_after(PATIENCE):
            await a.host.connect(b.addr)
            assert a.gossip is not None
            await a.gossip.wait_peers(TOPIC)
            answer = await a.directory.publish(make.signed_listing(at_ms=now()))
            assert (answer.verdict, answer.reason) == ("accept", "no_chain")
            found = await b.directory.wait_record(answer.id)
            assert found.kind == "listing"


async def test_nodes_that_heard_nothing_agree_by_sync() -> None:
    async with (
        a_directory("a", gossip=False) as a,
        a_directory("b", gossip=False) as b,
        a_directory("c", gossip=False) as c,
    ):
        with trio.fail_after(PATIENCE):
            for index in range(40):
                await a.directory.publish(make.signed_listing(f"ana-{index}", at_ms=now(), wallet=False))
            await b.host.connect(a.addr)
            await c.host.connect(b.addr)
            for node in (a, b, c):
                while len(node.directory.shelf.index) < 43:  # 40 listings and three node records
                    await node.directory.wait_change()
            assert len({node.directory.shelf.index.digests() for node in (a, b, c)}) == 1
            offset = c.directory.clock_offset_ms()
            assert offset is not None
            assert abs(offset) < 2000


async def test_a_client_publishes_samples_nodes_and_reads_a_snapshot() -> None:
    async with a_directory("a") as a, a_host(listen=()) as client:
        with trio.fail_after(PATIENCE):
            peer = await client.connect(a.addr)
            async with await client.open_channel(peer, PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX) as channel:
                data = make.signed_listing(at_ms=now())
                answer = await call(channel, Publish(data), (Published,))
                assert answer.verdict == "accept"
                again = await call(channel, Publish(data), (Published,))
                assert again.verdict == "accept"
                older = await call(channel, Publish(make.signed_listing(at_ms=now() - 60_000)), (Published,))
                assert (older.verdict, older.reason) == ("ignore", "older")
                assert older.hint
                nodes = await call(channel, NodesWanted(("directory",), 8), (Nodes,))
                assert [open_record(each).body.owner for each in nodes.records] == [a.directory._key.public]
                assert (await call(channel, NodesWanted(("queues",), 8), (Nodes,))).records == ()
                manifest = await call(channel, SnapshotWanted(0), (Manifest,))
                part = await call(channel, PartWanted(manifest.id, INDEX, 0, 0), (Part,))
                (row,) = read_index(part.data)
                assert row.title == "Quiet mornings"
                assert manifest.standing_size == 0


async def test_a_withdrawal_travels_and_nothing_older_comes_back() -> None:
    async with a_directory("a") as a, a_directory("b") as b:
        with trio.fail_after(PATIENCE):
            data = make.signed_listing(at_ms=now(), wallet=False)
            record = open_record(data)
            await b.directory.publish(data)
            await a.host.connect(b.addr)
            await a.directory.wait_record(record.id)
            await a.directory.publish(end_record(record, make.key("ana"), now()))
            while (found := b.directory.record(record.id)) is None or found.kind != TOMBSTONE:
                await b.directory.wait_change()
            assert (await b.directory.publish(data)).reason == "older"


async def test_records_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    data = make.signed_listing(at_ms=now())
    for turn in range(2):
        async with (
            open_store(path, run_blocking=run_inline, clock=CLOCK, rng=SystemRng()) as store,
            a_directory("a", store=store) as a,
        ):
            if turn == 0:
                await a.directory.publish(data)
            held = a.directory.shelf.index.get(open_record(data).id)
            assert held is not None
            assert held.home


async def test_expired_records_are_swept() -> None:
    class Ahead:
        ahead_ms = 0

        def utc_ms(self) -> int:
            return CLOCK.utc_ms() + self.ahead_ms

    clock = Ahead()
    async with a_directory("a", clock=clock) as a:
        with trio.fail_after(PATIENCE):
            answer = await a.directory.publish(make.signed_listing(at_ms=now()))
            assert a.directory.record(answer.id)
            clock.ahead_ms = limits.LISTING_LIFE_MS + 60_000
            while a.directory.record(answer.id):
                await a.directory.wait_change()


class SlowChain(make.FixedStanding):
    """A chain view that a test moves by hand."""

    def __init__(self, chain: ChainHead | None = None, *standings: Standing) -> None:
        super().__init__(chain, *standings)
        self.version = 0
        self.next: list[tuple[ChainHead, Standing]] = []
        """Moves that happen while somebody looks."""
        self._moved = trio.Event()

    async def wait_change(self, seen: int | None = None) -> int:
        seen = self.version if seen is None else seen
        while self.version == seen:
            await self._moved.wait()
        return self.version

    def head(self) -> ChainHead | None:
        found = super().head()
        if self.next:
            self.move(*self.next.pop(0))
        return found

    def move(self, head: ChainHead, *standings: Standing) -> None:
        self.chain = head
        self.standings = {each.wallet: each for each in standings}
        self.version += 1
        self._moved.set()
        self._moved = trio.Event()


async def test_what_the_chain_cannot_say_yet_waits_and_what_it_revokes_is_gone() -> None:
    start = now()
    chain = SlowChain(make.head(at_ms=start - 60_000))
    async with a_directory("a", standing=chain, chain=chain) as a, a_directory("b") as b:
        with trio.fail_after(PATIENCE):
            await a.host.connect(b.addr)
            assert a.gossip is not None
            await a.gossip.wait_peers(TOPIC)
            data = make.signed_listing(at_ms=start)
            record_id = open_record(data).id
            assert (await a.directory.publish(data)).verdict == "defer"
            assert a.directory.record(record_id) is None
            chain.move(make.head(at_ms=start + 1000), make.standing(until_ms=start + 10**9))
            await a.directory.wait_record(record_id)
            held = a.directory.shelf.index.get(record_id)
            assert held is not None
            assert held.verified
            assert held.home
            await b.directory.wait_record(record_id)  # told to others although it was late
            chain.move(make.head(at_ms=start + 2000), make.standing(credentials=()))
            while a.directory.record(record_id) is not None:
                await a.directory.wait_change()
            assert (await a.directory.publish(data)).reason == "no_credential"


async def test_a_block_that_comes_while_the_one_before_is_judged_is_not_missed() -> None:
    start = now()
    chain = SlowChain(make.head(at_ms=start - 60_000))
    async with a_directory("a", standing=chain, chain=chain) as a:
        with trio.fail_after(PATIENCE):
            data = make.signed_listing(at_ms=start)
            assert (await a.directory.publish(data)).verdict == "defer"
            chain.next.append((make.head(at_ms=start + 2000), make.standing(until_ms=start + 10**9)))
            chain.move(make.head(at_ms=start - 30_000))
            await a.directory.wait_record(open_record(data).id)


async def test_what_bad_news_took_comes_back_when_a_reorganisation_takes_the_news() -> None:
    start = now()
    good, bad = make.standing(until_ms=start + 10**9), make.standing(credentials=())
    chain = SlowChain(make.head(at_ms=start + 1000), good)
    async with a_directory("a", standing=chain, chain=chain) as a:
        shelf = a.directory.shelf
        with trio.fail_after(PATIENCE):
            staying, withdrawn = (make.signed_listing(at_ms=start, slug=slug) for slug in ("stays", "goes"))
            for data in (staying, withdrawn):
                assert (await a.directory.publish(data)).verified
            chain.move(make.head(at_ms=start + 2000), bad)
            while a.directory.shelf.index.statistics()["listings"]:
                await a.directory.wait_change()
            assert shelf.statistics()["aside"] == 2
            ended = end_record(open_record(withdrawn), make.key("ana"), start + 10, make.delegation(at_ms=start))
            assert (await a.directory.publish(ended)).verdict == "accept"  # a withdrawal needs no credential
            chain.move(make.head(at_ms=start + 3000), good)
            record = await a.directory.wait_record(open_record(staying).id)
            held = shelf.index.get(record.id)
            assert held is not None
            assert held.verified
            assert held.home
            await a.directory.reconsider()
            assert shelf.statistics()["aside"] == 0
            kept = a.directory.record(open_record(withdrawn).id)
            assert kept is not None
            assert kept.data == ended


async def test_what_is_refused_is_not_fetched_every_round() -> None:
    chain = SlowChain(make.head(at_ms=now() + 1000))
    async with (
        a_directory("a", standing=chain, settings=QUICK, sync_every=0.3) as a,
        a_directory("b", sync_every=0.3) as b,
    ):
        with trio.fail_after(PATIENCE):
            await b.directory.publish(make.signed_listing(at_ms=now()))
            await a.host.connect(b.addr)
            first = await a.directory.sync(b.host.peer_id)
            second = await a.directory.sync(b.host.peer_id)
            assert first.fetched <= 2  # the listing it refuses, and perhaps the node record
            assert second.fetched == 0


async def test_locate_knows_nodes_only() -> None:
    async with a_directory("a") as a, a_directory("b") as b, a_host(listen=()) as client:
        with trio.fail_after(PATIENCE):
            await client.connect(a.addr)
            await a.host.connect(b.addr)
            while a.directory.locate(b.host.peer_id) is None:
                await a.directory.wait_change()
            assert a.directory.locate(b.host.peer_id) == b.host.addrs()
            assert a.directory.locate(client.peer_id) is None
