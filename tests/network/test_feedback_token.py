"""The first step of a verified session, over queue services and an issuer's node: a token, or a plain word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from support.conversations import PATIENCE, House, Street, Supporter, a_street, a_supporter, until
from support.queues import a_store
from warmline.client.feedback import IssuerDesk, PurseFile, SeekerSide, SupporterSide, Talk
from warmline.client.session import Persona, Session, open_session
from warmline.client.session_events import FeedbackNone, FeedbackReady
from warmline.env import SeededRng, SystemClock, SystemRng, run_in_thread
from warmline.services.feedback import FeedbackService, keys_file
from warmline_protocol.errors import DiskFullError, RefusedError
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.grants import IssuerEpoch, Purse
from warmline_protocol.feedback.messages import Grant, TokenAsk, TokenMissing
from warmline_protocol.feedback.serving import want_grant
from warmline_protocol.feedback.tokens import check_rating
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.conduct import Conduct, KeyRoot
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.events import TextReceived

ISSUER, WALLET = b"\x11" * 20, b"\x33" * 20
WEEK_S = 604_800
GENESIS_S = 1_700_000_000


def now_epoch() -> int:
    return Epochs(GENESIS_S, WEEK_S).at(SystemClock().utc_ms() // 1000)


@dataclass
class Scene:
    """A supporter with vouchers, an issuer's node, and a chain that says so."""

    street: Street
    ada: Supporter
    issuer: House
    service: FeedbackService
    folder: Path
    conduct: Conduct
    purses: PurseFile
    trusted: set[bytes] = field(default_factory=set)

    def supporter_side(self) -> SupporterSide:
        return SupporterSide(self.ada.client, WALLET, self.ada.key, lambda: self.conduct, self.purses)

    def seeker_side(self, **changes: Any) -> SeekerSide:
        return SeekerSide(changes.pop("wallet", WALLET), replace(self.conduct, **changes))

    @asynccontextmanager
    async def session(self, seeker: SeekerSide | None, supporter: SupporterSide | None) -> AsyncIterator[Session]:
        """A seeker's session, with Ada at the other end, who says one thing."""
        async with trio.open_nursery() as nursery:

            async def serve(*, task_status: trio.TaskStatus[None]) -> None:
                async with self.ada.at_the_door() as keeper:
                    keeper.feedback = supporter
                    task_status.started()
                    async for knock in keeper.knocks:
                        talk = await keeper.accept(knock)
                        await talk.send("Hello.")

            await nursery.start(serve)
            client = self.street.client("seeker")
            me = Persona("Sam", b"s" * 16)
            with trio.fail_after(PATIENCE):
                async with open_session(client, self.ada.contact, me=me, feedback=seeker) as talk:
                    yield talk
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def a_scene(folder: Path, *, vouchers: int = 3) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        street = await stack.enter_async_context(a_street(folder))
        store = await stack.enter_async_context(a_store(folder / "issuer.db"))
        ada = a_supporter(street)
        keys = folder / "keys"
        keys.mkdir()
        epoch = IssuerEpoch.open(ISSUER, now_epoch(), {WALLET: vouchers})
        keys_file(keys, ISSUER, epoch.epoch).write_bytes(epoch.snapshot())
        trusted = {ada.key.public}
        service = FeedbackService(
            keys,
            store,
            speaks_for=lambda wallet, key: wallet == WALLET and key in trusted,
            clock=SystemClock(),
            rng=SystemRng(),
            run_blocking=run_in_thread,
        )
        peer = SigningKey(SeededRng("issuer").bytes(32)).peer_id
        house = House(NodeAddress(peer, (f"/ip4/127.0.0.1/tcp/4999/p2p/{peer}",)), service)  # type: ignore[arg-type]
        street.houses.append(house)
        root = KeyRoot(ISSUER, epoch.epoch, epoch.vouchers, epoch.root)
        conduct = Conduct(b"\x09" * 20, GENESIS_S, WEEK_S, (b"\x01" * 20,), 1, (root,))
        purses = PurseFile(folder / "ada")
        purses.add(IssuerDesk(ISSUER, house.address))
        yield Scene(street, ada, house, service, keys, conduct, purses, trusted)


async def test_a_session_begins_with_a_token_that_its_issuer_cannot_recognise(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        seeker = scene.seeker_side()
        async with scene.session(seeker, scene.supporter_side()) as talk:
            await until(talk, FeedbackReady)
        assert seeker.ticket is not None
        rating = seeker.ticket.rate(True, Epochs(GENESIS_S, WEEK_S), SystemRng().bytes)
        check_rating(rating, scene.conduct.roots[0].root)
        epoch = scene.service._epochs[ISSUER, now_epoch()]
        blinded, signed = epoch.answered(WALLET, 0)
        assert blinded not in (rating.token, rating.serial)
        assert signed != rating.token
        assert epoch.spent(WALLET) == 1
        assert scene.purses.used(rating.grant) == 1


async def test_talking_goes_on_while_no_token_comes(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        scene.issuer.die()
        seeker = scene.seeker_side()
        async with scene.session(seeker, scene.supporter_side()) as talk:
            seen = [await talk.events.__anext__()]
            while not any(isinstance(one, FeedbackNone) for one in seen) or not any(
                isinstance(one, TextReceived) for one in seen
            ):
                seen.append(await talk.events.__anext__())
        assert [one.why for one in seen if isinstance(one, FeedbackNone)] == ["issuer away"]
        assert seeker.ticket is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"wallet": b"\x44" * 20}, "refused"),
        ({"roots": ()}, "no grant"),
        ({"roots": (KeyRoot(ISSUER, now_epoch(), 3, b"\x66" * 32),)}, "refused"),
    ],
)
async def test_a_grant_that_is_not_the_chain_s_gives_no_token(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    async with a_scene(tmp_path) as scene:
        seeker = scene.seeker_side(**changes)
        async with scene.session(seeker, scene.supporter_side()) as talk:
            assert (await until(talk, FeedbackNone)).why == why
        assert seeker.ticket is None


async def test_vouchers_are_spent_once_and_then_there_are_none(tmp_path: Path) -> None:
    async with a_scene(tmp_path, vouchers=1) as scene:
        ada = scene.supporter_side()
        first, second = scene.seeker_side(), scene.seeker_side()
        async with scene.session(first, ada) as talk:
            await until(talk, FeedbackReady)
        async with scene.session(second, ada) as talk:
            assert (await until(talk, FeedbackNone)).why == "no voucher"


async def test_a_supporter_who_lost_the_device_is_answered_nothing(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        scene.trusted.clear()
        async with scene.session(scene.seeker_side(), scene.supporter_side()) as talk:
            assert (await until(talk, FeedbackNone)).why in ("no grant", "refused")


async def test_a_restarted_issuer_answers_the_same_and_spends_nothing_twice(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        now = SystemClock().utc_ms()
        grant = await scene.service.answer(want_grant(ISSUER, WALLET, now_epoch(), scene.ada.key, now))
        purse = Purse(grant, scene.conduct.roots[0].root, scene.ada.key)  # type: ignore[arg-type]
        request = purse.request(TokenAsk(b"\x05" * 256))
        first = await scene.service.answer(request)
        scene.service._epochs.clear()  # as a restart: what is known comes from the folder and the store
        assert await scene.service.answer(request) == first
        purse.used = 0
        with pytest.raises(RefusedError, match="spent on something else"):
            await scene.service.answer(purse.request(TokenAsk(b"\x06" * 256)))


async def test_what_was_answered_in_old_epochs_is_forgotten(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        kept = scene.service._store

        def old(conn: Any) -> None:
            for epoch in (now_epoch() - 2, now_epoch() - 1):
                row = (ISSUER, epoch, WALLET, 0, b"blinded", b"signed")
                conn.execute("INSERT INTO feedback_answers VALUES (?, ?, ?, ?, ?, ?)", row)

        await kept.write(old)
        wanted = want_grant(ISSUER, WALLET, now_epoch(), scene.ada.key, SystemClock().utc_ms())
        await scene.service.answer(wanted)
        epochs = await kept.read(lambda conn: [row[0] for row in conn.execute("SELECT epoch FROM feedback_answers")])
        assert epochs == [now_epoch() - 1]


async def test_an_old_question_somebody_else_s_and_another_issuer_s_are_refused(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        now, epoch, key = SystemClock().utc_ms(), now_epoch(), scene.ada.key
        good = want_grant(ISSUER, WALLET, epoch, key, now)
        for wrong in (
            want_grant(ISSUER, WALLET, epoch, key, now - 3_600_000),
            want_grant(ISSUER, WALLET, epoch, SigningKey(b"\x07" * 32), now),
            want_grant(b"\x12" * 20, WALLET, epoch, key, now),
            want_grant(ISSUER, WALLET, epoch + 1, key, now),
            replace(good, epoch=epoch + 1),
            replace(good, key=SigningKey(b"\x07" * 32).public),
        ):
            with pytest.raises(RefusedError):
                await scene.service.answer(wrong)
        assert scene.service.refused == 6
        assert await scene.service.answer(good)


class Hasty(SupporterSide):
    """Offers a token and takes the offer back in one breath."""

    async def begin(self, talk: Talk) -> None:
        grant = (await self.purse()).grant

        def both(pair: Any, now: int) -> None:
            pair.offer_grant(grant, now)
            pair.no_token(TokenMissing("no voucher"), now)

        await talk.feedback_step(both)


async def test_an_offer_that_is_taken_back_at_once_ends_no_seekers_program(tmp_path: Path) -> None:
    """The seeker's question came too late for its own machine, and what that raised went through everything."""
    async with a_scene(tmp_path) as scene:
        mallory = Hasty(scene.ada.client, WALLET, scene.ada.key, lambda: scene.conduct, scene.purses)
        async with scene.session(scene.seeker_side(), mallory) as talk:
            await until(talk, FeedbackNone)
            await talk.send("still here")
            assert not talk.closed


def a_grant() -> Grant:
    return Grant(ISSUER, WALLET, 1, 64, b"\xff" * 256, ())


def test_sessions_that_begin_at_once_each_count(tmp_path: Path) -> None:
    """Their writes took the draft away from under each other, which ended the supporter's duty."""
    purses, grant = PurseFile(tmp_path), a_grant()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(purses.use, grant, used) for used in range(1, 65)]:
            done.result()
    purses.use(grant, 3)
    assert PurseFile(tmp_path).used(grant) == 64
    assert (tmp_path / "feedback.json").stat().st_mode & 0o777 == 0o600


def test_a_purse_that_cannot_be_written_is_told_as_that(tmp_path: Path) -> None:
    purses = PurseFile(tmp_path / "folder")
    (tmp_path / "folder").write_text("")
    with pytest.raises(DiskFullError):
        purses.use(a_grant(), 1)
