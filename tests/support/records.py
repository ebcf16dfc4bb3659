"""Valid records to start from; every key and time is fixed, so bytes repeat."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from coincurve import PrivateKey

from warmline_protocol import limits
from warmline_protocol.feedback.messages import CollectorSheet
from warmline_protocol.feedback.sheets import sheet_digest, sign_digest
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.card import AgeBand, Card, ContactKey, Door
from warmline_protocol.records.collector import RELEASES, CollectorRecord, Drops
from warmline_protocol.records.delegation import SUPPORTER, Delegation, sign_delegation
from warmline_protocol.records.delegation import wallet_of as wallet_of_key
from warmline_protocol.records.desk import Desk, Shift, ZoneRota
from warmline_protocol.records.envelope import CARD, OpenedRecord, open_record, record_id, sign_record
from warmline_protocol.records.listing import ROOM, Listing, Slot
from warmline_protocol.records.node import Capacity, NodeAddress, NodeRecord
from warmline_protocol.records.standing import ChainHead, Credential, Standing
from warmline_protocol.session.xwing import SealingKey

NOW = 1_800_000_000_000
CHAIN = 31337
REGISTRY = bytes(range(20))
TYPE = hashlib.sha256(b"peer supporter").digest()
ISSUER = b"\x11" * 20


def key(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


def wallet_secret(name: str) -> bytes:
    return hashlib.sha256(b"wallet " + name.encode()).digest()


def wallet_of(name: str) -> bytes:
    return wallet_of_key(PrivateKey(wallet_secret(name)).public_key)


def address(name: str = "node", port: int = 4001) -> NodeAddress:
    peer = key(name).peer_id
    return NodeAddress(peer, (f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}",))


def delegation(name: str = "ana", *, scope: str = SUPPORTER, at_ms: int = NOW, **changes: Any) -> Delegation:
    start = at_ms // 1000
    unsigned = Delegation(wallet_of(name), key(name).public, scope, start, start + 20 * 86_400, CHAIN, REGISTRY)
    return sign_delegation(replace(unsigned, **changes), wallet_secret(name))


def door(name: str = "node") -> Door:
    return Door(address(name), hashlib.sha256(name.encode()).digest()[:16], True)


def node_record(name: str = "node", *, at_ms: int = NOW, **changes: Any) -> NodeRecord:
    where = address(name)
    record = NodeRecord(
        key(name).public,
        at_ms,
        at_ms + limits.NODE_LIFE_MS,
        where.peer_id,
        where.addrs,
        ("directory", "relay"),
        f"{name} house",
        Capacity(64, 512),
    )
    return replace(record, **changes)


def card(owner: bytes, *, at_ms: int = NOW, **changes: Any) -> Card:
    end = at_ms + limits.CARD_LIFE_MS
    made = Card(
        owner,
        at_ms,
        end,
        "Ana",
        bytes(16),
        "I have been through burnout and I listen.",
        ("en", "pt-BR"),
        ("burnout", "loneliness"),
        AgeBand(18, 120),
        "I am not a mandated reporter.",
        ContactKey(bytes(16), bytes(limits.CONTACT_KEY_SIZE), end),
        (door(),),
    )
    return replace(made, **changes)


def listing(owner: bytes, slug: str = "quiet-mornings", *, at_ms: int = NOW, **changes: Any) -> Listing:
    made = Listing(
        owner,
        slug,
        at_ms,
        at_ms + limits.LISTING_LIFE_MS,
        "Quiet mornings",
        "We sit together for half an hour before the day begins. Nobody has to talk.",
        ROOM,
        ("anxiety", "mornings"),
        ("en",),
        "Europe/Lisbon",
        (Slot(1, 19 * 60, 60),),
        12,
        3,
        AgeBand(18, 120),
        "Ana",
        record_id(CARD, owner),
        ("What is said here stays here.",),
        ("Text only; no camera, no microphone.",),
        door(),
    )
    return replace(made, **changes)


def signed_listing(
    name: str = "ana", slug: str = "quiet-mornings", *, at_ms: int = NOW, wallet: bool = True, **changes: Any
) -> bytes:
    given = delegation(name, at_ms=at_ms) if wallet else None
    owner = given.wallet if given else key(name).public
    return sign_record(listing(owner, slug, at_ms=at_ms, **changes), key(name), given)


def signed_card(name: str = "ana", *, at_ms: int = NOW, wallet: bool = True, **changes: Any) -> bytes:
    given = delegation(name, at_ms=at_ms) if wallet else None
    owner = given.wallet if given else key(name).public
    return sign_record(card(owner, at_ms=at_ms, **changes), key(name), given)


def signed_node(name: str = "node", *, at_ms: int = NOW, **changes: Any) -> bytes:
    return sign_record(node_record(name, at_ms=at_ms, **changes), key(name))


def opened(data: bytes) -> OpenedRecord:
    return open_record(data)


def head(*, at_ms: int = NOW, number: int = 100) -> ChainHead:
    return ChainHead(CHAIN, number, hashlib.sha256(str(number).encode()).digest(), at_ms // 1000)


def standing(name: str = "ana", *, until_ms: int = NOW + 90 * 86_400_000, **changes: Any) -> Standing:
    made = Standing(wallet_of(name), (Credential(TYPE, ISSUER, until_ms // 1000),), 10**17)
    return replace(made, **changes)


class FixedStanding:
    """A ``StandingSource`` that a test sets by hand."""

    def __init__(self, chain: ChainHead | None = None, *standings: Standing) -> None:
        self.chain = chain
        self.standings = {each.wallet: each for each in standings}

    def head(self) -> ChainHead | None:
        return self.chain

    def of(self, wallet: bytes) -> Standing | None:
        return self.standings.get(wallet)


def desk(
    owner: bytes, *, at_ms: int = NOW, people: tuple[bytes, ...] = (b"\1" * 32, b"\2" * 32), **changes: Any
) -> Desk:
    """Evenings in Lisbon by the first two, and Auckland's by the second: 20:00 to 23:00 every day."""
    shifts = tuple(Shift(day, 80, 12, tuple(range(min(2, len(people))))) for day in range(7))
    far = tuple(Shift(day, 80, 12, (len(people) - 1,)) for day in range(7))
    rota = (ZoneRota("Europe/Lisbon", shifts), ZoneRota("Pacific/Auckland", far))
    band, topics = AgeBand(18, 120), ("burnout", "loneliness")
    end = at_ms + limits.DESK_LIFE_MS
    made = Desk(owner, "night-owls", at_ms, end, "Night Owls", "Somebody is up.", ("en",), topics, band, people, rota)
    return replace(made, **changes)


def signed_desk(name: str = "ana", *, wallet: bool = True, at_ms: int = NOW, **changes: Any) -> bytes:
    given = delegation(name, at_ms=at_ms) if wallet else None
    owner = given.wallet if given else key(name).public
    return sign_record(desk(owner, at_ms=at_ms, **changes), key(name), given)


def collector_sheet(name: str = "ana", *, contract: bytes = b"\xc0" * 20) -> CollectorSheet:
    sealing = SealingKey(hashlib.sha256(b"sealing " + name.encode()).digest())
    unsigned = CollectorSheet(
        CHAIN, contract, wallet_of(name), key(name).public, sealing.public, 1, 1000, bytes(64) + b"\x1b"
    )
    return replace(unsigned, signature=sign_digest(sheet_digest(unsigned), wallet_secret(name)))


def collector(
    name: str = "ana", *, at_ms: int = NOW, epochs: tuple[int, ...] = (5, 6), **changes: Any
) -> CollectorRecord:
    nodes = (address("one"), address("two"))
    drops = tuple(
        Drops(epoch, nodes, tuple(hashlib.sha256(bytes([epoch, slot])).digest()[:16] for slot in range(RELEASES)))
        for epoch in epochs
    )
    end = at_ms + limits.COLLECTOR_LIFE_MS
    made = CollectorRecord(wallet_of(name), at_ms, end, collector_sheet(name), address(), drops)
    return replace(made, **changes)


def signed_collector(name: str = "ana", *, at_ms: int = NOW, **changes: Any) -> bytes:
    return sign_record(collector(name, at_ms=at_ms, **changes), key(name), delegation(name, at_ms=at_ms))
