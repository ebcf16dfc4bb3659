"""The client's lookup over circuits, from one known node to a record at a node it never heard of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256

import pytest
import trio

from support.hosts import PATIENCE, a_host
from support.relays import relaying
from warmline.client.lookup import ClientLookup
from warmline.client.routes import Routes
from warmline.env import SystemClock, SystemRng
from warmline.net.dht import Dht, open_dht
from warmline.net.host import Libp2pHost
from warmline_protocol.errors import MalformedError, UnreachableError
from warmline_protocol.records.node import NodeAddress

SHARD = sha256(b"warmline/shard/0").digest()
KEY = f"/warm/{sha256(b'record').hexdigest()}"


def validate(key: str, value: bytes) -> None:
    if not value.startswith(b"v"):
        raise MalformedError("not ours")


def best(key: str, values: object) -> int:
    assert isinstance(values, list | tuple)
    return max(range(len(values)), key=lambda i: values[i])


@asynccontextmanager
async def network(count: int) -> AsyncIterator[list[tuple[Libp2pHost, Dht]]]:
    """Nodes that all relay to one another and know the first."""
    known: dict[str, list[str]] = {}
    async with AsyncExitStack() as stack:
        made = []
        for number in range(count):
            host = await stack.enter_async_context(a_host(name=f"client lookup {number}"))
            await stack.enter_async_context(relaying(host, known))
            known[host.peer_id] = list(host.addrs())
            dht = await stack.enter_async_context(open_dht(host, validate=validate, select=best))
            made.append((host, dht))
        with trio.fail_after(PATIENCE):
            for host, dht in made[1:]:
                await host.connect(made[0][0].addrs()[0])
                await dht.wait_peers(1)
            await made[0][1].wait_peers(count - 1)
            for _, dht in made:
                await dht.refresh()
        yield made


def lookup_through(made: list[tuple[Libp2pHost, Dht]], entries: list[int], seeds: list[int]) -> ClientLookup:
    rng, clock = SystemRng(), SystemClock()
    routes = Routes(tuple(made[i][0].addrs()[0] for i in entries), rng=rng, clock=clock)
    known = [NodeAddress(made[i][0].peer_id, made[i][0].addrs()) for i in seeds]
    return ClientLookup(routes, known, rng=rng, clock=clock)


async def test_a_record_is_found_through_an_entry_at_nodes_the_client_never_heard_of() -> None:
    async with network(5) as made:
        with trio.fail_after(2 * PATIENCE):
            await made[3][1].put(KEY, b"v1")
            client = lookup_through(made, [0], [1])
            assert await client.value(KEY, validate=validate, select=best) == b"v1"
            await made[4][1].put(KEY, b"v2")
            assert await client.value(KEY, validate=validate, select=best) == b"v2"


async def test_providers_of_the_shard_are_found_by_who_knows_one_node_only() -> None:
    async with network(5) as made:
        with trio.fail_after(2 * PATIENCE):
            for _, dht in made[2:]:
                await dht.provide(SHARD)
            client = lookup_through(made, [0], [0])
            found = await client.providers(SHARD)
        assert sorted(c.peer_id for c in found) == sorted(host.peer_id for host, _ in made[2:])
        assert all(c.addrs for c in found)


async def test_no_node_asked_knows_the_client_or_keeps_its_key() -> None:
    async with network(4) as made:
        with trio.fail_after(2 * PATIENCE):
            await made[3][1].put(KEY, b"v1")
            await lookup_through(made, [0], [1]).value(KEY, validate=validate, select=best)
        nodes = {host.peer_id for host, _ in made}
        for _, dht in made:
            assert set(dht.peers()) <= nodes


async def test_a_value_that_does_not_validate_is_nothing() -> None:
    async with network(3) as made:
        with trio.fail_after(2 * PATIENCE):
            made[1][1]._values.keep(KEY.encode(), b"forged")
            client = lookup_through(made, [0], [1])
            assert await client.value(KEY, validate=validate, select=best) is None


async def test_where_nobody_answers_it_says_what_to_do() -> None:
    async with a_host() as host:
        rng, clock = SystemRng(), SystemClock()
        routes = Routes(host.addrs()[:1], rng=rng, clock=clock)
        client = ClientLookup(routes, [NodeAddress(host.peer_id, host.addrs())], rng=rng, clock=clock)
        with trio.fail_after(PATIENCE), pytest.raises(UnreachableError) as caught:
            await client.providers(SHARD)
        assert "entries" in caught.value.hint
