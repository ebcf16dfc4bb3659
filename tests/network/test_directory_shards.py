"""A directory too large for one shard: split by rule, served, found by shard, and read whole by a client."""

from __future__ import annotations

import pytest
import trio

from support import records as make
from support.directories import DirectoryNode, a_directory, announced
from support.hosts import PATIENCE, a_host, key_of
from warmline.client.finder import Finder, Holder
from warmline.client.matching import Collection, Holding, Wanted
from warmline.client.routes import Routes
from warmline.client.snapshots import Directory, Library, read_directory
from warmline.env import SystemClock, SystemRng
from warmline.net.api import Channel
from warmline.services.directory_index import Room
from warmline_protocol import limits
from warmline_protocol.errors import ChannelClosed, RemoteError, UnreachableError
from warmline_protocol.records import snapshot
from warmline_protocol.records.messages import PROTOCOL, REQUESTS, Part, PartWanted, SnapshotWanted, shard_key
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.wire import from_wire, to_wire

CLOCK = SystemClock()


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 32 records, once an index has more than 8 KiB: the rule with other numbers."""
    monkeypatch.setattr(snapshot, "INDEX_MAX", 8192)
    monkeypatch.setattr(snapshot, "SHARD_RECORDS", 32)


async def fill(node: DirectoryNode, count: int, *, name: str = "owner") -> None:
    now = CLOCK.utc_ms()
    made = [make.signed_listing(f"{name} {n // 4}", f"group-{n}", at_ms=now, wallet=False) for n in range(count)]
    answers = await node.directory.shelf.take_all(made)
    assert {answer.verdict.value for answer, _ in answers} == {"accept"}


async def fetched(node: DirectoryNode, library: Library | None = None) -> Directory:
    async with a_host() as host:
        peer = await host.connect(node.addr)
        async with await host.open_channel(peer, PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX) as channel:
            return await read_directory(channel, key_of("a").public, library or Library(), deadline=PATIENCE)


async def test_every_shard_is_read_and_what_is_known_is_not_read_again(small_shards: None) -> None:
    with trio.fail_after(2 * PATIENCE):
        async with a_directory("a", gossip=False, room=Room(unverified=1000)) as node:
            await fill(node, 200)
            served = node.directory._snapshots
            assert served.shards() == 8
            assert sum(snapshot.manifest.records for snapshot in served.newest()) == 200
            library = Library()
            first = await fetched(node, library)
            assert len(first.records) == 200
            assert first.fetched > 100_000
            held = Collection(None, [Holding("a", "a", first.records, first.sheet)])
            assert len(held.matches(Wanted(), CLOCK.utc_ms())) == 200
            again = await fetched(node, library)
            assert len(again.records) == 200
            assert again.fetched == 0, "every index and record of it was known by its hash"
            before = {snapshot.manifest.shard: snapshot for snapshot in served.newest()}
            await fill(node, 1, name="late")
            after = {snapshot.manifest.shard: snapshot for snapshot in served.newest()}
            changed = [shard for shard, snapshot in after.items() if snapshot is not before[shard]]
            assert len(changed) == 1, "only the shard with the new record is made anew"
            third = await fetched(node, library)
            assert len(third.records) == 201
            assert 0 < third.fetched < first.fetched / 4


async def test_standing_is_told_by_shard_and_counts_at_the_oldest_block(small_shards: None) -> None:
    now = CLOCK.utc_ms()
    owners = [f"p{number}" for number in range(80)]
    chain = make.FixedStanding(make.head(at_ms=now), *(make.standing(owner, until_ms=now + 10**9) for owner in owners))
    with trio.fail_after(2 * PATIENCE):
        async with a_directory("a", standing=chain, gossip=False) as node:
            made = [make.signed_listing(owner, at_ms=now) for owner in owners]
            await node.directory.shelf.take_all(made)
            found = await fetched(node)
            assert len(found.sheets) == node.directory._snapshots.shards() > 1
            assert found.sheet is not None
            assert set(found.sheet.wallets) == {make.wallet_of(owner) for owner in owners}
            held = Collection(None, [Holding("a", "a", found.records, found.sheet)])
            assert all(match.vouching.verified for match in held.matches(Wanted(), now))


async def test_holders_are_found_by_shard_and_under_the_key_that_needs_no_depth(small_shards: None) -> None:
    with trio.fail_after(4 * PATIENCE):
        async with (
            a_directory("a", dht=True, gossip=False, room=Room(unverified=1000), provide_every=0.3) as node,
            a_directory("b", dht=True, gossip=False, sync_every=600) as other,
        ):
            await fill(node, 120)
            await other.host.connect(node.addr)
            assert other.dht is not None
            for key in (shard_key(), shard_key(0, 2), shard_key(3, 2)):
                while node.host.peer_id not in await other.dht.find_providers(key):  # noqa: ASYNC110 - claims have no event
                    await trio.sleep(0.1)


LIES = {
    "another index": ("index", b"\0" * 1000),
    "another bucket": ("bodies", b"\0" * 100),
}


@pytest.mark.parametrize("lie", [*LIES, "shards that change", "no power of two"])
async def test_a_holder_whose_parts_are_not_what_it_signed_is_left(lie: str) -> None:
    key = key_of("liar")
    asked = 0

    async def serve(channel: Channel) -> None:
        nonlocal asked
        try:
            while True:
                question = from_wire(await channel.receive(), REQUESTS)
                asked += 1
                if isinstance(question, SnapshotWanted):
                    if lie == "shards that change":
                        shards = 2 << (asked % 2)
                        answer: object = announced(key, shard=question.shard, shards=shards)
                    elif lie == "another bucket":
                        answer = announced(key, records=0, bucket_sizes=(100,))
                    else:
                        answer = announced(key, records=5, index_size=1000, bucket_sizes=(100,))
                else:
                    assert isinstance(question, PartWanted)
                    answer = Part(LIES[lie][1] if lie in LIES else b"")
                data = to_wire(answer)
                await channel.send(data.replace(b"\xa6shards\x01", b"\xa6shards\x03") if "power" in lie else data)
        except (ChannelClosed, UnreachableError):
            return

    with trio.fail_after(2 * PATIENCE):
        async with a_host(name="liar") as host:
            host.serve(PROTOCOL, serve, max_frame=limits.DIRECTORY_FRAME_MAX, max_channels_per_peer=8)
            rng = SystemRng()
            finder = Finder(Routes(host.addrs(), rng=rng, clock=CLOCK), rng=rng, clock=CLOCK)
            with pytest.raises(RemoteError):
                await finder.fetch(Holder(NodeAddress(host.peer_id, host.addrs()), "liar"))
    assert asked < 20
