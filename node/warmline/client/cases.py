"""Cases that an advocate or panellist holds: what was reported, sealed on their disk, and destroyed on time.

A case is the evidence bundle with what opens its commitment on the chain (respondent, evidence hash, salt). It lies in
an encrypted vault, never beside it, and each record there carries its own last day: 90 days after the report is over,
or after the longest way that a report can take where it was never filed. A vote's salt lies here too, because a vote
that cannot be shown counts as none; it is written before the commitment leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, cast

from warmline.client.vault import FileVault, Kept, open_vault
from warmline.env import Clock, Rng
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import RefusedError, UsageError
from warmline_protocol.session.evidence_bundle import bundle_digest
from warmline_protocol.session.evidence_case import Case, open_case, pack_case, unpack_case
from warmline_protocol.session.xwing import SealingKey
from warmline_protocol.wire import Bytes32, Range, pack, unpack

FILE: Final = "cases.db"
DAY_MS: Final = 24 * 3_600_000
KEEP_MS: Final = 90 * DAY_MS
"""After a report is over."""
OPEN_MS: Final = 180 * DAY_MS
"""At most, for one that is not: longer than every step of a report with its appeal takes together."""
RECEIVED_MAX: Final = 128
"""Reports, of 1 MiB at most each, that wait to be read."""
_FOR_EVER: Final = 1 << 52
_CASE, _END, _VOTE, _INTAKE, _RECEIVED = "case", "last day", "vote", "intake key", "received"


@dataclass(frozen=True, slots=True)
class Vote:
    """A vote that was committed: ``sitting`` 0 for the first panel, 1 for that of the appeal."""

    report_id: Bytes32
    sitting: Annotated[int, Range(0, 1)]
    ruling: Annotated[int, Range(1, 5)]
    salt: Bytes32


class Cases:
    """Obtained from :func:`open_cases`. All methods block."""

    def __init__(self, vault: FileVault, rng: Rng, clock: Clock) -> None:
        self._vault = vault
        self._rng = rng
        self._clock = clock

    def keep(self, case: Case) -> None:
        """On the disk when this returns."""
        until_ms = self._clock.utc_ms() + OPEN_MS
        end = Kept(_END, case.report_id, until_ms.to_bytes(8), until_ms)
        self._vault.put_all([Kept(_CASE, case.report_id, pack_case(case), until_ms), end])

    def all(self) -> list[Case]:
        """Every case that is not over its last day."""
        found = [self._vault.get(_CASE, each) for each in self._vault.ids(_CASE)]
        return [unpack_case(data) for data in found if data is not None]

    def find(self, beginning: str) -> Case:
        """The one case whose report begins with these hex digits; UsageError for none or several."""
        digits = beginning.removeprefix("0x").lower()
        found = [case for case in self.all() if case.report_id.hex().startswith(digits)] if digits else []
        if len(found) != 1:
            raise UsageError(
                f"{len(found) or 'no'} case{'s' if len(found) != 1 else ''} here begin{'s' * (len(found) == 1)} with "
                f"{beginning or 'nothing'}",
                hint="Give more digits; `cases` lists what you hold.",
            )
        return found[0]

    def receive(self, bundle: bytes) -> bytes:
        """A report that came and was not filed yet; its 32-byte digest. On the disk when this returns.

        RefusedError ``full`` where too many wait: anybody can make reports that verify, about a card of their own.
        """
        digest = bundle_digest(bundle)
        waiting = self._vault.ids(_RECEIVED)
        if len(waiting) >= RECEIVED_MAX and digest not in waiting:
            raise RefusedError(
                "full", "too many reports wait for this advocate", hint="Send it to another one, or here in some days."
            )
        self._vault.put(_RECEIVED, digest, bundle, self._clock.utc_ms() + OPEN_MS)
        return digest

    def received(self) -> list[bytes]:
        """The bundles that came and were not filed yet."""
        found = [self._vault.get(_RECEIVED, each) for each in self._vault.ids(_RECEIVED)]
        return [data for data in found if data is not None]

    def received_as(self, beginning: str) -> bytes:
        """The one that came and whose digest begins with these hex digits. Raises UsageError."""
        found = [each for each in self.received() if bundle_digest(each).hex().startswith(beginning.lower())]
        if len(found) != 1 or not beginning:
            raise UsageError(
                f"{len(found)} reports here have the reference {beginning}", hint="`advocate received` lists them."
            )
        return found[0]

    def drop_received(self, bundle: bytes) -> None:
        """It was filed, or will not be."""
        self._vault.delete(_RECEIVED, bundle_digest(bundle))

    def intake_key(self) -> bytes:
        """The 1216-byte X-Wing key that cases are sealed to for this person; made the first time."""
        return self._intake().public

    def open_sealed(self, sealed: bytes) -> Case:
        """A case that was sealed to the intake key; :class:`MalformedError` for anything else."""
        return open_case(sealed, self._intake())

    def _intake(self) -> SealingKey:
        seed = self._vault.get(_INTAKE, b"")
        if seed is None:
            seed = self._rng.bytes(32)
            self._vault.put(_INTAKE, b"", seed, _FOR_EVER)
        return SealingKey(seed)

    def keep_vote(self, vote: Vote) -> None:
        """Before the commitment leaves: without its salt a vote cannot be shown."""
        until_ms = self._clock.utc_ms() + OPEN_MS
        self._vault.put(_VOTE, vote.report_id + bytes([vote.sitting]), encode(pack(vote)), until_ms)

    def vote(self, report_id: bytes, sitting: int) -> Vote | None:
        data = self._vault.get(_VOTE, report_id + bytes([sitting]))
        return None if data is None else unpack(Vote, cast("dict[str, Any]", decode(data)))

    def until_ms(self, report_id: bytes) -> int:
        """When the case is destroyed here at the latest."""
        data = self._vault.get(_END, report_id)
        return int.from_bytes(data) if data is not None else 0

    def over(self, report_id: bytes) -> None:
        """The report has ended, as is seen now: its case goes 90 days later, and its votes with it."""
        until_ms = min(self.until_ms(report_id), self._clock.utc_ms() + KEEP_MS)
        for kind in (_CASE, _VOTE):
            for each in self._vault.ids(kind):
                data = self._vault.get(kind, each)
                if each.startswith(report_id) and data is not None:
                    self._vault.put(kind, each, data, until_ms)
        self._vault.put(_END, report_id, until_ms.to_bytes(8), until_ms)

    def destroy(self, report_id: bytes) -> None:
        """Now."""
        for kind in (_CASE, _END, _VOTE):
            self._vault.delete_under(kind, report_id)


@contextmanager
def open_cases(folder: Path, passphrase: Callable[[], str], *, rng: Rng, clock: Clock) -> Iterator[Cases]:
    """The cases in ``folder``, under a passphrase of their own. Blocks. Raises as :func:`~.vault.open_vault`."""
    folder.mkdir(parents=True, exist_ok=True)
    with open_vault(folder / FILE, rng=rng, clock=clock, passphrase=passphrase) as vault:
        yield Cases(vault, rng, clock)
