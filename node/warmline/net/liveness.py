"""Enough living connections: dead ones are found, lost ones are replaced.

Finding is the muxer's work (:mod:`warmline.net.muxer` pings every connection and closes one that does not answer), so
it holds for every host, over circuits too, and needs no protocol of the peer. Replacing is done here: the library
dials either nobody or everybody it has ever heard of, and a node whose peers died stayed with one connection.

A keeper holds a *degree*: that many connected peers among those whose addresses it was given. Peers that merely
connected to us do not count, or a crowd of clients (or one attacker with many keys) would satisfy a node that has
lost the network. Addresses that fail wait twice as long each time, with jitter, so that a returning bootstrap node is
not met by everybody in the same second.

Whoever was lost, or did not answer, is looked for again even when there are peers enough: a partition leaves each side
satisfied with itself, and nobody knows that there is another side but by those who are missing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from warmline.env import Rng
from warmline.net.api import Host
from warmline_protocol.errors import WarmlineError

log = logging.getLogger("warmline.net")

Candidates = Callable[[], Sequence[str]]
"""Addresses (each with its peer id) of nodes worth knowing; called at each look. The same tuple: nothing changed."""


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """Times in seconds."""

    degree: int = 6
    """Connected peers to hold, as far as candidates reach."""
    pinned: tuple[str, ...] = ()
    """Addresses that are always redialled, whatever the degree."""
    feel_every: float = 60.0
    """One random candidate more is dialled this often, up to three times the degree: whoever first surrounded a node
    with silent peers so loses it again. Missing ones take every second turn, whatever the degree."""
    check_every: float = 10.0
    """The longest time until a shortage is noticed; the loss of a peer is noticed at once."""
    dial_deadline: float = 10.0
    backoff_first: float = 1.0
    backoff_most: float = 300.0
    backoff_pinned: float = 30.0
    """The longest wait for a pinned one: they are few, and after a partition they are the way back."""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class Keeper:
    """Holds a host's degree; obtained from :func:`open_keeper`."""

    host: Host
    settings: KeeperSettings
    candidates: Candidates
    rng: Rng
    _failures: dict[str, _Failures] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _missing: dict[str, None] = field(default_factory=dict)
    """Candidates that were connected, or were dialled, and are not there; as long as they are candidates."""
    _for_missing: bool = True
    _given: Sequence[str] | None = None
    _by_peer: dict[str, str] = field(default_factory=dict)
    _wake: trio.Event = field(default_factory=trio.Event)
    _met: trio.Event = field(default_factory=trio.Event)
    _feel_at: float = field(init=False)
    dials: int = 0
    """Dials tried so far."""

    def __post_init__(self) -> None:
        self._feel_at = trio.current_time() + self.settings.feel_every

    @property
    def degree(self) -> int:
        """Connected peers that count."""
        return len(self._known.intersection(self.host.peers()))

    async def wait_degree(self, at_least: int) -> None:
        """Return when that many peers that count are connected; give it a deadline."""
        while self.degree < at_least:
            await self._met.wait()

    def reconsider(self) -> None:
        """Look again now: the candidates have changed or a peer was lost."""
        self._wake.set()

    def statistics(self) -> dict[str, int]:
        """Counts for status and metrics; no peers, no addresses."""
        return {"degree": self.degree, "dials": self.dials, "failing": len(self._failures)}

    async def run(self) -> None:
        """Hold the degree until cancelled."""
        self.host.on_peer_change(self._changed)
        while True:
            self._wake = trio.Event()
            await self._round()
            with trio.move_on_after(self._pause()):
                await self._wake.wait()

    def _changed(self, peer: str, connected: bool) -> None:
        if connected:
            self._missing.pop(peer, None)
        elif peer in self._known:
            self._missing[peer] = None
        self.reconsider()

    async def _round(self) -> None:
        wanted = self._wanted()
        async with trio.open_nursery() as nursery:
            for addr in wanted:
                nursery.start_soon(self._dial, addr)
        met, self._met = self._met, trio.Event()
        met.set()

    def _wanted(self) -> list[str]:
        """The addresses to dial now: lost pinned ones, then random candidates up to the degree."""
        connected, now = set(self.host.peers()), trio.current_time()
        pinned = _by_peer(self.settings.pinned, self.host.peer_id)
        candidates = self._candidates(pinned)
        self._failures = {peer: failed for peer, failed in self._failures.items() if peer in self._known}
        wanted = [pinned[peer] for peer in sorted(pinned) if self._may_dial(peer, connected, now)]
        have = len(connected & self._known) + len(wanted)
        short = self.settings.degree - have
        if short <= 0 and now < self._feel_at:
            return wanted
        others = sorted(peer for peer in candidates if peer not in pinned and self._may_dial(peer, connected, now))
        if short > 0:
            wanted += [candidates[peer] for peer in self.rng.sample(others, short)]
        else:
            self._feel_at = now + self.settings.feel_every * self.rng.uniform(0.8, 1.2)
            wanted += [candidates[peer] for peer in self._feel_for(others, have)]
        return wanted

    def _candidates(self, pinned: dict[str, str]) -> dict[str, str]:
        """The candidates by peer; whom they name, and the pinned, are known."""
        given = self.candidates()
        if given is not self._given or not isinstance(given, tuple):  # a list may have changed in place
            self._given, self._by_peer = given, _by_peer(given, self.host.peer_id)
            self._known = set(self._by_peer) | set(pinned)
        return self._by_peer

    def _feel_for(self, others: list[str], have: int) -> Sequence[str]:
        """One more to meet: in turns anybody, while there is room, and somebody who is missing."""
        self._missing = {peer: None for peer in self._missing if peer in self._known}
        missing = [peer for peer in others if peer in self._missing]
        has_room = have < 3 * self.settings.degree
        turn, self._for_missing = self._for_missing or not has_room, not self._for_missing
        if turn and missing:
            return self.rng.sample(missing, 1)
        return self.rng.sample(others, 1) if has_room else ()

    def _may_dial(self, peer: str, connected: set[str], now: float) -> bool:
        failed = self._failures.get(peer)
        return peer not in connected and (failed is None or failed.not_before <= now)

    async def _dial(self, addr: str) -> None:
        self.dials += 1
        peer = _peer_of(addr)
        try:
            await self.host.connect(addr, deadline=self.settings.dial_deadline)
        except WarmlineError as error:
            self._failed(peer)
            if peer in self._known:
                self._missing[peer] = None
            log.debug("a candidate did not answer: %s", type(error).__name__)
        else:
            self._failures.pop(peer, None)
            self._missing.pop(peer, None)

    def _failed(self, peer: str) -> None:
        failed = self._failures.setdefault(peer, _Failures())
        pinned = any(_peer_of(addr) == peer for addr in self.settings.pinned)
        most = min(self.settings.backoff_pinned if pinned else math.inf, self.settings.backoff_most)
        wait = min(self.settings.backoff_first * 2**failed.count, most)
        failed.count = min(failed.count + 1, 32)
        failed.not_before = trio.current_time() + wait * self.rng.uniform(0.5, 1.5)

    def _pause(self) -> float:
        """Until the next look: a failed candidate's turn, or the usual time, whichever is first."""
        now = trio.current_time()
        # A turn that has come and was not taken, because nobody is short of peers, is none to wake up for.
        turns = (failed.not_before - now for failed in self._failures.values() if failed.not_before > now)
        soonest = min(turns, default=self.settings.check_every)
        return max(0.05, min(soonest, self.settings.check_every * self.rng.uniform(0.8, 1.2)))


@asynccontextmanager
async def open_keeper(
    host: Host, settings: KeeperSettings, *, candidates: Candidates, rng: Rng
) -> AsyncIterator[Keeper]:
    """Hold ``host``'s degree for the length of the block."""
    keeper = Keeper(host, settings, candidates, rng)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        yield keeper
        nursery.cancel_scope.cancel()


def _by_peer(addrs: Iterable[str], own: str) -> dict[str, str]:
    """One address a peer, the first given; our own left out."""
    out: dict[str, str] = {}
    for addr in addrs:
        if (peer := _peer_of(addr)) != own:
            out.setdefault(peer, addr)
    return out


def _peer_of(addr: str) -> str:
    return addr.rsplit("/p2p/", 1)[-1]
