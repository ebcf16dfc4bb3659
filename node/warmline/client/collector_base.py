"""What a collector keeps up whatever the time: keys, drops, a published record, answers taken, what stands settled.

The work at an epoch's end is in :mod:`.collector`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

from warmline.chain import transactions
from warmline.chain.conduct import ConductChain, ConductNow, Post
from warmline.chain.contracts import Call
from warmline.chain.errors import RevertError
from warmline.chain.wallet import Wallet
from warmline.client.collecting import fetch_batch
from warmline.client.collector_drops import drops_at, open_drops, read_drops, remove_drops, secret_of
from warmline.client.collector_files import CollectorFiles
from warmline.client.identity import Identity
from warmline.client.session_client import Client
from warmline_protocol import limits
from warmline_protocol.errors import RemoteError
from warmline_protocol.feedback.batch import Ledger, data_hash
from warmline_protocol.feedback.collect import Collector
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.heard import Heard
from warmline_protocol.feedback.messages import BatchRead, CollectorSheet
from warmline_protocol.feedback.sheets import check_sheet
from warmline_protocol.feedback.tokens import open_rating
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.collector import RELEASES, CollectorRecord
from warmline_protocol.records.envelope import sign_record
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.xwing import SealingKey

T = TypeVar("T")
log = logging.getLogger("warmline.client")

SHEET_EPOCHS: Final = 26
"""A sheet is good for so many epochs, and renewed with half of them left."""
RENEW_MS: Final = 24 * 3_600_000
"""Collectors' records are signed again after this, though nothing changed."""
SENT_S: Final = 120.0
DROPS_OPEN: Final = limits.FEEDBACK_DROPS_MAX
"""Epochs whose drops are open, this one first."""
TOO_SOON_OR_LATE: Final = frozenset({"EpochNotOver", "WindowOpen", "NotInOrder", "Vetoed", "NothingPending"})
"""What the contract says where another collector was quicker, or its clock is behind."""

Find = Callable[[], Awaitable[Sequence[CollectorRecord]]]
Publish = Callable[[bytes], Awaitable[None]]
Tell = Callable[[str, dict[str, object]], None]


@dataclass(slots=True)
class Network:
    """How a collector is found and finds the others. ``node`` hands out what lies in its folder."""

    client: Client
    node: NodeAddress
    find: Find
    publish: Publish


@dataclass
class CollectorBase:
    """``tell`` hears what was done: words, and the same for programs."""

    network: Network
    chain: ConductChain
    wallet: Wallet
    identity: Identity
    files: CollectorFiles
    epochs: Epochs
    window_s: int
    machine: Collector
    ledger: Ledger
    tell: Tell
    seen: ConductNow
    others: list[CollectorRecord] = field(default_factory=list)
    _sheet: CollectorSheet | None = None
    _published: tuple[CollectorRecord, int] | None = None
    _read: set[tuple[int, int]] = field(default_factory=set)
    _settled: set[tuple[int, bytes]] = field(default_factory=set)
    _watched: set[tuple[int, bytes]] = field(default_factory=set)
    _recalled: set[int] = field(default_factory=set)
    _merged: set[tuple[int, bytes]] = field(default_factory=set)
    _ready_at: dict[tuple[int, bytes], float] = field(default_factory=dict)
    _words: dict[int, Heard] = field(default_factory=dict)

    # -- keys

    @property
    def key(self) -> SigningKey:
        return SigningKey(secret_of(self.identity.key, "announcements"))

    @property
    def sealing(self) -> SealingKey:
        return SealingKey(secret_of(self.identity.key, "ratings"))

    @property
    def now_s(self) -> int:
        return self.network.client.clock.utc_ms() // 1000

    async def _look(self) -> None:
        before, self.seen = frozenset(self.seen.collectors), await self.chain.now()
        if before != frozenset(self.seen.collectors):
            # A union is of those who are on the list: it is made anew, from what is on the disk.
            self._words.clear()
            self._merged.clear()
            self._recalled.clear()
        found = await self.network.find()
        contract, epoch = self.chain.manifest.address("ConductEpochs"), self.epochs.at(self.now_s)
        self.others = []
        for one in sorted(found, key=lambda each: each.owner):
            if one.owner == self.wallet.address or one.sheet.contract != contract:
                continue
            try:
                check_sheet(one.sheet, self.seen.collectors, epoch)
            except RemoteError:
                continue
            self.others.append(one)

    # -- what stands

    async def _settle(self) -> None:
        """What stands is spent: first of all, so that nothing counts twice."""
        for post in self.seen.standing():
            if (post.epoch, post.root) in self._settled:
                continue
            data = await self._batch(post)
            try:
                found = await self._blocking(partial(self.ledger.check, data, self.seen.vouchers(post.epoch)))
            except RemoteError as error:
                self.tell(
                    f"What stands for epoch {post.epoch} does not hold: {error}. It is left out of the count.",
                    {"event": "unsound", "epoch": post.epoch},
                )
                self._settled.add((post.epoch, post.root))
                continue
            self.machine.settle(found)
            await self._save()
            self._settled.add((post.epoch, post.root))
            self.tell(
                f"Epoch {post.epoch} stands with {post.tokens} answers.",
                {"event": "settled", "epoch": post.epoch, "tokens": post.tokens},
            )

    async def _batch(self, post: Post) -> bytes:
        """From this disk, or from another collector; handed out here too from then on."""
        question = BatchRead(post.data_hash, 0)
        data = await self._blocking(partial(self.files.laid_out, question))
        if data is None or data_hash(data) != post.data_hash:
            client = self.network.client
            data = await fetch_batch(client.paths, self.others, post.data_hash, post.tokens, client.rng)
            await self._blocking(partial(self.files.lay_out, question, data))
        return data

    # -- being found

    async def _open(self) -> None:
        """Drops of this epoch and the next two: a rating of now is released in the next one."""
        drops = await self._blocking(self.files.drops)
        current = self.epochs.at(self.now_s)
        for epoch in range(current, current + DROPS_OPEN):
            if epoch not in drops:
                drops[epoch] = await open_drops(self.network.client, self.identity.key, self.epochs, epoch)
                await self._blocking(partial(self.files.keep_drops, dict(drops)))
                self.tell(f"Drops for epoch {epoch} are open.", {"event": "drops", "epoch": epoch})

    async def _announce_self(self) -> None:
        """The record, where it changed or is a day old."""
        drops, current, now_ms = await self._blocking(self.files.drops), self.epochs.at(self.now_s), self.now_s * 1000
        open_now = tuple(
            drops_at(self.identity.key, epoch, drops[epoch])
            for epoch in range(current, current + DROPS_OPEN)
            if epoch in drops
        )
        record = CollectorRecord(
            self.wallet.address,
            now_ms,
            now_ms + limits.COLLECTOR_LIFE_MS,
            self._own_sheet(current),
            self.network.node,
            open_now,
        )
        if self._published is not None:
            before, at = self._published
            if (before.sheet, before.drops) == (record.sheet, record.drops) and now_ms < at + RENEW_MS:
                return
        await self.network.publish(sign_record(record, self.identity.key, self.identity.delegation))
        self._published = (record, now_ms)
        self.tell("Your record is published.", {"event": "published", "epochs": [each.epoch for each in open_now]})

    def _own_sheet(self, current: int) -> CollectorSheet:
        if self._sheet is None or self._sheet.until_epoch - current < SHEET_EPOCHS // 2:
            contract, until = self.chain.manifest.address("ConductEpochs"), current + SHEET_EPOCHS
            unsigned = CollectorSheet(
                self.chain.manifest.chain_id,
                contract,
                self.wallet.address,
                self.key.public,
                self.sealing.public,
                current,
                until,
                bytes(65),
            )
            self._sheet = replace(unsigned, signature=self.wallet.sign_typed(self.chain.sheet_document(unsigned)))
        return self._sheet

    # -- answers

    async def _gather(self) -> None:
        """Drops whose slot has begun, once each."""
        current = self.epochs.at(self.now_s)
        begun = [n for n in range(RELEASES) if self.epochs.slot(current, n) <= self.now_s]
        due = [slot for slot in begun if (current, slot) not in self._read]
        if due and await self._read_slots(current, due):
            self._read.update((current, slot) for slot in due)

    async def _read_slots(self, epoch: int, slots: Sequence[int]) -> bool:
        nodes = (await self._blocking(self.files.drops)).get(epoch)
        if nodes is None:
            return True
        drops = drops_at(self.identity.key, epoch, nodes)
        return await read_drops(self.network.client, self.identity.key, drops, slots, self._take)

    async def _close_drops(self, epoch: int) -> None:
        """What was read for the last time is not needed any more; a killed collector leaves it to expire."""
        nodes = (await self._blocking(self.files.drops)).get(epoch)
        if nodes is not None:
            await remove_drops(self.network.client, self.identity.key, drops_at(self.identity.key, epoch, nodes))

    async def _take(self, cells: Sequence[bytes]) -> None:
        """Open, check, and have them on the disk."""
        for cell in cells:
            try:
                rating = await self._blocking(partial(open_rating, cell, self.sealing))
                await self._blocking(partial(self.machine.accept, rating, self.now_s))
            except RemoteError as error:
                log.info("a cell in a drop counts for nothing: %s", error)
        await self._save()

    async def _save(self) -> None:
        await self._blocking(partial(self.files.save, dict(self.machine.held)))

    async def _send(self, call: Call, event: str, epoch: int) -> None:
        try:
            planned = await transactions.plan(self.chain.rpc, call, self.wallet.address)
        except RevertError as error:
            if error.name not in TOO_SOON_OR_LATE:
                raise
            log.info("not sent: %s", error)
            return
        receipt = await transactions.send(self.chain.rpc, planned, self.wallet, deadline_s=SENT_S)
        self.tell(f"Epoch {epoch} is {event}, in block {receipt.block}.", {"event": event, "epoch": epoch})

    async def _blocking(self, work: Callable[[], T]) -> T:
        return await self.network.client.run_blocking(work)
