"""Whom a node may dial is worked out when a node record changes, not at every look."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio

from support.records import key, listing
from warmline.daemon.node import _Candidates, _meet_new_nodes
from warmline.services.directory_index import DirectoryIndex, Room
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.envelope import OpenedRecord, open_record, sign_record
from warmline_protocol.records.node import DIRECTORY, Capacity, NodeRecord

NOW = 1_800_000_000_000


def node_record(owner: SigningKey, addr: str = "/ip4/20.0.0.1/tcp/1") -> OpenedRecord:
    told = (f"{addr}/p2p/{owner.peer_id}",)
    body = NodeRecord(owner.public, NOW, NOW + 1000, owner.peer_id, told, (DIRECTORY,), "somebody", Capacity(), None)
    return open_record(sign_record(body, owner))


class Known:
    """A directory of an index alone."""

    def __init__(self) -> None:
        self.index = DirectoryIndex(Room())
        self.changed = trio.Event()
        self.asked = 0

    @property
    def nodes_version(self) -> int:
        return self.index.nodes_version

    def nodes(self) -> tuple[NodeRecord, ...]:
        self.asked += 1
        return tuple(cast(NodeRecord, record.body) for record in self.index.nodes(NOW))

    async def wait_change(self) -> None:
        await self.changed.wait()

    def put(self, record: OpenedRecord) -> None:
        self.index.put(record, verified=False, home=False)
        self.changed.set()
        self.changed = trio.Event()


class Here:
    def __init__(self) -> None:
        self.at: tuple[str, ...] = ("/ip4/10.0.0.1/tcp/1",)

    def addrs(self) -> tuple[str, ...]:
        return self.at


def a_listing(number: int) -> OpenedRecord:
    owner = key(f"author {number}")
    return open_record(sign_record(listing(owner.public, f"s{number}", at_ms=NOW), owner))


def test_listings_change_nothing_and_nodes_do() -> None:
    known, here = Known(), Here()
    candidates = _Candidates(cast(Any, known), cast(Any, here))
    assert candidates() == ()
    first = node_record(key("one"))
    known.put(first)
    told = candidates()
    assert told == cast(NodeRecord, first.body).addrs
    asked = known.asked
    for number in range(20):
        known.put(a_listing(number))
    assert candidates() is told
    assert known.asked == asked
    known.index.drop(first.id)
    assert candidates() == ()


def test_who_comes_to_the_open_network_no_longer_dials_private_addresses() -> None:
    known, here = Known(), Here()
    candidates = _Candidates(cast(Any, known), cast(Any, here))
    known.put(node_record(key("inside"), "/ip4/192.168.0.7/tcp/1"))
    assert len(candidates()) == 1
    here.at = ("/ip4/20.0.0.9/tcp/1",)
    assert candidates() == ()


@pytest.mark.parametrize("is_node", [True, False])
async def test_the_keeper_looks_again_when_a_node_came_not_when_a_listing_did(
    autojump_clock: trio.testing.MockClock, is_node: bool
) -> None:
    known = Known()
    looks: list[float] = []

    class Keeper:
        def reconsider(self) -> None:
            looks.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_meet_new_nodes, cast(Any, known), cast(Any, Keeper()))
        await trio.sleep(1)
        for number in range(5):
            known.put(node_record(key(f"node {number}")) if is_node else a_listing(number))
            await trio.sleep(0.1)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert len(looks) == (2 if is_node else 0)  # at once, and a second later for those that came meanwhile
