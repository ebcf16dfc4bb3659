"""Admission as a table: what a record, the chain and the clock lead to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support import records as make
from warmline_protocol import limits
from warmline_protocol.records.admission import HINTS, Admission, AdmissionLimits, admit, judge
from warmline_protocol.records.envelope import end_record, open_record, sign_record
from warmline_protocol.records.standing import ChainHead, Standing
from warmline_protocol.verdict import Verdict

RULES = AdmissionLimits()
NOW_S = make.NOW // 1000
ACCEPT, IGNORE, REJECT, DEFER = Verdict.ACCEPT, Verdict.IGNORE, Verdict.REJECT, Verdict.DEFER


def ask(
    data: bytes,
    *,
    standing: Standing | None = None,
    head: ChainHead | None = None,
    now_ms: int = make.NOW,
    held: int = 0,
) -> Admission:
    return judge(data, standing=standing, head=head, limits=RULES, now_ms=now_ms, held=held)[0]


@pytest.mark.parametrize(
    ("late_ms", "verdict", "reason"),
    [
        (-limits.CLOCK_SKEW_MS, ACCEPT, "no_chain"),
        (-limits.CLOCK_SKEW_MS - 1, IGNORE, "future"),
        (limits.LISTING_LIFE_MS - 1, ACCEPT, "no_chain"),
        (limits.LISTING_LIFE_MS, IGNORE, "expired"),
    ],
)
def test_time_is_never_held_against_anybody(late_ms: int, verdict: Verdict, reason: str) -> None:
    assert ask(make.signed_listing(), now_ms=make.NOW + late_ms) == Admission(verdict, reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "malformed"),
        (b"\x81\xa4kind\xa7listing", "malformed"),
        (bytes(limits.RECORD_MAX + 1), "oversize"),
        (make.signed_listing()[:-1], "malformed"),
    ],
)
def test_only_what_is_provably_broken_is_rejected(data: bytes, reason: str) -> None:
    assert ask(data) == Admission(REJECT, reason)


def test_a_bad_signature_is_rejected() -> None:
    data = bytearray(make.signed_listing(wallet=False))
    data[-1] ^= 1  # the last byte of the signature: keys are in order and `sig` is last
    assert ask(bytes(data)) == Admission(REJECT, "bad_signature")


CASES: list[tuple[str, dict[str, Any], Verdict, bool]] = [
    ("verified", {}, ACCEPT, True),
    ("no_chain", {"head": None, "standing": None}, ACCEPT, False),
    ("no_credential", {"standing": make.standing(credentials=())}, IGNORE, False),
    ("no_credential", {"standing": make.standing(until_ms=make.NOW)}, IGNORE, False),
    ("no_credential", {"standing": None, "head": make.head(at_ms=make.NOW + 1000)}, IGNORE, False),
    ("standing_unknown", {"standing": None, "head": make.head(at_ms=make.NOW - 1000)}, DEFER, False),
    ("suspended", {"standing": make.standing(suspended_until_s=NOW_S + 1)}, IGNORE, False),
    ("verified", {"standing": make.standing(suspended_until_s=NOW_S)}, ACCEPT, True),
    ("delegation_revoked", {"standing": make.standing(revoked_before_s=NOW_S + 1)}, IGNORE, False),
    ("verified", {"standing": make.standing(revoked_before_s=NOW_S)}, ACCEPT, True),
    ("other_chain", {"head": replace(make.head(), chain_id=1)}, ACCEPT, False),
    ("standing_stale", {"head": make.head(at_ms=make.NOW - 3_601_000)}, ACCEPT, False),
    (
        "no_credential",
        {"head": make.head(at_ms=make.NOW - 3_601_000), "standing": make.standing(credentials=())},
        IGNORE,
        False,
    ),
]


@pytest.mark.parametrize(("reason", "changes", "verdict", "verified"), CASES)
def test_a_listing_is_facilitated_or_closed(
    reason: str, changes: dict[str, Any], verdict: Verdict, verified: bool
) -> None:
    given: dict[str, Any] = {"standing": make.standing(), "head": make.head(), **changes}
    assert ask(make.signed_listing(), **given) == Admission(verdict, reason, verified)


def test_a_card_without_credential_is_only_unverified() -> None:
    assert ask(make.signed_card(), standing=None, head=make.head()).reason == "no_credential_yet"
    claims = make.signed_card(credentials=(make.TYPE, bytes(32)))
    answer = ask(claims, standing=make.standing(), head=make.head())
    assert answer == Admission(ACCEPT, "claims_unproven")
    proven = make.signed_card(credentials=(make.TYPE,))
    assert ask(proven, standing=make.standing(), head=make.head()).verified


def test_a_contract_wallet_is_proven_by_the_chain_alone() -> None:
    given = replace(make.delegation(), signature=None)
    data = sign_record(make.listing(given.wallet), make.key("ana"), given)
    until = ((make.key("ana").public, NOW_S + 60),)
    assert ask(data, head=None).reason == "delegation_unproven"
    assert ask(data, head=make.head(), standing=make.standing(delegates=until)).verified
    gone = ((make.key("ana").public, NOW_S),)
    assert ask(data, head=make.head(), standing=make.standing(delegates=gone)).reason == "delegation_revoked"
    behind = make.head(at_ms=make.NOW - 1000)
    assert ask(data, head=behind, standing=make.standing()).verdict is DEFER
    ahead = make.head(at_ms=make.NOW + 1000)
    assert ask(data, head=ahead, standing=make.standing()).verdict is IGNORE


def test_quota_grows_with_bond_and_is_small_without_a_wallet() -> None:
    plain, own = make.signed_listing(), make.signed_listing(wallet=False)
    poor, rich = make.standing(bond_wei=0), make.standing(bond_wei=10**18)
    head = make.head()
    assert ask(plain, standing=poor, head=head, held=RULES.listings_verified - 1).verdict is ACCEPT
    assert ask(plain, standing=poor, head=head, held=RULES.listings_verified) == Admission(IGNORE, "quota")
    assert ask(plain, standing=rich, head=head, held=RULES.listings_verified).verified
    assert ask(plain, standing=rich, head=head, held=RULES.listings_most).reason == "quota"
    assert ask(own, head=head, held=RULES.listings_unverified - 1).verdict is ACCEPT
    assert ask(own, head=head, held=RULES.listings_unverified).reason == "quota"
    assert ask(own, held=RULES.listings_chainless - 1).verdict is ACCEPT
    assert ask(own, held=RULES.listings_chainless).reason == "quota"


def test_a_withdrawal_needs_no_credential() -> None:
    record = open_record(make.signed_listing())
    ended = end_record(record, make.key("ana"), make.NOW, make.delegation())
    answer = ask(ended, standing=make.standing(credentials=(), suspended_until_s=NOW_S + 9), head=make.head())
    assert answer == Admission(ACCEPT, "tombstone")
    revoked = make.standing(revoked_before_s=NOW_S + 1)
    assert ask(ended, standing=revoked, head=make.head()).reason == "delegation_revoked"


def test_a_node_record_needs_no_chain() -> None:
    assert ask(make.signed_node()) == Admission(ACCEPT, "node")
    assert ask(make.signed_node(), head=make.head()) == Admission(ACCEPT, "node")


def test_every_reason_says_what_to_do() -> None:
    reasons = {case[0] for case in CASES}
    assert reasons <= set(HINTS)
    assert all(hint.endswith((".", "!")) for hint in HINTS.values())


def test_the_same_arguments_give_the_same_answer() -> None:
    record = open_record(make.signed_listing())
    answers = {
        admit(record, standing=make.standing(), head=make.head(), limits=RULES, now_ms=make.NOW) for _ in range(3)
    }
    assert len(answers) == 1
