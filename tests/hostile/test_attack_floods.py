"""Attacks on a node's processor: what one stranger may make everybody else wait for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256

import psutil
import pytest
import trio
from libp2p.kad_dht.pb.kademlia_pb2 import Record
from libp2p.pubsub.pb import rpc_pb2

from support.hosts import PATIENCE, Ready, a_host, raw_stream
from support.processes import Child, running
from warmline.net.dht_server import SWEEP, BoundedValues
from warmline.net.gossip import GossipSettings, PubsubLimits, open_gossip
from warmline.net.gossip_router import PROTOCOL
from warmline_protocol.codec import frame
from warmline_protocol.errors import MalformedError
from warmline_protocol.limits import GOSSIP_FRAME_MAX
from warmline_protocol.verdict import Verdict

TOPIC = "hostile/floods/1"


async def gossip_node(ready: Ready) -> None:
    async with a_host() as host, open_gossip(host) as gossip, gossip.subscribe(TOPIC, lambda *_: Verdict.ACCEPT):
        ready({"peer": host.peer_id, "addrs": host.addrs()})
        await trio.sleep_forever()


@pytest.fixture(scope="module")
def node() -> Iterator[Child]:
    with running(__file__, "gossip_node") as child:
        yield child
        assert child.alive, child.stderr


async def test_frames_of_empty_messages_cost_their_sender_the_stream(node: Child) -> None:
    """131,072 messages of two bytes: a quarter of a second of the node's processor for each such frame."""
    rpc = rpc_pb2.RPC(publish=[rpc_pb2.Message() for _ in range(GOSSIP_FRAME_MAX // 2 - 8)])
    data = frame(rpc.SerializeToString())
    spent = psutil.Process(node.process.pid)
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as attacker:
            peer = await attacker.connect(node.facts["addrs"][0])
            stream = await raw_stream(attacker, peer, PROTOCOL)
            begun = spent.cpu_times().user
            with suppress(Exception):  # the library has several ways to say that the node reset the stream
                for _ in range(12):
                    await stream.write(data)
                while await stream.read(1):
                    pass
    assert spent.cpu_times().user - begun < 1.5


async def test_many_peers_together_are_judged_no_faster_than_one_node_can() -> None:
    """Peer ids are free, so a rate for each of them bounds nothing."""
    judged = 0

    def judge(data: bytes, peer: str) -> Verdict:
        nonlocal judged
        judged += 1
        return Verdict.IGNORE

    few = GossipSettings(limits=PubsubLimits(total_rate=0.001, total_burst=10))
    async with (
        a_host() as host,
        open_gossip(host, few) as gossip,
        gossip.subscribe(TOPIC, judge),
        a_host() as one,
        a_host() as two,
        open_gossip(one) as first,
        open_gossip(two) as second,
        first.subscribe(TOPIC, lambda *_: Verdict.ACCEPT),
        second.subscribe(TOPIC, lambda *_: Verdict.ACCEPT),
    ):
        with trio.fail_after(PATIENCE):
            for other, speaker in ((one, first), (two, second)):
                await other.connect(host.addrs()[0])
                await speaker.wait_peers(TOPIC)
                for each in range(16):
                    await speaker.publish(TOPIC, f"{other.peer_id} {each}".encode())
            while gossip.statistics()["over_rate"] < 2 * 16 - 10:  # noqa: ASYNC110 - the counter has no event
                await trio.sleep(0.01)
        assert judged == 10, gossip.statistics()


# --- the DHT's store -------------------------------------------------------------------------------------------------


def key_of(number: int) -> bytes:
    return b"/warm/" + sha256(b"%d" % number).hexdigest().encode()


async def full_store(count: int) -> BoundedValues:
    async with a_host(listen=()) as host:
        values = BoundedValues(host.raw, most=count, most_bytes=1 << 30)
        for number in range(count):
            values.put_record(key_of(number), Record(key=key_of(number), value=b"v%d" % number))
        return values


async def test_a_sweep_of_a_full_store_lets_others_work() -> None:
    """Validating is two signature checks: 8192 of them in one go stopped a node for six seconds a minute."""
    values = await full_store(3 * SWEEP)
    seen: set[str] = set()
    turns = 0

    def validate(key: str, value: bytes) -> None:
        seen.add(key)
        if value.endswith(b"7"):
            raise MalformedError("expired")

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        gone = await values.sweep(validate)
        nursery.cancel_scope.cancel()
    assert len(seen) == SWEEP
    assert turns >= SWEEP // 2
    for _ in range(2):
        gone += await values.sweep(validate)
    assert len(seen) == 3 * SWEEP
    assert gone == sum(str(number).endswith("7") for number in range(3 * SWEEP))
    assert values.bytes() == sum(len(record.value) for record, _ in values.store.values())


async def test_a_full_store_keeps_the_nearest_and_its_books() -> None:
    values = await full_store(64)
    kept = set(values.store)
    for number in range(1000, 1200):
        with suppress(ValueError):
            values.put_record(key_of(number), Record(key=key_of(number), value=b"x" * 100))
    assert len(values.store) == 64
    assert set(values.store) != kept
    assert values.bytes() == sum(len(record.value) for record, _ in values.store.values())
