"""Runs a lookup: queries out through ``ask``, answers and deadlines back in.

The same for a node, which asks directly, and for a client, which asks over circuits through its entry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from warmline.net.streams import Channel
from warmline_protocol.errors import RemoteError, WorldError
from warmline_protocol.kad import KadMessage, decode_kad, encode_kad
from warmline_protocol.lookup import Contact, Found, Lookup

Ask = Callable[[Contact, KadMessage], Awaitable[KadMessage]]
"""Sends one message to a contact and returns its answer; raises a remote or a world error where there is none."""


async def drive(
    lookup: Lookup, ask: Ask, *, query_seconds: float, seconds: float, told: Callable[[Found], None] | None = None
) -> Found:
    """Run ``lookup`` to its end, at most ``seconds`` long; what is known by then is the result.

    ``told`` gets what is known after each answer.
    """
    wake = trio.Event()

    async def one(contact: Contact, message: KadMessage) -> None:
        answer = await ask_in_time(ask, contact, message, query_seconds)
        if answer is None:
            lookup.on_failure(contact.peer_id)
        else:
            lookup.on_response(contact.peer_id, answer)
            if told is not None:
                told(lookup.found)
        wake.set()

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            while not lookup.done:
                wake = trio.Event()
                for query in lookup.next_queries():
                    nursery.start_soon(one, query.contact, query.message)
                await wake.wait()
            nursery.cancel_scope.cancel()
    return lookup.found


async def ask_in_time(ask: Ask, contact: Contact, message: KadMessage, seconds: float) -> KadMessage | None:
    """The answer, or None for a peer that fails in any way of its own or the network's."""
    with trio.move_on_after(seconds):
        try:
            return await ask(contact, message)
        except (RemoteError, WorldError):
            return None
    return None


async def exchange(channel: Channel, message: KadMessage, *, deadline: float) -> KadMessage:
    """One question and its answer on a fresh kad channel, which is closed after."""
    try:
        await channel.send(encode_kad(message), deadline=deadline)
        return decode_kad(await channel.receive(deadline=deadline))
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(2):
            await channel.abort()
