"""Rooms on a log that is the queue node's own state machine, without the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from support import engines
from support.sessions import START_MS
from warmline.env import SeededRng
from warmline_protocol import limits
from warmline_protocol.errors import RefusedError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.auth import key_hash
from warmline_protocol.queue.log import Log, born
from warmline_protocol.queue.messages import LOG, Create
from warmline_protocol.session.events import (
    Append,
    AppendCommit,
    AppendControl,
    Event,
    MessageState,
    OpenLog,
    OutOfStep,
    Output,
    TextReceived,
    UseKeys,
    UseLog,
)
from warmline_protocol.session.hello import Accepted, AnswerReader, Knock, open_hello
from warmline_protocol.session.room import Room
from warmline_protocol.session.room_host import HostRoom
from warmline_protocol.session.xwing import SealingKey


class FakeLog:
    """One room log at one node."""

    def __init__(self, send_key: bytes, read_key: bytes, *, fence: int = 0, incarnation: bytes = b"i" * 16) -> None:
        create = Create(
            LOG,
            bytes(32),
            limits.LOG_CAP_MAX,
            3600_000,
            3600_000,
            bytes(64),
            key_hash(send_key),
            key_hash(read_key),
            fence,
        )
        self.log: Log = born(create, now_ms=START_MS)
        self.cells: list[bytes] = []
        self.incarnation = incarnation
        self.commits: dict[tuple[bytes, ...], int] = {}
        self.alive = True

    def append(self, cells: tuple[bytes, ...], send_key: bytes, fence: int) -> int:
        self.log.check_sender(send_key, fence)
        self.log, _ = self.log.append(cells, now_ms=START_MS)
        self.cells += cells
        return self.log.head

    def commit(self, cells: tuple[bytes, ...], fence: int, send_key: bytes, read_key: bytes) -> int:
        if cells in self.commits:
            return self.commits[cells]
        self.log, _ = self.log.commit(
            cells,
            fence=fence,
            send_hash=key_hash(send_key),
            read_hash=key_hash(read_key),
            new_owner=None,
            now_ms=START_MS,
        )
        self.cells += cells
        self.commits[cells] = self.log.head
        return self.log.head

    def read(self, read_key: bytes | None, after: int) -> list[tuple[int, bytes]]:
        """As the owner with None."""
        view = self.log.view_of_owner(now_ms=START_MS) if read_key is None else self.log.view_of_member(read_key)
        return [(seq, self.cells[seq - 1]) for seq in range(max(after, view.after) + 1, view.head + 1)]


@dataclass
class Person:
    """One participant's client."""

    machine: Room
    restore: Callable[[bytes, int], Room]
    log: FakeLog
    keys: UseKeys | None = None
    todo: list[Output] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    saved: bytes = b""
    attempt: bytes = b""
    address: bytes = b"log"
    sent: list[bytes] = field(default_factory=list)

    def commit(self) -> None:
        outputs, news = self.machine.take()
        self.saved = self.machine.snapshot()
        self.events += news
        for output in outputs:
            if isinstance(output, UseKeys):
                self.keys = output
            elif isinstance(output, UseLog):
                self.address = output.address
            else:
                self.todo.append(output)

    def crash(self, now_ms: int) -> None:
        self.todo.clear()
        self.machine = self.restore(self.saved, now_ms)
        self.commit()

    @property
    def texts(self) -> list[str]:
        return [each.text for each in self.events if isinstance(each, TextReceived)]

    def states(self, message: bytes) -> list[str]:
        return [each.state for each in self.events if isinstance(each, MessageState) and each.id == message]


class House:
    """A host with its room, a door, and as many members as the test lets in."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = SeededRng(seed)
        self.random = Random(seed)
        self.now = START_MS
        self.loss = self.reply_loss = 0.0
        self.provider = engines.provider(self.rng.bytes)
        self.key, self.contact = SigningKey(self.rng.bytes(32)), SealingKey(self.rng.bytes(32))
        room = HostRoom.open(self.provider, self.rng.bytes, self.now, key=self.key, name="Ada", avatar=b"a" * 16)
        epoch = room.schedule.current
        self.log = FakeLog(epoch.send_key, epoch.read_key)
        self.host = Person(room, self._restorer(HostRoom, self.key), self.log)
        room.log_ready(b"log", self.log.incarnation, self.now)
        self.host.commit()
        self.members: list[Person] = []
        self.knocks: dict[bytes, tuple[Knock, AnswerReader]] = {}
        self.control: dict[bytes, Any] = {}
        self.coming_back: dict[bytes, Person] = {}
        self.logs = 0
        self.by_address = {b"log": self.log}

    def _restorer(self, kind: type[Room], key: SigningKey | None) -> Callable[[bytes, int], Room]:
        return lambda saved, now: kind.restore(saved, self.provider, self.rng.bytes, now, key=key)

    @property
    def room(self) -> HostRoom:
        assert isinstance(self.host.machine, HostRoom)
        return self.host.machine

    @property
    def everyone(self) -> list[Person]:
        return [self.host, *self.members]

    def knock(
        self, name: str, *, attempt: bytes | None = None, accepted: bytes | None = None, wait: bool = True
    ) -> bytes:
        """Somebody says Hello at the door; the name of its reply queue. ``wait``: for the others of its moment."""
        reply = f"reply of {name} {len(self.knocks)}".encode()
        knock = Knock(
            self.provider.candidate(),
            self.rng.bytes,
            (reply,),
            name=name,
            avatar=name.encode().ljust(16, b"."),
            listing=bytes(32),
            attempt=attempt,
            accepted=accepted,
        )
        self.knocks[reply] = (knock, AnswerReader(knock.hello.reply_secret))
        hello, _ = open_hello(knock.cell(self.contact.public), [self.contact])
        self.room.admit(hello, self.now)
        if wait:
            self.now += limits.ROOM_BATCH_MS
            self.room.tick(self.now)
        self.host.commit()
        return reply

    def rejoin(self, person: Person) -> None:
        """What a member's client does when it is out of step."""
        assert any(isinstance(each, OutOfStep) for each in person.events)
        mine = person.machine.name_of(person.machine.me.id)
        self.coming_back[self.knock(mine, attempt=person.attempt)] = person

    def move(self) -> None:
        """The host opens another log, as its client does when the machine asks for one or the old one is gone."""
        self.logs += 1
        epoch = self.room.log_epoch
        name = f"log {self.logs}".encode()
        self.log = FakeLog(epoch.send_key, epoch.read_key, fence=epoch.number, incarnation=name.ljust(16, b"."))
        self.by_address[name] = self.host.log = self.log
        self.room.log_ready(name, self.log.incarnation, self.now)
        self.host.commit()

    def perform(self, person: Person) -> None:
        output = person.todo.pop(0)
        if isinstance(output, OpenLog):
            self.move()
            return
        if isinstance(output, AppendControl):
            if self.random.random() < self.loss:
                person.machine.append_failed(output.token, "unreachable", "", self.now)
            else:
                person.machine.receipted(output.token, "reply node", b"i", 1, self.now)
                person.commit()
                for cell in output.cells:
                    self._answer(output.addresses[0], cell)
            person.commit()
            return
        assert isinstance(output, Append | AppendCommit)
        code, seq = "unreachable", 0
        if self.random.random() >= self.loss:
            code, seq = self._append(person, output)
        if seq and self.random.random() < self.reply_loss:
            code, seq = "unreachable", 0
        if seq:
            person.machine.receipted(output.token, "log node", person.log.incarnation, seq, self.now)
        else:
            person.machine.append_failed(output.token, code, code, self.now)
        person.commit()

    def _append(self, person: Person, output: Append | AppendCommit) -> tuple[str, int]:
        if not person.log.alive:
            return "unreachable", 0
        try:
            if isinstance(output, AppendCommit):
                return "", person.log.commit(output.cells, output.fence, output.send_key, output.read_key)
            assert person.keys is not None
            return "", person.log.append(output.cells, person.keys.send_key, output.fence)
        except RefusedError as refusal:
            return refusal.code, 0

    def _answer(self, reply: bytes, cell: bytes) -> None:
        knock, reader = self.knocks[reply]
        answer = reader.feed(cell)
        if isinstance(answer, Accepted) and reply not in self.control:
            joined = knock.join(answer, self.key.public)
            hello = knock.hello
            room = Room.joined(
                joined,
                self.rng.bytes,
                self.now,
                name=hello.name,
                avatar=hello.avatar,
                reply_secret=hello.reply_secret,
            )
            assert room.log is not None
            person = self.coming_back.pop(reply, None)
            if person is None:
                person = Person(room, self._restorer(Room, None), self.log, attempt=hello.attempt)
                self.members.append(person)
            else:
                room.carry_from(person.machine, self.now)
                person.machine = room
                person.todo.clear()
            person.log = self.by_address[room.log.address]
            person.commit()
            self.control[reply] = person
        elif answer is not None and reply in self.control:
            person = self.control[reply]
            person.machine.control(answer, self.now)
            person.commit()
            person.log = self.by_address.get(person.address, person.log)

    def fetch(self, person: Person) -> None:
        """Read what is new, as the node lets this person."""
        if not person.log.alive:
            return
        key = None if person is self.host else (person.keys.read_key if person.keys is not None else b"")
        try:
            new = person.log.read(key, person.machine.after)
        except RefusedError:
            return
        if new:
            person.machine.read(new, person.log.incarnation, self.now)
            person.commit()
        elif key is not None and person.log.log.view_of_member(key).ended:
            person.machine.locked_out(self.now)  # as the client does when the node says `fenced` and nothing is new
            person.commit()

    def sleep(self, ms: int) -> None:
        self.now += ms
        for person in self.everyone:
            person.machine.tick(self.now)
            person.commit()

    def say(self, person: Person, text: str) -> bytes:
        message = person.machine.send(text, self.now)
        person.sent.append(message)
        person.commit()
        return message

    def settle(self, rounds: int = 200, *, step: int = 2_000) -> None:
        """The weather clears: run until nothing is open."""
        self.loss = self.reply_loss = 0.0
        for _ in range(rounds):
            for _ in range(8):
                for person in list(self.everyone):
                    while person.todo:
                        self.perform(person)
                    self.fetch(person)
            busy = any(person.todo or person.machine.outbox.entries for person in self.everyone)
            if not busy and self.room.settled and not self.room._waiting:
                return
            self.sleep(step)
        raise AssertionError("the room never came to rest")


def a_house(*names: str) -> House:
    """A room into which everybody named has been let."""
    house = House(1)
    for name in names:
        house.knock(name)
    house.settle()
    return house
