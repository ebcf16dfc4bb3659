"""Programs of this demo: started in sessions of their own, heard line by line, ended whatever happens.

A session of its own keeps a terminal's Ctrl-C for the demo alone, which then ends everybody in order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from warmline.demo.sockets import Watch
from warmline_protocol.errors import WorldError

TERM_SECONDS = 8.0
"""A program that has not ended this long after SIGTERM is killed."""
Says = Callable[[dict[str, Any]], bool]


class StepFailedError(WorldError):
    """A step of the story did not come to its end."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One JSON line that a program printed; ``at`` is ``trio.current_time()``."""

    at: float
    data: dict[str, Any]


@dataclass(slots=True, eq=False)
class Program:
    """A running program. Obtained from :class:`Fleet`."""

    name: str
    process: trio.Process
    started: float
    out_file: Path
    err_file: Path
    heard: list[Heard] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    ended: trio.Event = field(default_factory=trio.Event)
    dismissed: bool = False
    """Whether the demo itself ended it."""
    company: list[Program] = field(default_factory=list)
    """All programs that are to last: when one of them fails, whoever waits for another one is told at once."""
    _changed: trio.Event = field(default_factory=trio.Event)
    _turn: trio.Lock = field(default_factory=trio.Lock)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return not self.ended.is_set()

    def complaint(self) -> str:
        """The last lines of its standard error."""
        lines = self.err_file.read_text("utf-8", "replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:]) or "it said nothing"

    def change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def do(self, verb: str, **wish: str) -> None:
        """Write one wish to a program that speaks JSON lines."""
        assert self.process.stdin is not None
        try:
            with trio.fail_after(5):
                async with self._turn:
                    await self.process.stdin.send_all(json.dumps({"do": verb, **wish}).encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            raise self.failure(f"did not take the wish {verb!r}") from None

    async def wait_for(self, says: str | Says, *, within: float, after: int = 0) -> Heard:
        """The first line from number ``after`` on that is the event ``says``, or of which ``says(line)`` is true."""
        found = _event(says) if isinstance(says, str) else says
        wanted = says if isinstance(says, str) else "the next event"
        with trio.move_on_after(within):
            while True:
                for heard in self.heard[after:]:
                    if found(heard.data):
                        return heard
                after = len(self.heard)
                self._check_company(wanted)
                await self._changed.wait()
        raise self.failure(f"did not say {wanted!r} within {within:g} s")

    async def wait_line(self, words: str, *, within: float) -> str:
        """The first plain line with ``words`` in it."""
        with trio.move_on_after(within):
            while True:
                for line in self.text:
                    if words in line:
                        return line
                self._check_company(words)
                await self._changed.wait()
        raise self.failure(f"did not say {words!r} within {within:g} s")

    def _check_company(self, wanted: str) -> None:
        for program in [self, *self.company]:
            failed = program is self or (program.process.returncode and not program.dismissed)
            if not program.running and failed:
                raise program.failure(f"ended (code {program.process.returncode}) before {wanted!r}")

    def failure(self, what: str) -> StepFailedError:
        return StepFailedError(f"{self.name} {what}: {self.complaint()}", hint=f"Its log is {self.err_file}.")

    async def end(self) -> None:
        """SIGTERM, then SIGKILL."""
        self.dismissed = True
        if self.running:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            with trio.move_on_after(TERM_SECONDS):
                await self.ended.wait()
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL at once: what a power cut looks like."""
        self.dismissed = True
        if self.running:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.ended.wait()


def _event(name: str) -> Says:
    return lambda data: data.get("event") == name


def command_line() -> list[str]:
    """How to start `warmline` as a person would, with this very installation."""
    script = Path(sys.executable).with_name("warmline")
    if script.exists():
        return [sys.executable, str(script)]
    return [sys.executable, "-c", "from warmline.cli import main; main()"]


class Fleet:
    """Everything that runs. Obtained from :func:`open_fleet`."""

    def __init__(self, logs: Path, nursery: trio.Nursery) -> None:
        self.logs = logs
        self.programs: list[Program] = []
        self.lasting: list[Program] = []
        self.watch = Watch()
        self._nursery = nursery
        self._command = command_line()

    async def start(self, name: str, *words: str, home: Path, secret: str = "", talks: bool = False) -> Program:
        """Start `warmline WORDS…` for the party whose ``home`` is given, to last; ``talks``: it reads JSON lines."""
        program = await self._start(name, *words, home=home, secret=secret, talks=talks)
        self.lasting.append(program)
        return program

    async def _start(self, name: str, *words: str, home: Path, secret: str, talks: bool) -> Program:
        out_file, err_file = self.logs / f"{name}.out", self.logs / f"{name}.err"
        words, descriptors = _with_secret(words, secret)
        await trio.Path(home).mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with err_file.open("ab") as errors:
                process = await trio.lowlevel.open_process(
                    [*self._command, *words],
                    stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=home,
                    env=_environment(home),
                    pass_fds=descriptors,
                    start_new_session=True,
                )
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        program = Program(name, process, trio.current_time(), out_file, err_file, company=self.lasting)
        self.programs.append(program)
        self.watch.add(home.name, program)
        self._nursery.start_soon(_listen, program)
        return program

    async def run(self, name: str, *words: str, home: Path, secret: str = "", within: float = 60.0) -> Any:
        """Run a command to its end: what it printed as JSON."""
        program = await self._start(name, *words, home=home, secret=secret, talks=False)
        try:
            with trio.move_on_after(within) as scope:
                await program.ended.wait()
        finally:
            if program.running:
                with trio.CancelScope(shield=True):
                    await program.kill()
        if scope.cancelled_caught:
            raise program.failure(f"took more than {within:g} s")
        if program.process.returncode:
            raise program.failure(f"failed with code {program.process.returncode}")
        return json.loads("\n".join(program.text))

    async def end(self) -> None:
        """End every program, at the same time."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as ending:
                for program in self.programs:
                    ending.start_soon(program.end)


@asynccontextmanager
async def open_fleet(logs: Path) -> AsyncIterator[Fleet]:
    """A fleet that has ended, to the last process, when the block is left for whatever reason."""
    await trio.Path(logs).mkdir(parents=True, exist_ok=True)
    async with trio.open_nursery() as nursery:
        fleet = Fleet(logs, nursery)
        nursery.start_soon(fleet.watch.run)
        try:
            yield fleet
        finally:
            with trio.move_on_after(3 * TERM_SECONDS, shield=True):
                await fleet.end()
            nursery.cancel_scope.cancel()


async def _listen(program: Program) -> None:
    """Take down what it prints until it ends. Shielded: a program is heard and reaped to its last word."""
    assert program.process.stdout is not None
    with trio.CancelScope(shield=True):
        rest = b""
        with program.out_file.open("ab", buffering=0) as file:
            async for chunk in program.process.stdout:
                file.write(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    _hear(program, line.decode("utf-8", "replace"))
                program.change()
        if rest:
            _hear(program, rest.decode("utf-8", "replace"))
        await program.process.wait()
        program.ended.set()
        for each in [program, *program.company]:
            each.change()


def _hear(program: Program, line: str) -> None:
    program.text.append(line)
    if line.startswith("{"):
        with suppress(ValueError):
            program.heard.append(Heard(trio.current_time(), json.loads(line)))


def _with_secret(words: Sequence[str], secret: str) -> tuple[tuple[str, ...], list[int]]:
    """Pass a passphrase as a person's script should: through a descriptor, on no command line."""
    if not secret:
        return tuple(words), []
    read, write = os.pipe()
    os.write(write, secret.encode() + b"\n")
    os.close(write)
    return (*words, "--passphrase-fd", str(read)), [read]


def _environment(home: Path) -> dict[str, str]:
    """This environment, with nothing in it that would make programs share state with the person's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WARMLINE_", "XDG_"))}
    return kept | {"HOME": str(home), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
