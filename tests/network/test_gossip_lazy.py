"""Announcements in batches, bodies on a miss: what arrives, what it costs, and what liars get from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from trio.testing import MockClock

from support.hosts import PATIENCE, a_host, raw_stream
from warmline.net.gossip import Gossip, GossipSettings, Subscription, open_gossip
from warmline.net.gossip_conduct import PROMISES_MAX
from warmline.net.gossip_lazy import ANNOUNCED_FROM, ASK_SECONDS, BATCH_SECONDS, Announcements, Wanted
from warmline.net.gossip_pubsub import SIGNING_PREFIX, message_id
from warmline.net.gossip_router import PROTOCOL
from warmline.net.host import Libp2pHost
from warmline_protocol.codec import frame
from warmline_protocol.verdict import Verdict

TOPIC = "test/lazy/1"
BODY = 1200
"""Bytes, as a listing has."""
ANNOUNCING = GossipSettings(eager=0, heartbeat=30.0)
"""Nothing is pushed, and no heartbeat tells of it a second time."""


def accept(data: bytes, peer: str) -> Verdict:
    return Verdict.ACCEPT


def body(number: int) -> bytes:
    return b"%08d" % number + bytes(BODY)


@asynccontextmanager
async def a_node(name: str, settings: GossipSettings) -> AsyncIterator[tuple[Libp2pHost, Gossip, Subscription]]:
    async with (
        a_host(name=name) as host,
        open_gossip(host, settings) as gossip,
        gossip.subscribe(TOPIC, accept) as heard,
    ):
        yield host, gossip, heard


async def told_by_all(count: int, messages: int, settings: GossipSettings) -> dict[str, int]:
    """Everybody knows everybody; each message reaches all. The sums of the counters."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(a_node(f"crowd {n}", settings)) for n in range(count)]
        for number, (host, _, _) in enumerate(nodes):
            for other, _, _ in nodes[:number]:
                await host.connect(other.addrs()[0])
        with trio.fail_after(PATIENCE):
            for _, gossip, _ in nodes:
                await gossip.wait_peers(TOPIC, count - 1)
        await meshed([gossip for _, gossip, _ in nodes], settings.degree_low)
        before = totals([gossip for _, gossip, _ in nodes])
        for number in range(messages):
            await nodes[number % count][1].publish(TOPIC, body(number))
        with trio.fail_after(PATIENCE):
            for number, (_, _, heard) in enumerate(nodes):
                wanted = {body(each) for each in range(messages) if each % count != number}
                while wanted:
                    wanted.discard((await anext(heard)).data)
        after = totals([gossip for _, gossip, _ in nodes])
        return {name: after[name] - before[name] for name in after}


async def meshed(nodes: Sequence[Gossip], least: int) -> None:
    with trio.fail_after(PATIENCE):
        while any(len(gossip.mesh(TOPIC)) < least for gossip in nodes):  # noqa: ASYNC110 - a mesh has no event
            await trio.sleep(0.05)


def totals(nodes: Sequence[Gossip]) -> dict[str, int]:
    told = [gossip.statistics() for gossip in nodes]
    return {name: sum(each[name] for each in told) for name in told[0]}


async def test_everybody_hears_everything_once_and_forwarding_costs_ids_instead_of_bodies() -> None:
    pushing = await told_by_all(10, 30, GossipSettings(eager=12))
    announcing = await told_by_all(10, 30, GossipSettings())
    assert pushing["accepted"] == announcing["accepted"] == 30 * 9
    assert announcing["sent_bytes"] < 0.6 * pushing["sent_bytes"]
    assert announcing["announced"] > 0
    assert pushing["announced"] == 0


@asynccontextmanager
async def line(stack: AsyncExitStack) -> AsyncIterator[tuple[Libp2pHost, Gossip, Subscription, Gossip]]:
    """author - forwarder - victim, of whom the forwarder announces only; yields the victim's and the author's side."""
    _, author, _ = one = await stack.enter_async_context(a_node("author", ANNOUNCING))
    middle, forwarder, _ = await stack.enter_async_context(a_node("forwarder", ANNOUNCING))
    host, victim, heard = await stack.enter_async_context(a_node("victim", ANNOUNCING))
    await one[0].connect(middle.addrs()[0])
    await host.connect(middle.addrs()[0])
    with trio.fail_after(PATIENCE):
        await author.wait_peers(TOPIC)
        await forwarder.wait_peers(TOPIC, 2)
        await victim.wait_peers(TOPIC)
        while middle.peer_id not in victim.mesh(TOPIC) or host.peer_id not in forwarder.mesh(TOPIC):  # noqa: ASYNC110
            forwarder._pubsub.router.mesh[TOPIC].add(ID.from_string(host.peer_id))
            victim._pubsub.router.mesh[TOPIC].add(ID.from_string(middle.peer_id))
            await trio.sleep(0.05)
    yield host, victim, heard, author


Attack = Callable[[Libp2pHost, Any, Sequence[bytes]], Awaitable[None]]


async def beside_a_liar(attack: Attack, *, messages: int = 3) -> dict[str, int]:
    """The victim hears from a liar first; what it hears and counts when all honest messages have come."""
    async with AsyncExitStack() as stack:
        host, victim, heard, author = await stack.enter_async_context(line(stack))
        liar = await stack.enter_async_context(a_host(name="liar", listen=()))
        peer = await liar.connect(host.addrs()[0])
        stream = await raw_stream(liar, peer, PROTOCOL)
        hello = rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)])
        await stream.write(frame(hello.SerializeToString()))
        bodies = [body(number) for number in range(messages)]
        before = victim.statistics()
        await attack(liar, stream, bodies)
        with trio.fail_after(PATIENCE):
            while victim.statistics()["fetches"] == before["fetches"]:  # noqa: ASYNC110 - a counter has no event
                await trio.sleep(0.02)
            for data in bodies:
                await author.publish(TOPIC, data)
            wanted = set(bodies)
            while wanted:
                wanted.discard((await anext(heard)).data)
        after = victim.statistics()
        return {name: after[name] - before[name] for name in after}


def mid_of(data: bytes) -> bytes:
    return message_id(rpc_pb2.Message(data=data, topicIDs=[TOPIC]))


def offer(*mids: bytes) -> bytes:
    batches = [mids[start : start + 64] for start in range(0, len(mids), 64)]
    offers = [rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=batch) for batch in batches]
    return frame(rpc_pb2.RPC(control=rpc_pb2.ControlMessage(ihave=offers)).SerializeToString())


async def test_what_an_announcer_never_serves_is_fetched_from_the_next() -> None:
    async def attack(liar: Libp2pHost, stream: Any, bodies: Sequence[bytes]) -> None:
        await stream.write(offer(*map(mid_of, bodies)))

    counts = await beside_a_liar(attack)
    assert counts["accepted"] == 3
    assert counts["fetches"] == 6  # of the liar and, a second later, of the honest one
    assert counts["rejected"] == 0  # not provably broken: it may be slow


async def test_garbage_for_an_announced_id_counts_against_whoever_served_it_and_silences_nobody() -> None:
    async def attack(liar: Libp2pHost, stream: Any, bodies: Sequence[bytes]) -> None:
        await stream.write(offer(*map(mid_of, bodies)))
        author = liar.raw.get_id().to_bytes()
        for data in list(bodies) * 4:
            message = rpc_pb2.Message(from_id=author, data=data, seqno=bytes(8), topicIDs=[TOPIC])
            message.signature = liar.raw.get_private_key().sign(SIGNING_PREFIX + b"something else")
            await stream.write(frame(rpc_pb2.RPC(publish=[message]).SerializeToString()))

    counts = await beside_a_liar(attack)
    assert counts["accepted"] == 3
    assert counts["rejected"] == 5  # then nothing is taken from it any more
    assert counts["from_graylisted"] > 0


async def test_a_million_announced_ids_are_asked_for_in_small_numbers_and_honest_ones_come_through() -> None:
    async def attack(liar: Libp2pHost, stream: Any, bodies: Sequence[bytes]) -> None:
        for start in range(0, 100_000, 2_000):
            await stream.write(offer(*(b"%020d" % number for number in range(start, start + 2_000))))

    counts = await beside_a_liar(attack)
    assert counts["accepted"] == 3
    assert counts["fetches"] <= 2 * PROMISES_MAX + 3
    assert counts["awaited"] <= PROMISES_MAX


async def test_one_message_is_served_to_one_peer_once_however_often_it_asks() -> None:
    async with a_node("author", ANNOUNCING) as (host, author, _), a_host(name="greedy", listen=()) as greedy:
        peer = await greedy.connect(host.addrs()[0])
        stream = await raw_stream(greedy, peer, PROTOCOL)
        await author.publish(TOPIC, body(1))
        mid = mid_of(body(1))
        router = author._pubsub.router
        served: list[bytes] = []
        send = router.send_rpc

        def noting(to: ID, rpc: rpc_pb2.RPC, priority: bool = False) -> None:
            served.extend(message.data for message in rpc.publish)
            send(to, rpc, priority)

        router.send_rpc = noting  # type: ignore[method-assign, assignment]
        want = rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=[mid] * 64)])
        asked = frame(rpc_pb2.RPC(control=want).SerializeToString())
        for _ in range(5):
            await stream.write(asked)
        with trio.fail_after(PATIENCE):
            while not served:  # noqa: ASYNC110 - sending has no event
                await trio.sleep(0.02)
            await trio.testing.wait_all_tasks_blocked(0.1)
        assert served == [body(1)]


def test_the_first_id_goes_at_once_and_the_rest_together() -> None:
    async def scenario() -> None:
        sent: list[tuple[float, list[bytes]]] = []
        began = trio.current_time()
        told = Announcements(lambda peer, topic, ids: sent.append((trio.current_time() - began, list(ids))))
        peer = ID(b"peer")
        for number in range(20):
            told.add(peer, TOPIC, b"%d" % number)
            await trio.sleep(0.01)
            told.flush()
        await trio.sleep(BATCH_SECONDS)
        assert told.flush() == float("inf")
        assert len(sent[0][1]) == 1
        assert sum(len(ids) for _, ids in sent) == 20
        assert len(sent) <= 2 + 0.2 / BATCH_SECONDS

    trio.run(scenario, clock=MockClock(autojump_threshold=0))


def test_a_body_is_asked_of_one_announcer_after_another_and_then_given_up() -> None:
    async def scenario() -> None:
        wanted = Wanted()
        peers = [ID(b"%d" % number) for number in range(3)]
        assert [wanted.offered(b"x", peer) for peer in (*peers, peers[1])] == [True, False, False, False]
        asked = []
        for _ in range(4):
            assert list(wanted.overdue()) == []
            await trio.sleep(ASK_SECONDS + 0.001)
            asked.append([peer for _, peer in wanted.overdue()])
        assert asked == [[peers[1]], [peers[2]], [], []]
        assert len(wanted) == 0
        assert wanted.offered(b"x", peers[0])
        wanted.arrived(b"x")
        assert len(wanted) == 0

    trio.run(scenario, clock=MockClock(autojump_threshold=0))


def test_short_messages_are_not_worth_an_announcement() -> None:
    assert ANNOUNCED_FROM < BODY
