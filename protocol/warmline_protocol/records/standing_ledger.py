"""From the contracts' events to each wallet's standing, as a pure fold.

Two streams meet here. *Final* events change the ledger for good. *Pending* ones sit in blocks that a
reorganisation may still drop, so they may only take away: a revocation acts at the first block, a new credential
only when it is final. `Ledger.standing` therefore folds the final facts first and lays the bad half of the pending
events over them. (Comparing only the two ends, final and newest, would miss a revocation that is followed by a
new issue in the same unconfirmed stretch.)

Nothing here expires by the clock: `Standing` keeps `until_s` and whoever judges compares it with a time of theirs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from warmline_protocol.records.conduct import CollectorsSet, ConductFacts, VouchersGranted
from warmline_protocol.records.standing import Credential, Standing
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

# An admission can be bad news too: of an issuer past its sunset, it says that all of the earlier term is over.
_BAD_ISSUER_EVENTS = (IssuerAdmitted, IssuerRemoved, IssuerSunset, IssuerSuspended, RecognitionWithdrawn)
_NEVER_S = 2**64


@dataclass(slots=True)
class _Wallet:
    """What the events say of one wallet so far. Credentials that stopped counting stay and are filtered on reading."""

    credentials: dict[tuple[bytes, bytes], tuple[int, int]] = field(default_factory=dict)
    """(type id, issuer) to (until_s, the issuer's term when it was issued)."""
    bond_wei: int = 0
    exiting_wei: int = 0
    delegates: dict[bytes, int] = field(default_factory=dict)
    revoked_before_s: int = 0
    suspended_until_s: int = 0

    def copy(self) -> _Wallet:
        return dataclasses.replace(self, credentials=dict(self.credentials), delegates=dict(self.delegates))


@dataclass(slots=True)
class _Issuers:
    """Who may issue what. An issuer admitted again starts a new *term*: what it issued before stays dead."""

    admitted: set[bytes] = field(default_factory=set)
    terms: dict[bytes, int] = field(default_factory=dict)
    stewards: dict[bytes, bytes] = field(default_factory=dict)
    recognised: set[tuple[bytes, bytes]] = field(default_factory=set)
    sunsets: dict[bytes, int] = field(default_factory=dict)
    suspended: dict[bytes, int] = field(default_factory=dict)

    def copy(self) -> _Issuers:
        return _Issuers(
            set(self.admitted),
            self.terms,
            self.stewards,
            set(self.recognised),
            dict(self.sunsets),
            dict(self.suspended),
        )

    def counts(self, type_id: bytes, issuer: bytes, term: int) -> bool:
        """What the contract's `isValid` asks of a credential's issuer and type, apart from times."""
        steward = self.stewards.get(type_id)
        if steward not in self.admitted or issuer not in self.admitted or self.terms[issuer] != term:
            return False
        return issuer == steward or (type_id, issuer) in self.recognised

    def times(self, type_id: bytes, issuer: bytes) -> tuple[int, int]:
        """From when and until when the issuer's word about the type counts."""
        sunset = min(self.sunsets.get(one, _NEVER_S) for one in (issuer, self.stewards[type_id]))
        return self.suspended.get(issuer, 0), sunset


class Ledger:
    """The final facts. Cheap to read for one wallet: cost grows with that wallet's own credentials only."""

    def __init__(self) -> None:
        self._wallets: dict[bytes, _Wallet] = {}
        self._issuers = _Issuers()
        self.conduct = ConductFacts()

    def __len__(self) -> int:
        return len(self._wallets)

    def apply(self, event: Event) -> None:
        wallet = subject_of(event)
        if isinstance(event, VouchersGranted | CollectorsSet):
            self.conduct.apply(event)
        elif wallet is None:
            _fold_issuer(self._issuers, event)
        else:
            _fold(self._wallets.setdefault(wallet, _Wallet()), event, self._issuers)

    def standing(self, wallet: bytes, pending: Iterable[Event] = ()) -> Standing | None:
        """The careful view of `wallet`. `pending`: unconfirmed events in order; those of other wallets are skipped."""
        known = self._wallets.get(wallet)
        if known is None:
            return None
        facts, issuers = known, self._issuers
        for event in pending:
            subject = subject_of(event)
            if subject is None and isinstance(event, _BAD_ISSUER_EVENTS):
                issuers = issuers.copy() if issuers is self._issuers else issuers
                _fold_bad_issuer(issuers, event)
            elif subject == wallet:
                facts = facts.copy() if facts is known else facts
                _fold_bad(facts, event, issuers)
        return _standing(wallet, facts, issuers)


class PendingView:
    """A ledger with an unconfirmed tail over it, answering each wallet from a cache until either changes."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._pending: dict[bytes, list[Event]] = {}
        self._withdrawals: list[Event] = []
        self._cache: dict[bytes, Standing | None] = {}

    def update(self, final: Iterable[Event], pending: Iterable[Event]) -> None:
        """Make `final` permanent and replace the whole tail by `pending`."""
        for event in final:
            self.ledger.apply(event)
        self._pending, self._withdrawals, self._cache = {}, [], {}
        for event in pending:
            wallet = subject_of(event)
            if wallet is not None:
                self._pending.setdefault(wallet, []).append(event)
            elif isinstance(event, _BAD_ISSUER_EVENTS):
                self._withdrawals.append(event)

    def of(self, wallet: bytes) -> Standing | None:
        try:
            return self._cache[wallet]
        except KeyError:
            standing = self.ledger.standing(wallet, [*self._withdrawals, *self._pending.get(wallet, ())])
            if standing is not None:  # strangers' wallets come from the wire: caching them would be a memory leak
                self._cache[wallet] = standing
            return standing


def subject_of(event: Event) -> bytes | None:
    """The wallet whose standing the event changes; None for what concerns issuers and types."""
    match event:
        case IssuerAdmitted() | IssuerRemoved() | IssuerSunset() | IssuerSuspended():
            return None
        case TypeRegistered() | IssuerRecognised() | RecognitionWithdrawn() | VouchersGranted() | CollectorsSet():
            return None
        case CredentialIssued() | CredentialRevoked() | CredentialRenounced():
            return event.holder
        case DelegateSet() | DelegatesRevokedBefore():
            return event.wallet
        case Bonded() | ExitQueued() | ExitClaimed() | Slashed():
            return event.supporter
        case SuspensionChanged():
            return event.wallet


def _fold_issuer(issuers: _Issuers, event: Event) -> None:
    match event:
        case IssuerAdmitted(issuer):
            # As in the contract, which admits again only after a removal or a sunset.
            if issuer not in issuers.admitted or issuer in issuers.sunsets:
                issuers.admitted.add(issuer)
                issuers.terms[issuer] = issuers.terms.get(issuer, 0) + 1
                issuers.sunsets.pop(issuer, None)
                issuers.suspended.pop(issuer, None)
        case IssuerRemoved(issuer):
            issuers.admitted.discard(issuer)
        case IssuerSunset(issuer, sunset_at_s):
            issuers.sunsets[issuer] = min(sunset_at_s, issuers.sunsets.get(issuer, _NEVER_S))
        case IssuerSuspended(issuer, until_s):
            issuers.suspended[issuer] = until_s
        case TypeRegistered(issuer, type_id):
            issuers.stewards.setdefault(type_id, issuer)
        case IssuerRecognised(type_id, issuer):
            issuers.recognised.add((type_id, issuer))
        case RecognitionWithdrawn(type_id, issuer):
            issuers.recognised.discard((type_id, issuer))


def _fold_bad_issuer(issuers: _Issuers, event: Event) -> None:
    """Fold only what the event takes away."""
    match event:
        case IssuerAdmitted(issuer):
            if issuer in issuers.sunsets:
                issuers.admitted.discard(issuer)
        case IssuerSuspended(issuer, until_s):
            issuers.suspended[issuer] = max(until_s, issuers.suspended.get(issuer, 0))
        case _:
            _fold_issuer(issuers, event)


def _fold(facts: _Wallet, event: Event, issuers: _Issuers) -> None:
    match event:
        case CredentialIssued(_, type_id, issuer, until_s):
            facts.credentials[type_id, issuer] = (until_s, issuers.terms.get(issuer, 0))
        case CredentialRevoked(_, type_id, issuer) | CredentialRenounced(_, type_id, issuer):
            facts.credentials.pop((type_id, issuer), None)
        case DelegateSet(_, key, until_s):
            facts.delegates[key] = until_s
        case DelegatesRevokedBefore(_, time_s):
            facts.delegates.clear()  # those set before; the same call ends delegations signed off chain
            facts.revoked_before_s = max(facts.revoked_before_s, time_s)
        case Bonded(_, _, amount):
            facts.bond_wei += amount
        case ExitQueued(_, _, _, amount, _):
            facts.bond_wei = max(0, facts.bond_wei - amount)
            facts.exiting_wei += amount
        case ExitClaimed(_, _, amount):
            facts.exiting_wei = max(0, facts.exiting_wei - amount)
        case Slashed():
            facts.bond_wei, facts.exiting_wei = event.bonded, event.exiting
        case SuspensionChanged(_, until_s):
            facts.suspended_until_s = until_s


def _fold_bad(facts: _Wallet, event: Event, issuers: _Issuers) -> None:
    """Fold only what the event takes away."""
    match event:
        case CredentialIssued(_, type_id, issuer, until_s):
            known = facts.credentials.get((type_id, issuer))
            if known is not None:
                facts.credentials[type_id, issuer] = (min(known[0], until_s), known[1])
        case DelegateSet(_, key, until_s):
            if key in facts.delegates:
                facts.delegates[key] = min(facts.delegates[key], until_s)
        case Bonded():
            pass
        case Slashed():
            # What is left counts coin that was put down in blocks that are not final either.
            facts.bond_wei, facts.exiting_wei = min(facts.bond_wei, event.bonded), event.exiting
        case SuspensionChanged(_, until_s):
            facts.suspended_until_s = max(facts.suspended_until_s, until_s)
        case _:
            _fold(facts, event, issuers)


def _standing(wallet: bytes, facts: _Wallet, issuers: _Issuers) -> Standing:
    return Standing(
        wallet=wallet,
        credentials=tuple(
            _credential(type_id, issuer, until_s, issuers)
            for (type_id, issuer), (until_s, term) in sorted(facts.credentials.items())
            if issuers.counts(type_id, issuer, term)
        ),
        bond_wei=facts.bond_wei,
        exiting_wei=facts.exiting_wei,
        delegates=tuple(sorted((key, until_s) for key, until_s in facts.delegates.items() if until_s > 0)),
        revoked_before_s=facts.revoked_before_s,
        suspended_until_s=facts.suspended_until_s,
    )


def _credential(type_id: bytes, issuer: bytes, until_s: int, issuers: _Issuers) -> Credential:
    from_s, sunset_s = issuers.times(type_id, issuer)
    return Credential(type_id, issuer, min(until_s, sunset_s), from_s)
