"""One search of the directory under way: holders are discovered and read side by side, until enough of them have told.

Enough is three of different operators, not all of them at one informant's word; entries are read last, since they see
this device's address.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from warmline.client.holders import Holder, address_of
from warmline.client.matching import AGREEING, Collection, Holding, Match, Wanted
from warmline.client.snapshots import Directory, Library
from warmline_protocol.errors import WarmlineError
from warmline_protocol.lookup import Contact

if TYPE_CHECKING:
    from warmline.client.finder import Finder


@dataclass(frozen=True, slots=True)
class FinderSettings:
    """Seconds and counts. ``patience``: how long a search with holders enough still waits for the DHT to name more."""

    holders: int = AGREEING
    call_deadline: float = 20.0
    fetch_deadline: float = 60.0
    lookup_deadline: float = 15.0
    patience: float = 3.0
    chain_id: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Told as it happens; ``matches`` is everything that fits so far. ``age_ms``: it is from this device's cache."""

    words: str
    matches: tuple[Match, ...] = ()
    age_ms: int | None = None


Tell = Callable[[Progress], None]


class Search:
    """One search under way: discovery and fetches side by side."""

    def __init__(self, finder: Finder, wanted: Wanted, tell: Tell) -> None:
        self.collection = Collection(finder.settings.chain_id)
        self.library = Library()
        self.failed: list[tuple[str, str]] = []
        self.voices: list[tuple[str, str, tuple[bytes, ...]]] = []
        self._finder = finder
        self._settings = finder.settings
        self._known = finder.known
        self._wanted = wanted
        self._tell = tell
        self._asked: dict[str, str] = {}
        self._running: dict[str, str] = {}
        self._discovering = True
        self._enough_at = float("inf")
        self._met = trio.Event()
        self._changed = trio.Event()

    async def run(self) -> None:
        """Until enough holders of different operators have answered, or there is nobody left to ask."""
        failure: WarmlineError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._discover)
            try:
                await self._finder.meet_nodes()
            except WarmlineError as error:
                failure = error
                nursery.cancel_scope.cancel()
            else:
                self._tell(Progress(f"{len(self._known.records)} nodes known"))
                await self._fetch_all(nursery)
            nursery.cancel_scope.cancel()
        if failure is not None:  # raised out here, where no nursery wraps it in a group
            raise failure

    async def _fetch_all(self, nursery: trio.Nursery) -> None:
        self._met.set()
        while not self._over():
            self._changed = trio.Event()
            while (holder := self._next()) is not None:
                self._asked[holder.address.peer_id] = self._running[holder.address.peer_id] = holder.operator
                nursery.start_soon(self._ask, holder)
            if self._discovering or self._running:
                with trio.move_on_at(self._enough_at + self._settings.patience):
                    await self._changed.wait()

    def _over(self) -> bool:
        operators = self.collection.operators()
        if operators >= self._settings.holders:
            self._enough_at = min(self._enough_at, trio.current_time())
            if trio.current_time() >= self._enough_at + self._settings.patience:
                return True
            if operators >= self._most and self._is_independent():
                return True
        return not self._running and not self._discovering and self._next() is None

    @property
    def _most(self) -> int:
        """One holder more than a search needs: what all hold alike costs nothing, and it takes one liar more."""
        return self._settings.holders + (self._settings.holders >= AGREEING)

    def _is_independent(self) -> bool:
        """Whether somebody else than an entry named one of those who answered."""
        entries = self._finder.entry_ids()
        peers = (holding.peer_id for holding in self.collection.holdings)
        return any(self._known.only_by(peer) not in entries for peer in peers)

    def _next(self) -> Holder | None:
        """The next holder to ask: of an operator that was not asked, and not all of them at one informant's word."""
        heard = {holding.operator for holding in self.collection.holdings} | set(self._running.values())
        if len(heard) >= self._most:
            return None
        entries = self._finder.entry_ids()
        alone = [self._known.only_by(peer) for peer in self._asked]
        for holder in self._finder.order():
            peer = holder.address.peer_id
            if peer in self._asked or holder.operator in heard:
                continue
            if peer in entries:  # the last resort: they see this device's address
                if self._discovering or len(heard) >= self._settings.holders:
                    continue
            elif self._discovering:
                informant = self._known.only_by(peer)
                if informant is not None and alone.count(informant) >= self._settings.holders - 1:
                    continue
            return holder
        return None

    async def _discover(self) -> None:
        try:
            await self._met.wait()
            with trio.move_on_after(self._settings.lookup_deadline):
                await self._finder.look_up(self._hear)
        finally:
            self._discovering = False
            self._changed.set()

    def _hear(self, contact: Contact) -> None:
        address = address_of(contact.peer_id, contact.addrs)
        if address is not None:
            self._known.hear(address, "dht")
            self._changed.set()

    async def _ask(self, holder: Holder) -> None:
        peer, why = holder.address.peer_id, f"nothing within {self._settings.fetch_deadline:g} s"
        progress = None
        with trio.move_on_after(self._settings.fetch_deadline):
            try:
                directory = await self._finder.fetch(holder, self.library, more_nodes=self._discovering)
            except WarmlineError as error:
                why = str(error)
            else:
                progress = self._take(holder, directory)
        del self._running[peer]
        if progress is None:
            self.failed.append((holder.operator, why))
            progress = Progress(f"{holder.operator}: {why}")
        self._tell(progress)
        self._changed.set()

    def _take(self, holder: Holder, directory: Directory) -> Progress:
        peer = holder.address.peer_id
        self._finder.fetched += directory.fetched
        self.collection.add(Holding(peer, holder.operator, directory.records, directory.sheet))
        self.voices.append((peer, holder.operator, directory.sheets))
        matches = tuple(self.collection.matches(self._wanted, self._finder.clock.utc_ms()))
        return Progress(f"{holder.operator}: {len(directory.records)} records", matches)
