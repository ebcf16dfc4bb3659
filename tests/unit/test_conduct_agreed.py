"""What a client believes of feedback: what three operators say alike, key root by key root."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support import records as make
from warmline.client.matching import Collection, Holding
from warmline_protocol.records.conduct import CollectorsSet, Conduct, ConductFacts, KeyRoot, VouchersGranted
from warmline_protocol.records.standing_sheet import StandingSheet

ISSUER, OTHER = b"\x11" * 20, b"\x12" * 20
ROOT = KeyRoot(ISSUER, 7, 30, b"\x01" * 32)
NEW = KeyRoot(OTHER, 8, 30, b"\x02" * 32)
FALSE = KeyRoot(ISSUER, 7, 30, b"\x66" * 32)
TERMS = Conduct(b"\x09" * 20, 1_700_000_000, 604_800, (b"\x01" * 20,), 1)


def said(*each: Conduct | None) -> Conduct | None:
    """What is agreed on, where so many operators said these."""
    holdings = [
        Holding(str(number), f"operator {number}", (), StandingSheet(make.head(), {}, conduct))
        for number, conduct in enumerate(each)
    ]
    return Collection(None, holdings).conduct(make.NOW)


def with_roots(*roots: KeyRoot) -> Conduct:
    return replace(TERMS, roots=roots)


def test_a_root_that_three_name_is_believed_and_one_that_two_name_is_not() -> None:
    agreed = said(with_roots(ROOT, NEW), with_roots(ROOT, NEW), with_roots(ROOT))
    assert agreed == with_roots(ROOT)


def test_a_liar_among_four_adds_nothing_and_takes_nothing_away() -> None:
    honest = with_roots(ROOT)
    assert said(honest, honest, honest, with_roots(FALSE)) == honest
    assert said(honest, honest, honest, replace(honest, contract=b"\x66" * 20)) == honest
    assert said(honest, honest, honest, None) == honest


def test_without_agreement_there_is_no_feedback() -> None:
    other = replace(TERMS, contract=b"\x66" * 20)
    assert said(TERMS, TERMS, other) is None
    assert said(TERMS, TERMS, None) is None
    assert said(None, None, None) is None
    assert said() is None


def test_in_a_smaller_network_all_must_agree() -> None:
    assert said(with_roots(ROOT)) == with_roots(ROOT)
    assert said(with_roots(ROOT), with_roots(FALSE)) == TERMS
    assert said(TERMS, None) is None


def test_a_second_grant_of_an_epoch_changes_nothing() -> None:
    facts = ConductFacts()
    facts.apply(VouchersGranted(ISSUER, 7, 30, ROOT.root))
    facts.apply(VouchersGranted(ISSUER, 7, 99, FALSE.root))
    facts.apply(VouchersGranted(OTHER, 8, 30, NEW.root))
    assert facts.around(8, back=1) == (ROOT, NEW)
    assert facts.around(8, back=0) == (NEW,)
    facts.forget_before(8)
    assert facts.around(8) == (NEW,)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_collectors_are_named_anew_and_whole(count: int) -> None:
    facts = ConductFacts((), (b"\x07" * 20,), 1)  # type: ignore[arg-type]
    named = tuple(bytes([number]) * 20 for number in range(count))
    facts.apply(CollectorsSet(b"".join(named), count))
    assert (facts.collectors, facts.threshold) == (named, count)
