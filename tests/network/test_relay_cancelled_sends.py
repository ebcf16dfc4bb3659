"""Many circuits share one connection, so what one of their users gives up must not cost the others anything."""

from __future__ import annotations

import trio

from support.hosts import ECHO, ECHO_FRAME, PATIENCE, a_host, echo


async def test_a_cancelled_send_leaves_the_other_streams_of_its_connection_alone() -> None:
    """With the library's muxer the connection dies within the first few rounds."""
    async with a_host() as node, a_host(listen=()) as client:
        node.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=64)
        await client.connect(node.addrs()[0])
        steady = await client.open_channel(node.peer_id, ECHO, max_frame=ECHO_FRAME)
        with trio.fail_after(PATIENCE):
            for turns in range(120):
                given_up = await client.open_channel(node.peer_id, ECHO, max_frame=ECHO_FRAME)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(given_up.send, b"x" * 200)
                    for _ in range(turns % 20):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                await given_up.abort()
                await steady.send(b"still here")
                assert await steady.receive() == b"still here"
