"""People in the processes of ``sessions_roles.py``: a supporter and a seeker, a host and guests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from first_light_roles import DirectPath, first_contact, ms_since, node_of, paced, tell, told

from warmline.client import queues
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.client.rooms import HostedRoom, JoinedRoom, host_room, join_room
from warmline.client.routes import Routes
from warmline.client.session import Client, Contact, Conversation, Persona, Session, open_session
from warmline.client.session_client import QueueNode, SessionSettings
from warmline.client.session_doors import ContactKey, DoorKeeper, OwnDoor, keep_doors
from warmline.env import Rng, SeededRng, SystemClock, SystemRng, run_in_thread
from warmline.net.host import HostSettings, open_host
from warmline_protocol.errors import RefusedError, UnreachableError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.queue.messages import LOG
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.events import MessageState, TextReceived
from warmline_protocol.session.xwing import SealingKey

Ask = dict[str, Any]
FAR_MS = 30 * 24 * 3600_000
LISTING = b"L" * 32
LONG_LOG = 4096
"""Room for the backlog of 1,000: the client's own choice is 1,024 with everything."""


class LonelyPath(DirectPath):
    """A direct connection as the path of a lane."""

    weakness = None

    async def wait_expiring(self) -> None:
        await trio.sleep_forever()


class DirectPaths:
    """A throw-away host for each purpose, as real clients have, connected to the node itself, as none ever is."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng

    @asynccontextmanager
    async def path(self, purpose: str, node: NodeAddress) -> AsyncIterator[Any]:
        key, clock = SigningKey(self._rng.bytes(32)), SystemClock()
        async with open_host(HostSettings(private=True), key=key, rng=self._rng, clock=clock) as host:
            yield LonelyPath(host, await host.connect(node.addrs[0]))


class Gate:
    """Ways that can be shut, as by a lost network: what is open ends, nothing opens until it is opened again."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._open = True
        self._shut = trio.Event()

    def shut(self) -> None:
        self._open = False
        self._shut.set()

    def reopen(self) -> None:
        self._open, self._shut = True, trio.Event()

    @asynccontextmanager
    async def path(self, purpose: str, node: NodeAddress) -> AsyncIterator[Any]:
        if not self._open:
            raise UnreachableError("the network is gone")
        shut = self._shut
        async with self._inner.path(purpose, node) as path:
            path.wait_expiring = shut.wait
            yield path


def client_of(ask: Ask, rng: SeededRng) -> Client:
    fresh = SystemRng()
    entry = ask.get("entry")
    paths: Any = Routes((entry,), rng=fresh, clock=SystemClock()) if entry else DirectPaths(fresh)
    nodes = [QueueNode(node_of(each), each) for each in ask["nodes"]]
    settings = SessionSettings(retry_first=0.1, retry_max=0.5)
    return Client(Gate(paths), lambda: nodes, MlsRsProvider(fresh.bytes), fresh, SystemClock(), run_in_thread, settings)


@asynccontextmanager
async def a_door(client: Client, ask: Ask, rng: SeededRng, key: SigningKey) -> AsyncIterator[DoorKeeper]:
    """A supporter's door, told to whoever started this process."""
    contact = SealingKey(rng.bytes(32))
    door = OwnDoor(node_of(ask["nodes"][0]), SigningKey(rng.bytes(32)))
    keys = [ContactKey(contact, SystemClock().utc_ms() + FAR_MS)]
    me = Persona("Ada", rng.bytes(16))
    async with keep_doors(client, [door], lambda: keys, key=key, me=me) as keeper:
        facts = {"key": key.public.hex(), "contact": contact.public.hex(), "door": door.door.door.hex()}
        tell("ready", **facts, node=ask["nodes"][0])
        yield keeper


def contact_of(found: Ask) -> Contact:
    door = QueueAddress(node_of(found["node"]), bytes.fromhex(found["door"]), bytes(32))
    return Contact(bytes.fromhex(found["key"]), bytes.fromhex(found["contact"]), (door,))


# --- two people ---------------------------------------------------------------------------------------------------


async def supporter(ask: Ask, rng: SeededRng) -> None:
    """Lets everybody in, says a word first, keeps the ages of what comes, and tells them when asked."""
    ages: list[float] = []

    async def hear(session: Session) -> None:
        await session.send("I am here.")
        async for event in session.events:
            if isinstance(event, TextReceived):
                ages.append(ms_since(int(event.text)))  # noqa: PERF401 - counted while they come

    async def let_in(keeper: DoorKeeper) -> None:
        async for knock in keeper.knocks:
            nursery.start_soon(hear, await keeper.accept(knock))

    key = SigningKey(rng.bytes(32))
    async with a_door(client_of(ask, rng), ask, rng, key) as keeper, trio.open_nursery() as nursery:
        nursery.start_soon(let_in, keeper)
        async for word in told():
            with trio.move_on_after(60):
                while len(ages) < int(word):  # noqa: ASYNC110 - counted in another task
                    await trio.sleep(0.01)
            tell("ages", ms=list(ages))
            ages.clear()
        nursery.cancel_scope.cancel()


async def seeker(ask: Ask, rng: SeededRng) -> None:
    """``hello``: a whole first contact. Then one session: ``paced N RATE``, ``burst N``: until all are delivered."""
    client, contact = client_of(ask, rng), contact_of(ask["contact"])
    tell("ready")
    lines = told()
    async for word in lines:
        if word != "hello":
            break
        tell("met", **await first_contact(client, contact, rng))
    async with open_session(client, contact, me=Persona("River", rng.bytes(16))) as session:
        await session.wait_established()
        waiting: dict[bytes, int] = {}
        delivered: list[float] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_count_delivered, session, waiting, delivered)

            async def say(number: int) -> float:
                while len(waiting) > 200:  # noqa: ASYNC110 - the outbox is bounded
                    await trio.sleep(0.005)
                stamp = time.monotonic_ns()
                waiting[await session.send(str(stamp))] = stamp
                return ms_since(stamp)

            async def all_delivered() -> None:
                with trio.fail_after(90):
                    while waiting:  # noqa: ASYNC110 - counted in another task
                        await trio.sleep(0.005)

            await say(0)
            await all_delivered()
            tell("established")
            async for word in lines:
                delivered.clear()
                how, *numbers = word.split()
                start = time.monotonic()
                if how == "paced":
                    await paced(say, int(numbers[0]), float(numbers[1]))
                else:
                    for number in range(int(numbers[0])):
                        await say(number)
                await all_delivered()
                tell("done", delivered_ms=list(delivered), seconds=time.monotonic() - start)
            nursery.cancel_scope.cancel()


async def _count_delivered(session: Conversation, waiting: dict[bytes, int], delivered: list[float]) -> None:
    async for event in session.events:
        if isinstance(event, MessageState) and event.state == "delivered" and event.id in waiting:
            delivered.append(ms_since(waiting.pop(event.id)))  # noqa: PERF401 - counted while they come


# --- a room -------------------------------------------------------------------------------------------------------


async def host(ask: Ask, rng: SeededRng) -> None:
    """Opens a room, lets everybody in. ``paced N RATE`` and ``burst N`` as a seeker; ``helper NAME`` as it says."""
    queues.CAPS[LOG] = LONG_LOG
    client, key = client_of(ask, rng), SigningKey(rng.bytes(32))
    waiting: dict[bytes, int] = {}
    delivered: list[float] = []

    async def let_in(keeper: DoorKeeper, room: HostedRoom) -> None:
        async for knock in keeper.knocks:
            try:
                await room.admit(knock, keeper)
            except RefusedError as error:
                tell("refused", why=error.message)

    async def say(number: int) -> float:
        while len(waiting) > 200:  # noqa: ASYNC110 - the outbox is bounded
            await trio.sleep(0.005)
        stamp = time.monotonic_ns()
        waiting[await room.send(str(stamp))] = stamp
        return ms_since(stamp)

    async with (
        a_door(client, ask, rng, key) as keeper,
        host_room(client, key=key, me=Persona("Ada", rng.bytes(16))) as room,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(let_in, keeper, room)
        nursery.start_soon(_count_delivered, room, waiting, delivered)
        async for word in told():
            how, *numbers = word.split()
            start = time.monotonic()
            delivered.clear()
            if how == "helper":
                await room.co_facilitate(room.member_called(numbers[0]))
            elif how == "paced":
                await paced(say, int(numbers[0]), float(numbers[1]))
            else:
                for number in range(int(numbers[0])):
                    await say(number)
            with trio.move_on_after(60):
                while waiting:  # noqa: ASYNC110 - counted in another task
                    await trio.sleep(0.005)
            tell("done", delivered_ms=list(delivered), seconds=time.monotonic() - start)
        nursery.cancel_scope.cancel()


class Guest:
    """One member of a room and the ages of what it heard."""

    def __init__(self, room: JoinedRoom, client: Client) -> None:
        self.room = room
        self.gate: Any = client.paths
        self.ages: list[tuple[int, float]] = []

    async def listen(self) -> None:
        async for event in self.room.events:
            if isinstance(event, TextReceived):
                self.ages.append((int(event.text), ms_since(int(event.text))))


async def guests(ask: Ask, rng: SeededRng) -> None:
    """``join N``: so many more come, one after another, each timed. ``collect N AWAY``: when all have heard N, but the
    last AWAY: the age of each at its last hearer. ``shut`` and ``return N``: the newest loses the network, and comes
    back for N."""
    contact = contact_of(ask["contact"])
    here: list[Guest] = []
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())

        async def come() -> float:
            name, start = f"{ask['number']}.{len(here)}", time.monotonic_ns()
            client = client_of(ask, rng)
            me = Persona(f"G{name}", rng.bytes(16))
            room = await stack.enter_async_context(join_room(client, contact, LISTING, me=me))
            here.append(Guest(room, client))
            mine = here[-1]
            with trio.fail_after(120):
                await room.wait_established()
            nursery.start_soon(mine.listen)
            return ms_since(start)

        async def heard_by(who: list[Guest], count: int) -> None:
            with trio.move_on_after(120):
                while min(len(each.ages) for each in who) < count:  # noqa: ASYNC110 - counted in other tasks
                    await trio.sleep(0.005)

        tell("ready")
        async for word in told():
            how, *numbers = word.split()
            if how == "join":
                tell("joined", ms=[await come() for _ in range(int(numbers[0]))])
            elif how == "shut":
                here[-1].gate.shut()
                tell("shut")
            elif how == "return":
                start, mine = time.monotonic_ns(), here[-1]
                mine.gate.reopen()
                await heard_by([mine], int(numbers[0]))
                tell("returned", ms=ms_since(start), heard=len(mine.ages))
                mine.ages.clear()
            else:
                # All but who is away, where somebody is.
                present = here[: len(here) - int(numbers[1])]
                await heard_by(present, int(numbers[0]))
                last: dict[int, float] = {}
                for each in present:
                    for stamp, age in each.ages:
                        last[stamp] = max(last.get(stamp, 0.0), age)
                    each.ages.clear()
                tell("ages", ms=list(last.values()))
        nursery.cancel_scope.cancel()


PEOPLE: dict[str, Callable[[Ask, SeededRng], Awaitable[None]]] = {
    "supporter": supporter,
    "seeker": seeker,
    "host": host,
    "guests": guests,
}
