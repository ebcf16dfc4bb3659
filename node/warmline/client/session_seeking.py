"""A seeker's first contact: queues to be answered in, Hellos at doors, and the answer. See ``session``."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import trio

from warmline.client.session_client import Backoff, Client
from warmline.client.session_conversation import KEPT, Conversation
from warmline.client.session_events import HelloHeld, StillWaiting
from warmline.client.session_lanes import Inlet, open_inlets
from warmline_protocol.errors import BadSignatureError, RefusedError, RemoteError, UnreachableError, WarmlineError
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.card import Card
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.hello import Accepted, Answer, AnswerReader, Declined, Joined, Knock, Peer
from warmline_protocol.session.machine import Machine
from warmline_protocol.session.offers import LEFT, OfferOver, seal_at_door

log = logging.getLogger("warmline.client")


@dataclass(frozen=True, slots=True)
class Persona:
    """The name and avatar seed (16 bytes) that a person goes by in one conversation."""

    name: str
    avatar: bytes


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach a supporter, and the key that proves it is them."""

    key: bytes
    contact: bytes
    doors: tuple[QueueAddress, ...]
    record: bytes = b""
    """The signed card, which a report shows to a panel."""

    @classmethod
    def of(cls, card: Card, key: bytes, record: bytes = b"") -> Contact:
        """From a verified card; ``key`` is the Ed25519 key that signed it (``OpenedRecord.key``)."""
        doors = tuple(QueueAddress(door.node, door.door, bytes(32)) for door in card.doors)
        return cls(key, card.contact.public, doors, record)

    @classmethod
    def at_door(cls, card: Card, key: bytes, node: NodeAddress, door: bytes, record: bytes = b"") -> Contact:
        """The same supporter, first at another door: that of a listing. Where its node is away, a Hello for the listing
        is heard at any door of the card."""
        first = QueueAddress(node, door, bytes(32))
        others = tuple(each for each in cls.of(card, key).doors if each.queue != door)
        return cls(key, card.contact.public, (first, *others), record)


@dataclass(frozen=True, slots=True)
class FreshQueues:
    """Takes the place of an answer: none can come any more, because all queues to be answered in are lost."""


EARLY_MAX = 256
"""Cells kept while a Hello waits for its answer: they may be of the session that the answer begins."""


class Asking(Conversation):
    """A conversation that may begin with a Hello: queues of one's own, and answers read from them."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        super().__init__(client, nursery)
        self._answers, self._answered = trio.open_memory_channel[Answer | FreshQueues](math.inf)
        self._reader: AnswerReader | None = None
        self._early: deque[bytes] = deque(maxlen=EARLY_MAX)
        self._seeking: Seeking | None = None
        self._stale_inlets: list[Inlet] = []
        self._renewing = False
        self._approach = trio.CancelScope()
        """Around the Hello and its answer: whoever leaves wants neither any more."""

    async def _open_queues(self) -> tuple[bytes, ...]:
        self._inlets = await open_inlets(self.client, self._nursery, 2, self._deliver, self._lost)
        return tuple(inlet.own.address for inlet in self._inlets)

    async def _deliver(self, cells: list[tuple[int, bytes]], incarnation: bytes) -> None:
        if self.closed == KEPT:
            await trio.sleep_forever()  # who comes back for them must find them: returning would acknowledge them
        if self._ended.is_set():
            return
        plain = [cell for _, cell in cells]
        if self._machine is None:
            self._early += plain
            for answer in self._read_answers(plain):
                self._answers.send_nowait(answer)
        else:
            await self._take_cells(plain)

    def _read_answers(self, cells: Sequence[bytes]) -> list[Answer]:
        answers = [] if self._reader is None else [self._reader.feed(cell) for cell in cells]
        return [each for each in answers if each is not None]

    async def _take_cells(self, cells: list[bytes]) -> None:
        raise NotImplementedError

    def _read_with(self, reader: AnswerReader) -> None:
        """A fresh Hello is out: only its answers count."""
        self._early.clear()
        with suppress(trio.WouldBlock):  # answers to the Hello before
            while True:
                self._answered.receive_nowait()
        self._reader = reader

    async def _adopt(self, machine: Machine) -> None:
        await super()._adopt(machine)
        early = list(self._early)
        self._early.clear()
        if early:
            await self._take_cells(early)

    async def _seek(
        self,
        contact: Contact,
        me: Persona,
        line: str,
        listing: bytes,
        attempt: bytes | None = None,
        peer: Peer | None = None,
        accepted: bytes | None = None,
    ) -> Joined | None:
        """What the supporter let this side into; None when it ended otherwise."""
        try:
            replies = await self._open_queues()
        except UnreachableError:
            self._end("no queue")
            return None
        self._seeking = Seeking(
            self,
            contact,
            me,
            line=line,
            listing=listing,
            replies=replies,
            attempt=attempt,
            peer=peer,
            accepted=accepted,
            reading=self._read_with,
            answered=self._answered,
        )
        return await self._seeking.run(self._end)

    def _lost(self, inlet: Inlet) -> None:
        super()._lost(inlet)
        # One that was replaced stays lost, while those in its place may not be followed yet.
        unheard = self._machine is None and self._seeking is not None and inlet in self._inlets
        if unheard and not any(each.up for each in self._inlets) and not self._renewing:
            self._renewing = True
            self._nursery.start_soon(self._renew_queues)

    async def _renew_queues(self) -> None:
        """No answer can reach this side: fresh queues, and a fresh Hello of the same attempt that names them."""
        backoff = Backoff(self.client)
        avoid = [each.own.node.peer_id for each in self._inlets]
        while self._machine is None and not self._ended.is_set():
            if any(each.up for each in self._inlets):
                break
            try:
                fresh = await open_inlets(self.client, self._nursery, 2, self._deliver, self._lost, avoid=avoid)
            except UnreachableError:
                await backoff.wait()  # most likely this machine has no network at all
                continue
            self._stale_inlets += self._inlets  # their nodes may come back, with the answer
            self._inlets = fresh
            assert self._seeking is not None
            self._seeking.replies = tuple(inlet.own.address for inlet in fresh)
            self._answers.send_nowait(FreshQueues())
            break
        self._renewing = False

    async def _close_lanes(self) -> None:
        self._inlets += self._stale_inlets
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.take_back)
            nursery.start_soon(super()._close_lanes)

    async def take_back(self) -> None:
        """Who leaves before there was an answer says so at the door, in the time of a goodbye, and wants none now."""
        if self._machine is None:
            self._approach.cancel()
            if self._seeking is not None:
                await self._seeking.take_back()


class Seeking:
    """A seeker's first contact: Hello at the doors until somebody answers, again where a Welcome does not open."""

    def __init__(
        self,
        conversation: Conversation,
        contact: Contact,
        me: Persona,
        *,
        line: str,
        listing: bytes,
        replies: tuple[bytes, ...],
        attempt: bytes | None = None,
        peer: Peer | None = None,
        accepted: bytes | None = None,
        reading: Callable[[AnswerReader], None],
        answered: trio.MemoryReceiveChannel[Answer | FreshQueues],
    ) -> None:
        self._conversation = conversation
        self._client = conversation.client
        self._contact = contact
        self._me = me
        self._line = line
        self._listing = listing
        self.replies = replies
        self._reading = reading
        self._answered = answered
        self._failed: Callable[[str], None] = conversation._end
        self.attempt = self._client.rng.bytes(16) if attempt is None else attempt
        self._peer = peer
        self._accepted = accepted
        self.reply_secret = b""
        """Of the last Hello: what the supporter and this side share from then on."""
        self._asked: list[QueueAddress] = []
        """Doors that may hold a Hello of this attempt."""

    async def run(self, failed: Callable[[str], None]) -> Joined | None:
        """What the supporter let this side into; None when it did not, after ``failed`` was told why."""
        self._failed = failed
        tries = 3
        while tries:
            knock = await self._client.run_blocking(self._knock)
            self.reply_secret = knock.hello.reply_secret
            self._reading(AnswerReader(self.reply_secret))
            answer = await self._wait_answer(knock)
            if answer is None:
                return None
            if isinstance(answer, FreshQueues):
                continue
            tries -= 1
            if isinstance(answer, Declined):
                self._asked.clear()
                self._failed(answer.why)
                return None
            if not isinstance(answer, Accepted):
                continue
            try:
                return await self._client.run_blocking(partial(knock.join, answer, self._contact.key))
            except BadSignatureError:
                self._failed("unproven")
                return None
            except RemoteError:
                continue
        self._failed("no answer")
        return None

    async def take_back(self) -> None:
        """Say where a Hello may wait that nobody is there any more: best effort, in the time of a goodbye."""
        with trio.move_on_after(self._client.settings.goodbye):
            async with trio.open_nursery() as nursery:
                for door in self._asked:
                    nursery.start_soon(self._take_back_at, door)

    async def _take_back_at(self, asked: QueueAddress) -> None:
        """At that door, or else at another: it is read wherever it lies."""
        over = OfferOver(self.attempt, LEFT)
        for door in [asked, *(each for each in self._contact.doors if each not in self._asked)]:
            cell = await self._client.run_blocking(partial(seal_at_door, over, self._contact.contact))
            try:
                await self._append(door, cell)
            except WarmlineError as error:
                log.debug("a Hello could not be taken back: %s", type(error).__name__)
            else:
                return

    def _knock(self) -> Knock:
        return Knock(
            self._client.provider.candidate(),
            self._client.rng.bytes,
            self.replies,
            name=self._me.name,
            avatar=self._me.avatar,
            line=self._line,
            listing=self._listing,
            attempt=self.attempt,
            accepted=self._accepted,
            peer=self._peer,
        )

    async def _wait_answer(self, knock: Knock) -> Answer | FreshQueues | None:
        doors = list(self._contact.doors)
        waited = 0.0
        if not await self._at_some_door(knock, doors):
            return None
        while True:
            with trio.move_on_after(self._client.settings.still_waiting):
                return await self._answered.receive()
            waited += self._client.settings.still_waiting
            self._conversation._tell(StillWaiting(int(waited)))
            if doors:
                await self._at_some_door(knock, doors)

    async def _at_some_door(self, knock: Knock, doors: list[QueueAddress]) -> bool:
        """Leave the Hello at the next door that takes it; at the first call, end when none does."""
        first = len(doors) == len(self._contact.doors)
        codes: list[str] = []
        cell = await self._client.run_blocking(partial(knock.cell, self._contact.contact))
        while doors:
            door = doors.pop(0)
            asked_before = door in self._asked
            if not asked_before:
                self._asked.append(door)
            try:
                await self._append(door, cell)
            except WarmlineError as error:
                if isinstance(error, RefusedError) and not asked_before:
                    self._asked.remove(door)
                codes.append(error.code if isinstance(error, RefusedError) else "unreachable")
                continue
            self._conversation._tell(HelloHeld(door.node.peer_id))
            return True
        if first:
            # A door that is gone went with its contact key: the card is old.
            gone = bool(codes) and all(code in ("unknown", "denied") for code in codes)
            self._failed("stale" if gone else "no door")
        return not first

    async def _append(self, door: QueueAddress, cell: bytes) -> None:
        client = self._client
        with trio.move_on_after(client.settings.create):
            async with client.paths.path("door", door.node) as path, client.queues_over(path) as queues:
                await queues.append(door.queue, [cell])
                return
        raise UnreachableError("the door's node did not answer in time")
