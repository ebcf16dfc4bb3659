"""The DHT between real hosts: put, get, provide, find, freshness and expiry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256

import pytest
import trio

from support.hosts import PATIENCE, a_host
from warmline.net.dht import Dht, DhtSettings, open_dht
from warmline.net.host import Libp2pHost
from warmline_protocol import limits
from warmline_protocol.errors import LocalError, MalformedError
from warmline_protocol.kad import PROTOCOL, KadMessage, KadPeer, KadRecord, KadType, decode_kad, encode_kad
from warmline_protocol.keys import base58_decode

SHARD = sha256(b"warmline/shard/0").digest()


def key_for(name: str) -> str:
    return f"/warm/{sha256(name.encode()).hexdigest()}"


class Rules:
    """Values are ``<seq>:<text>``; whatever is in ``expired`` is not valid any more."""

    def __init__(self) -> None:
        self.expired: set[bytes] = set()

    def validate(self, key: str, value: bytes) -> None:
        if b":" not in value or not value.split(b":")[0].isdigit():
            raise MalformedError("not seq:text")
        if value in self.expired:
            raise MalformedError("expired")

    def select(self, key: str, values: Sequence[bytes]) -> int:
        return max(range(len(values)), key=lambda i: int(values[i].split(b":")[0]))


@asynccontextmanager
async def dhts(
    count: int, rules: Rules | None = None, settings: DhtSettings | None = None
) -> AsyncIterator[list[tuple[Libp2pHost, Dht]]]:
    """``count`` nodes that know the first one only, until their routing tables fill."""
    rules = rules or Rules()
    async with AsyncExitStack() as stack:
        made = []
        for number in range(count):
            host = await stack.enter_async_context(a_host(name=f"dht {count} {number}"))
            opened = open_dht(host, settings, validate=rules.validate, select=rules.select)
            made.append((host, await stack.enter_async_context(opened)))
        with trio.fail_after(PATIENCE):
            for host, dht in made[1:]:
                await host.connect(made[0][0].addrs()[0])
                await dht.wait_peers(1)
            if count > 1:
                await made[0][1].wait_peers(count - 1)
            for _, dht in made:
                await dht.refresh()
        yield made


@asynccontextmanager
async def patient() -> AsyncIterator[None]:
    with trio.fail_after(2 * PATIENCE):
        await trio.lowlevel.checkpoint()
        yield


async def test_no_answer_waits_for_a_bucket_that_asks_who_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full bucket asks its oldest peer; a lookup went on only when that one had answered, and lost what it had."""
    async with dhts(4, settings=DhtSettings(query_seconds=2.0)) as made, patient():
        assert await made[1][1].put(key_for("a"), b"1:hello") == 3
        admitting = trio.Event()

        async def forever(*peer: object, **options: object) -> bool:
            admitting.set()
            await trio.sleep_forever()
            return False

        monkeypatch.setattr(made[2][1]._peers.table, "add_peer", forever)
        assert await made[2][1].get(key_for("a")) == b"1:hello"
        found = await made[2][1]._peers.look_up(KadType.GET_VALUE, key_for("a").encode())
        assert len(found.closest) == 3  # each answer counts, though none of them is admitted
        await admitting.wait()


async def test_a_value_put_at_one_node_is_got_at_another() -> None:
    async with dhts(8) as made, patient():
        assert await made[1][1].put(key_for("a"), b"1:hello") == 7
        assert await made[5][1].get(key_for("a")) == b"1:hello"
        assert await made[2][1].get(key_for("nothing")) is None


async def test_an_update_is_seen_by_nodes_that_hold_the_old_copy() -> None:
    async with dhts(6) as made, patient():
        await made[1][1].put(key_for("a"), b"1:old")
        assert await made[3][1].get(key_for("a")) == b"1:old"
        await made[2][1].put(key_for("a"), b"2:new")
        for _, dht in made:
            assert await dht.get(key_for("a")) == b"2:new"


async def test_the_local_copy_is_only_one_answer_among_others() -> None:
    async with dhts(3) as made, patient():
        await made[0][1].put(key_for("a"), b"5:new")
        made[1][1]._values.keep(key_for("a").encode(), b"1:stale")
        assert await made[1][1].get(key_for("a")) == b"5:new"
        assert made[1][1]._values.get(key_for("a").encode()).value == b"5:new"


async def test_an_older_value_does_not_replace_a_newer_one_and_the_same_one_renews() -> None:
    async with dhts(3) as made, patient():
        assert await made[0][1].put(key_for("a"), b"2:new") == 2
        assert await made[0][1].put(key_for("a"), b"2:new") == 2
        assert await made[1][1].put(key_for("a"), b"1:old") == 0
        assert await made[2][1].get(key_for("a")) == b"2:new"


async def test_providers_are_found_once_each() -> None:
    async with dhts(8) as made, patient():
        for host, dht in made[:5]:
            assert await dht.provide(SHARD) == 7, host
        found = await made[7][1].find_providers(SHARD)
        assert found == tuple(sorted(host.peer_id for host, _ in made[:5]))
        assert await made[0][1].find_providers(sha256(b"nobody").digest()) == ()
        assert (await made[0][1].find_providers(SHARD)) == tuple(sorted(h.peer_id for h, _ in made[1:5]))


async def test_a_node_finds_another_that_it_never_met() -> None:
    async with dhts(6) as made, patient():
        contact = await made[4][1].find_node(made[5][0].peer_id)
        assert contact is not None
        assert contact.addrs[0] == made[5][0].addrs()[0]


async def test_expired_values_are_swept_and_neither_believed_nor_told_again() -> None:
    rules = Rules()
    async with dhts(4, rules) as made, patient():
        await made[0][1].put(key_for("a"), b"1:x")
        rules.expired.add(b"1:x")
        assert await made[3][1].get(key_for("a")) is None
        for _, dht in made:
            await dht.sweep()
            assert dht.statistics()["values"] == 0
        await made[0][1].republish()
        assert [dht.statistics()["values"] for _, dht in made] == [0] * 4
        assert made[0][1].statistics()["own_values"] == 0


async def test_republishing_reaches_nodes_that_came_later_and_a_dropped_key_is_not_told() -> None:
    async with dhts(3) as made, patient():
        await made[0][1].put(key_for("kept"), b"1:kept")
        await made[0][1].put(key_for("gone"), b"1:gone")
        made[0][1].drop(key_for("gone"))
        rules = Rules()
        async with a_host() as host, open_dht(host, validate=rules.validate, select=rules.select) as late:
            await host.connect(made[0][0].addrs()[0])
            await late.wait_peers(1)
            await made[0][1].wait_peers(3)
            await made[0][1].republish()
            assert late.statistics()["values"] == 1


async def test_invalid_values_and_keys_are_refused_at_once() -> None:
    async with dhts(1) as made:
        dht = made[0][1]
        with pytest.raises(MalformedError):
            await dht.put(key_for("a"), b"nonsense")
        with pytest.raises(LocalError):
            await dht.put("/other/a", b"1:x")
        with pytest.raises(LocalError):
            await dht.put(key_for("a"), b"1:" + bytes(limits.KAD_VALUE_MAX))
        with pytest.raises(LocalError):
            await dht.provide(b"short")
        assert await dht.get(key_for("a")) is None


async def test_a_client_that_asks_does_not_enter_the_routing_table() -> None:
    async with dhts(3) as made, patient(), a_host(listen=()) as client:
        peer = await client.connect(made[0][0].addrs()[0])
        async with await client.open_channel(peer, PROTOCOL, max_frame=limits.KAD_MESSAGE_MAX) as channel:
            await channel.send(encode_kad(KadMessage(KadType.FIND_NODE, base58_decode(made[0][0].peer_id))))
            answer = decode_kad(await channel.receive())
        assert len(answer.closer) >= 2
        assert client.peer_id not in made[0][1].peers()
        assert len(made[0][1].peers()) == 2


async def test_addresses_of_peers_outside_the_table_are_told_to_nobody() -> None:
    async with dhts(2) as made, patient(), a_host() as stranger, a_host(listen=()) as client:
        await stranger.connect(made[0][0].addrs()[0])
        peer = await client.connect(made[0][0].addrs()[0])
        async with await client.open_channel(peer, PROTOCOL, max_frame=limits.KAD_MESSAGE_MAX) as channel:
            await channel.send(encode_kad(KadMessage(KadType.FIND_NODE, base58_decode(stranger.peer_id))))
            answer = decode_kad(await channel.receive())
        assert base58_decode(stranger.peer_id) not in {entry.peer_id for entry in answer.closer}


async def test_stores_stay_bounded() -> None:
    settings = DhtSettings(values=4, provider_keys=3, providers_per_key=2)
    async with dhts(2, settings=settings) as made, patient():
        for number in range(10):
            await made[0][1].put(key_for(str(number)), b"1:x")
            await made[0][1].provide(sha256(b"%d" % number).digest())
        assert made[1][1].statistics()["values"] == 4
        assert made[1][1].statistics()["provider_keys"] == 3


async def test_somebody_else_cannot_be_named_as_a_provider() -> None:
    async with dhts(2) as made, patient(), a_host(listen=()) as client:
        peer = await client.connect(made[0][0].addrs()[0])
        victim = KadPeer(base58_decode(made[1][0].peer_id), (bytes([4, 127, 0, 0, 1, 6, 0, 80]),))
        async with await client.open_channel(peer, PROTOCOL, max_frame=limits.KAD_MESSAGE_MAX) as channel:
            await channel.send(encode_kad(KadMessage(KadType.ADD_PROVIDER, SHARD, providers=(victim,))))
            await channel.receive()
        assert await made[0][1].find_providers(SHARD) == ()


async def test_a_value_under_a_foreign_namespace_is_refused_by_the_server() -> None:
    async with dhts(2) as made, patient(), a_host(listen=()) as client:
        peer = await client.connect(made[0][0].addrs()[0])
        for key in (b"/pk/abc", b"/ipns/abc", b"plain", b"\xff\xfe"):
            channel = await client.open_channel(peer, PROTOCOL, max_frame=limits.KAD_MESSAGE_MAX)
            await channel.send(encode_kad(KadMessage(KadType.PUT_VALUE, key, record=KadRecord(key, b"1:x"))))
            with pytest.raises(Exception):  # noqa: B017 - reset or closed, as the muxer has it
                await channel.receive()
        assert made[0][1].statistics()["values"] == 0


async def test_what_was_said_before_anybody_listened_is_said_again_soon() -> None:
    settings = DhtSettings(retell_seconds=0.3)
    async with dhts(1, settings=settings) as early, dhts(4) as made, patient():
        host, dht = early[0]
        assert await dht.put(key_for("early"), b"1:x") == 0
        assert await dht.provide(SHARD) == 0
        await host.connect(made[0][0].addrs()[0])
        while True:
            if await made[3][1].get(key_for("early")) and await made[3][1].find_providers(SHARD):
                return
            await trio.sleep(0.1)


async def test_a_node_that_joins_fills_its_table_by_itself() -> None:
    rules = Rules()
    async with (
        dhts(5) as made,
        patient(),
        a_host() as host,
        open_dht(host, validate=rules.validate, select=rules.select) as late,
    ):
        await host.connect(made[0][0].addrs()[0])
        await late.wait_peers(5)
