"""Signals over real hosts and circuits: two people, a room, an epoch that turns, a node that dies."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import trio

from support.conversations import until
from support.session_nodes import ENTRIES, PATIENCE, a_client, an_ada, some_nodes
from warmline.client.rooms import host_room, join_room
from warmline.client.session import Persona, open_session
from warmline.client.signals import Seen, Signals, open_signals
from warmline_protocol.session.events import TextReceived


async def sees(signals: Signals, member: bytes, **wanted: object) -> Seen:
    """The next change of ``member`` that is as wanted."""
    async for seen in signals:
        if seen.member == member and all(getattr(seen.state, name) == value for name, value in wanted.items()):
            return seen
    raise AssertionError("the signals ended")


async def test_two_people_see_each_other_and_see_it_when_one_leaves(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with some_nodes(tmp_path, 4) as nodes:
            ada = an_ada(nodes, entry=0, door=ENTRIES)
            async with (
                ada.at_the_door() as keeper,
                open_session(a_client(nodes, 1), ada.contact, me=Persona("River", b"r" * 16)) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                here, there = seeker.machine.me.id, supporter.machine.me.id
                async with open_signals(supporter.client, supporter) as adas:
                    async with open_signals(seeker.client, seeker) as rivers:
                        await sees(adas, here, presence="here", typing=False)
                        await sees(rivers, there, presence="here")
                        rivers.set(typing=True)
                        await sees(adas, here, typing=True)
                        await sees(adas, here, typing=False)
                        adas.set(presence="away", mood="tired")
                        await sees(rivers, there, presence="away", mood="tired")
                        adas.set(presence="here", gesture="wave")
                        await sees(rivers, there, gesture="wave")
                        assert rivers.others[there].presence == "here"
                        met = [node for node in nodes if node.signals.statistics().people]
                        assert [node.host.peer_id for node in met] == [seeker._routes[0].node.peer_id]
                        assert met[0].signals.statistics().channels == 1
                    await sees(adas, here, presence="gone")
                    await seeker.aclose()
                    assert [seen async for seen in adas] == [], "signals end with their conversation"


async def test_a_dead_node_takes_the_signals_with_it_and_another_brings_them_back(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with some_nodes(tmp_path, 5) as nodes:
            ada, client = an_ada(nodes, entry=0, door=ENTRIES), a_client(nodes, 1)
            ada.client.settings = client.settings = replace(client.settings, queue_silence=3.0)
            async with (
                ada.at_the_door() as keeper,
                open_session(client, ada.contact, me=Persona("River", b"r" * 16)) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                here = seeker.machine.me.id
                async with (
                    open_signals(supporter.client, supporter) as adas,
                    open_signals(seeker.client, seeker) as rivers,
                ):
                    await sees(adas, here, presence="here")
                    first = seeker.signal_node()
                    next(node for node in nodes if first and node.host.peer_id == first.peer_id).scope.cancel()
                    message = await seeker.send("still there?")
                    assert (await until(supporter, TextReceived)).id == message, "the conversation does not mind"
                    while (moved := seeker.signal_node()) == first or moved != supporter.signal_node():
                        await seeker.wait_change()
                    rivers.set(presence="away")
                    await sees(adas, here, presence="away")


async def test_a_room_signals_through_its_epochs_and_not_to_who_was_removed(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with some_nodes(tmp_path, 4) as nodes, AsyncExitStack() as stack:
            ada = an_ada(nodes, entry=0, door=ENTRIES)
            keeper = await stack.enter_async_context(ada.at_the_door())
            host = await stack.enter_async_context(host_room(ada.client, key=ada.key, me=Persona("Ada", b"a" * 16)))
            hosts = await stack.enter_async_context(open_signals(host.client, host))
            members, signals = [], []
            for entry, name in ((0, "River"), (1, "Moss")):
                client = a_client(nodes, entry)
                member = await stack.enter_async_context(
                    join_room(client, ada.contact, b"L" * 32, me=Persona(name, bytes(16)))
                )
                await host.admit(await keeper.knocks.receive(), keeper)
                await member.wait_established()
                members.append(member)
                signals.append(await stack.enter_async_context(open_signals(client, member)))
                await sees(hosts, member.me, presence="here")
            signals[0].set(seat=3)
            await sees(hosts, members[0].me, seat=3)
            await sees(signals[1], members[0].me, seat=3)
            before = host.machine.epoch
            await host.remove(members[1].me)
            await sees(hosts, members[1].me, presence="gone")
            await sees(signals[0], members[1].me, presence="gone")
            assert host.machine.epoch > before
            signals[0].set(seat=4)
            await sees(hosts, members[0].me, seat=4)
            assert signals[1].others.get(members[0].me) is None or signals[1].others[members[0].me].seat == 3
