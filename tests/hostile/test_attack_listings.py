"""Listings that are meant to end the search of whoever reads them, or to confuse it."""

from __future__ import annotations

from typing import Any

import pytest

from support import records as make
from warmline.client.matching import meeting_of
from warmline_protocol import limits
from warmline_protocol.codec import encode
from warmline_protocol.errors import MalformedError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.admission import AdmissionLimits, judge
from warmline_protocol.records.envelope import LISTING, SignedRecord, open_record, sign_record
from warmline_protocol.records.listing import Listing
from warmline_protocol.records.schedule import Window
from warmline_protocol.verdict import Verdict
from warmline_protocol.wire import pack

KEY = SigningKey(b"m" * 32)
AHEAD = make.NOW + limits.PROGRAMME_AHEAD_MS


def forged(**fields: Any) -> Listing:
    """A listing that no honest client can make: its own checks are passed by."""
    made = make.listing(KEY.public, "never")
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


@pytest.mark.parametrize("opens", [2**53 - 1, 253_402_300_799_000, 253_402_300_000_000])
def test_a_group_that_opens_in_a_year_that_no_calendar_has_ends_no_search(opens: int) -> None:
    """One such record, by anybody, ended `groups find` and `talk --now` for everybody; now none is let in either."""
    assert meeting_of(forged(opens=opens), Window(make.NOW, make.NOW + 10**9, "soon"), make.NOW) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"opens": 2**53 - 1},
        {"closes": 2**53 - 1},
        {"opens": 0, "closes": AHEAD + 1},
        {"opens": AHEAD + 1},
        {"closes": AHEAD + 1},
        {"opens": make.NOW, "closes": make.NOW},
        {"opens": make.NOW + 1, "closes": make.NOW},
    ],
    ids=str,
)
def test_a_programme_without_measure_is_malformed_for_everybody(fields: dict[str, int]) -> None:
    packed = encode(pack(forged(**fields)))
    signature = KEY.sign(f"record/{LISTING}", packed)
    data = encode(pack(SignedRecord(LISTING, packed, KEY.public, signature, None)))
    with pytest.raises(MalformedError, match="programme"):
        open_record(data)
    admission, record = judge(data, standing=None, head=None, limits=AdmissionLimits(), now_ms=make.NOW)
    assert (admission.verdict, admission.reason, record) == (Verdict.REJECT, "malformed", None)
    with pytest.raises(UsageError):
        make.listing(KEY.public, "never", **fields)


def test_signing_in_the_future_to_reach_further_is_not_welcome() -> None:
    later = make.NOW + limits.PROGRAMME_AHEAD_MS
    end = later + limits.LISTING_LIFE_MS
    data = sign_record(make.listing(KEY.public, "never", at_ms=later, not_after=end, closes=later + 5), KEY)
    admission, _ = judge(data, standing=None, head=None, limits=AdmissionLimits(), now_ms=make.NOW)
    assert (admission.verdict, admission.reason) == (Verdict.IGNORE, "future")


@pytest.mark.parametrize(
    "fields", [{}, {"opens": AHEAD}, {"closes": AHEAD}, {"opens": 0}, {"opens": AHEAD - 1, "closes": AHEAD}], ids=str
)
def test_programmes_of_two_years_and_those_that_are_over_stay_welcome(fields: dict[str, int]) -> None:
    data = sign_record(make.listing(KEY.public, "quiet", **fields), KEY)
    admission, _ = judge(data, standing=None, head=None, limits=AdmissionLimits(), now_ms=make.NOW)
    assert admission.verdict is Verdict.ACCEPT
