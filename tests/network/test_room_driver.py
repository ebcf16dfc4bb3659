"""Rooms over the real queue service on bad days: removal at the node, a lost thread, lost queues of one's own."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from support.conversations import PATIENCE, QUICK, House, Street, a_street, a_supporter, until
from warmline.client.room_joined import JoinedRoom
from warmline.client.rooms import HostedRoom, host_room, join_room
from warmline.client.session import Persona
from warmline.client.session_doors import DoorKeeper
from warmline.services.queues_book import Caller
from warmline_protocol.errors import RefusedError
from warmline_protocol.limits import CELL_SIZE
from warmline_protocol.queue.messages import Append, Cells, Cursor, Read
from warmline_protocol.session.events import Closed, Joined, Left, MessageState, OutOfStep, Rejoined, TextReceived

LISTING = b"L" * 32


class Meeting:
    """A host at her door, and whoever came in."""

    def __init__(self, stack: AsyncExitStack, street: Street, keeper: DoorKeeper, host: HostedRoom) -> None:
        self.stack, self.street, self.keeper, self.host = stack, street, keeper, host

    async def comes(self, contact: object, name: str, **settings: float) -> JoinedRoom:
        client = self.street.client(name, replace(QUICK, **settings))  # type: ignore[arg-type]
        me = Persona(name, name.encode().ljust(16, b"."))
        room = await self.stack.enter_async_context(join_room(client, contact, LISTING, me=me))  # type: ignore[arg-type]
        await self.host.admit(await self.keeper.knocks.receive(), self.keeper)
        await room.wait_established()
        await until(self.host, Joined, name=name)
        return room


async def a_meeting(stack: AsyncExitStack, tmp_path: Path, nodes: int = 4) -> tuple[Meeting, object]:
    street = await stack.enter_async_context(a_street(tmp_path, nodes))
    ada = a_supporter(street)
    keeper = await stack.enter_async_context(ada.at_the_door())
    host = await stack.enter_async_context(host_room(ada.client, key=ada.key, me=Persona("Ada", b"a" * 16)))
    return Meeting(stack, street, keeper, host), ada.contact


def log_house(meeting: Meeting) -> House:
    assert meeting.host._log is not None
    return meeting.street.house(meeting.host._log.node.peer_id)


async def ask(house: House, message: object) -> object:
    return await house.service.answer(message, Caller("entry", bytes(32), house.service.clock.utc_ms()))  # type: ignore[arg-type]


async def test_removal_holds_at_the_node(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            meeting, contact = await a_meeting(stack, tmp_path)
            river = await meeting.comes(contact, "River")
            moss = await meeting.comes(contact, "Moss")
            assert river._log is not None
            queue, keys = river._log.queue, river._keys[river._newest]
            await meeting.host.remove(river.me)
            await until(river, Closed, why="removed")
            await until(moss, Left, name="River", why="removed")
            house = log_house(meeting)
            for fence in (keys.fence, keys.fence + 1):
                with pytest.raises(RefusedError) as refusal:
                    await ask(house, Append(queue, (bytes(CELL_SIZE),), keys.send_key, fence))
                assert refusal.value.code == "fenced"
            await meeting.host.send("between us")
            assert (await until(moss, TextReceived)).text == "between us"
            cursor, last = None, 0
            with pytest.raises(RefusedError) as refusal:
                while True:
                    cells = await ask(house, Read(queue, cursor, None, keys.read_key))
                    assert isinstance(cells, Cells) and cells.cells
                    last = cells.first + len(cells.cells) - 1
                    cursor = Cursor(cells.incarnation, last)
            assert refusal.value.code == "fenced"
            assert last < meeting.host._machine.after  # nothing of what was said since


async def test_a_member_who_lost_the_thread_comes_back_without_being_asked_about(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            meeting, contact = await a_meeting(stack, tmp_path)
            river = await meeting.comes(contact, "River")
            moss = await meeting.comes(contact, "Moss")
            before = river.me
            await river._do(lambda room, now: room.group.refresh())  # a bad disk, a bug: its keys are not the room's
            fern = await meeting.comes(contact, "Fern")
            await until(river, OutOfStep)
            back = await until(moss, Rejoined, name="River")
            assert back.before == before
            await fern.send("welcome back")
            assert (await until(river, TextReceived)).text == "welcome back"
            message = await river.send("thank you")
            await until(river, MessageState, id=message, state="delivered")
            assert (await until(moss, TextReceived, text="thank you")).name == "River"
            with pytest.raises(trio.WouldBlock):
                meeting.keeper.knocks.receive_nowait()
            await meeting.host.remove(river.me)  # whoever was taken out knocks like anybody
            await until(river, Closed, why="removed")


async def test_a_member_whose_own_queues_are_lost_still_hears_that_the_room_moves(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            meeting, contact = await a_meeting(stack, tmp_path, nodes=9)
            river = await meeting.comes(contact, "River", queue_silence=1.0)
            log = log_house(meeting)
            mine = [meeting.street.house(inlet.own.node.peer_id) for inlet in river._inlets]
            lost = [house for house in mine if house is not log]
            for house in lost:
                house.die()
            dead = {house.address.peer_id for house in lost}
            guest = next(iter(meeting.host._machine._guests.values()))
            while any(peer.encode() in reply for reply in guest.replies for peer in dead):
                await river.wait_change()
                await trio.lowlevel.checkpoint()
            log.die()
            message = await meeting.host.send("we have moved")
            assert (await until(river, TextReceived)).text == "we have moved"
            await until(meeting.host, MessageState, id=message, state="delivered")


async def test_a_log_that_came_back_from_a_backup_is_left(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            meeting, contact = await a_meeting(stack, tmp_path, nodes=5)
            river = await meeting.comes(contact, "River")
            before = log_house(meeting)
            await meeting.host._do(lambda room, now: room._log_restarted(now))
            message = await river.send("where are we?")
            assert (await until(meeting.host, TextReceived)).text == "where are we?"
            await until(river, MessageState, id=message, state="delivered")
            assert log_house(meeting) is not before
