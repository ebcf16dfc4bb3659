"""The three kinds of people: seekers, supporters, and the circle of a room with its host."""

from __future__ import annotations

from typing import Any

import trio

from chaos import plan, words
from chaos.part import NOBODY, Part
from chaos.people import FAR_MS, Leg, Person
from warmline.client.rooms import HostedRoom, host_room, join_room
from warmline.client.session import (
    Client,
    Conversation,
    Persona,
    Session,
    open_session,
    resume_session,
)
from warmline.client.session_doors import ContactKey, DoorKeeper, Knocking, keep_doors
from warmline.client.session_keep import KIND
from warmline.env import run_in_thread
from warmline_protocol.errors import RemoteError, WarmlineError
from warmline_protocol.keys import SigningKey

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
                    # A goodbye that no node took while its sender was there never comes.
                    await self.person.until(lambda: part.at_end() or self.person.over(part.leg.talk))

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
                    part.excuse = NOBODY
                    await part.until(lambda: len(room.people) > 1)
                    part.excuse = ""
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
                        await part.until(lambda: False)
