"""One node that judges and one whose behaviour is in question, on a link of any quality, for property tests."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from trio.testing import MockClock

from sim.net.links import Endpoint, Links, Net
from sim.net.transport import MemoryTransport
from warmline.env import SeededRng, TrioClock
from warmline.net.gossip import Gossip, GossipSettings, open_gossip
from warmline.net.host import HostSettings, Libp2pHost, open_host
from warmline_protocol.codec import frame
from warmline_protocol.keys import SigningKey
from warmline_protocol.verdict import Verdict

TOPIC = "/warmline/test/1"
HEARTBEAT = GossipSettings().heartbeat
BROKEN = b"broken"
STALE = b"stale"
LATE = b"late"


@dataclass(eq=False)
class Side:
    """A host with gossip at one machine."""

    host: Libp2pHost
    gossip: Gossip
    endpoint: Endpoint
    clock: TrioClock
    heard: list[bytes]

    @property
    def router(self) -> Any:
        return self.gossip._pubsub.router

    @property
    def peer(self) -> ID:
        return ID.from_string(self.host.peer_id)


class Rig:
    """``judging`` and the peer ``in_question``; both subscribe and judge by the first bytes of a message."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.judging: Side
        self.in_question: Side
        self.chain_is_there = True

    def verdict(self, data: bytes, peer: str) -> Verdict:
        """The same rule everywhere, but for what waits for a chain."""
        if data.startswith(BROKEN):
            return Verdict.REJECT
        if data.startswith(STALE):
            return Verdict.IGNORE
        if data.startswith(LATE) and not self.chain_is_there:
            return Verdict.DEFER
        return Verdict.ACCEPT

    def marks(self) -> float:
        """How badly the judging node thinks of the other."""
        return float(self.judging.router.graylist.marks(self.in_question.peer))

    def is_listed(self) -> bool:
        return bool(self.judging.router.graylist.listed(self.in_question.peer))

    def in_mesh(self) -> bool:
        return self.in_question.host.peer_id in self.judging.gossip.mesh(TOPIC)

    def send(self, rpc: rpc_pb2.RPC) -> None:
        """Frames that an honest node would not send, by the peer in question."""
        queue: Any = self.in_question.gossip._pubsub.peer_queues.get(self.judging.peer)
        if queue is not None:
            queue.push_frame(frame(rpc.SerializeToString()))

    async def beats_until_listed(self, act: Callable[[int], Awaitable[None]], *, most: int) -> int:
        """Heartbeats of misbehaviour until the peer is graylisted and out of the mesh; ``most`` + 1 if never."""
        for beat in range(1, most + 1):
            await act(beat)
            await trio.sleep(HEARTBEAT)
            if self.is_listed() and not self.in_mesh():
                return beat
        return most + 1


@asynccontextmanager
async def _side(rig: Rig, name: str, ip: str, skew_s: float) -> AsyncIterator[Side]:
    key = SigningKey(hashlib.sha256(name.encode()).digest())
    clock = TrioClock()
    clock.offset_ms = round(1000 * skew_s)
    endpoint = rig.net.endpoint(name, ip)
    transport = MemoryTransport(rig.net, endpoint, key.peer_id)
    settings = HostSettings(listen=(f"/ip4/{ip}/tcp/7400",), dial_timeout=120.0)
    heard: list[bytes] = []
    async with AsyncExitStack() as stack:
        opening = open_host(settings, key=key, rng=SeededRng(name), clock=clock, transports=[transport])
        host = await stack.enter_async_context(opening)
        gossip = await stack.enter_async_context(open_gossip(host))
        messages = await stack.enter_async_context(gossip.subscribe(TOPIC, rig.verdict))
        nursery = await stack.enter_async_context(trio.open_nursery())

        async def listen() -> None:
            async for message in messages:
                heard.append(message.data)  # noqa: PERF401 - it is read while it grows

        nursery.start_soon(listen)
        yield Side(host, gossip, endpoint, clock, heard)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def a_rig(links: Links, *, skew_s: float = 0.0, seed: int = 1) -> AsyncIterator[Rig]:
    """Two nodes that are connected and in each other's mesh. The clock of the second is off by ``skew_s``."""
    async with AsyncExitStack() as stack:
        net = Net(seed, links)
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(net.run)
        rig = Rig(net)
        rig.judging = await stack.enter_async_context(_side(rig, "judging", "20.0.0.1", 0.0))
        rig.in_question = await stack.enter_async_context(_side(rig, "in question", "20.0.0.2", skew_s))
        await rig.in_question.host.connect(rig.judging.host.addrs()[0], deadline=120)
        with trio.fail_after(120):
            while not rig.in_mesh():  # noqa: ASYNC110 - a mesh has no event
                await trio.sleep(HEARTBEAT)
        yield rig
        nursery.cancel_scope.cancel()


def simulated(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run under a mock clock of its own: hypothesis runs a scenario many times in one test."""
    trio.run(scenario, clock=MockClock(autojump_threshold=0))
