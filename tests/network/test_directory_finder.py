"""A client that knows one node finds what was published at nodes it never heard of."""

from __future__ import annotations

import pytest
import trio

from support import records as make
from support.directories import a_directory, a_network
from support.hosts import PATIENCE
from warmline.client.finder import Finder, FinderSettings, Progress
from warmline.client.matching import Wanted
from warmline.client.routes import Routes
from warmline.env import SystemClock, SystemRng
from warmline_protocol.errors import UnreachableError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.envelope import open_record
from warmline_protocol.records.listing import Slot
from warmline_protocol.records.messages import TOPIC, dht_key

CLOCK = SystemClock()


def now() -> int:
    return CLOCK.utc_ms()


def finder(*entries: str, **settings: object) -> Finder:
    rng = SystemRng()
    chosen = FinderSettings(**settings)  # type: ignore[arg-type]  # a test's shorthand
    return Finder(Routes(entries, rng=rng, clock=CLOCK), rng=rng, clock=CLOCK, settings=chosen)


async def test_from_one_entry_to_groups_of_nodes_never_heard_of() -> None:
    told: list[Progress] = []
    async with a_network("a", "b", "c", "d") as nodes:
        with trio.fail_after(2 * PATIENCE):
            await nodes[3].directory.publish(make.signed_listing(at_ms=now(), topics=("grief",)))
            other = make.signed_listing("ben", at_ms=now(), languages=("pt-BR",), topics=("burnout",))
            answer = await nodes[2].directory.publish(other)
            for node in nodes:
                await node.directory.wait_record(answer.id)
            found = await finder(nodes[0].addr).find(Wanted(), told.append)
            assert {match.listing.topics for match in found.matches} == {("grief",), ("burnout",)}
            assert found.operators >= 3
            assert found.nodes_known == 4
            assert len([progress for progress in told if progress.matches]) >= 1
            only = await finder(nodes[0].addr).find(Wanted(languages=("pt",)))
            assert [match.listing.topics for match in only.matches] == [("burnout",)]
            assert not found.matches[0].vouching.verified


async def test_the_holders_never_see_the_client_and_the_entry_never_sees_the_question() -> None:
    async with a_network("a", "b", "c") as nodes:
        with trio.fail_after(2 * PATIENCE):
            before = {node.host.peer_id for node in nodes}
            seen: set[str] = set()
            for node in nodes[1:]:
                node.host.on_peer_change(lambda peer, connected: seen.add(peer))
            await finder(nodes[0].addr, holders=2).find(Wanted())
            strangers = seen - before
            assert len(strangers) >= 2  # a new key for each fetch and each question
            for node in nodes[1:]:
                store = node.host.raw.get_peerstore()
                for peer in store.peer_ids():
                    if str(peer) in strangers:
                        assert not [addr for addr in store.addrs(peer) if "p2p-circuit" not in str(addr)]


async def test_three_operators_make_it_verified_and_two_say_that_they_are_two() -> None:
    start = now()
    chain = make.FixedStanding(make.head(at_ms=start), make.standing(until_ms=start + 10**9))
    async with a_network("a", "b", "c", "d", standings=dict.fromkeys("abcd", chain)) as nodes:
        with trio.fail_after(2 * PATIENCE):
            answer = await nodes[1].directory.publish(make.signed_listing(at_ms=start))
            assert answer.verified
            for node in nodes:
                await node.directory.wait_record(answer.id)
            (match,) = (await finder(nodes[0].addr).find(Wanted())).matches
            assert match.vouching.words == "verified"
            (match,) = (await finder(nodes[0].addr, holders=2).find(Wanted())).matches
            assert match.vouching.words == "verified by 2 of 2"


async def test_publishing_goes_over_a_circuit_and_travels() -> None:
    async with a_network("a", "b", "c") as nodes:
        with trio.fail_after(2 * PATIENCE):
            for node in nodes:
                assert node.gossip is not None
                await node.gossip.wait_peers(TOPIC)
            records = [make.signed_listing(slug=f"group-{i}", at_ms=now()) for i in range(5)]
            answers = await finder(nodes[0].addr).publish(records)
            assert [answer.verdict for answer in answers] == ["accept"] * 5
            for node in nodes:
                for answer in answers:
                    await node.directory.wait_record(answer.id)
            homes = [sum(held.home for held in node.directory.shelf.index) for node in nodes]
            assert homes[0] == 1  # only its own record: it was the entry


async def test_one_node_alone_serves_its_own_entry_and_the_client_says_so() -> None:
    async with a_directory("a", dht=True, relay=True) as node:
        with trio.fail_after(2 * PATIENCE):
            await node.directory.publish(make.signed_listing(at_ms=now(), slots=(Slot(2, 600, 60),)))
            found = await finder(node.addr, lookup_deadline=3.0).find(Wanted())
            assert len(found.matches) == 1
            assert found.weak


async def test_an_entry_that_is_not_there_is_explained() -> None:
    peer = SigningKey(bytes(32)).peer_id
    with trio.fail_after(2 * PATIENCE), pytest.raises(UnreachableError) as error:
        await finder(f"/ip4/127.0.0.1/tcp/1/p2p/{peer}").find(Wanted())
    assert "online" in error.value.hint


async def test_the_home_node_keeps_its_records_in_the_dht() -> None:
    async with a_network("a", "b", "c") as nodes:
        with trio.fail_after(2 * PATIENCE):
            data = make.signed_listing(at_ms=now())
            answer = await nodes[0].directory.publish(data)
            key = dht_key(answer.id)
            for node in nodes[1:]:
                assert node.dht is not None
                while await node.dht.get(key) != data:  # noqa: ASYNC110 - the put goes on behind the answer
                    await trio.sleep(0.05)


async def test_the_dht_takes_no_record_under_another_key_and_none_that_expired() -> None:
    async with a_network("a", "b") as nodes:
        with trio.fail_after(2 * PATIENCE):
            dht = nodes[0].dht
            assert dht is not None
            good, old = make.signed_listing(at_ms=now()), make.signed_listing(at_ms=now() - 3 * 86_400_000)
            for key, value in (("/warm/" + "00" * 32, good), (dht_key(open_record(old).id), old)):
                with pytest.raises(WarmlineError):
                    await dht.put(key, value)
                assert nodes[1].dht is not None
                assert await nodes[1].dht.get(key) is None
