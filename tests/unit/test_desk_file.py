"""A desk's file: read whole, or refused with every problem by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmline_protocol.errors import UsageError
from warmline_protocol.records.desk import Shift
from warmline_protocol.records.desk_file import parse_shift, read_desk_file
from warmline_protocol.records.listing_file import ListingFileError

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "desk.toml"
PLACES = {"ana": 0, "ben": 1}


def test_the_example_is_a_desk_in_three_zones() -> None:
    draft = read_desk_file(EXAMPLE.read_text("utf-8"))
    assert (draft.slug, draft.name) == ("night-owls", "Night Owls")
    assert draft.names == ("ana", "ben", "cora", "dai", "ema")
    assert [each.zone for each in draft.rota] == ["Europe/Lisbon", "America/Sao_Paulo", "Pacific/Auckland"]
    desk = draft.desk(b"o" * 20, 1000)
    assert sum(len(each.shifts) for each in desk.rota) == 5 + 2 + 7 + 4 + 3


@pytest.mark.parametrize(
    ("text", "shifts"),
    [
        ("mon 20:00-22:30 ana", [Shift(0, 80, 10, (0,))]),
        ("Sat-Mon 8:15-9:00 ben, ana", [Shift(day, 33, 3, (1, 0)) for day in (5, 6, 0)]),
        ("daily 00:00-24:00 ana", [Shift(day, 0, 96, (0,)) for day in range(7)]),
        ("sunday 22:00-02:00 ben", [Shift(6, 88, 16, (1,))]),
    ],
)
def test_a_shift_is_written_as_people_write_it(text: str, shifts: list[Shift]) -> None:
    assert list(parse_shift(text, PLACES)) == shifts


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mon 20:00 ana", "not a shift"),
        ("mon 20:10-21:00 ana", "no quarter hour"),
        ("mon 20:00-25:00 ana", "no quarter hour"),
        ("mon 24:00-01:00 ana", "begins at 24:00"),
        ("moonday 20:00-21:00 ana", "not a day"),
        ("mon 20:00-21:00 zoe", "nobody is called 'zoe'"),
        ("mon 20:00-21:00 ana ana", "twice"),
    ],
)
def test_a_wrong_shift_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_shift(text, PLACES)


def test_every_problem_of_a_file_is_told_with_its_line() -> None:
    text = """[desk]
id = "Night Owls"
name = "Night Owls"
topics = ["loneliness"]
colour = "blue"

[people]
ana = "0x12"
Ben = "0x00000000000000000000000000000000000000b2"

[[rota]]
zone = "Europe/Lisboa"
shifts = ["mon 20:00-21:00 cora"]

[[shifts]]
"""
    with pytest.raises(ListingFileError) as caught:
        read_desk_file(text)
    found = {(problem.line, problem.field) for problem in caught.value.problems}
    assert found == {
        *((2, "id"), (1, "languages"), (5, "colour"), (8, "ana"), (9, "Ben"), (12, "zone"), (13, "shifts")),
        (15, "shifts"),
    }


def test_somebody_with_two_names_and_a_file_that_is_none() -> None:
    twice = EXAMPLE.read_text("utf-8").replace("00b2", "00a1")
    with pytest.raises(ListingFileError, match="twice"):
        read_desk_file(twice)
    for text in ("", "[desk", "x = 1\n" * 100_000):
        with pytest.raises(ListingFileError):
            read_desk_file(text)
