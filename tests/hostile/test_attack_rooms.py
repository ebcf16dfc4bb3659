"""Attacks on rooms: a log node that lies, and members who pass for others."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from support.conversations import PATIENCE, Street, a_street, a_supporter, until
from support.rooms import House, Person, a_house
from warmline.client.rooms import JoinedRoom, host_room, join_room
from warmline.client.session import Persona
from warmline.services.queues_book import Caller
from warmline_protocol.errors import RefusedError
from warmline_protocol.limits import CELL_SIZE
from warmline_protocol.queue.messages import Append as AppendCells
from warmline_protocol.session.events import Append, Joined, MessageState, TextReceived
from warmline_protocol.session.messages import Person as Named


def receipt_and_drop(house: House, person: Person) -> None:
    """The log's node says that it is on its disk, and shows it to nobody."""
    output = next(each for each in person.todo if isinstance(each, Append))
    person.todo.remove(output)
    person.machine.receipted(output.token, "log node", house.log.incarnation, house.log.log.head, house.now)
    person.commit()


def test_a_receipt_alone_delivers_nothing() -> None:
    """Before, the host's next sign of having read was taken for this message too: it was called delivered."""
    house = a_house("River", "Moss")
    river = house.members[0]
    message = house.say(river, "can anybody hear me")
    receipt_and_drop(house, river)
    assert river.states(message)[-1] == "held"
    house.say(house.host, "hello all")
    for _ in range(3):
        for person in house.everyone:
            while person.todo and not (person is river and isinstance(person.todo[0], Append)):
                house.perform(person)
            house.fetch(person)
    assert "can anybody hear me" not in house.host.texts
    assert "delivered" not in river.states(message)
    house.settle()
    assert house.host.texts.count("can anybody hear me") == 1
    assert river.states(message)[-1] == "delivered"


def test_what_was_dropped_is_offered_again_after_a_crash() -> None:
    house = a_house("River")
    (river,) = house.members
    message = house.say(river, "still here")
    receipt_and_drop(house, river)
    river.crash(house.now)
    house.say(house.host, "hello")
    house.settle()
    assert house.host.texts == ["still here"]
    assert river.states(message)[-1] == "delivered"


def test_nobody_passes_for_the_host_or_for_another() -> None:
    house = a_house("River", "ADA", "river ", "\N{FULLWIDTH LATIN CAPITAL LETTER A}da")
    seen = {each.name for each in house.host.events if isinstance(each, Joined)}
    assert seen == {"River", "ADA 2", "river 2", "\N{FULLWIDTH LATIN CAPITAL LETTER A}da 3"}
    for person in house.everyone:
        names = [entry.name.casefold().replace(" ", "") for entry in person.machine.people.values()]
        mine = person.machine.name_of(person.machine.me.id).casefold().replace(" ", "")
        others = [name for name in names if name != mine]
        assert len(set(others)) == len(others)
        hosts = [each for each in person.events if isinstance(each, Joined) and each.host]
        assert all(each.name == "Ada" for each in hosts)


def test_a_long_name_keeps_its_number() -> None:
    room = a_house("River").room
    room.people[b"m" * 16] = Named(b"m" * 16, "x" * 64, bytes(16))
    assert room._distinct("x" * 64, b"n" * 16) == "x" * 62 + " 2"


# --- a member who fills the log --------------------------------------------------------------------------------------


async def fill(street: Street, member: JoinedRoom) -> None:
    """Rubbish under the member's own key until the log takes nothing more."""
    assert member._log is not None
    house, keys = street.house(member._log.node.peer_id), member._keys[member._newest]
    for size in (16, 1):
        cells = (bytes(CELL_SIZE),) * size
        append = AppendCells(member._log.queue, cells, keys.send_key, keys.fence)
        with pytest.raises(RefusedError, match="holds"):
            while True:
                await house.service.answer(append, Caller("entry", bytes(32), house.service.clock.utc_ms()))


async def test_a_member_who_fills_the_log_does_not_end_the_room(tmp_path: Path) -> None:
    """Nothing leaves a log before it expires: before, nobody could say anything any more, whoever was removed."""
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            street = await stack.enter_async_context(a_street(tmp_path, 5))
            ada = a_supporter(street)
            keeper = await stack.enter_async_context(ada.at_the_door())
            host = await stack.enter_async_context(host_room(ada.client, key=ada.key, me=Persona("Ada", b"a" * 16)))
            people = []
            for name in ("River", "Mallory"):
                me = Persona(name, name.encode().ljust(16, b"."))
                joining = join_room(street.client(name), ada.contact, b"L" * 32, me=me)
                room = await stack.enter_async_context(joining)
                await host.admit(await keeper.knocks.receive(), keeper)
                await room.wait_established()
                await until(host, Joined, name=name)
                people.append(room)
            river, mallory = people
            await fill(street, mallory)
            mine = await river.send("help")
            theirs = await host.send("stay calm")
            assert (await until(host, TextReceived)).text == "help"
            assert (await until(river, TextReceived)).text == "stay calm"
            await until(river, MessageState, id=mine, state="delivered")
            await until(host, MessageState, id=theirs, state="delivered")
