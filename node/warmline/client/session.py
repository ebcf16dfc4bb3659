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
``MessageState(id, state, by, why)``     waiting, held (by nodes), delivered (by whom), expired, refused (why).
                                 ``event.last``: no more will be told; so it is with ``held`` and a why, on leaving
``TextReceived(id, sender, name, text, sent_ms, signed, late)``
``Gap(sender, count)``           messages of theirs that did not come
``PeerAway()`` / ``PeerBack()``  what was said waits at a node for a while / they are back
``Left(member, name, why)``      left, blocked, closed, removed
``ReadOnly()`` / ``Writable()`` / ``SuccessorNamed(member, name)``   rooms: the host is away / back / hands over
``Muted(member, name)`` / ``Unmuted`` / ``SlowMode(ms)`` / ``CoFacilitates(member, name, ended)`` / ``Rejoined(before,
member, name)`` / ``SuccessionNamed(card)`` / ``AsideAsked(aside, name)``   rooms; for their host also
                                 ``AsideAnswered``, ``Facilitated``, ``SecondFacilitatorGone``: see ``session.events``
``OutOfStep(why)``               this side lost the thread. The seeker, or a room's member, says Hello again by itself,
                                 three times at most; where that does not help: leave, and say Hello again
``QueueLost(node)`` *            one of this side's own queues is gone, or its node has been away for a minute. One to
                                 one, and for a room's member, another takes its place and the other side is told
``Closed(why)``                  always the last: left, peer left, removed, host gone, lost, unproven, declined, busy,
                                 stale, no door, no answer

``to_json(event) -> dict`` * gives ``{"event": "text_received", ...}`` with bytes as hex, for line-JSON drivers.

Nothing is kept on the disk unless ``vault=`` is given to ``open_session`` or ``keep_doors``. Then
``session.detach()`` ends without a goodbye, and ``resume_session(client, vault, id)`` goes on, after a crash too, with
any id of ``vault.ids(session_keep.KIND)``; a session that ended leaves nothing there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from warmline.client.feedback import STEPS, Side
from warmline.client.queues import Receipt
from warmline.client.session_client import Backoff, Client, QueueNode, SessionSettings, unpack_address
from warmline.client.session_conversation import KEPT, Conversation, conversing
from warmline.client.session_events import DriverEvent, HelloHeld, QueueLost, SessionEvent, StillWaiting, to_json
from warmline.client.session_keep import Keep
from warmline.client.session_lanes import Inlet, open_inlets
from warmline.client.session_outlets import append_job
from warmline.client.session_seeking import Contact, Persona, Seeking
from warmline.client.session_transcript import Transcript
from warmline.client.session_wishes import Wishes
from warmline.client.vault import Vault
from warmline_protocol.errors import RemoteError, UnreachableError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session import events as said
from warmline_protocol.session.hello import Joined, Peer
from warmline_protocol.session.known import known_attempt
from warmline_protocol.session.machine import Machine
from warmline_protocol.session.messages import Part
from warmline_protocol.session.pair import Pair

__all__ = [
    "Client",
    "Contact",
    "Conversation",
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


HELLOS_AGAIN = 3
"""How often a session that lost its thread begins afresh by itself."""


class Session(Wishes):
    """One to one, either side."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        super().__init__(client, nursery)
        self._routes: tuple[QueueAddress, ...] = ()
        self._new_routes: tuple[QueueAddress, ...] = ()
        self.attempt = b""
        """At the supporter's side: the id of the Hello that began it."""
        self._thread = b""
        self._hellos_again = 0
        self.feedback: Side | None = None
        """This side's part of the token exchange, where the chain has feedback and the supporter is vouched for."""
        self._spare_inlets: list[Inlet] = []
        self._replacing: list[Inlet] = []

    @property
    def _in_place(self) -> bool:
        return self._keep is None  # a millisecond: one MLS message, one cell, one signature

    def _save(self, machine: Machine, outputs: list[said.Output]) -> None:
        for output in outputs:
            if isinstance(output, said.UseRoute):
                self._use_route(output)
        over = self._over.is_set() and self.closed != KEPT
        if self._keep is not None and isinstance(machine, Pair) and not over:
            lines, own = self.transcript.take_changed(), [inlet.own for inlet in self._inlets]
            self._keep.save(machine, self._routes, own, lines, self._origin, self.attempt)

    def _use_route(self, output: said.UseRoute) -> None:
        try:
            address = unpack_address(output.address)
        except RemoteError:
            return  # the peer's own loss: its other queue is still known
        routes = list(self._routes)
        routes[output.route] = address
        self._routes = tuple(routes)

    def _farewell(self) -> None:
        if self.client.farewells is not None and self._machine is not None:
            self.client.farewells.keep([(self._routes[each], cells) for each, cells in self._machine.farewell.items()])

    def signal_node(self) -> NodeAddress | None:
        """The node of the supporter's first queue, where the seeker comes anyway."""
        machine = self._machine
        if machine is None or not (self._inlets and self._routes):
            return None
        return self._inlets[0].own.node if machine.is_host else self._routes[0].node

    async def _forget(self) -> None:
        async with self._lock:  # a save under way would put it back
            keep, self._keep = self._keep, None
            if keep is not None:
                await self.client.run_blocking(keep.forget)

    async def _take_cells(self, cells: list[bytes]) -> None:
        if self._reader is not None:  # a fresh Hello is out: this may be its answer, or a word of the new session
            self._early += cells
            for answer in self._read_answers(cells):
                self._answers.send_nowait(answer)
        await self._do(lambda machine, now: machine.receive(cells, now))
        self.peer_name = self._machine.peer_name

    def _dispatch(self, output: said.Output) -> None:
        if not isinstance(output, said.Append):
            return  # a route, which was put in its place with the save
        address, asker = self._routes[output.route], self._machine
        what = (asker, output.token)
        done, failed = partial(self._all_done, (what,)), partial(self._failed, asker, output.token)
        self._outlet(address.node).put(
            append_job(address, output.cells, done, failed, what=what, all_done=self._all_done)
        )

    async def _all_done(self, what: Sequence[Any], node: str, receipt: Receipt) -> None:
        """One receipt for messages that went together is one step of the machine, and one save."""

        def receipted(pair: Any, now: int) -> None:
            tokens = [token for asker, token in what if asker is pair]
            for token in tokens:
                pair.receipted(token, node, receipt.incarnation, now)

        await self._do(receipted)

    async def _failed(self, asker: Machine, token: int, code: str, why: str) -> None:
        await self._answered_by(asker, lambda pair, now: pair.append_failed(token, code, why, now))

    async def _meet(self, pair: Pair, routes: tuple[QueueAddress, ...]) -> None:
        """From now on this is the machine, and these are the other side's queues."""
        pair.second_after_ms = self.client.settings.second_queue_ms
        pair.journal = self._keep is not None
        self.peer_name = pair.peer_name
        self._new_routes, self._reader = routes, None
        await self._adopt(pair)
        if self.feedback is not None:
            self._start(self.feedback.begin, self)

    def _take_over(self, old: Pair | None, machine: Pair) -> None:
        self._routes = self._new_routes
        if old is not None:
            machine.carry_from(old, self.client.clock.utc_ms())

    async def take_up(self, keep: Keep, key: SigningKey | None) -> None:
        """Go on with what was kept; what it needs to say Hello again by itself was kept too."""
        client = self.client
        loaded = await client.run_blocking(partial(keep.load, key))
        self._keep, self.attempt = keep, loaded.attempt
        self.transcript = Transcript(loaded.lines)
        if loaded.origin is not None:
            origin = loaded.origin
            self._contact, self._me = origin.contact, origin.me
            self._seeking = Seeking(
                self,
                origin.contact,
                origin.me,
                line="",
                listing=b"",
                replies=tuple(each.address for each in loaded.own),
                attempt=origin.attempt,
                reading=self._read_with,
                answered=self._answered,
            )
        self._inlets = [Inlet(client, each, self._deliver, self._lost, made=True) for each in loaded.own]
        await self._meet(loaded.pair, loaded.routes)
        for inlet in self._inlets:
            self._nursery.start_soon(inlet.run)

    async def send_part(self, part: Part) -> bytes:
        """Say a piece of something long; the id, as of :meth:`send`."""
        if self._machine is None or self.closed:
            raise UsageError("there is nobody to send this to", hint="Wait until the session is established.")
        id: bytes = await self._do(lambda pair, now: pair.send_part(part, now), asked=True)
        return id

    # -- bad days

    def tell(self, event: DriverEvent) -> None:
        """Tell the person something that comes from outside the machine."""
        self._tell(event)

    async def feedback_step(self, step: Callable[[Any, int], None]) -> None:
        """A step of the token exchange. UsageError where the machine is further, or the session over."""
        await self._do(step)

    def _tell(self, event: SessionEvent) -> None:
        if isinstance(event, STEPS):
            if self.feedback is not None and not self._ended.is_set():
                self._nursery.start_soon(self.feedback.hear, self, event)
            return
        super()._tell(event)
        if isinstance(event, said.OutOfStep) and self._contact is not None and self._hellos_again < HELLOS_AGAIN:
            self._hellos_again += 1
            self._nursery.start_soon(self._say_hello_again)

    async def _say_hello_again(self) -> None:
        """The same attempt: the supporter lets it in without asking. Where that fails, the person has been told."""
        assert self._seeking is not None
        self._seeking.replies = tuple(inlet.own.address for inlet in self._inlets)
        joined = await self._seeking.run(lambda why: None)
        if joined is not None:
            await self._come_in(joined)

    async def _come_in(self, joined: Joined) -> None:
        assert self._me is not None
        client, me = self.client, self._me
        try:
            routes = tuple(unpack_address(each) for each in joined.welcome.queues)
            pair = await client.run_blocking(
                partial(Pair.joined, joined, client.rng.bytes, client.clock.utc_ms(), name=me.name, avatar=me.avatar)
            )
        except RemoteError:
            if self._machine is None:
                self._end("unproven")
            return
        if self._thread:
            pair.came_back(self._thread, client.clock.utc_ms())
        await self._meet(pair, routes)

    def _lost(self, inlet: Inlet) -> None:
        super()._lost(inlet)
        if inlet in self._inlets and inlet not in self._replacing:
            self._replacing.append(inlet)
            self._nursery.start_soon(self._replace_inlet, inlet)

    async def _replace_inlet(self, lost: Inlet) -> None:
        """A queue elsewhere in place of a lost one, and the peer told by whatever way is left."""
        await self._established.wait()
        if lost not in self._inlets:  # all were lost, and replaced, before there was a session
            self._replacing.remove(lost)
            return
        backoff = Backoff(self.client)
        avoid = [each.own.node.peer_id for each in self._inlets]
        while not self._ended.is_set():
            try:
                (fresh,) = await open_inlets(self.client, self._nursery, 1, self._deliver, self._lost, avoid=avoid)
            except UnreachableError:
                await backoff.wait()  # most likely this machine has no network at all
                continue
            if lost.up or lost not in self._inlets or self._ended.is_set():
                self._replacing.remove(lost)
                await fresh.close()
                return
            if not lost.gone:
                self._tell(QueueLost(lost.own.node.peer_id))
                self._spare_inlets.append(lost)  # its node may come back, with cells
            await self._put_in_place(lost, fresh)
            return

    async def _put_in_place(self, lost: Inlet, fresh: Inlet) -> None:
        route = self._inlets.index(lost)
        self._inlets[route] = fresh
        await self._do(lambda pair, now: pair.requeue(route, fresh.own.address, now))

    async def _close_lanes(self) -> None:
        self._inlets += self._spare_inlets
        await super()._close_lanes()


@asynccontextmanager
async def open_session(
    client: Client,
    contact: Contact,
    *,
    me: Persona,
    line: str = "",
    listing: bytes = b"",
    attempt: bytes | None = None,
    peer: Peer | None = None,
    thread: bytes = b"",
    vault: Vault | None = None,
    feedback: Side | None = None,
) -> AsyncIterator[Session]:
    """Say Hello to a supporter. Returns at once with a session that is not established yet; see its events.

    ``attempt`` is the 16-byte id of an invitation (``DoorKeeper.expect`` at their side); without one it is random.

    ``thread`` is the word of a thread with this supporter, whose client knows the Hello by it. ``peer`` is set by a
    supporter who asks another for backup or a debrief.

    ``feedback`` is the seeker's side of the token exchange (``client.feedback``).

    With a ``vault`` it is kept there from the moment it is established until it ends, a day at most.
    """
    async with conversing() as nursery:
        session = Session(client, nursery)
        session._keep = None if vault is None else Keep(client, vault)
        session._contact, session._me, session.feedback = contact, me, feedback
        if thread:
            attempt = known_attempt(thread, client.rng.bytes(8))
            session._thread = thread
        nursery.start_soon(_seek, session, line, listing, attempt, peer)
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
    async with conversing() as nursery:
        session = Session(client, nursery)
        await session.take_up(Keep(client, vault, kept), key)
        try:
            yield session
        finally:
            await session.aclose()


async def _seek(session: Session, line: str, listing: bytes, attempt: bytes | None, peer: Peer | None) -> None:
    assert session._contact is not None and session._me is not None
    with session._approach:
        joined = await session._seek(session._contact, session._me, line, listing, attempt, peer)
        if joined is not None:
            await session._come_in(joined)
