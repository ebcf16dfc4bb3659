"""A collector's node that wants to hold up whoever fetches from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from warmline.client.collecting import PART_S, PATIENCE_S, fetch
from warmline_protocol.errors import UnreachableError
from warmline_protocol.feedback.messages import BatchPage, CollectorRead
from warmline_protocol.wire import to_wire


class Trickle:
    """A path and its channel: one byte of many with every answer, as late as an answer may come."""

    max_frame = 1 << 20

    async def __aenter__(self) -> Trickle:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def open_channel(self, protocol: str) -> Trickle:
        return self

    async def send(self, data: bytes, **_: Any) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self, **_: Any) -> bytes:
        await trio.sleep(PART_S - 1)
        return to_wire(BatchPage(b"x", 1 << 20))

    @asynccontextmanager
    async def path(self, purpose: str, node: Any) -> AsyncIterator[Trickle]:
        yield self


async def test_a_file_that_trickles_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    began, paths, nowhere = trio.current_time(), Trickle(), Trickle()
    with pytest.raises(UnreachableError, match="too slowly"):
        await fetch(paths, nowhere, CollectorRead("heard", 1, 0))  # type: ignore[arg-type]
    assert trio.current_time() - began < PATIENCE_S + 3 * PART_S
