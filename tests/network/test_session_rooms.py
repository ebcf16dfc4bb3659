"""Rooms over the real queue service: joining, talking, leaving, removal, a log whose node dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from support.conversations import PATIENCE, Street, Supporter, a_street, a_supporter, rest, until
from support.records import card
from warmline.client.rooms import HostedRoom, JoinedRoom, host_room, join_room
from warmline.client.session import Contact, Persona
from warmline.client.session_doors import DoorKeeper
from warmline_protocol.errors import UsageError
from warmline_protocol.session.events import Closed, Joined, Left, MessageState, TextReceived

NAMES = ["River", "Moss", "Fern", "Wren"]
LISTING = b"L" * 32


@dataclass
class Meeting:
    street: Street
    ada: Supporter
    keeper: DoorKeeper
    host: HostedRoom
    members: list[JoinedRoom]


async def admit_all(keeper: DoorKeeper, room: HostedRoom) -> None:
    async for knock in keeper.knocks:
        assert knock.listing == LISTING
        await room.admit(knock, keeper)


@asynccontextmanager
async def a_meeting(tmp_path: Path, names: list[str], nodes: int = 4) -> AsyncIterator[Meeting]:
    async with AsyncExitStack() as stack:
        street = await stack.enter_async_context(a_street(tmp_path, nodes))
        ada = a_supporter(street)
        keeper = await stack.enter_async_context(ada.at_the_door())
        host = await stack.enter_async_context(host_room(ada.client, key=ada.key, me=Persona("Ada", b"a" * 16)))
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(admit_all, keeper, host)
        meeting = Meeting(street, ada, keeper, host, [])
        for name in names:
            await comes_in(stack, meeting, name)
        yield meeting
        nursery.cancel_scope.cancel()


async def comes_in(stack: AsyncExitStack, meeting: Meeting, name: str) -> JoinedRoom:
    me = Persona(name, name.encode().ljust(16, b"."))
    room = await stack.enter_async_context(join_room(meeting.street.client(name), meeting.ada.contact, LISTING, me=me))
    await room.wait_established()
    await until(meeting.host, Joined, name=name)
    meeting.members.append(room)
    return room


async def test_five_people_talk(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_meeting(tmp_path, NAMES) as meeting:
            message = await meeting.host.send("welcome, all")
            for member in meeting.members:
                text = await until(member, TextReceived)
                assert (text.text, text.name, text.signed) == ("welcome, all", "Ada", True)
            delivered = await until(meeting.host, MessageState, id=message, state="delivered")
            assert delivered.by[0] in NAMES
            for name, member in zip(NAMES, meeting.members, strict=True):
                await member.send(f"I am {name}")
            everybody = [meeting.host, *meeting.members]
            heard = [[] for _ in everybody]
            for index, person in enumerate(everybody):
                for _ in range(4 if index == 0 else 3):
                    heard[index].append((await until(person, TextReceived)).text)
            assert sorted(heard[0]) == sorted(f"I am {name}" for name in NAMES)
            for mine in heard[1:]:
                assert [each for each in heard[0] if each in mine] == mine
            assert {name for name, _ in meeting.members[0].people.values()} == {"Ada", *NAMES}


async def test_leaving_and_removal(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_meeting(tmp_path, NAMES[:3]) as meeting:
            river, moss, fern = meeting.members
            await river.aclose()
            assert (await until(fern, Left)).name == "River"
            await meeting.host.remove(moss.me)
            assert (await rest(moss))[-1] == Closed("removed")
            assert (await until(fern, Left)).why == "removed"
            message = await meeting.host.send("just us")
            assert (await until(fern, TextReceived)).text == "just us"
            await until(meeting.host, MessageState, id=message, state="delivered")
            with pytest.raises(UsageError):
                await moss.send("let me back")


async def test_the_host_ends_the_room(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_meeting(tmp_path, NAMES[:2]) as meeting:
            await meeting.host.aclose("closed")
            for member in meeting.members:
                assert (await rest(member))[-1] == Closed("host gone")


async def test_the_log_dies_and_the_room_moves(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_meeting(tmp_path, NAMES[:2], nodes=6) as meeting:
            river, moss = meeting.members
            assert meeting.host._log is not None
            meeting.street.house(meeting.host._log.node.peer_id).die()
            mine = await river.send("said while the log was dead")
            theirs = await meeting.host.send("and so was this")
            assert (await until(moss, TextReceived, text="said while the log was dead")).name == "River"
            assert (await until(meeting.host, TextReceived)).text == "said while the log was dead"
            await until(river, MessageState, id=mine, state="delivered")
            await until(meeting.host, MessageState, id=theirs, state="delivered")
            async with AsyncExitStack() as stack:
                late = await comes_in(stack, meeting, "Late")
                await meeting.host.send("hello, Late")
                assert (await until(late, TextReceived)).text == "hello, Late"


async def test_a_room_is_found_when_the_node_of_its_listings_door_is_away(tmp_path: Path) -> None:
    """A listing names one door. Where the room's log was on the same node, nobody came in any more."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street, doors=2)
            doors = tuple(each.door for each in ada.doors)
            ana = card(ada.key.public, doors=doors)
            ana = replace(ana, contact=replace(ana.contact, public=ada.contact.contact))
            contact = Contact.at_door(ana, ada.key.public, doors[0].node, doors[0].door)
            async with (
                ada.at_the_door() as keeper,
                host_room(ada.client, key=ada.key, me=Persona("Ada", b"a" * 16)) as host,
            ):
                street.house(doors[0].node.peer_id).die()
                async with join_room(street.client("Late"), contact, LISTING, me=Persona("Late", bytes(16))) as late:
                    await host.admit(await keeper.knocks.receive(), keeper)
                    await late.wait_established()
