"""Raw frames on the kad protocol against a node in another process, and nodes that lie to one that asks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import Any

import pytest
import trio
from libp2p.kad_dht.pb import kademlia_pb2

from support.hosts import PATIENCE, Ready, a_host, raw_stream, uvarint
from support.processes import Child, running
from warmline.net.api import Channel
from warmline.net.dht import Dht, DhtSettings, open_dht
from warmline.net.host import Libp2pHost
from warmline_protocol import limits
from warmline_protocol.codec import frame
from warmline_protocol.errors import MalformedError
from warmline_protocol.kad import PROTOCOL, KadMessage, KadPeer, KadRecord, KadType, decode_kad, encode_kad
from warmline_protocol.keys import base58_decode, peer_id_of

SHARD = sha256(b"warmline/shard/0").digest()
KEY = f"/warm/{sha256(b'k').hexdigest()}"
STATISTICS = "/warmline/test/dht-statistics/1"


def validate(key: str, value: bytes) -> None:
    if value.startswith(b"trap"):
        raise ZeroDivisionError("a validator with a defect")
    if not value.startswith(b"v"):
        raise MalformedError("not ours")


def select(key: str, values: Sequence[bytes]) -> int:
    return max(range(len(values)), key=lambda i: values[i])


async def dht_node(ready: Ready) -> None:
    async with a_host() as host, open_dht(host, validate=validate, select=select) as dht:

        async def statistics(channel: Any) -> None:
            await channel.receive()
            await channel.send(json.dumps(dht.statistics()).encode())

        host.serve(STATISTICS, statistics, max_frame=1 << 16, max_channels_per_peer=8)
        ready({"peer": host.peer_id, "addrs": host.addrs()})
        await trio.sleep_forever()


@pytest.fixture(scope="module")
def node() -> Iterator[Child]:
    with running(__file__, "dht_node") as child:
        yield child
        assert child.alive, child.stderr


@asynccontextmanager
async def honest(addr: str, settings: DhtSettings | None = None) -> AsyncIterator[tuple[Libp2pHost, Dht]]:
    async with a_host() as host, open_dht(host, settings, validate=validate, select=select) as dht:
        await host.connect(addr)
        with trio.fail_after(PATIENCE):
            await dht.wait_peers()
        yield host, dht


async def serves_an_honest_peer(node: Child) -> None:
    value = b"v%020.6f" % trio.current_time()
    key = f"/warm/{sha256(value).hexdigest()}"
    with trio.fail_after(PATIENCE):
        async with honest(node.facts["addrs"][0]) as (_, dht):
            assert await dht.put(key, value) >= 1
            dht.drop(key)
            assert await dht.get(key) == value


async def statistics(node: Child) -> dict[str, int]:
    async with a_host(listen=()) as host:
        peer = await host.connect(node.facts["addrs"][0])
        async with await host.open_channel(peer, STATISTICS, max_frame=1 << 16) as channel:
            await channel.send(b"?")
            numbers: dict[str, int] = json.loads(await channel.receive())
            return numbers


def kad(**fields: Any) -> bytes:
    return frame(kademlia_pb2.Message(**fields).SerializeToString())


def put(key: bytes, value: bytes, **fields: Any) -> bytes:
    return kad(type=0, key=key, record={"key": key, "value": value, **fields})


FRAMES: dict[str, bytes] = {
    "not protobuf": frame(b"\xff\xff\xff\xff"),
    "empty frame": frame(b""),
    "a tebibyte announced": uvarint(1 << 40),
    "just above the cap": uvarint(limits.KAD_MESSAGE_MAX + 1),
    "an endless length": b"\x80" * 64,
    "cut in the middle": uvarint(100) + b"half",
    "an unknown type": frame(b"\x08\x63"),
    "FIND_NODE without a key": kad(type=4),
    "FIND_NODE with a huge key": kad(type=4, key=b"k" * 100_000),
    "GET_VALUE without a key": kad(type=1),
    "GET_VALUE with a huge key": kad(type=1, key=b"k" * 100_000),
    "PUT_VALUE without a record": kad(type=0, key=b"k"),
    "PUT_VALUE under another key": kad(type=0, key=b"a", record={"key": b"b", "value": b"v"}),
    "PUT_VALUE without a namespace": put(b"plain", b"v"),
    "PUT_VALUE in a foreign namespace": put(b"/pk/x", b"v"),
    "PUT_VALUE with a key that is no text": put(b"\xff\xfe", b"v"),
    "PUT_VALUE that is not valid": put(KEY.encode(), b"x"),
    "PUT_VALUE that breaks the validator": put(KEY.encode(), b"trap"),
    "PUT_VALUE above the size": put(KEY.encode(), b"v" * (limits.KAD_VALUE_MAX + 1)),
    "PUT_VALUE with a junk signature": put(KEY.encode(), b"v", author=b"junk", signature=b"junk"),
    "ADD_PROVIDER without a provider": kad(type=2, key=SHARD),
    "ADD_PROVIDER of a thousand": kad(type=2, key=SHARD, providerPeers=[{"id": b"x", "addrs": [b"y"]}] * 1000),
    "ADD_PROVIDER with a huge key": kad(type=2, key=b"k" * 1000),
    "GET_PROVIDERS without a key": kad(type=3),
    "a junk sender record": kad(type=4, key=b"kk", senderRecord=b"\xff" * 200),
    "PING": kad(type=5),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_a_frame_costs_its_sender_at_most_the_stream(node: Child, name: str) -> None:
    before = await statistics(node)
    async with a_host(listen=()) as host:
        peer = await host.connect(node.facts["addrs"][0])
        stream = await raw_stream(host, peer, PROTOCOL)
        with suppress(Exception):  # the node may hang up at any point, which is a fine answer
            await stream.write(FRAMES[name])
            await stream.write(FRAMES[name])
        after = await statistics(node)
        await serves_an_honest_peer(node)
    assert after["values"] == before["values"]
    assert node.alive, node.stderr


async def test_idle_streams_of_one_peer_keep_nobody_else_out(node: Child) -> None:
    async with a_host(listen=()) as host:
        peer = await host.connect(node.facts["addrs"][0])
        for _ in range(40):
            with suppress(Exception):  # those above the limit are reset
                await raw_stream(host, peer, PROTOCOL)
        await serves_an_honest_peer(node)


async def test_the_connection_dies_in_the_middle_of_a_question(node: Child) -> None:
    async with a_host(listen=()) as host:
        peer = await host.connect(node.facts["addrs"][0])
        stream = await raw_stream(host, peer, PROTOCOL)
        await stream.write(kad(type=4, key=b"kk")[:-1])
        for connection in host.raw.get_network().get_connections():
            await connection.muxed_conn.secured_conn.close()
        await serves_an_honest_peer(node)


# --- lying answers -----------------------------------------------------------------------------------------------


def made_up(count: int) -> tuple[KadPeer, ...]:
    nowhere = bytes([4, 127, 0, 0, 1, 6, 0, 1])
    ids = (peer_id_of(sha256(b"made up %d" % n).digest()) for n in range(count))
    return tuple(KadPeer(base58_decode(i), (nowhere,)) for i in ids)


def lies(message: KadMessage, own: str) -> dict[str, bytes]:
    own_id = base58_decode(own)
    key = message.key
    value = KadRecord(key, b"forged")
    return {
        "silence": b"",
        "garbage": b"\xff" * 100,
        "another type": encode_kad(KadMessage(KadType.PING)),
        "a giant list": encode_kad(KadMessage(message.type, key, closer=made_up(3000))),
        "made-up peers": encode_kad(KadMessage(message.type, key, closer=made_up(20))),
        "itself": encode_kad(KadMessage(message.type, key, closer=(KadPeer(own_id),) * 20)),
        "garbage ids": encode_kad(KadMessage(message.type, key, closer=(KadPeer(b"\x12\x20x"), KadPeer(b"")))),
        "a forged value": encode_kad(KadMessage(message.type, key, record=value)),
        "a value under another key": encode_kad(KadMessage(message.type, key, record=KadRecord(b"/warm/x", b"v9"))),
        "a giant value": encode_kad(KadMessage(message.type, key, record=KadRecord(key, b"v" * 200_000))),
        "garbage addresses": encode_kad(
            KadMessage(message.type, key, closer=(KadPeer(made_up(1)[0].peer_id, (b"\xff",)),))
        ),
    }


@asynccontextmanager
async def liar(lie: str) -> AsyncIterator[Libp2pHost]:
    async with a_host() as host:

        async def answer(channel: Channel) -> None:
            message = decode_kad(await channel.receive())
            said = lies(message, host.peer_id)[lie]
            if not said:
                await trio.sleep_forever()
            await channel.send(said)
            await channel.receive()

        host.serve(PROTOCOL, answer, max_frame=4 << 20, max_channels_per_peer=64)
        yield host


@pytest.mark.parametrize("lie", lies(KadMessage(KadType.GET_VALUE, b"k"), peer_id_of(bytes(32))))
async def test_a_liar_among_the_asked_spoils_nothing(node: Child, lie: str) -> None:
    settings = DhtSettings(query_seconds=3.0, lookup_seconds=25.0)
    async with liar(lie) as false, honest(node.facts["addrs"][0], settings) as (host, dht):
        await host.connect(false.addrs()[0])
        with trio.fail_after(2 * PATIENCE):
            await dht.wait_peers(2)
            key = f"/warm/{sha256(lie.encode()).hexdigest()}"
            assert await dht.put(key, b"v1") >= 1
            dht.drop(key)
            assert await dht.get(key) == b"v1"
            assert false.peer_id not in await dht.find_providers(SHARD)
