"""Typed calls of the report panel: from a hash that names nobody to a ruling that is carried out.

What is filed and what is voted are salted hashes first, so both are computed here, without a chain: an endpoint that
was asked to hash a report would learn whom it is about before the respondent is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from eth_abi.abi import encode
from eth_hash.auto import keccak

from warmline.chain.contracts import Call, Contracts, address_of, coins, shown
from warmline_protocol.errors import UsageError

PANEL = "ReportPanel"
NOBODY = bytes(20)


class Ruling(IntEnum):
    """What a panel may find, from for to against the respondent."""

    NONE = 0
    BAD_FAITH = 1
    DISMISSED = 2
    REPROVED = 3
    SUSPENDED = 4
    BARRED = 5


class Phase(IntEnum):
    """Where a report stands."""

    NONE = 0
    FILED = 1
    ADMITTED = 2
    DRAWING = 3
    VOTING = 4
    RULED = 5
    CLOSED = 6


@dataclass(frozen=True, slots=True)
class Report:
    """All that the chain keeps of a report. Addresses 20 bytes, times in seconds.

    `deadline_s` is the end of the present step, `ends_s` the moment from which nothing can be taken for it any more.
    `panel` 0 is the first, 1 that of the appeal; `stakes` counts the filing bonds held; `respondent` is zero until
    the report is admitted.
    """

    filer: bytes
    deadline_s: int
    phase: Phase
    ruling: Ruling
    panel: int
    stakes: int
    revealed: int
    respondent: bytes
    ends_s: int
    lock_round: int
    appealed: bool
    admitter: bytes
    draw_block: int
    suspended_from_s: int


@dataclass(frozen=True, slots=True)
class ReportTerms:
    """Seconds of each step, and the filing bond in the smallest unit of the bond's coin."""

    admission_s: int
    response_s: int
    draw_s: int
    commit_s: int
    reveal_s: int
    appeal_s: int
    execution_s: int
    filing_bond: int


def report_id_of(
    chain_id: int, panel: bytes, filer: bytes, respondent: bytes, evidence_hash: bytes, salt: bytes
) -> bytes:
    """The 32 bytes that are filed; `salt` is 32 random bytes. The same as the contract's `reportIdOf`."""
    return _hash(
        ["uint256", "address", "address", "address", "bytes32", "bytes32"],
        [chain_id, panel, filer, respondent, _word(evidence_hash, "evidence hash"), _word(salt, "salt")],
    )


def vote_hash(
    chain_id: int, panel: bytes, report_id: bytes, sitting: int, panellist: bytes, ruling: Ruling, salt: bytes
) -> bytes:
    """The 32 bytes that a panellist commits to, for the first panel (`sitting` 0) or the appeal's (1).

    `salt` is 32 random bytes. The same as the contract's `voteHash`. Raises UsageError for a vote for nothing.
    """
    if ruling is Ruling.NONE:
        raise UsageError("a vote must be for something", hint="Dismissed is the vote for the respondent.")
    return _hash(
        ["uint256", "address", "bytes32", "uint8", "address", "uint8", "bytes32"],
        [chain_id, panel, _word(report_id, "report"), sitting, panellist, int(ruling), _word(salt, "salt")],
    )


class Reports(Contracts):
    """The contracts of one manifest at one endpoint, with the report panel."""

    def report_id(self, filer: bytes, respondent: bytes, evidence_hash: bytes, salt: bytes) -> bytes:
        where = self.manifest.chain_id, self.manifest.address(PANEL)
        return report_id_of(*where, filer, respondent, evidence_hash, salt)

    def vote(self, report_id: bytes, sitting: int, panellist: bytes, ruling: Ruling, salt: bytes) -> bytes:
        where = self.manifest.chain_id, self.manifest.address(PANEL)
        return vote_hash(*where, report_id, sitting, panellist, ruling, salt)

    # -- governance

    def accredit(self, panellist: bytes, organisation: bytes = NOBODY) -> Call:
        return self._call(PANEL, "accredit", f"accredit {shown(panellist)} as a panellist", panellist, organisation)

    def discharge(self, panellist: bytes) -> Call:
        says = f"draw {shown(panellist)} for no more panels; seats that were drawn stay"
        return self._call(PANEL, "discharge", says, panellist)

    def set_advocate(self, advocate: bytes, quota: int, organisation: bytes = NOBODY) -> Call:
        """`quota` reports in 30 days; 0 ends it."""
        says = f"let {shown(advocate)} file {quota} reports in 30 days without a bond"
        return self._call(PANEL, "setAdvocate", says, advocate, organisation, quota)

    # -- a report, in the order of its life

    def file(self, report_id: bytes) -> Call:
        says = f"file the report {_short(report_id)} as an advocate; it names nobody"
        return self._call(PANEL, "file", says, report_id)

    def file_with_bond(self, report_id: bytes, filing_bond: int) -> Call:
        """`filing_bond` in wei, as `report_terms` tells it."""
        says = (
            f"file the report {_short(report_id)} with {coins(filing_bond)} coin, "
            "which comes back unless it was made in bad faith; it names nobody"
        )
        return self._call(PANEL, "fileWithBond", says, report_id, value=filing_bond)

    def admit(self, report_id: bytes, respondent: bytes, evidence_hash: bytes, salt: bytes) -> Call:
        says = (
            f"open the report {_short(report_id)}: say publicly that it is about {shown(respondent)}, "
            "and hold what leaves that bond until it is decided; you will not judge it"
        )
        return self._call(PANEL, "admit", says, report_id, respondent, evidence_hash, salt)

    def respond(self, report_id: bytes, response_hash: bytes) -> Call:
        says = f"answer the report {_short(report_id)} about you; the panel may be drawn then"
        return self._call(PANEL, "respond", says, report_id, response_hash)

    def summon(self, report_id: bytes) -> Call:
        says = f"choose the block that decides who judges the report {_short(report_id)}"
        return self._call(PANEL, "summon", says, report_id)

    def seat(self, report_id: bytes) -> Call:
        return self._call(PANEL, "seat", f"draw the panel of the report {_short(report_id)}", report_id)

    def commit_vote(self, report_id: bytes, commitment: bytes) -> Call:
        says = f"put down your hidden vote on the report {_short(report_id)}; keep its salt, you show it later"
        return self._call(PANEL, "commitVote", says, report_id, commitment)

    def reveal_vote(self, report_id: bytes, ruling: Ruling, salt: bytes) -> Call:
        says = f"show your vote on the report {_short(report_id)}: {ruling.name.lower().replace('_', ' ')}"
        return self._call(PANEL, "revealVote", says, report_id, int(ruling), salt)

    def tally(self, report_id: bytes) -> Call:
        return self._call(PANEL, "tally", f"count the votes on the report {_short(report_id)}", report_id)

    def appeal(self, report_id: bytes, filing_bond: int = 0) -> Call:
        """`filing_bond` in wei: only from a filer who put one down."""
        says = f"ask for a larger panel on the report {_short(report_id)}"
        return self._call(PANEL, "appeal", says, report_id, value=filing_bond)

    def close(self, report_id: bytes) -> Call:
        """Carries a ruling out whose appeal is over; ends a report whose time has run out in any other state."""
        says = f"end the report {_short(report_id)}, whose time is over, and carry out what was decided"
        return self._call(PANEL, "close", says, report_id)

    def collect(self, receiver: bytes) -> Call:
        return self._call(PANEL, "collect", f"have your filing bonds paid back to {shown(receiver)}", receiver)

    def sweep_filing_bonds(self) -> Call:
        return self._call(PANEL, "sweep", "pass lost filing bonds on to the commons")

    # -- views

    async def report_of(self, report_id: bytes) -> Report:
        filer, deadline_s, phase, ruling, panel, stakes, revealed, respondent, *rest = await self._view(
            PANEL, "reportOf", report_id
        )
        ends_s, lock_round, appealed, admitter, draw_block, suspended_from_s = rest
        return Report(
            address_of(filer),
            deadline_s,
            Phase(phase),
            Ruling(ruling),
            panel,
            stakes,
            revealed,
            address_of(respondent),
            ends_s,
            lock_round,
            appealed,
            address_of(admitter),
            draw_block,
            suspended_from_s,
        )

    async def seats_of(self, report_id: bytes, sitting: int = 0) -> list[bytes]:
        """Who sits on the first panel (0) or that of the appeal (1); empty before it is drawn."""
        return [address_of(one) for one in await self._view(PANEL, "seatsOf", report_id, sitting)]

    async def suspended_until(self, person: bytes) -> int:
        """First second in which the person is suspended no more; 0 or a date that is over if they are not."""
        return int(await self._view(PANEL, "suspendedUntil", person))

    async def is_panellist(self, person: bytes) -> bool:
        return bool((await self._view(PANEL, "panellistOf", person))[0])

    async def quota_left(self, advocate: bytes) -> int:
        return int((await self._view(PANEL, "advocateOf", advocate))[2])

    async def owed_to(self, filer: bytes) -> int:
        return int(await self._view(PANEL, "owedTo", filer))

    async def forfeited(self) -> int:
        """Lost filing bonds that were not passed on yet, in the smallest unit."""
        return int(await self._view(PANEL, "forfeited"))

    async def report_terms(self) -> ReportTerms:
        return ReportTerms(*await self._view(PANEL, "terms"))

    async def open_reports(self, supporter: bytes) -> int:
        """How many open reports hold the supporter's exits."""
        return int((await self._view("SupporterBond", "lockOf", supporter))[2])


def _hash(types: list[str], values: list[object]) -> bytes:
    return bytes(keccak(encode(types, values)))


def _word(value: bytes, name: str) -> bytes:
    if len(value) != 32:  # a shorter one would be padded, and never be found again
        raise UsageError(f"the {name} has {len(value)} bytes and not 32")
    return value


def _short(report_id: bytes) -> str:
    return f"{report_id.hex()[:16]}…"
