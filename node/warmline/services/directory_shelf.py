"""Where records come in: judged, kept on disk and in memory, looked at again when the chain moves.

A record that the chain cannot decide yet waits in a bounded pool. One that was refused for a reason that may pass is
remembered by its digest for a while, so that sync does not fetch it from every neighbour again each round; both are
settled anew when the chain moves. What bad news of the chain (a revocation, a suspension) took from the shelf is put
aside in memory and judged again likewise: the news may stand in a block that a reorganisation takes away.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import trio

from warmline.env import RunBlocking
from warmline.services import directory_store
from warmline.services.directory_index import DirectoryIndex, Place, Room
from warmline.services.directory_judge import RecordJudge
from warmline.store.store import Store
from warmline_protocol.errors import RemoteError
from warmline_protocol.records.admission import Admission
from warmline_protocol.records.digests import PREFIX, Entry
from warmline_protocol.records.envelope import OpenedRecord
from warmline_protocol.records.merge import stamp_of
from warmline_protocol.verdict import Verdict

log = logging.getLogger("warmline.directory")

DEFERRED_MAX: Final = 256
REFUSED_MAX: Final = 4096
REFUSED_MS: Final = 10 * 60_000
ASIDE_MAX: Final = 1024
ASIDE_BYTES: Final = 4 << 20
WEEDED_AT_ONCE: Final = 256
"""Records judged again before other tasks have their turn: a few milliseconds."""


class Shelf:
    """Obtained from :meth:`load`."""

    def __init__(self, store: Store, judge: RecordJudge, room: Room) -> None:
        self.index = DirectoryIndex(room)
        self.judge = judge
        self.on_welcome: Callable[[OpenedRecord], None] = lambda record: None
        """Called with a record published here when it is accepted after all: time to tell others."""
        self.on_gone: Callable[[bytes], None] = lambda record_id: None
        """Called with the id of a record that gave its place to another."""
        self._store = store
        self._deferred: OrderedDict[bytes, tuple[OpenedRecord, bool]] = OrderedDict()
        self._refused: OrderedDict[bytes, int] = OrderedDict()
        self._aside: OrderedDict[bytes, tuple[OpenedRecord, bool]] = OrderedDict()
        self._aside_bytes = 0

    @classmethod
    async def load(cls, store: Store, judge: RecordJudge, room: Room, run_blocking: RunBlocking) -> Shelf:
        """The shelf as the store remembers it; what is no longer welcome is deleted."""
        shelf = cls(store, judge, room)
        rows = await directory_store.load(store)
        await run_blocking(lambda: shelf._restore_all(rows))
        kept = {held.record.data for held in shelf.index}
        await directory_store.forget(store, [r.id for row in rows if row.data not in kept and (r := shelf._try(row))])
        return shelf

    def _try(self, row: directory_store.Row) -> OpenedRecord | None:
        try:
            return self.judge.open(row.data)
        except RemoteError:
            log.warning("a stored record no longer opens and is left alone")
            return None

    def _restore_all(self, rows: Sequence[directory_store.Row]) -> None:
        for row in rows:
            self._restore(row)

    def _restore(self, row: directory_store.Row) -> None:
        record = self._try(row)
        if record is None:
            return
        answer = self.judge.admit(record, self.index.count(record))
        # Nobody remembers through whom these came: by owner they are many small crowds, so that a flood right after a
        # restart finds nobody larger than itself to push aside.
        source = f"kept {record.owner[:2].hex()}"
        place = self.index.place(record, verified=answer.verified, source=source)
        if answer.verdict is Verdict.ACCEPT and place.fits and place.instead_of is None:
            self.index.put(record, verified=answer.verified, home=row.home, source=source)
        elif answer.verdict is Verdict.DEFER:
            self._defer(record, home=row.home)

    def weigh(
        self, data: bytes, source: str = "", coming: Counter[tuple[bytes, str]] | None = None
    ) -> tuple[Admission, OpenedRecord | None]:
        """The verdict on a record, without keeping it; the record is None exactly for REJECT.

        ``source`` is through whom it comes; ``coming`` counts records by owner and kind that are about to be kept.
        """
        try:
            record = self.judge.open(data)
        except RemoteError as error:
            return self.judge.broken(error), None
        held = self.index.get(record.id)
        same = held is not None and held.record.digest == record.digest
        if not same and self.index.is_older(record):
            return Admission(Verdict.IGNORE, "older"), record
        more = coming[record.owner, record.kind] if coming else 0
        answer = self.judge.admit(record, self.index.count(record) + more)
        if answer.verdict is Verdict.ACCEPT and not self._place(record, answer, source).fits:
            return Admission(Verdict.IGNORE, "full"), record
        return answer, record

    def _place(self, record: OpenedRecord, answer: Admission, source: str) -> Place:
        return self.index.place(record, verified=answer.verified, source=source)

    async def take(self, data: bytes, *, home: bool = False, source: str = "") -> tuple[Admission, OpenedRecord | None]:
        """Judge a record and act on it: keep, hold back, or remember that it was refused.

        Returns after the record is on the disk. DiskFullError leaves everything as it was.
        """
        answer, record = self.weigh(data, source)
        if record is None:
            return answer, None
        if answer.verdict is Verdict.ACCEPT:
            await self._keep(record, verified=answer.verified, home=home, source=source)
        elif answer.verdict is Verdict.DEFER:
            self._defer(record, home=home)
        else:
            self._refuse(record)
            self._replace_aside(record)
        return answer, record

    async def take_all(self, several: Sequence[bytes], source: str = "") -> list[tuple[Admission, OpenedRecord | None]]:
        """:meth:`take` for records that came together: as many waits for the disk as for one.

        Stops at the first broken one, whose answer is the last: the rest are from the same hand.
        """
        answers: list[tuple[Admission, OpenedRecord | None]] = []
        kept: list[tuple[OpenedRecord, bool]] = []
        coming: Counter[tuple[bytes, str]] = Counter()
        for data in several:
            await trio.lowlevel.checkpoint()  # opening one costs a fraction of a millisecond; others have their turn
            answer, record = self.weigh(data, source, coming)
            answers.append((answer, record))
            if record is None:
                break
            if answer.verdict is Verdict.ACCEPT:
                coming[record.owner, record.kind] += 1
                kept.append((record, answer.verified))
            elif answer.verdict is Verdict.DEFER:
                self._defer(record, home=False)
            else:
                self._refuse(record)
                self._replace_aside(record)
        new = [(record, verified) for record, verified in kept if not self._holds(record)]
        await directory_store.save_all(self._store, [(record, False) for record, _ in new])
        for record, verified in new:
            await self._shelve(record, verified=verified, home=False, source=source)
        return answers

    def _holds(self, record: OpenedRecord) -> bool:
        held = self.index.get(record.id)
        return held is not None and held.record.digest == record.digest

    def is_wanted(self, entry: Entry) -> bool:
        """Whether sync should fetch a record that another node names."""
        if entry.print in self._deferred or self._refused.get(entry.print, 0) > self.judge.clock.utc_ms():
            return False
        if any(
            key[:PREFIX] == entry.prefix and r.digest[:PREFIX] == entry.print for key, (r, _) in self._aside.items()
        ):
            return False
        held = self.index.named(entry.prefix)
        if len(held) != 1:
            return True
        (record,) = held
        return entry.seq >= record.seq and entry.print != record.digest[:PREFIX]

    async def reconsider(self) -> tuple[bytes, ...]:
        """Judge again everything that the chain has a say in; the ids of records that are no longer welcome."""
        self._refused.clear()
        gone = await self._weed()
        await self._welcome_back()
        for record, home in list(self._deferred.values()):
            self._deferred.pop(record.digest[:PREFIX], None)
            answer, _ = await self.take(record.data, home=home)
            if answer.verdict is Verdict.ACCEPT and home:
                self.on_welcome(record)
        return gone

    async def sweep(self) -> tuple[bytes, ...]:
        """Forget what has expired; the ids."""
        now = self.judge.clock.utc_ms()
        over = self.index.over(now)
        for record_id in over:
            self.index.drop(record_id)
        await directory_store.forget(self._store, over)
        for record, _ in list(self._deferred.values()):
            if record.expires <= now:
                self._deferred.pop(record.digest[:PREFIX], None)
        return tuple(over)

    def statistics(self) -> dict[str, int]:
        return {**self.index.statistics(), **self._kept_back()}

    def _kept_back(self) -> dict[str, int]:
        return {"deferred": len(self._deferred), "refused": len(self._refused), "aside": len(self._aside)}

    async def _weed(self) -> tuple[bytes, ...]:
        gone = []
        for count, held in enumerate(self.index):
            if count % WEEDED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            record = held.record
            if record.wallet is None or self.index.get(record.id) is not held:
                continue  # nothing that the chain has a say in, or replaced while others had their turn
            answer = self.judge.admit(record)
            if answer.verdict is Verdict.ACCEPT:
                if answer.verified != held.verified:
                    self.index.put(record, verified=answer.verified, home=held.home)
            elif answer.verdict is Verdict.IGNORE:
                self.index.drop(record.id)
                self._refuse(record)
                self._put_aside(record, home=held.home)
                gone.append(record.id)
        await directory_store.forget(self._store, gone)
        return tuple(gone)

    async def _welcome_back(self) -> None:
        """Take back what was put aside, where the chain no longer says why."""
        for count, (record, home) in enumerate(list(self._aside.values())):
            if count % WEEDED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            over = record.expires <= self.judge.clock.utc_ms() or self.index.is_older(record)
            if not over and self.judge.admit(record, self.index.count(record)).verdict is not Verdict.ACCEPT:
                continue
            self._drop_aside(record.id)
            if not over and (await self.take(record.data, home=home))[0].verdict is Verdict.ACCEPT and home:
                self.on_welcome(record)

    def _put_aside(self, record: OpenedRecord, *, home: bool) -> None:
        self._drop_aside(record.id)
        self._aside[record.id] = (record, home)
        self._aside_bytes += len(record.data)
        while len(self._aside) > ASIDE_MAX or self._aside_bytes > ASIDE_BYTES:
            self._drop_aside(next(iter(self._aside)))

    def _replace_aside(self, record: OpenedRecord) -> None:
        """What comes back is the newest that its owner said meanwhile, a withdrawal above all."""
        before, home = self._aside.get(record.id, (None, False))
        if before is not None and stamp_of(record) > stamp_of(before):
            self._put_aside(record, home=home)

    def _drop_aside(self, record_id: bytes) -> None:
        record, _ = self._aside.pop(record_id, (None, False))
        self._aside_bytes -= len(record.data) if record else 0

    async def _keep(self, record: OpenedRecord, *, verified: bool, home: bool, source: str) -> None:
        held = self.index.get(record.id)
        if held is not None and held.record.digest == record.digest:
            home = home or held.home
            if home == held.home:
                return
        await directory_store.save(self._store, record, home=home)
        await self._shelve(record, verified=verified, home=home, source=source)

    async def _shelve(self, record: OpenedRecord, *, verified: bool, home: bool, source: str) -> None:
        """Put what is on the disk into memory, if it still belongs there after the wait."""
        if self._is_beaten(record):
            return
        place = self.index.place(record, verified=verified, source=source)
        victim = self.index.get(place.instead_of) if place.instead_of else None
        if victim is not None:
            self.index.drop(victim.record.id)
            self._refuse(victim.record)
            self.on_gone(victim.record.id)
            await directory_store.forget(self._store, [victim.record.id])
        if place.fits:
            self.index.put(record, verified=verified, home=home, source=source)
        else:
            await directory_store.forget(self._store, [record.id])

    def _is_beaten(self, record: OpenedRecord) -> bool:
        # Another task may have kept a newer one while the disk was busy.
        held = self.index.get(record.id)
        return held is not None and held.record.digest != record.digest and self.index.is_older(record)

    def _defer(self, record: OpenedRecord, *, home: bool) -> None:
        self._deferred[record.digest[:PREFIX]] = (record, home)
        if len(self._deferred) > DEFERRED_MAX:
            self._deferred.popitem(last=False)

    def _refuse(self, record: OpenedRecord) -> None:
        self._refused[record.digest[:PREFIX]] = self.judge.clock.utc_ms() + REFUSED_MS
        if len(self._refused) > REFUSED_MAX:
            self._refused.popitem(last=False)
