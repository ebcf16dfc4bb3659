"""Attacks on discovery: hiding people, crowding nodes out, and bytes that cost a reader more than their sender."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import psutil
import pytest
import trio

from support import records as make
from support.directories import QUICK, a_directory, announced
from support.hosts import PATIENCE, Ready, a_host, key_of, raw_stream
from support.processes import Child, running
from warmline.client.finder import Finder, Holder, one_voice_a_network
from warmline.client.matching import Collection, Holding, Wanted
from warmline.client.routes import Routes
from warmline.env import SystemClock, SystemRng
from warmline.net.api import Channel
from warmline.net.rpc import call
from warmline.services.directory_index import DirectoryIndex, Room
from warmline_protocol import limits
from warmline_protocol.codec import decode, frame
from warmline_protocol.errors import MalformedError, RefusedError, RemoteError, WarmlineError
from warmline_protocol.records.delegation import SUPPORTER, Delegation
from warmline_protocol.records.envelope import LISTING, open_record, record_id, sign_record, tombstone
from warmline_protocol.records.messages import (
    PROTOCOL,
    REQUESTS,
    Manifest,
    NodesWanted,
    PartWanted,
    Publish,
    Published,
    SnapshotWanted,
)
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.records.standing import Standing
from warmline_protocol.records.standing_sheet import read_standing, sign_standing
from warmline_protocol.wire import Refused, from_wire, to_wire

CLOCK = SystemClock()
GOOD = make.standing()
SOON = make.NOW + 60_000

# --- hiding somebody's group ---------------------------------------------------------------------------------------


def holding(operator: str, *records: bytes, standing: Standing | None = GOOD, chain: int = make.CHAIN) -> Holding:
    key = key_of(operator)
    head = replace(make.head(), chain_id=chain)
    sheet = read_standing(sign_standing(head, [standing] if standing else [], key), key.public)
    return Holding(key.peer_id, operator, tuple(open_record(data) for data in records), sheet)


def without_sheet(operator: str, *records: bytes) -> Holding:
    return replace(holding(operator, *records), sheet=None)


def collected(*holdings: Holding) -> Collection:
    collection = Collection()
    for each in holdings:
        collection.add(each)
    return collection


def claimed(name: str = "mallory") -> Delegation:
    """A delegation of Ana's wallet to a stranger's key that the wallet never signed: valid where the chain shows it."""
    start = make.NOW // 1000
    end = start + 20 * 86_400
    return Delegation(make.wallet_of("ana"), make.key(name).public, SUPPORTER, start, end, make.CHAIN, make.REGISTRY)


def usurped() -> bytes:
    body = make.listing(make.wallet_of("ana"), at_ms=SOON, title="Come here instead", door=make.door("mallory"))
    return sign_record(body, make.key("mallory"), claimed())


def withdrawn() -> bytes:
    return tombstone(LISTING, make.wallet_of("ana"), "quiet-mornings", make.key("mallory"), SOON, claimed())


@pytest.mark.parametrize("forged", [usurped, withdrawn])
def test_a_delegation_that_nobody_signed_hides_no_group(forged: Callable[[], bytes]) -> None:
    """One lying holder, and a later date: before, its record took the place of the true one."""
    true = make.signed_listing()
    assert open_record(forged()).id == open_record(true).id
    honest = [holding("x", true), holding("y", true)]
    (match,) = collected(holding("liar", true, forged()), *honest).matches(Wanted(), SOON)
    assert (match.listing.title, match.vouching.words) == ("Quiet mornings", "verified")


@pytest.mark.parametrize("forged", [usurped, withdrawn])
def test_nor_where_no_node_follows_a_chain(forged: Callable[[], bytes]) -> None:
    true = make.signed_listing()
    found = collected(without_sheet("x", true), without_sheet("liar", forged())).matches(Wanted(), SOON)
    assert [match.listing.title for match in found] == ["Quiet mornings"]


def test_nor_when_the_liar_vouches_for_itself() -> None:
    true = make.signed_listing()
    backing = make.standing(delegates=((make.key("mallory").public, SOON // 1000 + 86_400),))
    liar = holding("liar", usurped(), standing=backing)
    (match,) = collected(liar, holding("x", true), holding("y", true)).matches(Wanted(), SOON)
    assert match.listing.title == "Quiet mornings"


def test_a_key_that_the_wallet_revoked_hides_no_group_of_its_own() -> None:
    """A stolen device signs with a later date; its owner has revoked it and published from a new one."""
    fresh = make.delegation("ana", at_ms=make.NOW + 30_000, key=make.key("new phone").public)
    true = sign_record(make.listing(fresh.wallet, at_ms=make.NOW + 31_000), make.key("new phone"), fresh)
    # The thief's own delegation began before the wallet said that nothing from before counts.
    stolen_from = make.delegation("ana", at_ms=make.NOW)
    stolen = sign_record(make.listing(fresh.wallet, at_ms=SOON, title="By the thief"), make.key("ana"), stolen_from)
    revoked = make.standing(revoked_before_s=make.NOW // 1000 + 30)
    honest = [holding(name, true, standing=revoked) for name in ("x", "y")]
    (match,) = collected(holding("liar", stolen, standing=revoked), *honest).matches(Wanted(), SOON)
    assert match.listing.title == "Quiet mornings"


def test_a_key_that_the_chain_does_show_is_heard() -> None:
    standing = make.standing(delegates=((make.key("mallory").public, SOON // 1000 + 86_400),))
    sides = [holding(name, usurped(), standing=standing) for name in ("x", "y", "z")]
    (match,) = collected(*sides).matches(Wanted(), SOON)
    assert (match.listing.title, match.vouching.words) == ("Come here instead", "verified")


def test_a_chain_of_ones_own_makes_nobody_verified() -> None:
    """One operator on an invented chain with a lower number: before, it alone decided ("verified by 1 of 1")."""
    given = make.delegation("mallory", chain_id=1)
    liar_says = sign_record(make.listing(given.wallet), make.key("mallory"), given)
    invented = make.standing("mallory")
    liar = holding("liar", liar_says, standing=invented, chain=1)
    found = collected(liar, holding("x")).matches(Wanted(), SOON)
    assert [match.vouching.verified for match in found] in ([], [False])


# --- crowding out --------------------------------------------------------------------------------------------------


def test_strangers_cards_take_no_places_of_nodes() -> None:
    """Before, node records shared the places of unverified cards: free keys kept later nodes out of every relay."""
    index = DirectoryIndex(Room(unverified=8, nodes=4))
    for number in range(8):
        card = make.opened(make.signed_card(f"stranger {number}", wallet=False))
        assert index.place(card, verified=False, source="").fits
        index.put(card, verified=False, home=False)
    late = make.opened(make.signed_card("one more", wallet=False))
    assert not index.place(late, verified=False, source="").fits
    node = make.opened(make.signed_node("late node"))
    assert index.place(node, verified=False, source="").fits


def test_a_node_always_has_room_for_its_own_record() -> None:
    index = DirectoryIndex(Room(nodes=1))
    index.put(make.opened(make.signed_node("a")), verified=False, home=False)
    mine = make.opened(make.signed_node("me"))
    assert not index.place(mine, verified=False, source="").fits
    index.own = record_id("node", make.key("me").public)
    assert index.place(mine, verified=False, source="").fits


def test_counts_of_nodes_return_to_nothing() -> None:
    index = DirectoryIndex(Room(nodes=1))
    for _ in range(3):
        node = make.opened(make.signed_node("a"))
        assert index.place(node, verified=False, source="").fits
        index.put(node, verified=False, home=False)
        ended = make.opened(tombstone("node", make.key("a").public, "", make.key("a"), make.NOW + 1))
        index.put(ended, verified=False, home=False)
        index.drop(ended.id)


# --- bytes that cost more than they are ------------------------------------------------------------------------------


def bomb(size: int, leaf: bytes) -> bytes:
    """Lists of lists of one-byte values, canonical and within every length limit; a megabyte took a node 8 s."""
    inner = b"\xdc" + (4095).to_bytes(2) + leaf * 4095
    count = size // len(inner)
    return b"\xdc" + count.to_bytes(2) + inner * count


@pytest.mark.parametrize("leaf", [b"\x90", b"\x80", b"\x00", b"\xa0", b"\xc3"])
def test_a_megabyte_of_small_values_is_refused_at_once(leaf: bytes) -> None:
    data = bomb(limits.MESSAGE_MAX, leaf)
    begun = time.process_time()
    with pytest.raises(MalformedError, match="more values"):
        decode(data)
    assert time.process_time() - begun < 0.5


async def directory_child(ready: Ready) -> None:
    async with a_directory("bombed") as node:
        ready({"peer": node.host.peer_id, "addrs": node.host.addrs()})
        await trio.sleep_forever()


@pytest.fixture(scope="module")
def victim() -> Iterator[Child]:
    with running(__file__, "directory_child") as child:
        yield child


async def test_a_node_is_done_with_bombs_at_once(victim: Child) -> None:
    data = frame(bomb(limits.DIRECTORY_FRAME_MAX - 8, b"\x90"))
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as attacker, a_host(listen=()) as client:
            peer = await client.connect(victim.facts["addrs"][0])
            await attacker.connect(victim.facts["addrs"][0])
            spent = psutil.Process(victim.process.pid)
            begun = spent.cpu_times().user
            for _ in range(3):
                stream = await raw_stream(attacker, peer, PROTOCOL)
                await stream.write(data)
                with suppress(Exception):  # the library has several ways to say that the node reset the stream
                    while await stream.read(1):
                        pass
            async with await client.open_channel(peer, PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX) as channel:
                await call(channel, SnapshotWanted(0), (Manifest,))
            assert spent.cpu_times().user - begun < 1.0, (
                "each took a node a second of its processor, and all others' time"
            )
    assert victim.alive
    assert "Traceback" not in victim.stderr


@asynccontextmanager
async def a_lying_holder(answer: Callable[[object], object]) -> AsyncIterator[NodeAddress]:
    async with a_host(name="lying holder") as host:

        async def talk(channel: Channel) -> None:
            while True:
                data = await channel.receive()
                await channel.send(to_wire(answer(from_wire(data, REQUESTS))))

        host.serve(PROTOCOL, talk, max_frame=limits.DIRECTORY_FRAME_MAX, max_channels_per_peer=8)
        yield NodeAddress(host.peer_id, host.addrs())


HUGE: dict[str, dict[str, Any]] = {
    "buckets without records": {"bucket_sizes": (2 << 20,) * 4096},
    "more buckets than records": {"records": 64, "index_size": 100, "bucket_sizes": (2 << 20,) * 4000},
    "bodies beyond any directory": {"records": 4096, "index_size": 100, "bucket_sizes": (2 << 20,) * 128},
    "standing for nobody": {"records": 1, "index_size": 100, "standing_size": 16 << 20, "bucket_sizes": (100,)},
    "another shard": {"shard": 1, "shards": 2},
}


@pytest.mark.parametrize("what", HUGE)
async def test_a_holder_may_not_announce_gigabytes(what: str) -> None:
    asked: list[object] = []

    def answer(question: object) -> object:
        asked.append(question)
        return announced(key_of("lying holder"), **HUGE[what])

    with trio.fail_after(PATIENCE):
        async with a_lying_holder(answer) as where:
            rng = SystemRng()
            finder = Finder(Routes(where.addrs, rng=rng, clock=CLOCK), rng=rng, clock=CLOCK)
            with pytest.raises(RemoteError, match="snapshot"):
                await finder.fetch(Holder(where, "liar"))
    assert not any(isinstance(question, PartWanted) for question in asked)


async def test_a_refusal_cannot_paint_the_terminal() -> None:
    def answer(question: object) -> object:
        assert isinstance(question, NodesWanted)
        return Refused("no\x1b[2J", "look \x1b]0;owned\x07 here", "type\u202e this\r\n")

    with trio.fail_after(PATIENCE):
        async with a_lying_holder(answer) as where, a_host(listen=()) as client:
            peer = await client.connect(where.addrs[0])
            async with await client.open_channel(peer, PROTOCOL) as channel:
                with pytest.raises(RefusedError) as error:
                    await call(channel, NodesWanted((), 1), (Manifest,))
    said = f"{error.value.code}{error.value.message}{error.value.hint}"
    assert said.isprintable()
    assert isinstance(error.value, WarmlineError)


# --- many names, one machine -----------------------------------------------------------------------------------------


def at(name: str, where: str, operator: str) -> Holder:
    peer = key_of(name).peer_id
    return Holder(NodeAddress(peer, (f"{where}/tcp/4001/p2p/{peer}",)), operator)


def test_twenty_names_on_one_network_are_one_voice() -> None:
    """Before, whoever wrote twenty operators' names into twenty node records was twenty voices of a search."""
    sybils = [at(f"s{n}", f"/ip4/51.15.{n}.9", f"house {n}") for n in range(20)]
    honest = [at("a", "/ip4/81.2.3.4", "Lisbon"), at("b", "/dns4/node.porto.example.org", "Porto")]
    voices = one_voice_a_network([*sybils, *honest])
    assert len({holder.operator for holder in voices}) == 3
    assert [holder.address for holder in voices] == [holder.address for holder in [*sybils, *honest]]


def test_one_operator_in_two_networks_joins_them() -> None:
    both = one_voice_a_network(
        [at("a", "/ip4/51.15.1.1", "one"), at("b", "/ip4/81.2.3.4", "one"), at("c", "/ip4/81.2.9.9", "two")]
    )
    assert len({holder.operator for holder in both}) == 1


def test_names_under_one_domain_are_one_voice() -> None:
    named = [at(f"d{n}", f"/dns4/n{n}.evil.example.com", f"house {n}") for n in range(5)]
    assert len({holder.operator for holder in one_voice_a_network(named)}) == 1


def test_private_addresses_say_nothing_of_operators() -> None:
    local = [at(f"l{n}", "/ip4/127.0.0.1", f"house {n}") for n in range(3)]
    assert one_voice_a_network(local) == local


# --- publishing the same again and again ---------------------------------------------------------------------------


async def test_one_publisher_cannot_make_a_node_shout() -> None:
    """Five hundred a second were taken, and each was told to the whole network."""
    start = CLOCK.utc_ms()
    chain = make.FixedStanding(make.head(at_ms=start), make.standing(until_ms=start + 10**9))
    slow = replace(QUICK, publish_rate=0.001, publish_burst=5)
    async with a_directory("home", settings=slow, standing=chain) as node, a_host(listen=()) as client:
        with trio.fail_after(PATIENCE):
            peer = await client.connect(node.addr)
            async with await client.open_channel(peer, PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX) as channel:
                for number in range(5):
                    again = make.signed_listing("loud", at_ms=start + number, wallet=False)
                    assert (await call(channel, Publish(again), (Published,))).verdict == "accept"
                with pytest.raises(RefusedError) as error:
                    again = make.signed_listing("loud", at_ms=start + 9, wallet=False)
                    await call(channel, Publish(again), (Published,))
                assert error.value.code == "busy"
                vouched = await call(channel, Publish(make.signed_listing(at_ms=start)), (Published,))
                assert (vouched.verdict, vouched.verified) == ("accept", True)
