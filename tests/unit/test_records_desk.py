"""Desks: who may sign one, who is on duty by it, and that gaps are gaps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support import records as make
from warmline_protocol import limits
from warmline_protocol.codec import decode, encode, frame
from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError
from warmline_protocol.records.admission import AdmissionLimits, admit
from warmline_protocol.records.desk import Desk, Shift, ZoneRota
from warmline_protocol.records.envelope import (
    DESK,
    OpenedRecord,
    SignedRecord,
    end_record,
    open_record,
    record_id,
    sign_record,
)
from warmline_protocol.records.merge import living
from warmline_protocol.records.rota import gaps, next_watch, on_duty, present_watch, quarters, watches
from warmline_protocol.records.schedule import Window
from warmline_protocol.records.snapshot import read_index, summarise
from warmline_protocol.verdict import Verdict
from warmline_protocol.wire import pack, unpack

HOUR = 3_600_000
ANA, BEN = b"\1" * 32, b"\2" * 32
FRIDAY_NOON = make.NOW - make.NOW % 86_400_000 + 12 * HOUR  # 15 January 2027, in UTC; Lisbon's winter clock is the same


def opened(data: bytes) -> OpenedRecord:
    return open_record(data)


def test_a_desk_lives_a_week_and_is_replaced_and_ended_by_its_owner_alone() -> None:
    record = opened(make.signed_desk())
    assert record.kind == DESK
    assert record.id == record_id(DESK, make.wallet_of("ana"), "night-owls")
    assert record.body.not_after - record.seq == limits.DESK_LIFE_MS
    newer = opened(make.signed_desk(at_ms=make.NOW + 1000))
    assert living([newer, record], make.NOW + 2000) == [newer]
    ended = opened(end_record(newer, make.key("ana"), make.NOW + 2000, make.delegation()))
    assert ended.id == record.id
    assert living([newer, record, ended], make.NOW + 3000) == []
    with pytest.raises(UsageError):
        sign_record(make.desk(make.wallet_of("ana")), make.key("mallory"), make.delegation("mallory"))


def test_a_forged_rota_is_refused_and_a_namesake_is_another_desk() -> None:
    data = make.signed_desk(wallet=False)
    fields = decode(data)
    assert isinstance(fields, dict)
    signed = unpack(SignedRecord, fields)
    body = make.desk(make.key("ana").public, people=(b"\7" * 32,))
    forged = replace(signed, body=encode(pack(body)))
    with pytest.raises(BadSignatureError):
        open_record(encode(pack(forged)))
    other = replace(signed, key=make.key("mallory").public, sig=make.key("mallory").sign("record/desk", signed.body))
    with pytest.raises(MalformedError):  # the owner inside is not who signed
        open_record(encode(pack(other)))
    assert opened(make.signed_desk("mallory", wallet=False)).id != opened(data).id


def test_a_shift_of_somebody_who_is_not_on_the_desk_is_refused() -> None:
    desk = make.desk(make.wallet_of("ana"))
    stranger = ZoneRota("Europe/Lisbon", (Shift(0, 0, 4, (2,)),))
    with pytest.raises(UsageError, match="not on the desk"):
        replace(desk, rota=(stranger,))
    with pytest.raises(UsageError):
        replace(desk, rota=(*desk.rota, desk.rota[0]))
    with pytest.raises(UsageError):
        replace(desk, people=(ANA, ANA))


def test_admission_treats_a_desk_like_a_listing() -> None:
    record = opened(make.signed_desk())
    rules = AdmissionLimits()
    head, good = make.head(), make.standing()

    def verdict(**given: object) -> tuple[Verdict, str]:
        asked = {"standing": good, "head": head, "limits": rules, "now_ms": make.NOW, **given}
        answer = admit(record, **asked)  # type: ignore[arg-type]  # a table of cases
        return answer.verdict, answer.reason

    assert verdict() == (Verdict.ACCEPT, "verified")
    assert verdict(standing=None, head=None) == (Verdict.ACCEPT, "no_chain")
    assert verdict(standing=replace(good, credentials=())) == (Verdict.IGNORE, "no_credential")
    assert verdict(standing=replace(good, suspended_until_s=make.NOW // 1000 + 60)) == (Verdict.IGNORE, "suspended")
    assert verdict(held=rules.desks_verified) == (Verdict.IGNORE, "quota")
    bare = opened(make.signed_desk(wallet=False))
    assert admit(bare, standing=None, head=head, limits=rules, now_ms=make.NOW, held=1).reason == "quota"


def test_a_desk_is_in_the_snapshot_by_name_and_tags() -> None:
    (row,) = read_index(frame(summarise(opened(make.signed_desk()))))
    assert (row.kind, row.title, row.langs, row.topics) == (DESK, "Night Owls", ("en",), ("burnout", "loneliness"))


def test_the_largest_desk_fits_a_record() -> None:
    people = tuple(bytes([n]) * 32 for n in range(1, limits.DESK_PEOPLE_MAX + 1))
    shifts = tuple(Shift(n % 7, n % 96, 8, (n % 48, (n + 1) % 48)) for n in range(128))
    desk = make.desk(make.wallet_of("ana"), people=people, rota=(ZoneRota("Europe/Lisbon", shifts),))
    assert len(sign_record(desk, make.key("ana"), make.delegation())) < limits.RECORD_MAX


@pytest.fixture
def desk() -> Desk:
    return make.desk(make.wallet_of("ana"), people=(ANA, BEN))


def test_who_is_on_duty_follows_the_clocks_of_both_zones(desk: Desk) -> None:
    evening = FRIDAY_NOON + 8 * HOUR  # 20:00 in Lisbon, 09:00 in Auckland
    assert on_duty(desk, evening - 1) == frozenset()
    assert on_duty(desk, evening) == {ANA, BEN}
    assert on_duty(desk, evening + 3 * HOUR) == frozenset()
    assert on_duty(desk, FRIDAY_NOON - 5 * HOUR) == {BEN}  # 20:00 in Auckland
    watch = present_watch(desk, evening + HOUR, ANA)
    assert watch is not None
    assert (watch.start, watch.end) == (evening, evening + 3 * HOUR)
    soon = next_watch(desk, FRIDAY_NOON)
    assert soon is not None and soon.start == evening
    morning = next_watch(desk, evening, [BEN])
    assert morning is not None and morning.start == FRIDAY_NOON + 19 * HOUR


def test_gaps_are_gaps_and_a_part_of_a_quarter_covers_none(desk: Desk) -> None:
    window = Window(FRIDAY_NOON, FRIDAY_NOON + 24 * HOUR)
    found = watches(desk, window)
    empty = gaps(found, window)
    assert [(gap.start - FRIDAY_NOON) // HOUR for gap in empty] == [0, 11, 22]
    assert sum(gap.end - gap.start for gap in empty) == 18 * HOUR
    counts = quarters(found, FRIDAY_NOON, 96)
    assert counts[31:45] == [0, *[2] * 12, 0]
    shifted = quarters(found, FRIDAY_NOON + 5 * 60_000, 96)  # five minutes off the rota's steps
    assert shifted[31:45] == [0, *[2] * 11, 0, 0]
    assert gaps([], window) == (type(empty[0])(window.start, window.end),)


def test_a_zone_that_this_machine_does_not_know_has_nobody_on_duty(desk: Desk) -> None:
    odd = replace(desk, rota=(ZoneRota("Mars/Olympus", desk.rota[0].shifts),))
    assert watches(odd, Window(FRIDAY_NOON, FRIDAY_NOON + 24 * HOUR)) == []


def test_a_shift_keeps_its_wall_clock_when_the_clocks_change() -> None:
    night = ZoneRota("Europe/Lisbon", (Shift(6, 0, 16, (0,)),))  # Sundays 00:00 to 04:00
    desk = make.desk(make.wallet_of("ana"), people=(ANA,), rota=(night,))
    march = 1_806_192_000_000 - 86_400_000  # Saturday before 28 March 2027
    found = watches(desk, Window(march, march + 9 * 86_400_000))
    assert {(watch.end - watch.start) // HOUR for watch in found} == {4}
