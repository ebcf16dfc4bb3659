"""Rooms: one log that everybody follows, hosted or joined. Events and common methods are those of ``session``.

**The host** opens a room and lets in who knocks at its door::

    async with keep_doors(...) as keeper, host_room(client, key=key, me=Persona("Ada", avatar), rules=rules) as room:
        async for knock in keeper.knocks:
            await room.admit(knock, keeper)
        # room.send(text), room.events, room.people, room.listening, room.co_facilitators, room.slow_ms
        # await room.remove(member), mute, unmute, mute_first(on), slow(ms), co_facilitate(member, on)
        # aside = await room.invite(member): ask for a word in private; after ``AsideAnswered(yes=True)`` a Hello with
        #     this attempt id comes to the card's door (tell the keeper: ``keeper.expect(aside, until_ms)``)
        # await room.succeed(card): end the room and say whose card opens the next one for the same listing

**A member** joins by a Hello to the listing's door, sealed to the host's card, once the rules are accepted::

    contact = Contact.at_door(host_card, host_key, listing.door.node, listing.door.door)
    async with join_room(client, contact, listing_id, me=Persona("River", avatar),
                         accepted=rules_digest(listing.rules)) as room:
        async for event in room.events: ...
        # await room.ask("mute", member) as a co-facilitator; await room.answer_aside(aside, yes); room.succession

``room.people`` is {member id: (name, avatar)} of those who are in, oneself included; ``room.read_only`` says whether
the host is away. A room whose log node stays silent for half a minute, comes back from a backup, or shows two people
different logs moves: the host opens a new log elsewhere and tells members over their reply queues; what nobody
acknowledged is offered again there. A member out of step says Hello again by itself (``room_joined``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from weakref import ref

import trio

from warmline.client.queues import QueueClient, Receipt
from warmline.client.room_conversation import NO_KEY, RoomConversation
from warmline.client.room_joined import JoinedRoom, join_room
from warmline.client.session_client import Client, pack_address
from warmline.client.session_conversation import conversing
from warmline.client.session_doors import DoorKeeper, Knocking, LetInAgain, TakenBack
from warmline.client.session_seeking import Persona
from warmline_protocol.errors import (
    MalformedError,
    RefusedError,
    RemoteError,
    UnreachableError,
    UsageError,
    WarmlineError,
)
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.queue.auth import queue_id
from warmline_protocol.queue.messages import LOG
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session import events as said
from warmline_protocol.session.hello import Hello
from warmline_protocol.session.room_host import HostRoom


class HostedRoom(RoomConversation):
    """The facilitator's room. Obtained from :func:`host_room`."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        super().__init__(client, nursery)
        self._owner = SigningKey(client.rng.bytes(32))
        self._wanted = trio.Event()
        self._put_at: dict[int, QueueAddress | None] = {}

    def _put(self, token: int, perform: Any) -> None:
        self._put_at[token] = self._log
        super()._put(token, perform)

    async def _done(self, asker: Any, token: int, node: str, receipt: Receipt) -> None:
        self._put_at.pop(token, None)
        await super()._done(asker, token, node, receipt)

    async def _failed(self, asker: Any, token: int, code: str, why: str) -> None:
        # One member can fill a log, and nothing leaves it before it expires: the room would be over for everybody.
        if self._put_at.pop(token, None) == self._log and code == "full":
            self._other_log_wanted()
        await super()._failed(asker, token, code, why)

    def _other_log_wanted(self) -> None:
        self._wanted.set()

    async def aclose(self, why: str = "closed") -> None:
        """End the room for everybody."""
        await super().aclose(why)

    async def admit(self, knock: Knocking, keeper: DoorKeeper) -> None:
        """Let them in. RefusedError ``full`` when there is no seat, ``facilitators`` when a second one is needed
        first (answer them ``keeper.busy(knock)``, or name one); ``rules`` when they accepted others than these: then
        they have been told to look again."""
        if keeper.leavers.gone(knock.attempt):
            raise UsageError("they have left", hint="They went before you answered; nothing is counted.")
        refused = None
        try:
            await self._do(lambda room, now: room.admit(knock.hello, now), asked=True)
        except MalformedError:
            keeper.settled(knock)  # nobody can be let in by this one
            raise
        except RefusedError as error:
            refused = error
        if refused is not None:
            if refused.code == "rules":
                await keeper.stale(knock)
            raise refused
        again, left = _while_it_lives(self)
        keeper.settled(knock, room=again, left=left)

    async def _let_in_again(self, hello: Hello) -> bool:
        """Somebody who is in said Hello again by itself: its Welcome got lost, or it is out of step."""
        if self.closed or self._ended.is_set():
            return False

        def again(room: HostRoom, now: int) -> bool:
            if not room.expects(hello.attempt) or room.comes_too_often(hello.attempt, now):
                return False
            room.admit(hello, now)
            return True

        try:
            return await self._do(again)
        except RemoteError:
            return True  # a key package that is none: what went on goes on

    async def remove(self, member: bytes) -> None:
        """Take somebody out: they read and write nothing from the next epoch on."""
        await self._do(lambda room, now: room.remove(member, now), asked=True)

    async def hand_over(self, member: bytes) -> None:
        """Name who of those here opens the next group."""
        await self._do(lambda room, now: room.hand_over(member, now), asked=True)

    async def succeed(self, card: bytes) -> None:
        """End the room and say whose card (32-byte record id) opens the next one for the same listing."""
        await self._do(lambda room, now: room.succeed(card, now), asked=True)
        await self.aclose("closed")

    async def mute(self, member: bytes) -> None:
        """From here on what they say is shown to nobody, and they are told so."""
        await self._do(lambda room, now: room.mute(member, now), asked=True)

    async def unmute(self, member: bytes) -> None:
        """They may speak, for the first time or again."""
        await self._do(lambda room, now: room.unmute(member, now), asked=True)

    async def mute_first(self, on: bool) -> None:
        """Whether those who come in from now on listen until they are unmuted."""
        await self._do(lambda room, now: room.mute_first(on, now), asked=True)

    async def slow(self, ms: int) -> None:
        """So many milliseconds between two texts of one member; 0 ends it."""
        await self._do(lambda room, now: room.slow(ms, now), asked=True)

    async def co_facilitate(self, member: bytes, on: bool = True) -> None:
        """Whether this member facilitates too."""
        await self._do(lambda room, now: room.co_facilitate(member, on, now), asked=True)

    async def invite(self, member: bytes) -> bytes:
        """Ask somebody for a word in private: the attempt id with which they say Hello after a yes."""
        aside: bytes = await self._do(lambda room, now: room.invite(member, now), asked=True)
        return aside

    def _reading(self) -> tuple[SigningKey | None, bytes | None]:
        return self._owner, None

    def _append_commit(self, output: said.AppendCommit) -> None:
        assert self._log is not None
        queue, owner = self._log.queue, self._owner

        async def perform(queues: QueueClient) -> Receipt:
            return await queues.append_commit(
                queue,
                owner,
                output.cells,
                fence=output.fence,
                send_key=output.send_key,
                read_key=output.read_key,
            )

        self._put(output.token, perform)

    # -- where the log is

    async def _open_log(self, room: HostRoom) -> tuple[bytes, bytes, SigningKey]:
        """A fresh log at some node: (address, incarnation, owner)."""
        epoch = room.log_epoch
        avoid = () if self._log is None else (self._log.node.peer_id,)
        reasons = []
        for node in self.client.pick_nodes(avoid=avoid):
            owner = SigningKey(self.client.rng.bytes(32))
            try:
                with trio.fail_after(self.client.settings.create):
                    incarnation = await self._create(node.address, owner, epoch.number, epoch.send_key, epoch.read_key)
            except (WarmlineError, trio.TooSlowError) as error:
                reasons.append(f"{node.address.peer_id[-8:]}: {error or 'too slow'}")
                continue
            address = QueueAddress(node.address, queue_id(owner.public), NO_KEY)
            return pack_address(address), incarnation, owner
        raise UnreachableError(
            "no node gives this room a log", hint="; ".join(reasons) or "No queue node is known yet."
        )

    async def _create(
        self, node: NodeAddress, owner: SigningKey, fence: int, send_key: bytes, read_key: bytes
    ) -> bytes:
        async with self.client.paths.path("log", node) as path, self.client.queues_over(path) as queues:
            created = await queues.create(
                owner,
                LOG,
                send_key=send_key,
                read_key=read_key,
                fence=fence,
                life_ms=self.client.settings.queue_life_ms,
            )
            return created.incarnation

    async def _use_log(self, room: HostRoom) -> None:
        address, incarnation, owner = await self._open_log(room)
        self._owner = owner
        await self._do(lambda room, now: room.log_ready(address, incarnation, now))

    async def _watch_log(self) -> None:
        """Move the room when its log stays out of reach, takes nothing more, or is not to be trusted."""
        silence = self.client.settings.log_silence
        while not self._ended.is_set():
            with trio.move_on_after(silence / 4):
                await self._wanted.wait()
            since = self._silent_since
            if not self._wanted.is_set() and (since is None or trio.current_time() < since + silence):
                continue
            self._wanted = trio.Event()
            try:
                await self._use_log(self._machine)
                self._silent_since = None
            except UnreachableError:
                await trio.sleep(silence / 4)
                self._wanted.set()


def _while_it_lives(room: HostedRoom) -> tuple[LetInAgain, TakenBack]:
    """For a door, which remembers who was let in where for longer than the room and what was said in it should last."""
    there = ref(room)

    async def again(hello: Hello) -> bool:
        living = there()
        return living is not None and await living._let_in_again(hello)

    async def left(attempt: bytes) -> None:
        living = there()
        if living is not None and not living.closed:
            await living._do(lambda room, now: room.taken_back(attempt, now))

    return again, left


@asynccontextmanager
async def host_room(
    client: Client, *, key: SigningKey, me: Persona, rules: Sequence[str] = (), mute_first: bool = False
) -> AsyncIterator[HostedRoom]:
    """Open a room on a log at a node of the client's choice. ``key`` signed the host's card; ``me`` is the card's.

    Nobody comes in without having accepted ``rules``, word for word. :class:`UnreachableError` when no node gives a
    log. Leaving the block ends the room for everybody.
    """
    async with conversing() as nursery:
        room = HostedRoom(client, nursery)
        now = client.clock.utc_ms()
        machine = await client.run_blocking(
            partial(
                HostRoom.open,
                client.provider,
                client.rng.bytes,
                now,
                key=key,
                name=me.name,
                avatar=me.avatar,
                rules=rules,
                mute_first=mute_first,
            )
        )
        machine.heartbeat_ms = client.settings.heartbeat_ms
        address, incarnation, room._owner = await room._open_log(machine)
        machine.log_ready(address, incarnation, now)
        await room._adopt(machine)
        nursery.start_soon(room._follow_log)
        nursery.start_soon(room._watch_log)
        try:
            yield room
        finally:
            await room.aclose()


__all__ = ["HostedRoom", "JoinedRoom", "host_room", "join_room"]
