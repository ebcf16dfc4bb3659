"""Rooms: one log that everybody follows, hosted or joined. Events and common methods are those of ``session``.

**The host** opens a room and lets in who knocks at its door::

    async with keep_doors(...) as keeper, host_room(client, key=key, me=Persona("Ada", avatar)) as room:
        async for knock in keeper.knocks:
            await room.admit(knock, keeper)
        # room.send(text), room.events, room.people, await room.remove(member), await room.hand_over(member)

**A member** joins by a Hello to the listing's door, sealed to the host's card::

    contact = Contact.at_door(host_card, host_key, listing.door.node, listing.door.door)
    async with join_room(client, contact, listing_id, me=Persona("River", avatar)) as room:
        async for event in room.events: ...

``room.people`` is {member id: (name, avatar)} of those who are in, oneself included; ``room.read_only`` says whether
the host is away. A room whose log node stays silent for half a minute moves: the host opens a new log elsewhere and
tells members over their reply queues; what nobody acknowledged is offered again there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from warmline.client.queues import Cursor, QueueClient, Receipt
from warmline.client.session_client import Backoff, Client, LanePath, pack_address, unpack_address
from warmline.client.session_conversation import conversing
from warmline.client.session_doors import DoorKeeper, Knocking
from warmline.client.session_lanes import carry
from warmline.client.session_outlets import Job, offer
from warmline.client.session_seeking import Asking, Contact, Persona
from warmline_protocol.errors import MalformedError, RefusedError, RemoteError, UnreachableError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.queue.auth import queue_id
from warmline_protocol.queue.messages import LOG
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session import events as said
from warmline_protocol.session.hello import Answer
from warmline_protocol.session.room import Room
from warmline_protocol.session.room_host import HostRoom

_NO_KEY = bytes(32)


class RoomConversation(Asking):
    """What host and members share: following the log, and appending to it under the right epoch's keys."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        super().__init__(client, nursery)
        self.log_up = False
        self._log: QueueAddress | None = None
        self._incarnation = b""
        self._keys: dict[int, said.UseKeys] = {}
        self._newest = -1
        self._relog = trio.Event()
        self._silent_since: float | None = None

    @property
    def people(self) -> dict[bytes, tuple[str, bytes]]:
        """Member id to (name, avatar)."""
        room: Room | None = self._machine
        people = () if room is None else tuple(room.people.values())  # a copy at once: a thread may be at work on it
        return {each.member: (each.name, each.avatar) for each in people}

    @property
    def me(self) -> bytes:
        """One's own member id; empty before one is in."""
        return b"" if self._machine is None else self._machine.me.id

    @property
    def read_only(self) -> bool:
        """Whether the host is away, so that nothing can be said."""
        return self._machine is not None and bool(self._machine.read_only)

    def signal_node(self) -> NodeAddress | None:
        """The log's node: everybody is there anyway."""
        return None if self._log is None else self._log.node

    # -- outputs

    def _dispatch(self, output: said.Output) -> None:
        match output:
            case said.Append():
                self._append(output)
            case said.UseKeys(fence=fence):
                self._keys[fence] = output
                self._newest = fence
                for old in [each for each in self._keys if each < fence - 1]:
                    del self._keys[old]
            case said.UseLog(address=address, incarnation=incarnation):
                self._log, self._incarnation = unpack_address(address), incarnation
                relog, self._relog = self._relog, trio.Event()
                relog.set()
            case said.AppendControl():
                self._nursery.start_soon(self._control, output)
            case said.AppendCommit():
                self._append_commit(output)

    def _append(self, output: said.Append) -> None:
        assert self._log is not None
        queue, keys = self._log.queue, self._keys.get(output.fence)

        async def perform(queues: QueueClient) -> Receipt:
            send_key = _NO_KEY if keys is None else keys.send_key
            return await queues.append(queue, output.cells, send_key=send_key, fence=output.fence)

        self._put(output.token, perform)

    def _append_commit(self, output: said.AppendCommit) -> None:
        raise NotImplementedError

    def _put(self, token: int, perform: Callable[[QueueClient], Awaitable[Receipt]]) -> None:
        assert self._log is not None
        self._outlet(self._log.node).put(Job(perform, partial(self._done, token), partial(self._failed, token)))

    async def _control(self, output: said.AppendControl) -> None:
        try:
            with trio.fail_after(3 * self.client.settings.request):
                addresses = [unpack_address(each) for each in output.addresses]
                node, receipt = await offer(self.client, addresses, output.cells)
        except (WarmlineError, trio.TooSlowError) as error:
            await self._failed(output.token, "unreachable", str(error))
        else:
            await self._done(output.token, node, receipt)

    async def _done(self, token: int, node: str, receipt: Receipt) -> None:
        await self._do(lambda room, now: room.receipted(token, node, receipt.incarnation, receipt.seq, now))

    async def _failed(self, token: int, code: str, why: str) -> None:
        await self._do(lambda room, now: room.append_failed(token, code, why, now))

    # -- the log

    async def _follow_log(self) -> None:
        """Read the log for as long as the room lasts, epoch by epoch and path by path."""
        backoff = Backoff(self.client)
        while not self._ended.is_set():
            relog, before = self._relog, self._newest
            try:
                await self._follow_once(relog, backoff)
            except RefusedError as error:
                if error.code == "fenced" and self._newest != before:
                    continue  # the ordinary turn: the commit was read, the next key is here
            except WarmlineError:
                pass
            self.log_up = False
            if self._silent_since is None:
                self._silent_since = trio.current_time()
            if not relog.is_set():
                await backoff.wait()

    async def _follow_once(self, relog: trio.Event, backoff: Backoff) -> None:
        log = self._log
        assert log is not None
        async with self.client.paths.path("log", log.node) as path, self.client.queues_over(path) as queues:
            while not relog.is_set():
                before = self._newest
                try:
                    await self._follow_epoch(log, path, queues, relog, backoff)
                    return
                except RefusedError as error:
                    if error.code != "fenced" or self._newest == before:
                        raise

    async def _follow_epoch(
        self, log: QueueAddress, path: LanePath, queues: QueueClient, relog: trio.Event, backoff: Backoff
    ) -> None:
        cursor = Cursor(self._incarnation, self._machine.after)
        owner, read_key = self._reading()
        async with queues.follow(log.queue, owner=owner, read_key=read_key, cursor=cursor) as cells:
            self.log_up, self._silent_since = True, None
            backoff.reset()
            await carry(path, cells.__anext__, self._read_log, relog)

    def _reading(self) -> tuple[SigningKey | None, bytes | None]:
        return None, self._keys[self._newest].read_key

    async def _read_log(self, batch: list[tuple[Cursor, bytes]]) -> None:
        cells = [(cursor.seq, cell) for cursor, cell in batch]
        incarnation = batch[-1][0].incarnation
        await self._do(lambda room, now: room.read(cells, incarnation, now))
        self._incarnation = incarnation


def _take_control(answer: Answer, room: Room, now: int) -> None:
    room.control(answer, now)


class JoinedRoom(RoomConversation):
    """A member's room. Obtained from :func:`join_room`."""

    async def _take_cells(self, cells: list[bytes]) -> None:
        for answer in self._read_answers(cells):
            await self._do(partial(_take_control, answer))

    async def _come_in(self, contact: Contact, me: Persona, line: str, listing: bytes, attempt: bytes | None) -> None:
        joined = await self._seek(contact, me, line, listing, attempt)
        if joined is None:
            return
        now = self.client.clock.utc_ms()
        try:
            room = await self.client.run_blocking(
                partial(Room.joined, joined, self.client.rng.bytes, now, name=me.name, avatar=me.avatar)
            )
            assert room.log is not None
            self._log, self._incarnation = unpack_address(room.log.address), room.log.incarnation
        except RemoteError:
            self._end("unproven")
            return
        self._early.clear()
        self.peer_name = room.name_of(joined.host.id)
        await self._adopt(room)
        self._nursery.start_soon(self._follow_log)


class HostedRoom(RoomConversation):
    """The facilitator's room. Obtained from :func:`host_room`."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        super().__init__(client, nursery)
        self._owner = SigningKey(client.rng.bytes(32))
        self._log_full = False

    async def _failed(self, token: int, code: str, why: str) -> None:
        # One member can fill a log, and nothing leaves it before it expires: the room would be over for everybody.
        self._log_full = self._log_full or code == "full"
        await super()._failed(token, code, why)

    async def aclose(self, why: str = "closed") -> None:
        """End the room for everybody."""
        await super().aclose(why)

    async def admit(self, knock: Knocking, keeper: DoorKeeper) -> None:
        """Let them in. RefusedError ``full`` when there is no seat (answer them ``keeper.busy(knock)``)."""
        try:
            await self._do(lambda room, now: room.admit(knock.hello, now))
        except MalformedError:
            keeper.settled(knock)  # nobody can be let in by this one
            raise
        keeper.settled(knock, room=True)

    async def remove(self, member: bytes) -> None:
        """Take somebody out: they read and write nothing from the next epoch on."""
        await self._do(lambda room, now: room.remove(member, now))

    async def hand_over(self, member: bytes) -> None:
        """Name who opens the next group."""
        await self._do(lambda room, now: room.hand_over(member, now))

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
            address = QueueAddress(node.address, queue_id(owner.public), _NO_KEY)
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
        """Move the room when its log stays out of reach, or takes nothing more."""
        silence = self.client.settings.log_silence
        while not self._ended.is_set():
            await trio.sleep(silence / 4)
            since = self._silent_since
            if not self._log_full and (since is None or trio.current_time() < since + silence):
                continue
            try:
                await self._use_log(self._machine)
                self._silent_since, self._log_full = None, False
            except UnreachableError:
                continue


@asynccontextmanager
async def host_room(client: Client, *, key: SigningKey, me: Persona) -> AsyncIterator[HostedRoom]:
    """Open a room on a log at a node of the client's choice. ``key`` signed the host's card; ``me`` is the card's.

    :class:`UnreachableError` when no node gives a log. Leaving the block ends the room for everybody.
    """
    async with conversing() as nursery:
        room = HostedRoom(client, nursery)
        now = client.clock.utc_ms()
        machine = await client.run_blocking(
            partial(HostRoom.open, client.provider, client.rng.bytes, now, key=key, name=me.name, avatar=me.avatar)
        )
        address, incarnation, room._owner = await room._open_log(machine)
        machine.log_ready(address, incarnation, now)
        await room._adopt(machine)
        nursery.start_soon(room._follow_log)
        nursery.start_soon(room._watch_log)
        try:
            yield room
        finally:
            await room.aclose()


@asynccontextmanager
async def join_room(
    client: Client, contact: Contact, listing: bytes, *, me: Persona, line: str = "", attempt: bytes | None = None
) -> AsyncIterator[JoinedRoom]:
    """Ask to be let into the room of a listing (its 32-byte record id). Returns at once; see the events.

    ``attempt`` is the 16-byte id of an invitation by the host's client; without one it is random.
    """
    async with conversing() as nursery:
        room = JoinedRoom(client, nursery)
        nursery.start_soon(room._come_in, contact, me, line, listing, attempt)
        try:
            yield room
        finally:
            await room.aclose()


__all__ = ["HostedRoom", "JoinedRoom", "host_room", "join_room"]
