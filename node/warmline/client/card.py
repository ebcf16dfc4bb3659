"""A supporter's card: opens the doors on it, makes its contact key, signs it.

Doors sit on two nodes of different operators, picked at random and never the client's own entry, so that no node's
name says which community a person knocks at. A door's owner key follows from the device key and the node, so that
nothing more has to be kept than the identity.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from warmline.client.finder import operator_of
from warmline.client.identity import ContactSecret, Identity
from warmline.client.queues import LIFE_MS, QueueClient
from warmline.client.routes import Routes
from warmline.env import Clock, Rng
from warmline_protocol import limits
from warmline_protocol.errors import UnreachableError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.messages import DOOR
from warmline_protocol.records.card import AgeBand, Card, Door
from warmline_protocol.records.envelope import sign_record
from warmline_protocol.records.node import QUEUES, NodeRecord

log = logging.getLogger("warmline.client")

DOORS = 2


@dataclass(frozen=True, slots=True)
class Profile:
    """What a supporter says of themselves; everything here is public."""

    name: str
    languages: tuple[str, ...]
    topics: tuple[str, ...]
    about: str = ""
    age: AgeBand = field(default_factory=lambda: AgeBand(limits.AGE_MIN, 120))
    mandated_reporter: str = "No duty to report."
    credentials: tuple[bytes, ...] = ()
    desks: tuple[bytes, ...] = ()


def door_key(identity: Identity, peer_id: str) -> SigningKey:
    """The owner key of this supporter's door at one node (HKDF-SHA256, RFC 5869, of the device key)."""
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"warmline door\0" + peer_id.encode())
    return SigningKey(kdf.derive(identity.key.seed))


async def open_doors(
    identity: Identity, nodes: tuple[NodeRecord, ...], routes: Routes, *, rng: Rng, open_to_all: bool = True
) -> tuple[Door, ...]:
    """Doors at two nodes where the network has them; one is enough. UnreachableError where no node gives one."""
    doors: list[Door] = []
    operators: set[str] = set()
    problems: list[str] = []
    for again in (False, True):  # a second operator first, the same one again only where there is no other
        for node in _in_random_order(nodes, routes, rng):
            if len(doors) == DOORS or any(door.node.peer_id == node.peer_id for door in doors):
                continue
            if operator_of(node) in operators and not again:
                continue
            try:
                doors.append(await _open_door(identity, node, routes, open_to_all))
                operators.add(operator_of(node))
            except WarmlineError as error:
                problems.append(f"{node.operator}: {error}")
    if not doors:
        raise UnreachableError(
            "no node opened a door for you" + (": " + "; ".join(problems) if problems else ""),
            hint="A door needs a node besides your entry that keeps queues. Try again, or add another entry.",
        )
    return tuple(doors)


def _in_random_order(nodes: tuple[NodeRecord, ...], routes: Routes, rng: Rng) -> list[NodeRecord]:
    entries = {entry.rpartition("/p2p/")[2] for entry in routes.entries}
    candidates = [node for node in nodes if QUEUES in node.offers and entries != {node.peer_id}]
    rng.shuffle(candidates)
    return sorted(candidates, key=lambda node: node.peer_id in entries)


async def _open_door(identity: Identity, node: NodeRecord, routes: Routes, open_to_all: bool) -> Door:
    async with routes.path("door", node.address) as path, QueueClient(path) as client:
        created = await client.create(door_key(identity, node.peer_id), DOOR, life_ms=LIFE_MS)
    return Door(node.address, created.queue, open_to_all)


def new_card(
    identity: Identity, profile: Profile, doors: tuple[Door, ...], *, avatar: bytes, rng: Rng, clock: Clock
) -> tuple[Identity, bytes]:
    """The identity with a fresh contact key, and the signed card that carries its public half."""
    now = clock.utc_ms()
    until = now + limits.CARD_LIFE_MS
    secret = ContactSecret.new(rng, until)
    card = Card(
        identity.owner,
        now,
        until,
        profile.name,
        avatar,
        profile.about,
        profile.languages,
        profile.topics,
        profile.age,
        profile.mandated_reporter,
        secret.public(),
        doors,
        profile.credentials,
        profile.desks or None,
    )
    return identity.with_contact(secret, now), sign_record(card, identity.key, identity.delegation)
