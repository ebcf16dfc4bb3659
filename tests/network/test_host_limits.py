"""Limits on who connects, the slots they give back, and what the logs say meanwhile."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

import pytest
import trio
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from support.hosts import ECHO, ECHO_FRAME, LOOPBACK, LOOPBACK_WS, PATIENCE, a_host, echo, is_served, raw_socket
from warmline.net.inbound import LOOPBACK as FROM_LOOPBACK
from warmline.net.inbound import UNKNOWN, InboundGate, subnet_of
from warmline.net.peerstore import PEERS_MAX, trim_identify
from warmline.net.websocket import WAITING, WAITING_PER_SUBNET, WaitingRoom
from warmline_protocol.errors import UnreachableError


@pytest.mark.parametrize(
    ("host", "subnet"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("127.0.0.9", FROM_LOOPBACK),
        ("::1", FROM_LOOPBACK),
        ("", UNKNOWN),
        ("not an address", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_addresses_are_counted_by_subnet(host: str | None, subnet: str) -> None:
    assert subnet_of(host) == subnet


class Caller:
    def __init__(self, host: str) -> None:
        self.host, self.closed = host, False

    def get_remote_address(self) -> tuple[str, int]:
        return self.host, 4001

    async def close(self) -> None:
        self.closed = True


class SlowSwarm:
    """Takes for ever over each handshake."""

    async def upgrade_inbound_raw_conn(self, raw: Any, maddr: Any) -> None:
        await trio.sleep_forever()


async def test_one_subnet_cannot_take_all_slots(autojump_clock: trio.testing.MockClock) -> None:
    gate = InboundGate(SlowSwarm(), total=6, per_subnet=2)
    crowd = [Caller(f"192.0.2.{i}") for i in range(5)]
    others = [Caller(f"198.51.{i}.1") for i in range(3)]
    proxied = [Caller("127.0.0.1") for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for caller in crowd + others + proxied:
            nursery.start_soon(gate.handle, caller, None)
            await trio.sleep(0.1)
        assert [caller.closed for caller in crowd] == [False, False, True, True, True]
        assert [caller.closed for caller in others] == [False] * 3
        assert [caller.closed for caller in proxied] == [False, True, True]  # six in all
        assert (gate.open_connections(), gate.refused) == (6, 5)
        nursery.cancel_scope.cancel()
    assert gate.open_connections() == 0


@pytest.mark.parametrize("listen", [LOOPBACK, LOOPBACK_WS])
async def test_slots_come_back(listen: str) -> None:
    """The stock swarm refuses everybody after its first few connections."""
    async with a_host(listen=(listen,), max_inbound=2) as node:
        node.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=4)
        for _ in range(6):
            await is_served(node.addrs()[0])
            with trio.fail_after(PATIENCE):
                await node.gate.wait_at_most(0)


@pytest.mark.parametrize("listen", [LOOPBACK, LOOPBACK_WS])
async def test_connections_above_the_limit_are_refused(listen: str) -> None:
    async with a_host(listen=(listen,), max_inbound=2) as node:
        async with a_host(listen=()) as one, a_host(listen=()) as two, a_host(listen=()) as three:
            await one.connect(node.addrs()[0])
            await two.connect(node.addrs()[0])
            with pytest.raises(UnreachableError):
                await three.connect(node.addrs()[0], deadline=PATIENCE)
        assert node.gate.refused >= 1


async def test_nothing_above_debug_names_an_address(caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    caplog.set_level(logging.INFO)
    async with a_host(listen=(LOOPBACK, LOOPBACK_WS)) as node:
        node.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=4)
        for addr in node.addrs():
            async with raw_socket(addr) as stranger:
                await stranger.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(500))
            await is_served(addr)
    # What a handler on the root logger would see is what propagates; the library's own loggers are cut off.
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("warmline")]
    assert not [line for line in ours if "127.0.0.1" in line or "/ip4/" in line]
    assert capfd.readouterr().err == ""
    assert not logging.getLogger("libp2p").propagate


async def test_websocket_handshakes_have_a_waiting_room() -> None:
    room = WaitingRoom()
    with ExitStack() as held:
        crowd = [held.enter_context(room.place(Socket("192.0.2.1"))) for _ in range(WAITING_PER_SUBNET + 2)]
        assert crowd.count(False) == 2
        assert held.enter_context(room.place(Socket("198.51.100.1")))
        proxied = [held.enter_context(room.place(Socket("127.0.0.1"))) for _ in range(WAITING)]
        assert proxied.count(False) == WAITING_PER_SUBNET + 1
    with room.place(Socket("192.0.2.1")) as admitted:
        assert admitted

        async def handler(_request: object) -> None:
            await trio.lowlevel.checkpoint()
            with room.place(Socket("192.0.2.2")) as another:  # whoever is served is not in the waiting room
                assert another

        await room.leaving(handler)(None)


class Socket:
    """A TCP stream of which only the far end's address is asked."""

    def __init__(self, host: str) -> None:
        self.socket, self.host = self, host

    def getpeername(self) -> tuple[str, int]:
        return self.host, 1


async def test_many_peers_do_not_push_out_ourselves_or_who_is_here() -> None:
    async with a_host() as node, a_host() as friend:
        await node.connect(friend.addrs()[0])
        store = node.raw.get_peerstore()
        for number in range(PEERS_MAX + 500):
            stranger = ID(b"\x00\x24" + number.to_bytes(36, "big"))
            store.add_addrs(stranger, [Multiaddr("/ip4/192.0.2.1/tcp/1")], 100)
        assert len(store.peer_ids()) == PEERS_MAX
        assert node.raw.get_private_key()
        assert store.addrs(node.raw.get_id().from_string(friend.peer_id))


def test_identify_is_cut_to_size() -> None:
    message = Identify(
        listen_addrs=[b"\x04" * 8] * 2000 + [b"x" * 10_000],
        protocols=[f"/x/{i}" for i in range(5000)],
        signedPeerRecord=b"x" * 100_000,
        agent_version="kept",
    )
    trim_identify(message)
    assert len(message.SerializeToString()) < 2000
    assert message.agent_version == "kept"
    honest = Identify(
        listen_addrs=[b"\x04\x7f\x00\x00\x01\x06\x0f\xa1"], protocols=["/a/1"], signedPeerRecord=b"x" * 300
    )
    before = honest.SerializeToString()
    trim_identify(honest)
    assert honest.SerializeToString() == before
