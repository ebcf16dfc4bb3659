"""Sessions of two clients over the real queue service: first contact, words both ways, dying nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from support.conversations import PATIENCE, QUICK, Street, a_street, a_supporter, rest, until
from warmline.client.queues import CAPS, QueueClient, Receipt
from warmline.client.session import HelloHeld, Persona, QueueLost, Session, StillWaiting, open_session, to_json
from warmline.client.session_lanes import Client, Inlet, SessionSettings
from warmline.client.vault import MemoryVault
from warmline.env import SystemClock
from warmline_protocol import limits
from warmline_protocol.errors import RefusedError, RemoteError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.messages import QUEUE
from warmline_protocol.session.events import Closed, Joined, Left, MessageState, OutOfStep, TextReceived
from warmline_protocol.session.hello import seal_hello
from warmline_protocol.session.outbox import Entry
from warmline_protocol.session.pair import Pair

RIVER = Persona("River", b"r" * 16)


async def test_hello_accept_and_words_both_ways(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river"), ada.contact, me=RIVER, line="rough week") as seeker,
            ):
                with pytest.raises(UsageError):
                    await seeker.send("too early")
                knock = await keeper.knocks.receive()
                assert (knock.name, knock.line, knock.avatar) == ("River", "rough week", b"r" * 16)
                supporter = await keeper.accept(knock)
                await seeker.wait_established()
                assert seeker.peer_name == "Ada"
                joined = await until(seeker, Joined)
                assert joined.name == "Ada" and joined.host
                assert (await until(supporter, Joined)).name == "River"
                first = await supporter.send("I am here.")
                text = await until(seeker, TextReceived)
                assert (text.text, text.name, text.signed) == ("I am here.", "Ada", True)
                delivered = await until(supporter, MessageState, id=first, state="delivered")
                assert delivered.by == ("River",)
                await seeker.send("thank you")
                assert (await until(supporter, TextReceived)).text == "thank you"
                assert to_json(text)["event"] == "text_received" and to_json(text)["id"] == first.hex()
                await seeker.aclose()
                assert seeker.closed == "left"
                assert isinstance(await until(supporter, Left), Left)
                assert await supporter.wait_closed() == "peer left"
                assert keeper.sessions == []


async def test_declined_busy_and_stale(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with ada.at_the_door() as keeper:
                for why in ("declined", "busy", "stale"):
                    if why == "stale":
                        old = ada.contact_keys[0]
                        ada.contact_keys[0] = type(old)(old.key, 0)
                    async with open_session(street.client(why), ada.contact, me=RIVER) as seeker:
                        if why != "stale":
                            knock = await keeper.knocks.receive()
                            await (keeper.decline(knock) if why == "declined" else keeper.busy(knock))
                        assert (await rest(seeker))[-1] == Closed(why)
                        with pytest.raises(RefusedError):
                            await seeker.wait_established()


async def test_a_door_that_is_gone_is_a_stale_card(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with open_session(street.client("river"), ada.contact, me=RIVER) as seeker:
                assert (await rest(seeker))[-1] == Closed("stale")
            street.houses[-1].die()
            async with open_session(street.client("moss"), ada.contact, me=RIVER) as seeker:
                assert (await rest(seeker))[-1] == Closed("no door")


async def test_somebody_else_answers(tmp_path: Path) -> None:
    """Whoever stole the contact key has still not the key on the card: no name is shown, nothing can be said."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            contact = ada.contact
            ada.key = SigningKey(b"thief".ljust(32))
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river"), contact, me=RIVER) as seeker,
            ):
                await keeper.accept(await keeper.knocks.receive())
                events = await rest(seeker)
                assert events[-1] == Closed("unproven")
                assert not any(isinstance(each, Joined) for each in events)
                assert seeker.peer_name == ""


async def test_the_second_door_and_a_supporter_who_comes_back(tmp_path: Path) -> None:
    settings = SessionSettings(retry_first=0.05, retry_max=0.3, still_waiting=0.5)
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street, doors=2)
            async with ada.at_the_door():
                pass
            async with open_session(street.client("river", settings), ada.contact, me=RIVER) as seeker:
                nodes = {(await until(seeker, HelloHeld)).node}
                await until(seeker, StillWaiting)
                nodes.add((await until(seeker, HelloHeld)).node)
                assert nodes == {each.node.peer_id for each in ada.doors}
                async with ada.at_the_door() as keeper:
                    await keeper.accept(await keeper.knocks.receive())
                    await seeker.wait_established()
                    with trio.move_on_after(0.3):
                        raise AssertionError(f"a second knock: {await keeper.knocks.receive()}")


async def test_an_undecided_hello_survives_the_supporter(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with ada.at_the_door():
                pass
            async with open_session(street.client("river"), ada.contact, me=RIVER) as seeker:
                async with ada.at_the_door() as keeper:
                    assert (await keeper.knocks.receive()).name == "River"
                async with ada.at_the_door() as keeper:
                    await keeper.accept(await keeper.knocks.receive())
                    await seeker.wait_established()
                    keeper.sessions[0]
                async with ada.at_the_door() as keeper:
                    with trio.move_on_after(0.3):
                        raise AssertionError(f"asked again: {await keeper.knocks.receive()}")


async def test_the_node_of_a_queue_dies_and_no_message_is_lost(tmp_path: Path) -> None:
    settings = SessionSettings(retry_first=0.05, retry_max=0.3, goodbye=1.0, second_queue_ms=1_000)
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path, 5) as street:
            ada = a_supporter(street, settings=settings)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river", settings), ada.contact, me=RIVER) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                await seeker.send("0")
                assert (await until(supporter, TextReceived)).text == "0"
                node = supporter._inlets[0].own.node.peer_id
                routes = [each.node.peer_id for each in seeker._routes]
                street.house(routes[0]).die()
                assert node in routes
                sent = [await seeker.send(str(number)) for number in range(1, 6)]
                got = [(await until(supporter, TextReceived)).text for _ in sent]
                assert got == ["1", "2", "3", "4", "5"]
                for message in sent:
                    final = await until(seeker, MessageState, id=message, state="delivered")
                    assert final.by == ("Ada",)
                await supporter.send("still here")
                assert (await until(seeker, TextReceived)).text == "still here"


async def test_a_node_that_restarts_is_found_again(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river"), ada.contact, me=RIVER) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                for round_ in range(3):
                    for house in street.houses:
                        house.die()
                    message = await seeker.send(f"said in the dark {round_}")
                    for house in street.houses:
                        house.wake()
                    assert (await until(supporter, TextReceived)).text == f"said in the dark {round_}"
                    await until(seeker, MessageState, id=message, state="delivered")


async def test_no_more_sessions_than_the_supporter_takes(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door(max_sessions=1) as keeper,
                open_session(street.client("river"), ada.contact, me=RIVER) as one,
                open_session(street.client("moss"), ada.contact, me=Persona("Moss", b"m" * 16)) as two,
            ):
                await keeper.accept(await keeper.knocks.receive())
                second = await keeper.knocks.receive()
                with pytest.raises(UsageError):
                    await keeper.accept(second)
                await keeper.busy(second)
                closed = {one.closed, two.closed}
                with trio.fail_after(10):
                    await (two if second.name == "Moss" else one).wait_closed()
                assert closed <= {"", "busy"}


async def test_rubbish_at_the_door(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with ada.at_the_door() as keeper:
                door = ada.contact.doors[0]
                client = street.client("vandal")
                async with client.paths.path("door", door.node) as path, client.queues_over(path) as queues:
                    for byte in range(5):
                        await queues.append(door.queue, [bytes([byte]) * 4096])
                async with open_session(street.client("river"), ada.contact, me=RIVER) as seeker:
                    await keeper.accept(await keeper.knocks.receive())
                    await seeker.wait_established()
                assert keeper.unreadable == 5


async def test_nobody_gives_a_queue(tmp_path: Path) -> None:
    async with a_street(tmp_path) as street:
        ada = a_supporter(street)
        for house in street.houses:
            house.die()
        async with open_session(street.client("river"), ada.contact, me=RIVER) as seeker:
            assert (await rest(seeker))[-1] == Closed("no queue")


async def test_every_purpose_has_a_path_of_its_own(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            assert isinstance(street, Street)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river", QUICK), ada.contact, me=RIVER) as seeker,
            ):
                await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                purposes = [purpose for purpose, _ in street.opened]
                assert purposes.count("queue") == 4 and purposes.count("door") == 1


async def test_a_queue_that_its_node_lost_is_told(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river"), ada.contact, me=RIVER) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                own = supporter._inlets[0].own
                async with (
                    street.path("test", own.node) as path,
                    supporter.client.queues_over(path) as queues,
                ):
                    await queues.remove(own.queue, own.owner)
                house = street.house(own.node.peer_id)
                house.die()
                house.wake()
                assert (await until(supporter, QueueLost)).node == own.node.peer_id
                await seeker.send("by the other one")
                assert (await until(supporter, TextReceived)).text == "by the other one"


async def lose(street: Street, inlet: Inlet, client: Client) -> None:
    """The node forgets this queue, as after a restore of an old backup."""
    own = inlet.own
    async with street.path("test", own.node) as path, client.queues_over(path) as queues:
        await queues.remove(own.queue, own.owner)
    house = street.house(own.node.peer_id)
    house.die()
    house.wake()


async def test_both_queues_lost_are_replaced_and_nothing_is(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path, 6) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river"), ada.contact, me=RIVER) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                await until(supporter, Joined)
                old = list(supporter._inlets)
                for inlet in old:
                    await lose(street, inlet, supporter.client)
                while set(supporter._inlets) & set(old) or [each.queue for each in seeker._routes] != [
                    each.own.queue for each in supporter._inlets
                ]:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                message = await seeker.send("to the new ones")
                assert (await until(supporter, TextReceived)).text == "to the new ones"
                await until(seeker, MessageState, id=message, state="delivered")


async def test_a_queue_whose_node_stays_away_is_replaced(tmp_path: Path) -> None:
    settings = SessionSettings(retry_first=0.05, retry_max=0.2, goodbye=0.5, queue_silence=0.5)
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path, 6) as street:
            ada = a_supporter(street, settings=settings)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river", settings), ada.contact, me=RIVER) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                dead = seeker._inlets[0].own.node.peer_id
                street.house(dead).die()
                assert (await until(seeker, QueueLost)).node == dead
                with trio.fail_after(PATIENCE):
                    while dead in {each.node.peer_id for each in supporter._routes}:
                        await supporter._next_change()
                await supporter.send("by the new one")
                assert (await until(seeker, TextReceived)).text == "by the new one"


async def test_a_seeker_who_lost_the_thread_says_hello_again_by_itself(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river"), ada.contact, me=RIVER) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                await until(supporter, Joined)
                before = seeker._machine

                def go_astray(machine: Pair, now: int) -> None:
                    machine.group.refresh()  # as a fork does: nothing of this side opens any more
                    machine._lose_step("a test")

                await seeker._do(go_astray)
                lost = await seeker.send("said while astray")
                await until(seeker, OutOfStep)
                assert (await until(supporter, TextReceived)).text == "said while astray"
                await until(seeker, MessageState, id=lost, state="delivered")
                assert seeker._machine is not before and keeper.sessions == [supporter]
                await supporter.send("there you are")
                assert (await until(seeker, TextReceived)).text == "there you are"


async def test_a_second_hello_that_is_rubbish_changes_nothing(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            client = street.client("river")
            async with ada.at_the_door() as keeper, open_session(client, ada.contact, me=RIVER) as seeker:
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                assert seeker._seeking is not None
                knock = seeker._seeking._knock()
                for hello in (
                    replace(knock.hello, key_package=b"\1" * 300),
                    replace(knock.hello, key_package=b"\1" * 300, attempt=b"n" * 16),
                ):
                    door = ada.contact.doors[0]
                    async with client.paths.path("door", door.node) as path, client.queues_over(path) as queues:
                        await queues.append(door.queue, [seal_hello(hello, ada.contact.contact)])
                stranger = await keeper.knocks.receive()
                with pytest.raises(RemoteError):
                    await keeper.accept(stranger)
                await seeker.send("unmoved")
                assert (await until(supporter, TextReceived)).text == "unmoved"
                assert keeper.unreadable == 1


async def test_what_is_held_when_somebody_leaves_stays_held(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with ada.at_the_door() as keeper:
                async with open_session(street.client("river"), ada.contact, me=RIVER) as seeker:
                    supporter = await keeper.accept(await keeper.knocks.receive())
                    await seeker.wait_established()
                    await until(supporter, Joined)
                    supporter.detach()  # nobody reads from here on
                    message = await seeker.send("for later")
                    await until(seeker, MessageState, id=message, state="held")
                words = [each for each in await rest(seeker) if isinstance(each, MessageState)]
                assert (words[-1].state, words[-1].why, words[-1].last) == ("held", "left", True)
                assert words[-1].by and seeker.outgoing == {}


async def test_what_is_just_being_heard_when_a_session_is_put_away_is_told(tmp_path: Path) -> None:
    """It is saved as shown, so it has to be shown."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            vault = MemoryVault(SystemClock())
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river"), ada.contact, me=RIVER, vault=vault) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                await until(supporter, Joined)
                save = seeker._save

                def save_and_detach(machine: Any, outputs: Any) -> None:
                    save(machine, outputs)
                    if any(isinstance(each, TextReceived) for each in machine._shown_last):
                        trio.from_thread.run_sync(seeker.detach)

                seeker._save = save_and_detach  # type: ignore[method-assign]
                take = type(seeker._machine).take

                def take_and_note(machine: Any) -> Any:
                    outputs, news = take(machine)
                    machine._shown_last = news
                    return outputs, news

                seeker._machine.take = take_and_note.__get__(seeker._machine)
                await supporter.send("in the last moment")
                told = await rest(seeker)
                assert [each.text for each in told if isinstance(each, TextReceived)] == ["in the last moment"]
                assert told[-1] == Closed("kept")


async def test_what_is_said_in_one_go_goes_together_and_arrives_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    append = QueueClient.append

    async def counted(self: QueueClient, queue: bytes, cells: Sequence[bytes], **more: Any) -> Receipt:
        sizes.append(len(cells))
        return await append(self, queue, cells, **more)

    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river"), ada.contact, me=RIVER) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                await until(supporter, Joined)
                monkeypatch.setattr(QueueClient, "append", counted)
                texts = [f"{number} " + "x" * (8000 if number % 7 == 0 else 1) for number in range(40)]
                sent = [await seeker.send(text) for text in texts]
                assert [(await until(supporter, TextReceived)).text for _ in texts] == texts
                for message in sent:
                    await until(seeker, MessageState, id=message, state="delivered")
                assert max(sizes) <= limits.QUEUE_CELLS_MAX and max(sizes) > 2


async def test_what_does_not_fit_together_goes_one_by_one(tmp_path: Path) -> None:
    """A queue that has room for some of a group takes those, and no message is told to be where it is not."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river"), ada.contact, me=RIVER) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                await until(supporter, Joined)
                supporter.detach()
                sent = [await seeker.send(str(number)) for number in range(CAPS[QUEUE] + 20)]
                with trio.fail_after(PATIENCE):
                    while any(not each.tries and not each.holders for each in entries_of(seeker)):
                        await trio.testing.wait_all_tasks_blocked(0.01)
                held = [each for each in sent if seeker.outgoing[each] == "held"]
                assert held == sent[: len(held)]
                assert CAPS[QUEUE] - 4 <= len(held) <= CAPS[QUEUE]


def entries_of(session: Session) -> list[Entry]:
    return list(session._machine.outbox.entries.values())
