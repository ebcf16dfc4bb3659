"""One program of people: ``python person.py CONFIG``. It talks through the product's Python client, as its config says.

``seekers`` hold one side of each pair of their group, ``supporters`` the other side, ``circle`` a room with its host.
Everything asked, told and shown goes to a journal; standard output carries counts, and what others must know to end a
session together: ``{"talk", "who", "number", "left", "done"}``. Where the config says ``kept``, sessions lie in an
encrypted vault, and a program that was killed goes on with them: what it said is in its journal.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos import plan, words
from chaos.clocks import ShiftedClock
from chaos.journal import Journal, lines_of
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.client.rooms import HostedRoom, host_room, join_room
from warmline.client.routes import Routes
from warmline.client.session import (
    Client,
    Contact,
    Conversation,
    Persona,
    QueueNode,
    Session,
    SessionSettings,
    open_session,
    resume_session,
    to_json,
)
from warmline.client.session_door_lane import OwnDoor
from warmline.client.session_doors import ContactKey, DoorKeeper, Knocking, keep_doors
from warmline.client.session_keep import KIND
from warmline.client.vault import Vault, open_vault
from warmline.env import SeededRng, SystemRng, run_in_thread
from warmline_protocol.errors import RemoteError, UsageError, WarmlineError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.events import Closed, Gap, MessageState, TextReceived
from warmline_protocol.session.xwing import SealingKey

SETTINGS = SessionSettings(
    request=10.0,
    create=20.0,
    retry_first=0.3,
    retry_max=3.0,
    goodbye=3.0,
    second_queue_ms=4_000,
    still_waiting=8.0,
    queue_silence=8.0,
    log_silence=8.0,
    queue_life_ms=15 * 60_000,
)
"""As shipped but for shorter times: the second queue after 4 s instead of 60, a silent node replaced after 8 s."""
ENTER = 90.0
"""Seconds to get into a session before it is tried afresh."""
PATIENCE = 240.0
"""Seconds without anything happening in a session after which a person leaves it: a hang, unless it was told why."""
NO_QUEUE = "the other side has no queue at this moment"
PATIENCE_NO_QUEUE = 10.0
REPORT_EVERY = 0.5
FAR_MS = 400 * 24 * 3600_000


@dataclass
class Leg:
    """One speaker of one conversation, over all its sessions."""

    talk: plan.Talk
    who: str
    said: int = 0

    @property
    def left(self) -> int:
        return self.talk.counts[self.who] - self.said


@dataclass
class Peers:
    """What other programs told of a conversation."""

    left: dict[str, int]
    done: dict[str, int] = field(default_factory=dict)
    """The last session number that each speaker is done with."""
    open: int = -1
    """The number of the room that is open."""


class Memory:
    """What the journal of this program's former lives says."""

    def __init__(self, path: Path) -> None:
        self.lives = 0
        self.sent: dict[tuple[str, str], dict[str, int]] = {}
        """(talk, speaker) to the keys that were sent, with the session's number."""
        self.unsure: dict[tuple[str, str], tuple[str, int]] = {}
        """What was being said when the program died."""
        self.last: dict[str, int] = {}
        self.shown = 0
        self.states: dict[bytes, str] = {}
        for line in lines_of(path) if path.exists() else ():
            self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        what, where = line["what"], (line.get("talk", ""), line.get("who", ""))
        if what == "began":
            self.lives += 1
        elif what == "saying":
            self.unsure[where] = (line["key"], line["number"])
        elif what in ("sent", "not taken", "unsure"):
            self.unsure.pop(where, None)
            if what == "sent":
                self.sent.setdefault(where, {})[line["key"]] = line["number"]
                self.states.setdefault(bytes.fromhex(line["id"]), "waiting")
        elif what == "state":
            self.states[bytes.fromhex(line["id"])] = fate(line["state"], line["last"])
        elif what == "shown":
            self.shown += 1
        if "number" in line:
            self.last[where[0]] = max(line["number"], self.last.get(where[0], -1))


def fate(state: str, last: bool) -> str:
    return "left held" if state == "held" and last else state


class Person:
    """What all programs of people share."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.seed: int = config["seed"]
        self.group: int = config["group"]
        self.folder = folder = Path(config["folder"])
        self.memory = Memory(folder / "journal.jsonl")
        self.journal = Journal(folder / "journal.jsonl")
        self.journal.write("began")
        self.clock = ShiftedClock(folder / "clock")
        self.rng = SystemRng()
        self.talks = {talk.name: talk for talk in plan.talks_of(self.seed, config["messages"])}
        self.peers = {name: Peers(dict(talk.counts)) for name, talk in self.talks.items()}
        self.news = trio.Event()
        self.finishing = False
        self.counts: Counter[str] = Counter()
        self.states = self.memory.states
        self.counts["said"] = sum(map(len, self.memory.sent.values()))
        self.counts["shown"] = self.memory.shown
        self.vault: Vault | None = None

    def open_vault(self, stack: ExitStack) -> None:
        """Where this person's conversations are kept, if they are."""
        if self.config["kept"]:
            opening = open_vault(self.folder / "vault", rng=self.rng, clock=self.clock, passphrase=lambda: "slow river")
            self.vault = stack.enter_context(opening)

    def leg(self, talk: plan.Talk, who: str) -> Leg:
        """As it stood when this program's last life ended."""
        leg = Leg(talk, who, len(self.memory.sent.get((talk.name, who), ())))
        self.peers[talk.name].left[who] = leg.left
        return leg

    # -- the parties

    @property
    def nodes(self) -> list[QueueNode]:
        return [
            QueueNode(NodeAddress(node["peer_id"], (node["addr"],)), node["operator"]) for node in self.config["nodes"]
        ]

    def client(self) -> Client:
        routes = Routes(tuple(self.config["entries"]), rng=self.rng, clock=self.clock)
        nodes = self.nodes
        provider = MlsRsProvider(self.rng.bytes)
        return Client(routes, lambda: nodes, provider, self.rng, self.clock, run_in_thread, SETTINGS)

    def supporter_key(self, group: str) -> SigningKey:
        return SigningKey(SeededRng(f"{self.seed} supporter {group}").bytes(32))

    def contact_key(self, group: str) -> SealingKey:
        return SealingKey(SeededRng(f"{self.seed} contact {group}").bytes(32))

    def doors(self, group: str) -> list[OwnDoor]:
        rng = SeededRng(f"{self.seed} doors {group}")
        return [OwnDoor(node.address, SigningKey(rng.bytes(32))) for node in rng.sample(self.nodes, 2)]

    def contact(self, group: str) -> Contact:
        doors = tuple(QueueAddress(each.node, each.door.door, bytes(32)) for each in self.doors(group))
        return Contact(self.supporter_key(group).public, self.contact_key(group).public, doors)

    # -- what others say

    def change(self) -> None:
        news, self.news = self.news, trio.Event()
        news.set()

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await self.news.wait()

    def tell(self, leg: Leg, number: int, *, done: bool) -> None:
        fact = {"talk": leg.talk.name, "who": leg.who, "number": number, "left": leg.left, "done": done}
        self.hear(fact)
        say(fact)

    def hear(self, wish: dict[str, Any]) -> None:
        if wish.get("do") == "finish":
            self.finishing = True
        elif "talk" in wish:
            peers = self.peers[wish["talk"]]
            peers.left[wish["who"]] = wish["left"]
            if wish["done"]:
                peers.done[wish["who"]] = max(wish["number"], peers.done.get(wish["who"], -1))
            elif wish["who"] == "host":
                peers.open = wish["number"]
        self.change()

    async def listen_to_driver(self) -> None:
        rest = b""
        async for chunk in trio.lowlevel.FdStream(os.dup(0)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.hear(json.loads(line))
        os._exit(3)  # the driver is gone

    async def change_forever(self) -> None:
        """For what is told by no event."""
        while True:
            self.change()
            await trio.sleep(REPORT_EVERY)

    async def report_forever(self) -> None:
        while True:
            self.report()
            await trio.sleep(REPORT_EVERY)

    def report(self) -> None:
        say({"counts": {**self.counts, **{f"state {name}": n for name, n in Counter(self.states.values()).items()}}})

    def over(self, talk: plan.Talk) -> bool:
        """Whether everybody said everything."""
        return self.finishing or not any(self.peers[talk.name].left.values())


class Part:
    """One speaker's part in one session."""

    def __init__(self, person: Person, leg: Leg, conversation: Conversation, number: int) -> None:
        self.person = person
        self.leg = leg
        self.conversation = conversation
        self.number = number
        self.sitting = plan.sitting_of(person.seed, leg.talk.name, number)
        self.open: set[bytes] = set()
        self.final: set[bytes] = set()
        self.ended = False
        self.said = sum(each == number for each in person.memory.sent.get((leg.talk.name, leg.who), {}).values())
        self.told_no_queue = False
        self.last_change = trio.current_time()

    def write(self, what: str, **fields: Any) -> None:
        talk = self.leg.talk.name
        self.person.journal.write(what, talk=talk, number=self.number, who=self.leg.who, **fields)

    async def listen(self) -> None:
        """Take down every event to the last."""
        async for event in self.conversation.events:
            self.take_down(event)
            self.person.change()
        self.ended = True
        self.person.change()

    def take_down(self, event: Any) -> None:
        person, self.last_change = self.person, trio.current_time()
        if isinstance(event, MessageState):
            self.told_no_queue = event.why == NO_QUEUE
            self.write("state", id=event.id.hex(), state=event.state, by=list(event.by), why=event.why, last=event.last)
            person.states[event.id] = fate(event.state, event.last)
            if event.last:
                self.final.add(event.id)
        elif isinstance(event, TextReceived):
            key = words.key_of(event.text)
            fields = {"late": event.late, "signed": event.signed, "name": event.name}
            self.write("shown", key=key, hash=words.digest(event.text), id=event.id.hex(), **fields)
            person.counts["shown"] += 1
        elif isinstance(event, Gap):
            self.write("gap", sender=event.sender.hex(), count=event.count)
            person.counts["gaps"] += 1
        else:
            told = to_json(event)
            self.write("event", told=told)
            if isinstance(event, Closed):
                person.counts[f"closed: {event.why}"] += 1

    async def enter(self) -> bool:
        """Whether there is somebody to talk to."""
        with trio.move_on_after(ENTER):
            await self.person.until(lambda: self.at_end() or self.conversation.established)
        if self.at_end() or not self.conversation.established:
            return False
        self.write("in")
        return True

    async def speak(self) -> None:
        """Say this session's share; return when all of it is final, when it is time to leave early, or at the end."""
        sitting, draw = self.sitting, Random(f"{self.person.seed} {self.leg.talk.name} {self.leg.who} {self.number}")
        leaving = sitting.leaver == self.leg.who
        for count in range(self.said, min(sitting.quota, self.said + self.leg.left)):
            if leaving and count >= sitting.after:
                return
            await self.until(lambda: len(self.open - self.final) < sitting.window)
            if self.at_end() or not await self.say_one():
                return
            if draw.random() < 0.1:
                await trio.sleep(draw.random())
        if not leaving:
            await self.until(lambda: not self.open - self.final)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for this or the end; a person to whom nothing happens for long leaves in the end."""
        while not self.at_end() and not true():
            patience = PATIENCE_NO_QUEUE if self.told_no_queue else PATIENCE
            with trio.move_on_after(max(0.0, self.last_change + patience - trio.current_time())):
                await self.person.news.wait()
                continue
            self.write("gave up", why=NO_QUEUE if self.told_no_queue else "nothing happens")
            await self.conversation.aclose()
            return

    def at_end(self) -> bool:
        return self.ended or self.person.finishing or bool(self.conversation.closed)

    async def say_one(self) -> bool:
        leg = self.leg
        key = f"{leg.talk.name}/{leg.who}/{leg.said}"
        text = words.text_of(self.person.seed, key)
        while not self.at_end():
            self.write("saying", key=key)
            try:
                message = await self.conversation.send(text)
            except UsageError as error:
                self.write("not taken", key=key, why=str(error))
                await trio.sleep(0.3)
                continue
            self.sent(key, message)
            return True
        return False

    def sent(self, key: str, message: bytes) -> None:
        self.write("sent", key=key, id=message.hex())
        self.person.states.setdefault(message, "waiting")
        self.open.add(message)
        self.last_change = trio.current_time()
        self.leg.said += 1
        self.person.counts["said"] += 1

    def remember(self) -> None:
        """After a death: was the last word taken, and what is still on its way?"""
        session = self.conversation
        assert isinstance(session, Session)
        where = (self.leg.talk.name, self.leg.who)
        unsure = self.person.memory.unsure.get(where)
        mine = {words.key_of(line.text): line for line in session.transcript.lines if line.mine}
        self.open |= set(session.outgoing)
        if unsure is not None and unsure[0] in mine:
            del self.person.memory.unsure[where]
            line = mine[unsure[0]]
            self.sent(unsure[0], line.id)

    @asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        """Listened to for the length of the block; at its end the conversation is closed and heard to its last word."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.listen)
            yield
            await self.conversation.aclose()
            await self.person.until(lambda: self.ended)
        self.person.tell(self.leg, self.number, done=True)


# --- seekers ---------------------------------------------------------------------------------------------------------


async def seekers(person: Person, nursery: trio.Nursery) -> None:
    pairs = [talk for talk in person.talks.values() if talk.group == person.group and not talk.room]
    kept: dict[str, list[bytes]] = {talk.name: [] for talk in pairs}
    client = person.client()
    for id in person.vault.ids(KIND) if person.vault is not None else ():
        kept.setdefault(await _talk_of(person, client, id), []).append(id)
    for talk in pairs:
        nursery.start_soon(seek, person, talk, kept[talk.name])


async def _talk_of(person: Person, client: Client, id: bytes) -> str:
    """The conversation that a kept session belongs to; one in which nothing was said is left at once."""
    assert person.vault is not None
    from warmline.client.session_keep import Keep

    loaded = await run_in_thread(lambda: Keep(client, person.vault, id).load(None))  # type: ignore[arg-type]
    for line in loaded.lines:
        if words.key_of(line.text):
            return words.key_of(line.text).split("/")[0]
    async with resume_session(client, person.vault, id):
        pass
    return ""


async def seek(person: Person, talk: plan.Talk, kept: list[bytes]) -> None:
    leg, client = person.leg(talk, "seeker"), person.client()
    number = person.memory.last.get(talk.name, -1) + 1
    for at, id in enumerate(kept):
        assert person.vault is not None
        async with resume_session(client, person.vault, id) as session:
            await _seekers_part(person, leg, session, number - 1, resumed=True, brief=at < len(kept) - 1)
    _settle_unsure(person, leg)
    while not person.over(talk):
        me = Persona(f"seeker {talk.name}", bytes(16))
        contact, line = person.contact(str(talk.group)), f"{talk.name} {number}"
        async with open_session(client, contact, me=me, line=line, vault=person.vault) as session:
            said = await _seekers_part(person, leg, session, number)
        number += 1
        if not said:
            await trio.sleep(0.5)


async def _seekers_part(
    person: Person, leg: Leg, session: Session, number: int, *, resumed: bool = False, brief: bool = False
) -> bool:
    part = Part(person, leg, session, number)
    if resumed:
        part.remember()
    async with part.attended():
        if not brief and await part.enter():
            await part.speak()
            person.tell(leg, number, done=True)
            if part.sitting.leaver != "seeker":
                done = person.peers[leg.talk.name].done
                await part.until(lambda: done.get("supporter", -1) >= number)
    return bool(part.open)


def _settle_unsure(person: Person, leg: Leg) -> None:
    """What was being said when the program died, and is in no session that was kept."""
    unsure = person.memory.unsure.pop((leg.talk.name, leg.who), None)
    if unsure is not None:
        person.journal.write("unsure", talk=leg.talk.name, number=unsure[1], who=leg.who, key=unsure[0])


# --- supporters ------------------------------------------------------------------------------------------------------


async def supporters(person: Person, nursery: trio.Nursery) -> None:
    await at_doors(person, str(person.group))


async def at_doors(person: Person, house: str) -> None:
    client = person.client()
    contact = ContactKey(person.contact_key(house), person.clock.utc_ms() + FAR_MS)
    me = Persona("Ada", b"a" * 16)
    key = person.supporter_key(house)
    while not person.finishing:
        try:
            async with keep_doors(
                client, person.doors(house), lambda: [contact], key=key, me=me, max_sessions=64, vault=person.vault
            ) as keeper:
                await Supporter(person, client, key, me, keeper).run()
            return
        except* (WarmlineError, trio.TooSlowError) as error:
            person.journal.write("no door", why=repr(error.exceptions))
        await trio.sleep(1)


class Supporter:
    """Whoever keeps doors: pairs, or a room."""

    def __init__(self, person: Person, client: Client, key: SigningKey, me: Persona, keeper: DoorKeeper) -> None:
        self.person = person
        self.client = client
        self.key = key
        self.me = me
        self.keeper = keeper
        rooms = person.config["role"] == "circle"
        mine = [talk for talk in person.talks.values() if talk.group == person.group and talk.room == rooms]
        self.legs = {talk.name: person.leg(talk, "host" if rooms else "supporter") for talk in mine}
        self.current: dict[str, Conversation] = {}
        self.numbers: dict[str, int] = {}
        self.turns: dict[str, trio.Lock] = {}
        self.rooms: dict[str, tuple[int, HostedRoom]] = {}

    async def run(self) -> None:
        """Until everybody said everything, and every session that was accepted ended."""
        async with trio.open_nursery() as nursery:
            for leg in self.legs.values():
                if leg.talk.room:
                    nursery.start_soon(self.host, leg)
            await self._resume(nursery)
            nursery.start_soon(self._answer_all, nursery)

    async def _answer_all(self, nursery: trio.Nursery) -> None:
        async with trio.open_nursery() as door:
            door.start_soon(self._answer_each, nursery)
            await self.person.until(lambda: all(self.person.over(leg.talk) for leg in self.legs.values()))
            door.cancel_scope.cancel()

    async def _answer_each(self, nursery: trio.Nursery) -> None:
        async for knock in self.keeper.knocks:
            nursery.start_soon(self.answer, knock)

    async def answer(self, knock: Knocking) -> None:
        name, number, *_ = knock.line.split(" ")
        try:
            if self.legs[name].talk.room:
                await self.let_in(knock, name, int(number))
            else:
                await self.talk_to(knock, name, int(number))
        except RemoteError as error:
            self.person.journal.write("knock failed", line=knock.line, why=repr(error))

    async def let_in(self, knock: Knocking, name: str, number: int) -> None:
        open_number, room = self.rooms.get(name, (-1, None))
        if room is None or room.closed or open_number != number:
            await self.keeper.decline(knock)
            return
        await room.admit(knock, self.keeper)

    async def talk_to(self, knock: Knocking, name: str, number: int) -> None:
        async with self.turns.setdefault(name, trio.Lock()):
            before = self.current.get(name)
            if before is not None and not before.closed and number <= self.numbers[name]:
                self.keeper.settled(knock)  # from before a death: what it began goes on already
                return
            if before is not None:
                await before.aclose()
            session = await self._accept(knock)
            if session is None:
                return
            self.current[name], self.numbers[name] = session, number
        await self._part(name, session, number)

    async def _part(self, name: str, session: Session, number: int, *, resumed: bool = False) -> None:
        part = Part(self.person, self.legs[name], session, number)
        if resumed:
            part.remember()
        async with part.attended():
            if await part.enter():
                await part.speak()
                self.person.tell(part.leg, number, done=True)
                if part.sitting.leaver != "supporter":
                    await self.person.until(part.at_end)

    async def _accept(self, knock: Knocking) -> Any:
        for _ in range(8):
            try:
                return await self.keeper.accept(knock)
            except RemoteError:
                raise
            except WarmlineError as error:
                self.person.journal.write("not accepted yet", line=knock.line, why=repr(error))
                await trio.sleep(2)
        await self.keeper.busy(knock)
        return None

    async def _resume(self, nursery: trio.Nursery) -> None:
        """After a death: go on with every session that was kept."""
        vault = self.person.vault
        for id in vault.ids(KIND) if vault is not None else ():
            await nursery.start(self._resume_one, id)
        for leg in self.legs.values():
            _settle_unsure(self.person, leg)

    async def _resume_one(self, id: bytes, *, task_status: Any) -> None:  # noqa: ASYNC114 - a common name
        assert self.person.vault is not None
        async with resume_session(self.client, self.person.vault, id, key=self.key) as session:
            name = session.peer_name.removeprefix("seeker ")
            number = self.person.memory.last.get(name, 0)
            before, self.current[name] = self.current.get(name), session
            self.numbers[name] = number
            task_status.started()
            if before is not None:
                await before.aclose()
            await self._part(name, session, number, resumed=True)

    async def host(self, leg: Leg) -> None:
        number = 0
        while not self.person.over(leg.talk):
            try:
                await self._one_room(leg, number)
            except* (WarmlineError, trio.TooSlowError) as error:
                self.person.journal.write("no room", talk=leg.talk.name, number=number, why=repr(error.exceptions))
                await trio.sleep(1)
            number += 1

    async def _one_room(self, leg: Leg, number: int) -> None:
        peers, name = self.person.peers[leg.talk.name], leg.talk.name
        async with host_room(self.client, key=self.key, me=self.me) as room:
            part = Part(self.person, leg, room, number)
            async with part.attended():
                self.rooms[name] = (number, room)
                part.write("in")
                self.person.tell(leg, number, done=False)
                if number % 4:  # else some of it is said to nobody
                    await part.until(lambda: len(room.people) > 1)
                await part.speak()
                if part.sitting.leaver != "host":
                    members = [who for who in leg.talk.counts if who != "host"]
                    await part.until(lambda: all(peers.done.get(who, -1) >= number for who in members))


# --- rooms -----------------------------------------------------------------------------------------------------------


async def circle(person: Person, nursery: trio.Nursery) -> None:
    for talk in person.talks.values():
        if talk.group == person.group and talk.room:
            for who in talk.counts:
                if who != "host":
                    nursery.start_soon(take_seat, person, talk, who)
            nursery.start_soon(at_doors, person, talk.name)


async def take_seat(person: Person, talk: plan.Talk, who: str) -> None:
    leg, peers, last, client = person.leg(talk, who), person.peers[talk.name], -1, person.client()
    while True:
        await person.until(lambda: person.over(talk) or peers.open > last)  # noqa: B023 - awaited at once
        if person.over(talk):
            return
        last = number = peers.open
        me, contact = Persona(who, bytes(16)), person.contact(talk.name)
        async with join_room(client, contact, bytes(32), me=me, line=f"{talk.name} {number} {who}") as room:
            part = Part(person, leg, room, number)
            async with part.attended():
                if await part.enter():
                    await part.speak()
                    person.tell(leg, number, done=True)
                    if part.sitting.leaver != who:
                        await person.until(part.at_end)


# --- the program -----------------------------------------------------------------------------------------------------


def say(data: dict[str, Any]) -> None:
    """One line to the driver."""
    os.write(1, json.dumps(data).encode() + b"\n")


ROLES = {"seekers": seekers, "supporters": supporters, "circle": circle}


async def main(config: dict[str, Any]) -> None:
    person = Person(config)
    with ExitStack() as stack:
        person.open_vault(stack)
        await live(person)


async def live(person: Person) -> None:
    config = person.config
    async with trio.open_nursery() as background:
        background.start_soon(person.listen_to_driver)
        background.start_soon(person.report_forever)
        background.start_soon(person.change_forever)
        background.start_soon(person.journal.sync_forever)
        say({"ready": config["name"]})
        async with trio.open_nursery() as nursery:
            await ROLES[config["role"]](person, nursery)
        person.report()
        say({"finished": config["name"]})
        background.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, json.loads(Path(sys.argv[1]).read_text()))
