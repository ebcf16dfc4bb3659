"""Gossip between real hosts: delivery, verdicts, deferral, bounds and closing."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from itertools import pairwise

import pytest
import trio

from warmline.env import SeededRng, SystemClock
from warmline.net.gossip import Gossip, GossipMessage, GossipSettings, Subscription, open_gossip
from warmline.net.host import HostSettings, Libp2pHost, open_host
from warmline_protocol.errors import LocalError
from warmline_protocol.keys import SigningKey
from warmline_protocol.limits import GOSSIP_DATA_MAX
from warmline_protocol.verdict import Verdict

TOPIC = "test/announce/1"


def accept(data: bytes, peer: str) -> Verdict:
    return Verdict.ACCEPT


@asynccontextmanager
async def nodes(count: int, settings: GossipSettings | None = None) -> AsyncIterator[list[tuple[Libp2pHost, Gossip]]]:
    async with AsyncExitStack() as stack:
        made = []
        for number in range(count):
            host = await stack.enter_async_context(
                open_host(
                    HostSettings(listen=("/ip4/127.0.0.1/tcp/0",)),
                    key=SigningKey(sha256(b"gossip %d" % number).digest()),
                    rng=SeededRng(number),
                    clock=SystemClock(),
                )
            )
            made.append((host, await stack.enter_async_context(open_gossip(host, settings))))
        yield made


async def chain(made: Sequence[tuple[Libp2pHost, Gossip]]) -> None:
    for (left, _), (right, _) in pairwise(made):
        await left.connect(right.addrs()[0])


async def first(subscription: Subscription) -> GossipMessage:
    with trio.fail_after(30):
        return await anext(subscription)


async def test_a_message_travels_over_a_chain_and_names_who_forwarded_it() -> None:
    async with nodes(3) as made, AsyncExitStack() as stack:
        (_, a), (b_host, b), (_, c) = made
        heard = [await stack.enter_async_context(g.subscribe(TOPIC, accept)) for g in (a, b, c)]
        await chain(made)
        with trio.fail_after(30):
            await a.wait_peers(TOPIC, 1)
            await b.wait_peers(TOPIC, 2)
        for number in range(40):
            await a.publish(TOPIC, b"hello %d" % number)
        got = [await first(heard[2]) for _ in range(40)]
        assert sorted(m.data for m in got) == sorted(b"hello %d" % n for n in range(40))
        assert {m.source_peer for m in got} == {b_host.peer_id}
        assert a.statistics()["accepted"] == 0


async def test_gossip_that_opens_after_the_connection_and_late_subscribers_still_hear() -> None:
    async with nodes(2) as made, AsyncExitStack() as stack:
        (_, a), (_, b) = made
        await chain(made)
        await stack.enter_async_context(a.subscribe(TOPIC, accept))
        await a.publish(TOPIC, b"early")
        heard = await stack.enter_async_context(b.subscribe(TOPIC, accept))
        assert (await first(heard)).data == b"early"


@pytest.mark.parametrize("verdict", [Verdict.IGNORE, Verdict.REJECT, Verdict.DEFER])
async def test_what_is_not_accepted_is_neither_delivered_nor_forwarded(verdict: Verdict) -> None:
    async with nodes(3) as made, AsyncExitStack() as stack:
        (a_host, a), (_, b), (_, c) = made
        judged = trio.Event()

        def judge(data: bytes, peer: str) -> Verdict:
            assert peer == a_host.peer_id
            if data == b"doubtful":
                return verdict
            judged.set()
            return Verdict.ACCEPT

        await stack.enter_async_context(a.subscribe(TOPIC, accept))
        await stack.enter_async_context(b.subscribe(TOPIC, judge))
        heard = await stack.enter_async_context(c.subscribe(TOPIC, accept))
        await chain(made)
        with trio.fail_after(30):
            await a.wait_peers(TOPIC, 1)
            await b.wait_peers(TOPIC, 2)
            await a.publish(TOPIC, b"doubtful")
            await a.publish(TOPIC, b"good")
            await judged.wait()
        assert (await first(heard)).data == b"good"
        counts = b.statistics()
        assert counts["accepted"] == 1
        assert counts["rejected"] == (verdict is Verdict.REJECT)
        assert counts["held"] == (verdict is Verdict.DEFER)
        assert b.graylisted() == ()


async def test_a_deferred_message_travels_once_the_judge_knows_more() -> None:
    async with nodes(3) as made, AsyncExitStack() as stack:
        (_, a), (_, b), (_, c) = made
        known = False
        judged: list[bytes] = []
        doubted = trio.Event()

        def judge(data: bytes, peer: str) -> Verdict:
            judged.append(data)
            doubted.set()
            return Verdict.ACCEPT if known else Verdict.DEFER

        await stack.enter_async_context(a.subscribe(TOPIC, accept))
        at_b = await stack.enter_async_context(b.subscribe(TOPIC, judge))
        at_c = await stack.enter_async_context(c.subscribe(TOPIC, accept))
        await chain(made)
        with trio.fail_after(30):
            await a.wait_peers(TOPIC, 1)
            await b.wait_peers(TOPIC, 2)
            await a.publish(TOPIC, b"chain doubt")
            await doubted.wait()
        await b.reconsider()
        assert b.statistics()["held"] == 1
        known = True
        await b.reconsider()
        assert (await first(at_b)).data == b"chain doubt"
        assert (await first(at_c)).data == b"chain doubt"
        assert b.statistics()["held"] == 0
        assert judged == [b"chain doubt"] * 3


async def test_the_pool_of_deferred_messages_is_bounded_per_peer() -> None:
    async with nodes(2) as made, AsyncExitStack() as stack:
        (_, a), (_, b) = made
        seen = 0
        enough = trio.Event()

        def defer(data: bytes, peer: str) -> Verdict:
            nonlocal seen
            seen += 1
            if seen == 200:
                enough.set()
            return Verdict.DEFER

        await stack.enter_async_context(a.subscribe(TOPIC, accept))
        await stack.enter_async_context(b.subscribe(TOPIC, defer))
        await chain(made)
        with trio.fail_after(30):
            await a.wait_peers(TOPIC, 1)
            for number in range(200):
                await a.publish(TOPIC, b"%d" % number)
            await enough.wait()
        assert b.statistics()["held"] == 1024 // 8
        assert b.graylisted() == ()


async def test_too_large_a_message_is_the_publishers_own_error() -> None:
    async with nodes(1) as made:
        _, gossip = made[0]
        with pytest.raises(LocalError) as caught:
            await gossip.publish(TOPIC, bytes(GOSSIP_DATA_MAX + 1))
        assert "65537" in caught.value.message
        with pytest.raises(LocalError):
            await gossip.publish("t" * 129, b"x")


async def test_the_largest_message_arrives() -> None:
    async with nodes(2) as made, AsyncExitStack() as stack:
        (_, a), (_, b) = made
        heard = await stack.enter_async_context(b.subscribe(TOPIC, accept))
        await chain(made)
        with trio.fail_after(30):
            await a.wait_peers(TOPIC, 1)
        await a.publish(TOPIC, bytes(GOSSIP_DATA_MAX))
        assert len((await first(heard)).data) == GOSSIP_DATA_MAX


async def test_a_subscriber_that_does_not_read_loses_the_oldest_and_is_told_how_many() -> None:
    async with nodes(2, GossipSettings(subscriber_queue=8)) as made, AsyncExitStack() as stack:
        (_, a), (_, b) = made
        done = trio.Event()

        def judge(data: bytes, peer: str) -> Verdict:
            if data == b"29":
                done.set()
            return Verdict.ACCEPT

        heard = await stack.enter_async_context(b.subscribe(TOPIC, judge))
        await chain(made)
        with trio.fail_after(30):
            await a.wait_peers(TOPIC, 1)
            for number in range(30):
                await a.publish(TOPIC, b"%d" % number)
            await done.wait()
        assert [(await first(heard)).data for _ in range(8)] == [b"%d" % n for n in range(22, 30)]
        assert heard.dropped == 22


async def test_a_judge_that_raises_blames_nobody_and_ends_nothing() -> None:
    async with nodes(2) as made, AsyncExitStack() as stack:
        (_, a), (_, b) = made

        def judge(data: bytes, peer: str) -> Verdict:
            if data == b"trap":
                raise ZeroDivisionError
            return Verdict.ACCEPT

        heard = await stack.enter_async_context(b.subscribe(TOPIC, judge))
        await chain(made)
        with trio.fail_after(30):
            await a.wait_peers(TOPIC, 1)
        await a.publish(TOPIC, b"trap")
        await a.publish(TOPIC, b"fine")
        assert (await first(heard)).data == b"fine"
        assert b.statistics()["judge_errors"] == 1
        assert b.graylisted() == ()


async def test_closing_sends_what_is_queued_and_leaves_no_thread_and_no_handler() -> None:
    threads = threading.active_count()
    async with nodes(1) as made, AsyncExitStack() as stack:
        (host, b) = made[0]
        heard = await stack.enter_async_context(b.subscribe(TOPIC, accept))
        async with open_host(HostSettings(), key=SigningKey(bytes(32)), rng=SeededRng(9), clock=SystemClock()) as other:
            for round_ in range(3):
                async with open_gossip(other) as gossip:
                    await other.connect(host.addrs()[0])
                    with trio.fail_after(30):
                        await gossip.wait_peers(TOPIC, 1)
                    await gossip.publish(TOPIC, b"last words %d" % round_)
                assert (await first(heard)).data == b"last words %d" % round_
    assert threading.active_count() <= threads + 1


async def test_two_subscriptions_of_one_topic_are_a_usage_error() -> None:
    async with nodes(1) as made:
        _, gossip = made[0]
        async with gossip.subscribe(TOPIC, accept):
            with pytest.raises(LocalError):
                async with gossip.subscribe(TOPIC, accept):
                    pass
        async with gossip.subscribe(TOPIC, accept):
            pass
