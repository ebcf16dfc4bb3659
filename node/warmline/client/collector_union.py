"""A collector's union: its own set, and every set that another one announced and did not contradict.

What others announce is told on, sets are passed on to those who were left without, and whoever announced two sets for
one epoch is set aside in it, with the proof in a file.
"""

from __future__ import annotations

import logging
from functools import partial

from warmline.client.collecting import fetch
from warmline.client.collector_base import CollectorBase
from warmline_protocol.errors import RemoteError, UnreachableError, WarmlineError
from warmline_protocol.feedback.heard import Heard, as_heard, read_heard
from warmline_protocol.feedback.messages import CollectorRead, Rating, SetAnnouncement, SetHeard
from warmline_protocol.feedback.serving import open_set, seal_set
from warmline_protocol.feedback.sheets import check_announcement
from warmline_protocol.wire import from_wire

log = logging.getLogger("warmline.client")


class CollectorUnion(CollectorBase):
    """Part of :class:`~warmline.client.collector.CollectorDuty`."""

    @property
    def _contract(self) -> tuple[int, bytes]:
        return self.chain.manifest.chain_id, self.chain.manifest.address("ConductEpochs")

    async def _unite(self, epoch: int) -> list[bytes]:
        """Take whatever can be had into the union of an epoch; collectors whose set is still missing.

        Those whose record nobody shows any more count like the others: what one collector has of them, all must have.
        """
        for who in self._everybody:
            await self._united(epoch, who)
        told = await self._compare(epoch)
        # Who is set aside in the course of this ends the union that was made so far. So it is gone over once more when
        # all have been heard, and nobody is asked for another word then.
        missing = []
        for who in self._everybody:
            if who in (await self._heard(epoch)).aside() or await self._united(epoch, who, ask=False):
                continue
            if not await self._from_others(epoch, who, told):
                missing.append(who)
        await self._pass_on(epoch, told)
        return missing

    @property
    def _everybody(self) -> list[bytes]:
        """The other collectors, seen or not."""
        return sorted(set(self.seen.collectors) - {self.wallet.address})

    async def _recall(self, epoch: int) -> None:
        """Once a run: the set as it was fixed, which the machine forgets with the process.

        Who announced nothing misses nothing; and nothing of one's own counts where one is set aside oneself.
        """
        if epoch not in self._recalled:
            own = await self._blocking(partial(self.files.cut, epoch)) or ()
            aside = self.wallet.address in (await self._heard(epoch)).aside()
            self.machine.recall(epoch, () if aside else own)
            self._recalled.add(epoch)

    # -- the sets of others

    async def _united(self, epoch: int, other: bytes, *, ask: bool = True) -> bool:
        """Whether what the other one announced is in the union; taken from the disk, or asked for."""
        if (epoch, other) in self._merged:
            return True
        if other in (await self._heard(epoch)).aside():
            return False
        kept = await self._blocking(partial(self.files.taken, epoch, other))
        if kept is None and not ask:
            return False
        try:
            said, ratings = kept or await self._fetch_set(epoch, other)
            await self._merge(said, ratings, known=kept is not None)
        except WarmlineError as error:
            log.info("the set of a collector is not there: %s", error)
            return False
        return True

    async def _merge(self, said: SetAnnouncement, ratings: tuple[Rating, ...], *, known: bool = False) -> None:
        new = await self._blocking(partial(self.machine.merge, said, ratings))
        if not known:
            await self._save()
            await self._blocking(partial(self.files.keep_taken, said, ratings))
            self.tell(
                f"The set of 0x{said.collector.hex()} is in: {new} new answers.",
                {"event": "united", "epoch": said.epoch, "collector": "0x" + said.collector.hex(), "new": new},
            )
        heard = await self._heard(said.epoch)
        heard.take(said.collector)
        await self._lay_out_heard(heard)
        self._merged.add((said.epoch, said.collector))

    async def _fetch_set(self, epoch: int, who: bytes) -> tuple[SetAnnouncement, tuple[Rating, ...]]:
        other, paths = next((one for one in self.others if one.owner == who), None), self.network.client.paths
        if other is None:
            raise UnreachableError("no node shows the record of a collector")
        said = from_wire(await fetch(paths, other.node, CollectorRead("announcement", epoch, 0)), (SetAnnouncement,))
        check_announcement(said, other.sheet)
        await self._hear(epoch, as_heard(other.sheet, said))
        said = await self._word_of(epoch, who)
        sealed = await fetch(paths, other.node, CollectorRead("set", epoch, 0, self.wallet.address), said.count)
        return said, await self._blocking(partial(open_set, sealed, self.sealing))

    async def _word_of(self, epoch: int, other: bytes) -> SetAnnouncement:
        word = (await self._heard(epoch)).of(other)
        if word is None:
            raise UnreachableError("what a collector announced is not known, or it announced two sets")
        return word.said

    # -- what is told on

    async def _heard(self, epoch: int) -> Heard:
        """Every announcement for an epoch that is known here; once a run from the disk."""
        if epoch not in self._words:
            heard = Heard(*self._contract, epoch)
            data = await self._blocking(partial(self.files.laid_out, CollectorRead("heard", epoch, 0)))
            for one in read_heard(data or b""):
                try:
                    heard.hear(one, self.seen.collectors)
                except RemoteError as error:  # of somebody who is no collector any more
                    log.info("what was heard before does not hold now: %s", error)
                    continue
                if one.taken and heard.of(one.said.collector) is not None:
                    heard.take(one.said.collector)
            self._words[epoch] = heard
        return self._words[epoch]

    async def _hear(self, epoch: int, one: SetHeard) -> None:
        """Tell it on; set its collector aside if it said something else before."""
        heard, who = await self._heard(epoch), one.said.collector
        if heard.hear(one, self.seen.collectors):
            await self._lay_out_heard(heard)
            if who in heard.aside():
                # The union is made anew without its set; what is in the set of others too stays in.
                self._merged = {each for each in self._merged if each[0] != epoch}
                self._recalled.discard(epoch)
                await self._recall(epoch)
        if who in heard.aside():
            await self._keep_proof(heard, who)

    async def _hear_own(self, epoch: int, one: SetHeard) -> None:
        """Each time: it may have been laid out by a process that was killed before it was told on."""
        try:
            await self._hear(epoch, one)
        except RemoteError as error:  # of a collector that is none any more
            log.info("one's own announcement does not hold now: %s", error)

    async def _keep_proof(self, heard: Heard, who: bytes) -> None:
        path = await self._blocking(partial(self.files.keep_proof, heard.epoch, who, heard.proof(who)))
        if path is not None:
            self.tell(
                f"0x{who.hex()} announced two different sets for epoch {heard.epoch}. It is set aside, and the epoch "
                f"goes on with the others. The proof is in {path}: show it to those who name collectors.",
                {"event": "equivocation", "epoch": heard.epoch, "collector": "0x" + who.hex(), "proof": str(path)},
            )

    async def _lay_out_heard(self, heard: Heard) -> None:
        question = CollectorRead("heard", heard.epoch, 0)
        try:
            await self._blocking(partial(self.files.lay_out, question, heard.write()))
        except WarmlineError:
            self._words.pop(heard.epoch, None)  # what is not on the disk was not heard: told again, it is new again
            raise

    async def _compare(self, epoch: int) -> dict[bytes, dict[bytes, SetHeard]]:
        """Hear what each of the others heard; by teller and collector."""
        told: dict[bytes, dict[bytes, SetHeard]] = {}
        for one in self.others:
            question = CollectorRead("heard", epoch, 0)
            try:
                words = list(read_heard(await fetch(self.network.client.paths, one.node, question)))
            except WarmlineError as error:
                log.info("what a collector heard is not to be had: %s", error)
                continue
            told[one.owner] = {}
            for word in words:
                try:
                    await self._hear(epoch, word)
                except RemoteError as error:  # of somebody who is no collector any more, for example
                    log.info("what a collector heard does not hold: %s", error)
                else:
                    told[one.owner][word.said.collector] = word
        return told

    async def _from_others(self, epoch: int, wanted: bytes, told: dict[bytes, dict[bytes, SetHeard]]) -> bool:
        """The set of one that does not hand it out, from whoever has it."""
        for one in self.others:
            word = told.get(one.owner, {}).get(wanted)
            if one.owner == wanted or word is None or not word.taken:
                continue
            question = CollectorRead("passed", epoch, 0, self.wallet.address, wanted)
            try:
                said = await self._word_of(epoch, wanted)
                sealed = await fetch(self.network.client.paths, one.node, question, said.count)
                await self._merge(said, await self._blocking(partial(open_set, sealed, self.sealing)))
            except WarmlineError as error:
                log.info("a set is not passed on (yet): %s", error)
            else:
                return True
        return False

    async def _pass_on(self, epoch: int, told: dict[bytes, dict[bytes, SetHeard]]) -> None:
        """Sets that are here, sealed to those who say that they have them not."""
        for one in self.others:
            for who in self._everybody:
                word = told.get(one.owner, {}).get(who)
                if one.owner == who or one.owner not in told or (word is not None and word.taken):
                    continue
                question = CollectorRead("passed", epoch, 0, one.owner, who)
                if (epoch, who) in self._merged and not await self._blocking(partial(self.files.laid_out, question)):
                    taken = await self._blocking(partial(self.files.taken, epoch, who))
                    assert taken is not None
                    sealed = await self._blocking(partial(seal_set, taken[1], one.sheet.sealing))
                    await self._blocking(partial(self.files.lay_out, question, sealed))
