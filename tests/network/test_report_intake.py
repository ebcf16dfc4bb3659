"""A report over a private session: whole or not at all, verified before it is kept, kept before it is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio

from support.conversations import PATIENCE, Street, Supporter, a_street, a_supporter
from support.evidence import bundle_about
from support.records import NOW
from warmline.chain.wallet import dev_wallet
from warmline.client.cases import RECEIVED_MAX, Cases, open_cases
from warmline.client.documents import Assembler, send_document
from warmline.client.reporting import Arrived, attend, reference_of, send_report, take_reports
from warmline.client.session import Persona, Session, open_session
from warmline.env import SystemRng, run_in_thread
from warmline_protocol import limits
from warmline_protocol.errors import RefusedError, UnreachableError, UsageError
from warmline_protocol.session.events import PartReceived
from warmline_protocol.session.evidence_bundle import verify_bundle

ABOUT = bundle_about(dev_wallet(3), 1, b"\x22" * 20, ["Hello.", "Pay me. " * 900, "Please. " * 900], own="I am scared.")


class AClock:
    def utc_ms(self) -> int:
        return NOW


@dataclass
class Intake:
    """An advocate's side, with what was kept."""

    street: Street
    advocate: Supporter
    cases: Cases

    async def keep(self, arrived: Arrived) -> None:
        await run_in_thread(partial(self.cases.receive, arrived.bundle))

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with self.advocate.at_the_door() as keeper, trio.open_nursery() as nursery:
            task_status.started()
            async for knock in keeper.knocks:
                nursery.start_soon(take_reports, await keeper.accept(knock), self.keep)

    @asynccontextmanager
    async def reporter(self, name: str) -> AsyncIterator[Session]:
        client = self.street.client(name)
        me = Persona(name, b"s" * 16)
        with trio.fail_after(PATIENCE):
            async with open_session(client, self.advocate.contact, me=me) as session:
                yield session


@asynccontextmanager
async def an_intake(folder: Path) -> AsyncIterator[Intake]:
    with open_cases(folder / "advocate", lambda: "nine quiet lamps", rng=SystemRng(), clock=AClock()) as cases:
        async with a_street(folder) as street, trio.open_nursery() as nursery:
            made = Intake(street, a_supporter(street), cases)
            await nursery.start(made.serve)
            yield made
            nursery.cancel_scope.cancel()


async def test_a_report_arrives_whole_and_its_sender_knows(tmp_path: Path) -> None:
    async with an_intake(tmp_path) as intake, intake.reporter("Sam") as session:
        told: list[tuple[int, int]] = []
        answer = await send_report(session, ABOUT, lambda there, whole: told.append((there, whole)))
        assert intake.cases.received() == [ABOUT]
        assert reference_of(verify_bundle(ABOUT)) in answer
        assert "3 signed messages" in answer
        assert told[-1][0] == told[-1][1] > 1


async def test_what_does_not_verify_is_not_kept_and_is_told(tmp_path: Path) -> None:
    async with an_intake(tmp_path) as intake, intake.reporter("Sam") as session:
        changed = ABOUT.replace(b"Pay me.", b"Pay us.", 1)
        answer = await send_report(session, changed, lambda there, whole: None)
        assert "does not verify" in answer
        assert intake.cases.received() == []


async def test_two_people_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    other = bundle_about(dev_wallet(4), 1, b"\x22" * 20, ["You again."])
    answers: dict[str, str] = {}
    async with an_intake(tmp_path) as intake:

        async def report(name: str, bundle: bytes) -> None:
            async with intake.reporter(name) as session:
                answers[name] = await send_report(session, bundle, lambda there, whole: None)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(report, "Sam", ABOUT)
            nursery.start_soon(report, "Kim", other)
        assert sorted(intake.cases.received()) == sorted([ABOUT, other])
    assert reference_of(verify_bundle(ABOUT)) in answers["Sam"]
    assert reference_of(verify_bundle(other)) in answers["Kim"]


async def test_an_advocate_who_leaves_is_told_as_that(tmp_path: Path) -> None:
    async with a_street(tmp_path) as street:
        advocate, session_began = a_supporter(street), trio.Event()

        async def leave() -> None:
            async with advocate.at_the_door() as keeper:
                talk = await keeper.accept(await keeper.knocks.receive())
                await session_began.wait()
                await talk.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            client = street.client("Sam")
            async with open_session(client, advocate.contact, me=Persona("Sam", b"s" * 16)) as session:
                await session.wait_established()
                session_began.set()
                with trio.fail_after(PATIENCE), pytest.raises((UnreachableError, UsageError)):
                    await send_report(session, ABOUT, lambda there, whole: None)


async def test_who_sits_at_an_intake_and_says_nothing_gives_the_seat_back(tmp_path: Path) -> None:
    """Eight people with patience kept every report of everybody out."""
    async with a_street(tmp_path) as street:
        advocate = a_supporter(street)

        async def nobody(arrived: Arrived) -> None:
            raise AssertionError("nothing was sent")

        async with advocate.at_the_door() as keeper:
            client = street.client("Sam")
            async with open_session(client, advocate.contact, me=Persona("Sam", b"s" * 16)) as session:
                with trio.fail_after(PATIENCE):
                    await attend(await keeper.accept(await keeper.knocks.receive()), nobody, within=0.5)
                    assert keeper.sessions == []
                    await session.wait_closed()


def test_reports_that_anybody_can_make_fill_no_disk(tmp_path: Path) -> None:
    with open_cases(tmp_path, lambda: "seven calm rivers", rng=SystemRng(), clock=AClock()) as cases:
        for number in range(RECEIVED_MAX):
            cases.receive(number.to_bytes(4))
        with pytest.raises(RefusedError):
            cases.receive(b"one more")
        cases.receive((3).to_bytes(4))  # it is there already
        cases.drop_received((3).to_bytes(4))
        cases.receive(b"one more")


async def test_a_full_advocate_says_so(tmp_path: Path) -> None:
    async with an_intake(tmp_path) as intake, intake.reporter("Sam") as session:
        for number in range(RECEIVED_MAX):
            intake.cases.receive(number.to_bytes(4))
        answer = await send_report(session, ABOUT, lambda there, whole: None)
        assert "not kept" in answer and "another one" in answer


@pytest.mark.parametrize("size", [0, limits.PART_MAX * limits.PARTS_MAX + 1])
async def test_nothing_and_too_much_are_refused_before_they_are_sent(tmp_path: Path, size: int) -> None:
    async with an_intake(tmp_path) as intake, intake.reporter("Sam") as session:
        await session.wait_established()
        with pytest.raises(UsageError):
            await send_document(session, bytes(size))


def part(document: int, index: int, count: int, data: bytes = b"x") -> PartReceived:
    return PartReceived(b"i" * 16, document.to_bytes(16), index, count, data)


def test_pieces_in_any_order_make_one_document() -> None:
    assembler = Assembler()
    assert assembler.take(part(1, 2, 3, b"c")) is None
    assert assembler.take(part(1, 0, 3, b"a")) is None
    assert assembler.take(part(1, 0, 3, b"z")) is None
    assert assembler.take(part(1, 1, 3, b"b")) == b"abc"


def test_nonsense_is_nothing_and_fills_no_memory() -> None:
    assembler = Assembler()
    assert assembler.take(part(1, 3, 3)) is None
    assert assembler.take(part(2, 0, limits.PARTS_MAX + 1)) is None
    assert assembler.take(part(3, 0, 2, bytes(limits.PART_MAX + 1))) is None
    for number in range(1000):
        assert assembler.take(part(number, 0, 2)) is None
    assert len(assembler._begun) == 2
    # A piece that claims another number of pieces than the others ends no document early.
    assert assembler.take(part(2000, 5, 9)) is None
    assert assembler.take(part(2000, 0, 2)) is None
