"""A member's room: how one comes in, stays in step, and is reached by the host alone.

A member that is out of step (its keys or its log are not the host's) says Hello again by itself with the same attempt
id, three times in ten minutes at most; the host's client lets it in without asking, and what was not delivered goes
again. A queue of its own that is lost is replaced, and the host is told by a whisper in the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio

from warmline.client.room_conversation import RoomConversation
from warmline.client.session_client import Backoff, Client
from warmline.client.session_conversation import conversing
from warmline.client.session_events import QueueLost, SessionEvent
from warmline.client.session_lanes import Inlet, open_inlets
from warmline.client.session_seeking import Contact, Persona
from warmline_protocol import limits
from warmline_protocol.errors import RemoteError, UnreachableError
from warmline_protocol.session import events as said
from warmline_protocol.session.hello import Accepted, Answer, Declined, Joined
from warmline_protocol.session.room import Room

_REJOINS_WITHIN: Final = 600.0
"""Seconds in which :data:`limits.ROOM_REJOINS_MAX` fresh Hellos may be said."""


def _take_control(answer: Answer, room: Room, now: int) -> None:
    room.control(answer, now)


class JoinedRoom(RoomConversation):
    """Obtained from :func:`join_room`."""

    def __init__(self, client: Client, nursery: trio.Nursery, contact: Contact, me: Persona) -> None:
        super().__init__(client, nursery)
        self.contact = contact
        self._persona = me
        self._rejoining = False
        self._rejoined_at: list[float] = []
        self._replacing: list[Inlet] = []
        self._spare_inlets: list[Inlet] = []

    @property
    def succession(self) -> bytes:
        """The record id of the card that opens the next room, once the host has said so."""
        return b"" if self._room is None else self._room.succession

    async def ask(self, verb: str, member: bytes) -> None:
        """As a co-facilitator: have the host's client ``mute``, ``unmute`` or ``remove`` somebody."""
        await self._do(lambda room, now: room.ask(verb, member, now), asked=True)

    async def answer_aside(self, aside: bytes, yes: bool) -> None:
        """Whether one wants the word in private that the host asked for; after a yes, say Hello with that attempt."""
        await self._do(lambda room, now: room.answer_aside(aside, yes, now), asked=True)

    # -- coming in

    async def _take_cells(self, cells: list[bytes]) -> None:
        if self._rejoining:  # a fresh Hello is out: this may be its answer, or for the room that the answer begins
            self._early += cells
        for answer in self._read_answers(cells):
            if isinstance(answer, Accepted | Declined):
                self._answers.send_nowait(answer)
            elif not self._rejoining:
                await self._do(partial(_take_control, answer))

    async def _come_in(self, line: str, listing: bytes, accepted: bytes | None, attempt: bytes | None) -> None:
        with self._approach:
            joined = await self._seek(self.contact, self._persona, line, listing, attempt, accepted=accepted)
            if joined is None:
                return
            if not await self._enter(joined):
                self._end("unproven")
                return
            self._nursery.start_soon(self._follow_log)

    async def _enter(self, joined: Joined) -> bool:
        assert self._seeking is not None
        make = partial(
            Room.joined,
            joined,
            self.client.rng.bytes,
            self.client.clock.utc_ms(),
            name=self._persona.name,
            avatar=self._persona.avatar,
            reply_secret=self._seeking.reply_secret,
        )
        try:
            room = await self.client.run_blocking(make)
            assert room.log is not None
            address, incarnation = room.log.address, room.log.incarnation
            settings = self.client.settings
            room.read_only_ms, room.closed_ms = settings.room_read_only_ms, settings.room_closed_ms
            self.peer_name = room.name_of(joined.host.id)
            self._rejoining = False
            self._go_to_log(address, incarnation)
            await self._adopt(room)
        except RemoteError:
            return False
        self._go_to_log(address, incarnation)  # whoever follows for the room before begins anew
        return True

    def _take_over(self, old: Room | None, machine: Room) -> None:
        if old is not None:
            machine.carry_from(old, self.client.clock.utc_ms())

    # -- bad days

    def _tell(self, event: SessionEvent) -> None:
        super()._tell(event)
        if isinstance(event, said.OutOfStep) and not self._rejoining:
            self._rejoining = True
            self._nursery.start_soon(self._rejoin)

    async def _rejoin(self) -> None:
        backoff = Backoff(self.client)
        while not self._ended.is_set() and self._may_rejoin():
            assert self._seeking is not None
            self._seeking.replies = tuple(inlet.own.address for inlet in self._inlets)
            joined = await self._seeking.run(lambda why: None)
            if joined is not None and await self._enter(joined):
                return
            self._rejoining = True
            await backoff.wait()
        await self._do(lambda room, now: room.finish("lost"))

    def _may_rejoin(self) -> bool:
        now = trio.current_time()
        self._rejoined_at = [each for each in self._rejoined_at if now < each + _REJOINS_WITHIN]
        self._rejoined_at.append(now)
        return len(self._rejoined_at) <= limits.ROOM_REJOINS_MAX

    async def _shut_out(self) -> None:
        await self._do(lambda room, now: room.locked_out(now))

    def _lost(self, inlet: Inlet) -> None:
        super()._lost(inlet)
        if self._machine is not None and inlet in self._inlets and inlet not in self._replacing:
            self._replacing.append(inlet)
            self._nursery.start_soon(self._replace_inlet, inlet)

    async def _replace_inlet(self, lost: Inlet) -> None:
        """A queue elsewhere in place of a lost one; without it a room that moves would leave this member behind."""
        backoff = Backoff(self.client)
        avoid = [each.own.node.peer_id for each in self._inlets]
        while not self._ended.is_set():
            try:
                (fresh,) = await open_inlets(self.client, self._nursery, 1, self._deliver, self._lost, avoid=avoid)
            except UnreachableError:
                await backoff.wait()
                continue
            self._replacing.remove(lost)
            if lost.up or self._ended.is_set():
                await fresh.close()
                return
            if not lost.gone:
                self._tell(QueueLost(lost.own.node.peer_id))
                self._spare_inlets.append(lost)  # its node may come back, with cells
            self._inlets[self._inlets.index(lost)] = fresh
            await self._tell_queues()
            return

    async def _tell_queues(self) -> None:
        addresses = tuple(inlet.own.address for inlet in self._inlets)
        await self._do(lambda room, now: room.requeue(addresses, now))

    async def _close_lanes(self) -> None:
        self._inlets += self._spare_inlets
        await super()._close_lanes()


@asynccontextmanager
async def join_room(
    client: Client,
    contact: Contact,
    listing: bytes,
    *,
    me: Persona,
    line: str = "",
    accepted: bytes | None = None,
    attempt: bytes | None = None,
) -> AsyncIterator[JoinedRoom]:
    """Ask to be let into the room of a listing (its 32-byte record id). Returns at once; see the events.

    ``accepted`` is the digest of the room's rules that the person has read and accepted (``rules_digest``), ``attempt``
    the 16-byte id of an invitation by the host's client; without one it is random.
    """
    async with conversing() as nursery:
        room = JoinedRoom(client, nursery, contact, me)
        nursery.start_soon(room._come_in, line, listing, accepted, attempt)
        try:
            yield room
        finally:
            await room.aclose()
