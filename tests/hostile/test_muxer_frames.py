"""Yamux frames that no honest muxer sends, over a connection with a good handshake."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio

from support import hosts
from support.hosts import (
    ECHO,
    MULTISTREAM,
    PATIENCE,
    RawMuxer,
    a_host,
    delimited,
    is_served,
    raw_noise,
    raw_stream,
    uvarint,
)
from support.processes import Child, running

DATA, WINDOW, PING, GO_AWAY = 0, 1, 2, 3
SYN, ACK, FIN, RST = 1, 2, 4, 8
OPEN_ECHO = MULTISTREAM + delimited(ECHO.encode())
STREAM_LIMIT = 64


@pytest.fixture(scope="module")
def node() -> Iterator[Child]:
    with running(hosts.__file__, "echo_node", max_streams_per_connection=STREAM_LIMIT) as child:
        yield child


async def junk(mux: RawMuxer) -> None:
    await mux.send_bytes(os.urandom(4096))


async def junk_instead_of_noise(mux: RawMuxer) -> None:
    await mux.send_below_noise(b"\x10\x00" + os.urandom(4096))


async def wrong_version(mux: RawMuxer) -> None:
    await mux.send(PING, SYN, 0, 1, version=7)


async def unknown_type(mux: RawMuxer) -> None:
    await mux.send(99, 0, 1, 12)


async def data_for_no_stream(mux: RawMuxer) -> None:
    await mux.send(DATA, 0, 9999, 5, b"hello")


async def huge_data(mux: RawMuxer) -> None:
    await mux.send(DATA, SYN, 1, (1 << 32) - 1, b"x")


async def half_header(mux: RawMuxer) -> None:
    await mux.send_bytes(b"\x00\x00\x00")


async def half_body(mux: RawMuxer) -> None:
    await mux.send(DATA, SYN, 1, 5000, b"x" * 10)


async def all_flags(mux: RawMuxer) -> None:
    for flags in range(16):
        await mux.send(DATA, flags, 2 * flags + 1, 3, b"abc")
        await mux.send(WINDOW, flags, 2 * flags + 101, 0)


async def same_stream_twice(mux: RawMuxer) -> None:
    await mux.send(WINDOW, SYN, 1, 0)
    await mux.send(WINDOW, SYN, 1, 0)


async def stream_zero(mux: RawMuxer) -> None:
    await mux.send(DATA, SYN, 0, len(OPEN_ECHO), OPEN_ECHO)


async def their_side_of_the_ids(mux: RawMuxer) -> None:
    await mux.send(DATA, SYN, 2, len(OPEN_ECHO), OPEN_ECHO)


async def window_overflow(mux: RawMuxer) -> None:
    await mux.send(WINDOW, SYN, 1, 0)
    for _ in range(100):
        await mux.send(WINDOW, 0, 1, (1 << 32) - 1)


async def ping_flood(mux: RawMuxer) -> None:
    for value in range(20_000):
        await mux.send(PING, SYN, 0, value)


async def pongs_for_nothing(mux: RawMuxer) -> None:
    for value in range(1000):
        await mux.send(PING, ACK, 0, value)


async def strange_goodbye(mux: RawMuxer) -> None:
    await mux.send(GO_AWAY, 0, 0, 0xDEADBEEF)


async def open_and_reset(mux: RawMuxer) -> None:
    for stream in range(1, 4001, 2):
        await mux.send(WINDOW, SYN, stream, 0)
        await mux.send(WINDOW, RST, stream, 0)


async def reset_on_arrival(mux: RawMuxer) -> None:
    for stream in range(1, 401, 2):
        await mux.send(WINDOW, SYN | RST, stream, 0)


async def half_closed_at_birth(mux: RawMuxer) -> None:
    for stream in range(1, 401, 2):
        await mux.send(DATA, SYN | FIN, stream, len(OPEN_ECHO), OPEN_ECHO)


async def stream_flood(mux: RawMuxer) -> None:
    for stream in range(1, 10_001, 2):
        await mux.send(WINDOW, SYN, stream, 0)


async def negotiation_line_of_a_tebibyte(mux: RawMuxer) -> None:
    body = uvarint(1 << 40) + bytes(60_000)
    await mux.send(DATA, SYN, 1, len(body), body)


async def negotiation_not_utf8(mux: RawMuxer) -> None:
    body = MULTISTREAM + delimited(b"/\xff\xfe")
    await mux.send(DATA, SYN, 1, len(body), body)


async def negotiation_of_nothing(mux: RawMuxer) -> None:
    body = MULTISTREAM + delimited(b"")
    await mux.send(DATA, SYN, 1, len(body), body)


ATTACKS: list[Callable[[RawMuxer], Awaitable[None]]] = [
    junk,
    junk_instead_of_noise,
    wrong_version,
    unknown_type,
    data_for_no_stream,
    huge_data,
    half_header,
    half_body,
    all_flags,
    same_stream_twice,
    stream_zero,
    their_side_of_the_ids,
    window_overflow,
    ping_flood,
    pongs_for_nothing,
    strange_goodbye,
    open_and_reset,
    reset_on_arrival,
    half_closed_at_birth,
    stream_flood,
    negotiation_line_of_a_tebibyte,
    negotiation_not_utf8,
    negotiation_of_nothing,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_strange_frames_end_only_their_connection(
    node: Child, attack: Callable[[RawMuxer], Awaitable[None]]
) -> None:
    addr = node.facts["addrs"][0]
    async with raw_noise(addr) as mux, trio.open_nursery() as nursery:
        nursery.start_soon(mux.wait_closed)  # or our receive buffer would slow the node instead
        with trio.fail_after(PATIENCE):
            await mux.attack(attack)
        await is_served(addr)
        nursery.cancel_scope.cancel()
    assert node.alive, node.stderr[-3000:]
    assert node.complaints == ""


async def test_a_peer_that_ignores_the_window_is_cut_off(node: Child) -> None:
    """64 MiB into one stream that nobody reads: buffered by the stock muxer, the end of the connection here."""
    async with raw_noise(node.facts["addrs"][0]) as mux:
        body = MULTISTREAM + delimited(b"/warmline/test/raise/1") + uvarint(60_000)
        await mux.send(DATA, SYN, 1, len(body), body)
        await mux.send(DATA, SYN, 3, 4, b"\x03abc")  # a second stream that nobody reads further
        with trio.fail_after(PATIENCE):
            await mux.attack(_overrun)
        await mux.wait_closed()
    await is_served(node.facts["addrs"][0])


async def _overrun(mux: RawMuxer) -> None:
    block = bytes(65_000)
    for _ in range(1000):
        await mux.send(DATA, 0, 3, len(block), block)


async def test_streams_above_the_limit_are_reset_and_the_rest_go_on(node: Child) -> None:
    """A flood within one connection harms that connection's own streams only."""
    async with a_host(listen=()) as client:
        peer = await client.connect(node.facts["addrs"][0])
        held = [await raw_stream(client, peer, "/warmline/test/raise/1") for _ in range(32)]
        muxed = held[0].muxed_conn
        for _ in range(2 * STREAM_LIMIT):
            await muxed.open_stream()
        await is_served(node.facts["addrs"][0])
        with trio.fail_after(PATIENCE):
            for stream in held:
                await stream.reset()
