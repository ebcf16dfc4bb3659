"""Standing as a fold over a chain that reorganises, against a model that folds everything again from scratch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmline.chain.reorg import FinalityBrokenError, Ref, Span, Window
from warmline_protocol.records.standing import Standing, StandingSource
from warmline_protocol.records.standing_events import (
    Bonded,
    CredentialIssued,
    CredentialRenounced,
    CredentialRevoked,
    DelegateSet,
    DelegatesRevokedBefore,
    Event,
    ExitClaimed,
    ExitQueued,
    IssuerAdmitted,
    IssuerRecognised,
    IssuerRemoved,
    IssuerSunset,
    IssuerSuspended,
    RecognitionWithdrawn,
    Slashed,
    SuspensionChanged,
    TypeRegistered,
)
from warmline_protocol.records.standing_ledger import Ledger, PendingView

A, B = b"a" * 20, b"b" * 20
I1, I2 = b"i" * 20, b"j" * 20
T1, T2 = b"t" * 32, b"u" * 32
K1, K2 = b"k" * 32, b"l" * 32
START = (IssuerAdmitted(I1), IssuerAdmitted(I2), TypeRegistered(I1, T1), TypeRegistered(I2, T2))

wallets, issuers, types, keys = (st.sampled_from(pair) for pair in ((A, B), (I1, I2), (T1, T2), (K1, K2)))
seconds = st.integers(1, 9)
EVENTS = st.one_of(
    st.builds(IssuerAdmitted, issuers),
    st.builds(IssuerRemoved, issuers),
    st.builds(IssuerSunset, issuers, seconds),
    st.builds(IssuerSuspended, issuers, st.integers(0, 9)),
    st.builds(IssuerRecognised, types, issuers),
    st.builds(RecognitionWithdrawn, types, issuers),
    st.builds(CredentialIssued, wallets, types, issuers, seconds),
    st.builds(CredentialRevoked, wallets, types, issuers, st.just(0)),
    st.builds(CredentialRenounced, wallets, types, issuers),
    st.builds(DelegateSet, wallets, keys, st.integers(0, 9)),
    st.builds(DelegatesRevokedBefore, wallets, seconds),
    st.builds(Bonded, wallets, wallets, seconds),
    st.builds(ExitQueued, wallets, st.just(1), wallets, seconds, seconds),
    st.builds(ExitClaimed, wallets, st.just(1), seconds),
    st.builds(Slashed, wallets, types, seconds, st.integers(0, 9), st.integers(0, 9)),
    st.builds(SuspensionChanged, wallets, st.integers(0, 9)),
)
BAD = (
    IssuerAdmitted,  # after a sunset it ends the term before
    IssuerRemoved,
    IssuerSunset,
    IssuerSuspended,
    RecognitionWithdrawn,
    CredentialRevoked,
    CredentialRenounced,
    DelegatesRevokedBefore,
    Slashed,
    SuspensionChanged,
)


def plain(events: Iterable[Event], wallet: bytes) -> Standing:
    """What a chain with exactly these events says, with no care about finality."""
    ledger = Ledger()
    for event in (Bonded(wallet, wallet, 0), *START, *events):
        ledger.apply(event)
    standing = ledger.standing(wallet)
    assert standing is not None
    return standing


def view_of(final: Sequence[Event], pending: Sequence[Event]) -> PendingView:
    view = PendingView(Ledger())
    view.update([*START, *final], pending)
    return view


@pytest.mark.parametrize(
    ("final", "pending", "valid"),
    [
        ([], [], False),
        ([CredentialIssued(A, T1, I1, 9)], [], True),
        ([], [CredentialIssued(A, T1, I1, 9)], False),
        ([CredentialIssued(A, T1, I1, 9)], [CredentialRevoked(A, T1, I1, 0)], False),
        ([CredentialIssued(A, T1, I1, 9)], [CredentialRenounced(A, T1, I1)], False),
        ([CredentialIssued(A, T1, I1, 9)], [CredentialRevoked(B, T1, I1, 0)], True),
        ([CredentialIssued(A, T1, I1, 9)], [IssuerRemoved(I1)], False),
        ([CredentialIssued(A, T1, I1, 9)], [IssuerRemoved(I2)], True),
        # A revocation is not undone by a new issue until that is final.
        ([CredentialIssued(A, T1, I1, 9)], [CredentialRevoked(A, T1, I1, 0), CredentialIssued(A, T1, I1, 9)], False),
        ([CredentialIssued(A, T1, I1, 9), CredentialRevoked(A, T1, I1, 0), CredentialIssued(A, T1, I1, 9)], [], True),
        # An issuer who comes back does not bring its old credentials back.
        ([CredentialIssued(A, T1, I1, 9), IssuerRemoved(I1), IssuerAdmitted(I1)], [], False),
        ([CredentialIssued(A, T1, I1, 9)], [IssuerRemoved(I1), IssuerAdmitted(I1)], False),
        # Another's type counts while its steward recognises the issuer and is admitted.
        ([CredentialIssued(A, T1, I2, 9)], [], False),
        ([IssuerRecognised(T1, I2), CredentialIssued(A, T1, I2, 9)], [], True),
        ([IssuerRecognised(T1, I2), CredentialIssued(A, T1, I2, 9)], [RecognitionWithdrawn(T1, I2)], False),
        ([IssuerRecognised(T1, I2), CredentialIssued(A, T1, I2, 9)], [IssuerRemoved(I1)], False),
        # A suspension rests the issuer's own word and nobody else's; lifting it is good news.
        ([CredentialIssued(A, T1, I1, 9)], [IssuerSuspended(I1, 5)], False),
        ([CredentialIssued(A, T1, I1, 9)], [IssuerSuspended(I1, 1)], True),
        ([CredentialIssued(A, T1, I1, 9), IssuerSuspended(I1, 5)], [IssuerSuspended(I1, 0)], False),
        ([CredentialIssued(A, T1, I1, 9), IssuerSuspended(I1, 5), IssuerSuspended(I1, 0)], [], True),
        ([IssuerRecognised(T1, I2), CredentialIssued(A, T1, I2, 9)], [IssuerSuspended(I1, 5)], True),
        # A sunset ends it on a date, for the issuer and for the types it is steward of.
        ([CredentialIssued(A, T1, I1, 9)], [IssuerSunset(I1, 2)], True),
        ([CredentialIssued(A, T1, I1, 9)], [IssuerSunset(I1, 1)], False),
        ([IssuerRecognised(T1, I2), CredentialIssued(A, T1, I2, 9)], [IssuerSunset(I1, 1)], False),
        ([CredentialIssued(A, T1, I1, 9), IssuerSunset(I1, 1), IssuerAdmitted(I1)], [], False),
    ],
)
def test_bad_news_acts_at_once_good_news_when_final(final: list[Event], pending: list[Event], valid: bool) -> None:
    standing = view_of(final, pending).of(A)
    assert (standing is not None and standing.holds(T1, 1)) is valid


def test_a_shorter_credential_acts_at_once_a_longer_one_when_final() -> None:
    issued = CredentialIssued(A, T1, I1, 5)
    assert [c.until_s for c in view_of([issued], [CredentialIssued(A, T1, I1, 3)]).of(A).credentials] == [3]  # type: ignore[union-attr]
    assert [c.until_s for c in view_of([issued], [CredentialIssued(A, T1, I1, 9)]).of(A).credentials] == [5]  # type: ignore[union-attr]


def test_an_expired_credential_stays_listed_but_does_not_hold() -> None:
    standing = view_of([CredentialIssued(A, T1, I1, 5)], []).of(A)
    assert standing is not None
    assert standing.holds(T1, 4)
    assert not standing.holds(T1, 5)
    assert standing.credentials


def test_a_lost_device_stops_speaking_at_the_first_block() -> None:
    set_then_lost = view_of([DelegateSet(A, K1, 9)], [DelegatesRevokedBefore(A, 4), DelegateSet(A, K2, 9)]).of(A)
    assert set_then_lost is not None
    assert set_then_lost.delegates == ()
    assert set_then_lost.revoked_before_s == 4
    final = view_of([DelegateSet(A, K1, 9), DelegatesRevokedBefore(A, 4), DelegateSet(A, K2, 9)], []).of(A)
    assert final is not None
    assert final.delegates == ((K2, 9),)


def test_bond_counts_when_final_and_leaves_at_once() -> None:
    standing = view_of([Bonded(A, B, 7)], [Bonded(A, A, 5), ExitQueued(A, 1, A, 3, 9)]).of(A)
    assert standing is not None
    assert (standing.bond_wei, standing.exiting_wei) == (4, 3)


def test_a_ruling_acts_at_the_first_block_and_is_taken_back_when_final() -> None:
    bonded = Bonded(A, A, 9)
    ruled = view_of([bonded], [SuspensionChanged(A, 7), Slashed(A, T1, 3, 6, 0)]).of(A)
    assert ruled is not None
    assert (ruled.suspended_until_s, ruled.bond_wei) == (7, 6)
    suspended: list[Event] = [bonded, SuspensionChanged(A, 7)]
    restored = SuspensionChanged(A, 0)
    assert view_of(suspended, [restored]).of(A).suspended_until_s == 7  # type: ignore[union-attr]
    assert view_of([*suspended, restored], []).of(A).suspended_until_s == 0  # type: ignore[union-attr]


def test_strangers_have_no_standing_and_take_no_memory() -> None:
    view = view_of([], [Bonded(A, A, 5)])
    assert view.of(A) is None
    for number in range(100):
        view.of(number.to_bytes(20, "big"))
    assert not view._cache


def test_the_protocol_types_fit_the_sources() -> None:
    from warmline.chain.source import NullChain

    assert isinstance(NullChain(), StandingSource)


class _Chain:
    """The model: the whole canonical chain as lists, and how much of it is final."""

    def __init__(self) -> None:
        self.blocks: list[list[Event]] = []
        self.final = 0
        self.names: list[bytes] = []
        self.made = 0


def name_of(chain: _Chain, at: int) -> bytes:
    return chain.names[at] if at >= 0 else b"genesis"


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.lists(EVENTS, max_size=4)),
        st.tuples(st.just("drop"), st.integers(1, 3)),
        st.tuples(st.just("finalize"), st.integers(0, 3)),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(MOVES)
def test_standing_through_random_reorganisations_is_the_model_s(moves: list[tuple[str, object]]) -> None:
    chain, window, view = _Chain(), Window(Ref(0, b"genesis", 0)), PendingView(Ledger())
    view.update(START, ())
    for move, value in moves:
        final: list[Span] = []
        if move == "grow":
            assert isinstance(value, list)
            chain.made += 1
            name = b"%d" % chain.made
            number = len(chain.blocks) + 1
            parent = name_of(chain, number - 2)
            window.grow(Span(number, parent, Ref(number, name, number), tuple(value)))
            chain.blocks.append(value)
            chain.names.append(name)
        elif move == "drop":
            assert isinstance(value, int)
            for _ in range(min(value, len(chain.blocks) - chain.final)):
                window.drop()
                chain.blocks.pop()
                chain.names.pop()
            if len(chain.blocks) == chain.final:
                with pytest.raises(FinalityBrokenError):
                    window.drop()
        else:
            assert isinstance(value, int)
            chain.final = min(len(chain.blocks), chain.final + value)
            final = window.finalize(chain.final)
        view.update([event for span in final for event in span.events], window.pending())
        assert window.tip.hash == name_of(chain, len(chain.blocks) - 1)
        for wallet in (A, B):
            _check(view, chain, wallet)


def _check(view: PendingView, chain: _Chain, wallet: bytes) -> None:
    final = [event for block in chain.blocks[: chain.final] for event in block]
    pending = [event for block in chain.blocks[chain.final :] for event in block]
    careful = view.of(wallet)
    assert careful == view_of(final, pending).of(wallet)
    if careful is None:
        return
    # Never better than the chain was at any block from the last final one to the newest.
    for seen in range(len(pending) + 1):
        _not_better(careful, plain([*final, *pending[:seen]], wallet))
    # And never worse than the final facts without a reason.
    if not any(isinstance(event, (*BAD, ExitQueued, ExitClaimed, CredentialIssued, DelegateSet)) for event in pending):
        assert careful == plain(final, wallet)


def _not_better(careful: Standing, there: Standing) -> None:
    until = {(c.type_id, c.issuer): c.until_s for c in there.credentials}
    assert all(c.until_s <= until.get((c.type_id, c.issuer), -1) for c in careful.credentials)
    since = {(c.type_id, c.issuer): c.from_s for c in there.credentials}
    assert all(c.from_s >= since[c.type_id, c.issuer] for c in careful.credentials)
    assert all(end <= there.delegate_until(key) for key, end in careful.delegates)
    assert careful.bond_wei <= there.bond_wei
    assert careful.suspended_until_s >= there.suspended_until_s
    assert careful.revoked_before_s >= there.revoked_before_s
