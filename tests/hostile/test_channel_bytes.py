"""Bytes on a negotiated stream that no honest channel sends, to our own protocol and to the library's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from libp2p.host.exceptions import StreamFailure

from support import hosts
from support.hosts import ECHO, ECHO_FRAME, PATIENCE, a_host, is_served, raw_stream, uvarint
from support.processes import Child, running
from warmline_protocol.codec import frame
from warmline_protocol.errors import UnreachableError, WarmlineError

RAISE = "/warmline/test/raise/1"
IDENTIFY, PUSH, PING = "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"

BYTES = {
    "1 TiB prefix": uvarint(1 << 40) + bytes(1000),
    "above the cap by one": uvarint(ECHO_FRAME + 1) + bytes(1000),
    "over-long varint": b"\xff" * 32,
    "varint not in its shortest form": b"\x80\x00",
    "half a prefix": b"\x80",
    "half a frame": uvarint(1000) + bytes(10),
    "junk": os.urandom(100_000),
    "empty frames without end": b"\x00" * 200_000,
    "nothing": b"",
}


@pytest.fixture(scope="module")
def node() -> Iterator[Child]:
    with running(hosts.__file__, "echo_node") as child:
        yield child


@pytest.mark.parametrize("protocol", [ECHO, RAISE, IDENTIFY, PUSH, PING])
@pytest.mark.parametrize("payload", BYTES)
async def test_broken_frames_end_only_their_stream(node: Child, payload: str, protocol: str) -> None:
    addr = node.facts["addrs"][0]
    async with a_host(listen=()) as client:
        peer = await client.connect(addr)
        for ending in ("close", "reset", "held"):
            try:
                stream = await raw_stream(client, peer, protocol)
            except StreamFailure:  # ping serves two streams of one peer at a time
                assert protocol == PING
                continue
            await _send(stream, BYTES[payload])
            if ending != "held":
                await getattr(stream, ending)()
        # The same connection still serves, and so does the node.
        async with await client.open_channel(peer, ECHO, max_frame=ECHO_FRAME) as channel:
            await channel.send(b"still here?")
            assert await channel.receive() == b"still here?"
    assert node.alive, node.stderr[-3000:]
    assert node.complaints == ""


async def _send(stream: Any, data: bytes) -> None:
    with trio.move_on_after(2):  # a node that stops reading has defended itself
        try:
            await stream.write(data)
        except Exception:  # noqa: BLE001 - a reset on the way is a fine answer
            return


async def test_strangers_are_served_after_all_of_that(node: Child) -> None:
    for addr in node.facts["addrs"]:
        await is_served(addr)


async def test_a_handler_that_raises_resets_its_stream_only(node: Child) -> None:
    async with a_host(listen=()) as client:
        peer = await client.connect(node.facts["addrs"][0])
        async with await client.open_channel(peer, ECHO, max_frame=ECHO_FRAME) as bystander:
            for _ in range(20):
                channel = await client.open_channel(peer, RAISE, max_frame=ECHO_FRAME)
                await channel.send(b"go")
                with pytest.raises(WarmlineError):
                    await channel.receive(deadline=PATIENCE)
                await channel.aclose()
            await bystander.send(b"undisturbed")
            assert await bystander.receive() == b"undisturbed"


async def test_channels_above_a_protocols_limit_are_reset(node: Child) -> None:
    async with a_host(listen=()) as client:
        peer = await client.connect(node.facts["addrs"][0])
        held = [await client.open_channel(peer, ECHO, max_frame=ECHO_FRAME) for _ in range(32)]
        with pytest.raises(WarmlineError):
            extra = await client.open_channel(peer, ECHO, max_frame=ECHO_FRAME)
            await extra.send(b"one too many")
            await extra.receive(deadline=PATIENCE)
        await held[0].send(b"first")
        assert await held[0].receive() == b"first"
        async with a_host(listen=()) as other:
            await other.connect(node.facts["addrs"][0])
            async with await other.open_channel(peer, ECHO, max_frame=ECHO_FRAME) as channel:
                await channel.send(b"another peer has its own limit")
                await channel.receive()
        for channel in held:
            await channel.abort()


async def test_a_reader_that_pauses_keeps_its_stream(node: Child) -> None:
    """The stock muxer gives a writer's stream up after five seconds of a full window."""
    async with a_host(listen=()) as client:
        peer = await client.connect(node.facts["addrs"][0])
        stream = await raw_stream(client, peer, ECHO)
        block = frame(bytes(60_000))
        sent = 0
        with trio.move_on_after(1.0):  # the echoes fill our window, then the node's writer and our own wait
            while True:
                await stream.write(block)
                sent += 1
        await trio.sleep(6.0)
        got = 0
        with trio.fail_after(PATIENCE):
            while got < sent * len(block):
                got += len(await stream.read(65536))
        await stream.reset()


async def test_an_unknown_protocol_is_an_error_and_not_the_end(node: Child) -> None:
    async with a_host(listen=()) as client:
        peer = await client.connect(node.facts["addrs"][0])
        for name in ("/no/such/1", "/" + "x" * 900, "/ünïcode/1"):
            with pytest.raises(UnreachableError):
                await client.open_channel(peer, name, deadline=PATIENCE)
        async with await client.open_channel(peer, ECHO, max_frame=ECHO_FRAME) as channel:
            await channel.send(b"fine")
            assert await channel.receive(deadline=PATIENCE) == b"fine"
