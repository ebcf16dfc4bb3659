"""Who is at the door, as a supporter's program keeps them by number."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio

from warmline.cli.duty_door import AtDoor
from warmline.client.session_leavers import Leavers


class Lane:
    def decided(self, seq: int) -> None: ...


async def test_who_leaves_while_they_are_let_in_takes_nobody_with_them() -> None:
    told: list[str] = []
    async with trio.open_nursery() as nursery:
        lane: Any = Lane()
        leavers = Leavers(nursery)
        told_left = trio.Event()
        say, knocks = trio.open_memory_channel[Any](1)
        knock: Any = SimpleNamespace(
            attempt=b"a" * 16,
            hello=SimpleNamespace(peer=None),
            expected=True,
            name="River",
            line="",
            _lane=lane,
            _seq=1,
        )
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
