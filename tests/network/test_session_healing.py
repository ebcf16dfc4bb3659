"""What repairs itself: a Hello that nobody can answer, a card whose key was replaced, a kept session out of step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from support.conversations import PATIENCE, QUICK, Street, a_street, a_supporter, rest, until
from warmline.client.session import Client, HelloHeld, Persona, open_session, resume_session
from warmline.client.session_doors import ContactKey
from warmline.client.session_keep import KIND
from warmline.client.vault import MemoryVault
from warmline.env import SystemClock
from warmline_protocol.session.events import Closed, Joined, MessageState, OutOfStep, TextReceived, ThreadKnown
from warmline_protocol.session.xwing import SealingKey

RIVER = Persona("River", b"r" * 16)
IMPATIENT = replace(QUICK, queue_silence=0.5, still_waiting=30.0)


def away_from_doors(street: Street) -> Client:
    """A client whose own queues are never at the door's node, so that they can be lost without it."""
    client = street.client("river", IMPATIENT)
    nodes = list(client.queue_nodes())[:-1]
    client.queue_nodes = lambda: nodes
    return client


async def test_a_hello_whose_queues_are_both_lost_is_said_again(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path, 6) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door() as keeper,
                open_session(away_from_doors(street), ada.contact, me=RIVER, line="first") as seeker,
            ):
                first = await keeper.knocks.receive()
                for inlet in seeker._inlets:
                    street.house(inlet.own.node.peer_id).die()
                again = await keeper.knocks.receive()
                assert again.attempt == first.attempt and again.line == "first"
                assert again.hello.key_package != first.hello.key_package
                assert set(again.hello.replies).isdisjoint(first.hello.replies)
                supporter = await keeper.accept(again)
                await seeker.wait_established()
                await supporter.send("found you")
                assert (await until(seeker, TextReceived)).text == "found you"
                await seeker.send("yes")
                assert (await until(supporter, TextReceived)).text == "yes"


async def test_an_answer_to_lost_queues_is_repaired_by_the_second_hello(tmp_path: Path) -> None:
    """The supporter says yes to the first Hello; its Welcome reaches nobody; the second Hello brings them together."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path, 6) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door() as keeper,
                open_session(away_from_doors(street), ada.contact, me=RIVER) as seeker,
            ):
                first = await keeper.knocks.receive()
                for inlet in seeker._inlets:
                    street.house(inlet.own.node.peer_id).die()
                supporter = await keeper.accept(first)
                await until(seeker, Joined)
                message = await supporter.send("there you are")
                assert (await until(seeker, TextReceived)).text == "there you are"
                await until(supporter, MessageState, id=message, state="delivered")
                assert keeper.knocks.statistics().current_buffer_used == 0


async def test_cards_of_yesterday_and_today_at_one_door(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            yesterday = ada.contact
            async with ada.at_the_door() as keeper:
                # renewed: the old key still opens for a while
                fresh = ContactKey(SealingKey(b"n" * 32), SystemClock().utc_ms() + 3600_000)
                ada.contact_keys[:] = [fresh, ada.contact_keys[0]]
                for card in (yesterday, ada.contact):
                    async with open_session(street.client("either"), card, me=RIVER) as seeker:
                        await keeper.accept(await keeper.knocks.receive())
                        await seeker.wait_established()
                # over, with its private half kept for a day: told so
                ada.contact_keys[1] = ContactKey(ada.contact_keys[1].key, SystemClock().utc_ms())
                async with open_session(street.client("late"), yesterday, me=RIVER) as seeker:
                    assert (await rest(seeker))[-1] == Closed("stale")
                # deleted: nobody can read it, and it does not stop the door
                del ada.contact_keys[1]
                before = keeper.unreadable
                async with open_session(street.client("later"), yesterday, me=RIVER) as seeker:
                    await until(seeker, HelloHeld)
                async with open_session(street.client("today"), ada.contact, me=RIVER) as seeker:
                    await keeper.accept(await keeper.knocks.receive())
                    await seeker.wait_established()
                assert before < keeper.unreadable <= before + 2  # the Hello, and that whoever said it has left


async def test_a_resumed_session_says_hello_again_by_itself(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            vault = MemoryVault(SystemClock())
            async with ada.at_the_door() as keeper:
                async with open_session(street.client("river"), ada.contact, me=RIVER, vault=vault) as seeker:
                    supporter = await keeper.accept(await keeper.knocks.receive())
                    await seeker.wait_established()
                    await seeker.send("before")
                    await until(supporter, TextReceived)
                    await supporter.send("signed before")
                    await until(seeker, TextReceived)
                    seeker.detach()
                (kept,) = vault.ids(KIND)
                async with resume_session(street.client("again"), vault, kept) as seeker:
                    assert [line.text for line in seeker.transcript.lines] == ["before", "signed before"]
                    await seeker._do(_lose_step)
                    await until(seeker, OutOfStep)
                    await until(seeker, Joined)  # the loss is made up: until then the old session still works
                    pending = await seeker.send("after")
                    assert (await until(supporter, TextReceived)).text == "after"
                    await until(seeker, MessageState, id=pending, state="delivered")
                    await supporter.send("signed after")
                    assert (await until(seeker, TextReceived, text="signed after")).signed
                    assert len(seeker.evidence) == 2  # what was signed in the session before is kept
                    assert keeper.knocks.statistics().current_buffer_used == 0


def _lose_step(machine: Any, now: int) -> None:
    machine._lose_step("a fork, for a test")


async def test_what_was_told_and_not_read_is_told_again_after_a_restart(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            vault = MemoryVault(SystemClock())
            async with ada.at_the_door() as keeper:
                async with open_session(street.client("river"), ada.contact, me=RIVER, vault=vault) as seeker:
                    supporter = await keeper.accept(await keeper.knocks.receive())
                    await seeker.wait_established()
                    message = await supporter.send("shown by nobody")
                    await until(supporter, MessageState, id=message, state="delivered")
                    seeker.detach()  # the face never asked for it
                (kept,) = vault.ids(KIND)
                async with resume_session(street.client("again"), vault, kept) as seeker:
                    assert (await until(seeker, TextReceived)).again


async def test_who_comes_back_by_a_thread_is_known(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            word = b"w" * 16
            async with ada.at_the_door() as keeper:
                keeper.gate.know(word, "River")
                async with open_session(street.client("river"), ada.contact, me=RIVER, thread=word) as seeker:
                    knock = await keeper.knocks.receive()
                    assert knock.known == "River"
                    supporter = await keeper.accept(knock)
                    await supporter.came_back(word)
                    await until(seeker, ThreadKnown)
                async with open_session(street.client("guess"), ada.contact, me=RIVER, thread=b"x" * 16) as seeker:
                    assert (await keeper.knocks.receive()).known == ""
                keeper.gate.forget("River")
                async with open_session(street.client("late"), ada.contact, me=RIVER, thread=word) as seeker:
                    assert (await keeper.knocks.receive()).known == ""
