"""Holders, neighbours and publishers that lie, and strangers who send rubbish."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from support import records as make
from support.directories import QUICK, a_directory, announced
from support.hosts import PATIENCE, Ready, a_host, key_of, raw_stream
from support.processes import Child, running
from warmline.client.matching import Collection, Holding, Wanted
from warmline.env import SystemClock
from warmline.net.api import Channel
from warmline.net.host import Libp2pHost
from warmline.net.rpc import call
from warmline.services.directory_index import Room
from warmline_protocol import limits
from warmline_protocol.codec import encode, frame, uvarint
from warmline_protocol.errors import ChannelClosed, RefusedError, RemoteError, UnreachableError, WarmlineError
from warmline_protocol.records.digests import pack_entry
from warmline_protocol.records.envelope import OpenedRecord, end_record, open_record
from warmline_protocol.records.messages import (
    BODIES,
    INDEX,
    PROTOCOL,
    REQUESTS,
    TOPIC,
    Buckets,
    BucketsWanted,
    Digests,
    Manifest,
    Part,
    PartWanted,
    Publish,
    Published,
    Records,
    RecordsWanted,
    SnapshotWanted,
)
from warmline_protocol.records.standing import Standing
from warmline_protocol.records.standing_sheet import read_standing, sign_standing
from warmline_protocol.wire import from_wire, to_wire

CLOCK = SystemClock()


def now() -> int:
    return CLOCK.utc_ms()


# --- rubbish -----------------------------------------------------------------------------------------------------


async def directory_child(ready: Ready) -> None:
    """A directory node for another process."""
    async with a_directory("victim") as node:
        ready({"peer": node.host.peer_id, "addrs": node.host.addrs()})
        await trio.sleep_forever()


@pytest.fixture(scope="module")
def victim() -> Iterator[Child]:
    with running(__file__, "directory_child") as child:
        yield child


RUBBISH = {
    "not msgpack": frame(b"\xc1" * 40),
    "a frame above the limit": uvarint(limits.DIRECTORY_FRAME_MAX + 1) + b"x" * 100,
    "a length without end": b"\xff" * 40,
    "an answer instead of a question": frame(to_wire(Part(b"x"))),
    "an unknown message": frame(encode({"t": "steal"})),
    "a list": frame(encode([1, 2, 3])),
    "nested too deep": frame(b"\x91" * 200),
    "buckets out of order": frame(encode({"t": "buckets-wanted", "buckets": bytes([2, 1])})),
    "the same bucket twice": frame(encode({"t": "buckets-wanted", "buckets": bytes([1, 1])})),
    "no bucket": frame(encode({"t": "buckets-wanted", "buckets": b""})),
    "a float": frame(b"\x82\xa5shard\xcb\x40\x00\x00\x00\x00\x00\x00\x00\xa1t\xaesnapshot-wanted"),
    "more prefixes than allowed": frame(encode({"t": "records-wanted", "prefixes": [bytes(8)] * 61})),
    "a prefix that is too short": frame(encode({"t": "records-wanted", "prefixes": [bytes(7)]})),
    "half a frame": uvarint(500) + b"x" * 10,
    "an empty frame": frame(b""),
}


@pytest.mark.parametrize("name", RUBBISH)
async def test_rubbish_ends_its_channel_and_nothing_else(victim: Child, name: str) -> None:
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as attacker:
            peer = await attacker.connect(victim.facts["addrs"][0])
            stream = await raw_stream(attacker, peer, PROTOCOL)
            await stream.write(RUBBISH[name])
            await stream.close()
        async with a_host(listen=()) as client:
            peer = await client.connect(victim.facts["addrs"][0])
            async with await client.open_channel(peer, PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX) as channel:
                assert await call(channel, SnapshotWanted(0), (Manifest,))
    assert victim.alive
    assert "Traceback" not in victim.stderr


async def test_parts_outside_a_snapshot_are_refused_in_words(victim: Child) -> None:
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as client:
            peer = await client.connect(victim.facts["addrs"][0])
            async with await client.open_channel(peer, PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX) as channel:
                manifest = await call(channel, SnapshotWanted(0), (Manifest,))
                far = await call(channel, PartWanted(manifest.id, INDEX, 0, 1 << 20), (Part,))
                assert far.data == b""
                for question, code in (
                    (PartWanted(bytes(16), INDEX, 0, 0), "gone"),
                    (PartWanted(manifest.id, BODIES, 4000, 0), "no-bucket"),
                    (SnapshotWanted(7), "no-shard"),
                ):
                    with pytest.raises(RefusedError) as error:
                        await call(channel, question, (Part, Manifest))
                    assert error.value.code == code


@pytest.mark.parametrize(
    ("data", "verdict", "reason"),
    [
        (b"junk", "reject", "malformed"),
        (make.signed_listing(at_ms=make.NOW), "ignore", "expired"),
        (make.signed_listing(at_ms=4_000_000_000_000), "ignore", "future"),
    ],
)
async def test_a_bad_record_is_answered_with_a_reason(victim: Child, data: bytes, verdict: str, reason: str) -> None:
    if reason == "expired":
        data = make.signed_listing(at_ms=now() - limits.LISTING_LIFE_MS - 1, wallet=False)
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as client:
            peer = await client.connect(victim.facts["addrs"][0])
            async with await client.open_channel(peer, PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX) as channel:
                answer = await call(channel, Publish(data), (Published,))
                assert (answer.verdict, answer.reason) == (verdict, reason)
                assert answer.hint


# --- floods ------------------------------------------------------------------------------------------------------


async def test_throw_away_keys_fill_their_share_and_no_more() -> None:
    start = now()
    chain = make.FixedStanding(make.head(at_ms=start), make.standing(until_ms=start + 10**9))
    room = Room(records=40, unverified=20, bytes=1 << 20)
    async with a_directory("a", gossip=False, standing=chain, room=room) as node:
        reasons = set()
        for number in range(30):
            flood = make.signed_listing(f"nobody-{number}", at_ms=start, wallet=False)
            reasons.add((await node.directory.publish(flood)).reason)
        assert reasons == {"no_wallet", "full"}
        assert node.directory.statistics()["unverified"] <= 20
        answer = await node.directory.publish(make.signed_listing(at_ms=start))
        assert (answer.verdict, answer.verified) == ("accept", True)


async def test_one_key_cannot_fill_a_chainless_node() -> None:
    async with a_directory("a", gossip=False) as node:
        answers = [
            await node.directory.publish(make.signed_listing(slug=f"g-{i}", at_ms=now(), wallet=False))
            for i in range(40)
        ]
        assert sum(answer.verdict == "accept" for answer in answers) == 32
        assert answers[-1].reason == "quota"


async def test_broken_gossip_is_not_passed_on_and_the_mesh_lives() -> None:
    async with (
        a_directory("a", settings=QUICK, sync_every=600, sync_gap=600) as a,
        a_directory("b", settings=QUICK, sync_every=600, sync_gap=600) as b,
    ):
        with trio.fail_after(PATIENCE):
            await a.host.connect(b.addr)
            assert a.gossip is not None
            await a.gossip.wait_peers(TOPIC)
            bent = bytearray(make.signed_listing(at_ms=now(), wallet=False))
            bent[-1] ^= 1
            await a.gossip.publish(TOPIC, bytes(bent))
            await a.gossip.publish(TOPIC, make.signed_listing(slug="early", at_ms=now() + 10**7, wallet=False))
            good = await a.directory.publish(make.signed_listing(at_ms=now()))
            await b.directory.wait_record(good.id)
            assert b.directory.shelf.index.statistics()["listings"] == 1


async def test_a_full_disk_is_told_and_loses_nothing() -> None:
    async with a_directory("a", gossip=False, sync_every=600) as node, a_host(listen=()) as client:
        with trio.fail_after(PATIENCE):
            first = await node.directory.publish(make.signed_listing(at_ms=now(), wallet=False))
            pages = await node.store.write(lambda conn: next(iter(conn.execute("PRAGMA page_count")))[0])
            await node.store.write(lambda conn: list(conn.execute(f"PRAGMA max_page_count = {pages + 2}")))
            peer = await client.connect(node.addr)
            async with await client.open_channel(peer, PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX) as channel:
                with pytest.raises(RefusedError) as error:
                    for number in range(20):
                        data = make.signed_listing(slug=f"long-{number}", at_ms=now(), rules=("x" * 300,) * 8)
                        await call(channel, Publish(data), (Published,))
                assert error.value.code == "not-kept"
                assert "another node" in error.value.hint
                assert await call(channel, SnapshotWanted(0), (Manifest,))
            assert node.directory.record(first.id)
            stored = await node.store.read(lambda conn: list(conn.execute("SELECT count(*) FROM directory_record")))
            assert stored[0][0] == len(node.directory.shelf.index)


# --- lying neighbours --------------------------------------------------------------------------------------------

Answer = Callable[[object], object]


@asynccontextmanager
async def a_liar(answer: Answer, name: str = "liar") -> AsyncIterator[Libp2pHost]:
    """A host that speaks the directory protocol as ``answer`` says."""

    async def serve(channel: Channel) -> None:
        try:
            while True:
                question = from_wire(await channel.receive(), REQUESTS)
                await channel.send(to_wire(answer(question)))
        except (ChannelClosed, UnreachableError):
            return

    async with a_host(name=name) as host:
        host.serve(PROTOCOL, serve, max_frame=limits.DIRECTORY_FRAME_MAX, max_channels_per_peer=8)
        yield host


def neighbour(entries: list[bytes], records: tuple[bytes, ...], now_ms: int | None = None) -> Answer:
    """Claims one different bucket with these entries, and answers every request for records with ``records``."""

    def answer(question: object) -> object:
        match question:
            case Digests():
                return Digests(now() if now_ms is None else now_ms, b"\x01" * (4096 - 16) + bytes(16))
            case BucketsWanted(buckets):
                told = [entry for entry in entries if entry[0] in buckets or entry[8:14] == (7).to_bytes(6)]
                return Buckets(len(buckets), b"".join(sorted(told)))
            case RecordsWanted():
                return Records(records)
            case _:
                raise AssertionError(question)

    return answer


def entry_of(record: OpenedRecord) -> bytes:
    return pack_entry(record.id, record.seq, record.digest)


@pytest.mark.parametrize("lie", ["other bucket", "broken record", "unasked record"])
async def test_a_lying_neighbour_costs_one_round(lie: str) -> None:
    wanted = open_record(make.signed_listing(at_ms=now(), wallet=False))
    other = make.signed_listing(slug="other", at_ms=now(), wallet=False)
    lies = {
        "other bucket": ([pack_entry(bytes([255]) + bytes(31), 7, bytes(32))], ()),
        "broken record": ([entry_of(wanted)], (b"junk",)),
        "unasked record": ([entry_of(wanted)], (other,)),
    }
    entries, records = lies[lie]
    async with a_liar(neighbour(entries, records)) as liar, a_directory("a", gossip=False, sync_every=600) as node:
        with trio.fail_after(PATIENCE):
            peer = await node.host.connect(liar.addrs()[0])
            with pytest.raises(RemoteError):
                await node.directory.sync(peer)
            assert (await node.directory.publish(make.signed_listing(at_ms=now()))).verdict == "accept"


async def test_one_wrong_clock_among_three_moves_nothing() -> None:
    async with a_directory("a", gossip=False, sync_every=600) as node:
        with trio.fail_after(PATIENCE):
            for name, hours in (("one", 0), ("two", 0), ("three", 5)):
                async with a_liar(neighbour([], (), now() + hours * 3_600_000), name) as other:
                    await node.directory.sync(await node.host.connect(other.addrs()[0]))
            offset = node.directory.clock_offset_ms()
            assert offset is not None
            assert abs(offset) < 60_000


async def test_a_neighbour_that_goes_silent_costs_its_deadline() -> None:
    async def silent(channel: Channel) -> None:
        await channel.receive()
        await trio.sleep_forever()

    async with a_host() as mute, a_directory("a", gossip=False, sync_every=600, sync_deadline=0.3) as node:
        mute.serve(PROTOCOL, silent, max_frame=1 << 20, max_channels_per_peer=4)
        with trio.fail_after(PATIENCE):
            peer = await node.host.connect(mute.addrs()[0])
            with pytest.raises(WarmlineError):
                await node.directory.sync(peer)


# --- lying holders -----------------------------------------------------------------------------------------------


def holding(operator: str, *records: bytes, standing: Standing | None = None, at_ms: int | None = None) -> Holding:
    key = key_of(operator)
    sheet = sign_standing(make.head(at_ms=at_ms or make.NOW), [standing] if standing else [], key)
    opened = tuple(open_record(data) for data in records)
    return Holding(key.peer_id, operator, opened, read_standing(sheet, key.public))


def collected(*holdings: Holding) -> Collection:
    collection = Collection()
    for each in holdings:
        collection.add(each)
    return collection


GOOD = make.standing()
NOTHING = make.standing(credentials=())


def test_one_that_leaves_out_or_serves_the_old_loses() -> None:
    old, new = make.signed_listing(), make.signed_listing(at_ms=make.NOW + 1000, title="New title")
    records = collected(holding("x", old), holding("y"), holding("z", new)).records(make.NOW + 2000)
    assert [record.data for record in records] == [new]


def test_what_was_withdrawn_does_not_come_back_through_one_holder() -> None:
    listing = make.signed_listing(wallet=False)
    ended = end_record(open_record(listing), make.key("ana"), make.NOW + 1)
    collection = collected(holding("x", listing), holding("y", ended))
    assert collection.matches(Wanted(), make.NOW + 1000) == []


def test_one_liar_cannot_make_a_group_verified() -> None:
    listing = make.signed_listing()
    liar = holding("liar", listing, standing=GOOD)
    (alone,) = collected(liar).matches(Wanted(), make.NOW)
    assert alone.vouching.words == "verified by 1 of 1"
    honest = [holding(name, listing, standing=NOTHING) for name in ("x", "y")]
    assert collected(liar, *honest).matches(Wanted(), make.NOW) == []


def test_one_liar_cannot_hide_a_group() -> None:
    listing = make.signed_listing()
    honest = [holding(name, listing, standing=GOOD) for name in ("x", "y", "z")]
    (match,) = collected(holding("liar", standing=NOTHING), *honest).matches(Wanted(), make.NOW)
    assert match.vouching.words == "verified"
    (match,) = collected(holding("liar", standing=NOTHING), *honest[:2]).matches(Wanted(), make.NOW)
    assert match.vouching.words == "unverified (2 of 3 vouch)"


def test_one_operator_with_many_nodes_is_one_voice() -> None:
    listing = make.signed_listing()
    many = [
        Holding(key_of(f"n{i}").peer_id, "one house", holding("h", listing, standing=GOOD).records, each.sheet)
        for i, each in enumerate([holding(f"h{i}", listing, standing=GOOD) for i in range(5)])
    ]
    (match,) = collected(*many).matches(Wanted(), make.NOW)
    assert (match.vouching.agree, match.vouching.asked) == (1, 1)


def test_an_old_block_vouches_for_nobody() -> None:
    listing = make.signed_listing()
    stale = [holding(n, listing, standing=GOOD, at_ms=make.NOW - 3_700_000) for n in ("x", "y", "z")]
    (match,) = collected(*stale).matches(Wanted(), make.NOW)
    assert match.vouching.words == "unverified"


def test_a_record_from_the_future_is_not_believed() -> None:
    ahead = make.signed_listing(at_ms=make.NOW + limits.CLOCK_SKEW_MS + 1, wallet=False)
    assert collected(holding("x", ahead)).matches(Wanted(), make.NOW) == []


async def test_a_holder_whose_sizes_lie_is_left() -> None:
    def answer(question: object) -> object:
        match question:
            case SnapshotWanted():
                return announced(key_of("liar"), records=5, index_size=1000, bucket_sizes=(100,))
            case PartWanted():
                return Part(b"x" * 2000)
            case _:
                raise AssertionError(question)

    from warmline.client.finder import Finder, Holder
    from warmline.client.routes import Routes
    from warmline.env import SystemRng
    from warmline_protocol.records.node import NodeAddress

    async with a_liar(answer) as liar:
        with trio.fail_after(PATIENCE):
            rng = SystemRng()
            finder = Finder(Routes(liar.addrs(), rng=rng, clock=CLOCK), rng=rng, clock=CLOCK)
            with pytest.raises(RemoteError, match="another size"):
                await finder.fetch(Holder(NodeAddress(liar.peer_id, liar.addrs()), "liar"))
