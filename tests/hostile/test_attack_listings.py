"""Listings that are valid and meant to end the search of whoever reads them."""

from __future__ import annotations

import pytest

from support import records as make
from warmline.client.matching import Collection, Wanted, meeting_of
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.envelope import open_record, sign_record
from warmline_protocol.records.schedule import Window


@pytest.mark.parametrize("opens", [2**53 - 1, 253_402_300_799_000, 253_402_300_000_000])
def test_a_group_that_opens_in_a_year_that_no_calendar_has_ends_no_search(opens: int) -> None:
    """One such record, by anybody, ended `groups find` and `talk --now` for everybody."""
    key = SigningKey(b"m" * 32)
    listings = [make.listing(key.public, "never", opens=opens), make.listing(key.public, "tuesdays")]
    collection = Collection(kept=tuple(open_record(sign_record(each, key)) for each in listings))
    found = collection.matches(Wanted(), make.NOW)
    assert {each.listing.slug: each.meeting is not None for each in found} == {"never": False, "tuesdays": True}
    assert meeting_of(listings[0], Window(make.NOW, make.NOW + 10**9, "soon"), make.NOW) is None
