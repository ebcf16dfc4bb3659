"""However a command fails, a person reads one clear line and what to do next."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from warmline.cli import root
from warmline_protocol.errors import ConfigError, UnreachableError, WarmlineError


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int | str | None:
    def fails(**options: object) -> None:
        raise error

    monkeypatch.setattr(root, "command", fails)
    with pytest.raises(SystemExit) as end:
        root.main()
    return end.value.code


def test_a_defect_is_one_line_and_says_how_to_see_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WARMLINE_DEBUG", raising=False)
    assert ended(monkeypatch, ValueError("River wrote: I cannot sleep")) == 70
    said = capsys.readouterr().err
    assert "ValueError at test_cli_root.py:" in said
    assert "WARMLINE_DEBUG=1" in said
    assert "Traceback" not in said
    assert "River" not in said


def test_a_defect_among_explained_errors_is_still_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WARMLINE_DEBUG", raising=False)
    assert ended(monkeypatch, ExceptionGroup("", [UnreachableError("away"), KeyError("x")])) == 70


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMLINE_DEBUG", "1")

    def fails(**options: object) -> None:
        raise ValueError("in full")

    monkeypatch.setattr(root, "command", fails)
    with pytest.raises(ValueError, match="in full"):
        root.main()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no such thing", hint="Do this."), 1),
        (ExceptionGroup("", [ExceptionGroup("", [ConfigError("no such thing", hint="Do this.")])]), 1),
        (click.UsageError("what?"), 2),
        (click.Abort(), 130),
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("", [KeyboardInterrupt(), UnreachableError("away")]), 130),
    ],
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    assert ended(monkeypatch, error) == code


def test_an_explained_error_is_told_once_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error: WarmlineError = ConfigError("no such thing", hint="Do this.")
    assert ended(monkeypatch, ExceptionGroup("", [error, ExceptionGroup("", [error])])) == 1
    assert capsys.readouterr().err == "warmline: no such thing\n  → Do this.\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    line = f"{sys.executable} -c 'from warmline.cli import main; main()' config | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
