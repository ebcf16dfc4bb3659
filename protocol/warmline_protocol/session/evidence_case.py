"""A case: what opens a report's commitment on the chain, as it is handed from an advocate to a panellist.

Sealed (HPKE X-Wing) to the key of whoever is to read it; nobody else learns whom a report is about before it is
admitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError
from warmline_protocol.session import xwing
from warmline_protocol.session.evidence_bundle import Finding, bundle_digest, verify_bundle
from warmline_protocol.wire import U53, Bytes32, Size, from_wire, message, to_wire

_PURPOSE = "case"
_CASE_MAX = limits.REPORT_MAX + 4096


@message("case")
@dataclass(frozen=True, slots=True)
class Case:
    """``report_id`` is what was filed: the hash of filer, respondent (addresses), ``evidence_hash`` and ``salt``."""

    report_id: Bytes32
    filer: Annotated[bytes, Size(20, 20)]
    respondent: Annotated[bytes, Size(20, 20)]
    evidence_hash: Bytes32
    salt: Bytes32
    bundle: Annotated[bytes, Size(1, limits.REPORT_MAX)]
    filed_ms: U53


def pack_case(case: Case) -> bytes:
    """Bytes for a vault, or to be sealed."""
    return to_wire(case)


def unpack_case(data: bytes) -> Case:
    """The inverse; RemoteError for anything else."""
    return from_wire(data, (Case,), max_size=_CASE_MAX)


def seal_case(case: Case, reader: bytes) -> bytes:
    """For the holder of the 1216-byte X-Wing key ``reader`` only."""
    return xwing.seal(reader, to_wire(case), _PURPOSE)


def open_case(sealed: bytes, key: xwing.SealingKey) -> Case:
    """The inverse; :class:`MalformedError` for anything else."""
    return unpack_case(key.open(sealed, _PURPOSE))


def examine(case: Case) -> Finding:
    """What the case proves. RemoteError where the bundle is not what was committed to, does not verify, or is about
    somebody else than the respondent."""
    if bundle_digest(case.bundle) != case.evidence_hash:
        raise MalformedError("the evidence is not what the report commits to")
    finding = verify_bundle(case.bundle)
    if finding.card.wallet != case.respondent:
        raise MalformedError("the evidence is about another wallet than the respondent's")
    return finding
