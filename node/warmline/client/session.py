"""Conversations: what a terminal chat, a page or a script drives. This page is the interface; rooms are in ``rooms``.

Everything hangs on one :class:`Client` (who shares routes, node choice, engine, clock, randomness)::

    client = Client(paths=routes, queue_nodes=lambda: [QueueNode(address, operator), ...],
                    provider=MlsRsProvider(rng.bytes), rng=rng, clock=clock, run_blocking=run_in_thread)

**A seeker talks to a supporter** (``contact`` comes from a card that was verified)::

    contact = Contact.of(card, key)          # key: the Ed25519 key that signed the card
    async with open_session(client, contact, me=Persona("River", avatar), line="rough week") as session:
        async for event in session.events:   # ends when the session has ended
            ...

**A supporter answers the door** (``session_doors``; an ``OwnDoor`` is a door's node and its ``door_key``)::

    keys = lambda: [ContactKey.of(secret) for secret in identity.contacts]
    async with keep_doors(client, doors, keys, key=identity.key, me=Persona("Ada", avatar)) as keeper:
        async for knock in keeper.knocks:    # Knocking(name, avatar, line, listing, attempt, ...)
            session = await keeper.accept(knock)         # a Session, run by the keeper
            # or: await keeper.decline(knock)            # no reason is given
            # or: await keeper.busy(knock)
            # or, in a room: await room.admit(knock)     # see rooms.HostedRoom

**Every Session** (and every room) has:

``await session.send(text) -> bytes``   the message's 16-byte id; UsageError when it is over, too long, or too early
``session.events``                      async iterator of the events below, in order; one reader
``await session.wait_established()``    returns when both are in; raises RefusedError(code) when that will not be
``session.established`` / ``session.closed``   bool / "" or why it ended
``session.peer_name``                   the supporter's only after its statement verified
``session.outgoing``                    {message id: state} of what is not final yet
``session.weaknesses``                  sentences about paths that are less private than they should be
``await session.aclose(why="left")``    says goodbye (3 s at most), explains what is still open, ends. The async with
                                        block does it too. ``why="blocked"`` ends this contact

**Events** (``warmline_protocol.session.events`` unless marked *):

``HelloHeld(node)`` *            the door has the Hello; nothing more is known yet
``StillWaiting(seconds)`` *      nobody has answered for so long (every 60 s): offer other ways
``Joined(member, name, avatar, host)``   somebody is here; for the seeker the supporter, proven
``MessageState(id, state, by, why)``     waiting, held (by nodes), delivered (by whom), expired, refused (why)
``TextReceived(id, sender, name, text, sent_ms, signed, late)``
``Gap(sender, count)``           messages of theirs that did not come
``PeerAway()`` / ``PeerBack()``  what was said waits at a node for a while / they are back
``Left(member, name, why)``      left, blocked, closed, removed
``ReadOnly()`` / ``Writable()`` / ``SuccessorNamed(member, name)``   rooms: the host is away / back / hands over
``OutOfStep(why)``               this side lost the thread: leave, and say Hello again
``QueueLost(node)`` *            one of this side's own queues is gone; the other one carries on
``Closed(why)``                  always the last: left, peer left, removed, host gone, unproven, declined, busy, stale,
                                 no door, no answer

``to_json(event) -> dict`` * gives ``{"event": "text_received", ...}`` with bytes as hex, for line-JSON drivers.

Nothing is kept on the disk unless ``vault=`` is given to ``open_session`` or ``keep_doors``. Then
``session.detach()`` ends without a goodbye, and ``resume_session(client, vault, id)`` goes on, after a crash too, with
any id of ``vault.ids(session_keep.KIND)``; a session that ended leaves nothing there.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

import trio

from warmline.client.queues import Receipt
from warmline.client.session_keep import Keep
from warmline.client.session_lanes import (
    Client,
    Inlet,
    Outlet,
    QueueNode,
    SessionSettings,
    append_job,
    open_inlets,
    unpack_address,
)
from warmline.client.vault import Vault
from warmline.scopes import sole_error
from warmline_protocol.errors import (
    BadSignatureError,
    RefusedError,
    RemoteError,
    UnreachableError,
    UsageError,
    WarmlineError,
)
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.card import Card
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session import events as said
from warmline_protocol.session.events import FINAL, Closed, Event, MessageState
from warmline_protocol.session.hello import Accepted, Answer, AnswerReader, Declined, Joined, Knock
from warmline_protocol.session.machine import Machine
from warmline_protocol.session.pair import Pair

T = TypeVar("T")
_KEPT = "kept"

__all__ = [
    "Client",
    "Contact",
    "DriverEvent",
    "HelloHeld",
    "Persona",
    "QueueLost",
    "QueueNode",
    "Session",
    "SessionEvent",
    "SessionSettings",
    "StillWaiting",
    "open_session",
    "resume_session",
    "to_json",
]


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

    @classmethod
    def of(cls, card: Card, key: bytes) -> Contact:
        """From a verified card; ``key`` is the Ed25519 key that signed it (``OpenedRecord.key``)."""
        doors = tuple(QueueAddress(door.node, door.door, bytes(32)) for door in card.doors)
        return cls(key, card.contact.public, doors)

    @classmethod
    def at_door(cls, card: Card, key: bytes, node: NodeAddress, door: bytes) -> Contact:
        """The same supporter at another door: that of a listing."""
        return cls(key, card.contact.public, (QueueAddress(node, door, bytes(32)),))


@dataclass(frozen=True, slots=True)
class HelloHeld:
    """A node holds the Hello; whether anybody reads it is not known."""

    node: str


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """Nobody has answered for so long."""

    seconds: int


@dataclass(frozen=True, slots=True)
class QueueLost:
    """A node no longer has one of this side's queues."""

    node: str


DriverEvent: TypeAlias = HelloHeld | StillWaiting | QueueLost
SessionEvent: TypeAlias = Event | DriverEvent


def to_json(event: SessionEvent) -> dict[str, Any]:
    """A plain dictionary: the event's name in snake case and its fields, bytes as hex."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    return {"event": name} | {key: _plain(value) for key, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return list(value) if isinstance(value, tuple) else value


class Conversation:
    """What sessions and rooms share: one machine, one lock, timers, events. Obtained, not built."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        self.client = client
        self.closed = ""
        self.outgoing: dict[bytes, str] = {}
        self.peer_name = ""
        self._nursery = nursery
        self._machine: Any = None
        self._lock = trio.Lock()
        self._changed = trio.Event()
        self._established = trio.Event()
        self._ended = trio.Event()
        self._over = trio.Event()
        self._news, self.events = trio.open_memory_channel[SessionEvent](math.inf)
        self._inlets: list[Inlet] = []
        self._outlets: dict[str, Outlet] = {}

    # -- for the person

    @property
    def established(self) -> bool:
        """Whether there is somebody to talk to."""
        return self._established.is_set() and not self.closed

    async def wait_established(self) -> None:
        """Return when messages can be sent; :class:`RefusedError` (code: why it closed) when they never will."""
        await self._established.wait()
        if self._machine is None:
            raise RefusedError(self.closed, f"the session did not come about: {self.closed}")

    async def wait_closed(self) -> str:
        """Why it ended, once it has."""
        await self._ended.wait()
        return self.closed

    async def send(self, text: str) -> bytes:
        """Say something; the id under which :class:`MessageState` tells what becomes of it."""
        if self._machine is None or self.closed:
            raise UsageError("there is nobody to say this to", hint="Wait until the session is established.")
        message: bytes = await self._do(lambda machine, now: machine.send(text, now))
        return message

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """What is less private about the paths in use than it should be."""
        lanes: list[Inlet | Outlet] = [*self._inlets, *self._outlets.values()]
        return tuple(dict.fromkeys(lane.weakness for lane in lanes if lane.weakness))

    async def aclose(self, why: str = "left") -> None:
        """Say goodbye, best effort, and end."""
        if self._over.is_set():
            return
        with trio.CancelScope(shield=True):
            if self._machine is not None and not self.closed:
                await self._goodbye(why)
            self._end(why)
            await self._close_lanes()
            await self._forget()
            self._over.set()

    async def _forget(self) -> None:
        """Ended for good: nothing of it is kept."""

    def detach(self) -> None:
        """End here without a goodbye, to go on later from the vault."""
        self._end(_KEPT)
        self._over.set()

    async def _goodbye(self, why: str) -> None:
        await self._do(lambda machine, now: machine.leave(now, why))
        with trio.move_on_after(self.client.settings.goodbye):
            while not self._machine.farewell_sent and not self.closed:
                await self._next_change()
        await self._do(lambda machine, now: machine.finish())

    async def _next_change(self) -> None:
        await self._changed.wait()

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _close_lanes(self) -> None:
        async with trio.open_nursery() as nursery:
            for inlet in self._inlets:
                nursery.start_soon(inlet.close)

    def _end(self, why: str) -> None:
        if self._ended.is_set():
            return
        if not self.closed:
            self.closed = why
            self._news.send_nowait(Closed(why))
        self._ended.set()
        self._established.set()
        self._change()
        self._news.close()

    # -- the machine

    async def _do(self, work: Callable[[Any, int], T]) -> T:
        """Call the machine, save what it became, then do and tell what it says."""
        async with self._lock:
            now = self.client.clock.utc_ms()
            machine = self._machine

            def step() -> tuple[T, list[said.Output], list[Event]]:
                result = work(machine, now)
                outputs, news = machine.take()
                self._save(machine)
                return result, outputs, news

            result, outputs, news = await self.client.run_blocking(step)
            for output in outputs:
                self._dispatch(output)
            for event in news:
                self._tell(event)
            self._change()
        return result

    def _save(self, machine: Machine) -> None:
        """Called before anything leaves the machine, in the worker thread."""

    def _dispatch(self, output: said.Output) -> None:
        raise NotImplementedError

    def _tell(self, event: SessionEvent) -> None:
        if self._ended.is_set():
            return
        if isinstance(event, MessageState):
            if event.state in FINAL:
                self.outgoing.pop(event.id, None)
            else:
                self.outgoing[event.id] = event.state
        if isinstance(event, Closed):
            self.closed = self.closed or event.why
        self._news.send_nowait(event)

    async def _adopt(self, machine: Machine) -> None:
        """From now on there is somebody to talk to."""
        first = self._machine is None
        self._machine = machine
        await self._do(lambda machine, now: machine.tick(now))
        self._established.set()
        if first:
            self._nursery.start_soon(self._keep_time)

    async def _keep_time(self) -> None:
        while not self._ended.is_set():
            if self.closed:
                await self._linger()
                return
            due = self._machine.next_timer()
            wait = math.inf if due is None else max(0.01, (due - self.client.clock.utc_ms()) / 1000)
            with trio.move_on_after(wait):
                await self._next_change()
                continue
            await self._do(lambda machine, now: machine.tick(now))

    async def _linger(self) -> None:
        """The machine has closed: let the last ack out, then end."""
        await trio.sleep(min(1.0, self.client.settings.goodbye))
        await self.aclose(self.closed)

    # -- lanes

    def _outlet(self, node: NodeAddress) -> Outlet:
        outlet = self._outlets.get(node.peer_id)
        if outlet is None:
            outlet = self._outlets[node.peer_id] = Outlet(self.client, node)
            self._nursery.start_soon(outlet.run)
        return outlet

    def _lost(self, node: NodeAddress) -> None:
        self._tell(QueueLost(node.peer_id))


class Asking(Conversation):
    """A conversation that may begin with a Hello: queues of one's own, and answers read from them."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        super().__init__(client, nursery)
        self._answers, self._answered = trio.open_memory_channel[Answer](math.inf)
        self._reader: AnswerReader | None = None
        self._early: list[bytes] = []

    async def _open_queues(self) -> tuple[bytes, ...]:
        self._inlets = await open_inlets(self.client, self._nursery, 2, self._deliver, self._lost)
        return tuple(inlet.own.address for inlet in self._inlets)

    async def _deliver(self, cells: list[tuple[int, bytes]], incarnation: bytes) -> None:
        if self.closed == _KEPT:
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
        self._reader = reader

    async def _adopt(self, machine: Machine) -> None:
        await super()._adopt(machine)
        early, self._early = self._early, []
        if early:
            await self._take_cells(early)

    async def _seek(self, contact: Contact, me: Persona, line: str, listing: bytes) -> Joined | None:
        """What the supporter let this side into; None when it ended otherwise."""
        try:
            replies = await self._open_queues()
        except UnreachableError:
            self._end("no queue")
            return None
        seeking = Seeking(
            self,
            contact,
            me,
            line=line,
            listing=listing,
            replies=replies,
            reading=self._read_with,
            answered=self._answered,
        )
        return await seeking.run()


class Session(Asking):
    """One to one, either side."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        super().__init__(client, nursery)
        self._routes: tuple[QueueAddress, ...] = ()
        self._keep: Keep | None = None

    def _save(self, machine: Machine) -> None:
        over = self._ended.is_set() and self.closed != _KEPT
        if self._keep is not None and isinstance(machine, Pair) and not over:
            self._keep.save(machine, self._routes, [inlet.own for inlet in self._inlets])

    async def _forget(self) -> None:
        if self._keep is not None:
            await self.client.run_blocking(self._keep.forget)

    async def _take_cells(self, cells: list[bytes]) -> None:
        await self._do(lambda machine, now: machine.receive(cells, now))
        self.peer_name = self._machine.peer_name

    def _dispatch(self, output: said.Output) -> None:
        assert isinstance(output, said.Append)
        address = self._routes[output.route]
        job = append_job(address, output.cells, partial(self._done, output.token), partial(self._failed, output.token))
        self._outlet(address.node).put(job)

    async def _done(self, token: int, node: str, receipt: Receipt) -> None:
        await self._do(lambda machine, now: machine.receipted(token, node, receipt.incarnation, now))

    async def _failed(self, token: int, code: str, why: str) -> None:
        await self._do(lambda machine, now: machine.append_failed(token, code, why, now))

    async def _adopt(self, machine: Machine) -> None:
        assert isinstance(machine, Pair)
        machine.second_after_ms = self.client.settings.second_queue_ms
        self.peer_name = machine.peer_name
        await super()._adopt(machine)


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
        reading: Callable[[AnswerReader], None],
        answered: trio.MemoryReceiveChannel[Answer],
    ) -> None:
        self._conversation = conversation
        self._client = conversation.client
        self._contact = contact
        self._me = me
        self._line = line
        self._listing = listing
        self._replies = replies
        self._reading = reading
        self._answered = answered
        self._attempt = self._client.rng.bytes(16)

    async def run(self) -> Joined | None:
        """What the supporter let this side into; None when the conversation was closed instead."""
        for _ in range(3):
            knock = await self._client.run_blocking(self._knock)
            self._reading(AnswerReader(knock.hello.reply_secret))
            answer = await self._wait_answer(knock)
            if answer is None:
                return None
            if isinstance(answer, Declined):
                self._conversation._end(answer.why)
                return None
            if not isinstance(answer, Accepted):
                continue
            try:
                return await self._client.run_blocking(partial(knock.join, answer, self._contact.key))
            except BadSignatureError:
                self._conversation._end("unproven")
                return None
            except RemoteError:
                continue
        self._conversation._end("no answer")
        return None

    def _knock(self) -> Knock:
        return Knock(
            self._client.provider.candidate(),
            self._client.rng.bytes,
            self._replies,
            name=self._me.name,
            avatar=self._me.avatar,
            line=self._line,
            listing=self._listing,
            attempt=self._attempt,
        )

    async def _wait_answer(self, knock: Knock) -> Answer | None:
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
            try:
                await self._append(door, cell)
            except WarmlineError as error:
                codes.append(error.code if isinstance(error, RefusedError) else "unreachable")
                continue
            self._conversation._tell(HelloHeld(door.node.peer_id))
            return True
        if first:
            # A door that is gone went with its contact key: the card is old.
            gone = bool(codes) and all(code in ("unknown", "denied") for code in codes)
            self._conversation._end("stale" if gone else "no door")
        return not first

    async def _append(self, door: QueueAddress, cell: bytes) -> None:
        client = self._client
        with trio.move_on_after(client.settings.create):
            async with client.paths.path("door", door.node) as path, client.queues_over(path) as queues:
                await queues.append(door.queue, [cell])
                return
        raise UnreachableError("the door's node did not answer in time")


@asynccontextmanager
async def open_session(
    client: Client,
    contact: Contact,
    *,
    me: Persona,
    line: str = "",
    listing: bytes = b"",
    vault: Vault | None = None,
) -> AsyncIterator[Session]:
    """Say Hello to a supporter. Returns at once with a session that is not established yet; see its events.

    With a ``vault`` it is kept there from the moment it is established until it ends, a day at most.
    """
    async with _conversing() as nursery:
        session = Session(client, nursery)
        session._keep = None if vault is None else Keep(client, vault)
        nursery.start_soon(_seek, session, contact, me, line, listing)
        try:
            yield session
        finally:
            await session.aclose()


@asynccontextmanager
async def resume_session(
    client: Client, vault: Vault, kept: bytes, *, key: SigningKey | None = None
) -> AsyncIterator[Session]:
    """Go on with a kept session (one of ``vault.ids(KIND)``); a supporter's needs its delegated ``key``.

    :class:`UsageError` when the vault does not hold it any more.
    """
    keep = Keep(client, vault, kept)
    pair, routes, own = await client.run_blocking(partial(keep.load, key))
    async with _conversing() as nursery:
        session = Session(client, nursery)
        session._keep, session._routes = keep, routes
        session._inlets = [Inlet(client, each, session._deliver, session._lost) for each in own]
        await session._adopt(pair)
        for inlet in session._inlets:
            nursery.start_soon(inlet.run)
        try:
            yield session
        finally:
            await session.aclose()


async def _seek(session: Session, contact: Contact, me: Persona, line: str, listing: bytes) -> None:
    joined = await session._seek(contact, me, line, listing)
    if joined is None:
        return
    client = session.client
    now = client.clock.utc_ms()
    try:
        session._routes = tuple(unpack_address(each) for each in joined.welcome.queues)
        pair = await client.run_blocking(
            partial(Pair.joined, joined, client.rng.bytes, now, name=me.name, avatar=me.avatar)
        )
    except RemoteError:
        session._end("unproven")
        return
    await session._adopt(pair)


@asynccontextmanager
async def _conversing() -> AsyncIterator[trio.Nursery]:
    """A nursery for lanes and timers that ends with its block, and raises what the block raised, unwrapped."""
    with sole_error():
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
