"""The routing table and the size of the network, while somebody with many keys tries to own both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from random import Random

from libp2p.peer.id import ID
from multiaddr import Multiaddr

from support.hosts import a_host
from warmline.env import SeededRng
from warmline.net.dht_table import SPACE, DiverseTable, NetworkSize, key_in_some_bucket
from warmline.net.host import Libp2pHost
from warmline_protocol import limits
from warmline_protocol.kad import position
from warmline_protocol.keys import base58_decode, peer_id_of


def peer(number: int) -> ID:
    return ID.from_string(peer_id_of(sha256(b"table %d" % number).digest()))


async def fill(
    host: Libp2pHost, table: DiverseTable, peers: Iterable[tuple[ID, str]], *, seconds: int = 600
) -> Counter[bool]:
    taken: Counter[bool] = Counter()
    for who, addr in peers:
        host.raw.get_peerstore().add_addrs(who, [Multiaddr(addr)], seconds)
        taken[await table.add_peer(who, skip_server_mode_check=True)] += 1
    return taken


async def test_two_hundred_keys_on_one_network_are_eight_peers_and_two_in_a_bucket() -> None:
    async with a_host() as host:
        table = DiverseTable(host.raw, lambda who: None)
        await fill(host, table, ((peer(n), f"/ip4/93.184.{n % 250}.7/tcp/4001") for n in range(200)))
        assert 0 < table.size() <= limits.KAD_TABLE_PER_NETWORK
        assert max(bucket.size() for bucket in table.buckets) <= limits.KAD_BUCKET_PER_NETWORK
        assert table.refused >= 190
        taken = await fill(host, table, ((peer(1000 + n), f"/ip4/{20 + n}.4.5.6/tcp/4001") for n in range(15)))
        assert taken[True] == 15, "others still find room"


async def test_names_under_one_domain_and_claimed_addresses_count_where_the_connection_comes_from() -> None:
    async with a_host() as host:
        table = DiverseTable(host.raw, lambda who: None)
        await fill(host, table, ((peer(n), f"/dns4/n{n}.evil.example/tcp/443/wss") for n in range(50)))
        assert table.size() <= limits.KAD_TABLE_PER_NETWORK
        table = DiverseTable(host.raw, lambda who: "/ip4/93.184.1.1/tcp/0")
        await fill(host, table, ((peer(100 + n), f"/ip4/{20 + n}.1.1.1/tcp/1") for n in range(50)))
        assert table.size() <= limits.KAD_TABLE_PER_NETWORK, "who claims many networks is still where they are"


async def test_private_networks_are_not_counted_and_who_leaves_makes_room() -> None:
    async with a_host() as host:
        table = DiverseTable(host.raw, lambda who: None)
        taken = await fill(host, table, ((peer(n), "/ip4/127.0.0.1/tcp/4001") for n in range(20)))
        assert taken[True] == 20
        table = DiverseTable(host.raw, lambda who: None)
        await fill(host, table, ((peer(n), f"/ip4/93.184.1.{n}/tcp/4001") for n in range(1, 40)))
        (gone, *_) = table.get_peer_ids()
        table.remove_peer(gone)
        before = table.size()
        await fill(host, table, ((peer(500 + n), f"/ip4/93.184.2.{n}/tcp/4001") for n in range(1, 40)))
        assert table.size() > before


async def test_only_the_bucket_of_our_own_id_splits() -> None:
    async with a_host() as host:
        table = DiverseTable(host.raw, lambda who: None)
        await fill(host, table, ((peer(n), f"/ip4/10.0.{n % 200}.1/tcp/1") for n in range(300)))
        assert table.size() <= limits.KAD_K * len(table.buckets)
        assert len(table.buckets) < 12, "one more for each doubling of the network, not one for each twenty peers"


def test_the_size_of_a_network_is_told_from_random_keys() -> None:
    rng = Random(5)
    ids = [base58_decode(str(peer(n))) for n in range(600)]
    size = NetworkSize()
    assert size.nodes() is None
    assert size.radius(20) == 0
    for _ in range(9):
        key = rng.randbytes(32)
        size.note(key, sorted(ids, key=lambda each: position(each) ^ position(key))[:20])
    nodes = size.nodes()
    assert nodes is not None
    assert 400 < nodes < 900
    assert SPACE * 20 // 900 < size.radius(20) < SPACE * 20 // 400
    crowded = rng.randbytes(32)
    for _ in range(3):
        size.note(crowded, [position(crowded).to_bytes(32)] * 20)
    assert (size.nodes() or 0) < 1000, "a few keys that were crowded move no median"


def test_every_bucket_has_its_turn() -> None:
    own = str(peer(1))
    rng = SeededRng(3)
    shared = Counter(
        256 - (position(key_in_some_bucket(own, rng)) ^ position(base58_decode(own))).bit_length() for _ in range(60)
    )
    assert len(shared) >= 6
