"""What a room's host and members share: following the log, and appending to it under the right epoch's keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio

from warmline.client.queues import Cursor, QueueClient, Receipt
from warmline.client.session_client import Backoff, Client, LanePath, unpack_address
from warmline.client.session_lanes import carry
from warmline.client.session_outlets import Job, offer
from warmline.client.session_seeking import Asking
from warmline_protocol.errors import RefusedError, UsageError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session import events as said
from warmline_protocol.session.messages import Person
from warmline_protocol.session.room import Room

NO_KEY: Final = bytes(32)
_SHUT_OUT_AFTER: Final = 3
"""Refusals of the log's node in a row after which this side has missed something."""


class RoomConversation(Asking):
    """The part of :class:`~.rooms.HostedRoom` and :class:`~.room_joined.JoinedRoom` that is alike."""

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
    def _room(self) -> Room | None:
        return self._machine  # type: ignore[no-any-return]

    def _present(self) -> tuple[Person, ...]:
        room = self._room
        return () if room is None else tuple(room.people.values())  # at once: a thread may be at work on it

    @property
    def people(self) -> dict[bytes, tuple[str, bytes]]:
        """Member id to (name, avatar)."""
        return {each.member: (each.name, each.avatar) for each in self._present()}

    @property
    def me(self) -> bytes:
        """One's own member id; empty before one is in."""
        return b"" if self._room is None else self._room.me.id

    @property
    def read_only(self) -> bool:
        """Whether the host is away, so that nothing can be said."""
        return self._room is not None and self._room.read_only

    @property
    def listening(self) -> tuple[bytes, ...]:
        """Those whose texts are not shown for now, by member id."""
        room = self._room
        if room is None:
            return ()
        return tuple(each.member for each in self._present() if not room.manners.voice(each.member, room.host.id))

    @property
    def co_facilitators(self) -> tuple[bytes, ...]:
        """Those who facilitate with the host."""
        return () if self._room is None else self._room.manners.helpers

    @property
    def slow_ms(self) -> int:
        """What lies between two texts of one member at least; 0 without slow mode."""
        return 0 if self._room is None else self._room.manners.slow_ms

    def member_called(self, name: str) -> bytes:
        """Whoever goes by this name here; UsageError for nobody."""
        for each in self._present():
            if each.name == name:
                return each.member
        here = ", ".join(each.name for each in self._present())
        raise UsageError(f"nobody called {name!r} is here", hint=f"Here are: {here}.")

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
                self._go_to_log(address, incarnation)
            case said.AppendControl():
                self._start(self._control, self._machine, output)
            case said.AppendCommit():
                self._append_commit(output)
            case said.OpenLog():
                self._other_log_wanted()

    def _go_to_log(self, address: bytes, incarnation: bytes) -> None:
        self._log, self._incarnation = unpack_address(address), incarnation
        relog, self._relog = self._relog, trio.Event()
        relog.set()

    def _append(self, output: said.Append) -> None:
        assert self._log is not None
        queue, keys = self._log.queue, self._keys.get(output.fence)

        async def perform(queues: QueueClient) -> Receipt:
            send_key = NO_KEY if keys is None else keys.send_key
            return await queues.append(queue, output.cells, send_key=send_key, fence=output.fence)

        self._put(output.token, perform)

    def _append_commit(self, output: said.AppendCommit) -> None:
        raise NotImplementedError

    def _other_log_wanted(self) -> None:
        raise NotImplementedError

    def _put(self, token: int, perform: Callable[[QueueClient], Awaitable[Receipt]]) -> None:
        assert self._log is not None
        asker = self._machine
        done, failed = partial(self._done, asker, token), partial(self._failed, asker, token)
        self._outlet(self._log.node).put(Job(perform, done, failed))

    async def _control(self, asker: Any, output: said.AppendControl) -> None:
        try:
            with trio.fail_after(3 * self.client.settings.request):
                addresses = [unpack_address(each) for each in output.addresses]
                node, receipt = await offer(self.client, addresses, output.cells)
        except (WarmlineError, trio.TooSlowError) as error:
            await self._failed(asker, output.token, "unreachable", str(error))
        else:
            await self._done(asker, output.token, node, receipt)

    async def _done(self, asker: Any, token: int, node: str, receipt: Receipt) -> None:
        await self._answered_by(
            asker, lambda room, now: room.receipted(token, node, receipt.incarnation, receipt.seq, now)
        )

    async def _failed(self, asker: Any, token: int, code: str, why: str) -> None:
        await self._answered_by(asker, lambda room, now: room.append_failed(token, code, why, now))

    # -- the log

    async def _follow_log(self) -> None:
        """Read the log for as long as the room lasts, epoch by epoch and path by path."""
        backoff = Backoff(self.client)
        refused = 0
        while not self._ended.is_set():
            relog, before = self._relog, self._newest
            try:
                await self._follow_once(relog, backoff)
            except RefusedError as error:
                if error.code == "fenced" and self._newest != before:
                    continue  # the ordinary turn: the commit was read, the next key is here
                refused = refused + 1 if error.code in ("fenced", "denied") and not relog.is_set() else 0
            except WarmlineError:
                refused = 0
            self.log_up = False
            if self._silent_since is None:
                self._silent_since = trio.current_time()
            if refused >= _SHUT_OUT_AFTER:
                refused = 0
                await self._shut_out()
            if not relog.is_set():
                await backoff.wait()

    async def _shut_out(self) -> None:
        """The log's node refuses this side's keys, again and again."""

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
        reader, cursor = self._machine, Cursor(self._incarnation, self._machine.after)
        owner, read_key = self._reading()
        async with queues.follow(log.queue, owner=owner, read_key=read_key, cursor=cursor) as cells:
            self.log_up, self._silent_since = True, None
            backoff.reset()
            await carry(path, cells.__anext__, partial(self._read_log, reader), relog)

    def _reading(self) -> tuple[SigningKey | None, bytes | None]:
        keys = self._keys.get(self._newest)
        return None, NO_KEY if keys is None else keys.read_key

    async def _read_log(self, reader: Any, batch: list[tuple[Cursor, bytes]]) -> None:
        cells = [(cursor.seq, cell) for cursor, cell in batch]
        incarnation = batch[-1][0].incarnation
        await self._answered_by(reader, lambda room, now: room.read(cells, incarnation, now))
