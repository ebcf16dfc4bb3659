"""Thin offers over queue services: what a supporter sees, who wins, who is told what, and what a flood gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from support.conversations import PATIENCE, QUICK, Street, Supporter, a_street, until
from warmline.client import session_knock
from warmline.client.door_policy import KNOWN, DoorGate, DoorRules
from warmline.client.now import NowSettings, Search, Yes
from warmline.client.offers import CLAIMED, LOST, SHOWN_MAX, Offered
from warmline.client.ringing import Asked, DoorRinger
from warmline.client.session import Contact, Persona, open_session
from warmline.client.session_client import Client, pack_address, unpack_address
from warmline.client.session_doors import ContactKey, DoorKeeper, OwnDoor
from warmline.env import SystemClock
from warmline_protocol import limits
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.card import AgeBand
from warmline_protocol.session.events import TextReceived
from warmline_protocol.session.known import known_attempt
from warmline_protocol.session.offers import ANSWERED, LEFT, Offer, seal_at_door
from warmline_protocol.session.xwing import SealingKey

ASKED = Asked(("en",), AgeBand(18, 30), "grief")
RIVER = Persona("River", b"r" * 16)


def a_peer(street: Street, name: str, door: int) -> Supporter:
    client = street.client(name, QUICK)
    own = [OwnDoor(street.houses[door].address, SigningKey(client.rng.bytes(32)))]
    contact = ContactKey(SealingKey(client.rng.bytes(32)), SystemClock().utc_ms() + 3600_000)
    return Supporter(street, client, SigningKey(client.rng.bytes(32)), [contact], own)


@dataclass
class Seeking:
    client: Client
    ringer: DoorRinger

    def search(self, *people: Supporter) -> Search[Contact]:
        tiers = [[each.contact for each in people]]
        return Search(tiers, self.ringer.ring, rng=self.client.rng, settings=NowSettings(stands=20, search=30))


@asynccontextmanager
async def a_seeker(street: Street) -> AsyncIterator[Seeking]:
    client = street.client("seeker", QUICK)
    async with trio.open_nursery() as nursery:
        yield Seeking(client, DoorRinger(client, nursery, ASKED))
        nursery.cancel_scope.cancel()


async def shown(keeper: DoorKeeper) -> Offered:
    with trio.fail_after(PATIENCE):
        return await keeper.offers.news.receive()


async def test_an_offer_names_nobody_and_a_yes_becomes_a_conversation(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street, a_seeker(street) as seeker:
            ada = a_peer(street, "ada", 3)
            async with ada.at_the_door() as keeper, trio.open_nursery() as nursery:
                tell, found = trio.open_memory_channel[Yes[Contact] | None](1)

                async def search() -> None:
                    await tell.send(await seeker.search(ada).run())

                nursery.start_soon(search)
                offered = await shown(keeper)
                assert (offered.offer.languages, offered.offer.topic) == (("en",), "grief")
                assert "River" not in repr(offered)
                await keeper.offers.take(offered)
                assert keeper.busy_seats == 1
                yes = await found.receive()
                assert yes is not None
                async with open_session(
                    seeker.client, yes.who, me=RIVER, line="rough week", attempt=yes.attempt
                ) as session:
                    knock = await keeper.knocks.receive()
                    assert (knock.expected, knock.name, knock.line) == (True, "River", "rough week")
                    assert offered.over == CLAIMED
                    await keeper.accept(knock)
                    await session.wait_established()
                    assert keeper.busy_seats == 1


async def test_two_say_yes_at_once_and_one_is_told_that_somebody_answered(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street, a_seeker(street) as seeker:
            people = [a_peer(street, "ada", 3), a_peer(street, "ben", 2)]
            async with people[0].at_the_door() as one, people[1].at_the_door() as two, trio.open_nursery() as nursery:
                tell, found = trio.open_memory_channel[Yes[Contact] | None](1)

                async def search() -> None:
                    await tell.send(await seeker.search(*people).run())

                nursery.start_soon(search)
                offers = [await shown(one), await shown(two)]
                assert offers[0].attempt != offers[1].attempt
                assert offers[0].offer.reply != offers[1].offer.reply
                nursery.start_soon(one.offers.take, offers[0])
                nursery.start_soon(two.offers.take, offers[1])
                yes = await found.receive()
                assert yes is not None
                loser = (two, offers[1]) if yes.attempt == offers[0].attempt else (one, offers[0])
                assert await shown(loser[0]) is loser[1]
                assert loser[1].over == ANSWERED
                assert loser[0].busy_seats == 0


async def test_who_says_yes_and_vanishes_loses_nothing_for_the_seeker(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street, a_seeker(street) as seeker:
            ada, ben = a_peer(street, "ada", 3), a_peer(street, "ben", 2)
            async with ada.at_the_door() as keeper, ben.at_the_door() as other, trio.open_nursery() as nursery:

                async def take_all(keeper: DoorKeeper, delay: float) -> None:
                    async for offered in keeper.offers.news:
                        if not offered.over:
                            await trio.sleep(delay)
                            await keeper.offers.take(offered)

                nursery.start_soon(take_all, keeper, 0)
                search = seeker.search(ada, ben)
                first = await search.run()
                assert first is not None and first.who == ada.contact
                with trio.move_on_after(0.5):  # her Welcome never comes
                    async with open_session(seeker.client, first.who, me=RIVER, attempt=first.attempt) as session:
                        await session.wait_established()
                first.ringing.over("late")
                nursery.start_soon(take_all, other, 0)
                second = await search.run()
                assert second is not None and second.who == ben.contact
                async with open_session(seeker.client, second.who, me=RIVER, attempt=second.attempt) as session:
                    supporter = await other.accept(await other.knocks.receive())
                    await session.wait_established()
                    await session.send("hello")
                    assert (await until(supporter, TextReceived)).text == "hello"
                nursery.cancel_scope.cancel()


async def test_leaving_a_search_ends_the_offers(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street, a_seeker(street) as seeker:
            ada = a_peer(street, "ada", 3)
            async with ada.at_the_door() as keeper:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(seeker.search(ada).run)
                    offered = await shown(keeper)
                    nursery.cancel_scope.cancel()
                assert await shown(keeper) is offered
                assert offered.over == LEFT


async def flood(street: Street, ada: Supporter, count: int) -> list[Offer]:
    """Offers by a script: sealed to the card's public key, which everybody has."""
    client = street.client("flooder", QUICK)
    reply = seeker_reply(street)
    offers = []
    (door,) = ada.contact.doors
    async with client.paths.path("door", door.node) as path, client.queues_over(path) as queues:
        for number in range(count):
            attempt, until_ms = number.to_bytes(16), SystemClock().utc_ms() + limits.OFFER_MS
            offer = Offer(attempt, bytes(32), reply, ("en",), 18, 120, "", until_ms)
            await queues.append(door.queue, [seal_at_door(offer, ada.contact_keys[0].key.public)])
            offers.append(offer)
    return offers


def seeker_reply(street: Street) -> bytes:
    return pack_address(QueueAddress(street.houses[0].address, b"q" * 16, b"s" * 32))


async def test_a_flood_of_offers_shows_three_and_fills_neither_door_nor_screen(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_peer(street, "ada", 3)
            async with ada.at_the_door() as keeper:
                await flood(street, ada, 40)
                seen = [await shown(keeper) for _ in range(SHOWN_MAX)]
                with trio.move_on_after(2):
                    seen.append(await keeper.offers.news.receive())
                assert len(seen) == SHOWN_MAX
                assert keeper.unreadable == 0
                # Nothing of it stays at the door: somebody who knocks in the usual way is heard.
                async with open_session(street.client("late", QUICK), ada.contact, me=RIVER):
                    knock = await keeper.knocks.receive()
                    assert knock.name == "River"
                await keeper.offers.take(seen[0])
                assert keeper.busy_seats == 1


async def test_a_machine_that_was_asleep_does_not_ring_for_what_is_over(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street, a_seeker(street) as seeker:
            ada = a_peer(street, "ada", 3)
            async with ada.at_the_door():
                pass  # the door exists; Ada goes to sleep
            ringing = seeker.ringer.ring(ada.contact)
            assert await ringing.left()
            ringing.over(ANSWERED)
            await seeker.ringer.wait_quiet()
            async with ada.at_the_door() as keeper:
                await keeper.wait_doors_up(1)
                with trio.move_on_after(1.5) as waited:
                    await keeper.offers.news.receive()
                assert waited.cancelled_caught


async def test_a_door_for_known_people_shows_one_by_their_word_and_is_silent_to_offers(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street, a_seeker(street) as seeker:
            ada = a_peer(street, "ada", 3)
            gate = DoorGate(DoorRules(KNOWN), ada.client.clock)
            gate.know(b"a word of Ada's.", "River from May")
            changed = trio.Event()
            gate.changed = lambda: changed.set() if gate.book.blocked else None
            async with ada.at_the_door(gate=gate) as keeper:
                with trio.move_on_after(2) as waited:
                    await seeker.search(ada).run()
                assert waited.cancelled_caught, "a closed door answers offers with nothing at all"
                stranger = street.client("stranger", QUICK)
                attempt = known_attempt(b"a word of Ada's.", b"saltsalt")
                async with (
                    open_session(stranger, ada.contact, me=RIVER),
                    open_session(seeker.client, ada.contact, me=RIVER, attempt=attempt) as session,
                ):
                    knock = await keeper.knocks.receive()
                    assert (knock.known, knock.attempt) == ("River from May", attempt)
                    supporter = await keeper.accept(knock)
                    await session.wait_established()
                    await supporter.aclose("blocked")
                while gate.book.people:
                    await changed.wait()
                async with open_session(seeker.client, ada.contact, me=RIVER, attempt=attempt):
                    with trio.move_on_after(1) as waited:
                        await keeper.knocks.receive()
                    assert waited.cancelled_caught


async def test_nobody_who_was_told_yes_and_stays_away_keeps_the_seat(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_peer(street, "ada", 3)
            async with ada.at_the_door() as keeper:
                await flood(street, ada, 1)
                offered = await shown(keeper)
                await keeper.offers.take(offered)
                assert keeper.busy_seats == 1
                keeper.offers._end(offered, LOST)  # half a minute later
                assert (await shown(keeper)).over == LOST
                assert keeper.busy_seats == 0
                assert unpack_address(offered.offer.reply).queue == b"q" * 16


async def test_a_stranger_and_somebody_blocked_get_the_same_answer_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert session_knock.DECLINE_AFTER[0] >= 20, (
        "sooner would tell that a program answered, and so that somebody is there"
    )
    monkeypatch.setattr(session_knock, "DECLINE_AFTER", (0.2, 0.4))
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_peer(street, "ada", 3)
            gate = DoorGate(DoorRules(KNOWN), ada.client.clock)
            word = b"a word of Ada's."
            gate.know(word, "River from May")
            gate.block(known_attempt(word, b"saltsalt"))
            async with ada.at_the_door(gate=gate) as keeper:
                ends = []
                for number, attempt in enumerate(
                    (None, known_attempt(word, b"moresalt"), known_attempt(bytes(16), bytes(8)))
                ):
                    seeker = street.client(f"seeker {number}", QUICK)
                    async with open_session(seeker, ada.contact, me=RIVER, attempt=attempt) as session:
                        ends.append(await session.wait_closed())
                assert ends == ["declined"] * 3
                with pytest.raises(trio.WouldBlock):
                    keeper.knocks.receive_nowait()
