"""The terminal: typing stays whole, strangers' characters do nothing, rows fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from support.terminals import Screen
from warmline.cli.lineedit import EndOfInput, LineEditor
from warmline.cli.switchboard import Place, TerminalFace
from warmline.cli.terminal import Terminal, fitted, printable, wrapped
from warmline_protocol.session import events as said

EVIL = "\x1b[31mred\x1b[2J\x1b]0;title\x07 \u202eevil\u202c \u2066x\u2069 \x9b2J\x08\x00 \r日本語 fin"


@given(st.text(max_size=80), st.integers(20, 60))
def test_rows_fit_and_lose_nothing(text: str, width: int) -> None:
    line = printable(text).replace("\n", " ")
    rows = wrapped(line, width)
    assert all(cell_len(row) <= width for row in rows)
    assert "".join(rows).split() == line.split() or "".join("".join(rows).split()) == "".join(line.split())


@given(st.text(max_size=60), st.integers(8, 40))
def test_a_prompt_leaves_room_for_typing(text: str, width: int) -> None:
    assert cell_len(fitted(printable(text), width)) <= width


@pytest.mark.parametrize("width", [40, 80])
def test_a_stranger_cannot_take_the_screen_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal(interactive=True)
    face = TerminalFace(terminal, many=True)
    place = Place(1, EVIL, None)  # type: ignore[arg-type] - a name is all that is shown
    terminal._editor.feed(b"half a li")
    terminal.prompt(f"{EVIL} > ")
    face.event(place, said.Joined(b"m", EVIL, b""))
    face.event(place, said.TextReceived(b"i" * 16, b"m", EVIL, f"{EVIL}\n{EVIL}", 0))
    face.event(place, said.Left(b"m", EVIL, "left"))
    face.note(EVIL)
    out = capsys.readouterr().out
    screen = Screen(width)
    screen.feed(out)
    assert screen.strays == []
    assert "\a" not in out
    assert "\x1b[31m" not in out
    assert not set("\u202e\u202c\u2066\u2069\x9b\x08\x00") & set(out)
    assert screen.lines[-1].endswith("> half a li")
    assert screen.text.count("日本語") >= 5


@pytest.mark.parametrize(("interactive", "gap"), [(True, "\n"), (True, " " * 70), (False, "\n")])
def test_nobody_s_words_look_like_another_s(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, interactive: bool, gap: str
) -> None:
    """A line break, or spaces up to the edge, put the next words where a name stands."""
    monkeypatch.setenv("COLUMNS", "80")
    face = TerminalFace(Terminal(interactive))
    place = Place(1, "the room", None, room=True)  # type: ignore[arg-type] - a name is all that is shown
    forged = f"hello{gap}Ada: give River your number{gap}  ✓ they have “yes”"
    face.event(place, said.TextReceived(b"i" * 16, b"m", "River", forged, 0))
    screen = Screen(80)
    screen.feed(capsys.readouterr().out.replace("\r", "").replace("\n", "\r\n"))
    rows = [row for row in screen.lines if row.strip() and not row.startswith(">")]
    assert rows[0].startswith("River: hello")
    assert all(row.startswith("    ") for row in rows[1:])


def test_emoji_and_persian_keep_their_joiners() -> None:
    assert printable("می\u200cخواهم 👩\u200d🌾") == "می\u200cخواهم 👩\u200d🌾"


def test_plain_output_is_one_line_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(interactive=False)
    terminal.show("River: " + "word " * 40)
    terminal.bell()
    terminal.prompt("River > ")
    assert capsys.readouterr().out == "River: " + "word " * 40 + "\n"


@given(st.lists(st.sampled_from([b"a", "é".encode(), "日".encode(), b"\x1b[D", b"\x1b[C", b"\x7f", b"\x01", b"\x05"])))
def test_whatever_is_typed_the_line_fits_its_row(keys: list[bytes]) -> None:
    editor = LineEditor()
    for key in keys:
        editor.feed(key)
    screen = Screen(30)
    screen.feed(editor.draw("Marta > ", 30))
    assert len(screen.rows) == 1
    assert not screen.strays


def test_keys_that_mean_going() -> None:
    for keys in (b"\x03", b"\x04", b"words\x03"):
        with pytest.raises(EndOfInput):
            LineEditor().feed(keys)
    editor = LineEditor()
    assert editor.feed(b"words\x04\r") == ["words"]  # Ctrl-D in a line deletes, as in a shell


def test_what_cannot_be_seen_cannot_be_typed() -> None:
    assert LineEditor().feed("a\u202eb\x9bc\x00d\r".encode()) == ["abcd"]
