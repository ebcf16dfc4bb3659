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

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from warmline.client.queues import Receipt
from warmline.client.session_client import Client, QueueNode, SessionSettings, unpack_address
from warmline.client.session_conversation import KEPT, Conversation, conversing
from warmline.client.session_events import DriverEvent, HelloHeld, QueueLost, SessionEvent, StillWaiting, to_json
from warmline.client.session_keep import Keep
from warmline.client.session_lanes import Inlet
from warmline.client.session_outlets import append_job
from warmline.client.session_seeking import Asking, Contact, Persona
from warmline.client.vault import Vault
from warmline_protocol.errors import RemoteError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.session import events as said
from warmline_protocol.session.machine import Machine
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


class Session(Asking):
    """One to one, either side."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        super().__init__(client, nursery)
        self._routes: tuple[QueueAddress, ...] = ()
        self._keep: Keep | None = None

    def _save(self, machine: Machine) -> None:
        over = self._ended.is_set() and self.closed != KEPT
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
    async with conversing() as nursery:
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
    async with conversing() as nursery:
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
