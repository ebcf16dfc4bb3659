"""A supporter on duty: doors kept, card and groups renewed in time, people let into conversations and rooms."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import trio

from warmline.client.card import door_key
from warmline.client.door_policy import DESK, KNOWN, OPEN, DoorGate, DoorRules, Person
from warmline.client.feedback import PurseFile, SupporterSide
from warmline.client.identity import Identity, IdentityFiles
from warmline.client.line import Line
from warmline.client.matching import Wanted
from warmline.client.peers import Colleague, Supporting, colleagues, who_is
from warmline.client.people_file import PeopleFile
from warmline.client.programme import Programme
from warmline.client.rooms import HostedRoom, host_room
from warmline.client.rota_files import RotaFiles
from warmline.client.rota_watch import RotaWatch
from warmline.client.session import Client, Conversation, Persona, Session
from warmline.client.session_doors import ContactKey, DoorKeeper, Knocking, OwnDoor, keep_doors
from warmline.client.session_keep import KIND
from warmline.client.succession import Heir, heirs, watch_inheritance
from warmline.client.vault import FileVault, open_vault
from warmline_protocol.errors import ConfigError, UnreachableError, UsageError, WarmlineError
from warmline_protocol.records.card import Card
from warmline_protocol.records.conduct import Conduct
from warmline_protocol.records.listing import ROOM, Listing
from warmline_protocol.session.known import WORD_SIZE
from warmline_protocol.session.offers import introduce, seal_at_door

log = logging.getLogger("warmline.client")

RENEW_EVERY = 6 * 3600.0
"""Seconds between renewals of the published groups, which live 48 h."""
RETRY = 300.0
CONDUCT_EVERY = 1800.0
"""Seconds between looks at what the chain says of feedback; an epoch is a week."""
KEPT_FILE = "kept.db"
GOODBYE_WITHIN = 10.0
"""Seconds that closing the rooms may take."""
INTRODUCED_MS = 2 * 3_600_000
"""How long a colleague expects somebody who was sent to them."""
DOORS_WITHIN = 5.0
"""Seconds that doors may take before the supporter is told how many there are; the others come when they can."""


@dataclass(frozen=True, slots=True)
class LetIn:
    """Where somebody was let in."""

    talk: Conversation
    name: str
    room: bool


class Duty:
    """Obtained from :func:`open_duty`."""

    def __init__(
        self,
        line: Line,
        identity: Identity,
        card: Card,
        keeper: DoorKeeper,
        listings: dict[bytes, Listing],
        nursery: trio.Nursery,
        record: bytes = b"",
    ) -> None:
        self.keeper = keeper
        self.supporting = Supporting(line.client, keeper, identity.key, Persona(card.name, card.avatar), record)
        """As one who asks other supporters, and is asked."""
        self._identity = identity
        self.gate = keeper.gate
        self.name = card.name
        self.card_id = identity.card_id
        self.says_open = any(door.open for door in card.doors)
        """Whether the card says that strangers may knock."""
        self.knocks: trio.MemoryReceiveChannel[Knocking] = keeper.knocks
        self.rotas = RotaWatch(line, identity.card_id)
        self._tell_sent, self.sent = trio.open_memory_channel[Person](64)
        """Tells whom colleagues have introduced."""
        self._line = line
        self._key = identity.key
        self._me = Persona(card.name, card.avatar)
        self._listings = listings
        self._nursery = nursery
        self._rooms: dict[bytes, HostedRoom] = {}

    @property
    def doors_up(self) -> int:
        return self.keeper.doors_up

    @property
    def contact_keys(self) -> list[bytes]:
        """The public keys that a Hello to this supporter may be sealed to."""
        return [secret.sealing_key().public for secret in self._identity.contacts]

    async def colleagues(self, named: str = "") -> list[Colleague]:
        """Other supporters, of that name or all, in random order."""
        return await colleagues(self._line, self.card_id, named)

    async def who_is(self, key: bytes) -> str:
        """What the directory says of the supporter with this key."""
        return await who_is(self._line, key)

    async def take_up(self) -> list[Session]:
        """Go on with the conversations that were cut off when this program last ended without a goodbye."""
        vault = self.keeper.vault
        if vault is None:
            return []
        kept = await self._line.client.run_blocking(partial(vault.ids, KIND))
        return [await self.keeper.take_up(each) for each in kept]

    def has_room(self, own: frozenset[bytes], listing: bytes) -> bool:
        """Whether a knock for it passes the door's rules: a group of one's own, or a room that one opened."""
        return listing in own or listing in self._rooms

    def title_of(self, listing: bytes) -> str:
        """The title of the group that a knock is for; empty for one to one."""
        found = self._listings.get(listing)
        return found.title if found else ""

    async def introduce(self, name: str) -> tuple[Card, bytes, bytes]:
        """Tell a colleague of a desk that somebody will come; their card, its record id, and the word to knock with.

        :class:`UsageError` where no colleague is called so, UnreachableError where none of their doors takes it.
        """
        record, card, desk = self.rotas.colleague(name)
        client = self._line.client
        word = client.rng.bytes(WORD_SIZE)
        said = introduce(self._key, desk, record.id, word, client.clock.utc_ms() + INTRODUCED_MS)
        cell = await client.run_blocking(partial(seal_at_door, said, card.contact.public))
        for door in card.doors:
            with trio.move_on_after(client.settings.create):
                try:
                    async with client.paths.path("door", door.node) as path, client.queues_over(path) as queues:
                        await queues.append(door.door, [cell])
                        return card, record.id, word
                except WarmlineError as error:
                    log.info("a colleague's door is out of reach: %s", error)
        raise UnreachableError(f"{card.name}'s doors are out of reach", hint="Try again, or ask somebody else.")

    async def hear_introductions(self) -> None:
        """Believe colleagues who send somebody, once the rotas are known; the rest is nothing."""
        await self.rotas.wait_known()
        async for said in self.keeper.introductions:
            found = self.rotas.introducer(said)
            if found is None:
                self.keeper.unreadable += 1
                continue
            desk, colleague = found
            until = min(said.until_ms, self._line.client.clock.utc_ms() + INTRODUCED_MS)
            name = _clipped(f"sent by {colleague}")
            self.gate.know(said.word, name, until_ms=until, desk=desk)
            with suppress(trio.WouldBlock):
                self._tell_sent.send_nowait(Person(said.word, name, until, desk))

    async def let_in(self, knock: Knocking) -> LetIn:
        """Open a conversation with them, or admit them to the room that they knocked for, opening it first."""
        listing = self._listings.get(knock.listing)
        if listing is None or listing.kind != ROOM:
            return LetIn(await self.keeper.accept(knock), knock.name or "somebody", room=False)
        room = self._rooms.get(knock.listing)
        if room is None or room.closed:
            room = await self._nursery.start(self._host, knock.listing)
        if len(room.people) >= listing.capacity:
            raise UsageError(f"{listing.title} is full", hint="Answer them busy, so that they can try another group.")
        await room.admit(knock, self.keeper)
        return LetIn(room, listing.title, room=True)

    async def _host(self, listing: bytes, *, task_status: trio.TaskStatus[HostedRoom]) -> None:
        try:
            rules = self._listings[listing].rules
            async with host_room(self._line.client, key=self._key, me=self._me, rules=rules) as room:
                self._rooms[listing] = room
                task_status.started(room)
                await room.wait_closed()
        finally:
            self._rooms.pop(listing, None)

    async def close_rooms(self) -> None:
        """Tell everybody in the open rooms that they close; what a cancelled host says reaches nobody."""
        with trio.move_on_after(GOODBYE_WITHIN):
            async with trio.open_nursery() as nursery:
                for room in list(self._rooms.values()):
                    nursery.start_soon(room.aclose, "closed")

    async def heir_of(self, room: HostedRoom, name: str = "") -> Heir:
        """Who opens the next room of this one's group: called so, or the first on its listing with a card out."""
        listing = next((self._listings[id] for id, each in self._rooms.items() if each is room), None)
        found = [] if listing is None else await heirs(self._line, listing)
        meant = [each for each in found if not name or each.name == name]
        if not meant:
            names = ", ".join(each.name for each in found) or "nobody with a card out"
            raise UsageError("there is no such successor", hint=f"The group's listing names: {names}.")
        return meant[0]

    async def remove(self, name: str) -> None:
        """Take somebody out of the room they are in; they read and write nothing from the next epoch on."""
        for room in self._rooms.values():
            for member, (called, _) in room.people.items():
                if called == name and member != room.me:
                    await room.remove(member)
                    return
        people = [name for room in self._rooms.values() for name, _ in room.people.values()]
        raise UsageError(f"nobody called {name!r} is in a room of yours", hint=f"In your rooms: {', '.join(people)}.")


@asynccontextmanager
async def open_duty(
    line: Line, folder: Path, passphrase: str, *, seats: int, rules: DoorRules | None = None, keep: bool = False
) -> AsyncIterator[Duty]:
    """Keep the doors on the card for the length of the block.

    ``rules`` say whom they let through; where they leave it open, it is whom the card invites. ``seats`` counts where
    there are no rules. With ``keep``, conversations lie encrypted on the disk until they end (``Duty.take_up``).

    Raises ConfigError without a card, PassphraseError for the wrong passphrase, UnreachableError when no door's node
    can be reached.
    """
    client = line.client
    files = IdentityFiles(folder)
    identity = await client.run_blocking(partial(files.load, lambda: passphrase))
    record = await client.run_blocking(files.card)
    if record is None or not isinstance(record.body, Card):
        raise ConfigError("there is no card of yours on this device", hint="Make it first: `warmline supporter card`.")
    card = record.body
    programme = Programme(folder, identity, client.clock)
    doors = [OwnDoor(door.node, door_key(identity, door.node.peer_id), door.open) for door in card.doors]
    me = Persona(card.name, card.avatar)
    people = PeopleFile(folder, identity, client.rng)
    rules = rules or DoorRules("", seats)
    rules = rules if rules.who else replace(rules, who=who_by(card))
    gate = DoorGate(rules, client.clock, await client.run_blocking(people.load))
    async with (
        _kept_at(folder, passphrase, client, keep) as vault,
        keep_doors(
            client, doors, partial(_contact_keys, identity), key=identity.key, me=me, gate=gate, vault=vault
        ) as keeper,
    ):
        listings = await client.run_blocking(partial(programme.listings, card.doors[0]))
        own = frozenset(listings)  # and not what is inherited: anybody can name this card as a successor
        gate.own_room = own.__contains__
        await _doors_open(keeper, len(doors))
        async with trio.open_nursery() as nursery:
            desks = RotaFiles(folder, identity, client.clock)
            nursery.start_soon(_renew_forever, line, programme, desks, card)
            nursery.start_soon(_keep_people, line, gate, people)
            duty = Duty(line, identity, card, keeper, listings, nursery, record.data)
            gate.own_room = partial(duty.has_room, own)
            nursery.start_soon(duty.rotas.run)
            nursery.start_soon(watch_inheritance, line, identity.card_id, listings)
            nursery.start_soon(duty.hear_introductions)
            nursery.start_soon(_watch_conduct, line, identity, keeper, PurseFile(folder))
            yield duty
            await duty.close_rooms()
            nursery.cancel_scope.cancel()
    await client.run_blocking(partial(people.save, gate.book))


@asynccontextmanager
async def _kept_at(folder: Path, passphrase: str, client: Client, keep: bool) -> AsyncIterator[FileVault | None]:
    """The vault under the device's passphrase, or nothing. One duty at a time owns it."""
    if not keep:
        yield None
        return
    opening = open_vault(folder / KEPT_FILE, rng=client.rng, clock=client.clock, passphrase=lambda: passphrase)
    vault = await client.run_blocking(opening.__enter__)
    try:
        yield vault
    finally:
        with trio.CancelScope(shield=True):
            await client.run_blocking(partial(opening.__exit__, None, None, None))


def who_by(card: Card) -> str:
    """The rule for the door that a card speaks of: a closed one is for people the supporter, or a desk, knows."""
    if any(door.open for door in card.doors):
        return OPEN
    return DESK if card.desks else KNOWN


async def _doors_open(keeper: DoorKeeper, wanted: int) -> None:
    """Until every door is listened at, or some time has passed."""
    with trio.move_on_after(DOORS_WITHIN):
        await keeper.wait_doors_up(wanted)


def _clipped(name: str) -> str:
    """As much of a name as the book keeps: 64 bytes of UTF-8."""
    return name.encode()[:64].decode(errors="ignore")


async def _watch_conduct(line: Line, identity: Identity, keeper: DoorKeeper, purses: PurseFile) -> None:
    """Know what nodes agree on of feedback, for as long as a wallet stands behind this device."""
    if identity.wallet is None:
        return
    agreed: list[Conduct | None] = [None]
    keeper.feedback = SupporterSide(line.client, identity.wallet, identity.key, lambda: agreed[0], purses)
    while True:
        try:
            collection, _ = await line.finder.collect(Wanted())
            agreed[0] = collection.conduct(line.client.clock.utc_ms())
        except WarmlineError as error:
            log.info("what the chain says of feedback was not heard: %s", error)
        await trio.sleep(CONDUCT_EVERY * line.client.rng.uniform(0.8, 1.0))


async def _keep_people(line: Line, gate: DoorGate, people: PeopleFile) -> None:
    """Write the door's memory down whenever it changed."""
    changed = trio.Event()

    def note() -> None:
        changed.set()

    gate.changed = note
    while True:
        await changed.wait()
        changed = trio.Event()
        try:
            await line.client.run_blocking(partial(people.save, gate.book))
        except WarmlineError as error:
            log.warning("whom you know and blocked could not be saved: %s (%s)", error, error.hint)


def _contact_keys(identity: Identity) -> list[ContactKey]:
    return [ContactKey(secret.sealing_key(), secret.not_after) for secret in identity.contacts]


async def _renew_forever(line: Line, programme: Programme, desks: RotaFiles, card: Card) -> None:
    """Sign the published groups and desks anew, well before their time is over."""
    renewed = True
    while True:
        await trio.sleep((RENEW_EVERY if renewed else RETRY) * line.client.rng.uniform(0.8, 1.0))
        renewed = await _renew(line, programme, desks, card)


async def _renew(line: Line, programme: Programme, desks: RotaFiles, card: Card) -> bool:
    try:
        records = await line.client.run_blocking(partial(programme.records, card.doors[0]))
        records += await line.client.run_blocking(desks.records)
        if records:
            await line.finder.publish(records)
    except WarmlineError as error:
        log.warning("your groups could not be renewed: %s (%s)", error, error.hint)
        return False
    return True
