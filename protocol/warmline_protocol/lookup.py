"""The iterative Kademlia lookup as a state machine: answers in, queries out.

Seekers may not use a stock lookup, because it dials some twenty strangers from the seeker's own address. This one
only says whom to ask next; whoever drives it decides how to get there (clients: by circuits through their entry,
nodes: directly). It knows no time either: the driver reports a deadline that passed as a failure.

Hostile answers are the normal case. A peer may name thousands, name itself, name keys it made up to lie next to
the target, or name the right peers at wrong addresses. What stands against it:

* disjoint paths (S/Kademlia, Baumgart and Mies 2007): what a peer names is asked on that peer's path only, each path
  has its share of the queries and of the memory, and nobody is asked twice. One liar leads one path astray;
* of one open network (:mod:`.networks`) at most four peers count among the closest: keys are free, networks are not;
* blame: once eight of a peer's referrals turned out dead, nothing is believed that only it said;
* a region: where the driver knows about how many nodes there are, everybody within the distance at which the k closest
  should lie is asked, however many false ids lie nearer (Sridhar et al., "Content Censorship in the InterPlanetary
  File System", 2023).

It ends when the k closest of all, and the closest of each path, that are alive and believed have answered.

    waiting --next_queries--> asked --on_response--> answered
                                 \\--on_failure---> dead
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice, zip_longest

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, UsageError
from warmline_protocol.kad import KadMessage, KadPeer, KadType, addr_text, position
from warmline_protocol.keys import base58_decode, base58_encode, public_of
from warmline_protocol.networks import networks_of


@dataclass(frozen=True, slots=True)
class Contact:
    """A peer id (base58) and text multiaddrs it is said to have, each ending in ``/p2p/<peer id>``."""

    peer_id: str
    addrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """Send ``message`` to ``contact``, then report to ``on_response`` or ``on_failure``."""

    contact: Contact
    message: KadMessage


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup has learnt so far.

    ``closest``: the k closest that answered and everybody in the region who did, nearest first. ``providers``: as
    they were claimed, nobody checked. ``values``: (holder, bytes) pairs, one per distinct value, unchecked; validate
    them and pick the best by seq.
    """

    closest: tuple[Contact, ...]
    providers: tuple[Contact, ...]
    values: tuple[tuple[str, bytes], ...]
    asked: int
    failed: int


class _State(Enum):
    WAITING = auto()
    ASKED = auto()
    ANSWERED = auto()
    DEAD = auto()


@dataclass(slots=True)
class _Candidate:
    contact: Contact
    distance: int
    seed: bool
    networks: frozenset[str]
    state: _State = _State.WAITING
    referrers: set[str] = field(default_factory=set)
    paths: set[int] = field(default_factory=set)
    """Those on which it was named; it is asked on one of them."""
    path: int | None = None
    """The one on which it was asked."""


@dataclass(slots=True)
class _Path:
    asked: int = 0
    under_way: int = 0
    answered: int = 0
    fruitful: bool = False
    """Whether an answer on it held what is looked for."""


class Lookup:
    """One lookup of ``key``.

    ``kind`` is FIND_NODE (key: the raw peer id, or any bytes), GET_VALUE or GET_PROVIDERS. ``enough`` ends the
    lookup early once that many distinct providers, or holders of a value, have been heard of, and on every path that
    still goes on; None asks on to the end, which alone makes several liars harmless. ``own_id`` is never asked.
    ``radius`` is the distance (of 2**256) within which everybody is asked, 0 where the network's size is not known.
    """

    def __init__(
        self,
        kind: KadType,
        key: bytes,
        seeds: Iterable[Contact],
        *,
        own_id: str = "",
        k: int = limits.KAD_K,
        alpha: int = limits.KAD_ALPHA,
        paths: int = limits.KAD_PATHS,
        enough: int | None = None,
        radius: int = 0,
        most_queries: int = limits.KAD_LOOKUP_QUERIES_MAX,
    ) -> None:
        if kind not in (KadType.FIND_NODE, KadType.GET_VALUE, KadType.GET_PROVIDERS):
            raise UsageError(f"a lookup cannot send {kind.name}")
        if not 0 < len(key) <= limits.KAD_KEY_MAX:
            raise UsageError(f"a lookup key has 1 to {limits.KAD_KEY_MAX} bytes")
        self.kind = kind
        self.key = key
        self.k = k
        self.alpha = alpha
        self.enough = enough
        self.radius = radius
        self._share = (most_queries + (limits.KAD_REGION_QUERIES_MAX if radius else 0)) // paths
        self._own_id = own_id
        self._target = position(key)
        self._candidates: dict[str, _Candidate] = {}
        self._order: list[_Candidate] = []
        self._paths = [_Path() for _ in range(paths)]
        self._blame: dict[str, int] = {}
        self._providers: dict[str, Contact] = {}
        self._values: dict[bytes, str] = {}
        self._holders: set[str] = set()
        for seed in seeds:
            self._learn(seed, referrer=None, path=None)
        for number, candidate in enumerate(self._order):
            candidate.paths.add(number % paths)

    # --- what to do next ---

    def next_queries(self) -> list[Query]:
        """The queries to send now: as many as keep ``alpha`` under way, none where the lookup is done."""
        queries: list[Query] = []
        if self._satisfied():
            return queries
        room = self.alpha - self._under_way()
        for candidate in self._wanted() if room > 0 else ():
            path = self._path_for(candidate)
            if path is None:
                continue
            candidate.state, candidate.path = _State.ASKED, path
            self._paths[path].asked += 1
            self._paths[path].under_way += 1
            queries.append(Query(candidate.contact, KadMessage(self.kind, self.key)))
            if len(queries) >= room:
                break
        return queries

    @property
    def done(self) -> bool:
        """Whether nothing is under way that could still matter and nobody is left to ask."""
        if self._satisfied():
            return True
        return not self._under_way() and all(self._path_for(candidate) is None for candidate in self._wanted())

    @property
    def found(self) -> Found:
        """The result, valid at any time and final once :attr:`done`."""
        answered = self._diverse(c for c in self._order if c.state is _State.ANSWERED)
        closest = [c.contact for n, c in enumerate(answered) if n < self.k or c.distance < self.radius]
        return Found(
            closest=tuple(closest),
            providers=tuple(self._providers.values()),
            values=tuple((holder, value) for value, holder in self._values.items()),
            asked=sum(path.asked for path in self._paths),
            failed=sum(c.state is _State.DEAD for c in self._candidates.values()),
        )

    # --- what happened ---

    def on_response(self, peer_id: str, answer: KadMessage) -> None:
        """An answer came; one to a question that is not under way is dropped, one of the wrong kind is a failure."""
        candidate = self._candidates.get(peer_id)
        if candidate is None or candidate.state is not _State.ASKED:
            return
        if answer.type is not self.kind:
            self.on_failure(peer_id)
            return
        path = self._end(candidate, _State.ANSWERED)
        self._paths[path].answered += 1
        if self.kind is KadType.GET_VALUE and answer.record is not None:
            self._paths[path].fruitful |= self._keep_value(peer_id, answer.record.key, answer.record.value)
        if self.kind is KadType.GET_PROVIDERS:
            self._paths[path].fruitful |= self._keep_providers(answer.providers)
        for contact in islice(_contacts(answer.closer), self.k):
            if contact.peer_id != peer_id:
                self._learn(contact, referrer=peer_id, path=path)
        self._forget_far(path)

    def on_failure(self, peer_id: str) -> None:
        """No usable answer: unreachable, refused, too late, or not the protocol."""
        candidate = self._candidates.get(peer_id)
        if candidate is None or candidate.state is not _State.ASKED:
            return
        self._end(candidate, _State.DEAD)
        for referrer in candidate.referrers:
            self._blame[referrer] = self._blame.get(referrer, 0) + 1

    # --- the inside ---

    def _under_way(self) -> int:
        return sum(path.under_way for path in self._paths)

    def _end(self, candidate: _Candidate, state: _State) -> int:
        path = candidate.path or 0
        candidate.state = state
        self._paths[path].under_way -= 1
        return path

    def _satisfied(self) -> bool:
        if self.enough is None:
            return False
        heard = self._providers if self.kind is KadType.GET_PROVIDERS else self._holders
        if len(heard) < self.enough:
            return False
        # One liar names as many as are asked for: every path that can still speak has to have spoken.
        goes_on = {path for candidate in self._wanted() for path in candidate.paths}
        goes_on |= {number for number, path in enumerate(self._paths) if path.under_way}
        return all(self._paths[number].fruitful for number in goes_on if self._paths[number].asked < self._share)

    def _path_for(self, candidate: _Candidate) -> int | None:
        """The least busy of the candidate's paths that may still ask."""
        free = [number for number in sorted(candidate.paths) if self._paths[number].asked < self._share]
        return min(free, key=lambda number: self._paths[number].under_way) if free else None

    def _wanted(self) -> list[_Candidate]:
        """Whom to ask, in turn: of each path the closest first, then of all, then who lies in the region."""
        alive = [c for c in self._order if c.state is not _State.DEAD and self._believed(c)]
        fronts: list[Iterable[_Candidate]] = [islice(self._diverse(alive), self.k)]
        if self.radius:
            fronts.append(c for c in self._diverse(alive) if c.distance < self.radius)
        own = self.k // len(self._paths) + 1
        for number, path in enumerate(self._paths):
            if path.asked < self._share:
                fronts.append(islice(self._diverse(c for c in alive if number in c.paths), own))
        chosen = {c.contact.peer_id: c for front in fronts for c in front if c.state is _State.WAITING}
        busy = [path.under_way for path in self._paths]
        return sorted(chosen.values(), key=lambda c: (min(busy[number] for number in c.paths), c.distance))

    @staticmethod
    def _diverse(candidates: Iterable[_Candidate]) -> Iterator[_Candidate]:
        """Those candidates, of each open network only the first few."""
        seen: Counter[str] = Counter()
        for candidate in candidates:
            if all(seen[network] < limits.KAD_PER_NETWORK for network in candidate.networks):
                seen.update(candidate.networks)
                yield candidate

    def _believed(self, candidate: _Candidate) -> bool:
        if candidate.seed or candidate.state is not _State.WAITING:
            return True
        return any(self._blame.get(referrer, 0) < limits.KAD_BLAME_MAX for referrer in candidate.referrers)

    def _learn(self, contact: Contact, *, referrer: str | None, path: int | None) -> None:
        if contact.peer_id == self._own_id:
            return
        known = self._candidates.get(contact.peer_id)
        if known is None:
            try:
                public_of(contact.peer_id)
            except MalformedError:
                return
            distance = position(base58_decode(contact.peer_id)) ^ self._target
            known = _Candidate(contact, distance, referrer is None, networks_of(contact.addrs))
            self._candidates[contact.peer_id] = known
            insort(self._order, known, key=lambda each: each.distance)
        elif known.state is _State.WAITING:
            known.contact = _merged(known.contact, contact)
            known.networks = networks_of(known.contact.addrs)
        if referrer is None:
            known.seed = True
        else:
            known.referrers.add(referrer)
        if path is not None:
            known.paths.add(path if known.paths else self._path_to_feed(path))

    def _path_to_feed(self, path: int) -> int:
        """``path``, or one that nobody has answered on yet: who knows one node only has all others from its answer."""
        for number, other in enumerate(self._paths):
            if number != path and not other.answered:
                alive = sum(number in c.paths and c.state is not _State.DEAD for c in self._order)
                if alive < self.alpha:
                    return number
        return path

    def _forget_far(self, path: int) -> None:
        """Keep the closest that one path has named, so that its names never push out those of others."""
        own = [c for c in self._order if path in c.paths]
        surplus = len(own) - limits.KAD_LOOKUP_KNOWN_MAX // len(self._paths)
        for candidate in reversed(own):
            if surplus <= 0:
                return
            if candidate.state is _State.WAITING and not candidate.seed:
                surplus -= 1
                candidate.paths.discard(path)
                if not candidate.paths:
                    del self._candidates[candidate.contact.peer_id]
                    self._order.remove(candidate)

    def _keep_value(self, peer_id: str, key: bytes, value: bytes) -> bool:
        if key != self.key or not value:
            return False
        self._holders.add(peer_id)
        if len(self._values) < limits.KAD_VALUES_MAX:
            self._values.setdefault(value, peer_id)
        return True

    def _keep_providers(self, peers: tuple[KadPeer, ...]) -> bool:
        named = list(_contacts(peers))
        for contact in named:
            known = self._providers.get(contact.peer_id)
            if known is not None:
                self._providers[contact.peer_id] = _merged(known, contact)
            elif len(self._providers) < limits.KAD_PROVIDERS_MAX:
                self._providers[contact.peer_id] = contact
        return bool(named)


def _contacts(peers: Iterable[KadPeer]) -> Iterable[Contact]:
    """The entries that can be peers of ours: an Ed25519 identity, and addresses of transports that exist."""
    for peer in peers:
        contact = contact_of(peer)
        if contact is not None:
            yield contact


def contact_of(peer: KadPeer) -> Contact | None:
    """One wire entry as a contact, or None where the id is not that of an Ed25519 key."""
    peer_id = base58_encode(peer.peer_id) if len(peer.peer_id) <= 42 else ""
    try:
        public_of(peer_id)
    except MalformedError:
        return None
    suffix = f"/p2p/{peer_id}"
    texts = (addr_text(addr) for addr in peer.addrs)
    addrs = (t if t.endswith(suffix) else t + suffix for t in texts if t and ("/p2p/" not in t or t.endswith(suffix)))
    return Contact(peer_id, tuple(dict.fromkeys(addrs))[: limits.KAD_ADDRS_MAX])


def _merged(known: Contact, heard: Contact) -> Contact:
    """Addresses of both in turn: whoever names a peer first, at false addresses, must not hide the true ones."""
    addrs = dict.fromkeys(addr for pair in zip_longest(known.addrs, heard.addrs) for addr in pair if addr)
    return Contact(known.peer_id, tuple(addrs)[: limits.KAD_ADDRS_MAX])
