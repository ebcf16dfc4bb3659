"""Hosts for tests, raw sockets against their ports, and raw frames below what an honest host would send."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.security_multistream import SecurityMultistream

from warmline.env import SeededRng, SystemClock, SystemRng
from warmline.net.api import Channel
from warmline.net.host import HostSettings, Libp2pHost, open_host
from warmline_protocol.errors import ChannelClosed
from warmline_protocol.keys import SigningKey

ECHO = "/warmline/test/echo/1"
ECHO_FRAME = 64 * 1024
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
LOOPBACK_WS = "/ip4/127.0.0.1/tcp/0/ws"
PATIENCE = 30.0
"""Seconds for anything that an idle machine does in milliseconds."""

Ready = Callable[[dict[str, Any]], None]


def key_of(name: str) -> SigningKey:
    """A repeatable identity for a test."""
    return SigningKey(SeededRng(name).bytes(32))


@asynccontextmanager
async def a_host(
    *, name: str | None = None, listen: Sequence[str] = (LOOPBACK,), **settings: Any
) -> AsyncIterator[Libp2pHost]:
    """A host on real sockets; ``listen=()`` for a client, ``private=True`` for a routing host."""
    rng = SystemRng()
    key = key_of(name) if name else SigningKey(rng.bytes(32))
    async with open_host(HostSettings(listen=tuple(listen), **settings), key=key, rng=rng, clock=SystemClock()) as host:
        yield host


async def echo(channel: Channel) -> None:
    """Send every frame back, until the other side ends."""
    try:
        while True:
            await channel.send(await channel.receive())
    except ChannelClosed:
        return


async def echo_node(ready: Ready, *, listen: Sequence[str] = (LOOPBACK, LOOPBACK_WS), **settings: Any) -> None:
    """A node for another process: echoes, and raises where it is asked to."""

    async def raising(channel: Channel) -> None:
        await channel.receive()
        raise RuntimeError("this handler always fails")

    async with a_host(listen=listen, **settings) as host:
        host.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=32)
        host.serve("/warmline/test/raise/1", raising, max_frame=ECHO_FRAME, max_channels_per_peer=32)
        ready({"peer": host.peer_id, "addrs": host.addrs()})
        await trio.sleep_forever()


async def is_served(addr: str, *, seconds: float = PATIENCE) -> None:
    """An honest stranger connects, is echoed and leaves; raises when any of it fails."""
    with trio.fail_after(seconds):
        async with a_host(listen=()) as client:
            peer = await client.connect(addr, deadline=seconds)
            async with await client.open_channel(peer, ECHO, max_frame=ECHO_FRAME) as channel:
                await channel.send(b"are you there?")
                assert await channel.receive() == b"are you there?"


def port_of(addr: str) -> int:
    """The TCP port in a multiaddr."""
    parts = addr.split("/")
    return int(parts[parts.index("tcp") + 1])


@asynccontextmanager
async def raw_socket(addr: str) -> AsyncIterator[trio.SocketStream]:
    """A TCP connection that speaks nothing yet."""
    stream = await trio.open_tcp_stream("127.0.0.1", port_of(addr))
    try:
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


async def reset_socket(stream: trio.SocketStream) -> None:
    """Close with a TCP RST instead of a FIN."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)


async def wait_closed(stream: trio.SocketStream, *, seconds: float = PATIENCE) -> bytes:
    """Read until the other side closes or resets; what it said."""
    said = b""
    with trio.fail_after(seconds):
        try:
            while piece := await stream.receive_some(65536):
                said += piece
        except trio.BrokenResourceError:
            pass
    return said


def delimited(*lines: bytes) -> bytes:
    """multistream-select lines with their varint length."""
    return b"".join(uvarint(len(line) + 1) + line + b"\n" for line in lines)


def uvarint(value: int) -> bytes:
    """An unsigned varint of any size."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


MULTISTREAM = delimited(b"/multistream/1.0.0")


class RawMuxer:
    """Below Yamux: an authenticated Noise connection that has negotiated ``/yamux/1.0.0`` and sends what we say."""

    def __init__(self, secured: Any, socket: trio.SocketStream) -> None:
        self._secured = secured
        self._socket = socket

    async def send(self, kind: int, flags: int, stream: int, length: int, body: bytes = b"", version: int = 0) -> None:
        await self._secured.write(struct.pack("!BBHII", version, kind, flags, stream, length) + body)

    async def send_bytes(self, data: bytes) -> None:
        await self._secured.write(data)

    async def send_below_noise(self, data: bytes) -> None:
        """Bytes that Noise will not be able to open."""
        await self._socket.send_all(data)

    async def attack(self, attack: Callable[[RawMuxer], Awaitable[None]]) -> None:
        """Run ``attack`` until it ends or the node hangs up on it, which is a fine answer."""
        try:
            await attack(self)
        except (IOException, RawConnError, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def wait_closed(self, *, seconds: float = PATIENCE) -> bytes:
        """Read until the other side closes; what it said, decrypted."""
        said = b""
        with trio.fail_after(seconds):
            try:
                while data := await self._secured.read(65536):
                    said += data
            except (IOException, RawConnError, trio.BrokenResourceError):
                pass
        return said


@asynccontextmanager
async def raw_noise(addr: str, *, muxer: bytes | None = b"/yamux/1.0.0") -> AsyncIterator[RawMuxer]:
    """A connection with Noise done by the library and everything above it by hand; closed by force at the end."""
    pair = create_new_key_pair()
    offers = {NOISE_ID: NoiseTransport(pair, noise_privkey=create_noise_key_pair().private_key)}
    async with raw_socket(addr) as stream:
        with trio.fail_after(PATIENCE):
            raw = RawConnection(TrioTCPStream(stream), True)
            secured = await SecurityMultistream(offers).secure_outbound(raw, ID.from_string(addr.rsplit("/", 1)[1]))
            if muxer is not None:
                await secured.write(MULTISTREAM + delimited(muxer))
        yield RawMuxer(secured, stream)


async def raw_stream(host: Libp2pHost, peer: str, protocol: str) -> Any:
    """A negotiated library stream (``read``, ``write``, ``close``, ``reset``) for bytes that no channel would send."""
    return await host.raw.new_stream(ID.from_string(peer), [TProtocol(protocol)])


Attack = Callable[[str], Awaitable[None]]
"""Does something hostile to the node at an address; a table of these is a hostile test."""
