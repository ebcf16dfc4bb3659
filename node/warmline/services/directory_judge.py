"""The one judge of records at a node: publishing, gossip, sync and the DHT all ask here.

It exists before the directory does, because the DHT needs its validator at the start. Opening a record costs two
signature checks, and gossip judges a record before it delivers it, so the last few opened ones are remembered.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from warmline.env import Clock
from warmline_protocol.errors import MalformedError, RefusedError, RemoteError
from warmline_protocol.records.admission import Admission, AdmissionLimits, admit, reason_of
from warmline_protocol.records.conduct import Conduct, ConductSource
from warmline_protocol.records.envelope import OpenedRecord, open_record
from warmline_protocol.records.merge import stamp_of
from warmline_protocol.records.messages import dht_key
from warmline_protocol.records.standing import ChainHead, Standing, StandingSource
from warmline_protocol.verdict import Verdict

REMEMBERED: Final = 512


class RecordJudge:
    """Admission with this node's clock, chain view and limits."""

    def __init__(
        self, *, clock: Clock, standing: StandingSource | None = None, rules: AdmissionLimits | None = None
    ) -> None:
        self.clock = clock
        self.standing = standing
        self.rules = rules or AdmissionLimits()
        self._opened: OrderedDict[bytes, OpenedRecord] = OrderedDict()

    def open(self, data: bytes) -> OpenedRecord:
        """The verified record; RemoteError for bytes that are broken for everybody."""
        digest = hashlib.sha256(data).digest()
        known = self._opened.get(digest)
        if known is not None:
            self._opened.move_to_end(digest)
            return known
        record = self._opened[digest] = open_record(data)
        if len(self._opened) > REMEMBERED:
            self._opened.popitem(last=False)
        return record

    def head(self) -> ChainHead | None:
        return self.standing.head() if self.standing else None

    def standing_of(self, wallet: bytes | None) -> Standing | None:
        return self.standing.of(wallet) if self.standing and wallet else None

    def conduct(self) -> Conduct | None:
        """Feedback for a standing sheet: of the key roots, those that sessions of now and of the next epoch need."""
        source, head = self.standing, self.head()
        found = source.conduct() if isinstance(source, ConductSource) else None
        if found is None or head is None:
            return None
        now = (head.time_s - found.genesis_s) // found.length_s + 1
        return replace(found, roots=tuple(one for one in found.roots if now <= one.epoch <= now + 1))

    def admit(self, record: OpenedRecord, held: int = 0) -> Admission:
        """Judge an opened record; ``held`` as in :func:`warmline_protocol.records.admission.admit`."""
        return admit(
            record,
            standing=self.standing_of(record.wallet),
            head=self.head(),
            limits=self.rules,
            now_ms=self.clock.utc_ms(),
            held=held,
        )

    # --- the DHT's validator -------------------------------------------------------------------------------------

    def validate_value(self, key: str, value: bytes) -> None:
        """Raise unless ``value`` is a welcome record that belongs under ``key`` (``/warm/<record id in hex>``)."""
        record = self.open(value)
        if key != dht_key(record.id):
            raise MalformedError("a record under another record's key")
        answer = self.admit(record)
        if answer.verdict is not Verdict.ACCEPT:
            raise RefusedError(answer.reason, f"not kept: {answer.reason}", hint=answer.hint)

    def select_value(self, key: str, values: Sequence[bytes]) -> int:
        """The position of the newest of several records that were found under one key."""
        stamps = [(stamp, index) for index, value in enumerate(values) if (stamp := self._stamp(value))]
        return max(stamps)[1] if stamps else 0

    def _stamp(self, value: bytes) -> tuple[int, bool, bytes] | None:
        try:
            stamp = stamp_of(self.open(value))
        except RemoteError:
            return None
        return stamp.seq, stamp.ended, stamp.digest

    @staticmethod
    def broken(error: RemoteError) -> Admission:
        """The verdict on bytes that :meth:`open` refused."""
        return Admission(Verdict.REJECT, reason_of(error))
