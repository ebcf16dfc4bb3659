"""Feedback from conversations to a root that stands: collectors, queue services, their nodes and a chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from support.collectors import WINDOW_S, Circle, Opened, Seat, a_circle, on_both, served
from support.conversations import PATIENCE, a_supporter, until
from support.feedback import wallet
from support.queues import a_store
from warmline.cli.closing import closing_screen
from warmline.cli.switchboard import Wish
from warmline.client import collector_base
from warmline.client.collector import CollectorDuty
from warmline.client.collector_files import CollectorFiles
from warmline.client.conduct_audit import AWAY, DIFFERS, MATCHES, audit
from warmline.client.feedback import IssuerDesk, PurseFile, SeekerSide, SupporterSide
from warmline.client.rating import can_rate, rate
from warmline.client.session import Persona, open_session
from warmline.client.session_events import FeedbackReady
from warmline.services.feedback import keys_file
from warmline_protocol import limits
from warmline_protocol.errors import UnreachableError, UsageError, WarmlineError


@pytest.fixture(autouse=True)
def fewer_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this epoch and the next."""
    monkeypatch.setattr(collector_base, "DROPS_OPEN", 2)


async def steps(duties: Sequence[CollectorDuty], rounds: int = 1) -> None:
    for _ in range(rounds):
        for duty in duties:
            await duty.step()


async def rated(circle: Circle, count: int, *, noes: int = 0) -> None:
    """So many answers about ana, by people who talked to her in epoch 1; the exchange itself is made up."""
    client = circle.street.client("seeker")
    for number in range(count):
        side = await circle.seeker()
        side.ticket = circle.world.ticket("ana", 1)
        left = await rate(client, side, number >= noes)
        assert left.reached == left.meant == 2


async def concluded(circle: Circle, duties: Sequence[CollectorDuty]) -> None:
    """From epoch 1 until epoch 2 is posted."""
    await circle.at(circle.epochs.end(2) - 60)
    await steps(duties)
    await circle.at(circle.epochs.end(2) + 1)
    await steps(duties, 2)
    if (await circle.seen()).pending() is None:
        await circle.at(circle.epochs.end(2) + 600)
        await steps(duties, 3)


async def settled(circle: Circle, duties: Sequence[CollectorDuty]) -> None:
    await circle.at(circle.clock.utc_ms() // 1000 + WINDOW_S + 1)
    await steps(duties)


async def checked(circle: Circle) -> list[str]:
    client = circle.street.client("anybody")
    return [each.found for each in await audit(client, circle.chain, await circle.seen(), await circle.find())]


@on_both
async def test_ten_rated_sessions_become_a_root_that_anybody_recomputes(tmp_path: Path, opened: Opened) -> None:
    async with a_circle(tmp_path, opened=opened) as circle, a_store(":memory:") as store:
        duties = [await seat.duty() for seat in circle.seats]
        await steps(duties)
        assert len(circle.records) == 3
        keys = tmp_path / "keys"
        keys.mkdir()
        made = circle.world.issuers[1]
        keys_file(keys, made.issuer, 1).write_bytes(made.snapshot())
        ada = a_supporter(circle.street)
        issuer = served("issuer", store, circle.clock, keys=keys, speaks_for=lambda who, key: key == ada.key.public)
        circle.street.houses.insert(0, issuer)
        purses = PurseFile(tmp_path / "ada")
        purses.add(IssuerDesk(made.issuer, issuer.address))
        conduct = (await circle.seeker()).conduct
        supporter = SupporterSide(ada.client, wallet("ana"), ada.key, lambda: conduct, purses)
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                async with ada.at_the_door() as keeper:
                    keeper.feedback = supporter
                    async for knock in keeper.knocks:
                        nursery.start_soon(keeper.accept, knock)

            nursery.start_soon(serve)
            for number in range(10):
                side = await circle.seeker()
                client = circle.street.client(f"seeker {number}")
                me = Persona(f"Sam {number}", b"s" * 16)
                with trio.fail_after(PATIENCE):
                    async with open_session(client, ada.contact, me=me, feedback=side) as talk:
                        await until(talk, FeedbackReady)
                assert can_rate(side)
                left = await rate(client, side, number > 2)
                assert (left.reached, left.meant) == (2, 2)
                assert side.ticket is None
            nursery.cancel_scope.cancel()
        await concluded(circle, duties)
        assert (await circle.seen()).posts[-1].tokens == 10
        assert sum(len(seat.heard("posted")) for seat in circle.seats) == 1
        await settled(circle, duties)
        assert [len(seat.heard("settled")) for seat in circle.seats] == [1, 1, 1]
        assert not any(duty.machine.held for duty in duties)
        assert not any(seat.heard("objection") for seat in circle.seats)
        assert await checked(circle) == [MATCHES]
        for seat in circle.seats:
            seat.house.die()
        assert await checked(circle) == [AWAY]


async def test_one_that_is_away_holds_nobody_up_and_takes_part_again(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle:
        duties = [await seat.duty() for seat in circle.seats]
        await steps(duties)
        await rated(circle, 14)
        circle.seats[2].house.die()
        await concluded(circle, duties[:2])
        seen = await circle.seen()
        assert seen.posts[-1].tokens == 10  # each answer went to two of three, so two hold them all
        circle.seats[2].house.wake()
        late = await circle.seats[2].duty()
        await late.step()
        assert not circle.seats[2].heard("objection")
        await settled(circle, [*duties[:2], late])
        assert late.machine.held.keys() <= duties[0].machine.held.keys() | duties[1].machine.held.keys()
        assert await checked(circle) == [MATCHES]


async def test_what_two_of_three_leave_out_is_vetoed_by_the_third_and_comes_in(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle:
        duties = [await seat.duty() for seat in circle.seats]
        await steps(duties)
        await rated(circle, 20, noes=10)
        await circle.at(circle.epochs.end(2) - 60)
        await steps(duties)
        await circle.at(circle.epochs.end(2) + 1)
        # Two agree on half of what they hold, a lie that both sign: they drop ten answers of the union.
        honest = duties[2]
        await steps(duties)
        liars = duties[:2]
        for liar in liars:
            await _hear_everybody(liar)
            liar._watch = trio.lowlevel.checkpoint  # type: ignore[method-assign]  # even they would see it
        kept = sorted(liars[0].machine._union[2])[:10]
        for liar in liars:
            liar.machine._union[2] = {serial: liar.machine._union[2][serial] for serial in kept}
        await steps(liars, 2)
        post = (await circle.seen()).pending()
        assert post is not None
        assert post.tokens == 10
        await honest.step()
        (objection,) = circle.seats[2].heard("objection")
        assert "left out" in str(objection["why"])
        assert (await circle.seen()).vetoed(2, post.root)
        # After the veto the epoch can be posted again, with everything: the liars are found out and restarted.
        again = [await seat.duty() for seat in circle.seats]
        await circle.at(circle.epochs.end(2) + 900)
        await steps(again, 3)
        assert (await circle.seen()).posts[-1].tokens == 20
        await settled(circle, again)
        assert await checked(circle) == [MATCHES]


async def _hear_everybody(duty: CollectorDuty) -> None:
    await duty._look()
    for one in duty.others:
        await duty._united(2, one.owner)


async def test_a_doubled_token_counts_once_and_an_early_or_strange_cell_for_nothing(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle:
        duties = [await seat.duty() for seat in circle.seats]
        await steps(duties)
        await rated(circle, 9)
        client = circle.street.client("seeker")
        ticket = circle.world.ticket("ana", 1)
        for again in (True, False):  # a device that was changed to answer twice
            side = await circle.seeker()
            side.ticket = ticket
            await rate(client, side, again)
        body = next(iter(circle.records.values()))
        drops = body.drops_of(2)
        assert drops is not None
        async with client.paths.path("drop", drops.nodes[0]) as path, client.queues_over(path) as queues:
            await queues.append(drops.doors[0], [b"\x07" * limits.CELL_SIZE])
        # Nothing shows before its slot.
        await steps(duties)
        assert not any(duty.machine.held for duty in duties)
        await concluded(circle, duties)
        assert (await circle.seen()).posts[-1].tokens == 10
        await settled(circle, duties)
        assert await checked(circle) == [MATCHES]


async def test_a_rating_that_is_not_due_is_not_taken_though_a_node_shows_it(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle:
        duty = await circle.seats[0].duty()
        await duty.step()
        from warmline_protocol.feedback.tokens import seal_rating

        rating = circle.world.ticket("ana", 1).rate(True, circle.epochs, circle.world.draw)
        cell = seal_rating(rating, duty.sealing.public)
        await duty._take([cell])
        assert not duty.machine.held
        await circle.at(rating.not_before_s + 1)
        await duty._take([cell])
        assert list(duty.machine.held) == [rating.serial]


async def test_answers_go_nowhere_when_no_node_takes_them_and_are_not_kept(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle:
        duties = [await seat.duty() for seat in circle.seats]
        await steps(duties)
        side = await circle.seeker()
        client = circle.street.client("seeker")
        with pytest.raises(UsageError):
            await rate(client, side, True)
        side.ticket = circle.world.ticket("ana", 1)
        for house in circle.street.keepers:
            house.die()
        left = await rate(client, side, True)
        assert (left.reached, left.meant) == (0, 2)
        assert side.ticket is None
        alone = SeekerSide(side.wallet, side.conduct, ())
        alone.ticket = circle.world.ticket("ana", 1)
        assert not can_rate(alone)
        with pytest.raises(UnreachableError):
            await rate(client, alone, True)


class Killed(BaseException):
    """As kill -9: nothing of the process goes on."""


class Mortal(CollectorFiles):
    """Dies before each write the first time, and right after it the second time."""

    def __init__(self, folder: Path, tried: dict[str, int]) -> None:
        super().__init__(folder)
        self._tried = tried

    def _dying(self, name: str, write: Any, *arguments: Any) -> None:
        count = self._tried[name] = self._tried.get(name, 0) + 1
        if count == 1:
            raise Killed
        write(*arguments)
        if count == 2:
            raise Killed

    def save(self, held: Any) -> None:
        self._dying("save", super().save, held)

    def keep_cut(self, epoch: int, own: Any) -> None:
        self._dying(f"cut {epoch}", super().keep_cut, epoch, own)

    def keep_taken(self, said: Any, ratings: Any) -> None:
        self._dying(f"taken {said.epoch} {said.collector.hex()}", super().keep_taken, said, ratings)

    def keep_drops(self, drops: Any) -> None:
        self._dying(f"drops {sorted(drops)}", super().keep_drops, drops)

    def lay_out(self, question: Any, data: bytes) -> None:
        self._dying(f"lay out {question}", super().lay_out, question, data)


def mortal_post(duty: CollectorDuty, tried: dict[str, int]) -> None:
    """Dies before it sends the first time, and before it hears of the receipt the second time."""
    send = duty._send

    async def dying(call: Any, event: str, epoch: int) -> None:
        count = tried["send"] = tried.get("send", 0) + 1
        if count == 1:
            raise Killed
        await send(call, event, epoch)
        if count == 2:
            raise Killed

    duty._send = dying  # type: ignore[method-assign]
    duty._my_turn = lambda conduct, signers: True  # type: ignore[method-assign]


async def killed_step(seat: Seat, tried: dict[str, int]) -> CollectorDuty:
    """A step, begun anew after each death until one comes to its end."""
    while True:
        duty = await seat.duty(Mortal(seat.folder, tried))
        mortal_post(duty, tried)
        try:
            await duty.step()
        except Killed:
            continue
        except BaseExceptionGroup as group:
            if group.subgroup(Killed) is None:
                raise
            continue
        return duty


async def test_a_collector_that_is_killed_at_every_write_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle:
        tried: dict[str, int] = {}
        mortal, others = circle.seats[0], [await seat.duty() for seat in circle.seats[1:]]
        for other in others:
            other._my_turn = lambda conduct, signers: False  # type: ignore[method-assign]
        await killed_step(mortal, tried)
        await steps(others)
        await rated(circle, 10)
        for second in (circle.epochs.end(2) - 60, circle.epochs.end(2) + 1, circle.epochs.end(2) + 600):
            await circle.at(second)
            for _ in range(2):
                await killed_step(mortal, tried)
                await steps(others)
        assert (await circle.seen()).posts[-1].tokens == 10
        await circle.at(circle.clock.utc_ms() // 1000 + WINDOW_S + 1)
        last = await killed_step(mortal, tried)
        await steps(others)
        assert not last.machine.held
        assert len((await circle.seen()).posts) == 1
        assert await checked(circle) == [MATCHES]
        assert {name.split()[0] for name in tried} == {"save", "cut", "taken", "drops", "lay", "send"}


class Board:
    """A program at the closing screen: says what it wishes, and remembers what it was told."""

    def __init__(self, *wishes: Wish) -> None:
        self.face = self
        self.told: list[dict[str, Any]] = []
        self._wishes = wishes

    def note(self, text: str, style: str = "", **data: Any) -> None:
        self.told.append(data)

    def front(self, place: Any) -> None:
        pass

    def last_words(self) -> None:
        pass

    def complain(self, error: WarmlineError) -> None:
        self.told.append({"event": "error", "error": error.message})

    async def wishes(self) -> AsyncIterator[Wish]:
        for wish in self._wishes:
            yield wish

    async def panic(self) -> None:
        await trio.sleep_forever()


async def test_the_closing_screen_asks_one_question_where_there_is_a_ticket(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle:
        duties = [await seat.duty() for seat in circle.seats]
        await steps(duties)

        async def closed(*wishes: Wish, ticket: bool = True, collectors: bool = True) -> list[dict[str, Any]]:
            side = await circle.seeker()
            side.ticket = circle.world.ticket("ana", 1) if ticket else None
            side.collectors = side.collectors if collectors else ()
            lines = SimpleNamespace(lines=["something was said"])
            client = circle.street.client("seeker")
            talk: Any = SimpleNamespace(evidence=[], transcript=lines, feedback=side, client=client)
            board: Any = Board(*wishes)
            await closing_screen(board, talk, cast(Any, SimpleNamespace(panic=trio.sleep_forever)))
            assert side.ticket is None
            told: list[dict[str, Any]] = board.told
            return told[1:]

        said = await closed(Wish("rate", text="yes"), Wish("rate", text="no"))
        assert [each["event"] for each in said] == ["rating_question", "rated", "error"]
        assert (said[1]["reached"], said[1]["meant"]) == (2, 2)
        assert [each["event"] for each in await closed(Wish("no"))] == ["rating_question", "rated"]
        said = await closed(Wish("rate", text="maybe"), Wish("rate", text="skip"))
        assert [each["event"] for each in said] == ["rating_question", "error", "rated"]
        assert [each["event"] for each in await closed()] == ["rating_question"]
        assert [each["event"] for each in await closed(collectors=False)] == ["rating_away"]
        assert await closed(ticket=False) == []
        await circle.at(circle.epochs.end(2) - 60)
        await steps(duties)
        assert sum(len(duty.machine.held) for duty in duties) == 4  # two answers, at two collectors each


async def test_a_batch_that_is_not_what_was_posted_is_told(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle:
        from dataclasses import replace

        duties = [await seat.duty() for seat in circle.seats]
        await steps(duties)
        await rated(circle, 10)
        await concluded(circle, duties)
        seen = await circle.seen()
        post = seen.posts[-1]
        wrong = replace(seen, posts=(replace(post, root=b"\x01" * 32),))
        client = circle.street.client("anybody")
        (found,) = await audit(client, circle.chain, wrong, await circle.find())
        assert found.found == DIFFERS
        assert "root" in found.why
