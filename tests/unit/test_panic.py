"""The panic key: it ends the program in its time, whatever a knock that is taken back runs into."""

from __future__ import annotations

import os
import tty
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from warmline.cli.deeds import PANIC_WITHIN, Deeds
from warmline.cli.joining import rules_accepted, wants_to_follow
from warmline.cli.switchboard import Face as AnyFace
from warmline.cli.switchboard import JsonFace, Switchboard, TerminalFace, Wish
from warmline.cli.terminal import Terminal, is_panic
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

    def erased(self, files: Sequence[str], keyring: bool) -> None:
        self.at.append("erased")

    def end_now(self, status: int = 0) -> NoReturn:
        self.at.append(f"ended after {trio.current_time() - START:.0f}, {status}")
        self.over.set()
        raise Ended


class Knocked(Asking):
    """One whose taking back is what ``runs`` says."""

    def __init__(self, runs: Any) -> None:
        self.runs = runs

    async def take_back(self) -> None:
        await self.runs()


START = 0.0


async def panic(face: Face, runs: Any, cupboard: Any = None) -> list[str]:
    global START
    START = trio.current_time()
    board: Any = SimpleNamespace(face=face, places={1: SimpleNamespace(talk=Knocked(runs))})
    with pytest.RaisesGroup(Ended, allow_unwrapped=True, flatten_subgroups=True):
        await Deeds(board, cupboard).panic()
    return face.at


async def test_it_waits_for_nothing_that_hangs(autojump_clock: trio.testing.MockClock) -> None:
    face = Face()

    async def hangs() -> None:
        with trio.CancelScope(shield=True):
            await face.over.wait()

    assert (await panic(face, hangs))[:2] == ["blank", f"ended after {PANIC_WITHIN:.0f}, 0"]


async def test_what_goes_wrong_ends_it_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    face = Face()

    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("the nursery is closed")

    assert await panic(face, fails) == ["blank", "ended after 0, 0"]


async def test_it_ends_at_once_when_everything_is_taken_back(autojump_clock: trio.testing.MockClock) -> None:
    face = Face()

    async def second() -> None:
        await trio.sleep(1)

    assert await panic(face, second) == ["blank", "ended after 1, 0"]


@pytest.mark.parametrize(("error", "at"), [(None, ["blank", "erased"]), (PermissionError, ["blank"])])
async def test_the_screen_is_empty_before_anything_is_erased_and_stays_so(error: Any, at: list[str]) -> None:
    face = Face()

    def erase() -> Any:
        assert face.at == ["blank"]
        if error is not None:
            raise error
        return SimpleNamespace(files=(), key_in_keyring=False)

    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    said = await panic(face, nothing, SimpleNamespace(erase=erase))
    assert said == [*at, f"ended after 0, {0 if error is None else 1}"]


async def test_it_is_heard_before_there_is_anybody_and_between_two_rooms() -> None:
    face: Any = Face()
    board: Any = SimpleNamespace(face=face, places={})
    early = Deeds(board)
    assert not await early.only_panic(Wish("keep"))
    with pytest.raises(Ended):
        await early.only_panic(Wish("panic"))
    heir: Any = SimpleNamespace(name="Ben", card_id=bytes(32))
    with pytest.raises(Ended):
        await wants_to_follow(face, heir, None)
    assert [each.split()[0] for each in face.at] == ["blank", "ended", "blank", "ended"]


# --- while something else is being done ------------------------------------------------------------------------------


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A pipe instead of the keyboard: the end to write to."""
    out, into = os.pipe()
    with os.fdopen(out, "rb", 0) as reading:
        monkeypatch.setattr("sys.stdin", reading)
        yield into
        with suppress(OSError):
            os.close(into)


async def wished(face: AnyFace) -> list[str]:
    """What a board was asked to do until its person ends it; ``/slow`` is never done."""
    done: list[str] = []

    async def act(wish: Wish) -> bool:
        done.append(wish.verb)
        if wish.verb == "slow":
            await trio.sleep_forever()
        if wish.verb == "panic":
            raise Ended
        return True

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await Switchboard(face, nursery, act).serve()
            nursery.cancel_scope.cancel()
    return done


@pytest.mark.parametrize("program", [False, True])
async def test_it_does_not_wait_for_what_is_being_done(keys: int, program: bool) -> None:
    said = ['{"do": "slow"}', '{"do": "say"}', '{"do": "panic"}'] if program else ["/slow", "words", "/panic"]
    terminal = Terminal(interactive=False)
    os.write(keys, "".join(f"{line}\n" for line in said).encode())
    with pytest.RaisesGroup(Ended, flatten_subgroups=True):
        await wished(JsonFace(terminal) if program else TerminalFace(terminal))


async def test_what_is_typed_meanwhile_is_not_lost(keys: int) -> None:
    os.write(keys, b"/one\n/two\nnot /panic\n/three\n")
    os.close(keys)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            done: list[str] = []

            async def act(wish: Wish) -> bool:
                await trio.testing.wait_all_tasks_blocked()
                done.append(wish.verb)
                return True

            await Switchboard(TerminalFace(Terminal(interactive=False)), nursery, act).serve()
            nursery.cancel_scope.cancel()
    assert done == ["one", "two", "three"]


@pytest.mark.parametrize("typed", [b"/panic\n", b" /panic \nmore\n"])
async def test_it_is_no_answer_to_the_rules(
    keys: int, typed: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    face = TerminalFace(Terminal(interactive=False))
    ended: list[str] = []

    def end_now(status: int = 0) -> NoReturn:
        ended.append(f"now {status}")
        raise Ended

    monkeypatch.setattr(face, "blank", lambda: ended.append("blank"))
    monkeypatch.setattr(face, "end_now", end_now)
    os.write(keys, typed)
    with pytest.raises(Ended):
        await rules_accepted(face, as_json=False, kept=None)
    assert ended == ["blank", "now 0"]


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal: the end that its person types at."""
    typing, side = os.openpty()
    tty.setraw(side)
    with os.fdopen(side, "rb", 0) as reading:
        monkeypatch.setattr("sys.stdin", reading)
        yield typing
    os.close(typing)


async def test_ctrl_d_at_a_question_is_heard_while_a_panic_is_waited_for(
    person: int, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(interactive=True)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(terminal.wait, is_panic)
            await trio.testing.wait_all_tasks_blocked()
            os.write(person, b"\x04")
            assert await terminal.ask("Well?") is None
            nursery.cancel_scope.cancel()
