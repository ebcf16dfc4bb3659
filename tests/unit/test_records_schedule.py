"""Weekly times across zones and clock changes, and what people mean by them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmline_protocol.errors import ConfigError, UsageError
from warmline_protocol.records.listing import Slot
from warmline_protocol.records.schedule import (
    Window,
    load_zone,
    meetings,
    next_meeting,
    parse_slot,
    parse_when,
)

HOUR = 3_600_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def starts(slot: Slot, zone: str, first: str, last: str) -> list[str]:
    found = meetings((slot,), zone, Window(ms(first), ms(last)))
    return [datetime.fromtimestamp(each.start / 1000, UTC).strftime("%m-%d %H:%M") for each in found]


def test_seven_in_the_evening_stays_seven_when_the_clocks_change() -> None:
    slot = Slot(6, 19 * 60, 60)  # Sundays in Lisbon; summer time ends on 25 October 2026
    assert starts(slot, "Europe/Lisbon", "2026-10-17", "2026-11-02") == [
        "10-18 18:00",
        "10-25 19:00",
        "11-01 19:00",
    ]


def test_an_hour_that_is_skipped_is_met_once_and_one_that_repeats_is_its_first() -> None:
    # New York: 02:30 does not exist on 8 March 2026 and 01:30 comes twice on 1 November 2026.
    assert starts(Slot(6, 150, 60), "America/New_York", "2026-03-07", "2026-03-10") == ["03-08 07:30"]
    assert starts(Slot(6, 90, 60), "America/New_York", "2026-10-31", "2026-11-03") == ["11-01 05:30"]


def test_a_meeting_over_midnight_runs_into_the_next_day() -> None:
    slot = Slot(0, 23 * 60 + 30, 90)
    (meeting,) = meetings((slot,), "UTC", Window(ms("2026-11-24 00:30"), ms("2026-11-24 00:31")))
    assert meeting.end - meeting.start == 90 * 60_000


@given(
    st.integers(0, 6),
    st.integers(0, 1439),
    st.integers(10, 480),
    st.sampled_from(["UTC", "Asia/Kathmandu", "Pacific/Kiritimati", "America/St_Johns", "Australia/Lord_Howe"]),
    st.integers(ms("2025-01-01"), ms("2027-01-01")),
)
def test_every_week_has_one_meeting_a_slot(day: int, start: int, length: int, zone: str, now: int) -> None:
    slots = (Slot(day, start, length),)
    following = next_meeting(slots, zone, now)
    assert following is not None
    assert now < following.end
    assert following.start <= now + 7 * 24 * HOUR + HOUR
    local = datetime.fromtimestamp(following.start / 1000, UTC).astimezone(load_zone(zone))
    assert local.weekday() in (day, (day + 1) % 7)  # a skipped hour may push past midnight
    assert following in meetings(slots, zone, Window(following.start, following.start + 1))


def window(text: str, now: str, zone: str = "Europe/Berlin") -> tuple[str, str]:
    found = parse_when(text, zone, ms(now))
    shown = [datetime.fromtimestamp(t / 1000, UTC).strftime("%m-%d %H:%M") for t in (found.start, found.end)]
    return shown[0], shown[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", ("11-23 12:00", "11-23 12:30")),
        ("today", ("11-23 12:00", "11-23 23:00")),
        ("tonight", ("11-23 16:00", "11-24 02:00")),
        ("tomorrow", ("11-23 23:00", "11-24 23:00")),
        ("tue", ("11-23 23:00", "11-24 23:00")),
        ("Monday", ("11-23 12:00", "11-23 23:00")),
        ("tue 19:00-21:00", ("11-24 18:00", "11-24 20:00")),
        ("mon 08:00-10:00", ("11-30 07:00", "11-30 09:00")),
        ("mon 12:00-14:00", ("11-23 12:00", "11-23 13:00")),
        ("fri 22:00-01:00", ("11-27 21:00", "11-28 00:00")),
        ("08:00-10:00", ("11-24 07:00", "11-24 09:00")),
    ],
)
def test_words_for_times_are_in_the_persons_zone(text: str, expected: tuple[str, str]) -> None:
    assert window(text, "2026-11-23 12:00") == expected  # a Monday, 13:00 in Berlin


def test_tonight_at_one_in_the_morning_is_the_night_that_goes_on() -> None:
    assert window("tonight", "2026-11-24 00:10") == ("11-24 00:10", "11-24 02:00")


@pytest.mark.parametrize("text", ["", "soon", "tue 25:00-26:00", "tue 19-21", "someday 19:00-21:00", "tue wed thu"])
def test_other_words_are_answered_with_examples(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_when(text, "UTC", 0)
    assert "tonight" in error.value.hint


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../../etc/passwd", "/etc/localtime"])
def test_an_unknown_zone_says_how_to_write_one(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_zone(name)
    assert "Europe/Lisbon" in error.value.hint


def test_slots_are_read_from_words() -> None:
    assert parse_slot("tue 19:05 60") == Slot(1, 1145, 60)
    assert parse_slot("Sunday 7:00 30") == Slot(6, 420, 30)
    for wrong in ("tue 19:00", "tues 19:00 60", "tue 24:00 60", "tue 19:60 60", "tue 19:00 5", "tue 7pm 60"):
        with pytest.raises(UsageError):
            parse_slot(wrong)
