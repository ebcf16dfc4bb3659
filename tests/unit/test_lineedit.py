"""The typing line: keys in, lines out, nothing lost on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmline.cli.lineedit import EndOfInput, LineEditor
from warmline.cli.terminal import printable

LEFT, RIGHT, HOME, END, DELETE = b"\x1b[D", b"\x1b[C", b"\x1b[H", b"\x1b[F", b"\x1b[3~"


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (b"hello\r", "hello"),
        (b"helo\x1b[Dl\r", "hello"),
        (b"hellp\x7fo\r", "hello"),
        (b"ello" + HOME + b"h\r", "hello"),
        (b"hell" + LEFT + LEFT + END + b"o\r", "hello"),
        (b"hhello" + HOME + DELETE + b"\r", "hello"),
        (b"hello there\x17\x7f\r", "hello"),
        (b"nothing\x15hello\r", "hello"),
        (b"hello world" + LEFT * 6 + b"\x0b\r", "hello"),
        ("güte ☕\r".encode(), "güte ☕"),
        (b"a\x1b[99;99;99;99Zb\r", "ab"),
        (LEFT + RIGHT + DELETE + b"\x7f\r", ""),
    ],
)
def test_editing(typed, line):
    for step in (1, len(typed)):
        editor, got = LineEditor(), []
        for start in range(0, len(typed), step):
            got += editor.feed(typed[start : start + step])
        assert got == [line]


@pytest.mark.parametrize("typed", [b"\x03", b"abc\x03", b"\x04"])
def test_going(typed):
    with pytest.raises(EndOfInput):
        LineEditor().feed(typed)


def test_control_d_inside_a_line_deletes():
    editor = LineEditor()
    assert editor.feed(b"heello" + LEFT * 4 + b"\x04\r") == ["hello"]


@given(st.binary(max_size=300))
def test_no_bytes_break_it(data):
    editor = LineEditor()
    try:
        for line in editor.feed(data):
            assert "\x1b" not in line
    except EndOfInput:
        return
    assert "\n" not in editor.draw("> ", 40)


@given(st.text(max_size=200), st.text(max_size=200), st.integers(12, 100))
def test_what_is_drawn_fits(before, after, width):
    from rich.cells import cell_len

    editor = LineEditor("".join(filter(str.isprintable, before)), "".join(filter(str.isprintable, after)))
    drawn = editor.draw("> ", width).removeprefix("\r\x1b[K").rsplit("\x1b[", 1)[0]
    assert cell_len(drawn) <= max(width, 12)


def test_a_stranger_cannot_drive_the_terminal():
    assert printable("a\x1b[2Jb\x07c\u202ed\te") == "a [2Jb c d e"
