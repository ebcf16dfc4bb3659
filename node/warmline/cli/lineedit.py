"""One line of typing, sans-IO: bytes of a terminal in raw mode in, finished lines out, and what to draw in between.

Kept apart from the terminal so that a message that arrives while a person types never eats what they typed: the
terminal erases the line, prints the message, and asks this editor to be drawn again.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field

from rich.cells import cell_len

ESC = "\x1b"
LINE_MAX = 4000
JOINERS = "\u200c\u200d"
"""Persian, Indic scripts and emoji need them, and they move nothing on the screen."""
_KEYS = {"[D": "left", "[C": "right", "[H": "home", "[F": "end", "[3~": "delete", "OH": "home", "OF": "end"}


class EndOfInput(Exception):
    """Ctrl-D on an empty line, or Ctrl-C."""


class Panic(EndOfInput):
    """Ctrl-\\: everything that is kept must go, now."""


@dataclass(slots=True)
class LineEditor:
    """Text before and after the cursor; ``feed`` returns the lines that Enter finished."""

    before: str = ""
    after: str = ""
    hidden: bool = False
    """Whether what is typed is not shown."""
    _escape: str | None = None
    _utf8: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))

    def feed(self, data: bytes) -> list[str]:
        """Apply what was typed; :class:`EndOfInput` when the person wants to go."""
        lines = []
        for char in self._utf8.decode(data):
            line = self._char(char)
            if line is not None:
                lines.append(line)
        return lines

    def _char(self, char: str) -> str | None:
        if self._escape is not None:
            self._in_escape(char)
        elif char == ESC:
            self._escape = ""
        elif char in "\r\n":
            line, self.before, self.after = self.before + self.after, "", ""
            return line
        elif char < " " or char == "\x7f":
            self._control(char)
        elif len(self.before) + len(self.after) < LINE_MAX and (char.isprintable() or char in JOINERS):
            self.before += char
        return None

    def _in_escape(self, char: str) -> None:
        assert self._escape is not None
        self._escape += char
        if len(self._escape) == 1 and char in "[O":
            return
        if (char.isdigit() or char == ";") and len(self._escape) < 16:
            return
        self._key(_KEYS.get(self._escape, ""))
        self._escape = None

    def _control(self, char: str) -> None:
        match char:
            case "\x7f" | "\x08":
                self.before = self.before[:-1]
            case "\x01":
                self._key("home")
            case "\x05":
                self._key("end")
            case "\x15":
                self.before = ""
            case "\x0b":
                self.after = ""
            case "\x17":
                words = self.before.rstrip().rsplit(" ", 1)
                self.before = words[0] + " " if len(words) == 2 else ""
            case "\x03":
                raise EndOfInput
            case "\x1c":
                raise Panic
            case "\x04":
                if not self.before and not self.after:
                    raise EndOfInput
                self.after = self.after[1:]

    def _key(self, name: str) -> None:
        match name:
            case "left" if self.before:
                self.before, self.after = self.before[:-1], self.before[-1] + self.after
            case "right" if self.after:
                self.before, self.after = self.before + self.after[0], self.after[1:]
            case "home":
                self.before, self.after = "", self.before + self.after
            case "end":
                self.before, self.after = self.before + self.after, ""
            case "delete":
                self.after = self.after[1:]

    def draw(self, prompt: str, width: int) -> str:
        """The line as it fits into ``width`` columns, with the cursor put back where it belongs."""
        room = max(8, width - cell_len(prompt) - 1)
        if self.hidden:
            return f"\r{ESC}[K{prompt}"
        before = self.before
        while cell_len(before) > room - min(cell_len(self.after), room // 3):
            before = before[1:]
        after = self.after
        while cell_len(before) + cell_len(after) > room:
            after = after[:-1]
        back = cell_len(after)
        return f"\r{ESC}[K{prompt}{before}{after}" + (f"{ESC}[{back}D" if back else "")
