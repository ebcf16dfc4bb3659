"""Who waits at a supporter's doors, numbered: knocks and offers, and what /accept, /decline, /busy and /show do."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import trio

from warmline.client.offers import CLAIMED, LOST, PASSED, Offered
from warmline.client.session import Session
from warmline_protocol.errors import UsageError, WarmlineError
from warmline_protocol.records.card import AgeBand
from warmline_protocol.session.offers import ANSWERED, LEFT

if TYPE_CHECKING:
    from warmline.cli.peers import SupporterDeeds
    from warmline.cli.switchboard import Face, Switchboard, Wish
    from warmline.client.duty import Duty
    from warmline.client.session_doors import Knocking

_LEFT_KEPT: Final = 256
_OVER = {
    ANSWERED: "somebody else answered first",
    LEFT: "they have left",
    LOST: "they did not come; perhaps their connection broke",
}


class AtDoor:
    """``hidden``: names and words are shown on /show only; declining never needs them."""

    def __init__(self, duty: Duty, face: Face, *, hidden: bool = False) -> None:
        self._duty = duty
        self._face = face
        self._hidden = hidden
        self._waiting: dict[str, Knocking | Offered] = {}
        self._numbers: dict[Offered, str] = {}
        self._left: deque[str] = deque(maxlen=_LEFT_KEPT)
        self._count = 0
        self._looking_up = trio.CapacityLimiter(4)
        self.board: Switchboard | None = None
        self.deeds: SupporterDeeds | None = None

    # -- listening

    async def listen(self) -> None:
        """Show who knocks; whoever was invited comes in without being asked about."""
        async with trio.open_nursery() as nursery:
            await self._listen(nursery)

    async def _listen(self, nursery: trio.Nursery) -> None:
        async for knock in self._duty.knocks:
            if self._duty.keeper.leavers.gone(knock.attempt):
                continue  # here and gone while nobody looked
            again = next((each for each, waiting in self._waiting.items() if _same_attempt(waiting, knock)), "")
            number = again or self._next()
            self._waiting[number] = knock
            if knock.hello.peer is not None:
                # Looking up who that is takes a while, and anybody can claim to be a colleague.
                nursery.start_soon(self._show_colleague, number, knock)
                continue
            if knock.expected and await self._come_in(number, knock):
                continue
            if not again:  # who lost their queues while they wait says Hello once more, and rings once
                self._face.call()
            self._show_knock(number, knock, hidden=self._hidden and not knock.known)

    async def listen_left(self) -> None:
        """Take away who went before they were answered. The numbers of others stay theirs."""
        async for knock in self._duty.keeper.leavers.news:
            number = next((each for each, waiting in self._waiting.items() if waiting is knock), "")
            if number:
                del self._waiting[number]
                self._left.append(number)
                self._face.note(f"{number}: they have left.", "2", event="knock_over", knock=number, why=LEFT)

    async def listen_offers(self) -> None:
        """Show offers as they come, and take them away when they are over."""
        async for offered in self._duty.keeper.offers.news:
            if offered.over:
                self._over(offered)
                continue
            number = self._numbers[offered] = self._next()
            self._waiting[number] = offered
            said = offered.offer
            ages = f"ages {AgeBand(said.age_low, said.age_high)}"
            who = ", ".join([*(said.languages or ["any language"]), ages, *filter(None, [said.topic])])
            self._face.call()
            self._face.note(
                f"{number}: somebody would like to talk now ({who}). /accept {number} within 20 s, or let it pass; "
                "others are asked too.",
                "33",
                event="offer",
                offer=number,
                languages=list(said.languages),
                age_low=said.age_low,
                age_high=said.age_high,
                topic=said.topic,
                seconds=20,
            )

    async def listen_sent(self) -> None:
        """Tell whom colleagues send."""
        async for person in self._duty.sent:
            self._face.note(
                f"{person.desk}: somebody will knock, {person.name}.",
                "2",
                event="introduced",
                desk=person.desk,
                name=person.name,
            )

    def _next(self) -> str:
        self._count += 1
        return str(self._count)

    async def _show_colleague(self, number: str, knock: Knocking) -> None:
        """A supporter knocks: say who it is and what they ask for. A false proof is nobody."""
        async with self._looking_up:
            asked = None if self.deeds is None else await self.deeds.knocked(knock, self._duty.contact_keys)
        if self._waiting.get(number) is not knock:
            return  # answered meanwhile, or here again by another Hello
        if asked is None:
            del self._waiting[number]
            await self._duty.keeper.decline(knock)
            return
        wants, who = asked
        said = {} if self._hidden else {"name": knock.name, "line": knock.line}
        self._face.call()
        self._face.note(
            f"{number}: a colleague, {who}, asks for {'backup' if wants == 'backup' else 'a debrief'}"
            + (f": “{knock.line}”" if knock.line and not self._hidden else "")
            + f"   /accept {number}   /decline {number}   /busy {number}"
            + (f"   /show {number}" if self._hidden else ""),
            "33",
            event="colleague",
            knock=number,
            wants=wants,
            who=who,
            **said,
        )

    def _show_knock(self, number: str, knock: Knocking, *, hidden: bool) -> None:
        where = self._duty.title_of(knock.listing)
        name = knock.known or ("somebody" if hidden or not knock.name else knock.name)
        words: dict[str, Any] = {} if hidden else {"name": knock.name, "line": knock.line}
        self._face.note(
            f"{number}: {name} knocks{f' for {where}' if where else ''}"
            + (f": “{knock.line}”" if knock.line and not hidden else "")
            + f"   /accept {number}   /decline {number}   /busy {number}"
            + (f"   /show {number}" if hidden else ""),
            "33",
            event="knock",
            knock=number,
            listing=knock.listing.hex(),
            known=knock.known,
            unread=hidden,
            **words,
        )

    def _over(self, offered: Offered) -> None:
        number = self._numbers.pop(offered, "")
        self._waiting.pop(number, None)
        if offered.over in (CLAIMED, PASSED):
            return
        why = _OVER.get(offered.over, "it has passed; others are asked now")
        self._face.note(
            f"{number}: {why}. Nothing is counted.", "2", event="offer_over", offer=number, why=offered.over
        )

    # -- answering

    async def act(self, wish: Wish) -> bool:
        """/accept, /decline, /busy, /show and /remove."""
        if wish.verb == "remove":
            await self._duty.remove(wish.target)
            return True
        if wish.verb not in ("accept", "decline", "busy", "show"):
            return False
        number = self._which(wish.target)
        waiting = self._waiting[number]
        if isinstance(waiting, Offered):
            await self._answer_offer(wish.verb, number, waiting)
        else:
            await self._answer_knock(wish.verb, number, waiting)
        return True

    async def _answer_offer(self, verb: str, number: str, offered: Offered) -> None:
        if verb == "show":
            raise UsageError("an offer holds no more than you see", hint="Name and words come with their Hello.")
        if verb != "accept":
            await self._duty.keeper.offers.decline(offered)
            return
        await self._duty.keeper.offers.take(offered)
        if not offered.over:
            self._face.note(f"{number}: you said yes. They come in by themselves.", "2", event="took", offer=number)

    async def _answer_knock(self, verb: str, number: str, knock: Knocking) -> None:
        match verb:
            case "show":
                self._show_knock(number, knock, hidden=False)
                return
            case "accept":
                await self._let_in(knock)
            case "decline":
                await self._duty.keeper.decline(knock)
            case "busy":
                await self._duty.keeper.busy(knock)
        # Only now: who could not be let in still waits for an answer.
        self._waiting.pop(number, None)

    async def _come_in(self, number: str, knock: Knocking) -> bool:
        """Let in somebody who was invited; where that fails they wait like anybody."""
        try:
            await self._let_in(knock)
        except WarmlineError as error:
            self._face.note(f"{error.message}. {error.hint}", "31", error=error.message, hint=error.hint)
            return False
        self._waiting.pop(number, None)  # they may have left while they were let in
        self._face.call()
        self._face.note(
            f"{number}: {knock.name or 'somebody'} comes in, as you invited them"
            + (f": “{knock.line}”" if knock.line else "."),
            "33",
            event="came_in",
            knock=number,
            name=knock.name,
            line=knock.line,
        )
        return True

    async def _let_in(self, knock: Knocking) -> None:
        assert self.board is not None
        if await self._duty.supporting.let_in_invited(knock):
            return
        opened = await self._duty.let_in(knock)
        if all(place.talk is not opened.talk for place in self.board.places.values()):
            self.board.add(opened.talk, opened.name, room=opened.room)
        if self.deeds is not None and isinstance(opened.talk, Session):
            await self.deeds.let_in(knock, opened.talk)

    def _which(self, number: str) -> str:
        if number in self._waiting:
            return number
        if not number and len(self._waiting) == 1:
            return next(iter(self._waiting))
        waiting = ", ".join(self._waiting) or "nobody"
        if number in self._left:
            raise UsageError(f"{number} has left", hint=f"Nobody did anything wrong. Waiting at your doors: {waiting}.")
        raise UsageError(f"no knock {number!r}", hint=f"Waiting at your doors: {waiting}.")


def _same_attempt(waiting: Knocking | Offered, knock: Knocking) -> bool:
    return not isinstance(waiting, Offered) and waiting.attempt == knock.attempt


__all__ = ["AtDoor"]
