"""How a client chooses its entry, what it tells when the choice is poor, and what it says when nothing works."""

from __future__ import annotations

import pytest
import trio

from support.hosts import PATIENCE, a_host, key_of
from support.relays import a_pair, address, echoes, relaying, routes_through
from warmline.client.routes import Diversity, Routes
from warmline.env import SeededRng, SystemClock
from warmline_protocol.errors import ConfigError, UnreachableError
from warmline_protocol.records.node import NodeAddress

NODE = key_of("node").peer_id
FAR = key_of("far").peer_id
NEAR = key_of("near").peer_id


def routes(*entries: str, operators: dict[str, str] | None = None) -> Routes:
    return Routes(entries, rng=SeededRng("choice"), clock=SystemClock(), operator_of=(operators or {}).get)


async def candidates(known: Routes, node: NodeAddress) -> list[tuple[str, str, Diversity]]:
    """In a task, because what failed lately is remembered by Trio's clock."""
    await trio.lowlevel.checkpoint()
    return known.candidates(node)


def at(ip: str, peer: str) -> str:
    return f"/{'ip6' if ':' in ip else 'ip4'}/{ip}/tcp/4001/p2p/{peer}"


def node_at(*ips: str) -> NodeAddress:
    return NodeAddress(NODE, tuple(at(ip, NODE) for ip in ips))


@pytest.mark.parametrize(
    ("near", "far", "node"),
    [
        ("198.51.7.7", "203.0.113.9", "198.51.100.1"),  # the same /16
        ("2001:db8:1::1", "2001:db9::1", "2001:db8:ffff::2"),  # the same /32
    ],
)
async def test_an_entry_in_another_network_comes_first(near: str, far: str, node: str) -> None:
    for entries in ((at(near, NEAR), at(far, FAR)), (at(far, FAR), at(near, NEAR))):
        first, second = await candidates(routes(*entries), node_at(node))
        assert (first[0], first[2].weakness) == (FAR, None)
        assert second[0] == NEAR
        assert "same network" in str(second[2].weakness)


async def test_an_entry_of_another_operator_comes_first() -> None:
    operators = {NODE: "one co-op", NEAR: "one co-op", FAR: "another"}
    entries = (at("192.0.2.1", NEAR), at("203.0.113.9", FAR))
    first, second = await candidates(routes(*entries, operators=operators), node_at("198.51.100.1"))
    assert first[:1] == (FAR,)
    assert first[2] == Diversity(operator=True, network=True)
    assert "same operator" in str(second[2].weakness)


async def test_what_cannot_be_known_is_not_claimed() -> None:
    entry = f"/dns4/entry.example/tcp/443/wss/p2p/{FAR}"
    ((_, _, diversity),) = await candidates(routes(entry), node_at("198.51.100.1"))
    assert diversity == Diversity(operator=None, network=None)
    assert diversity.weakness is None


async def test_the_node_is_never_its_own_entry() -> None:
    known = routes(at("203.0.113.9", NODE), at("192.0.2.1", FAR))
    assert [peer for peer, _, _ in known.candidates(node_at("203.0.113.9"))] == [FAR]
    with pytest.raises(UnreachableError, match="the node itself") as error:
        async with routes(at("203.0.113.9", NODE)).path("x", node_at("203.0.113.9")):
            pass
    assert "somebody else" in str(error.value.hint)


async def test_where_the_only_entry_is_the_node_itself_another_node_serves() -> None:
    known = routes(at("203.0.113.9", NODE))
    known.add_spares([at("203.0.113.9", NODE), at("192.0.2.1", FAR)])
    assert [peer for peer, _, _ in known.candidates(node_at("203.0.113.9"))] == [FAR]
    elsewhere = NodeAddress(NEAR, (at("198.51.100.1", NEAR),))
    assert [peer for peer, _, _ in known.candidates(elsewhere)] == [NODE]


async def test_no_entries_and_no_such_entry() -> None:
    with pytest.raises(UnreachableError, match="no entry is known"):
        async with routes().path("x", node_at("203.0.113.9")):
            pass
    for wrong in ("203.0.113.9", "/ip4/203.0.113.9/tcp/1", f"{at('192.0.2.1', FAR)}/p2p-circuit/p2p/{NODE}"):
        with pytest.raises(ConfigError, match="not the address of an entry"):
            routes(wrong)


async def test_an_entry_is_kept_for_a_run_and_ids_are_not() -> None:
    async with a_host() as other, a_pair() as (entry, _, node, end), relaying(other, {node.peer_id: node.addrs()}):
        known = routes_through(entry, other)
        seen, used = set(), set()
        for purpose in ("a", "b", "c", "d"):
            async with known.path(purpose, address(node)) as path:
                await echoes(path)
                seen.add(path.peer_id)
                used.add(path.entry)
                assert end.entry_of(path.peer_id) == path.entry
                assert path.purpose == purpose
                assert "same network" in str(path.weakness)  # everything is on loopback here
        assert len(seen) == 4
        assert used == {known.entries[0].rpartition("/")[2]}


async def test_a_dead_entry_is_passed_over_and_remembered() -> None:
    async with a_pair() as (entry, _, node, _end):
        dead = at("127.0.0.1", FAR).replace("4001", "1")
        for seed in range(4):  # both orders
            known = Routes((dead, entry.addrs()[0]), rng=SeededRng(seed), clock=SystemClock())
            async with known.path("first", address(node)) as path:
                await echoes(path)
                assert path.entry == entry.peer_id
            if known.entries[0] == dead:
                assert [peer for peer, _, _ in known.candidates(address(node))] == [entry.peer_id, FAR]


async def test_when_no_entry_works_each_of_them_is_quoted() -> None:
    async with a_host() as entry, a_host() as node, relaying(entry, {}):
        dead = at("127.0.0.1", FAR).replace("4001", "1")
        known = Routes((dead, entry.addrs()[0]), rng=SeededRng(1), clock=SystemClock())
        with trio.fail_after(PATIENCE), pytest.raises(UnreachableError, match="2 tried") as error:
            async with known.path("x", address(node)):
                pass
        assert FAR[-8:] in str(error.value.hint)
        assert "no node record" in str(error.value.hint)
        assert "another entry" in str(error.value.hint)


async def test_what_the_user_raises_comes_out_as_it_is() -> None:
    async with a_pair() as (entry, _, node, _end):
        with pytest.raises(ZeroDivisionError):
            async with routes_through(entry).path("x", address(node)):
                raise ZeroDivisionError
