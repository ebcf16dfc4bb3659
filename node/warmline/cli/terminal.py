"""A terminal that a person can type into while others write to them.

In a real terminal the typing line stays at the bottom and whole; anywhere else (a pipe, a screen reader's dumb
terminal) it is plain lines in and plain lines out.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import termios
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import trio
from rich.cells import cell_len

from warmline.cli.lineedit import ESC, JOINERS, EndOfInput, LineEditor, Panic

READ = 4096
HANG = "    "
"""Before all rows of a message but its first."""
PANIC = "/panic"
"""What Ctrl-\\ types, and then nothing more."""


class Terminal:
    """Obtained from :func:`open_terminal`."""

    def __init__(self, interactive: bool) -> None:
        self.interactive = interactive
        self._prompt = "> "
        self._editor = LineEditor()
        self.typed: Callable[[str], None] = lambda line: None
        """Hears what stands on the typing line, at each key."""
        self.before: list[Any] | None = None
        """What the terminal was like."""
        self._ready: list[str] = []
        self._reading = trio.Lock()
        self._ended = False
        self._rest = b""

    @property
    def width(self) -> int:
        return shutil.get_terminal_size((80, 24)).columns

    def prompt(self, text: str) -> None:
        """What stands before the typing, such as who is spoken to."""
        self._prompt = fitted(printable(text), max(8, self.width // 2))
        self._draw()

    def show(self, text: str, *, style: str = "") -> None:
        """Print lines above the typing. Control characters of strangers never reach the terminal.

        Only the first row begins at the margin: what a stranger wrote cannot look like somebody else's next words.
        """
        rows = [row for part in printable(text).split("\n") for row in self._wrap(part)]
        lines = [f"{HANG if number else ''}{row}" for number, row in enumerate(rows)]
        if not self.interactive:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
        else:
            start, end = (f"{ESC}[{style}m", f"{ESC}[0m") if style else ("", "")
            sys.stdout.write(f"\r{ESC}[K" + "".join(f"{start}{line}{end}\r\n" for line in lines))
        self._draw()
        sys.stdout.flush()

    def bell(self) -> None:
        """Call a person who looks elsewhere."""
        if self.interactive:
            sys.stdout.write("\a")
            sys.stdout.flush()

    async def lines(self) -> AsyncIterator[str]:
        """What the person typed, line by line, until they end it (Ctrl-D, Ctrl-C, end of file)."""
        while (line := await self._line()) is not None:
            yield line

    async def wait(self, wanted: Callable[[str], bool]) -> None:
        """Until a line comes that is ``wanted``; it and all before it are there for whoever reads next."""
        while not any(map(wanted, self._ready)):
            if self._ended:
                await trio.sleep_forever()
            await self._read(ahead=True)

    async def ask(self, prompt: str, *, hidden: bool = False) -> str | None:
        """One line in answer to a question, whoever reads :meth:`lines` at other times; None at the end of input."""
        before, self._editor.hidden = self._prompt, hidden
        self.show(prompt)  # whole: what stands before the typing is cut where it is long
        self.prompt("(not shown) > " if hidden else "> ")
        try:
            line = await self._line()
            if line is not None and is_panic(line):
                self._ready.insert(0, line)  # no answer, but a wish
                return None
            return line
        finally:
            self._editor.hidden = False
            self.prompt(before)

    def wipe(self) -> None:
        """Give the terminal back with nothing on it, nor in what it scrolled away, where the terminal obeys."""
        if self.interactive:
            sys.stdout.write(f"{ESC}[H{ESC}[2J{ESC}[3J")
            sys.stdout.flush()
            if self.before is not None:
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self.before)

    async def _line(self) -> str | None:
        while not self._ready and not self._ended:
            await self._read()
        return self._ready.pop(0) if self._ready else None

    async def _read(self, *, ahead: bool = False) -> None:
        async with self._reading:
            # Somebody else may have read meanwhile: a question is asked while a panic is waited for.
            if not self._ended and (ahead or not self._ready):
                self._take(await _read_stdin(self.interactive))

    def _take(self, data: bytes) -> None:
        self._ended = not data
        if self.interactive:
            try:
                self._ready += self._editor.feed(data)
            except Panic:
                self._ready[:], self._ended = [PANIC], True
            except EndOfInput:
                self._ended = True
            if not self._editor.hidden:
                self.typed(self._editor.before + self._editor.after)
            self._draw()
            return
        parts = (self._rest + data).split(b"\n")
        self._rest = parts.pop()
        if not data and self._rest:
            parts.append(self._rest)
        self._ready += [part.decode("utf-8", "replace") for part in parts]

    def _wrap(self, line: str) -> list[str]:
        if not self.interactive:
            return [line]
        return wrapped(line, max(20, self.width - 1 - len(HANG)))

    def _draw(self) -> None:
        if self.interactive:
            sys.stdout.write(self._editor.draw(self._prompt, self.width))
            sys.stdout.flush()


def is_panic(line: str) -> bool:
    """Whether a line asks to erase all and end, typed or by the key."""
    return line.strip() == PANIC


def printable(text: str) -> str:
    """Without escape sequences, bells, or direction overrides that would let a name pose as something else."""
    return "".join(char if char == "\n" or char.isprintable() or char in JOINERS else " " for char in text)


def fitted(text: str, width: int) -> str:
    """At most ``width`` columns of the end of ``text``: what a prompt asks stands at its end."""
    while cell_len(text) > width:
        text = text[1:]
    return text


def wrapped(line: str, width: int) -> list[str]:
    """``line`` in rows of at most ``width`` columns, broken at spaces where there are any.

    Columns, not characters: wide scripts take two, and a row that is one too long would break the row after it.
    """
    rows, row = [], ""
    for word in re.findall(r"\s*\S+|\s+$", line):
        if cell_len(row) + cell_len(word) > width and row.strip():
            rows.append(row)
            row, word = "", word.lstrip()
        while cell_len(row) + cell_len(word) > width:
            cut = next(at for at in range(len(word), -1, -1) if cell_len(row + word[:at]) <= width)
            rows.append(row + word[:cut])
            row, word = "", word[cut:]
        row += word
    return [*rows, row]


async def _read_stdin(interactive: bool) -> bytes:
    descriptor = sys.stdin.fileno()
    if interactive or not _is_file(descriptor):
        await trio.lowlevel.wait_readable(descriptor)
        return os.read(descriptor, READ)
    await trio.lowlevel.checkpoint()
    return os.read(descriptor, READ)  # a regular file: always ready


def _is_file(descriptor: int) -> bool:
    import stat

    return stat.S_ISREG(os.fstat(descriptor).st_mode)


@asynccontextmanager
async def open_terminal() -> AsyncIterator[Terminal]:
    """Take the terminal for the length of the block and give it back as it was."""
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    terminal = Terminal(interactive)
    with _raw() if interactive else nullcontext() as before:
        terminal.before = before
        try:
            yield terminal
        finally:
            if interactive:
                sys.stdout.write(f"\r{ESC}[K")
                sys.stdout.flush()


@contextmanager
def _raw() -> Iterator[list[Any]]:
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield before
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
