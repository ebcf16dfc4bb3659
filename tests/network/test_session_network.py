"""Two people over real hosts, relays, circuits and queue nodes, each client behind an entry of its own choice."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import trio

from support.conversations import until
from support.session_nodes import ENTRIES, PATIENCE, a_client, an_ada, some_nodes
from warmline.client.rooms import host_room, join_room
from warmline.client.session import Persona, open_session
from warmline_protocol.session.events import Closed, Left, MessageState, TextReceived


async def test_a_session_through_entries_with_a_queue_node_killed_in_the_middle(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with some_nodes(tmp_path, 6) as nodes:
            ada = an_ada(nodes, entry=0, door=ENTRIES)
            async with (
                ada.at_the_door() as keeper,
                open_session(a_client(nodes, 1), ada.contact, me=Persona("River", b"r" * 16)) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                await seeker.send("hello")
                assert (await until(supporter, TextReceived)).text == "hello"
                await supporter.send("hello, River")
                assert (await until(seeker, TextReceived)).signed
                first = seeker._routes[0].node.peer_id
                next(each for each in nodes if each.host.peer_id == first).scope.cancel()
                sent = [await seeker.send(f"after {number}") for number in range(4)]
                got = [(await until(supporter, TextReceived)).text for _ in sent]
                assert got == [f"after {number}" for number in range(4)]
                for message in sent:
                    await until(seeker, MessageState, id=message, state="delivered")
                await seeker.aclose()
                await until(supporter, Left)


async def test_a_room_of_three_through_entries(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with some_nodes(tmp_path, 5) as nodes, AsyncExitStack() as stack:
            ada = an_ada(nodes, entry=0, door=ENTRIES)
            keeper = await stack.enter_async_context(ada.at_the_door())
            host = await stack.enter_async_context(host_room(ada.client, key=ada.key, me=Persona("Ada", b"a" * 16)))
            members = []
            for entry, name in ((0, "River"), (1, "Moss")):
                member = await stack.enter_async_context(
                    join_room(a_client(nodes, entry), ada.contact, b"L" * 32, me=Persona(name, bytes(16)))
                )
                await host.admit(await keeper.knocks.receive(), keeper)
                await member.wait_established()
                members.append(member)
            message = await host.send("welcome")
            for member in members:
                assert (await until(member, TextReceived)).text == "welcome"
            await until(host, MessageState, id=message, state="delivered")
            await members[1].send("thank you")
            for person in (host, members[0]):
                assert (await until(person, TextReceived)).text == "thank you"
            await host.aclose("closed")
            for member in members:
                assert (await until(member, Closed)).why == "host gone"
