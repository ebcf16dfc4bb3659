"""A command in a terminal of its own, and what a person would see there.

The screen understands what our commands write (carriage return, erase to the end of the line, cursor left, styles)
and keeps every other escape sequence in ``strays``, since none is ours.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.cells import get_character_cell_size

_ESCAPE = re.compile(r"\x1b(?:\[([0-9;?]*)([A-Za-z])|\].*?(?:\x07|\x1b\\)|.)", re.DOTALL)


class Screen:
    """Rows of text, without end upwards; ``width`` columns wide."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[list[str]] = [[]]
        self.at = 0
        self.strays: list[str] = []

    def feed(self, text: str) -> None:
        while text:
            escape = _ESCAPE.match(text)
            if escape is not None:
                self._escape(escape)
                text = text[escape.end() :]
                continue
            self._char(text[0])
            text = text[1:]

    def _escape(self, escape: re.Match[str]) -> None:
        count, kind = escape.group(1), escape.group(2)
        if kind == "K" and count == "":
            del self.rows[-1][self.at :]
        elif kind == "D":
            self.at = max(0, self.at - int(count or 1))
        elif kind != "m":
            self.strays.append(escape.group(0))

    def _char(self, char: str) -> None:
        row = self.rows[-1]
        if char == "\r":
            self.at = 0
        elif char == "\n":
            self.rows.append([])
            self.at = min(self.at, 0)
        elif char.isprintable():
            size = get_character_cell_size(char)
            if size == 0:
                return
            if self.at + size > self.width:
                self.rows.append([])
                row, self.at = self.rows[-1], 0
            row.extend(" " * (self.at + size - len(row)))
            row[self.at : self.at + size] = [char, *[""] * (size - 1)]
            self.at += size
        elif char != "\a":
            self.strays.append(char)

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.rows]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def words(self) -> str:
        """Everything with the line breaks taken out, for sentences that may be wrapped anywhere."""
        return " ".join(self.text.split())


class Terminal:
    """A process in a pseudo-terminal; obtained from :func:`terminal`."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, slave: int, width: int) -> None:
        self.process = process
        self.screen = Screen(width)
        self.raw = b""
        self._master = master
        self._slave = slave
        self._seen = 0

    def modes(self) -> list[object]:
        """What ``stty`` shows."""
        return list(termios.tcgetattr(self._slave))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, words: str, seconds: float = 60.0) -> None:
        """Until ``words`` have been shown since the last ``expect``."""
        ends = time.monotonic() + seconds
        while words not in self.screen.words[self._seen :]:
            left = ends - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"{words!r} was not shown:\n{self.screen.text}")
        self._seen = self.screen.words.index(words, self._seen) + len(words)

    def settle(self, seconds: float = 0.3) -> None:
        """Until nothing has been written for so long."""
        while select.select([self._master], [], [], seconds)[0] and self._read(seconds):
            pass

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], min(seconds, 0.5))[0]:
            return self.process.poll() is None
        try:
            piece = os.read(self._master, 1 << 16)
        except OSError:  # the other end is closed
            return False
        self.raw += piece
        self.screen.feed(piece.decode("utf-8", "replace"))
        return bool(piece)

    def interrupted(self) -> int:
        """Press Ctrl-C as a person does, again where Python's line input missed the first; the exit code."""
        for _ in range(10):
            self.settle()
            self.type("\x03")
            ends = time.monotonic() + 3.0
            while self.process.poll() is None and time.monotonic() < ends:
                self._read(0.2)
            if self.process.poll() is not None:
                break
        return self.ended()

    def ended(self, seconds: float = 30.0) -> int:
        """Read to the end; the exit code."""
        ends = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < ends:
            self._read(0.5)
        self.settle()
        return self.process.wait(5)


@contextmanager
def terminal(
    command: Sequence[str], *, width: int = 80, env: Mapping[str, str] | None = None, fds: Sequence[int] = ()
) -> Iterator[Terminal]:
    """Run ``command`` in a terminal of ``width`` columns; it is killed with the block."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    inherited = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C must reach it
        pass_fds=tuple(fds),
        env={**inherited, "TERM": "xterm", **(env or {})},
    )
    try:
        yield Terminal(process, master, slave, width)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        os.close(master)
        os.close(slave)
