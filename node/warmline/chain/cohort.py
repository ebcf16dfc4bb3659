"""Credentials for a whole course at once: the list, what of it is still to do, and a journal to go on from.

The chain itself knows who was given what, so the journal only keeps what it cannot tell: the end date that was chosen
on the first run (a credential for "a year" must not grow by each restart) and the transactions that were sent and may
still be mined. Each is on the disk before the transaction leaves.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from warmline.chain.contracts import BATCH_MAX, CredentialState, address_of, shown
from warmline.files import write_whole
from warmline_protocol.errors import ConfigError, UsageError

COHORT_MAX = 10_000
ACTIVE = 1


def read_cohort(text: str) -> tuple[bytes, ...]:
    """The addresses (20 bytes) in the first column of a CSV, in its order; a first row without one is a heading.

    UsageError names every line that cannot be used, so that a person mends the file once.
    """
    found: dict[bytes, int] = {}
    wrong: list[str] = []
    rows = csv.reader(io.StringIO(text.lstrip("\N{ZERO WIDTH NO-BREAK SPACE}")))
    for number, row in enumerate(rows, 1):
        cell = row[0].strip() if row else ""
        if not cell or (number == 1 and not cell.startswith("0x")):
            continue
        try:
            holder = address_of(cell)
        except UsageError as error:
            wrong.append(f"line {number}: {error.message}")
            continue
        if not any(holder):
            wrong.append(f"line {number}: the zero address is nobody")
        elif holder in found:
            wrong.append(f"line {number}: {shown(holder)} is in line {found[holder]} already")
        found.setdefault(holder, number)
    if wrong:
        more = f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""
        raise UsageError("; ".join(wrong[:5]) + more, hint="Nothing was sent. Correct the file and run it again.")
    if not found or len(found) > COHORT_MAX:
        raise UsageError(
            f"the file names {len(found)} people; it may be 1 to {COHORT_MAX}",
            hint="One address a line, in the first column.",
        )
    return tuple(found)


def batches(holders: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [holders[at : at + BATCH_MAX] for at in range(0, len(holders), BATCH_MAX)]


def still_to_do(holders: Sequence[bytes], states: Sequence[CredentialState], until_s: int) -> list[bytes]:
    """Who does not hold it yet until that time at least."""
    return [
        holder
        for holder, state in zip(holders, states, strict=True)
        if state.state != ACTIVE or state.until_s < until_s
    ]


@dataclass(slots=True)
class CohortJournal:
    """What a run that was cut off needs to go on. ``sent``: transactions whose end is not known, as hex."""

    path: Path
    of: str
    until_s: int
    sent: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, *, of: str, until_s: int, keep: bool = True) -> Self:
        """The journal at ``path``, or a new one that ends at ``until_s``; it is on the disk only if it is to ``keep``.

        ``of`` says what it is about: ConfigError for a journal about something else.
        """
        try:
            kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
            found = cls(path, str(kept["of"]), int(kept["until_s"]), [str(one) for one in kept["sent"]])
        except FileNotFoundError:
            made = cls(path, of, until_s)
            if keep:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.save()
            return made
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}", hint="Move it away to begin anew.") from None
        if found.of != of:
            raise ConfigError(
                f"{path} belongs to another run: the list, the type, the chain or who signs has changed",
                hint="Finish that one first, or move the journal away to begin anew.",
            )
        return found

    def save(self) -> None:
        """On the disk when this returns."""
        whole = json.dumps({"of": self.of, "until_s": self.until_s, "sent": self.sent}) + "\n"
        write_whole(self.path, whole.encode())

    def note(self, name: bytes) -> None:
        self.sent.append(name.hex())
        self.save()

    def settled(self) -> None:
        """Nothing that was sent is open any more."""
        self.sent.clear()
        self.save()

    def finish(self) -> None:
        self.path.unlink(missing_ok=True)


def subject_of(holders: Sequence[bytes], type_id: bytes, issuer: bytes, chain_id: int, registry: bytes) -> str:
    """One hash for a run's list, type, signer and chain."""
    whole = b"".join([type_id, issuer, chain_id.to_bytes(32), registry, *holders])
    return hashlib.sha256(whole).hexdigest()
