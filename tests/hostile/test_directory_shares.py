"""Places for what no chain vouches for: shared by whom it came through, so that many keys are not many voices."""

from __future__ import annotations

from random import Random

import pytest
import trio

from support import records as make
from support.directories import DirectoryNode, a_directory
from support.hosts import PATIENCE
from warmline.client.routes import Routes
from warmline.env import SystemClock, SystemRng
from warmline.net.rpc import call
from warmline.services.directory import DirectorySettings
from warmline.services.directory_index import DirectoryIndex, Room
from warmline_protocol import limits
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.envelope import OpenedRecord, open_record
from warmline_protocol.records.messages import PROTOCOL, Publish, Published

CLOCK = SystemClock()


def card(number: int) -> OpenedRecord:
    return open_record(make.signed_card(f"throw-away {number}", wallet=False))


def node(number: int) -> OpenedRecord:
    return open_record(make.signed_node(f"throw-away {number}"))


def come(index: DirectoryIndex, record: OpenedRecord, source: str, *, verified: bool = False) -> bool:
    """What the shelf does with a record that is welcome."""
    place = index.place(record, verified=verified, source=source)
    if place.instead_of is not None:
        index.drop(place.instead_of)
    if place.fits:
        index.put(record, verified=verified, home=False, source=source)
    return place.fits


def counts(index: DirectoryIndex) -> dict[str, int]:
    found: dict[str, int] = {}
    for held in index:
        found[held.source] = found.get(held.source, 0) + 1
    return found


@pytest.mark.parametrize("make_one", [card, node])
def test_a_flood_through_one_neighbour_takes_what_is_left_and_no_place_of_others(make_one: object) -> None:
    make_record = make_one
    assert callable(make_record)
    index = DirectoryIndex(Room(records=500, unverified=60, nodes=60))
    for number in range(20):
        assert come(index, make_record(number), f"neighbour {number % 4}")
    taken = sum(come(index, make_record(1000 + number), "flood") for number in range(200))
    assert taken == 40, "while there is room anybody takes it"
    assert counts(index) == {**{f"neighbour {n}": 5 for n in range(4)}, "flood": 40}
    for number in range(20, 40):
        assert come(index, make_record(number), f"neighbour {number % 4}"), "and the flood gives way to whoever comes"
    assert counts(index) == {**{f"neighbour {n}": 10 for n in range(4)}, "flood": 20}
    assert sum(come(index, make_record(3000 + number), "flood") for number in range(100)) == 0


def test_those_who_were_there_before_the_flood_stay() -> None:
    index = DirectoryIndex(Room(records=500, unverified=30))
    old = [card(number) for number in range(10)]
    for record in old:
        come(index, record, "one neighbour")
    for number in range(100, 140):
        come(index, card(number), "flood")
    for number in range(200, 212):
        come(index, card(number), "another")
    assert all(index.get(record.id) for record in old)


def test_what_the_chain_vouches_for_always_finds_a_place() -> None:
    index = DirectoryIndex(Room(records=40, unverified=40))
    for number in range(40):
        come(index, card(number), "flood")
    for number in range(40):
        assert come(index, open_record(make.signed_card(f"proven {number}")), "anybody", verified=True)
    assert counts(index) == {"anybody": 40}
    assert not come(index, open_record(make.signed_card("one more")), "anybody", verified=True)


def test_our_own_record_gives_way_to_nobody() -> None:
    index = DirectoryIndex(Room(records=500, nodes=3))
    mine = node(0)
    index.own = mine.id
    for record in (node(1), node(2), mine):
        come(index, record, "flood")
    for number in range(10, 30):
        come(index, node(number), f"neighbour {number}")
    assert index.get(mine.id)


def test_the_books_hold_whatever_comes_and_goes() -> None:
    rng = Random(3)
    index = DirectoryIndex(Room(records=60, unverified=25, nodes=10))
    pool = [card(n) for n in range(60)] + [node(n) for n in range(30)]
    for _ in range(2000):
        record = rng.choice(pool)
        if rng.random() < 0.3:
            index.drop(record.id)
        else:
            come(index, record, f"source {rng.randrange(5)}", verified=record.kind == "card" and record.id[0] < 50)
        told = index.statistics()
        assert told["records"] <= 60
        unverified = [held for held in index if not held.verified]
        assert sum(held.crowd for held in unverified) <= 10
        assert told["unverified"] == sum(not held.crowd for held in unverified) <= 25
    for record in pool:
        index.drop(record.id)
    assert index._sources == {False: {}, True: {}}
    assert index.statistics()["unverified"] == 0


async def publish_through(node: DirectoryNode, entry: DirectoryNode, records: list[bytes]) -> list[str]:
    routes = Routes((entry.addr,), rng=SystemRng(), clock=CLOCK)
    where = node.directory.shelf.index.node(node.host.peer_id, CLOCK.utc_ms())
    assert where is not None
    async with (
        routes.path("publish", where.address) as path,
        await path.open_channel(PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX) as channel,
    ):
        return [(await call(channel, Publish(data), (Published,))).reason for data in records]


async def test_who_floods_through_one_entry_shuts_nobody_out_who_comes_through_another() -> None:
    """Circuits hide who publishes; the entry that they come through is what tells a flood from the others."""
    room = DirectorySettings(room=Room(unverified=12), sync_every=600, snapshot_age=0.0)
    now = CLOCK.utc_ms()
    with trio.fail_after(2 * PATIENCE):
        async with (
            a_directory("home", settings=room, relay=True, gossip=False) as home,
            a_directory("one", relay=True, gossip=False) as one,
            a_directory("two", relay=True, gossip=False) as two,
        ):
            for entry in (one, two):
                await entry.host.connect(home.addr)
                while entry.directory.locate(home.host.peer_id) is None:
                    await entry.directory.wait_change()
            flood = [make.signed_card(SigningKey(bytes([n]) * 32).peer_id, wallet=False, at_ms=now) for n in range(30)]
            said = await publish_through(home, one, flood)
            assert said.count("full") == 18
            honest = [make.signed_card(f"honest {n}", wallet=False, at_ms=now) for n in range(6)]
            assert "full" not in await publish_through(home, two, honest)
            assert all(home.directory.record(open_record(data).id) for data in honest)
