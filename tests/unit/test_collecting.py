"""A collector's node that wants to hold up whoever fetches from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from warmline.client.collecting import PART_S, PATIENCE_S, fetch
from warmline.client.collector import CollectorDuty
from warmline_protocol.errors import UnreachableError
from warmline_protocol.feedback.messages import BatchPage, BatchRead, CollectorRead
from warmline_protocol.wire import to_wire


class Trickle:
    """A path and its channel: one byte of many with every answer, as late as an answer may come."""

    max_frame = 1 << 20

    def __init__(self, size: int = 1 << 20, part: bytes = b"x") -> None:
        self.size, self.part = size, part
        self.answered = 0

    async def __aenter__(self) -> Trickle:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def open_channel(self, protocol: str) -> Trickle:
        return self

    async def send(self, data: bytes, **_: Any) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self, **_: Any) -> bytes:
        await trio.sleep(PART_S - 1)
        self.answered += 1
        return to_wire(BatchPage(self.part, self.size))

    @asynccontextmanager
    async def path(self, purpose: str, node: Any) -> AsyncIterator[Trickle]:
        yield self


async def test_a_file_that_trickles_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    began, paths, nowhere = trio.current_time(), Trickle(), Trickle()
    with pytest.raises(UnreachableError, match="too slowly"):
        await fetch(paths, nowhere, CollectorRead("set", 1, 0), 1000)  # type: ignore[arg-type]
    assert trio.current_time() - began < PATIENCE_S + 3 * PART_S


KINDS = [
    (CollectorRead("announcement", 1, 0), 0, 4096),
    (CollectorRead("vote", 1, 0), 0, 4096),
    (CollectorRead("heard", 1, 0), 0, 32 * 4096),
    (CollectorRead("set", 1, 0, bytes(20)), 9, 10 * 4096),
    (CollectorRead("passed", 1, 0, bytes(20), bytes(20)), 9, 10 * 4096),
    (CollectorRead("set", 1, 0, bytes(20)), 1 << 50, 64 << 20),
    (BatchRead(bytes(32), 0), 20, 21 * 4096),
]


@pytest.mark.parametrize(("question", "count", "most"), KINDS)
async def test_what_is_larger_than_its_kind_can_be_is_not_waited_for(
    question: CollectorRead | BatchRead, count: int, most: int, autojump_clock: trio.testing.MockClock
) -> None:
    paths: Any = Trickle(most + 1)
    with pytest.raises(UnreachableError, match="nothing whole"):
        await fetch(paths, paths, question, count)
    assert paths.answered == 1
    whole: Any = Trickle(60 * 1024, bytes(60 * 1024)) if most > 60 * 1024 else Trickle(most, bytes(most))
    assert len(await fetch(whole, whole, question, count)) == whole.size


async def test_what_is_pending_is_looked_at_before_others_can_hold_up_the_step() -> None:
    duty, done = object.__new__(CollectorDuty), list[str]()
    for name in ("_look", "_settle", "_open", "_announce_self", "_gather", "_conclude", "_watch", "_tidy"):

        async def part(name: str = name) -> None:  # noqa: ASYNC124 - as the real one
            done.append(name)

        setattr(duty, name, part)
    await duty.step()
    assert done[:3] == ["_look", "_settle", "_watch"]
    assert len(done) == 8
