"""Typed calls: answers, refusals in words, and messages that nobody asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import trio

from support.hosts import a_host, raw_stream
from warmline.net.api import Channel
from warmline.net.rpc import answer_calls, call, expect
from warmline_protocol.codec import encode, frame
from warmline_protocol.errors import MalformedError, RefusedError, UnreachableError, WarmlineError
from warmline_protocol.wire import Size, message, to_wire

SUMS = "/warmline/test/sums/1"


@message("test_ask")
@dataclass(frozen=True, slots=True)
class Ask:
    text: Annotated[str, Size(0, 20)]


@message("test_told")
@dataclass(frozen=True, slots=True)
class Told:
    length: int


async def answer(question: Ask) -> Told:
    await trio.lowlevel.checkpoint()
    if question.text == "secret":
        raise RefusedError("private", "that is not told", hint="ask something else")
    if question.text == "crash":
        raise ZeroDivisionError
    return Told(len(question.text))


async def serve(channel: Channel) -> None:
    await answer_calls(channel, (Ask,), answer)


async def test_calls_answers_and_refusals() -> None:
    async with a_host() as node, a_host(listen=()) as client:
        node.serve(SUMS, serve, max_frame=1000, max_channels_per_peer=4)
        peer = await client.connect(node.addrs()[0])
        async with await client.open_channel(peer, SUMS) as channel:
            assert await call(channel, Ask("four"), (Told,)) == Told(4)
            with pytest.raises(RefusedError) as caught:
                await call(channel, Ask("secret"), (Told,))
            assert (caught.value.code, caught.value.message, caught.value.hint) == (
                "private",
                "that is not told",
                "ask something else",
            )
            assert await call(channel, Ask("after a refusal"), (Told,)) == Told(15)
        channel = await client.open_channel(peer, SUMS)
        with pytest.raises(UnreachableError):
            await call(channel, Ask("crash"), (Told,))
        await channel.aclose()


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xc1",
        encode({"t": "test_told", "length": 3}),
        encode({"t": "test_ask", "text": "x" * 21}),
        encode({"t": "test_ask", "text": "x", "more": 1}),
        encode({"t": "test_ask"}),
        encode([1, 2]),
        b"\x82\xa1t\xa8test_ask\xa1t\xa8test_ask",
    ],
)
async def test_messages_out_of_line_reset_the_channel(bad: bytes) -> None:
    async with a_host() as node, a_host(listen=()) as client:
        node.serve(SUMS, serve, max_frame=1000, max_channels_per_peer=4)
        peer = await client.connect(node.addrs()[0])
        channel = await client.open_channel(peer, SUMS)
        await channel.send(bad)
        with pytest.raises(WarmlineError):
            await channel.receive(deadline=20)
        await channel.aclose()
        async with await client.open_channel(peer, SUMS) as again:
            assert await call(again, Ask("x"), (Told,)) == Told(1)


async def test_an_answer_of_another_kind_is_their_fault() -> None:
    async with a_host() as node, a_host(listen=()) as client:

        async def wrong(channel: Channel) -> None:
            await channel.receive()
            await channel.send(to_wire(Ask("back to you")))
            await trio.sleep(60)

        node.serve(SUMS, wrong, max_frame=1000, max_channels_per_peer=4)
        peer = await client.connect(node.addrs()[0])
        channel = await client.open_channel(peer, SUMS)
        with pytest.raises(MalformedError):
            await call(channel, Ask("hello"), (Told,))
        assert channel.closed


async def test_an_answer_above_the_cap_is_their_fault() -> None:
    async with a_host() as node, a_host(listen=()) as client:
        node.serve(SUMS, serve, max_frame=1000, max_channels_per_peer=4)
        peer = await client.connect(node.addrs()[0])
        stream = await raw_stream(client, peer, SUMS)
        await stream.write(frame(to_wire(Ask("x"))))
        assert await stream.read(1000) == frame(to_wire(Told(1)))
        await stream.reset()
        channel = await client.open_channel(peer, SUMS, max_frame=4)
        with pytest.raises(WarmlineError):
            await expect(channel, (Told,), deadline=0.1)
        await channel.aclose()
