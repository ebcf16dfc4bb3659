"""A supporter's doors over real hosts and queue nodes: who is expected, what is seen, and when a door is up."""

from __future__ import annotations

from pathlib import Path

import trio

from support.conversations import a_street
from support.session_nodes import ENTRIES, PATIENCE, a_client, an_ada, some_nodes
from warmline.client.session import Persona, Session, open_session
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.session.hello import Knock
from warmline_protocol.session.pair import Pair


async def test_who_was_invited_is_expected_until_the_invitation_ends(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with some_nodes(tmp_path, 4) as nodes:
            ada = an_ada(nodes, entry=0, door=ENTRIES)
            river = a_client(nodes, 1)
            async with ada.at_the_door() as keeper:
                await keeper.wait_doors_up(1)
                assert keeper.doors_up == 1
                now = ada.client.clock.utc_ms()
                keeper.expect(b"invited invited!", now + 3600_000)
                keeper.expect(b"too late too lat", now - 1)
                found = {}
                for attempt in (b"invited invited!", b"too late too lat", None):
                    me = Persona("River", bytes(16))
                    async with open_session(river, ada.contact, me=me, attempt=attempt):
                        knock = await keeper.knocks.receive()
                        found[attempt] = knock.expected
                        await keeper.decline(knock)
                assert found == {b"invited invited!": True, b"too late too lat": False, None: False}


async def test_a_hello_again_for_a_conversation_that_has_just_ended_ends_nothing_else(tmp_path: Path) -> None:
    """Whoever says goodbye and Hello at once would end the program of who let them in."""
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path, 1) as street:
            client = street.client("supporter")
            async with trio.open_nursery() as gone:
                session = Session(client, gone)
                session._over.set()
            knock = Knock(client.provider.candidate(), client.rng.bytes, (b"g0",), name="River", avatar=bytes(16))
            pair = Pair.accept(
                knock.hello,
                client.provider,
                client.rng.bytes,
                client.clock.utc_ms(),
                key=SigningKey(bytes(32)),
                name="Ada",
                avatar=bytes(16),
                queues=(b"h0",),
            )
            await session._meet(pair, (QueueAddress(street.houses[0].address, bytes(16), bytes(32)),))
            assert session.machine is pair
