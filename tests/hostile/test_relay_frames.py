"""Hostile HOP and STOP streams against an entry and a node in processes of their own.

After each attack an honest client still reaches the node through the entry, and nothing is left of the attacker's
circuits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError

from support.hosts import PATIENCE, a_host, raw_stream, uvarint
from support.processes import Child
from support.relays import STATISTICS, ask, is_relayed_to, relaying, two_nodes
from warmline.net import circuit as circuits
from warmline.net.circuit import dial_through, read_message
from warmline_protocol.circuit import (
    HOP_PROTOCOL,
    STOP_PROTOCOL,
    HopMessage,
    HopType,
    Status,
    StopMessage,
    StopType,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
)
from warmline_protocol.codec import frame
from warmline_protocol.errors import BadSignatureError, UnreachableError, WarmlineError

GONE = (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)
STRANGER = bytes.fromhex("0024080112") + b"\x20" + bytes(32)
RESERVE = encode_hop(HopMessage(HopType.RESERVE))
CONNECT = encode_hop(HopMessage(HopType.CONNECT, peer=STRANGER))
STOP = encode_stop(StopMessage(StopType.CONNECT, peer=STRANGER))

# Frames, and the status that each is answered with; None where the stream just ends.
HOP = {
    "empty message": (frame(b""), Status.MALFORMED_MESSAGE),
    "junk": (frame(os.urandom(300)), None),
    "no type": (frame(CONNECT[2:]), Status.MALFORMED_MESSAGE),
    "type 7": (frame(b"\x08\x07"), Status.MALFORMED_MESSAGE),
    "type as text": (frame(b"\x0a\x01\x01"), Status.MALFORMED_MESSAGE),
    "type twice": (frame(b"\x08\x01" + CONNECT), Status.MALFORMED_MESSAGE),
    "status instead of a request": (
        frame(encode_hop(HopMessage(HopType.STATUS, status=100))),
        Status.UNEXPECTED_MESSAGE,
    ),
    "connect to nobody": (frame(b"\x08\x01"), Status.MALFORMED_MESSAGE),
    "connect to an empty id": (frame(b"\x08\x01\x12\x02\x0a\x00"), Status.MALFORMED_MESSAGE),
    "connect to a long id": (
        frame(encode_hop(HopMessage(HopType.CONNECT, peer=bytes(65)))),
        Status.MALFORMED_MESSAGE,
    ),
    "connect to an id that is none": (
        frame(encode_hop(HopMessage(HopType.CONNECT, peer=b"\xff" * 40))),
        Status.NO_RESERVATION,
    ),
    "connect to a stranger": (frame(CONNECT), Status.NO_RESERVATION),
    "connect with a million addresses": (
        frame(b"\x08\x01\x12\x90\x06\x0a\x0a" + b"x" * 10 + b"\x12\x01x" * 258 + b"\x12\x00"),
        Status.MALFORMED_MESSAGE,
    ),
    "reserve": (frame(RESERVE), Status.RESERVATION_REFUSED),
    "a group": (frame(b"\x08\x01\x13\x14"), Status.MALFORMED_MESSAGE),
    "a cut field": (frame(b"\x08\x01\x12\x7f\x0a"), Status.MALFORMED_MESSAGE),
    "an overlong number": (frame(b"\x08\x81\x80\x80\x00"), Status.MALFORMED_MESSAGE),
    "an endless number": (frame(b"\x08" + b"\xff" * 64), Status.MALFORMED_MESSAGE),
    "4097 bytes": (uvarint(4097) + bytes(4097), Status.MALFORMED_MESSAGE),
    "a terabyte announced": (uvarint(1 << 40), Status.MALFORMED_MESSAGE),
    "an endless length": (b"\xff" * 64, Status.MALFORMED_MESSAGE),
    "a request and then junk": (frame(CONNECT) + os.urandom(100_000), None),
}
STOPS = {
    "empty message": frame(b""),
    "junk": frame(os.urandom(300)),
    "status instead of a request": frame(encode_stop(StopMessage(StopType.STATUS, status=100))),
    "connect from nobody": frame(b"\x08\x00"),
    "4097 bytes": uvarint(4097) + bytes(4097),
    "a terabyte announced": uvarint(1 << 40),
    "connect, then silence": frame(STOP),
    "connect, then junk": frame(STOP) + os.urandom(100_000),
    "connect, then a handshake cut short": frame(STOP) + b"\x13/multistream/1.0.0\n\x07/noise\n\xff\xff",
    "connect from an id that is none": frame(encode_stop(StopMessage(StopType.CONNECT, peer=b"\xff" * 40))),
}


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Child, Child]]:
    with two_nodes() as pair:
        yield pair


async def ended(stream: object) -> bytes:
    """Read until the other side ends; what it said."""
    said = b""
    with trio.fail_after(PATIENCE):
        try:
            while piece := await stream.read(4096):  # type: ignore[attr-defined]
                said += piece
        except GONE:
            pass
    return said


@pytest.mark.parametrize("name", HOP)
async def test_hop(nodes: tuple[Child, Child], name: str) -> None:
    entry, node = nodes
    data, status = HOP[name]
    async with a_host(listen=()) as attacker:
        await attacker.connect(entry.facts["addrs"][0])
        stream = await raw_stream(attacker, entry.facts["peer"], HOP_PROTOCOL)
        try:
            await stream.write(data)
        except GONE:
            assert status is None
        if status is not None:
            with trio.fail_after(PATIENCE):
                answer = decode_hop(await read_message(stream))
            assert (answer.type, answer.status) == (HopType.STATUS, status)
            await stream.close()
        await ended(stream)
    await is_relayed_to(entry, node)
    assert entry.alive


@pytest.mark.parametrize("name", STOPS)
async def test_stop(nodes: tuple[Child, Child], name: str) -> None:
    entry, node = nodes
    async with a_host(listen=()) as attacker:
        await attacker.connect(node.facts["addrs"][0])
        stream = await raw_stream(attacker, node.facts["peer"], STOP_PROTOCOL)
        try:
            await stream.write(STOPS[name])
            if "silence" in name:
                with trio.fail_after(PATIENCE):
                    assert decode_stop(await read_message(stream)).status == Status.OK
            await stream.close()
        except GONE:
            pass
        await ended(stream)
    await is_relayed_to(entry, node)
    assert node.alive


async def test_streams_that_say_nothing_do_not_take_the_places_of_others(nodes: tuple[Child, Child]) -> None:
    entry, node = nodes
    async with a_host(listen=()) as attacker:
        await attacker.connect(entry.facts["addrs"][0])
        silent = [await raw_stream(attacker, entry.facts["peer"], HOP_PROTOCOL) for _ in range(4)]
        refused = await raw_stream(attacker, entry.facts["peer"], HOP_PROTOCOL)
        with trio.fail_after(PATIENCE):
            answer = decode_hop(await read_message(refused))
        assert answer.status == Status.RESOURCE_LIMIT_EXCEEDED
        await is_relayed_to(entry, node)
        for stream in silent:
            with trio.fail_after(PATIENCE):  # each is told, in the relay's own time
                assert decode_hop(await read_message(stream)).status == Status.MALFORMED_MESSAGE


async def test_half_open_circuits_are_cleaned_up(nodes: tuple[Child, Child]) -> None:
    """Circuits that never run a handshake, held open by forty peers who then vanish."""
    entry, node = nodes
    wanted = encode_hop(HopMessage(HopType.CONNECT, peer=circuits.ID.from_base58(node.facts["peer"]).to_bytes()))
    for _ in range(10):
        async with a_host(listen=()) as attacker:
            await attacker.connect(entry.facts["addrs"][0])
            for _ in range(4):
                stream = await raw_stream(attacker, entry.facts["peer"], HOP_PROTOCOL)
                await stream.write(frame(wanted))
                with trio.fail_after(PATIENCE):
                    assert decode_hop(await read_message(stream)).status == Status.OK
    await is_relayed_to(entry, node)
    with trio.fail_after(2 * PATIENCE):
        while (await ask(entry, STATISTICS))["circuits"] or (await ask(node, STATISTICS))["accepted"]:  # noqa: ASYNC110 - another process
            await trio.sleep(0.1)


async def _answer_ok(stream: object) -> None:
    await read_message(stream)  # type: ignore[arg-type]
    await stream.write(frame(encode_hop(HopMessage(HopType.STATUS, status=Status.OK))))  # type: ignore[attr-defined]


async def test_a_relay_that_plays_the_destination_is_found_out() -> None:
    async with a_host() as liar, a_host() as node, a_host(listen=(), private=True) as client:

        async def impersonate(stream: object) -> None:
            await _answer_ok(stream)
            with trio.move_on_after(PATIENCE):
                await circuits.join(liar.raw, stream, initiator=False, relay=node.peer_id, peer=client.peer_id)  # type: ignore[arg-type]

        liar.raw.set_stream_handler(TProtocol(HOP_PROTOCOL), impersonate)
        await client.connect(liar.addrs()[0])
        with trio.fail_after(PATIENCE), pytest.raises((UnreachableError, BadSignatureError)):
            await dial_through(client, liar.peer_id, node.peer_id)
        assert not client.is_connected(node.peer_id)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        frame(b""),
        frame(encode_hop(HopMessage(HopType.RESERVE))),
        frame(encode_hop(HopMessage(HopType.STATUS))),
        frame(encode_hop(HopMessage(HopType.STATUS, status=999))),
        uvarint(1 << 40),
        frame(encode_hop(HopMessage(HopType.STATUS, status=100))) + b"\x13junk" * 100,
    ],
    ids=["nothing", "empty", "a request", "no status", "a new status", "a terabyte", "ok, then junk"],
)
async def test_a_client_survives_what_an_entry_says(said: bytes) -> None:
    async with a_host() as liar, a_host() as node, a_host(listen=(), private=True) as client:

        async def speak(stream: object) -> None:
            await read_message(stream)  # type: ignore[arg-type]
            await stream.write(said)  # type: ignore[attr-defined]
            await stream.close()  # type: ignore[attr-defined]

        liar.raw.set_stream_handler(TProtocol(HOP_PROTOCOL), speak)
        await client.connect(liar.addrs()[0])
        with trio.fail_after(PATIENCE), pytest.raises(WarmlineError):
            await dial_through(client, liar.peer_id, node.peer_id)
        assert client.peers() == (liar.peer_id,)


async def test_a_relay_cannot_announce_one_client_and_bring_another() -> None:
    async with a_host() as node, relaying(node, {}) as end, a_host() as liar, a_host(listen=()) as other:
        await liar.connect(node.addrs()[0])
        stream = await raw_stream(liar, node.peer_id, STOP_PROTOCOL)
        claimed = circuits.ID.from_base58(other.peer_id).to_bytes()
        await stream.write(frame(encode_stop(StopMessage(StopType.CONNECT, peer=claimed))))
        with trio.fail_after(PATIENCE):
            assert decode_stop(await read_message(stream)).status == Status.OK
            with pytest.raises(WarmlineError):
                connection = await circuits.join(
                    liar.raw, stream, initiator=True, relay=node.peer_id, peer=node.peer_id
                )
                await connection.event_closed.wait()
                raise UnreachableError("closed by the node")
        assert end.entry_of(other.peer_id) is None
        assert other.peer_id not in node.peers()
