"""What others learn of a private host: a throw-away key and two protocol names."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from libp2p.custom_types import TProtocol
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.utils.varint import read_length_prefixed_protobuf

from support.hosts import ECHO, ECHO_FRAME, LOOPBACK, LOOPBACK_WS, PATIENCE, a_host, echo, raw_stream
from warmline.net.host import Libp2pHost
from warmline_protocol.errors import UnreachableError


async def identify(asker: Any, peer: str) -> Identify:
    stream = await raw_stream(asker, peer, "/ipfs/id/1.0.0")
    answer = Identify()
    answer.ParseFromString(await read_length_prefixed_protobuf(stream))
    await stream.close()
    return answer


@pytest.mark.parametrize("listen", [LOOPBACK, LOOPBACK_WS])
async def test_identify_names_no_address(listen: str) -> None:
    async with a_host(listen=(listen,)) as node, a_host(listen=(), private=True) as client:
        await client.connect(node.addrs()[0])
        with trio.fail_after(PATIENCE):
            said = await identify(node, client.peer_id)
        assert list(said.listen_addrs) == []
        assert said.observed_addr == b""
        assert said.signedPeerRecord == b""
        assert sorted(said.protocols) == ["/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"]


async def test_everything_but_ping_and_identify_is_refused() -> None:
    async with a_host() as node, a_host(listen=(), private=True) as client:
        await client.connect(node.addrs()[0])
        for protocol in (ECHO, "/ipfs/id/push/1.0.0", "/meshsub/1.1.0", "/libp2p/circuit/relay/0.2.0/stop"):
            with pytest.raises(UnreachableError):
                await node.open_channel(client.peer_id, protocol)


async def test_the_node_keeps_nothing_of_a_guest() -> None:
    async with a_host() as node:
        node.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=4)
        async with a_host(listen=(), private=True) as client:
            peer = await client.connect(node.addrs()[0])
            async with await client.open_channel(peer, ECHO, max_frame=ECHO_FRAME) as channel:
                await channel.send(b"hello")
                await channel.receive()
            with trio.fail_after(PATIENCE):
                await identify(node, client.peer_id)
            held = node.raw.get_peerstore().peer_data_map
            assert [data.addrs for peer, data in held.items() if str(peer) == client.peer_id] in ([], [[]])
            gone = trio.Event()
            node.on_peer_change(lambda _peer, connected: None if connected else gone.set())
        with trio.fail_after(PATIENCE):
            await gone.wait()
        assert [str(peer) for peer in node.raw.get_peerstore().peer_ids()] == [node.peer_id]


async def test_a_private_host_asks_nobody_who_they_are() -> None:
    asked = []

    async def asked_for_identity(stream: Any) -> None:
        asked.append(stream)
        await stream.reset()

    async with a_host() as node, a_host(listen=(), private=True) as client:
        node.raw.set_stream_handler(TProtocol("/ipfs/id/1.0.0"), asked_for_identity)
        node.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=4)
        peer = await client.connect(node.addrs()[0])
        async with await client.open_channel(peer, ECHO, max_frame=ECHO_FRAME) as channel:
            await channel.send(b"hello")
            await channel.receive()
        assert asked == []


async def test_guests_leave_nothing_in_the_memory_of_either_side() -> None:
    async with a_host() as node:
        node.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=4)
        for _ in range(3):
            await visit(node)  # what the first guests make is made once
        before = await remains()
        for _ in range(5):
            await visit(node)
        assert await remains() <= before


async def visit(node: Libp2pHost) -> None:
    gone = trio.Event()
    async with a_host(listen=(), private=True) as client:
        peer = await client.connect(node.addrs()[0])
        async with await client.open_channel(peer, ECHO, max_frame=ECHO_FRAME) as channel:
            await channel.send(b"hello")
            await channel.receive()
        node.on_peer_change(lambda _peer, connected: None if connected else gone.set())
    with trio.fail_after(PATIENCE):
        await gone.wait()


async def remains() -> Counter[str]:
    """What connections, hosts and their tasks are still held by somebody."""
    await trio.testing.wait_all_tasks_blocked(0.05)
    gc.collect()
    kinds = ("SwarmConn", "Swarm", "BoundedYamux", "PingingYamux", "FunctionTask", "SecureSession", "YamuxStream")
    found = Counter(type(each).__name__ for each in gc.get_objects())
    return Counter({kind: found[kind] for kind in kinds})
