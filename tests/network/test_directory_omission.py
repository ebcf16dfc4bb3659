"""The promise of discovery: one known node, a listing at a node never heard of, three of ten holders leaving it out."""

from __future__ import annotations

import pytest
import trio

from support import records as make
from support.directories import DirectoryNode, a_network
from support.hosts import PATIENCE
from warmline.client.finder import Finder, FinderSettings, Progress
from warmline.client.matching import Wanted
from warmline.client.routes import Routes
from warmline.env import SeededRng, SystemClock
from warmline_protocol.records.node import NodeRecord

CLOCK = SystemClock()
NAMES = "abcdefghij"


def leaves_out(node: DirectoryNode, record_id: bytes, peer: str) -> None:
    """From now on this node serves snapshots without one record, and tells nobody of one other node."""
    index = node.directory.shelf.index
    rows, nodes = index.rows, index.nodes
    index.rows = lambda now: [row for row in rows(now) if row.id != record_id]  # type: ignore[method-assign]
    index.nodes = lambda now: [  # type: ignore[method-assign]
        each for each in nodes(now) if isinstance(each.body, NodeRecord) and each.body.peer_id != peer
    ]
    index.version += 1
    if node.dht is not None:
        claims = node.dht._providers
        told = claims.get_providers
        claims.get_providers = lambda key: [each for each in told(key) if str(each.peer_id) != peer]  # type: ignore[method-assign]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_three_of_ten_leave_it_out_and_it_is_found(seed: int) -> None:
    """The only node that the client knows is one of the liars, and names the home of the listing to nobody."""
    rng = SeededRng(seed)
    told: list[Progress] = []
    with trio.fail_after(4 * PATIENCE):
        async with a_network(*NAMES) as nodes:
            bootstrap, home = nodes[0], nodes[9]
            answer = await home.directory.publish(make.signed_listing(at_ms=CLOCK.utc_ms(), topics=("grief",)))
            for node in nodes:
                await node.directory.wait_record(answer.id)
            for liar in (bootstrap, nodes[1 + seed], nodes[4 + seed]):
                leaves_out(liar, answer.id, home.host.peer_id)
            heard = bootstrap.directory.shelf.index.nodes(CLOCK.utc_ms())
            assert len(heard) == 9, "the bootstrap node does not name the home node"
            routes = Routes((bootstrap.addr,), rng=rng, clock=CLOCK)
            found = await Finder(routes, rng=rng, clock=CLOCK).find(Wanted(topics=("grief",)), told.append)
            assert [match.record.id for match in found.matches] == [answer.id]
            assert found.operators >= 3
            first = next(number for number, progress in enumerate(told) if progress.matches)
            assert first < len(told), "it was shown as soon as one honest holder had answered"


async def test_holders_that_hold_the_same_are_read_once() -> None:
    with trio.fail_after(2 * PATIENCE):
        async with a_network("a", "b", "c", "d") as nodes:
            answers = []
            for number in range(30):
                data = make.signed_listing(slug=f"group-{number}", at_ms=CLOCK.utc_ms())
                answers.append(await nodes[1].directory.publish(data))
            for node in nodes:
                for answer in answers:
                    await node.directory.wait_record(answer.id)
            rng = SeededRng(5)
            settings = FinderSettings(holders=1)
            one = await Finder(
                Routes((nodes[0].addr,), rng=rng, clock=CLOCK), rng=rng, clock=CLOCK, settings=settings
            ).find(Wanted())
            three = await Finder(Routes((nodes[0].addr,), rng=rng, clock=CLOCK), rng=rng, clock=CLOCK).find(Wanted())
            assert len(one.matches) == len(three.matches) == 30
            assert three.operators >= 3
            # Two may be read at the same moment, before either is known to hold what the other does.
            assert three.fetched < 2.5 * one.fetched, "what one holder gave is not fetched from the third again"


async def test_the_second_entry_tells_what_the_first_leaves_out() -> None:
    with trio.fail_after(2 * PATIENCE):
        async with a_network("a", "b", "c", "d") as nodes:
            index = nodes[0].directory.shelf.index
            index.nodes = lambda now: []  # type: ignore[method-assign]
            rng = SeededRng(1)
            routes = Routes((nodes[0].addr, nodes[1].addr), rng=rng, clock=CLOCK)
            met = await Finder(routes, rng=rng, clock=CLOCK).meet_nodes()
            assert {record.peer_id for record in met} == {node.host.peer_id for node in nodes}
