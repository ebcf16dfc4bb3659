"""Session machines connected by queues made of lists, with everything that a bad day can do to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from support import engines
from warmline.env import SeededRng
from warmline_protocol.keys import SigningKey
from warmline_protocol.session import cells
from warmline_protocol.session.events import Append, Event, MessageState, Output, TextReceived
from warmline_protocol.session.hello import (
    ANSWER_LABEL,
    Accepted,
    Answer,
    Knock,
    answer_key,
    open_hello,
    parse_answer,
)
from warmline_protocol.session.mls import E2EEProvider
from warmline_protocol.session.pair import Pair
from warmline_protocol.session.xwing import SealingKey

START_MS = 1_800_000_000_000


def read_answer(knock: Knock, answer_cells: tuple[bytes, ...]) -> Answer:
    """What a seeker makes of the cells in its reply queue before there is a session."""
    joiner = cells.Joiner()
    for cell in answer_cells:
        fragment = cells.open_any(cell, [answer_key(knock.hello.reply_secret)], ANSWER_LABEL)
        assert fragment is not None
        bundle = joiner.add(fragment)
        if bundle is not None:
            return parse_answer(bundle)
    raise AssertionError("no whole answer")


@dataclass
class Parties:
    """A supporter and a seeker who have just met."""

    host: Pair
    guest: Pair
    key: SigningKey
    provider: E2EEProvider
    rng: SeededRng
    knock: Knock


def meet(seed: int = 0, *, routes: int = 2, name: str = "River") -> Parties:
    """Hello, acceptance, Welcome: everything before the first word."""
    rng = SeededRng(seed)
    provider = engines.provider(rng.bytes)
    contact, key = SealingKey(rng.bytes(32)), SigningKey(rng.bytes(32))
    knock = Knock(provider.candidate(), rng.bytes, (b"g0", b"g1")[:routes], name=name, avatar=bytes(16), line="hi")
    hello, _ = open_hello(knock.cell(contact.public), [contact])
    host = Pair.accept(
        hello,
        provider,
        rng.bytes,
        START_MS,
        key=key,
        name="Ada",
        avatar=b"a" * 16,
        queues=(b"h0", b"h1")[:routes],
    )
    (offer,), _ = host.take()
    assert isinstance(offer, Append)
    host.receipted(offer.token, "g0", b"i" * 16, START_MS)
    accepted = read_answer(knock, offer.cells)
    assert isinstance(accepted, Accepted)
    guest = Pair.joined(knock.join(accepted, key.public), rng.bytes, START_MS, name=name, avatar=bytes(16))
    return Parties(host, guest, key, provider, rng, knock)


@dataclass
class FakeQueue:
    """One queue of one node."""

    node: str
    cells: list[bytes] = field(default_factory=list)
    alive: bool = True
    incarnation: bytes = b"i" * 16


@dataclass
class End:
    """A person's client: the machine, what its vault holds, and what it has still to do."""

    machine: Any
    restore: Callable[[bytes, int], Any]
    reads: list[FakeQueue]
    writes: list[FakeQueue] = field(default_factory=list)
    saved: bytes = b""
    todo: list[Output] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    cursors: list[int] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cursors = [0 for _ in self.reads]
        self.commit()

    def commit(self) -> None:
        """Save, then keep what is to do and to tell."""
        outputs, events = self.machine.take()
        self.saved = self.machine.snapshot()
        self.todo += outputs
        self.events += events

    def crash(self, now_ms: int) -> None:
        """The process dies; what was saved comes back."""
        self.todo.clear()
        self.machine = self.restore(self.saved, now_ms)
        self.commit()

    @property
    def texts(self) -> list[str]:
        return [each.text for each in self.events if isinstance(each, TextReceived)]

    def states(self, message: bytes) -> list[str]:
        return [each.state for each in self.events if isinstance(each, MessageState) and each.id == message]


class Link:
    """Two ends, two queues in each direction, one clock, one source of trouble."""

    def __init__(self, parties: Parties, random: Random, *, routes: int = 2) -> None:
        self.random = random
        self.now = START_MS
        to_host = [FakeQueue(f"h{index}") for index in range(routes)]
        to_guest = [FakeQueue(f"g{index}") for index in range(routes)]
        self.parties = parties
        self.host = End(parties.host, self._restorer(parties.key), to_host, to_guest)
        self.guest = End(parties.guest, self._restorer(None), to_guest, to_host)
        self.loss = 0.0
        self.reply_loss = 0.0

    def _restorer(self, key: SigningKey | None) -> Callable[[bytes, int], Pair]:
        parties = self.parties
        return lambda saved, now: Pair.restore(saved, parties.provider, parties.rng.bytes, now, key=key)

    @property
    def ends(self) -> tuple[End, End]:
        return (self.host, self.guest)

    def other(self, end: End) -> End:
        return self.guest if end is self.host else self.host

    def say(self, end: End, text: str) -> bytes:
        message: bytes = end.machine.send(text, self.now)
        end.sent.append(message)
        end.commit()
        return message

    def perform(self, end: End) -> None:
        """Do one thing of what the machine asked for."""
        output = end.todo.pop(self.random.randrange(len(end.todo)) if self.loss else 0)
        assert isinstance(output, Append)
        queue = end.writes[output.route]
        reached = queue.alive and self.random.random() >= self.loss
        if reached:
            queue.cells += output.cells
        if reached and self.random.random() >= self.reply_loss:
            end.machine.receipted(output.token, queue.node, queue.incarnation, self.now)
        else:
            end.machine.append_failed(output.token, "unreachable", "no answer", self.now)
        end.commit()

    def fetch(self, end: End, *, chaos: bool = False) -> None:
        """Read what is new in one queue; with ``chaos`` shuffled, doubled, or read but not acknowledged."""
        index = self.random.randrange(len(end.reads))
        queue = end.reads[index]
        if not queue.alive:
            return
        batch = list(queue.cells[end.cursors[index] :])
        if not batch:
            return
        if chaos:
            batch += self.random.choices(queue.cells, k=2)
            self.random.shuffle(batch)
        end.machine.receive(batch, self.now)
        end.commit()
        if not chaos or self.random.random() < 0.8:
            end.cursors[index] += len(queue.cells) - end.cursors[index]

    def sleep(self, ms: int) -> None:
        self.now += ms
        for end in self.ends:
            end.machine.tick(self.now)
            end.commit()

    def settle(self, rounds: int = 400) -> None:
        """The weather clears: run until nobody has anything to do."""
        self.loss = self.reply_loss = 0.0
        for _ in range(rounds):
            for end in self.ends:
                while end.todo:
                    self.perform(end)
                for index, queue in enumerate(end.reads):
                    new = queue.cells[end.cursors[index] :] if queue.alive else []
                    if new:
                        end.machine.receive(list(new), self.now)
                        end.commit()
                        end.cursors[index] = len(queue.cells)
            if any(end.todo for end in self.ends):
                continue
            if not any(end.machine.outbox.entries for end in self.ends):
                return
            self.sleep(10_000)
        raise AssertionError("the two never came to rest")
