"""What the doctor says of a clock, and when it calls it broken."""

from __future__ import annotations

import pytest

from warmline.daemon.doctor import Level, _clock, examine

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("offset_ms", "level", "words"),
    [
        (None, Level.NOTE, "no other node to compare with"),
        (0, Level.OK, "of the other nodes"),
        (90_000, Level.NOTE, "90 s behind"),
        (HOUR, Level.FAIL, "3600 s behind the other nodes"),
        (-HOUR, Level.FAIL, "3600 s ahead of the other nodes"),
    ],
)
def test_a_clock_that_is_off_is_named_with_its_fix(offset_ms: int | None, level: Level, words: str) -> None:
    found = _clock({"clock_offset_ms": offset_ms})
    assert found.level is level
    assert words in found.detail
    assert level is Level.OK or "timedatectl" in found.fix


async def test_a_directory_without_a_node_says_how_to_make_one(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (found,) = await examine(tmp_path)
    assert found.level is Level.FAIL
    assert "warmline node init" in found.fix


def test_the_status_names_a_clock_that_is_off() -> None:
    from warmline.cli.node_text import _clock as in_words

    assert in_words(HOUR) == "clock     3600 s behind the other nodes"
    assert in_words(-HOUR) == "clock     3600 s ahead of the other nodes"
    assert in_words(10).endswith("agrees with the other nodes")
