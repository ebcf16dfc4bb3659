"""A collector that tells two others different sets, or one of them nothing: found out, and nobody is held up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from chaos.clocks import ShiftedClock
from support.ahead import prefix
from support.collectors import WINDOW_S, Circle, Seat, a_circle, served
from support.commands import run
from support.conversations import House
from support.feedback import World
from support.queues import a_store
from warmline.chain.wallet import dev_wallet
from warmline.client import collector_base, collector_union
from warmline.client.collecting import fetch
from warmline.client.collector import CollectorDuty
from warmline.client.collector_files import CollectorFiles
from warmline.client.conduct_audit import MATCHES, audit
from warmline.client.rating import rate
from warmline.store.store import Store
from warmline_protocol.codec import frame
from warmline_protocol.errors import BadSignatureError, DiskFullError
from warmline_protocol.feedback.heard import as_heard, read_heard, read_proof
from warmline_protocol.feedback.messages import BatchRead, CollectorRead, Rating
from warmline_protocol.feedback.serving import seal_set
from warmline_protocol.feedback.sheets import announce
from warmline_protocol.records.collector import CollectorRecord
from warmline_protocol.wire import to_wire

EPOCH = 2
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def fewer_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this epoch and the next."""
    monkeypatch.setattr(collector_base, "DROPS_OPEN", 2)


@dataclass
class Stage:
    """Twenty answers about ana, each with two of three collectors, and epoch 2 is over. ``store`` is the liars'."""

    circle: Circle
    duties: list[CollectorDuty]
    store: Store

    async def steps(self, *who: int, rounds: int = 1) -> None:
        for _ in range(rounds):
            for number in who:
                await self.duties[number].step()

    def second_face(self, liar: int, ratings: Sequence[Rating], victim: int) -> House:
        """Another node of the liar's, which says other things; its record reaches the victim only."""
        duty, seat = self.duties[liar], self.circle.seats[liar]
        files = CollectorFiles(seat.folder / "second")
        sheet = duty._own_sheet(EPOCH + 1)
        said = announce(sheet, EPOCH, ratings, duty.key)
        files.lay_out(CollectorRead("announcement", EPOCH, 0), to_wire(said))
        for one in self.circle.records.values():
            files.lay_out(CollectorRead("set", EPOCH, 0, one.owner), seal_set(ratings, one.sheet.sealing))
        house = served(f"second face {liar}", self.store, self.circle.clock, collector=files.served)
        self.circle.street.houses.insert(0, house)
        shown = replace(self.circle.records[seat.wallet.address], node=house.address)
        self.duties[victim].network.find = partial(self._with, shown)
        return house

    def alone_with_its_answers(self, liar: int) -> None:
        """The others never had those that the liar holds."""
        own = {rating.serial for rating in self.duties[liar].machine.cut_off(EPOCH)}
        for number, duty in enumerate(self.duties):
            if number != liar:
                duty.machine.held = {serial: one for serial, one in duty.machine.held.items() if serial not in own}

    def union(self, number: int) -> frozenset[bytes]:
        """The serials of what a collector would vote for."""
        return frozenset(self.duties[number].machine._union[EPOCH])

    async def _with(self, shown: CollectorRecord) -> list[CollectorRecord]:
        return [shown if one.owner == shown.owner else one for one in await self.circle.find()]

    async def checked(self) -> list[str]:
        client = self.circle.street.client("anybody")
        found = await audit(client, self.circle.chain, await self.circle.seen(), await self.circle.find())
        return [each.found for each in found]


async def on_stage(circle: Circle, store: Store) -> Stage:
    stage = Stage(circle, [await seat.duty() for seat in circle.seats], store)
    await stage.steps(0, 1, 2)
    client = circle.street.client("seeker")
    for number in range(20):
        side = await circle.seeker()
        side.ticket = circle.world.ticket("ana", 1)
        assert (await rate(client, side, number > 4)).reached == 2
    await circle.at(circle.epochs.end(EPOCH) - 60)
    await stage.steps(0, 1, 2)
    await circle.at(circle.epochs.end(EPOCH) + 1)
    return stage


def heard(seats: Sequence[Seat], event: str) -> list[int]:
    return [len([each for each in seat.heard(event) if each["epoch"] == EPOCH]) for seat in seats]


async def test_two_sets_of_one_collector_are_a_proof_and_hold_nobody_up(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle, a_store(":memory:") as store:
        stage = await on_stage(circle, store)
        await stage.steps(2)  # it announces what it holds
        own = stage.duties[2].machine.cut_off(EPOCH)
        stage.second_face(2, own[: len(own) // 2], victim=1)
        await stage.steps(0, 1, rounds=4)  # and takes no part any more
        assert heard(circle.seats, "equivocation") == [1, 1, 0]
        (told,) = circle.seats[0].heard("equivocation")
        assert told["collector"] == "0x" + circle.seats[2].wallet.address.hex()
        seen = await circle.seen()
        post = seen.posts[-1]
        assert post.tokens == 20  # all of them are in a set of the others' too
        assert await stage.duties[1]._unite(EPOCH) == []  # nobody is waited for
        # The proof needs nobody's word.
        data = await trio.Path(str(told["proof"])).read_bytes()
        where = circle.chain.manifest.chain_id, circle.chain.manifest.address("ConductEpochs")
        first, second = read_proof(data, *where)
        assert first.collector == second.collector == circle.seats[2].wallet.address
        assert {first.count, second.count} == {len(own), len(own) // 2}
        words = ("--chain", circle.act.rpc.url, "--manifest", str(tmp_path / "manifest.json"))
        ShiftedClock(tmp_path / "clock").set(circle.clock.ahead_ms)
        command = partial(run, "conduct", "proof", str(told["proof"]), *words, prefix=prefix(tmp_path / "clock"))
        with pytest.raises(BadSignatureError):
            read_proof(data, where[0], bytes(20))
        done = await trio.to_thread.run_sync(command)
        assert done.returncode == 0, done.stderr
        assert circle.seats[2].wallet.shown in done.stdout
        assert f"{len(own)} answers" in done.stdout
        assert "names it as a collector now" in done.stdout
        # After a restart it is set aside still, and told of no more.
        again = await circle.seats[0].duty()
        await again.step()
        assert (await again._heard(EPOCH)).aside() == {circle.seats[2].wallet.address}
        assert heard(circle.seats, "equivocation") == [1, 1, 0]
        # Nor do its words hold anybody up who starts after it was let go.
        later = await circle.seats[0].duty()
        later.seen = replace(later.seen, collectors=tuple(seat.wallet.address for seat in circle.seats[:2]))
        assert (await later._heard(EPOCH)).of(circle.seats[1].wallet.address) is not None
        assert not (await later._heard(EPOCH)).aside()
        await circle.at(circle.clock.utc_ms() // 1000 + WINDOW_S + 1)
        await stage.steps(0, 1, 2)
        assert heard(circle.seats, "settled") == [1, 1, 1]
        assert await stage.checked() == [MATCHES]
        # The proof outlives the liar's office.
        left = [seat.wallet.address for seat in circle.seats[:2]]
        await circle.act.do(dev_wallet(8), circle.chain.set_collectors(left, 2))
        ShiftedClock(tmp_path / "clock").set(circle.clock.ahead_ms)
        done = await trio.to_thread.run_sync(command)
        assert done.returncode == 0, done.stderr
        assert "does not name it as a collector now" in done.stdout


async def test_who_hands_a_set_to_one_only_hands_it_to_all(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle, a_store(":memory:") as store:
        stage = await on_stage(circle, store)
        await stage.steps(2)
        victim = circle.seats[1].wallet.address
        question = CollectorRead("set", EPOCH, 0, victim)
        CollectorFiles(circle.seats[2].folder).lay_out(question, b"nothing that could be opened")
        await stage.steps(0, 1, rounds=4)
        assert heard(circle.seats, "united")[:2] == [2, 2]
        assert heard(circle.seats, "equivocation") == [0, 0, 0]
        assert (await circle.seen()).posts[-1].tokens == 20
        assert await stage.duties[1]._unite(EPOCH) == []
        # A word that does not hold takes nothing from those that stand beside it.
        strange = World().keeper()
        said = announce(strange.sheet, EPOCH, (), strange.key)
        teller, heard_there = CollectorFiles(circle.seats[1].folder), CollectorRead("heard", EPOCH, 0)
        words = teller.laid_out(heard_there) or b""
        teller.lay_out(heard_there, frame(to_wire(as_heard(strange.sheet, said))) + words)
        told = await stage.duties[0]._compare(EPOCH)
        assert told[victim].keys() == {seat.wallet.address for seat in circle.seats}


async def test_fewer_than_a_quorum_left_post_nothing_and_lose_nothing(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle, a_store(":memory:") as store:
        stage = await on_stage(circle, store)
        held = dict(stage.duties[0].machine.held)
        for liar in (1, 2):  # each hears what the other does not say to all
            await stage.steps(liar)
            own = stage.duties[liar].machine.cut_off(EPOCH)
            stage.second_face(liar, own[1:], victim=3 - liar)
        await stage.steps(1)
        await circle.at(circle.epochs.end(EPOCH) + 600)
        await stage.steps(0, rounds=3)
        assert (await stage.duties[0]._heard(EPOCH)).aside() == {seat.wallet.address for seat in circle.seats[1:]}
        assert not (await circle.seen()).posts
        assert held.items() <= stage.duties[0].machine.held.items()
        # One that does what is right from now on counts: its set does not, its signature does, and it does not object.
        await stage.steps(1, 0, 1)
        (post,) = (await circle.seen()).posts
        assert post.tokens == len(stage.duties[0].machine.cut_off(EPOCH)) // 10 * 10 > 0
        assert not any(seat.heard("objection") for seat in circle.seats)
        assert await stage.checked() == [MATCHES]


async def test_who_withdraws_after_handing_its_set_to_one_keeps_no_votes_apart(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle, a_store(":memory:") as store:
        stage = await on_stage(circle, store)
        await stage.steps(2)
        stage.alone_with_its_answers(2)
        liar, victim = circle.seats[2].wallet.address, circle.seats[1].wallet.address
        CollectorFiles(circle.seats[2].folder).lay_out(CollectorRead("set", EPOCH, 0, victim), b"nothing")
        await stage.steps(0)
        assert heard(circle.seats, "united")[0] == 1
        await stage.steps(1)  # hears the word of it, and has no set
        del circle.records[liar]
        stage.duties[0] = await circle.seats[0].duty()  # and what it took is on its disk only
        await stage.steps(0, 1, rounds=4)
        assert stage.union(0) == stage.union(1)
        assert await stage.duties[1]._unite(EPOCH) == []
        assert (await circle.seen()).posts[-1].tokens == 20


async def test_the_set_of_one_that_was_let_go_is_in_nobodys_union(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle, a_store(":memory:") as store:
        stage = await on_stage(circle, store)
        await stage.steps(2)
        stage.alone_with_its_answers(2)
        await stage.steps(0)
        assert len(stage.union(0)) > len(stage.duties[0].machine.cut_off(EPOCH))
        left = [seat.wallet.address for seat in circle.seats[:2]]
        await circle.act.do(dev_wallet(8), circle.chain.set_collectors(left, 2))
        await stage.steps(1, 0, 1)
        own = [frozenset(one.serial for one in duty.machine.cut_off(EPOCH)) for duty in stage.duties[:2]]
        assert stage.union(0) == stage.union(1) == own[0] | own[1]
        assert not await stage.duties[0]._unite(EPOCH)


async def test_another_word_in_the_middle_of_a_step_leaves_no_half_of_a_union(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_circle(tmp_path) as circle, a_store(":memory:") as store:
        stage = await on_stage(circle, store)
        order = sorted(range(3), key=lambda number: circle.seats[number].wallet.address)
        liar, first, victim = order[2], order[0], order[1]
        await stage.steps(first, liar)
        duty, asked = stage.duties[liar], [0]
        announcement = CollectorRead("announcement", EPOCH, 0)
        files = CollectorFiles(circle.seats[liar].folder)
        files.lay_out(CollectorRead("set", EPOCH, 0, circle.seats[victim].wallet.address), b"nothing")

        async def turning(paths: Any, node: Any, question: Any, *more: int) -> bytes:
            """The liar says something else whenever it is asked again."""
            if node == circle.seats[liar].house.address and question == announcement:
                said = announce(duty._own_sheet(EPOCH + 1), EPOCH, duty.machine.cut_off(EPOCH)[asked[0] :], duty.key)
                files.lay_out(announcement, to_wire(said))
                asked[0] += 1
            return await fetch(paths, node, question, *more)

        monkeypatch.setattr(collector_union, "fetch", turning)
        honest = stage.duties[victim]
        await honest._look()
        assert await honest._announced(EPOCH)
        for _ in range(3):
            await honest._unite(EPOCH)
            assert (EPOCH, circle.seats[first].wallet.address) in honest._merged
            theirs = frozenset(one.serial for one in stage.duties[first].machine.cut_off(EPOCH))
            assert theirs <= stage.union(victim)
        assert (await honest._heard(EPOCH)).aside() == {circle.seats[liar].wallet.address}


class FullDisk(CollectorFiles):
    """Takes neither what was heard nor a proof while it is ``full``."""

    full: frozenset[str] = frozenset()

    def lay_out(self, question: CollectorRead | BatchRead, data: bytes) -> None:
        if isinstance(question, CollectorRead) and question.what in self.full:
            raise DiskFullError("no space left")
        super().lay_out(question, data)

    def keep_proof(self, epoch: int, collector: bytes, proof: bytes) -> Path | None:
        if "proof" in self.full:
            raise DiskFullError("no space left")
        return super().keep_proof(epoch, collector, proof)


async def test_what_a_full_disk_did_not_take_is_told_on_when_there_is_room(tmp_path: Path) -> None:
    async with a_circle(tmp_path) as circle, a_store(":memory:") as store:
        stage = await on_stage(circle, store)
        seat, liar = circle.seats[0], circle.seats[2].wallet.address
        files = FullDisk(seat.folder)
        stage.duties[0] = await seat.duty(files)
        await stage.steps(2)
        own = stage.duties[2].machine.cut_off(EPOCH)
        stage.second_face(2, own[1:], victim=1)

        def told_on() -> set[bytes]:
            words = read_heard(files.laid_out(CollectorRead("heard", EPOCH, 0)) or b"")
            return {one.said.collector for one in words}

        files.full = frozenset({"heard"})
        await stage.steps(0)
        assert files.laid_out(CollectorRead("announcement", EPOCH, 0)) is not None
        assert told_on() == set()
        files.full = frozenset()
        await stage.steps(0)
        assert told_on() == {seat.wallet.address, liar}
        for what in ("heard", "proof"):
            files.full = frozenset({what})
            await stage.steps(1, 0)
            assert heard(circle.seats, "equivocation")[0] == 0
        files.full = frozenset()
        await stage.steps(0, 0)
        assert heard(circle.seats, "equivocation")[0] == 1
        (told,) = seat.heard("equivocation")
        assert await trio.Path(str(told["proof"])).exists()
        assert (await stage.duties[0]._heard(EPOCH)).aside() == {liar}
        words = list(read_heard(files.laid_out(CollectorRead("heard", EPOCH, 0)) or b""))
        assert [one.said.collector for one in words].count(liar) == 2
