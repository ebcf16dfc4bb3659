"""The lookup against honest, dead and lying networks, without any network."""

from __future__ import annotations

from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.kad import KadMessage, KadPeer, KadRecord, KadType, position
from warmline_protocol.keys import base58_decode, peer_id_of
from warmline_protocol.lookup import Contact, Found, Lookup

KEY = b"/warm/" + sha256(b"record").hexdigest().encode()


def name(number: int) -> str:
    return peer_id_of(sha256(b"peer %d" % number).digest())


def peer(peer_id: str, *addrs: bytes) -> KadPeer:
    return KadPeer(base58_decode(peer_id), addrs)


def by_distance(ids: list[str], key: bytes = KEY) -> list[str]:
    return sorted(ids, key=lambda i: position(base58_decode(i)) ^ position(key))


class Net:
    """``size`` honest peers, each knowing ``known`` random others and its own neighbourhood."""

    def __init__(self, size: int, known: int = 40, seed: int = 1) -> None:
        rng = Random(seed)
        self.ids = [name(n) for n in range(size)]
        self.tables = {}
        for own in self.ids:
            near = by_distance(self.ids, base58_decode(own))[1:21]
            self.tables[own] = list(dict.fromkeys(near + rng.sample(self.ids, min(known, size))))
        self.dead: set[str] = set()
        self.values: dict[str, bytes] = {}
        self.providers: dict[str, list[str]] = {}
        self.liars: dict[str, list[KadPeer]] = {}

    def ask(self, peer_id: str, message: KadMessage) -> KadMessage | None:
        if peer_id in self.dead or peer_id not in self.tables:
            return None
        if peer_id in self.liars:
            return KadMessage(message.type, message.key, closer=tuple(self.liars[peer_id]))
        value = self.values.get(peer_id)
        return KadMessage(
            message.type,
            message.key,
            record=None if value is None else KadRecord(message.key, value),
            closer=tuple(peer(i) for i in by_distance(self.tables[peer_id], message.key)[:20]),
            providers=tuple(peer(i) for i in self.providers.get(peer_id, [])),
        )


def run(lookup: Lookup, net: Net, rng: Random | None = None) -> Found:
    """Drive to the end, answering in random order."""
    rng = rng or Random(0)
    pending: list[tuple[str, KadMessage]] = []
    for _ in range(10_000):
        pending += [(q.contact.peer_id, q.message) for q in lookup.next_queries()]
        assert len(pending) <= lookup.alpha
        if not pending:
            break
        peer_id, message = pending.pop(rng.randrange(len(pending)))
        answer = net.ask(peer_id, message)
        if answer is None:
            lookup.on_failure(peer_id)
        else:
            lookup.on_response(peer_id, answer)
    assert lookup.done
    return lookup.found


def test_finds_the_true_closest_of_a_network_known_by_one_seed() -> None:
    net = Net(300)
    found = run(Lookup(KadType.FIND_NODE, KEY, [Contact(net.ids[7])]), net)
    assert [c.peer_id for c in found.closest] == by_distance(net.ids)[:20]
    assert found.asked <= 40


def test_a_third_of_the_peers_dead_still_finds_the_living_closest() -> None:
    net = Net(300)
    net.dead = set(Random(3).sample(net.ids[1:], 100))
    found = run(Lookup(KadType.FIND_NODE, KEY, [Contact(net.ids[0])]), net)
    alive = [i for i in by_distance(net.ids) if i not in net.dead]
    assert [c.peer_id for c in found.closest][:10] == alive[:10]


def test_values_are_collected_from_all_holders_so_one_old_copy_does_not_win() -> None:
    net = Net(100)
    near = by_distance(net.ids)
    net.values = dict.fromkeys(near[:5], b"new") | dict.fromkeys(near[5:20], b"old")
    found = run(Lookup(KadType.GET_VALUE, KEY, [Contact(net.ids[0])]), net)
    assert {v for _, v in found.values} == {b"old", b"new"}


def test_enough_holders_end_it_early() -> None:
    net = Net(100)
    net.values = dict.fromkeys(net.ids, b"v")
    found = run(Lookup(KadType.GET_VALUE, KEY, [Contact(net.ids[0])], enough=3), net)
    assert found.asked <= 6, "every path has to speak, and no more"
    assert [v for _, v in found.values] == [b"v"]


def test_providers_are_merged_and_told_once() -> None:
    net = Net(100)
    net.providers = dict.fromkeys(by_distance(net.ids)[:20], net.ids[:3])
    found = run(Lookup(KadType.GET_PROVIDERS, KEY, [Contact(net.ids[0])]), net)
    assert sorted(c.peer_id for c in found.providers) == sorted(net.ids[:3])


def test_a_value_under_another_key_is_not_kept() -> None:
    lookup = Lookup(KadType.GET_VALUE, KEY, [Contact(name(1))])
    lookup.next_queries()
    lookup.on_response(name(1), KadMessage(KadType.GET_VALUE, KEY, record=KadRecord(b"other", b"v")))
    assert lookup.done
    assert lookup.found.values == ()


def test_liars_next_to_the_target_cannot_use_up_the_lookup() -> None:
    """Ten liars each name twenty made-up peers closer than any real one; the true holders are still reached."""
    net = Net(200)
    made_up = by_distance([name(n) for n in range(1_000, 40_000)])[:200]
    for n, liar in enumerate(net.ids[50:60]):
        net.liars[liar] = [peer(i) for i in made_up[n * 20 : n * 20 + 20]]
    honest = [i for i in by_distance(net.ids) if i not in net.liars]
    net.values = dict.fromkeys(honest[:10], b"v")
    seeds = [Contact(i) for i in net.ids[48:54]]
    found = run(Lookup(KadType.GET_VALUE, KEY, seeds), net)
    assert [v for _, v in found.values] == [b"v"]
    assert found.asked <= limits.KAD_LOOKUP_QUERIES_MAX


def test_self_reference_garbage_ids_and_the_asker_itself_are_never_asked() -> None:
    own = name(0)
    lookup = Lookup(KadType.FIND_NODE, KEY, [Contact(name(1))], own_id=own)
    lookup.next_queries()
    closer = (peer(name(1)), peer(own), KadPeer(b""), KadPeer(b"\x12\x20" + bytes(32)), KadPeer(bytes(64)))
    lookup.on_response(name(1), KadMessage(KadType.FIND_NODE, KEY, closer=closer))
    assert lookup.next_queries() == []
    assert lookup.done
    assert [c.peer_id for c in lookup.found.closest] == [name(1)]


def test_an_answer_of_the_wrong_kind_is_a_failure() -> None:
    lookup = Lookup(KadType.GET_VALUE, KEY, [Contact(name(1))])
    lookup.next_queries()
    lookup.on_response(name(1), KadMessage(KadType.PING))
    assert lookup.done
    assert lookup.found.failed == 1


def test_late_doubled_and_unasked_answers_change_nothing() -> None:
    lookup = Lookup(KadType.FIND_NODE, KEY, [Contact(name(1)), Contact(name(2))], alpha=1)
    (query,) = lookup.next_queries()
    first = query.contact.peer_id
    other = name(1) if first == name(2) else name(2)
    lookup.on_response(other, KadMessage(KadType.FIND_NODE, KEY, closer=(peer(name(5)),)))
    lookup.on_failure(first)
    lookup.on_response(first, KadMessage(KadType.FIND_NODE, KEY, closer=(peer(name(6)),)))
    assert [q.contact.peer_id for q in lookup.next_queries()] == [other]


def test_no_seeds_is_done_at_once_and_bad_arguments_are_the_callers_fault() -> None:
    assert Lookup(KadType.FIND_NODE, KEY, []).done
    with pytest.raises(UsageError):
        Lookup(KadType.PUT_VALUE, KEY, [])
    with pytest.raises(UsageError):
        Lookup(KadType.GET_VALUE, b"", [])


def test_addresses_become_text_that_ends_in_the_peer_id() -> None:
    tcp = bytes([4, 127, 0, 0, 1, 6, 0x1F, 0x90])
    lookup = Lookup(KadType.FIND_NODE, KEY, [Contact(name(1))])
    lookup.next_queries()
    answer = KadMessage(KadType.FIND_NODE, KEY, closer=(peer(name(2), tcp, b"\xff\xff\xff", b""),))
    lookup.on_response(name(1), answer)
    (query,) = lookup.next_queries()
    assert query.contact == Contact(name(2), (f"/ip4/127.0.0.1/tcp/8080/p2p/{name(2)}",))


ids = st.integers(0, 60).map(lambda n: base58_decode(name(n)))
peers = st.lists(st.builds(KadPeer, ids | st.binary(max_size=45)), max_size=30).map(tuple)
answers = st.none() | st.builds(
    KadMessage,
    st.sampled_from(KadType),
    st.just(KEY),
    st.none() | st.builds(KadRecord, st.sampled_from([KEY, b"x"]), st.binary(max_size=4)),
    peers,
    peers,
)


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from([KadType.FIND_NODE, KadType.GET_VALUE, KadType.GET_PROVIDERS]),
    feed=st.lists(answers, max_size=80),
    order=st.randoms(use_true_random=False),
    enough=st.none() | st.integers(1, 3),
)
def test_whatever_is_answered_it_ends_and_asks_nobody_twice(
    kind: KadType, feed: list[KadMessage | None], order: Random, enough: int | None
) -> None:
    lookup = Lookup(kind, KEY, [Contact(name(n)) for n in range(3)], own_id=name(9), enough=enough)
    asked: list[str] = []
    pending: list[str] = []
    feed = list(feed)
    while True:
        new = [q.contact.peer_id for q in lookup.next_queries()]
        asked += new
        pending += new
        assert len(pending) <= lookup.alpha
        if not pending:
            break
        answer = feed.pop() if feed else None
        who = pending.pop(order.randrange(len(pending)))
        lookup.on_failure(who) if answer is None else lookup.on_response(who, answer)
    assert lookup.done
    assert len(asked) == len(set(asked)) <= limits.KAD_LOOKUP_QUERIES_MAX
    assert name(9) not in asked
    found = lookup.found
    assert len({c.peer_id for c in found.providers}) == len(found.providers)
    assert {c.peer_id for c in found.closest} <= set(asked)
