"""One program of people: ``python person.py CONFIG``. It talks through the product's Python client, as its config says.

``seekers`` hold one side of each pair of their group, ``supporters`` the other side and the group's room, ``circle``
the members of that room. Everything asked, told and shown goes to a journal; standard output carries counts, and what
others must know to end a session together: ``{"talk", "who", "number", "left", "done"}``.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos import plan, words
from chaos.clocks import ShiftedClock
from chaos.journal import Journal
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.client.rooms import HostedRoom, host_room, join_room
from warmline.client.routes import Routes
from warmline.client.session import (
    Client,
    Contact,
    Conversation,
    Persona,
    QueueNode,
    SessionSettings,
    open_session,
    to_json,
)
from warmline.client.session_door_lane import OwnDoor
from warmline.client.session_doors import ContactKey, DoorKeeper, Knocking, keep_doors
from warmline.env import SeededRng, SystemRng, run_in_thread
from warmline_protocol.errors import RefusedError, RemoteError, UsageError, WarmlineError
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


class Person:
    """What all programs of people share."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.seed: int = config["seed"]
        self.group: int = config["group"]
        folder = Path(config["folder"])
        self.journal = Journal(folder / "journal.jsonl")
        self.clock = ShiftedClock(folder / "clock")
        self.rng = SystemRng()
        self.talks = {talk.name: talk for talk in plan.talks_of(self.seed, config["messages"])}
        self.peers = {name: Peers(dict(talk.counts)) for name, talk in self.talks.items()}
        self.news = trio.Event()
        self.finishing = False
        self.counts: Counter[str] = Counter()
        self.states: dict[bytes, str] = {}

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

    def supporter_key(self, group: int) -> SigningKey:
        return SigningKey(SeededRng(f"{self.seed} supporter {group}").bytes(32))

    def contact_key(self, group: int) -> SealingKey:
        return SealingKey(SeededRng(f"{self.seed} contact {group}").bytes(32))

    def doors(self, group: int) -> list[OwnDoor]:
        rng = SeededRng(f"{self.seed} doors {group}")
        return [OwnDoor(node.address, SigningKey(rng.bytes(32))) for node in rng.sample(self.nodes, 2)]

    def contact(self, group: int) -> Contact:
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
        say({"talk": leg.talk.name, "who": leg.who, "number": number, "left": leg.left, "done": done})

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
        person = self.person
        if isinstance(event, MessageState):
            self.write(
                "state", id=event.id.hex(), state=event.state, by=list(event.by), why=event.why, last=event.last
            )
            person.states[event.id] = "left held" if event.state == "held" and event.last else event.state
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
            try:
                await self.conversation.wait_established()
            except RefusedError:
                return False
            self.write("in")
            return not self.conversation.closed
        return False

    async def speak(self) -> None:
        """Say this session's share; return when all of it is final, when it is time to leave early, or at the end."""
        sitting, draw = self.sitting, Random(f"{self.person.seed} {self.leg.talk.name} {self.leg.who} {self.number}")
        leaving = sitting.leaver == self.leg.who
        for count in range(min(sitting.quota, self.leg.left)):
            if leaving and count >= sitting.after:
                return
            await self.person.until(lambda: self.at_end() or len(self.open - self.final) < sitting.window)
            if self.at_end() or not await self.say_one():
                return
            if draw.random() < 0.1:
                await trio.sleep(draw.random())
        if not leaving:
            await self.person.until(lambda: self.at_end() or not self.open - self.final)

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
            self.write("sent", key=key, id=message.hex())
            self.person.states.setdefault(message, "waiting")
            self.open.add(message)
            leg.said += 1
            self.person.counts["said"] += 1
            return True
        return False

    @asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        """Listened to for the length of the block; at its end the conversation is closed and heard to its last word."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.listen)
            yield
            await self.conversation.aclose()
            await self.person.until(lambda: self.ended)
        self.person.tell(self.leg, self.number, done=True)
        self.person.hear(
            {"talk": self.leg.talk.name, "who": self.leg.who, "number": self.number, "left": self.leg.left, "done": True}
        )


# --- seekers ---------------------------------------------------------------------------------------------------------


async def seekers(person: Person, nursery: trio.Nursery) -> None:
    for talk in person.talks.values():
        if talk.group == person.group and not talk.room:
            nursery.start_soon(seek, person, talk)


async def seek(person: Person, talk: plan.Talk) -> None:
    leg, number, client = Leg(talk, "seeker"), 0, person.client()
    while not person.over(talk):
        me = Persona(f"seeker {talk.name}", bytes(16))
        async with open_session(client, person.contact(talk.group), me=me, line=f"{talk.name} {number}") as session:
            part = Part(person, leg, session, number)
            async with part.attended():
                if await part.enter():
                    await part.speak()
                    person.tell(leg, number, done=True)
                    if part.sitting.leaver != "seeker":
                        done = person.peers[talk.name].done
                        await person.until(partial(_peer_done, part, done))
        number += 1
        if not part.open:
            await trio.sleep(0.5)


def _peer_done(part: Part, done: dict[str, int]) -> bool:
    return part.at_end() or done.get("supporter", -1) >= part.number


# --- supporters ------------------------------------------------------------------------------------------------------


async def supporters(person: Person, nursery: trio.Nursery) -> None:
    client = person.client()
    contact = ContactKey(person.contact_key(person.group), person.clock.utc_ms() + FAR_MS)
    me = Persona("Ada", b"a" * 16)
    key = person.supporter_key(person.group)
    while True:
        try:
            async with keep_doors(
                client, person.doors(person.group), lambda: [contact], key=key, me=me, max_sessions=64
            ) as keeper:
                await _at_the_door(Supporter(person, client, key, me, keeper))
            return
        except* (WarmlineError, trio.TooSlowError) as error:
            person.journal.write("no door", why=repr(error.exceptions))
        await trio.sleep(1)


class Supporter:
    """One supporter process: pairs and a room behind the same doors."""

    def __init__(self, person: Person, client: Client, key: SigningKey, me: Persona, keeper: DoorKeeper) -> None:
        self.person = person
        self.client = client
        self.key = key
        self.me = me
        self.keeper = keeper
        self.legs = {talk.name: Leg(talk, "supporter") for talk in person.talks.values() if not talk.room}
        self.current: dict[str, Conversation] = {}
        self.rooms: dict[str, tuple[int, HostedRoom]] = {}

    async def answer(self, knock: Knocking) -> None:
        name, number, *_ = knock.line.split(" ")
        try:
            if name.startswith("r"):
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
        before = self.current.get(name)
        if before is not None:
            await before.aclose()
        session = await self._accept(knock)
        if session is None:
            return
        self.current[name] = session
        part = Part(self.person, self.legs[name], session, number)
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

    async def host(self, talk: plan.Talk) -> None:
        leg, number = Leg(talk, "host"), 0
        while not self.person.over(talk):
            try:
                await self._one_room(leg, number)
            except* (WarmlineError, trio.TooSlowError) as error:
                self.person.journal.write("no room", talk=talk.name, number=number, why=repr(error.exceptions))
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
                await part.speak()
                if part.sitting.leaver != "host":
                    members = [who for who in leg.talk.counts if who != "host"]
                    await self.person.until(
                        lambda: part.at_end() or all(peers.done.get(who, -1) >= number for who in members)
                    )


async def _at_the_door(supporter: Supporter) -> None:
    """Until everybody said everything, and every session that was accepted ended."""
    person = supporter.person
    async with trio.open_nursery() as nursery:
        for talk in person.talks.values():
            if talk.room and talk.group == person.group:
                nursery.start_soon(supporter.host, talk)
        nursery.start_soon(_answer_all, supporter, nursery)


async def _answer_all(supporter: Supporter, nursery: trio.Nursery) -> None:
    async with trio.open_nursery() as door:
        door.start_soon(_answer_each, supporter, nursery)
        await supporter.person.until(lambda: _all_said(supporter.person))
        door.cancel_scope.cancel()


async def _answer_each(supporter: Supporter, nursery: trio.Nursery) -> None:
    async for knock in supporter.keeper.knocks:
        nursery.start_soon(supporter.answer, knock)


def _all_said(person: Person) -> bool:
    mine = [talk for talk in person.talks.values() if talk.group == person.group]
    return all(person.over(talk) for talk in mine)


# --- members of rooms ------------------------------------------------------------------------------------------------


async def circle(person: Person, nursery: trio.Nursery) -> None:
    for talk in person.talks.values():
        if talk.group == person.group and talk.room:
            for who in talk.counts:
                if who != "host":
                    nursery.start_soon(take_seat, person, talk, who)


async def take_seat(person: Person, talk: plan.Talk, who: str) -> None:
    leg, peers, last, client = Leg(talk, who), person.peers[talk.name], -1, person.client()
    while True:
        await person.until(lambda: person.over(talk) or peers.open > last)  # noqa: B023 - awaited at once
        if person.over(talk):
            return
        last = number = peers.open
        joining = join_room(
            client, person.contact(talk.group), bytes(32), me=Persona(who, bytes(16)), line=f"{talk.name} {number} {who}"
        )
        async with joining as room:
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
    async with trio.open_nursery() as background:
        background.start_soon(person.listen_to_driver)
        background.start_soon(person.report_forever)
        background.start_soon(person.journal.sync_forever)
        say({"ready": config["name"]})
        async with trio.open_nursery() as nursery:
            await ROLES[config["role"]](person, nursery)
        person.report()
        say({"finished": config["name"]})
        background.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, json.loads(Path(sys.argv[1]).read_text()))
