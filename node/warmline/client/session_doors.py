"""The supporter's side of first contact: doors followed, Hellos opened, answers sent. See ``session`` for the whole.

A Hello stays on the door's node until it was decided: a supporter's machine that dies with somebody waiting finds
them waiting when it comes back. Declining needs no reason and no reading: what a Hello says is shown by whoever asks
for it, and the answer is the same either way. A Hello to a contact key that is past its date is answered ``stale`` at
once; the private half lives a day longer for that alone.

Who gets as far as being shown is for ``door_policy`` to say; thin offers are in ``offers``, those who knocked and left
in ``session_leavers``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import trio

from warmline.client.door_policy import Decision, DoorGate, DoorRules
from warmline.client.feedback import Side
from warmline.client.offers import Offers
from warmline.client.session import Persona, Session
from warmline.client.session_client import Client, unpack_address
from warmline.client.session_conversation import conversing
from warmline.client.session_door_lane import DoorLane, OwnDoor
from warmline.client.session_farewells import open_farewells
from warmline.client.session_keep import Keep
from warmline.client.session_knock import ContactKey, DoorAnswers, Knocking, ahead_s, replies_of
from warmline.client.session_leavers import Leavers
from warmline.client.vault import Vault
from warmline.scopes import sole_error
from warmline_protocol.errors import RemoteError, UsageError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session.hello import Hello
from warmline_protocol.session.offers import LEFT, Introduced, Offer, OfferOver, read_at_door
from warmline_protocol.session.pair import Pair

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # the stubs that mypy sees know it by this name

log = logging.getLogger("warmline.client")
_ATTEMPTS_KEPT = 1024
_EXPECTED_MAX = 256
_EARLY_WAITING = 64
_INTRODUCTIONS = 16

LetInAgain: TypeAlias = Callable[[Hello], Awaitable[bool]]
"""A room hears of an attempt that it let in: is it in by this Hello?"""
TakenBack: TypeAlias = Callable[[bytes], Awaitable[None]]
"""A room hears that whoever came by this attempt left before they were in."""


class DoorKeeper:
    """Opens Hellos and answers them; runs the sessions that it accepted. Obtained from :func:`keep_doors`."""

    def __init__(
        self,
        client: Client,
        nursery: trio.Nursery,
        contact_keys: Callable[[], Sequence[ContactKey]],
        key: SigningKey,
        me: Persona,
        gate: DoorGate,
        vault: Vault | None,
    ) -> None:
        self.client = client
        self.vault = vault
        self.me = me
        self.gate = gate
        self._answers = DoorAnswers(client, nursery)
        self.offers = Offers(client.clock, nursery, self._answers.say_to_offer, self._welcome_offer, self.expect)
        self.leavers = Leavers(nursery)
        self.unreadable = 0
        self.feedback: Side | None = None
        """The supporter's part of the token exchange, for every session from now on."""
        self._nursery = nursery
        self._contact_keys = contact_keys
        self._key = key
        self._lanes: list[DoorLane] = []
        self._seen: dict[bytes, bytes] = {}
        self._let_in: dict[bytes, Session] = {}
        self._rooms: dict[bytes, tuple[LetInAgain, TakenBack | None]] = {}
        self._expected: dict[bytes, int] = {}
        self._doors_moved = trio.Event()
        self._early = 0
        self._say, self.knocks = trio.open_memory_channel[Knocking](math.inf)
        self._tell_introduced, self.introductions = trio.open_memory_channel[Introduced](_INTRODUCTIONS)

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

    # -- whom

    @property
    def busy_seats(self) -> int:
        """Conversations that go on, and seats that wait for somebody who was told yes."""
        return len(self.sessions) + self.offers.taken

    def expect(self, attempt: bytes, until_ms: int) -> None:
        """A Hello with this 16-byte attempt id was invited: until then (ms UTC) its knock says ``expected``.

        Nobody is invited into a group's room this way: a Hello that names a listing is asked about. The id is the
        invitation: give it over an encrypted way only, to whom it is for.
        """
        now = self.client.clock.utc_ms()
        self._expected = {each: until for each, until in self._expected.items() if until > now}
        if len(self._expected) >= _EXPECTED_MAX and attempt not in self._expected:
            del self._expected[next(iter(self._expected))]
        self._expected[attempt] = until_ms

    def _is_expected(self, attempt: bytes) -> bool:
        return self._expected.get(attempt, 0) > self.client.clock.utc_ms()

    def _heard(self, lane: DoorLane, seq: int, cell: bytes) -> None:
        keys = self._contact_keys()
        try:
            said, index = read_at_door(cell, [each.key for each in keys])
            for reply in replies_of(said):
                unpack_address(reply)
        except WarmlineError:
            self.unreadable += 1
            lane.decided(seq)
            return
        stale = self.client.clock.utc_ms() >= keys[index].not_after_ms
        if isinstance(said, Hello):
            self._heard_hello(lane, seq, said, stale)
            return
        if isinstance(said, OfferOver):
            self._heard_over(lane, seq, said)
            return
        lane.decided(seq)  # none of these is worth keeping for another day
        if stale:
            return
        if isinstance(said, Offer):
            self.offers.came(said)
        else:
            with suppress(trio.WouldBlock):
                self._tell_introduced.send_nowait(said)

    def _heard_hello(self, lane: DoorLane, seq: int, hello: Hello, stale: bool) -> None:
        if stale:
            self._answers.say(hello, "stale")
            lane.decided(seq)
        elif self._seen.get(hello.attempt) == hello.key_package or self.leavers.gone(hello.attempt):
            lane.decided(seq)  # offered at a second door, or a node that repeats itself
        else:
            self._remember(hello)
            ahead = ahead_s(hello, self.client.clock.utc_ms())
            if ahead and self._early < _EARLY_WAITING:
                self._early += 1
                self._nursery.start_soon(self._show_later, ahead, lane, seq, hello)
            else:
                self._show(lane, seq, hello)

    def _heard_over(self, lane: DoorLane, seq: int, said: OfferOver) -> None:
        self.offers.ended(said)
        if said.why != LEFT:
            lane.decided(seq)
            return
        self.leavers.left(lane, seq, said.attempt)
        self._tell_left(said.attempt)

    def _tell_left(self, attempt: bytes) -> None:
        """Whoever let them in meanwhile waits for nobody."""
        session, (_, taken_back) = self._let_in.get(attempt), self._rooms.get(attempt, (None, None))
        if session is not None:
            self._nursery.start_soon(session._do, Pair.taken_back)
        if taken_back is not None:
            self._nursery.start_soon(taken_back, attempt)

    async def _show_later(self, ahead: float, lane: DoorLane, seq: int, hello: Hello) -> None:
        """The seeker's clock is ahead, and the engine takes no key package from the future."""
        await trio.sleep(ahead)
        self._early -= 1
        self._show(lane, seq, hello)

    def _remember(self, hello: Hello) -> None:
        self._seen[hello.attempt] = hello.key_package
        while len(self._seen) > _ATTEMPTS_KEPT:
            del self._seen[next(iter(self._seen))]

    def _show(self, lane: DoorLane, seq: int, hello: Hello) -> None:
        session = self._let_in.get(hello.attempt)
        if session is not None and not session.closed:
            self._nursery.start_soon(self._let_in_again, session, lane, seq, hello)
            return
        if self.leavers.gone(hello.attempt):
            lane.decided(seq)
            return
        room = self._rooms.get(hello.attempt)
        if room is not None:
            self._nursery.start_soon(self._room_again, room[0], lane, seq, hello)
            return
        expected = self._is_expected(hello.attempt) and not hello.listing
        self.offers.claimed(hello.attempt)
        decision, known = self.gate.at_door(hello, expected=expected, sessions=self.busy_seats)
        if decision is not Decision.SHOW:
            self._turn_away(lane, seq, hello, decision)
            return
        knock = Knocking.by(hello, lane, seq, expected=expected, known=known)
        self.leavers.waits(knock)
        self._say.send_nowait(knock)

    def _turn_away(self, lane: DoorLane, seq: int, hello: Hello, decision: Decision) -> None:
        lane.decided(seq)
        self._answers.turn_away(hello, busy=decision is Decision.BUSY)

    # -- answering

    async def accept(self, knock: Knocking) -> Session:
        """Talk to them. :class:`UsageError` when as many sessions go on as this supporter takes, or they have left;
        RemoteError when what they sent is no way to begin one: then the knock is settled."""
        if self.leavers.gone(knock.attempt):
            raise UsageError("they have left", hint="They went before you answered; nothing is counted.")
        if len(self.sessions) >= self.gate.rules.at_once:
            raise UsageError(
                f"{self.gate.rules.at_once} sessions are open already", hint="End one, or answer this one `busy`."
            )
        session: Session = await self._nursery.start(self._run_session)
        session.attempt, session.feedback = knock.attempt, self.feedback
        try:
            await self._begin(session, knock.hello)
        except BaseException as error:  # whatever it was, cancellation too: its lanes end with it
            session._over.set()
            if isinstance(error, RemoteError):
                self.settled(knock)
            raise
        self._let_in[knock.attempt] = session
        self.gate.began()
        self._nursery.start_soon(self._notice_end, session, knock.attempt)
        self.settled(knock)
        if self.leavers.gone(knock.attempt):  # they went in this moment
            self._tell_left(knock.attempt)
        return session

    async def take_up(self, kept: bytes) -> Session:
        """Go on with a session that the vault kept when this program ended without a goodbye."""
        if self.vault is None:
            raise UsageError("nothing is kept here")
        session: Session = await self._nursery.start(self._run_session)
        try:
            await session.take_up(Keep(self.client, self.vault, kept), self._key)
        except BaseException:
            session._over.set()
            raise
        self._let_in[session.attempt] = session
        self._nursery.start_soon(self._notice_end, session, session.attempt)
        return session

    async def _notice_end(self, session: Session, attempt: bytes) -> None:
        await session.wait_closed()
        if session.goodbye == "blocked":
            self.gate.block(attempt, session.thread)
        self.gate.ended()
        if self._let_in.get(attempt) is session:
            del self._let_in[attempt]  # with it goes all that was said

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

    async def _let_in_again(self, session: Session, lane: DoorLane, seq: int, hello: Hello) -> None:
        """The Welcome got lost, and the seeker said Hello again by itself."""
        try:
            await self._begin(session, hello)
        except RemoteError:
            self.unreadable += 1  # a key package that is none: what went on goes on
        lane.decided(seq)

    async def _room_again(self, room: LetInAgain, lane: DoorLane, seq: int, hello: Hello) -> None:
        """Who is in a room and lost the thread is let in without asking; who was taken out knocks like anybody."""
        if await room(hello):
            lane.decided(seq)
        else:
            self._rooms.pop(hello.attempt, None)  # another Hello of theirs may have been here in the meantime
            self._show(lane, seq, hello)

    async def decline(self, knock: Knocking) -> None:
        """Not now, without a reason."""
        self._answers.say(knock.hello, "declined")
        self.settled(knock)

    async def busy(self, knock: Knocking) -> None:
        """No free seat: the seeker may try somebody else."""
        self._answers.say(knock.hello, "busy")
        self.settled(knock)

    async def stale(self, knock: Knocking) -> None:
        """What they knocked by, the rules that they accepted for one, has been renewed since: they look again."""
        self._answers.say(knock.hello, "stale")
        self.settled(knock)

    def settled(self, knock: Knocking, *, room: LetInAgain | None = None, left: TakenBack | None = None) -> None:
        """The Hello was answered. A ``room`` that admitted it hears of the same attempt again: did it let them in?
        ``left`` hears when they say that they went before they were in."""
        self.leavers.settled(knock)
        if room is not None:
            self._rooms[knock.attempt] = (room, left)
            if self.leavers.gone(knock.attempt):
                self._tell_left(knock.attempt)

    def _welcome_offer(self) -> Decision:
        return self.gate.takes_offers(self.busy_seats)


@asynccontextmanager
async def keep_doors(
    client: Client,
    doors: Sequence[OwnDoor],
    contact_keys: Callable[[], Sequence[ContactKey]],
    *,
    key: SigningKey,
    me: Persona,
    max_sessions: int = 3,
    gate: DoorGate | None = None,
    vault: Vault | None = None,
) -> AsyncIterator[DoorKeeper]:
    """Keep these doors for as long as the block runs; each is made at its node where it does not exist.

    ``gate`` says whom they let through; without one it is everybody, ``max_sessions`` at once.

    ``contact_keys`` is asked for every Hello, so that a key that was replaced or deleted counts at once. ``key`` is
    the delegated key that signed the card. Leaving the block ends the sessions that were accepted, with a goodbye.
    Raises what the first door's node said when no door can be opened at all.
    """
    async with open_farewells(client), conversing() as nursery:
        gate = gate or DoorGate(DoorRules(at_once=max_sessions), client.clock)
        keeper = DoorKeeper(client, nursery, contact_keys, key, me, gate, vault)
        failure: WarmlineError | None = None
        for own in doors:
            lane = DoorLane(client, own, keeper._heard, keeper._moved)
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
