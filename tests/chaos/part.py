"""One speaker's part in one session: listening, speaking, and noting all of it in the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import trio

from chaos import plan, words
from chaos.people import Leg, Person, fate
from warmline.client.session import (
    Conversation,
    Session,
    to_json,
)
from warmline_protocol.errors import UsageError
from warmline_protocol.session.events import Closed, Gap, MessageState, ReadOnly, TextReceived, Writable

ENTER = 90.0
"""Seconds to get into a session before it is tried afresh."""
PATIENCE = 240.0
"""Seconds without anything happening in a session after which a person leaves it: a hang, unless it was told why."""
NO_QUEUE = "the other side has no queue at this moment"
AWAY = "the room's host is away"
NOBODY = "nobody came"
PATIENCE_WITH = {NO_QUEUE: 10.0, AWAY: 15.0, NOBODY: 90.0}
"""Seconds until somebody leaves who was told why nothing happens."""


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
        self.excuse = ""
        """Why nothing happens, as this person was told."""
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
            self.excuse = NO_QUEUE if event.why == NO_QUEUE else ""
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
            if isinstance(event, ReadOnly | Writable):
                self.excuse = AWAY if isinstance(event, ReadOnly) else ""
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
            patience = PATIENCE_WITH.get(self.excuse, PATIENCE)
            with trio.move_on_after(max(0.0, self.last_change + patience - trio.current_time())):
                await self.person.news.wait()
                continue
            self.write("gave up", why=self.excuse or "nothing happens")
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
