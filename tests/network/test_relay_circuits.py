"""Circuits between hosts in this process: who may be reached, how long, how much, and what one end's end does."""

from __future__ import annotations

import math

import pytest
import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID

from support.hosts import ECHO, ECHO_FRAME, PATIENCE, a_host, echo, raw_stream
from support.relays import a_pair, address, echoes, eventually, relaying, routes_through
from warmline.net.circuit import dial_through, read_message
from warmline_protocol import limits
from warmline_protocol.circuit import (
    HOP_PROTOCOL,
    STOP_PROTOCOL,
    HopMessage,
    HopType,
    Status,
    StopMessage,
    StopType,
    decode_hop,
    encode_hop,
    encode_stop,
)
from warmline_protocol.codec import frame
from warmline_protocol.errors import ChannelClosed, RefusedError, UnreachableError, UsageError, WarmlineError

GONE = (UnreachableError, ChannelClosed)
REFUSALS = (BaseLibp2pError, TimeoutError)
"""How the library says that the other side took no stream."""


async def test_a_circuit_carries_frames_both_ways() -> None:
    async with a_pair() as (entry, relay, node, end), routes_through(entry).path("echo", address(node)) as path:
        for size in (1, 4096, ECHO_FRAME):
            await echoes(path, bytes(size))
        assert relay.statistics().circuits == 1
        assert end.statistics().accepted == 1
        assert end.entry_of(path.peer_id) == entry.peer_id
        assert relay.statistics().bytes_up > ECHO_FRAME < relay.statistics().bytes_down


async def test_the_stock_defect_one_client_leaves_and_the_other_goes_on() -> None:
    async with a_pair() as (entry, _, node, _end):
        routes = routes_through(entry)
        async with routes.path("stays", address(node)) as stays:
            channel = await stays.open_channel(ECHO, max_frame=ECHO_FRAME)
            async with routes.path("leaves", address(node)) as leaves:
                await echoes(leaves)
                await channel.send(b"before")
                assert await channel.receive() == b"before"
            await channel.send(b"after")
            assert await channel.receive() == b"after"
            await echoes(stays)


async def test_a_destination_without_a_node_record_is_refused_and_not_dialled() -> None:
    async with a_pair() as (entry, relay, _node, _end), a_host() as stranger:
        stranger.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=4)
        await entry.connect(stranger.addrs()[0])  # a connection is no permission
        async with a_host(listen=(), private=True) as client:
            await client.connect(entry.addrs()[0])
            with pytest.raises(RefusedError, match="no node record") as refusal:
                await dial_through(client, entry.peer_id, stranger.peer_id)
        assert refusal.value.code == "unknown-destination"
        assert relay.statistics().refused == {"unknown destination": 1}
        assert relay.statistics().circuits == 0


async def test_no_circuit_to_the_entry_itself_or_back_to_the_client() -> None:
    async with a_pair() as (entry, relay, node, _end), a_host(listen=(), private=True) as client:
        await client.connect(entry.addrs()[0])
        with pytest.raises(UsageError, match="same node"):
            await dial_through(client, entry.peer_id, entry.peer_id)
        with pytest.raises(RefusedError) as refusal:
            await dial_through(client, entry.peer_id, client.peer_id)
        assert refusal.value.code == "denied"
        assert relay.statistics().refused == {"circuit to itself": 1}
        with pytest.raises(UnreachableError, match="not connected"):
            await dial_through(client, node.peer_id, entry.peer_id)


async def test_no_circuit_over_a_circuit() -> None:
    async with a_host() as far, a_pair() as (entry, _, node, _end), a_host(listen=(), private=True) as client:
        known = {far.peer_id: far.addrs()}
        async with relaying(node, known) as second:
            await client.connect(entry.addrs()[0])
            await dial_through(client, entry.peer_id, node.peer_id)
            with pytest.raises(RefusedError) as refusal:
                await dial_through(client, node.peer_id, far.peer_id)
        assert refusal.value.code == "denied"
        assert second.statistics().refused == {"circuit over circuit": 1}


async def test_the_relay_says_when_a_node_cannot_be_reached() -> None:
    async with a_host() as entry, a_host() as gone:
        known = {gone.peer_id: ("/ip4/127.0.0.1/tcp/1/p2p/" + gone.peer_id,)}
        async with relaying(entry, known) as relay, a_host(listen=(), private=True) as client:
            await client.connect(entry.addrs()[0])
            with pytest.raises(RefusedError) as refusal:
                await dial_through(client, entry.peer_id, gone.peer_id)
            assert refusal.value.code == "unreachable"
            known[gone.peer_id] = gone.addrs()
            with pytest.raises(RefusedError):  # known for ten seconds, so that a crowd does not queue for it
                await dial_through(client, entry.peer_id, gone.peer_id)
        assert relay.statistics().refused == {"destination not connected": 2}


async def test_a_node_that_accepts_no_circuits() -> None:
    async with a_host() as entry, a_host() as node, relaying(entry, {node.peer_id: node.addrs()}):
        async with a_host(listen=(), private=True) as client:
            await client.connect(entry.addrs()[0])
            with pytest.raises(RefusedError) as refusal:
                await dial_through(client, entry.peer_id, node.peer_id)
        assert refusal.value.code == "unreachable"


async def test_an_idle_circuit_ends_at_its_duration() -> None:
    async with a_pair(duration_s=1.5) as (entry, relay, node, end):
        async with routes_through(entry).path("idle", address(node)) as path:
            opened = trio.current_time()
            assert path.expires_at <= opened + 0.8  # the relay says whole seconds, the client renews at 80 %
            channel = await path.open_channel(ECHO, max_frame=ECHO_FRAME)
            with trio.fail_after(PATIENCE):
                with pytest.raises(GONE):
                    await channel.receive()
                await path.wait_closed()
                assert trio.current_time() - opened > 1.0
                await path.wait_expiring()
            with pytest.raises(UnreachableError, match="gone"):
                await path.open_channel(ECHO)
        await eventually(lambda: not (relay.statistics().circuits or end.statistics().accepted))
        assert relay.statistics().ended == {"duration": 1}


async def test_a_circuit_ends_at_its_data_limit_and_not_before() -> None:
    async with a_pair(data=200_000) as (entry, relay, node, _end):
        async with routes_through(entry).path("much", address(node)) as path, trio.open_nursery() as watching:
            channel = await path.open_channel(ECHO, max_frame=ECHO_FRAME)
            told = trio.Event()
            got = told_at = 0

            async def wait_for_notice() -> None:
                nonlocal told_at
                await path.wait_expiring()
                told_at = got
                told.set()

            watching.start_soon(wait_for_notice)
            with trio.fail_after(PATIENCE), pytest.raises(WarmlineError):
                while True:
                    await channel.send(bytes(10_000))
                    got += len(await channel.receive())
            await path.wait_closed()
            await told.wait()
        assert 130_000 <= told_at <= 170_000, "the client is told at four fifths"
        assert 170_000 <= got <= 200_000
        await eventually(lambda: bool(relay.statistics().ended))
        assert relay.statistics().ended == {"data": 1}
        assert relay.statistics().bytes_up <= 200_000


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"per_source": 1}, "peer full"),
        ({"per_destination": 1}, "destination full"),
        ({"total": 1}, "relay full"),
        ({"in_total": 1}, "destination has no room"),
        ({"in_per_relay": 1}, "destination has no room"),
    ],
)
async def test_a_limit_refuses_the_next_circuit_and_frees_its_place(limits: dict[str, int], why: str) -> None:
    async with a_pair(**limits) as (entry, relay, node, _end), a_host(listen=(), private=True) as client:
        await client.connect(entry.addrs()[0])
        first = await dial_through(client, entry.peer_id, node.peer_id)
        with pytest.raises(RefusedError) as refusal:
            await dial_through(client, entry.peer_id, node.peer_id)
        assert refusal.value.code == "busy"
        assert relay.statistics().refused == {why: 1}
        await first.aclose()
        await eventually(lambda: not (relay.statistics().circuits or _end.statistics().accepted))
        await dial_through(client, entry.peer_id, node.peer_id)


async def test_circuits_are_counted_per_subnet() -> None:
    async with a_host() as entry, a_host() as node, relaying(node, {}):
        known = {node.peer_id: node.addrs()}
        async with relaying(entry, known, per_subnet=2, subnet_of=lambda host: "203.0.113.0/24") as relay:
            routes = routes_through(entry)
            async with routes.path("a", address(node)), routes.path("b", address(node)):
                with pytest.raises(UnreachableError) as refusal:
                    async with routes.path("c", address(node)):
                        pass
            assert "no room" in str(refusal.value.hint)
            assert relay.statistics().refused == {"subnet full": 1}


async def test_a_slow_reader_stops_its_sender_and_nobody_else() -> None:
    async with a_pair() as (entry, relay, node, _end):
        release = trio.Event()

        async def lazy(channel: object) -> None:
            await release.wait()

        node.serve("/warmline/test/lazy/1", lazy, max_frame=ECHO_FRAME, max_channels_per_peer=4)
        routes = routes_through(entry)
        async with routes.path("floods", address(node)) as floods, routes.path("talks", address(node)) as talks:
            channel = await floods.open_channel("/warmline/test/lazy/1", max_frame=ECHO_FRAME)
            with trio.move_on_after(2):  # as long as it takes to fill every window on the way
                while True:
                    await channel.send(bytes(ECHO_FRAME))
            carried = relay.statistics().bytes_up
            assert carried < 8 << 20, "the relay buffers no more than the windows"
            await echoes(talks)
        release.set()


async def test_an_end_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CIRCUIT_STALL_S", 0.5)
    async with a_host() as entry, a_host() as deaf, a_host(listen=()) as client:
        stalled = trio.Event()

        async def accept(stream: INetStream) -> None:
            await read_message(stream)
            await stream.write(frame(encode_stop(StopMessage(StopType.STATUS, status=Status.OK))))
            await stalled.wait()

        deaf.raw.set_stream_handler(TProtocol(STOP_PROTOCOL), accept)
        async with relaying(entry, {deaf.peer_id: deaf.addrs()}) as relay:
            await client.connect(entry.addrs()[0])
            stream = await raw_stream(client, entry.peer_id, HOP_PROTOCOL)
            wanted = ID.from_base58(deaf.peer_id).to_bytes()
            await stream.write(frame(encode_hop(HopMessage(HopType.CONNECT, peer=wanted))))
            with trio.fail_after(PATIENCE), pytest.raises((BaseLibp2pError, OSError)):
                while True:
                    await stream.write(bytes(64 * 1024))
            await eventually(lambda: relay.statistics().ended == {"stalled": 1})
            stalled.set()


async def test_the_routing_host_serves_nobody() -> None:
    async with a_pair() as (entry, _, node, _end), routes_through(entry).path("quiet", address(node)) as path:
        await echoes(path)
        for host in (node, entry):
            assert path.peer_id in host.peers()
            for protocol in (ECHO, HOP_PROTOCOL, STOP_PROTOCOL, "/ipfs/id/push/1.0.0", "/meshsub/1.1.0"):
                with trio.fail_after(PATIENCE), pytest.raises(REFUSALS):
                    stream = await raw_stream(host, path.peer_id, protocol)
                    await stream.read(1)
        await echoes(path)


async def test_a_reservation_needs_permission_and_a_node_record() -> None:
    async with a_host() as entry, a_host() as node:
        node.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=4)
        known: dict[str, tuple[str, ...]] = {}
        async with relaying(entry, known) as closed, relaying(node, {}):
            await node.connect(entry.addrs()[0])
            assert await _reserve(node, entry.peer_id) == 200
            assert closed.statistics().refused == {"no reservations here": 1}
        async with relaying(entry, known, reservations=1) as relay, relaying(node, {}):
            assert await _reserve(node, entry.peer_id) == 202
            known[node.peer_id] = ()  # a node record whose addresses nobody can dial
            assert await _reserve(node, entry.peer_id) == 100
            assert relay.statistics().reservations == 1
            async with routes_through(entry).path("reserved", address(node)) as path:
                await echoes(path)
            await node.disconnect(entry.peer_id)
            await eventually(lambda: not (relay.statistics().reservations))


async def _reserve(node: object, relay: str) -> int:
    stream = await raw_stream(node, relay, HOP_PROTOCOL)  # type: ignore[arg-type]
    await stream.write(frame(encode_hop(HopMessage(HopType.RESERVE))))
    with trio.fail_after(PATIENCE):
        answer = decode_hop(await read_message(stream))
    await stream.close()
    if answer.status == 100:
        assert answer.reservation is not None
        assert answer.reservation.expire_s > 0
        assert answer.reservation.addrs
    return int(answer.status or 0)


async def test_the_entry_forgets_its_clients() -> None:
    async with a_pair() as (entry, _, node, _end):
        ids = set()
        for _ in range(3):
            async with routes_through(entry).path("once", address(node)) as path:
                await echoes(path)
                ids.add(path.peer_id)
        store = entry.raw.get_peerstore()
        await eventually(lambda: not ids & {str(peer) for peer in store.peer_ids()})
        assert node.peer_id in entry.peers()


async def test_statistics_name_nobody() -> None:
    async with a_pair() as (entry, relay, node, end), routes_through(entry).path("count", address(node)) as path:
        shown = repr(relay.statistics()) + repr(end.statistics())
        for secret in (path.peer_id, node.peer_id, entry.peer_id, "127.0.0.1"):
            assert secret not in shown
        assert not math.isinf(path.expires_at)
