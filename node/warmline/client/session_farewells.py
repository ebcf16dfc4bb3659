"""Goodbyes that no node took while their session was there: tried again for as long as the program runs.

A session's keys go with it, so what is kept is the sealed goodbye alone, a few cells for each of the other side's
queues. What no node held has been explained as refused by then, and is not sent any more. A room's member says goodbye
in the log, which moves without it when its node is away, so this is for conversations of two.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from warmline.client.session_client import Backoff, Client, Way
from warmline.client.session_conversation import conversing
from warmline.client.session_lanes import GONE
from warmline.client.session_outlets import offer
from warmline_protocol.errors import RefusedError, WarmlineError

log = logging.getLogger("warmline.client")

FAREWELLS_MAX: Final = 32
"""The oldest gives way to the next."""


class Farewells:
    """Obtained from :func:`open_farewells`, and then found as ``client.farewells``."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        self._client = client
        self._nursery = nursery
        self._under_way: list[trio.CancelScope] = []

    @property
    def waiting(self) -> int:
        """How many goodbyes no node has taken yet."""
        return len(self._under_way)

    def keep(self, ways: Sequence[Way]) -> None:
        """Leave a goodbye by one of these ways, whichever works first."""
        if not ways:
            return
        if len(self._under_way) >= FAREWELLS_MAX:
            self._under_way.pop(0).cancel()
        settings = self._client.settings
        scope = trio.CancelScope(deadline=trio.current_time() + settings.queue_life_ms / 1000)
        self._under_way.append(scope)
        self._nursery.start_soon(self._say, list(ways), scope)

    async def _say(self, ways: list[Way], scope: trio.CancelScope) -> None:
        backoff = Backoff(self._client, self._client.settings.farewell_pause)
        with scope:
            while ways:
                await backoff.wait()
                for way in list(ways):
                    if await self._said(way, ways):
                        ways.clear()
                        break
        if scope in self._under_way:
            self._under_way.remove(scope)

    async def _said(self, way: Way, ways: list[Way]) -> bool:
        """Whether the node has it; a queue that is gone is no way any more."""
        address, cells = way
        with trio.move_on_after(3 * self._client.settings.request):
            try:
                await offer(self._client, (address,), cells)
            except RefusedError as error:
                if error.code in GONE:
                    ways.remove(way)
            except WarmlineError as error:
                log.debug("a goodbye could not be left: %s", type(error).__name__)
            else:
                return True
        return False


@asynccontextmanager
async def open_farewells(client: Client) -> AsyncIterator[None]:
    """Goodbyes of this client's sessions are tried again for the length of the block, also after the sessions."""
    if client.farewells is not None:
        yield  # somebody further out sees to it
        return
    async with conversing() as nursery:
        client.farewells = Farewells(client, nursery)
        try:
            yield
        finally:
            client.farewells = None
