"""The week as text: what is drawn is what is so, in anybody's zone, on days when the clocks change too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import records as make
from warmline.cli.rota_chart import GAP, coverage, distance, moment, week_chart
from warmline_protocol.records.desk import Desk, Shift, ZoneRota
from warmline_protocol.records.desk_file import read_desk_file

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "desk.toml"
HOUR = 3_600_000
MONDAY = 1_795_392_000_000 + 13 * HOUR  # 23 November 2026, 13:00 UTC


@pytest.fixture
def desk() -> Desk:
    return read_desk_file(EXAMPLE.read_text("utf-8")).desk(b"o" * 20, MONDAY)


def rows(lines: list[str]) -> list[str]:
    return [line[12:] for line in lines if re.match(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d\d ", line)]


def test_a_week_has_seven_days_of_48_half_hours_and_says_its_gaps(desk: Desk) -> None:
    lines = week_chart(desk, "Europe/Lisbon", MONDAY)
    week = rows(lines)
    assert [len(row) for row in week] == [48] * 7
    assert week[1][40:] == "2222222" + GAP
    assert lines[2].index("^") == 12 + 26
    assert max(map(len, lines)) <= 78
    assert lines[-2] == f"{GAP} nobody: 400 of 672 quarter hours are empty (60 %), in 17 gaps."
    assert lines[-1] == "The longest gap: Fri 03:30 to Fri 20:00."


def test_the_same_hours_stand_elsewhere_in_another_zone(desk: Desk) -> None:
    here, there = (rows(week_chart(desk, zone, MONDAY)) for zone in ("UTC", "Asia/Kolkata"))
    assert "".join(here)[10:300] == "".join(there)[21:311]  # five and a half hours later by the wall


def test_only_people_who_agreed_are_counted(desk: Desk) -> None:
    nobody = week_chart(desk, "UTC", MONDAY, ())
    assert set("".join(rows(nobody))) == {GAP}
    assert "672 of 672 quarter hours are empty (100 %), in 1 gap." in nobody[-2]
    one = week_chart(desk, "UTC", MONDAY, {desk.people[2]})
    assert set("".join(rows(one))) == {GAP, "1"}


def test_a_desk_that_never_sleeps_has_no_gap() -> None:
    always = ZoneRota("Europe/Lisbon", tuple(Shift(day, 0, 96, (0, 1)) for day in range(7)))
    desk = make.desk(make.wallet_of("ana"), rota=(always,))
    assert week_chart(desk, "Europe/Lisbon", MONDAY)[-1].startswith("No gap")
    spring = 1_806_278_400_000 - 3 * 24 * HOUR  # the clocks of Lisbon change within this week
    assert coverage(desk, spring).empty == 0


def test_spans_are_told_in_words() -> None:
    assert [distance(ms) for ms in (0, 90 * 60_000, 5 * HOUR, 100 * HOUR)] == ["0 min", "90 min", "5 h", "4 days"]
    assert moment(MONDAY, "Europe/Lisbon") == "Mon 13:00"
