"""Supporters who ask supporters: a second peer in a conversation that became too much for one, or a debrief after it.

Whoever asks knocks at a colleague's door like anybody, with a Hello that their card's key signed, so that the colleague
knows who it is before they answer. For backup the one who asks hosts a small room, and invites the seeker, who said yes
to that, and the colleague; both knock at the host's door with attempt ids that it expects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from warmline.client.line import Line
from warmline.client.matching import Wanted
from warmline.client.rooms import HostedRoom, host_room
from warmline.client.session import Client, Contact, Persona, Session, open_session
from warmline.client.session_doors import DoorKeeper, Knocking
from warmline_protocol.errors import BadSignatureError, RefusedError, UnreachableError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.card import Card
from warmline_protocol.records.envelope import CARD, OpenedRecord, open_record
from warmline_protocol.session.hello import Peer

BACKUP, DEBRIEF = "backup", "debrief"
ASK_DIRECTORY = 20.0
"""Seconds that looking up a colleague who knocks may take."""
ANSWER_WITHIN = 45.0
"""Seconds that one colleague has to answer before the next is asked."""
INVITED_MS = 10 * 60_000
"""How long the door expects whoever was invited."""


@dataclass(frozen=True, slots=True)
class Colleague:
    """A supporter who may be asked."""

    name: str
    contact: Contact


@dataclass(slots=True)
class Supporting:
    """A supporter on duty, as one who asks others and is asked. ``card`` is their own signed card."""

    client: Client
    keeper: DoorKeeper
    key: SigningKey
    me: Persona
    card: bytes
    rooms: dict[bytes, HostedRoom] = field(default_factory=dict)
    """Rooms by the attempt ids that were invited into them."""

    def asks_of(self, knock: Knocking, contacts: Sequence[bytes]) -> str:
        """``backup`` or ``debrief`` where a supporter knocks, empty for anybody else.

        :class:`BadSignatureError` where the proof is another's: that is nobody to talk to. ``contacts`` are the public
        contact keys of this supporter, which a proof names.
        """
        proof = knock.hello.peer
        if proof is None:
            return ""
        for contact in contacts:
            try:
                knock.hello.check_peer(contact)
            except BadSignatureError:
                continue
            return proof.wants
        raise BadSignatureError("a knock by a supporter that this supporter's key did not sign")

    @asynccontextmanager
    async def call(
        self, colleagues: Sequence[Colleague], wants: str, words: str, asking: Callable[[str], None]
    ) -> AsyncIterator[tuple[Colleague, Session]]:
        """A conversation with the first of ``colleagues`` who takes it; ``asking`` is told whose turn it is.

        UnreachableError when none does.
        """
        for colleague in colleagues:
            asking(colleague.name)
            async with open_session(
                self.client, colleague.contact, me=self.me, line=words, peer=Peer(self.key, wants)
            ) as session:
                with trio.move_on_after(ANSWER_WITHIN):
                    try:
                        await session.wait_established()
                    except RefusedError:
                        continue
                if session.established:
                    yield colleague, session
                    return
        raise UnreachableError("no other peer took it", hint="Try again in a while, or ask one by name.")

    @asynccontextmanager
    async def room_for(self, seeker: Session, colleague: Session, words: str) -> AsyncIterator[HostedRoom]:
        """A room of three: both are invited, and let in when they knock."""
        async with host_room(self.client, key=self.key, me=self.me) as room:
            attempts = [self.client.rng.bytes(16) for _ in range(2)]
            until = self.client.clock.utc_ms() + INVITED_MS
            for attempt in attempts:
                self.keeper.expect(attempt, until)
                self.rooms[attempt] = room
            try:
                await seeker.invite(attempts[0], words)
                await colleague.invite(attempts[1], words, self.card)
                yield room
            finally:
                for attempt in attempts:
                    del self.rooms[attempt]

    async def let_in_invited(self, knock: Knocking) -> bool:
        """Admit somebody who was invited into a room; False for everybody else."""
        room = self.rooms.get(knock.attempt)
        if room is None or room.closed or not knock.expected:
            return False
        await room.admit(knock, self.keeper)
        return True


async def colleagues(line: Line, own: bytes, named: str = "") -> list[Colleague]:
    """Other supporters with a card out, in random order: nobody is worth more. ``own`` is one's own card's id."""
    wanted = Wanted()
    collection, _ = await line.finder.collect(wanted)
    found = [
        Colleague(one.card.name, Contact.of(one.card, one.record.key, one.record.data))
        for one in collection.supporters(wanted, line.client.clock.utc_ms())
        if one.record.id != own and named in ("", one.card.name, one.record.id.hex())
    ]
    line.client.rng.shuffle(found)
    return found


async def who_is(line: Line, key: bytes) -> str:
    """What the directory says of whoever signs with ``key``, in words."""
    wanted = Wanted()
    with trio.move_on_after(ASK_DIRECTORY):
        try:
            collection, _ = await line.finder.collect(wanted)
        except WarmlineError:
            return "somebody whose card could not be looked up"
        for one in collection.supporters(wanted, line.client.clock.utc_ms()):
            if one.record.key == key:
                return f"{one.card.name} ({one.vouching.words})"
    return "somebody without a card that this program knows"


def host_of(card: bytes, key: bytes) -> Contact:
    """Where an invitation leads, from the card inside it; ``key`` is the one that proved who asks.

    WarmlineError where the card is another's or none.
    """
    record: OpenedRecord = open_record(card)
    if record.kind != CARD or not isinstance(record.body, Card) or record.key != key:
        raise BadSignatureError("an invitation to somebody else's door")
    return Contact.of(record.body, record.key, record.data)


__all__ = ["BACKUP", "DEBRIEF", "Colleague", "Supporting", "colleagues", "host_of", "who_is"]
