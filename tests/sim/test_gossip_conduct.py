"""What ``warmline.net.gossip_conduct`` claims: honest peers are never marked, others are gone within N heartbeats."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from libp2p.pubsub.pb import rpc_pb2

from sim.net.conduct_rig import BROKEN, LATE, STALE, TOPIC, Rig, a_rig, simulated
from sim.net.links import Links
from warmline.net import gossip_conduct as conduct
from warmline_protocol.codec import frame

EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
GOOD_LINK = Links(low=0.05, high=0.05)

links = st.builds(
    Links,
    low=st.floats(0.001, 1.0),
    high=st.just(1.0),
    jitter=st.floats(0.0, 0.5),
    loss=st.floats(0.0, 0.3),
)


@dataclass(frozen=True)
class Life:
    """What an honest peer goes through in a minute and a half."""

    burst: int
    """Messages published at once."""
    steady: int
    """Messages a second for ten seconds."""
    stall_s: float
    """The link carries nothing for so long."""
    service_s: float
    """CPU time per segment: a slow or busy machine."""
    rate: float
    """Bytes a second that its uplink takes."""
    skew_s: float
    """Its clock is off by so much."""
    resubscribes: int
    """Times that it leaves and rejoins the topic."""


lives = st.builds(
    Life,
    burst=st.integers(0, 300),
    steady=st.integers(0, 50),
    stall_s=st.floats(0.0, 9.0),
    service_s=st.floats(0.0, 0.02),
    rate=st.sampled_from([20_000.0, 200_000.0, math.inf]),
    skew_s=st.floats(-86_400, 86_400),
    resubscribes=st.integers(0, 2),
)


async def live(rig: Rig, life: Life) -> None:
    honest = rig.in_question
    honest.endpoint.service_s, honest.endpoint.rate = life.service_s, life.rate
    rig.chain_is_there = False
    for number in range(life.burst):
        await honest.gossip.publish(TOPIC, b"burst %d" % number)
    for number in range(20):
        await honest.gossip.publish(TOPIC, LATE + b" %d" % number)
    for number in range(life.steady * 10):
        await honest.gossip.publish(TOPIC, b"steady %d" % number)
        await trio.sleep(0.1 / max(1, life.steady / 10))
    rig.net.partition(lambda end: end is honest.endpoint)
    await trio.sleep(life.stall_s)
    rig.net.heal()
    rig.chain_is_there = True
    await rig.judging.gossip.reconsider()
    for _ in range(life.resubscribes):
        pubsub = honest.gossip._pubsub
        await pubsub.unsubscribe(TOPIC)
        await trio.sleep(15)
        await pubsub.subscribe(TOPIC)
        await trio.sleep(15)
    await trio.sleep(60)


@EXAMPLES
@given(link=links, life=lives)
def test_an_honest_peer_is_never_marked(link: Links, life: Life) -> None:
    async def scenario() -> None:
        async with a_rig(link, skew_s=life.skew_s) as rig:
            await live(rig, life)
            assert rig.marks() == 0
            # What was late or deferred was heard all the same, unless it was over the rate of one peer.
            if life.burst + 10 * life.steady < 300 and not life.stall_s and not life.resubscribes:
                assert sum(data.startswith(LATE) for data in rig.judging.heard) == 20

    simulated(scenario)


def published(*datas: bytes) -> rpc_pb2.RPC:
    return rpc_pb2.RPC(publish=[rpc_pb2.Message(data=data, topicIDs=[TOPIC]) for data in datas])


def graft() -> rpc_pb2.RPC:
    return rpc_pb2.RPC(control=rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID=TOPIC)]))


@EXAMPLES
@given(at_once=st.integers(1, 20), link=st.builds(Links, low=st.floats(0.01, 0.5), high=st.just(0.5)))
def test_a_peer_of_broken_records_is_gone_within_the_beat_of_the_fifth(at_once: int, link: Links) -> None:
    async def scenario() -> None:
        async with a_rig(link) as rig:

            async def forward(beat: int) -> None:
                for number in range(at_once):
                    rig.in_question.gossip._pubsub.send(TOPIC, BROKEN + b" %d %d" % (beat, number))

            beats = await rig.beats_until_listed(forward, most=12)
            # Five Rejects, the link's delay, and the next heartbeat.
            assert beats <= math.ceil(5 / at_once) + 2

    simulated(scenario)


@EXAMPLES
@given(each_beat=st.integers(1, 40))
def test_unsigned_messages_count_like_broken_ones(each_beat: int) -> None:
    async def scenario() -> None:
        async with a_rig(GOOD_LINK) as rig:

            async def forge(beat: int) -> None:
                rig.send(published(*(b"forged %d %d" % (beat, number) for number in range(each_beat))))

            assert await rig.beats_until_listed(forge, most=12) <= math.ceil(5 / each_beat) + 2

    simulated(scenario)


@EXAMPLES
@given(each_beat=st.integers(1, 30))
def test_grafts_without_end_are_gone_by_the_eighth(each_beat: int) -> None:
    async def scenario() -> None:
        async with a_rig(GOOD_LINK) as rig:

            async def insist(beat: int) -> None:
                for _ in range(each_beat):
                    rig.send(graft())

            eighth = math.ceil((conduct.GRAFT_BURST + 5) / each_beat)
            assert await rig.beats_until_listed(insist, most=12) <= eighth + 2

    simulated(scenario)


@pytest.mark.parametrize("rate", [1000, 3000])
def test_more_than_a_node_accepts_is_gone_when_the_derivation_says(rate: int) -> None:
    async def scenario() -> None:
        async with a_rig(Links(low=0.01, high=0.01, jitter=0)) as rig:
            same = frame(published(b"the same again").SerializeToString())
            queue = rig.in_question.gossip._pubsub.peer_queues[rig.judging.peer]
            await rig.in_question.gossip.publish(TOPIC, b"the same again")

            async def flood(beat: int) -> None:
                for _ in range(rate):
                    queue.push_frame(same)

            derived = math.ceil(conduct.VOLUME_BURST / (rate - conduct.VOLUME_RATE))
            beats = await rig.beats_until_listed(flood, most=derived + 5)
            assert derived - 2 <= beats <= derived + 2

    simulated(scenario)


def test_what_an_honest_node_may_send_is_below_the_volume() -> None:
    """The derivation's arithmetic, from the limits themselves."""
    from warmline.net.gossip_pubsub import OPEN_DEADLINE, SEND_DEADLINE, PubsubLimits
    from warmline.net.gossip_router import IDS_MAX
    from warmline.net.host import HostSettings
    from warmline.services.directory import DirectorySettings

    bounds, host, directory = PubsubLimits(), HostSettings(), DirectorySettings()
    rate = bounds.total_rate + directory.publish_rate
    late = SEND_DEADLINE + host.ping_every + host.ping_deadline
    burst = bounds.total_burst + directory.publish_burst + IDS_MAX + late * rate
    assert rate < conduct.VOLUME_RATE
    assert burst < conduct.VOLUME_BURST
    assert late > OPEN_DEADLINE


@EXAMPLES
@given(count=st.integers(100, 400))
def test_a_flood_of_stale_records_is_no_mark_but_gets_a_share_of_its_own(count: int) -> None:
    async def scenario() -> None:
        async with a_rig(GOOD_LINK) as rig:
            for number in range(count):
                rig.in_question.gossip._pubsub.send(TOPIC, STALE + b" %d" % number)
                await trio.sleep(0.02)
            pubsub = rig.judging.gossip._pubsub
            heard = pubsub._heard[rig.in_question.peer]
            assert rig.marks() == 0
            assert heard.usefulness.is_doubtful()
            assert pubsub._share_of(heard) is pubsub._doubtful
            await trio.sleep(10 * conduct.DOUBT_HALF_LIFE)
            assert not heard.usefulness.is_doubtful()

    simulated(scenario)


@EXAMPLES
@given(each_beat=st.integers(16, 64))
def test_offers_of_what_never_comes_are_not_read_for_a_while(each_beat: int) -> None:
    async def scenario() -> None:
        async with a_rig(GOOD_LINK) as rig:
            router = rig.judging.router
            for beat in range(60):
                ids = [b"%020d" % (beat * 64 + number) for number in range(each_beat)]
                offer = rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=ids)
                rig.send(rpc_pb2.RPC(control=rpc_pb2.ControlMessage(ihave=[offer])))
                await trio.sleep(1)
            promises = router.promises[rig.in_question.peer]
            assert not promises.trusted(router.known.has)
            assert rig.marks() == 0
            await trio.sleep(10 * conduct.BROKEN_HALF_LIFE)
            assert promises.trusted(router.known.has)

    simulated(scenario)
