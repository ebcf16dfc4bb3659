"""Where things stand in a TOML file that a person wrote, so that every problem can name its line.

``tomllib`` keeps no line numbers for values; a small scanner finds where each table and key stands. It only has to be
right for files that ``tomllib`` accepted.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to mend: ``line`` counts from 1, ``field`` is the key (or the group) that is wrong."""

    line: int
    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"line {self.line}, {self.field}: {self.message}. {self.remedy}"


def syntax_problem(text: str, error: tomllib.TOMLDecodeError) -> Problem:
    message = str(error)
    found = re.search(r"\(at line (\d+), column \d+\)", message)
    line = int(found[1]) if found else text.count("\n") + 1
    said = re.sub(r"\s*\(at .*\)$", "", message)
    return Problem(line, "file", said, "Look for a missing quote, bracket or equals sign here or just above.")


class Lines:
    """Where each table and each key of it begins."""

    _HEADER = re.compile(r"\s*\[{1,2}\s*([\w-]+)\s*\]{1,2}\s*(#.*)?")
    _KEY = re.compile(r"\s*(?:\"([^\"]+)\"|'([^']+)'|([\w-]+))\s*[.=]")

    def __init__(self, text: str) -> None:
        self._at: dict[tuple[str, int, str], int] = {}
        counts: dict[str, int] = {}
        table, index = "", 0
        opened = ""  # what the rest of a value still waits for: a long string's quotes, or brackets
        for number, line in enumerate(text.splitlines(), 1):
            if not opened and (header := self._HEADER.fullmatch(line)):
                table = header[1]
                index = counts.get(table, 0)
                counts[table] = index + 1
                self._at[table, index, ""] = number
                self._at.setdefault(("", 0, table), number)
                continue
            if not opened and (key := self._KEY.match(line)):
                self._at.setdefault((table, index, key[1] or key[2] or key[3]), number)
            opened = _still_open(line, opened)

    def of(self, table: str, index: int, key: str = "") -> int:
        """The line of a key, else of its table, else 1."""
        return self._at.get((table, index, key)) or self._at.get((table, index, "")) or 1


def _still_open(line: str, opened: str) -> str:
    """What remains open after ``line``: ``'''``, ``\"\"\"``, brackets, or nothing."""
    position = 0
    while position < len(line):
        rest = line[position:]
        if opened in ('"""', "'''"):
            end = rest.find(opened)
            if end < 0:
                return opened
            position += end + 3
            opened = ""
            continue
        if rest.startswith(('"""', "'''")):
            opened, position = rest[:3], position + 3
        elif rest[0] in "\"'":
            closing = re.match(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', rest)
            position += closing.end() if closing else len(rest)
        elif rest[0] == "#":
            break
        else:
            opened = _brackets(opened, rest[0])
            position += 1
    return opened


def _brackets(opened: str, char: str) -> str:
    if char in "[{":
        return opened + char
    return opened[:-1] if char in "]}" and opened else opened
