"""`warmline talk --now`: three people asked at once, and an honest choice where nobody has time.

While it searches, the screen says how many are being asked and what the rotas say of who is awake. After a minute it
stops pretending: go on, a room that meets now, a knock at the door of whoever is due next, or a helpline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from warmline.cli import words
from warmline.cli.closing import closing_screen
from warmline.cli.deeds import Deeds
from warmline.cli.entries import local_zone
from warmline.cli.keeping import GIVE_BACK, ask_before
from warmline.cli.rota_chart import distance, moment
from warmline.cli.seeker import Met, SeekerDeeds
from warmline.cli.switchboard import Face, JsonFace, Switchboard, TerminalFace, Wish
from warmline.cli.terminal import open_terminal
from warmline.client.awake import Awake, who_is_awake
from warmline.client.feedback import seeker_side
from warmline.client.matching import Collection, Match, Supporter, Wanted
from warmline.client.reaching import Asking, Progress, SaidYes, Vanished, contact_of, reaching
from warmline.client.ringing import Asked
from warmline.client.session import Persona, Session, open_session
from warmline.client.session_farewells import open_farewells
from warmline_protocol.errors import UsageError
from warmline_protocol.records.card import AgeBand
from warmline_protocol.records.listing import ROOM
from warmline_protocol.records.listing_file import age_band
from warmline_protocol.records.schedule import Window
from warmline_protocol.records.text import check_text

if TYPE_CHECKING:
    from warmline.cli.keeping import Cupboard
    from warmline.cli.talk import Call
    from warmline.client.line import Line

HELPLINE = (
    "If you are in danger or may hurt yourself, please call your local emergency number now: 112 in Europe and on most "
    "mobile phones, 911 in North America, 999 in the United Kingdom, 000 in Australia, 111 in New Zealand. "
    "findahelpline.com lists helplines of your country, many of them at any hour."
)
ROOMS_MOST = 3


@dataclass(frozen=True, slots=True)
class Wanting:
    """What the person said of themselves on the command line; ``opening`` is read once somebody has said yes."""

    wanted: Wanted
    age: AgeBand
    me: Persona
    opening: str
    keep: bool
    as_json: bool
    with_closing: bool


@dataclass(slots=True)
class Options:
    """What else there is when nobody said yes. ``due`` is whose door to knock at for a call back."""

    rooms: tuple[Match, ...]
    due: Supporter | None
    due_ms: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the person wants to do then."""

    verb: str
    room: Match | None = None


class Waiting:
    """The verbs of somebody who waits: /wait, /room N, /callback, /helpline."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._options: Options | None = None
        self._tell, self._chosen = trio.open_memory_channel[Chosen](1)

    async def act(self, wish: Wish) -> bool:
        """Do it, and say whether it was one of these."""
        if wish.verb == "helpline":
            self._face.note(HELPLINE, words.WARM, event="helpline", words=HELPLINE)
            return True
        if wish.verb not in ("wait", "room", "callback"):
            return False
        if self._options is None:
            raise UsageError("people are still being asked", hint="Stay a moment, or Ctrl-D ends it.")
        chosen = self._choice(wish, self._options)
        self._options = None
        self._tell.send_nowait(chosen)
        return True

    def _choice(self, wish: Wish, options: Options) -> Chosen:
        if wish.verb == "callback" and options.due is None:
            raise UsageError("nobody is due on any rota", hint="/wait asks on, /helpline shows whom to call.")
        if wish.verb != "room":
            return Chosen(wish.verb)
        place = wish.words or ("1" if len(options.rooms) == 1 else "")
        if not place.isdecimal() or not 1 <= int(place) <= len(options.rooms):
            raise UsageError(f"there is no room {place!r:.20}", hint=f"Rooms that meet now: {len(options.rooms)}.")
        return Chosen("room", options.rooms[int(place) - 1])

    async def choose(self, options: Options, asked: int, zone: str, now_ms: int) -> Chosen:
        """Say how it is, and wait for what the person wants."""
        self._options = options
        lines = [_nobody(asked), "/wait      ask everybody again"]
        for number, room in enumerate(options.rooms, 1):
            until = moment(room.meeting.end, zone) if room.meeting else ""
            lines.append(f"/room {number}    {room.listing.title}, a group that meets now, until {until}")
        if options.due is not None:
            when = f"{moment(options.due_ms, zone)}, in {distance(options.due_ms - now_ms)}"
            lines.append(f"/callback  knock at {options.due.card.name}'s door, due {when}; leave this window open")
        lines.append("/helpline  whom to call, at any hour")
        self._face.note("\n".join(lines), words.WARM, event="nobody", asked=asked, options=_as_data(options))
        return await self._chosen.receive()


def _nobody(asked: int) -> str:
    if not asked:
        return "Nobody who fits is reachable at this hour. That is about the hour, not about you."
    people = "One person was asked" if asked == 1 else f"{asked} people were asked"
    return f"{people}, and nobody could say yes. That is about their night, not about you. What would help now?"


def _as_data(options: Options) -> dict[str, Any]:
    rooms = [
        {"room": str(n), "group": each.record.id.hex(), "title": each.listing.title}
        for n, each in enumerate(options.rooms, 1)
    ]
    due = None if options.due is None else {"card": options.due.record.id.hex(), "name": options.due.card.name}
    return {"wait": True, "rooms": rooms, "callback": due, "due_ms": options.due_ms, "helpline": True}


async def now_from_call(entries: tuple[str, ...], call: Call, age: str, cupboard: Cupboard) -> None:
    """`warmline talk --now`, from the command line to the goodbye, and on into a room where that was chosen."""
    from warmline.cli.joining import Joining, join_group
    from warmline.cli.talk import line_for
    from warmline.cli.welcome import opening_line, persona

    try:
        band = age_band(age)
        if call.keep:
            await cupboard.open(ask_before)
        me = persona(call.name, call.as_json)
        opening = call.opening
        if not opening and not call.as_json:
            opening = opening_line("whoever says yes")
        check_text("the first line", opening)
        line = await line_for(entries, call)
        wanting = Wanting(call.wanted, band, me, opening, call.keep, call.as_json, call.with_closing)
        room = await talk_now(line, wanting, cupboard)
    finally:
        with trio.move_on_after(GIVE_BACK, shield=True):
            await cupboard.close()
    if room:
        joining = Joining(closing=call.with_closing or not call.as_json, kept=cupboard)
        await join_group(entries, room, me, opening, call.as_json, joining)


async def talk_now(line: Line, wanting: Wanting, cupboard: Cupboard) -> str:
    """From the search to the goodbye. The record id (hex) of a room that the person wants to go to instead, or ""."""
    collection, _ = await line.finder.collect(wanting.wanted)
    async with open_terminal() as terminal, open_farewells(line.client):
        face: Face = JsonFace(terminal) if wanting.as_json else TerminalFace(terminal)
        talk = _Now(line, wanting, cupboard, face, collection)
        async with trio.open_nursery() as nursery:
            board = Switchboard(face, nursery)
            board.also(Deeds(board, cupboard).only_panic)
            nursery.start_soon(_serve, board, nursery.cancel_scope)
            await talk.run(board, nursery)
            nursery.cancel_scope.cancel()
        wanted = not board.quit and (wanting.with_closing or not wanting.as_json)
        if wanted and talk.session is not None and talk.deeds is not None:
            await closing_screen(board, talk.session, talk.deeds)
        return talk.room


async def _serve(board: Switchboard, scope: trio.CancelScope) -> None:
    await board.serve()
    scope.cancel()


class _Now:
    def __init__(self, line: Line, wanting: Wanting, cupboard: Cupboard, face: Face, collection: Collection) -> None:
        self.room = ""
        self.session: Session | None = None
        self.deeds: SeekerDeeds | None = None
        self._line = line
        self._wanting = wanting
        self._cupboard = cupboard
        self._face = face
        self._collection = collection
        self._zone = local_zone()

    async def run(self, board: Switchboard, nursery: trio.Nursery) -> None:
        wanting, now = self._wanting, self._line.client.clock.utc_ms()
        awake = await self._awake(now)
        self._tell_awake(awake, now)
        waiting = Waiting(self._face)
        board.also(waiting.act)
        topic = wanting.wanted.topics[0] if wanting.wanted.topics else ""
        asked = Asked(wanting.wanted.languages, wanting.age, topic)
        vault = self._cupboard.vault if wanting.keep else None
        async with reaching(self._line.client, awake, asked, self._progress) as reach:
            while True:
                async with reach.somebody(wanting.me, wanting.opening, vault) as found:
                    if found is not None:
                        await self._converse(board, nursery, *found)
                        return
                now = self._line.client.clock.utc_ms()
                options = self._options(awake, now)
                chosen = await waiting.choose(options, reach.search.asked, self._zone, now)
                if chosen.verb == "room" and chosen.room is not None:
                    self.room = chosen.room.record.id.hex()
                    return
                if chosen.verb == "callback" and options.due is not None:
                    await self._call_back(board, nursery, options.due)
                    return
                awake = await self._awake(now)
                reach.search.again(awake.tiers)

    async def _awake(self, now_ms: int) -> Awake:
        # Off the event loop: a crowd of full rotas, which anybody may publish, takes seconds to go through.
        look = partial(who_is_awake, self._collection, self._wanting.wanted, now_ms)
        return await self._line.client.run_blocking(look)

    async def _converse(self, board: Switchboard, nursery: trio.Nursery, who: Supporter, session: Session) -> None:
        self.session = session
        met = Met(who.record.id, who.card.name, self._wanting.me)
        self.deeds = SeekerDeeds(board, self._cupboard, self._line.client, nursery, met)
        board.also(self.deeds.act, self.deeds.notice)
        place = board.add(session, who.card.name)
        await place.ended.wait()

    async def _call_back(self, board: Switchboard, nursery: trio.Nursery, due: Supporter) -> None:
        """An ordinary knock that waits at their door until they come on duty."""
        self._face.note(
            f"Your knock waits at {due.card.name}'s door and is seen when they come. Leave this window open; "
            "you can end it at any time.",
            words.DIM,
            event="called_back",
            card=due.record.id.hex(),
        )
        self._introduce(due)
        wanting = self._wanting
        async with open_session(
            self._line.client, contact_of(due), me=wanting.me, line=wanting.opening, feedback=seeker_side(due)
        ) as session:
            await self._converse(board, nursery, due, session)

    def _options(self, awake: Awake, now_ms: int) -> Options:
        window = Window(now_ms, now_ms + 1, "now")
        wanted = Wanted(self._wanting.wanted.topics, self._wanting.wanted.languages, window, ROOM)
        rooms = [match for match in self._collection.matches(wanted, now_ms) if match.card is not None]
        upcoming = awake.next
        if upcoming is None or not upcoming.who:
            return Options(tuple(rooms[:ROOMS_MOST]), None, 0)
        due = self._line.client.rng.sample(list(upcoming.who), 1)[0]
        return Options(tuple(rooms[:ROOMS_MOST]), due, upcoming.watch.start)

    # -- telling

    def _tell_awake(self, awake: Awake, now_ms: int) -> None:
        duty, maybe = len(awake.on_duty), len(awake.others) + len(awake.off)
        text = "By the rotas nobody who fits is on duty at this hour."
        if duty:
            text = f"On duty now and fit: {duty}, of whom {awake.on_duty_verified} verified."
        if maybe:
            text += f" {maybe} more may be there, without having said so."
        if awake.next is not None and not duty:
            start = awake.next.watch.start
            text += f" The next shift begins {moment(start, self._zone)}, in {distance(start - now_ms)}."
        self._face.note(
            text + " Nobody sees your name or your words until they have said yes.",
            words.DIM,
            event="awake",
            on_duty=duty,
            on_duty_verified=awake.on_duty_verified,
            others=maybe,
            on_duty_all=awake.on_duty_all,
            desks=awake.desks,
            next_ms=awake.next.watch.start if awake.next else None,
        )

    def _progress(self, progress: Progress) -> None:
        match progress:
            case Asking(seconds, asked, now):
                if seconds:
                    people = "nobody" if not now else "1 person" if now == 1 else f"{now} people"
                    again = "" if now else "; who was busy is asked again in a moment"
                    self._face.note(
                        f"… {seconds} s: asking {people} right now, {asked} so far{again}.",
                        words.DIM,
                        event="asking",
                        seconds=seconds,
                        asked=asked,
                        now=now,
                    )
            case SaidYes(who):
                self._introduce(who)
            case Vanished():
                self._face.note(
                    "They said yes, and then their connection broke. Asking others …", words.WARM, event="vanished"
                )

    def _introduce(self, who: Supporter) -> None:
        from warmline.cli.welcome import introduce

        introduce(self._face, who, self._wanting.me)


__all__ = ["Wanting", "now_from_call", "talk_now"]
