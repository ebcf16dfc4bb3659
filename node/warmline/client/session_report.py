"""A report about a conversation, made on the device of the person who reports: what it holds is their choice.

The supporter's last signed texts are in it unless left out; nothing of the person's own unless named line by line.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from warmline.client.session_transcript import Line
from warmline_protocol.errors import UsageError
from warmline_protocol.session.evidence import Chapter, SignedWord
from warmline_protocol.session.evidence_bundle import OwnLine, make_bundle
from warmline_protocol.session.messages import Text, clean, unpack_body


def report_of(
    card: bytes,
    evidence: Sequence[Chapter],
    lines: Sequence[Line],
    *,
    include: Collection[int] = (),
    leave_out: Collection[int] = (),
    account: str = "",
) -> bytes:
    """The bundle's bytes. ``include`` and ``leave_out`` are numbers of ``lines``: of one's own, and of theirs.

    :class:`UsageError` for a number that is no such line, and where there is nothing to prove.
    """
    if not card:
        raise UsageError("the card of the other side is not known here", hint="Report what you remember without it.")
    own = {line.number: line for line in lines if line.mine}
    theirs = {line.number: line for line in lines if not line.mine}
    _check(include, own, "yours")
    _check(leave_out, theirs, "theirs")
    hidden = [(theirs[number].text, theirs[number].at_ms) for number in leave_out]
    chapters = [replace(chapter, words=_shown(chapter, hidden)) for chapter in evidence]
    shown = [chapter for chapter in chapters if chapter.words]
    if not shown:
        raise UsageError("there is no signed message of theirs to show", hint="Report what you remember without it.")
    placed = tuple(_placed(own[number], shown) for number in sorted(include))
    return make_bundle(card, shown, own=placed, account=account)


def _check(numbers: Collection[int], lines: dict[int, Line], whose: str) -> None:
    for number in numbers:
        if number not in lines:
            raise UsageError(f"line {number} is not one of {whose}", hint="/lines shows the numbers.")


def _shown(chapter: Chapter, hidden: Sequence[tuple[str, int]]) -> tuple[SignedWord, ...]:
    return tuple(word for word in chapter.words if (_text(word), word.sent_ms) not in hidden)


def _text(word: SignedWord) -> str:
    body = unpack_body(word.body)
    return clean(body.text, lines=True) if isinstance(body, Text) else ""


def _placed(line: Line, chapters: Sequence[Chapter]) -> OwnLine:
    """Where it was said: after the last of their texts that is not younger."""
    chapter, after = 0, 0
    for number, each in enumerate(chapters):
        for word in each.words:
            if word.sent_ms <= line.at_ms:
                chapter, after = number, word.counter
    return OwnLine(chapter, after, line.at_ms, line.text)
