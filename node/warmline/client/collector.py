"""A collector at work: answers taken from drops, sets exchanged, batches voted for, posted and watched.

:meth:`CollectorDuty.step` does whatever is due and may be called as often as one likes. Everything that it rests on is
on the disk or the chain, so that it goes on after any kill: a set is fixed once, an announcement never changes, and
what another collector handed over is kept until its epoch can count no more. What cannot be done now is told and tried
again at the next step.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from warmline.chain.conduct import ConductChain, Post
from warmline.chain.contracts import EpochPost
from warmline.chain.wallet import Wallet
from warmline.client.collecting import fetch
from warmline.client.collector_base import Network, Tell
from warmline.client.collector_files import CollectorFiles
from warmline.client.collector_union import CollectorUnion
from warmline.client.identity import Identity
from warmline_protocol import limits
from warmline_protocol.errors import WarmlineError
from warmline_protocol.feedback.batch import Ledger
from warmline_protocol.feedback.collect import Collector
from warmline_protocol.feedback.heard import as_heard
from warmline_protocol.feedback.messages import (
    BatchRead,
    CollectorRead,
    EpochVote,
    SetAnnouncement,
)
from warmline_protocol.feedback.serving import seal_set
from warmline_protocol.feedback.sheets import announce, check_vote
from warmline_protocol.records.collector import RELEASES
from warmline_protocol.wire import from_wire, to_wire

log = logging.getLogger("warmline.client")

TURN_PARTS: Final = 8
"""Those whose turn it is not wait this part of the grace before they post themselves."""


@dataclass
class CollectorDuty(CollectorUnion):
    """Obtained from :func:`open_collector`."""

    # -- one step

    async def step(self) -> None:
        """Whatever is due. Each part stands alone: a chain or a node that is away does not hold up the rest."""
        parts: tuple[Callable[[], Awaitable[None]], ...] = (
            self._look,
            self._settle,
            self._watch,  # before all that others could hold up
            self._open,
            self._announce_self,
            self._gather,
            self._conclude,
            self._tidy,
        )
        for part in parts:
            try:
                await part()
            except WarmlineError as error:
                self.tell(f"{error.message}. {error.hint}", {"event": "problem", "problem": error.message})

    # -- the end of an epoch

    async def _conclude(self) -> None:
        """For the epoch that was over last: announce, unite, vote, post."""
        epoch = self.epochs.at(self.now_s) - 1
        if epoch < 1 or any(post.epoch >= epoch and not post.vetoed for post in self.seen.posts):
            return
        if not self._up_to_date:
            return
        if not await self._announced(epoch):
            return
        if await self._unite(epoch) and self.now_s < self.epochs.end(epoch) + self._grace_s:
            return
        if self.seen.pending() is None:
            await self._vote(epoch)

    @property
    def _grace_s(self) -> int:
        return -(-self.epochs.length_s // limits.FEEDBACK_GRACE)

    @property
    def _up_to_date(self) -> bool:
        """Whether all that stands is counted: otherwise a token might count twice."""
        return all((post.epoch, post.root) in self._settled for post in self.seen.standing())

    async def _announced(self, epoch: int) -> bool:
        """Fix this collector's own set, and lay out what it says of it. For a node out of reach it waits a little."""
        own = await self._blocking(partial(self.files.cut, epoch))
        if own is None:
            whole = await self._read_slots(epoch, range(RELEASES))
            if not whole and self.now_s < self.epochs.end(epoch) + self._grace_s // 2:
                return False
            self.machine.forget(epoch)  # a post that was vetoed since was looked at as by one who announced nothing
            own = self.machine.cut_off(epoch)
            await self._blocking(partial(self.files.keep_cut, epoch, own))
        await self._recall(epoch)
        question = CollectorRead("announcement", epoch, 0)
        sheet = self._own_sheet(self.epochs.at(self.now_s))
        laid_out = await self._blocking(partial(self.files.laid_out, question))
        if laid_out is not None:
            await self._hear_own(epoch, as_heard(sheet, from_wire(laid_out, (SetAnnouncement,))))
        else:
            said = announce(sheet, epoch, own, self.key)
            await self._blocking(partial(self.files.lay_out, question, to_wire(said)))
            await self._hear_own(epoch, as_heard(sheet, said))
            self.tell(
                f"Epoch {epoch} is over: {len(own)} answers announced.",
                {"event": "announced", "epoch": epoch, "count": len(own)},
            )
            await self._close_drops(epoch)
        for one in self.others:
            sealed_to = CollectorRead("set", epoch, 0, one.owner)
            if await self._blocking(partial(self.files.laid_out, sealed_to)) is None:
                sealed = await self._blocking(partial(seal_set, own, one.sheet.sealing))
                await self._blocking(partial(self.files.lay_out, sealed_to, sealed))
        return True

    async def _vote(self, epoch: int) -> None:
        vouchers = self.seen.vouchers(epoch)
        data = await self._blocking(partial(self.machine.batch, epoch, vouchers, *self._contract))
        found = await self._blocking(partial(self.ledger.check, data, vouchers))
        if not found.tokens or self.seen.vetoed(epoch, found.root):
            return
        standing = self.seen.standing()
        conduct = EpochPost(
            epoch, standing[-1].root if standing else bytes(32), found.root, found.data_hash, found.tokens
        )
        mine = await self._laid_vote(epoch, conduct)
        if mine is None:
            await self._blocking(partial(self.files.lay_out, BatchRead(found.data_hash, 0), data))
            signature = self.wallet.sign_typed(self.chain.conduct_document(conduct))
            mine = _vote_of(conduct, self.wallet.address, signature)
            await self._blocking(partial(self.files.lay_out, CollectorRead("vote", epoch, 0), to_wire(mine)))
            self.tell(
                f"Voted for {found.tokens} answers of epoch {epoch}.",
                {"event": "voted", "epoch": epoch, "tokens": found.tokens, "root": "0x" + found.root.hex()},
            )
        votes = {self.wallet.address: mine.signature} | await self._votes(epoch, mine)
        if len(votes) >= self.seen.threshold and self._my_turn(conduct, sorted(votes)):
            await self._send(self.chain.post_epoch(conduct, votes), "posted", epoch)

    async def _laid_vote(self, epoch: int, conduct: EpochPost) -> EpochVote | None:
        """This collector's vote, if it is already for exactly that."""
        data = await self._blocking(partial(self.files.laid_out, CollectorRead("vote", epoch, 0)))
        vote = None if data is None else from_wire(data, (EpochVote,))
        return vote if vote is not None and vote == _vote_of(conduct, vote.collector, vote.signature) else None

    async def _votes(self, epoch: int, mine: EpochVote) -> dict[bytes, bytes]:
        """Signatures of the others over the same."""
        found: dict[bytes, bytes] = {}
        for one in self.others:
            try:
                data = await fetch(self.network.client.paths, one.node, CollectorRead("vote", epoch, 0))
                vote = from_wire(data, (EpochVote,))
                if vote == _vote_of(_post_of(mine), one.owner, vote.signature):
                    check_vote(*self._contract, vote)
                    found[one.owner] = vote.signature
            except WarmlineError as error:
                log.info("no vote of a collector: %s", error)
        return found

    def _my_turn(self, conduct: EpochPost, signers: Sequence[bytes]) -> bool:
        """One posts; the others only where that one did not."""
        now = trio.current_time()
        first = self._ready_at.setdefault((conduct.epoch, conduct.root), now)
        place = (signers.index(self.wallet.address) + conduct.epoch) % len(signers)
        return now >= first + place * self._grace_s / TURN_PARTS

    # -- what others posted

    async def _watch(self) -> None:
        """Veto what does not hold, what leaves out what this collector announced, and what nobody can look at."""
        post = self.seen.pending()
        if post is None or (post.epoch, post.root) in self._watched or not self._up_to_date:
            return
        try:
            data = await self._batch(post)
        except WarmlineError:
            if self.seen.time_s < post.stands_at_s - self.window_s // 3:
                raise
            why: tuple[str, ...] = ("nobody hands out what was posted",)
        else:
            why = await self._objections(post, data)
        if why:
            self.tell(f"Vetoing epoch {post.epoch}: {'; '.join(why)}.", {"event": "objection", "why": list(why)})
            await self._send(self.chain.veto_epoch(post.epoch, post.root), "vetoed", post.epoch)
        self._watched.add((post.epoch, post.root))

    async def _objections(self, post: Post, data: bytes) -> tuple[str, ...]:
        vouchers = self.seen.vouchers(post.epoch)
        await self._recall(post.epoch)
        return await self._blocking(partial(self.machine.objections, data, vouchers, post.said))

    # -- the rest

    async def _tidy(self) -> None:
        length = self.epochs.length_s
        kept_s = max(limits.FEEDBACK_KEPT_S, (limits.FEEDBACK_WINDOW_EPOCHS + 1) * length)
        oldest = self.epochs.at(self.now_s) - limits.FEEDBACK_WINDOW_EPOCHS
        await self._blocking(partial(self.files.tidy, self.now_s - kept_s, oldest))


def _vote_of(conduct: EpochPost, collector: bytes, signature: bytes) -> EpochVote:
    fields = (conduct.epoch, conduct.previous_root, conduct.root, conduct.data_hash, conduct.token_count)
    return EpochVote(*fields, collector, signature)


def _post_of(vote: EpochVote) -> EpochPost:
    return EpochPost(vote.epoch, vote.previous_root, vote.root, vote.data_hash, vote.tokens)


async def open_collector(
    network: Network, chain: ConductChain, wallet: Wallet, identity: Identity, files: CollectorFiles, tell: Tell
) -> CollectorDuty:
    """A collector with all that its disk and the chain know. ConfigError where its files are damaged."""
    epochs, window_s = await chain.terms()
    seen = await chain.now()
    duty: CollectorDuty

    def key_root(issuer: bytes, epoch: int) -> bytes | None:
        return duty.seen.key_root(issuer, epoch)

    ledger = Ledger(chain.manifest.chain_id, chain.manifest.address("ConductEpochs"), key_root)
    machine = Collector(epochs, ledger)
    for rating in await network.client.run_blocking(files.load):
        machine.held[rating.serial] = rating
    duty = CollectorDuty(network, chain, wallet, identity, files, epochs, window_s, machine, ledger, tell, seen)
    return duty
