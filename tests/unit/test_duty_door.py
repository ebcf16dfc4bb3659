"""Who is at the door, as a supporter's program keeps them by number."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from warmline.cli.duty_door import AtDoor
from warmline.client.session_leavers import STAYS, Leavers
from warmline_protocol.errors import UsageError


class Lane:
    def __init__(self) -> None:
        self.done: list[int] = []

    def decided(self, seq: int) -> None:
        self.done.append(seq)


def a_knock(lane: Lane, seq: int, *, expected: bool = False) -> Any:
    return SimpleNamespace(
        attempt=b"a" * 16,
        hello=SimpleNamespace(peer=None),
        expected=expected,
        known=False,
        name="River",
        line="",
        listing=b"",
        _lane=lane,
        _seq=seq,
    )


async def test_who_leaves_while_they_are_let_in_takes_nobody_with_them() -> None:
    told: list[str] = []
    async with trio.open_nursery() as nursery:
        lane = Lane()
        leavers = Leavers(nursery)
        told_left = trio.Event()
        say, knocks = trio.open_memory_channel[Any](1)
        knock = a_knock(lane, 1, expected=True)
        leavers.waits(knock)

        async def let_in(_: Any) -> bool:
            leavers.left(lane, 2, knock.attempt)
            await told_left.wait()
            return True

        def note(text: str, *_: Any, **__: Any) -> None:
            told.append(text)
            if "they have left" in text:
                told_left.set()

        face: Any = SimpleNamespace(note=note, call=lambda: None)
        duty: Any = SimpleNamespace(
            knocks=knocks,
            keeper=SimpleNamespace(leavers=leavers),
            supporting=SimpleNamespace(let_in_invited=let_in),
        )
        door = AtDoor(duty, face, hidden=False)
        door.board = SimpleNamespace()  # type: ignore[assignment]
        nursery.start_soon(door.listen_left)
        await say.send(knock)
        await say.aclose()
        with trio.fail_after(60):
            await door.listen()
        nursery.cancel_scope.cancel()
    assert told[-1].startswith("1: River comes in")


async def test_who_says_hello_again_without_end_rings_once_and_fills_the_door(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lane = Lane()
    rung: list[str] = []
    face: Any = SimpleNamespace(note=lambda *_, **__: None, call=lambda: rung.append("ring"))
    async with trio.open_nursery() as nursery:
        leavers = Leavers(nursery)
        say, knocks = trio.open_memory_channel[Any](100)
        duty: Any = SimpleNamespace(knocks=knocks, keeper=SimpleNamespace(leavers=leavers), title_of=lambda _: "")
        for seq in range(100):
            knock = a_knock(lane, seq)
            leavers.waits(knock)
            say.send_nowait(knock)
        say.close()
        await AtDoor(duty, face, hidden=False).listen()
        assert rung == ["ring"]
        assert len(lane.done) <= 20
        await trio.sleep(STAYS + 1)
        assert sorted(lane.done) == list(range(99))


async def test_a_room_that_nobody_came_into_yet_is_on_the_board_with_its_first_guest() -> None:
    room: Any = SimpleNamespace()
    lane = Lane()
    added: list[Any] = []
    answers = iter([UsageError("they have left", hint=""), None, None])

    async def let_in(_: Any) -> Any:
        if (error := next(answers)) is not None:
            raise error
        return SimpleNamespace(talk=room, name="Evenings", room=True)

    async def invited(_: Any) -> bool:
        return False

    def add(talk: Any, name: str, *, room: bool) -> None:
        added.append(name)
        board.places[1] = SimpleNamespace(talk=talk)

    board: Any = SimpleNamespace(places={}, add=add)
    duty: Any = SimpleNamespace(let_in=let_in, supporting=SimpleNamespace(let_in_invited=invited))
    door = AtDoor(duty, SimpleNamespace(), hidden=False)  # type: ignore[arg-type]
    door.board = board
    with pytest.raises(UsageError):
        await door._let_in(a_knock(lane, 1))
    assert added == []
    for seq in (2, 3):
        await door._let_in(a_knock(lane, seq))
    assert added == ["Evenings"]
