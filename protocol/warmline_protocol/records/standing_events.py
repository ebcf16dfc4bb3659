"""What the contracts' events say, one class each, as the ledger of standing folds them.

Addresses are 20 bytes, type and report ids 32, times seconds of the chain, amounts wei.
"""

from __future__ import annotations

from dataclasses import dataclass

from warmline_protocol.records.conduct import CollectorsSet, VouchersGranted


@dataclass(frozen=True, slots=True)
class IssuerAdmitted:
    issuer: bytes


@dataclass(frozen=True, slots=True)
class IssuerRemoved:
    issuer: bytes


@dataclass(frozen=True, slots=True)
class IssuerSunset:
    """The issuer leaves in peace: its word, and the types it is steward of, count until `sunset_at_s`."""

    issuer: bytes
    sunset_at_s: int


@dataclass(frozen=True, slots=True)
class IssuerSuspended:
    """The issuer's own credentials rest until `until_s`; a time that is over lifts it."""

    issuer: bytes
    until_s: int


@dataclass(frozen=True, slots=True)
class TypeRegistered:
    """The issuer who registers a type is its steward: the type lives while the steward is admitted."""

    issuer: bytes
    type_id: bytes


@dataclass(frozen=True, slots=True)
class IssuerRecognised:
    type_id: bytes
    issuer: bytes


@dataclass(frozen=True, slots=True)
class RecognitionWithdrawn:
    type_id: bytes
    issuer: bytes


@dataclass(frozen=True, slots=True)
class CredentialIssued:
    holder: bytes
    type_id: bytes
    issuer: bytes
    until_s: int


@dataclass(frozen=True, slots=True)
class CredentialRevoked:
    holder: bytes
    type_id: bytes
    issuer: bytes
    reason: int


@dataclass(frozen=True, slots=True)
class CredentialRenounced:
    holder: bytes
    type_id: bytes
    issuer: bytes


@dataclass(frozen=True, slots=True)
class DelegateSet:
    wallet: bytes
    key: bytes
    until_s: int


@dataclass(frozen=True, slots=True)
class DelegatesRevokedBefore:
    wallet: bytes
    time_s: int


@dataclass(frozen=True, slots=True)
class Bonded:
    supporter: bytes
    funder: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class ExitQueued:
    supporter: bytes
    exit_id: int
    beneficiary: bytes
    amount: int
    claimable_at_s: int


@dataclass(frozen=True, slots=True)
class ExitClaimed:
    supporter: bytes
    exit_id: int
    amount: int


@dataclass(frozen=True, slots=True)
class Slashed:
    """A ruling took `amount`; `bonded` and `exiting` are what is left."""

    supporter: bytes
    report_id: bytes
    amount: int
    bonded: int
    exiting: int


@dataclass(frozen=True, slots=True)
class SuspensionChanged:
    """The panel suspends the wallet until `until_s`; a time that is over restores it."""

    wallet: bytes
    until_s: int


Event = (
    IssuerAdmitted
    | IssuerRemoved
    | IssuerSunset
    | IssuerSuspended
    | TypeRegistered
    | IssuerRecognised
    | RecognitionWithdrawn
    | CredentialIssued
    | CredentialRevoked
    | CredentialRenounced
    | DelegateSet
    | DelegatesRevokedBefore
    | Bonded
    | ExitQueued
    | ExitClaimed
    | Slashed
    | SuspensionChanged
    | VouchersGranted
    | CollectorsSet
)
