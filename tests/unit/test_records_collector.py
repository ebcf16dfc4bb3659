"""Collectors' records: who may sign one, where its drops are, and that nodes carry it like a card."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support import records as make
from warmline_protocol import limits
from warmline_protocol.codec import frame
from warmline_protocol.errors import BadSignatureError, UsageError
from warmline_protocol.feedback.sheets import check_sheet
from warmline_protocol.records.admission import AdmissionLimits, admit
from warmline_protocol.records.collector import RELEASES, CollectorRecord
from warmline_protocol.records.envelope import COLLECTOR, end_record, open_record, record_id, sign_record
from warmline_protocol.records.merge import living
from warmline_protocol.records.snapshot import read_index, summarise
from warmline_protocol.verdict import Verdict


def test_a_collector_s_record_fits_and_lives_a_week() -> None:
    record = open_record(make.signed_collector(epochs=(5, 6, 7)))
    assert record.kind == COLLECTOR
    assert record.id == record_id(COLLECTOR, make.wallet_of("ana"))
    assert record.wallet == make.wallet_of("ana")
    assert len(record.data) < limits.RECORD_MAX
    body = record.body
    assert isinstance(body, CollectorRecord)
    drops = body.drops_of(6)
    assert drops is not None
    assert len(set(drops.doors)) == RELEASES
    assert body.drops_of(8) is None
    check_sheet(body.sheet, [make.wallet_of("ana")], 5)
    with pytest.raises(BadSignatureError):
        check_sheet(body.sheet, [make.wallet_of("ben")], 5)


def test_a_bare_key_and_another_wallet_s_sheet_make_no_collector() -> None:
    bare = make.collector()
    with pytest.raises(UsageError):
        sign_record(bare, make.key("ana"))
    with pytest.raises(UsageError, match="another"):
        replace(bare, sheet=make.collector_sheet("ben"))
    with pytest.raises(UsageError):
        sign_record(bare, make.key("ben"), make.delegation("ben"))


def test_nodes_carry_it_without_a_credential_and_only_one_of_an_owner() -> None:
    record = open_record(make.signed_collector())
    rules = AdmissionLimits()
    for head in (None, make.head()):
        welcome = admit(record, standing=None, head=head, limits=rules, now_ms=make.NOW)
        assert (welcome.verdict, welcome.reason, welcome.verified) == (Verdict.ACCEPT, "collector", False)
    assert admit(record, standing=None, head=None, limits=rules, now_ms=make.NOW, held=1).reason == "quota"
    (row,) = read_index(frame(summarise(record)))
    assert (row.kind, row.title) == (COLLECTOR, "")


def test_a_tombstone_ends_it() -> None:
    record = open_record(make.signed_collector())
    tomb = open_record(end_record(record, make.key("ana"), make.NOW + 1, make.delegation()))
    assert [each.kind for each in living([record, tomb], make.NOW + 2)] in (["tombstone"], [])
