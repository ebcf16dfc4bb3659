"""Whether a record may be kept and passed on: one pure function, the same for gossip, DHT, sync and publishing.

Two questions are kept apart. *Is it broken?* A bad signature, shape or size is provable by anybody with the same
bytes, so it is REJECTed and held against whoever forwarded it. *Is it welcome here and now?* That depends on this
node's clock, chain view and space, so the answer is IGNORE or DEFER and is held against nobody: a node whose follower
lags must not punish honest neighbours.

Facilitated or closed: with a chain, a listing that speaks for a wallet travels only while that wallet holds a valid
credential and is not suspended. Bad news acts however old our head is. A record of a bare key, or of a wallet on
another chain, makes no claim that we could check; a few per key travel, shown as *unverified*. Bond widens how many
listings a wallet may have out, never how they rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from warmline_protocol import limits
from warmline_protocol.errors import BadSignatureError, OversizeError, RemoteError
from warmline_protocol.records.card import Card
from warmline_protocol.records.delegation import Delegation
from warmline_protocol.records.envelope import (
    CARD,
    COLLECTOR,
    DESK,
    LISTING,
    NODE,
    TOMBSTONE,
    OpenedRecord,
    open_record,
)
from warmline_protocol.records.standing import ChainHead, Standing
from warmline_protocol.verdict import Verdict


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How many live records one owner may have here. A node's own choice; these are the defaults."""

    listings_unverified: int = 4
    listings_chainless: int = 32
    """Without a chain nothing can be verified, so the small quota is all that a community has."""
    listings_verified: int = 32
    listings_most: int = 128
    bond_step_wei: int = 10**16
    listings_per_step: int = 8
    desks_unverified: int = 1
    desks_chainless: int = 8
    desks_verified: int = 8
    tombstones: int = 128


@dataclass(frozen=True, slots=True)
class Admission:
    """``reason`` is a stable code; ``hint`` tells the record's author what to do."""

    verdict: Verdict
    reason: str
    verified: bool = False

    @property
    def hint(self) -> str:
        return HINTS[self.reason]


HINTS: Final = {
    "verified": "Published; the chain vouches for you.",
    "no_chain": "Published. This node follows no chain, so people see the record as unverified.",
    "no_wallet": "Published as unverified: register a wallet and a delegation to be verified.",
    "other_chain": "Published as unverified: your delegation is for another chain than this node follows.",
    "no_credential_yet": "Published as unverified: ask an issuer for a credential.",
    "claims_unproven": "Published as unverified: the card claims a credential that the chain does not show.",
    "standing_stale": "Published as unverified for now: this node's view of the chain is more than an hour old.",
    "tombstone": "Withdrawn; nodes forget the record as the news reaches them.",
    "node": "Published.",
    "collector": "Published; it counts where the chain names this wallet as a collector.",
    "future": "Set your clock (NTP): the record is signed more than five minutes in the future.",
    "expired": "Sign the record again: its time is over.",
    "older": "Nothing to do: a newer version of this record is already here.",
    "malformed": "Update warmline: the record is not in the form that this network uses.",
    "oversize": "Shorten the texts: a record may have 16 KiB.",
    "bad_signature": "Sign the record again with the right key.",
    "delegation_expired": "Sign a new delegation with your wallet.",
    "delegation_revoked": "The wallet revoked this device; sign a new delegation if that was not you.",
    "delegation_unproven": "Sign the delegation with the wallet, or register the key in DelegateRegistry.",
    "delegation_pending": "Wait for the next block: this node has not seen the key in DelegateRegistry yet.",
    "suspended": "The wallet is suspended; its rulings say until when.",
    "no_credential": "A group or desk needs the valid credential of its owner: ask your issuer to issue or renew it.",
    "standing_unknown": "Wait for the next block: this node's view of the chain is older than the record.",
    "quota": "Withdraw a listing first, or raise your bond: this is as many as one owner may have.",
    "full": "This node's directory is full; publish through another node.",
}


def judge(
    data: bytes,
    *,
    standing: Standing | None,
    head: ChainHead | None,
    limits: AdmissionLimits,
    now_ms: int,
    held: int = 0,
) -> tuple[Admission, OpenedRecord | None]:
    """:func:`admit` for bytes; the record is None exactly when the verdict is REJECT."""
    try:
        record = open_record(data)
    except RemoteError as error:
        return Admission(Verdict.REJECT, reason_of(error)), None
    return admit(record, standing=standing, head=head, limits=limits, now_ms=now_ms, held=held), record


def reason_of(error: RemoteError) -> str:
    """The reason code of bytes that :func:`open_record` refused."""
    if isinstance(error, OversizeError):
        return "oversize"
    return "bad_signature" if isinstance(error, BadSignatureError) else "malformed"


def admit(
    record: OpenedRecord,
    *,
    standing: Standing | None,
    head: ChainHead | None,
    limits: AdmissionLimits,
    now_ms: int,
    held: int = 0,
) -> Admission:
    """Judge a record whose signatures hold.

    ``standing`` is what ``head`` says of the record's wallet, None where the chain has nothing about it; ``head`` is
    None without a chain. ``held`` counts the other live records of this owner and kind that this node keeps.
    """
    early = _by_time(record, now_ms)
    if early is not None:
        return early
    welcome = _by_delegation(record, standing, head, now_ms) or _by_standing(record, standing, head, now_ms)
    if welcome.verdict is Verdict.ACCEPT and held >= _quota(record, welcome, standing, limits):
        return Admission(Verdict.IGNORE, "quota")
    return welcome


def _by_time(record: OpenedRecord, now_ms: int) -> Admission | None:
    if record.seq > now_ms + limits.CLOCK_SKEW_MS:
        return Admission(Verdict.IGNORE, "future")
    if record.body.not_after <= now_ms:
        return Admission(Verdict.IGNORE, "expired")
    if record.expires <= now_ms:
        return Admission(Verdict.IGNORE, "delegation_expired")
    return None


def _by_delegation(
    record: OpenedRecord, standing: Standing | None, head: ChainHead | None, now_ms: int
) -> Admission | None:
    """None where the delegation, if any, stands."""
    given = record.delegation
    if given is None or (head is not None and given.chain_id != head.chain_id):
        return Admission(Verdict.IGNORE, "delegation_unproven") if given and not given.signature else None
    if standing is not None and given.signature and given.not_before_s < standing.revoked_before_s:
        return Admission(Verdict.IGNORE, "delegation_revoked")
    if given.signature is None:
        return _on_chain_delegation(given, record.seq, standing, head, now_ms)
    return None


def _on_chain_delegation(
    given: Delegation, seq: int, standing: Standing | None, head: ChainHead | None, now_ms: int
) -> Admission | None:
    if head is None:
        return Admission(Verdict.IGNORE, "delegation_unproven")
    until = standing.delegate_until(given.key) if standing else 0
    if until * 1000 > now_ms:
        return None
    if until or head.time_s * 1000 > seq:
        return Admission(Verdict.IGNORE, "delegation_revoked")
    return Admission(Verdict.DEFER, "delegation_pending")


def _by_standing(record: OpenedRecord, standing: Standing | None, head: ChainHead | None, now_ms: int) -> Admission:
    given = record.delegation
    now_s = now_ms // 1000
    if standing is not None and standing.suspended_until_s > now_s and record.kind in (CARD, LISTING, DESK):
        return Admission(Verdict.IGNORE, "suspended")
    if record.kind == TOMBSTONE:
        return Admission(Verdict.ACCEPT, "tombstone")
    if record.kind == NODE:
        return Admission(Verdict.ACCEPT, "node")
    if record.kind == COLLECTOR:  # whether it counts is for clients, who know the contract's list
        return Admission(Verdict.ACCEPT, "collector")
    if head is None:
        return Admission(Verdict.ACCEPT, "no_chain")
    if given is None:
        return Admission(Verdict.ACCEPT, "no_wallet")
    if given.chain_id != head.chain_id:
        return Admission(Verdict.ACCEPT, "other_chain")
    if standing is None or not standing.valid_credentials(now_s):
        return _without_credential(record, standing, head)
    if isinstance(record.body, Card) and not all(standing.holds(t, now_s) for t in record.body.credentials):
        return Admission(Verdict.ACCEPT, "claims_unproven")
    if now_s - head.time_s > limits.STANDING_AGE_MAX_S:
        return Admission(Verdict.ACCEPT, "standing_stale")
    return Admission(Verdict.ACCEPT, "verified", verified=True)


def _without_credential(record: OpenedRecord, standing: Standing | None, head: ChainHead) -> Admission:
    if record.kind == CARD:
        return Admission(Verdict.ACCEPT, "no_credential_yet")
    # Nothing known and our head older than the signature: the credential may be in a block we have not read.
    if standing is None and head.time_s * 1000 <= record.seq:
        return Admission(Verdict.DEFER, "standing_unknown")
    return Admission(Verdict.IGNORE, "no_credential")


def _quota(record: OpenedRecord, welcome: Admission, standing: Standing | None, rules: AdmissionLimits) -> int:
    if record.kind == TOMBSTONE:
        return rules.tombstones
    if record.kind == DESK:
        return _desks(welcome, rules)
    if record.kind != LISTING:
        return 1
    if welcome.reason == "no_chain":
        return rules.listings_chainless
    if welcome.reason in ("no_wallet", "other_chain"):
        return rules.listings_unverified
    steps = (standing.bond_wei if standing else 0) // rules.bond_step_wei
    return min(rules.listings_verified + steps * rules.listings_per_step, rules.listings_most)


def _desks(welcome: Admission, rules: AdmissionLimits) -> int:
    if welcome.reason == "no_chain":
        return rules.desks_chainless
    return rules.desks_unverified if welcome.reason in ("no_wallet", "other_chain") else rules.desks_verified
