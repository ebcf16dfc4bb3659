"""The panic key: it ends the program in its time, whatever a knock that is taken back runs into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from warmline.cli.deeds import PANIC_WITHIN, Deeds
from warmline.cli.joining import wants_to_follow
from warmline.cli.switchboard import Wish
from warmline.client.session_seeking import Asking


class Ended(BaseException):
    """In the place of the process's end."""


class Face:
    def __init__(self) -> None:
        self.at: list[str] = []
        self.over = trio.Event()

    def note(self, *_: Any, **__: Any) -> None: ...

    async def wishes(self) -> AsyncIterator[Wish]:
        yield Wish("panic")

    def blank(self) -> None:
        self.at.append("blank")

    def end_now(self) -> NoReturn:
        self.at.append(f"ended after {trio.current_time() - START:.0f}")
        self.over.set()
        raise Ended


class Knocked(Asking):
    """One whose taking back is what ``runs`` says."""

    def __init__(self, runs: Any) -> None:
        self.runs = runs

    async def take_back(self) -> None:
        await self.runs()


START = 0.0


async def panic(face: Face, runs: Any) -> list[str]:
    global START
    START = trio.current_time()
    board: Any = SimpleNamespace(face=face, places={1: SimpleNamespace(talk=Knocked(runs))})
    with pytest.raises(Ended):
        await Deeds(board).panic()
    return face.at


async def test_it_waits_for_nothing_that_hangs(autojump_clock: trio.testing.MockClock) -> None:
    face = Face()

    async def hangs() -> None:
        with trio.CancelScope(shield=True):
            await face.over.wait()

    assert (await panic(face, hangs))[:2] == ["blank", f"ended after {PANIC_WITHIN:.0f}"]


async def test_what_goes_wrong_ends_it_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    face = Face()

    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("the nursery is closed")

    assert await panic(face, fails) == ["blank", "ended after 0"]


async def test_it_ends_at_once_when_everything_is_taken_back(autojump_clock: trio.testing.MockClock) -> None:
    face = Face()

    async def second() -> None:
        await trio.sleep(1)

    assert await panic(face, second) == ["blank", "ended after 1"]


async def test_it_is_heard_before_there_is_anybody_and_between_two_rooms() -> None:
    face: Any = Face()
    board: Any = SimpleNamespace(face=face, places={})
    early = Deeds(board)
    assert not await early.only_panic(Wish("keep"))
    with pytest.raises(Ended):
        await early.only_panic(Wish("panic"))
    heir: Any = SimpleNamespace(name="Ben", card_id=bytes(32))
    with pytest.raises(Ended):
        await wants_to_follow(face, heir)
    assert [each.split()[0] for each in face.at] == ["blank", "ended", "blank", "ended"]
