"""Lookups among many false peers that lie together: alive, next to the key, naming only each other."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from random import Random

import pytest

from warmline_protocol import limits
from warmline_protocol.kad import KadMessage, KadPeer, KadRecord, KadType, position
from warmline_protocol.keys import base58_decode, base58_encode, peer_id_of
from warmline_protocol.lookup import Contact, Found, Lookup

KEY = b"/warm/" + sha256(b"record").hexdigest().encode()
HONEST = 400


def name(number: int) -> str:
    return peer_id_of(sha256(b"peer %d" % number).digest())


@cache
def place(peer_id: str) -> int:
    return position(base58_decode(peer_id))


def distance(peer_id: str) -> int:
    return place(peer_id) ^ position(KEY)


def at(*octets: int) -> bytes:
    """A binary multiaddr: TCP port 4001 of this IPv4 address."""
    return bytes([4, *octets, 6, 0x0F, 0xA1])


def ground(tries: int, keep: int) -> list[str]:
    """Peer ids next to the key, as one machine finds them in a second; raw ids, since base58 is slow."""
    raw = (b"\x00\x24\x08\x01\x12\x20" + sha256(b"false %d" % n).digest() for n in range(tries))
    nearest = sorted(raw, key=lambda peer: position(peer) ^ position(KEY))[:keep]
    return [base58_encode(peer) for peer in nearest]


SYBILS = ground(200_000, 80)
"""Eighty of two hundred thousand keys, nearer to the record than all but a few of the four hundred honest nodes."""


class Net:
    """Honest peers, each in a network of its own, and the sybils; values lie where they belong."""

    def __init__(self, *, one_network: bool) -> None:
        rng = Random(7)
        self.honest = sorted((name(n) for n in range(HONEST)), key=distance)
        self.addrs = {peer: at(20 + n // 200, n % 200, 1, 1) for n, peer in enumerate(self.honest)}
        self.addrs |= {peer: at(185, 7 if one_network else n, 3, 1 + n) for n, peer in enumerate(SYBILS)}
        self.holders = set(self.honest[:20])
        self.tables = {
            own: sorted(
                rng.sample(self.honest, 60)
                + sorted(self.honest, key=lambda other: place(other) ^ place(own))[1:21]
                + rng.sample(SYBILS, 6),
                key=distance,
            )
            for own in self.honest
        }
        assert max(map(distance, SYBILS)) < distance(self.honest[2])

    def contact(self, peer: str) -> Contact:
        octets = self.addrs[peer][1:5]
        return Contact(peer, (f"/ip4/{'.'.join(map(str, octets))}/tcp/4001/p2p/{peer}",))

    def named(self, peers: Iterable[str]) -> tuple[KadPeer, ...]:
        return tuple(KadPeer(base58_decode(peer), (self.addrs[peer],)) for peer in peers)

    def ask(self, peer: str, message: KadMessage) -> KadMessage:
        false = peer in SYBILS
        providers = SYBILS[:20] if false else self.honest[-3:] if peer in self.holders else ()
        return KadMessage(
            message.type,
            message.key,
            record=KadRecord(message.key, b"true") if peer in self.holders else None,
            closer=self.named(SYBILS[:20] if false else self.tables[peer][:20]),
            providers=self.named(providers),
        )


@cache
def network(*, one_network: bool) -> Net:
    return Net(one_network=one_network)


def run(lookup: Lookup, net: Net, seed: int = 0) -> Found:
    rng = Random(seed)
    pending: list[tuple[str, KadMessage]] = []
    while new := [*pending, *((query.contact.peer_id, query.message) for query in lookup.next_queries())]:
        pending = new
        peer, message = pending.pop(rng.randrange(len(pending)))
        lookup.on_response(peer, net.ask(peer, message))
    assert lookup.done
    return lookup.found


@pytest.mark.parametrize("seed", range(5))
def test_eighty_keys_on_one_network_are_four_peers(seed: int) -> None:
    net = network(one_network=True)
    seeds = [net.contact(peer) for peer in Random(seed).sample(net.honest, 3)]
    found = run(Lookup(KadType.GET_VALUE, KEY, seeds), net, seed)
    assert [value for _, value in found.values] == [b"true"]
    closest = [contact.peer_id for contact in found.closest]
    assert len(set(closest) & set(SYBILS)) <= limits.KAD_PER_NETWORK
    assert set(net.honest[:10]) <= set(closest), "what is put there is kept by honest nodes too"
    assert found.asked <= limits.KAD_LOOKUP_QUERIES_MAX


@pytest.mark.parametrize("seed", range(5))
def test_eighty_keys_on_eighty_networks_do_not_hide_the_region(seed: int) -> None:
    net = network(one_network=False)
    seeds = [net.contact(peer) for peer in Random(seed).sample(net.honest, 20)]
    radius = 2**256 * limits.KAD_K // HONEST
    found = run(Lookup(KadType.GET_VALUE, KEY, seeds, radius=radius), net, seed)
    assert [value for _, value in found.values] == [b"true"]
    reached = {contact.peer_id for contact in found.closest} & set(net.honest[:20])
    assert len(reached) >= 5, "a value put now is held by honest nodes, however many false ones lie nearer"
    assert found.asked <= limits.KAD_LOOKUP_QUERIES_MAX + limits.KAD_REGION_QUERIES_MAX


@pytest.mark.parametrize("seed", range(10))
def test_one_liar_among_three_seeds_leads_one_path_astray(seed: int) -> None:
    net = network(one_network=True)
    honest = Random(seed).sample(net.honest, 2)
    found = run(Lookup(KadType.GET_VALUE, KEY, [net.contact(peer) for peer in (*honest, SYBILS[-1])]), net, seed)
    assert [value for _, value in found.values] == [b"true"]


@pytest.mark.parametrize("seed", range(10))
def test_liars_that_name_providers_hide_none(seed: int) -> None:
    net = network(one_network=True)
    seeds = [net.contact(peer) for peer in (*Random(seed).sample(net.honest, 2), SYBILS[0])]
    found = run(Lookup(KadType.GET_PROVIDERS, KEY, seeds), net, seed)
    assert set(net.honest[-3:]) <= {contact.peer_id for contact in found.providers}


def test_false_addresses_do_not_hide_the_true_one() -> None:
    net = network(one_network=True)
    target, liar, friend = net.honest[0], net.honest[1], net.honest[2]
    lookup = Lookup(KadType.FIND_NODE, KEY, [net.contact(liar), net.contact(friend)])
    assert len(lookup.next_queries()) == 2
    false = tuple(at(99, 1, 1, n) for n in range(32))
    lookup.on_response(liar, KadMessage(KadType.FIND_NODE, KEY, closer=(KadPeer(base58_decode(target), false),)))
    lookup.on_response(friend, KadMessage(KadType.FIND_NODE, KEY, closer=net.named([target])))
    (query,) = lookup.next_queries()
    assert net.contact(target).addrs[0] in query.contact.addrs[:2]


def test_the_names_of_one_path_push_out_none_of_another() -> None:
    net = network(one_network=True)
    liar, friend = SYBILS[0], net.honest[5]
    lookup = Lookup(KadType.FIND_NODE, KEY, [net.contact(liar), net.contact(friend)], k=128, most_queries=600)
    asked = {query.contact.peer_id for query in lookup.next_queries()}
    lookup.on_response(friend, KadMessage(KadType.FIND_NODE, KEY, closer=net.named([net.honest[0]])))
    false = [name(n) for n in range(100_000, 100_128)]
    for who in (liar,):
        closer = tuple(KadPeer(base58_decode(peer), (at(185, 9, 1, 1),)) for peer in false)
        lookup.on_response(who, KadMessage(KadType.FIND_NODE, KEY, closer=closer))
    while queries := lookup.next_queries():
        for query in queries:
            asked.add(query.contact.peer_id)
            lookup.on_failure(query.contact.peer_id)
    assert net.honest[0] in asked
