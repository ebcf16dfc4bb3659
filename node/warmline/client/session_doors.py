"""The supporter's side of first contact: doors followed, Hellos opened, answers sent. See ``session`` for the whole.

A Hello stays on the door's node until it was decided: a supporter's machine that dies with somebody waiting finds
them waiting when it comes back. Declining needs no reason and no reading: what a Hello says is shown by whoever asks
for it, and the answer is the same either way. A Hello to a contact key that is past its date is answered ``stale`` at
once; the private half lives a day longer for that alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from warmline.client.identity import ContactSecret
from warmline.client.queues import Cursor, QueueClient
from warmline.client.session import Persona, Session
from warmline.client.session_client import Backoff, Client, LanePath, unpack_address
from warmline.client.session_conversation import conversing
from warmline.client.session_keep import Keep
from warmline.client.session_lanes import GONE, carry
from warmline.client.session_outlets import offer
from warmline.client.vault import Vault
from warmline.scopes import sole_error
from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, RefusedError, RemoteError, UsageError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.auth import queue_id
from warmline_protocol.queue.messages import DOOR
from warmline_protocol.records.card import Door
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.hello import Declined, Hello, open_hello, seal_answer
from warmline_protocol.session.messages import clean
from warmline_protocol.session.pair import Pair
from warmline_protocol.session.xwing import SealingKey

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # the stubs that mypy sees know it by this name

log = logging.getLogger("warmline.client")
_ATTEMPTS_KEPT = 1024
_EXPECTED_MAX = 256


@dataclass(frozen=True, slots=True)
class OwnDoor:
    """A door: its node and the key that reads it, which lies with the supporter's identity."""

    node: NodeAddress
    owner: SigningKey
    open: bool = True

    @property
    def door(self) -> Door:
        """As a card or a listing names it."""
        return Door(self.node, queue_id(self.owner.public), self.open)


@dataclass(frozen=True, slots=True)
class ContactKey:
    """A contact key's private half; after ``not_after_ms`` it only answers ``stale``."""

    key: SealingKey
    not_after_ms: int

    @classmethod
    def of(cls, secret: ContactSecret) -> ContactKey:
        """From the supporter's identity."""
        return cls(secret.sealing_key(), secret.not_after)


@dataclass(frozen=True, slots=True)
class Knocking:
    """Somebody at the door. ``again``: the same attempt was let in before (its Welcome got lost). ``expected``: this
    client invited the attempt itself (:meth:`DoorKeeper.expect`), so it can be let in without asking."""

    attempt: bytes
    name: str
    avatar: bytes
    line: str
    listing: bytes
    again: bool
    expected: bool
    hello: Hello = field(repr=False)
    _lane: _DoorLane = field(repr=False)
    _seq: int = field(repr=False)


class _DoorLane:
    """Follows one door; a cell goes from the node when everything up to it was decided."""

    def __init__(
        self,
        client: Client,
        own: OwnDoor,
        heard: Callable[[_DoorLane, int, bytes], None],
        moved: Callable[[], None],
    ) -> None:
        self.own = own
        self.up = False
        self.gone = ""
        self.weakness: str | None = None
        self._client = client
        self._heard = heard
        self._moved = moved
        self._undecided: set[int] = set()
        self._read: Cursor | None = None
        self._acked = 0
        self._decided = trio.Event()

    async def run(  # noqa: ASYNC114 - listing so common a name would blame every other run
        self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Make the door if it is not there, follow it, come back after every failure."""
        backoff = Backoff(self._client)
        started = False
        while not self.gone:
            try:
                async with (
                    self._client.paths.path("door-owner", self.own.node) as path,
                    self._client.queues_over(path) as queues,
                ):
                    self.weakness = path.weakness
                    await self._make_sure(queues)
                    if not started:
                        started = True
                        task_status.started()
                    backoff.reset()
                    await self._follow(path, queues)
            except WarmlineError as error:
                if not started:
                    raise
                if isinstance(error, RefusedError) and error.code in GONE:
                    self.gone = error.message
                log.debug("a door is out of reach: %s", type(error).__name__)
            self._set_up(False)
            await backoff.wait()

    def _set_up(self, up: bool) -> None:
        self.up = up
        self._moved()

    async def _make_sure(self, queues: QueueClient) -> None:
        try:
            await queues.read(queue_id(self.own.owner.public), owner=self.own.owner)
        except RefusedError as error:
            if error.code != "unknown":
                raise
            await queues.create(self.own.owner, DOOR)

    async def _follow(self, path: LanePath, queues: QueueClient) -> None:
        queue = queue_id(self.own.owner.public)
        async with queues.follow(queue, owner=self.own.owner, cursor=self._read) as cells:
            self._set_up(True)

            async def hand_on(batch: list[tuple[Cursor, bytes]]) -> None:  # noqa: ASYNC124 - carry awaits it
                for cursor, cell in batch:
                    if self._read is not None and self._read.incarnation != cursor.incarnation:
                        self._undecided.clear()
                        self._acked = 0
                    self._read = cursor
                    self._undecided.add(cursor.seq)
                    self._heard(self, cursor.seq, cell)

            with sole_error():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._acknowledge, queues, queue)
                    await carry(path, cells.__anext__, hand_on, trio.Event())
                    nursery.cancel_scope.cancel()

    def decided(self, seq: int) -> None:
        """This Hello needs no more keeping."""
        self._undecided.discard(seq)
        self._decided.set()

    async def _acknowledge(self, queues: QueueClient, queue: bytes) -> None:
        while True:
            self._decided = trio.Event()
            upto = self._upto()
            if self._read is not None and upto > self._acked:
                try:
                    await queues.ack(queue, self.own.owner, Cursor(self._read.incarnation, upto))
                    self._acked = upto
                except WarmlineError:
                    return  # the next path sees to it; a Hello that comes twice is known by its attempt
            await self._decided.wait()

    def _upto(self) -> int:
        if self._read is None:
            return 0
        return min(self._undecided) - 1 if self._undecided else self._read.seq


class DoorKeeper:
    """Opens Hellos and answers them; runs the sessions that it accepted. Obtained from :func:`keep_doors`."""

    def __init__(
        self,
        client: Client,
        nursery: trio.Nursery,
        contact_keys: Callable[[], Sequence[ContactKey]],
        key: SigningKey,
        me: Persona,
        max_sessions: int,
        vault: Vault | None,
    ) -> None:
        self.client = client
        self.vault = vault
        self.me = me
        self.max_sessions = max_sessions
        self.unreadable = 0
        self._nursery = nursery
        self._contact_keys = contact_keys
        self._key = key
        self._lanes: list[_DoorLane] = []
        self._seen: dict[bytes, bytes] = {}
        self._let_in: dict[bytes, Session] = {}
        self._rooms: set[bytes] = set()
        self._expected: dict[bytes, int] = {}
        self._doors_moved = trio.Event()
        self._say, self.knocks = trio.open_memory_channel[Knocking](math.inf)

    @property
    def sessions(self) -> list[Session]:
        """Those that go on."""
        return [session for session in self._let_in.values() if not session.closed]

    @property
    def doors_up(self) -> int:
        """How many doors are being followed at this moment."""
        return sum(lane.up for lane in self._lanes)

    async def wait_doors_up(self, count: int) -> None:
        """Until so many doors are being followed."""
        while self.doors_up < count:
            await self._doors_moved.wait()

    def _moved(self) -> None:
        moved, self._doors_moved = self._doors_moved, trio.Event()
        moved.set()

    # -- hearing

    def expect(self, attempt: bytes, until_ms: int) -> None:
        """A Hello with this 16-byte attempt id was invited: until then (ms UTC) its knock says ``expected``.

        The id is the invitation: give it over an encrypted way only, to whom it is for.
        """
        now = self.client.clock.utc_ms()
        self._expected = {each: until for each, until in self._expected.items() if until > now}
        if len(self._expected) >= _EXPECTED_MAX and attempt not in self._expected:
            del self._expected[next(iter(self._expected))]
        self._expected[attempt] = until_ms

    def _is_expected(self, attempt: bytes) -> bool:
        return self._expected.get(attempt, 0) > self.client.clock.utc_ms()

    def _heard(self, lane: _DoorLane, seq: int, cell: bytes) -> None:
        keys = self._contact_keys()
        try:
            hello, index = open_hello(cell, [each.key for each in keys])
            for reply in hello.replies:
                unpack_address(reply)
        except (MalformedError, WarmlineError):
            self.unreadable += 1
            lane.decided(seq)
            return
        if self.client.clock.utc_ms() >= keys[index].not_after_ms:
            self._answer(hello, "stale")
            lane.decided(seq)
        elif self._seen.get(hello.attempt) == hello.key_package:
            lane.decided(seq)  # offered at a second door, or a node that repeats itself
        else:
            self._remember(hello)
            self._show(lane, seq, hello)

    def _remember(self, hello: Hello) -> None:
        self._seen[hello.attempt] = hello.key_package
        while len(self._seen) > _ATTEMPTS_KEPT:
            del self._seen[next(iter(self._seen))]

    def _show(self, lane: _DoorLane, seq: int, hello: Hello) -> None:
        session = self._let_in.get(hello.attempt)
        if session is not None and not session.closed:
            self._nursery.start_soon(self._let_in_again, session, lane, seq, hello)
            return
        name = clean(hello.name) if hello.name else ""
        line = clean(hello.line) if hello.line else ""
        avatar = hello.avatar.ljust(limits.AVATAR_SIZE, b"\0")
        again = hello.attempt in self._rooms
        expected = self._is_expected(hello.attempt)
        self._say.send_nowait(
            Knocking(hello.attempt, name, avatar, line, hello.listing, again, expected, hello, lane, seq)
        )

    # -- answering

    async def accept(self, knock: Knocking) -> Session:
        """Talk to them. :class:`UsageError` when as many sessions go on as this supporter takes, RemoteError when what
        they sent is no way to begin one: then the knock is settled."""
        if len(self.sessions) >= self.max_sessions:
            raise UsageError(
                f"{self.max_sessions} sessions are open already", hint="End one, or answer this one `busy`."
            )
        session: Session = await self._nursery.start(self._run_session)
        try:
            await self._begin(session, knock.hello)
        except BaseException as error:  # whatever it was, cancellation too: its lanes end with it
            session._over.set()
            if isinstance(error, RemoteError):
                self.settled(knock)
            raise
        self._let_in[knock.attempt] = session
        self.settled(knock)
        return session

    async def _run_session(self, *, task_status: TaskStatus[Session] = trio.TASK_STATUS_IGNORED) -> None:
        """The lanes and timers of one session, for as long as it lasts."""
        with sole_error():
            async with trio.open_nursery() as nursery:
                session = Session(self.client, nursery)
                session._keep = None if self.vault is None else Keep(self.client, self.vault)
                task_status.started(session)
                await session._over.wait()
                nursery.cancel_scope.cancel()

    async def _begin(self, session: Session, hello: Hello) -> None:
        queues = tuple(inlet.own.address for inlet in session._inlets) or await session._open_queues()
        client = self.client
        now = client.clock.utc_ms()

        def make() -> Pair:
            return Pair.accept(
                hello,
                client.provider,
                client.rng.bytes,
                now,
                key=self._key,
                name=self.me.name,
                avatar=self.me.avatar,
                queues=queues,
            )

        pair = await client.run_blocking(make)
        await session._meet(pair, tuple(unpack_address(reply) for reply in hello.replies))

    async def _let_in_again(self, session: Session, lane: _DoorLane, seq: int, hello: Hello) -> None:
        """The Welcome got lost, and the seeker said Hello again by itself."""
        try:
            await self._begin(session, hello)
        except RemoteError:
            self.unreadable += 1  # a key package that is none: what went on goes on
        lane.decided(seq)

    async def decline(self, knock: Knocking) -> None:
        """Not now, without a reason."""
        self._answer(knock.hello, "declined")
        self.settled(knock)

    async def busy(self, knock: Knocking) -> None:
        """No free seat: the seeker may try somebody else."""
        self._answer(knock.hello, "busy")
        self.settled(knock)

    def settled(self, knock: Knocking, *, room: bool = False) -> None:
        """The Hello was answered (rooms call this when they admitted it)."""
        if room:
            self._rooms.add(knock.attempt)
        knock._lane.decided(knock._seq)

    def _answer(self, hello: Hello, why: str) -> None:
        cells = seal_answer(Declined(hello.attempt, why), hello.reply_secret, self.client.rng.bytes)
        self._nursery.start_soon(self._send_answer, hello, cells)

    async def _send_answer(self, hello: Hello, cells: tuple[bytes, ...]) -> None:
        with trio.move_on_after(3 * self.client.settings.request):
            try:
                await offer(self.client, [unpack_address(reply) for reply in hello.replies], cells)
            except WarmlineError as error:
                log.debug("an answer could not be left: %s", type(error).__name__)


@asynccontextmanager
async def keep_doors(
    client: Client,
    doors: Sequence[OwnDoor],
    contact_keys: Callable[[], Sequence[ContactKey]],
    *,
    key: SigningKey,
    me: Persona,
    max_sessions: int = 3,
    vault: Vault | None = None,
) -> AsyncIterator[DoorKeeper]:
    """Keep these doors for as long as the block runs; each is made at its node where it does not exist.

    ``contact_keys`` is asked for every Hello, so that a key that was replaced or deleted counts at once. ``key`` is
    the delegated key that signed the card. Leaving the block ends the sessions that were accepted, with a goodbye.
    Raises what the first door's node said when no door can be opened at all.
    """
    async with conversing() as nursery:
        keeper = DoorKeeper(client, nursery, contact_keys, key, me, max_sessions, vault)
        failure: WarmlineError | None = None
        for own in doors:
            lane = _DoorLane(client, own, keeper._heard, keeper._moved)
            try:
                with trio.fail_after(client.settings.create):
                    await nursery.start(lane.run)
            except WarmlineError as error:
                failure = failure or error
                continue
            except trio.TooSlowError:
                continue
            keeper._lanes.append(lane)
        if not keeper._lanes:
            raise failure or UsageError("no door to keep", hint="Publish a card with at least one door.")
        try:
            yield keeper
        finally:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as closing:
                    for session in keeper.sessions:
                        closing.start_soon(partial(session.aclose, "closed"))


__all__ = ["ContactKey", "DoorKeeper", "Knocking", "OwnDoor", "keep_doors"]
