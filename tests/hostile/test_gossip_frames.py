"""Raw frames on /meshsub against a node in another process, which must serve an honest peer afterwards."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
import trio
from libp2p.host.exceptions import StreamFailure
from libp2p.network.stream.exceptions import StreamError
from libp2p.pubsub.pb import rpc_pb2

from support.hosts import PATIENCE, Ready, a_host, raw_stream, uvarint
from support.processes import Child, running
from warmline.net.gossip import Gossip, open_gossip
from warmline.net.gossip_pubsub import SIGNING_PREFIX
from warmline.net.gossip_router import PROTOCOL
from warmline.net.host import Libp2pHost
from warmline_protocol.codec import frame
from warmline_protocol.limits import GOSSIP_DATA_MAX, GOSSIP_FRAME_MAX
from warmline_protocol.verdict import Verdict

TOPIC = "hostile/announce/1"
STATISTICS = "/warmline/test/gossip-statistics/1"


def judge(data: bytes, peer: str) -> Verdict:
    """Verdicts by the first byte, as a judge that trusts nobody would give them."""
    if data.startswith(b"raise"):
        raise RuntimeError("a judge with a defect")
    verdicts = {b"i": Verdict.IGNORE, b"r": Verdict.REJECT, b"d": Verdict.DEFER}
    return verdicts.get(data[:1], Verdict.ACCEPT)


async def gossip_node(ready: Ready) -> None:
    """Echoes what it hears as ``heard <hash>`` and tells its counters."""
    async with a_host() as host, open_gossip(host) as gossip, gossip.subscribe(TOPIC, judge) as heard:

        async def statistics(channel: Any) -> None:
            await channel.receive()
            await channel.send(json.dumps(gossip.statistics()).encode())

        host.serve(STATISTICS, statistics, max_frame=1 << 16, max_channels_per_peer=8)
        ready({"peer": host.peer_id, "addrs": host.addrs()})
        async for message in heard:
            if message.data.startswith(b"ask"):
                await gossip.publish(TOPIC, b"heard " + sha256(message.data).hexdigest().encode())


@pytest.fixture(scope="module")
def node() -> Iterator[Child]:
    with running(__file__, "gossip_node") as child:
        yield child
        assert child.alive, child.stderr


async def serves_an_honest_peer(node: Child) -> None:
    """A new peer publishes and hears the node's answer."""
    question = b"ask " + str(trio.current_time()).encode()
    answer = b"heard " + sha256(question).hexdigest().encode()
    with trio.fail_after(PATIENCE):
        async with a_host() as host, open_gossip(host) as gossip:
            await asks(node, host, gossip, question, answer)


async def asks(node: Child, host: Libp2pHost, gossip: Gossip, question: bytes, answer: bytes) -> None:
    async with gossip.subscribe(TOPIC, lambda data, peer: Verdict.ACCEPT) as heard:
        await host.connect(node.facts["addrs"][0])
        await gossip.wait_peers(TOPIC)
        await gossip.publish(TOPIC, question)
        async for message in heard:
            if message.data == answer:
                return


async def statistics(node: Child) -> dict[str, int]:
    async with a_host(listen=()) as host:
        peer = await host.connect(node.facts["addrs"][0])
        async with await host.open_channel(peer, STATISTICS, max_frame=1 << 16) as channel:
            await channel.send(b"?")
            numbers: dict[str, int] = json.loads(await channel.receive())
            return numbers


async def grown(node: Child, name: str, before: dict[str, int], by: int = 1) -> dict[str, int]:
    """The node's counters, once ``name`` has grown ``by`` so many since ``before``."""
    with trio.fail_after(PATIENCE):
        while True:
            after = await statistics(node)
            if after[name] - before[name] >= by:
                return after
            await trio.sleep(0.1)


def rpc(**fields: Any) -> bytes:
    return frame(rpc_pb2.RPC(**fields).SerializeToString())


def control(**fields: Any) -> bytes:
    return rpc(control=rpc_pb2.ControlMessage(**fields))


def signed(host: Libp2pHost, data: bytes, *, topic: str = TOPIC, seqno: bytes = bytes(8)) -> rpc_pb2.Message:
    author = host.raw.get_id().to_bytes()
    message = rpc_pb2.Message(from_id=author, data=data, seqno=seqno, topicIDs=[topic])
    message.signature = host.raw.get_private_key().sign(SIGNING_PREFIX + message.SerializeToString())
    return message


def publish(*messages: rpc_pb2.Message) -> bytes:
    return rpc(publish=messages)


def message(**fields: Any) -> bytes:
    return publish(rpc_pb2.Message(**{"topicIDs": [TOPIC], "data": b"x", **fields}))


FRAMES: dict[str, bytes] = {
    "not protobuf": frame(b"\xff\xff\xff\xff"),
    "empty frame": frame(b""),
    "a tebibyte announced": uvarint(1 << 40),
    "an endless length": b"\x80" * 64,
    "cut in the middle": uvarint(100) + b"half",
    "above the frame cap": frame(bytes(GOSSIP_FRAME_MAX + 1)),
    "foreign author with a junk key": message(from_id=b"\x12\x20" + bytes(32), key=b"junk", signature=b"s", seqno=b"1"),
    "no author": message(seqno=bytes(8), signature=bytes(64)),
    "empty seqno": message(from_id=bytes.fromhex("002408011220") + bytes(32), signature=bytes(64)),
    "no signature": message(from_id=bytes.fromhex("002408011220") + bytes(32), seqno=bytes(8)),
    "oversize data": message(data=bytes(GOSSIP_DATA_MAX + 1)),
    "two topics": message(topicIDs=[TOPIC, TOPIC]),
    "no topic": message(topicIDs=[]),
    "bad UTF-8 topic": frame(b"\x12\x06\x22\x04\xff\xfe\xfd\xfc"),
    "bad UTF-8 subscription": frame(b"\x0a\x06\x08\x01\x12\x02\xff\xfe"),
    "junk sender record": rpc(senderRecord=b"\xff" * 200, subscriptions=[{"subscribe": True, "topicid": TOPIC}]),
    "thousands of subscriptions": rpc(subscriptions=[{"subscribe": True, "topicid": f"t{n}"} for n in range(5000)]),
    "a topic name of 100 kB": rpc(subscriptions=[{"subscribe": True, "topicid": "t" * 100_000}]),
    "IHAVE of junk": control(ihave=[{"topicID": TOPIC, "messageIDs": [b"", b"\xff" * 1000, b"zz"]}]),
    "IHAVE of thousands": control(ihave=[{"topicID": TOPIC, "messageIDs": [b"%20d" % n for n in range(5000)]}]),
    "IWANT of thousands": control(iwant=[{"messageIDs": [b"%20d" % n for n in range(5000)]}]),
    "GRAFT of unknown topics": control(graft=[{"topicID": f"g{n}"} for n in range(3000)]),
    "PRUNE for ever with peers": control(
        prune=[{"topicID": TOPIC, "backoff": 2**63, "peers": [{"peerID": b"junk", "signedPeerRecord": b"j"}] * 50}]
    ),
    "PRUNE of unknown topics": control(prune=[{"topicID": f"p{n}", "backoff": 9} for n in range(3000)]),
    "IDONTWANT and extensions": control(idontwant=[{"messageIDs": [b"x" * 20] * 100}]),
    "a thousand empty messages": publish(*[rpc_pb2.Message()] * 1000),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_a_frame_costs_its_sender_at_most_the_stream(node: Child, name: str) -> None:
    async with a_host(listen=()) as host:
        peer = await host.connect(node.facts["addrs"][0])
        stream = await raw_stream(host, peer, PROTOCOL)
        with suppress(Exception):  # the node may hang up at any point, which is a fine answer
            await stream.write(rpc(subscriptions=[{"subscribe": True, "topicid": TOPIC}]))
            await stream.write(FRAMES[name])
            await stream.write(FRAMES[name])
        await serves_an_honest_peer(node)
    assert node.alive, node.stderr


async def with_stream(node: Child, attack: Callable[[Libp2pHost, Any], Awaitable[None]]) -> None:
    async with a_host() as host:
        peer = await host.connect(node.facts["addrs"][0])
        with suppress(Exception):  # as above
            await attack(host, await raw_stream(host, peer, PROTOCOL))
        await serves_an_honest_peer(node)
    assert node.alive, node.stderr


async def test_the_connection_dies_under_traffic(node: Child) -> None:
    async def attack(host: Libp2pHost, stream: Any) -> None:
        await stream.write(publish(*[signed(host, b"x%d" % n) for n in range(50)]) + b"\x90\x4e partial")
        for connection in host.raw.get_network().get_connections():
            await connection.muxed_conn.secured_conn.close()

    await with_stream(node, attack)


async def test_the_stream_is_reset_under_traffic(node: Child) -> None:
    async def attack(host: Libp2pHost, stream: Any) -> None:
        await stream.write(publish(*[signed(host, b"y%d" % n) for n in range(50)]))
        await stream.reset()

    await with_stream(node, attack)


async def test_streams_without_end_are_bounded_per_peer(node: Child) -> None:
    async with a_host(listen=()) as host:
        peer = await host.connect(node.facts["addrs"][0])
        kept = [await raw_stream(host, peer, PROTOCOL) for _ in range(2)]
        with trio.fail_after(PATIENCE):
            for _ in range(18):
                with suppress(StreamFailure, StreamError):  # reset while it is negotiated, or right after
                    while await (await raw_stream(host, peer, PROTOCOL)).read(1024):
                        pass
        for stream in kept:
            await stream.write(rpc(subscriptions=[{"subscribe": True, "topicid": TOPIC}]))
        await serves_an_honest_peer(node)


async def test_a_judge_that_raises_does_not_end_the_node(node: Child) -> None:
    async def attack(host: Libp2pHost, stream: Any) -> None:
        await stream.write(publish(signed(host, b"raise %f" % trio.current_time())))

    await with_stream(node, attack)
    assert (await statistics(node))["judge_errors"] >= 1


async def test_rejects_graylist_their_forwarder_and_nobody_else(node: Child) -> None:
    async with a_host(name="rejected forwarder", listen=()) as host:
        before = await statistics(node)
        peer = await host.connect(node.facts["addrs"][0])
        stream = await raw_stream(host, peer, PROTOCOL)
        for number in range(12):
            await stream.write(publish(signed(host, b"r%d %f" % (number, trio.current_time()))))
        after = await grown(node, "from_graylisted", before, 7)
        assert after["rejected"] - before["rejected"] == 5
        await serves_an_honest_peer(node)


async def test_ignore_and_defer_never_count_against_the_forwarder(node: Child) -> None:
    async with a_host(name="ignored forwarder", listen=()) as host:
        before = await statistics(node)
        peer = await host.connect(node.facts["addrs"][0])
        stream = await raw_stream(host, peer, PROTOCOL)
        for number in range(40):
            kind = b"id"[number % 2 : number % 2 + 1]
            await stream.write(publish(signed(host, kind + b"%d %f" % (number, trio.current_time()))))
        after = await grown(node, "ignored", before, 20)
        assert after["rejected"] == before["rejected"]
        assert after["from_graylisted"] == before["from_graylisted"]
        await serves_an_honest_peer(node)


async def test_a_badly_signed_copy_cannot_silence_the_honest_one(node: Child) -> None:
    question = b"ask first broken %f" % trio.current_time()
    answer = b"heard " + sha256(question).hexdigest().encode()
    async with a_host(listen=()) as liar, a_host() as host, open_gossip(host) as gossip:
        peer = await liar.connect(node.facts["addrs"][0])
        stream = await raw_stream(liar, peer, PROTOCOL)
        broken = signed(liar, question)
        broken.signature = bytes(64)
        before = await statistics(node)
        await stream.write(publish(broken))
        await grown(node, "rejected", before)
        with trio.fail_after(PATIENCE):
            await asks(node, host, gossip, question, answer)


async def test_a_flood_is_not_judged_beyond_the_rate(node: Child) -> None:
    async with a_host(listen=()) as host:
        before = await statistics(node)
        peer = await host.connect(node.facts["addrs"][0])
        stream = await raw_stream(host, peer, PROTOCOL)
        now = trio.current_time()
        for start in range(0, 3000, 50):
            await stream.write(publish(*[signed(host, b"f%d %f" % (n, now)) for n in range(start, start + 50)]))
        after = await grown(node, "over_rate", before)
        assert after["accepted"] - before["accepted"] < 1500
        await serves_an_honest_peer(node)


async def test_a_peer_that_never_reads_costs_a_bounded_queue(node: Child) -> None:
    """It subscribes, stops reading, and others go on; the node's queue to it drops beyond a mebibyte."""
    async with a_host() as sleeper, a_host() as host, open_gossip(host) as gossip:

        async def never_read(stream: Any) -> None:
            await trio.sleep_forever()

        sleeper.raw.set_stream_handler(PROTOCOL, never_read)
        peer = await sleeper.connect(node.facts["addrs"][0])
        stream = await raw_stream(sleeper, peer, PROTOCOL)
        await stream.write(rpc(subscriptions=[{"subscribe": True, "topicid": TOPIC}]))
        async with gossip.subscribe(TOPIC, lambda data, peer: Verdict.ACCEPT):
            await host.connect(node.facts["addrs"][0])
            with trio.fail_after(PATIENCE):
                await gossip.wait_peers(TOPIC)
            for number in range(60):
                await gossip.publish(TOPIC, b"big %d" % number + bytes(60_000))
        await serves_an_honest_peer(node)
    assert node.alive, node.stderr
