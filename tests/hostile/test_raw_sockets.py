"""Bytes from strangers, before any handshake has succeeded. After each the node must serve an honest client."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import trio

from support.hosts import (
    MULTISTREAM,
    PATIENCE,
    delimited,
    is_served,
    raw_noise,
    raw_socket,
    reset_socket,
    uvarint,
    wait_closed,
)
from support.processes import Child, running

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(193)

# What a stranger sends; each is tried with a FIN, with a RST, and held open.
BYTES = {
    "nothing": b"",
    "one byte": b"\x13",
    "noise-like junk": os.urandom(4096),
    "plain GET": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "half GET": b"GET / HTTP/1.1\r\nHo",
    "long URI": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    "TLS hello": TLS_HELLO,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(256),
    "upgrade, then junk": UPGRADE + os.urandom(4096),
    "upgrade, half a frame": UPGRADE + b"\x82\xff\x00\x00\x00\x00\x00\x00\x10\x00",
    "upgrade, 1 TiB frame": UPGRADE + b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(8192),
    "upgrade, close, more data": UPGRADE + b"\x88\x80\x00\x00\x00\x00" + b"\x82\x84\x00\x00\x00\x00junk",
    "upgrade, unmasked": UPGRADE + b"\x82\x05hello",
    "upgrade, reserved opcode": UPGRADE + b"\x83\x80\x00\x00\x00\x00",
    "upgrade, bad UTF-8 text": UPGRADE + b"\x81\x82\x00\x00\x00\x00\xff\xfe",
    "bad upgrade": UPGRADE.replace(b"13", b"99"),
    "upgrade without key": UPGRADE.replace(b"Sec-WebSocket-Key", b"X-Nothing"),
    "multistream, 1 TiB line": uvarint(1 << 40) + bytes(65536),
    "multistream, endless varint": b"\xff" * 64,
    "multistream, empty line": MULTISTREAM + b"\x00" * 64,
    "multistream, not UTF-8": MULTISTREAM + delimited(b"/\xff\xfe\xfd"),
    "multistream, no newline": b"\x05abcde",
    "multistream, many unknown": MULTISTREAM + delimited(*[b"/x/%d" % i for i in range(2000)]),
    "multistream, ls flood": MULTISTREAM + delimited(*[b"ls"] * 2000),
    "noise, junk handshake": MULTISTREAM + delimited(b"/noise") + b"\x01\x00" + os.urandom(256),
    "noise, empty message": MULTISTREAM + delimited(b"/noise") + b"\x00\x00" * 32,
    "noise, half message": MULTISTREAM + delimited(b"/noise") + b"\xff\xff" + bytes(100),
}


@pytest.fixture(scope="module")
def node() -> Iterator[Child]:
    from support import hosts

    with running(hosts.__file__, "echo_node") as child:
        yield child


async def survives(node: Child) -> None:
    assert node.alive, node.stderr[-3000:]
    for addr in node.facts["addrs"]:
        await is_served(addr)
    assert node.complaints == ""


@pytest.mark.parametrize("which", [0, 1], ids=["tcp", "ws"])
@pytest.mark.parametrize("payload", BYTES)
async def test_a_strangers_bytes_end_only_their_connection(node: Child, payload: str, which: int) -> None:
    addr = node.facts["addrs"][which]
    async with raw_socket(addr) as held, raw_socket(addr) as ended, raw_socket(addr) as reset:
        for stream in (held, ended, reset):
            await _send(stream, BYTES[payload])
        await trio.aclose_forcefully(ended)
        await reset_socket(reset)
        await is_served(addr)
    assert node.alive, node.stderr[-3000:]
    assert node.complaints == ""


async def _send(stream: trio.SocketStream, data: bytes) -> None:
    with trio.move_on_after(PATIENCE):
        try:
            await stream.send_all(data)
        except trio.BrokenResourceError:
            return  # it hung up on us, as it should


async def test_fifty_resets_in_the_middle_of_an_upgrade(node: Child) -> None:
    for cut in range(0, 150, 3):
        async with raw_socket(node.facts["addrs"][1]) as stream:
            await stream.send_all(UPGRADE[:cut])
            await reset_socket(stream)
    await survives(node)


@pytest.mark.parametrize("which", [0, 1], ids=["tcp", "ws"])
async def test_slow_loris_leaves_room_for_others(node: Child, which: int) -> None:
    addr = node.facts["addrs"][which]
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(_drip, addr)
        await is_served(addr)
        nursery.cancel_scope.cancel()
    await survives(node)


async def _drip(addr: str) -> None:
    async with raw_socket(addr) as stream:
        for byte in MULTISTREAM:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.5)


async def test_silent_strangers_are_dropped(node: Child) -> None:
    tcp, ws = node.facts["addrs"]
    async with raw_socket(tcp) as one, raw_socket(ws) as other:
        await wait_closed(one)
        await wait_closed(other)


@pytest.mark.parametrize("offer", ["/plaintext/2.0.0", "/secio/1.0.0", "/tls/1.0.0", "/mplex/6.7.0"])
async def test_other_security_is_refused(node: Child, offer: str) -> None:
    async with raw_socket(node.facts["addrs"][0]) as stream:
        await stream.send_all(MULTISTREAM + delimited(offer.encode()))
        said = b""
        with trio.fail_after(PATIENCE):
            while b"\n" not in said[len(MULTISTREAM) :]:
                said += await stream.receive_some(1024)
    assert said == MULTISTREAM + delimited(b"na")


async def test_other_muxers_are_refused(node: Child) -> None:
    async with raw_noise(node.facts["addrs"][0], muxer=None) as connection:
        await connection.send_bytes(MULTISTREAM + delimited(b"/mplex/6.7.0"))
        said = await connection.wait_closed()
    assert b"mplex" not in said
    await survives(node)
