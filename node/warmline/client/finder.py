"""Finding groups from one known node: who else is there, who holds the directory, what several of them hold.

Three things go on at once. The entries are asked for nodes (they see the address anyway and the question is the same
from everybody), a lookup in the DHT over circuits names holders beyond those that the entries chose to show, and
holders of different operators are asked for whole snapshots, each over a circuit and under a key of its own; each of
them is asked for more nodes as well. What one informant alone names never fills all places. Only on this device is
anything searched, and what is found is told as it comes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from warmline.client.cache import DirectoryCache, Kept
from warmline.client.finder_search import FinderSettings, Progress, Search, Tell
from warmline.client.holders import Acquaintance, Holder, diverse, one_voice_a_network, operator_of
from warmline.client.lookup import ClientLookup
from warmline.client.matching import Collection, Match, Wanted
from warmline.client.routes import Routes
from warmline.client.snapshots import Directory, Library, read_directory
from warmline.env import Clock, Rng
from warmline.net.host import HostSettings, open_host
from warmline.net.rpc import call
from warmline.net.streams import Channel
from warmline_protocol import limits
from warmline_protocol.errors import UnreachableError, WarmlineError
from warmline_protocol.keys import SigningKey, public_of
from warmline_protocol.lookup import Contact
from warmline_protocol.records.envelope import open_record
from warmline_protocol.records.messages import PROTOCOL, Nodes, NodesWanted, Publish, Published, shard_key
from warmline_protocol.records.node import DIRECTORY, NodeRecord
from warmline_protocol.records.text import printable

log = logging.getLogger("warmline.client")

__all__ = ["Finder", "FinderSettings", "Findings", "Holder", "Progress", "one_voice_a_network", "operator_of"]

PURPOSE: Final = "directory"
ENTRIES_ASKED: Final = 3
"""Entries that are asked for nodes: more would see the address and add little."""
GRACE: Final = 1.0
"""Seconds that other entries get to answer once the first has."""


@dataclass(frozen=True, slots=True)
class Findings:
    """``failed`` is (operator, why) of holders that did not answer; ``weak`` says what was less private than usual."""

    matches: tuple[Match, ...]
    operators: int
    nodes_known: int
    failed: tuple[tuple[str, str], ...]
    weak: tuple[str, ...]
    fetched: int = 0
    """Bytes of directories that were read; what was known already is not fetched again."""
    age_ms: int | None = None
    """How old all of it is, where no node could be reached and it is from this device's cache."""


def _silent(progress: Progress) -> None:
    pass


class Finder:
    """One person's view of the network, from the entries in ``routes``; ``cache`` where the person wants one.

    ``known`` is who was heard of so far, ``fetched`` the bytes of directories that were read.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        rng: Rng,
        clock: Clock,
        settings: FinderSettings | None = None,
        cache: DirectoryCache | None = None,
    ) -> None:
        self._routes = routes
        self._rng = rng
        self.clock = clock
        self.settings = settings or FinderSettings()
        self._cache = cache
        self.known = Acquaintance()
        self._weak: set[str] = set()
        self.fetched = 0

    async def find(self, wanted: Wanted, tell: Tell = _silent) -> Findings:
        """Ask, unite, search. UnreachableError where not one holder answered and nothing is kept on this device."""
        try:
            collection, failed = await self.collect(wanted, tell)
        except UnreachableError as error:
            return self._from_cache(wanted, error)
        matches = tuple(collection.matches(wanted, self.clock.utc_ms()))
        known, weak = len(self.known.records), tuple(sorted(self._weak))
        return Findings(matches, collection.operators(), known, tuple(failed), weak, self.fetched)

    async def collect(self, wanted: Wanted, tell: Tell = _silent) -> tuple[Collection, list[tuple[str, str]]]:
        """Everything that enough holders hold, with who failed and why."""
        search = Search(self, wanted, tell)
        kept = self._kept(wanted, tell)
        if kept is not None:
            search.collection.kept = kept.records
            search.library.add(kept.records)
        await search.run()
        if not search.collection.holdings:
            failed = search.failed
            raise UnreachableError(
                "no node that holds the directory could be reached",
                hint="Tried: " + "; ".join(f"{who}: {why}" for who, why in failed) + ". Add another entry."
                if failed
                else "Add the address of another node to the entries.",
            )
        self._keep(search)
        return search.collection, search.failed

    async def meet_nodes(self) -> tuple[NodeRecord, ...]:
        """Node records from the entries that answer; they also teach the routes who runs what."""
        errors: list[str] = []
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for entry in self._routes.entries[:ENTRIES_ASKED]:
                    nursery.start_soon(self._ask_entry, entry, errors, scope)
        for entry in self._routes.entries[ENTRIES_ASKED:]:
            if self.known.records:
                break
            await self._ask_entry(entry, errors, None)
        if not self.known.records and len(errors) >= len(self._routes.entries):
            raise UnreachableError(
                "none of the entries answers: " + "; ".join(errors),
                hint="Check that you are online and that the entries' addresses are right.",
            )
        return tuple(self.known.records[peer] for peer in sorted(self.known.records))

    async def publish(self, records: Sequence[bytes]) -> tuple[Published, ...]:
        """Hand signed records to a directory node over a circuit; the verdicts in order.

        Where a node fails half way, the next one gets the rest. A refused record is an answer, not an error.
        """
        answers: list[Published] = []
        errors: list[str] = []
        await self.meet_nodes()
        for holder in self.order():
            try:
                async with self._channel(holder) as channel:
                    for data in records[len(answers) :]:
                        question = Publish(data)
                        answer = await call(channel, question, (Published,), deadline=self.settings.call_deadline)
                        answers.append(replace(answer, reason=printable(answer.reason), hint=printable(answer.hint)))
                    return tuple(answers)
            except WarmlineError as error:
                errors.append(f"{holder.operator}: {error}")
        raise UnreachableError(
            f"no node took record {len(answers) + 1} of {len(records)}: " + "; ".join(errors),
            hint="Publish again in a minute; what was taken already is only renewed.",
        )

    def order(self) -> list[Holder]:
        """Holders in the order to ask: one of each operator first, the rest after, the entries last."""
        holders = self.known.holders(DIRECTORY)
        self._rng.shuffle(holders)
        return diverse(holders, last=self.entry_ids())

    async def fetch(self, holder: Holder, library: Library | None = None, *, more_nodes: bool = False) -> Directory:
        """The whole directory of one holder, every record verified; what ``library`` has is not fetched.

        With ``more_nodes`` it is also asked whom it knows.
        """
        key = public_of(holder.address.peer_id)
        async with self._channel(holder) as channel:
            directory = await read_directory(channel, key, library or Library(), deadline=self.settings.call_deadline)
            if more_nodes:
                await self._ask_for_nodes(channel, holder.address.peer_id)
            return directory

    # --- the cache -----------------------------------------------------------------------------------------------

    def _kept(self, wanted: Wanted, tell: Tell) -> Kept | None:
        """What the cache holds, shown at once with its age."""
        now = self.clock.utc_ms()
        kept = self._cache.load(now) if self._cache is not None else None
        if kept is None:
            return None
        before = Collection(self.settings.chain_id, list(kept.holdings), kept.records)
        matches = tuple(before.matches(wanted, now))
        tell(Progress("from this device", matches, max(0, now - kept.saved_ms)))
        return kept

    def _from_cache(self, wanted: Wanted, why: UnreachableError) -> Findings:
        now = self.clock.utc_ms()
        kept = self._cache.load(now) if self._cache is not None else None
        if kept is None:
            raise why
        matches = Collection(self.settings.chain_id, list(kept.holdings), kept.records).matches(wanted, now)
        return Findings(tuple(matches), 0, 0, (("the network", str(why)),), (), 0, max(0, now - kept.saved_ms))

    def _keep(self, search: Search) -> None:
        if self._cache is None:
            return
        now = self.clock.utc_ms()
        try:
            self._cache.save(now, search.collection.everything(now), search.voices)
        except OSError as error:
            log.warning("the directory is not kept on this device: %s", error)

    # --- asking --------------------------------------------------------------------------------------------------

    async def _ask_entry(self, entry: str, errors: list[str], others: trio.CancelScope | None) -> None:
        try:
            async with self._directly(entry) as channel:
                await self._ask_for_nodes(channel, channel.peer)
        except WarmlineError as error:
            errors.append(str(error))
        else:
            if others is not None:  # the slow ones have a little longer
                others.deadline = min(others.deadline, trio.current_time() + GRACE)

    async def _ask_for_nodes(self, channel: Channel, informant: str) -> None:
        question = NodesWanted((), limits.DIRECTORY_NODES_MAX)
        answer = await call(channel, question, (Nodes,), deadline=self.settings.call_deadline)
        now = self.clock.utc_ms()
        for data in answer.records:
            record = open_record(data)
            if isinstance(record.body, NodeRecord) and record.expires > now:
                self.known.learn(record.body, informant)

    async def look_up(self, told: Callable[[Contact], None]) -> None:
        """Name holders that the DHT knows, as they are heard of; none where the lookup fails: known nodes may do."""
        lookup = ClientLookup(
            self._routes,
            [record.address for record in self.known.records.values()],
            rng=self._rng,
            clock=self.clock,
            query_seconds=self.settings.lookup_deadline / 2,
            lookup_seconds=self.settings.lookup_deadline,
        )
        try:
            await lookup.providers(shard_key(), told=told)
        except WarmlineError as error:
            log.info("no holders from the DHT: %s", error)

    # --- channels ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _channel(self, holder: Holder) -> AsyncIterator[Channel]:
        """Over a circuit; directly where the holder is the only entry, so that no circuit can lead there."""
        peer = holder.address.peer_id
        only = self.entry_ids() == {peer}
        if only:
            self._weak.add("your only entry also served the directory: it saw your address, not what you search")
            async with self._directly(self._routes.entries[0]) as channel:
                yield channel
            return
        async with self._routes.path(PURPOSE, holder.address) as path:
            if path.weakness:
                self._weak.add(path.weakness)
            async with await path.open_channel(
                PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX, deadline=self.settings.call_deadline
            ) as channel:
                yield channel

    @asynccontextmanager
    async def _directly(self, entry: str) -> AsyncIterator[Channel]:
        key = SigningKey(self._rng.bytes(32))
        async with open_host(HostSettings(private=True), key=key, rng=self._rng, clock=self.clock) as host:
            peer = await host.connect(entry, deadline=limits.ENTRY_CONNECT_S)
            async with await host.open_channel(
                peer, PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX, deadline=self.settings.call_deadline
            ) as channel:
                yield channel

    def entry_ids(self) -> set[str]:
        """Peer ids of the entries: they see this device's address."""
        return {entry.rpartition("/p2p/")[2] for entry in self._routes.entries}
