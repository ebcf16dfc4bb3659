"""The steps in which people talk: a room, a conversation, and a node that dies under it."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import trio

from warmline.demo.casting import IN_PRIVATE, IN_THE_ROOM, SECOND_QUEUE_AFTER
from warmline.demo.ledger import FINAL, Talk, fates_of, holders, settle, texts_sent, texts_shown
from warmline.demo.processes import Program, StepFailedError
from warmline.demo.stage import NodeSeat, SeekerSeat, Stage, all_of
from warmline.demo.steps import ACT, START

PACE = 0.25
"""Seconds between two messages of a person who types fast."""
BEFORE = 4
"""Messages of each side that arrive before the node dies, and again after it died."""
FAILOVER = 45.0


# --- a room ----------------------------------------------------------------------------------------------------------


async def room(stage: Stage) -> str:
    host = stage.supporters[0]
    record = next(group["record"] for group in stage.seekers[0].found if group["id"] == stage.programme.room.id)
    stage.room_record = record
    guests = await all_of([partial(_enter, stage, seat, record) for seat in stage.seekers[:2]])
    place = (await host.on_duty.wait_for("joined", within=ACT)).data["place"]
    talk = Talk("room", (host.on_duty, *guests), (place, 1, 1))
    stage.talks.append(talk)
    await _round(talk)
    for guest in guests:
        await guest.do("leave")
    for guest in guests:
        await guest.wait_for("closed", within=ACT)
    await host.on_duty.do("leave", to=str(place))
    await host.on_duty.wait_for(_ends(place), within=ACT)
    account = settle([talk])
    _sound(account.lost + account.twice)
    return f"{len(talk.programs)} people in “{stage.programme.room.title}”: {account.sent} messages, all shown to all"


async def _enter(stage: Stage, seat: SeekerSeat, record: str) -> Program:
    host, role = stage.supporters[0].on_duty, seat.role
    seat.talk = await stage.fleet.start(
        f"{role.key}-join",
        *("groups", "join", record, "--json", "--adult", "--accept-rules", "--name", role.name, "--line", role.line),
        *("--entry", stage.bootstrap.addr),
        home=seat.folder,
        talks=True,
    )
    knock = await host.wait_for(_knock_of(role.name), within=START)
    await host.do("accept", to=knock.data["knock"])
    await seat.talk.wait_for("joined", within=ACT)
    return seat.talk


async def _round(talk: Talk) -> None:
    """Everybody says two things, one after the other; everybody else sees each."""
    for number, (speaker, place) in itertools.product((1, 2), zip(talk.programs, talk.places, strict=True)):
        text = f"{number}: {IN_THE_ROOM}, from {speaker.name}"
        await speaker.do("say", to=str(place), text=text)
        for listener in talk.programs:
            if listener is not speaker:
                await listener.wait_for(_shows(text), within=ACT)
    for speaker in talk.programs:
        await _all_told(talk, speaker)


# --- one to one ------------------------------------------------------------------------------------------------------


async def one_to_one(stage: Stage) -> str:
    seat, supporter = stage.seekers[2], stage.supporters[1]
    role, there = seat.role, supporter.on_duty
    words = ("talk", "--json", "--adult", "--with", supporter.card, "--name", role.name, "--line", role.line)
    seat.talk = await stage.fleet.start(
        f"{role.key}-talk",
        *(*words, "--second-queue-after", str(SECOND_QUEUE_AFTER), "--entry", stage.bootstrap.addr),
        home=seat.folder,
        talks=True,
    )
    calling = await seat.talk.wait_for("calling", within=START)
    knock = await there.wait_for(_knock_of(role.name), within=START)
    await there.do("accept", to=knock.data["knock"])
    await seat.talk.wait_for("joined", within=ACT)
    await seat.talk.do("say", text=_line(seat.talk, 0))
    heard = await there.wait_for(_shows(_line(seat.talk, 0)), within=ACT)
    stage.pair = Talk("one to one", (seat.talk, there), (1, heard.data["place"]))
    stage.talks.append(stage.pair)
    await there.do("say", to=str(stage.pair.places[1]), text=_line(there, 0))
    reply = await seat.talk.wait_for(_shows(_line(there, 0)), within=ACT)
    stage.timings["hello_to_reply"] = reply.at - calling.at
    return f"a seeker and {supporter.role.name} found each other, and the first answer came"


async def node_dies(stage: Stage) -> str:
    """Both sides talk all the time; the node that holds one direction's queue is killed; both go on."""
    talk = stage.pair
    assert talk is not None
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        for speaker in talk.programs:
            nursery.start_soon(_chatter, talk, speaker, stop)
        await all_of([partial(_arrived, talk, reader, BEFORE, 0.0) for reader in talk.programs])
        stage.killed = victim = _victim(stage, talk)
        await stage.remember()
        assert victim.program is not None
        killed_at = trio.current_time()
        await victim.program.kill()
        times = await all_of([partial(_arrived, talk, reader, BEFORE, killed_at) for reader in talk.programs])
        stop.set()
    stage.timings["failover"] = max(first for first in times) - killed_at
    await all_of([partial(_all_told, talk, speaker) for speaker in talk.programs])
    account = settle([talk])
    _sound(account.lost + account.twice)
    stage.counts["held_when_killed"] = sum(
        victim.peer_id in by for sender in talk.programs for by in holders(talk, sender)
    )
    fates = ", ".join(f"{count} {fate}" for fate, count in sorted(account.fates.items()))
    return f"{victim.name} died holding their queue; {account.sent} messages: {fates}; none lost, none twice"


async def _chatter(talk: Talk, speaker: Program, stop: trio.Event) -> None:
    place = talk.places[talk.programs.index(speaker)]
    for number in itertools.count(1):
        await speaker.do("say", to=str(place), text=_line(speaker, number))
        with trio.move_on_after(PACE):
            await stop.wait()
            return


def _line(speaker: Program, number: int) -> str:
    return f"{number}: {IN_PRIVATE}, from {speaker.name}"


async def _arrived(talk: Talk, reader: Program, count: int, since: float) -> float:
    """When the first of ``count`` messages that were said after ``since`` was shown to ``reader``."""
    (speaker,) = (program for program in talk.programs if program is not reader)

    def fresh() -> list[float]:
        said = {h.data["text"] for h in talk.lines(speaker) if h.data.get("event") == "sent" and h.at > since}
        return [h.at for h in talk.lines(reader) if h.data.get("event") == "text_received" and h.data["text"] in said]

    await reader.wait_for(lambda data: len(fresh()) >= count, within=FAILOVER)
    return fresh()[0]


def _victim(stage: Stage, talk: Talk) -> NodeSeat:
    """The node that holds what the seeker says to the supporter."""
    seeker = talk.programs[0]
    held = holders(talk, seeker)
    if not held:
        raise StepFailedError("no node ever said that it holds a message", hint="See the log of the seeker's talk.")
    return stage.node(held[-1][0])


async def _all_told(talk: Talk, speaker: Program) -> None:
    """Wait until the speaker knows the end of every message that they sent."""

    def open_ones() -> set[str]:
        fates = fates_of(talk, speaker)
        return {message for message in texts_sent(talk, speaker) if fates.get(message) not in FINAL}

    if open_ones():
        await speaker.wait_for(lambda data: not open_ones(), within=FAILOVER)


async def goodbye(stage: Stage) -> str:
    talk = stage.pair
    assert talk is not None
    seeker, there = talk.programs
    await stage.remember()
    before, before_there = len(seeker.heard), len(there.heard)
    await seeker.do("leave")
    await seeker.wait_for("closed", within=ACT, after=before)
    await there.wait_for(_ends(talk.places[1]), within=ACT, after=before_there)
    account = settle(stage.talks)
    _sound(account.lost + account.twice)
    stage.counts["sent"] = account.sent
    stage.counts |= {fate: account.fates[fate] for fate in FINAL}
    stage.counts["shown"] = sum(sum(texts_shown(t, reader).values()) for t in stage.talks for reader in t.programs)
    return f"{account.sent} messages were sent in all; the sender of each knows what became of it"


def _knock_of(name: str) -> Any:
    return lambda data: data.get("event") == "knock" and data.get("name") == name


def _shows(text: str) -> Any:
    return lambda data: data.get("event") == "text_received" and data.get("text") == text


def _ends(place: int) -> Any:
    return lambda data: data.get("event") == "closed" and data.get("place") == place


def _sound(wrong: list[str]) -> None:
    if wrong:
        raise StepFailedError(f"messages lost in silence or shown twice: {wrong[:3]}")
