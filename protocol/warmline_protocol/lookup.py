"""The iterative Kademlia lookup as a state machine: answers in, queries out.

Seekers may not use a stock lookup, because it dials some twenty strangers from the seeker's own address. This one
only says whom to ask next; whoever drives it decides how to get there (clients: by circuits through their entry,
nodes: directly). It knows no time either: the driver reports a deadline that passed as a failure.

Hostile answers are the normal case. A peer may name thousands, name itself, name keys it made up to lie next to
the target. So a lookup keeps the closest 512 candidates, asks 64 peers at most, takes 20 closer peers from one
answer, and remembers who named whom: once eight of a peer's referrals turned out dead, nothing is believed that
only it said. It ends when the k closest candidates that are alive and believed have all answered.

    waiting --next_queries--> asked --on_response--> answered
                                 \\--on_failure---> dead
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, UsageError
from warmline_protocol.kad import KadMessage, KadPeer, KadType, addr_text, position
from warmline_protocol.keys import base58_decode, base58_encode, public_of


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

    ``closest``: up to k peers that answered, nearest first. ``providers``: as they were claimed, nobody checked.
    ``values``: (holder, bytes) pairs, one per distinct value, unchecked; validate them and pick the best by seq.
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
    state: _State = _State.WAITING
    referrers: set[str] = field(default_factory=set)


class Lookup:
    """One lookup of ``key``.

    ``kind`` is FIND_NODE (key: the raw peer id, or any bytes), GET_VALUE or GET_PROVIDERS. ``enough`` ends the
    lookup early once that many distinct providers, or holders of a value, have been heard of; None asks on to the
    end, which is what makes one liar harmless. ``own_id`` is never asked.
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
        enough: int | None = None,
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
        self.most_queries = most_queries
        self._own_id = own_id
        self._target = position(key)
        self._candidates: dict[str, _Candidate] = {}
        self._blame: dict[str, int] = {}
        self._providers: dict[str, Contact] = {}
        self._values: dict[bytes, str] = {}
        self._holders: set[str] = set()
        self._asked = 0
        for seed in seeds:
            self._learn(seed, referrer=None)

    # --- what to do next ---

    def next_queries(self) -> list[Query]:
        """The queries to send now: as many as keep ``alpha`` under way, none where the lookup is done."""
        queries: list[Query] = []
        if self._satisfied():
            return queries
        room = self.alpha - self._under_way()
        for candidate in self._front():
            if len(queries) >= room or self._asked >= self.most_queries:
                break
            if candidate.state is _State.WAITING:
                candidate.state = _State.ASKED
                self._asked += 1
                queries.append(Query(candidate.contact, KadMessage(self.kind, self.key)))
        return queries

    @property
    def done(self) -> bool:
        """Whether nothing is under way that could still matter and nobody is left to ask."""
        if self._satisfied():
            return True
        if self._under_way():
            return False
        return self._asked >= self.most_queries or all(c.state is _State.ANSWERED for c in self._front())

    @property
    def found(self) -> Found:
        """The result, valid at any time and final once :attr:`done`."""
        answered = [c.contact for c in self._by_distance() if c.state is _State.ANSWERED]
        return Found(
            closest=tuple(answered[: self.k]),
            providers=tuple(self._providers.values()),
            values=tuple((holder, value) for value, holder in self._values.items()),
            asked=self._asked,
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
        candidate.state = _State.ANSWERED
        if self.kind is KadType.GET_VALUE and answer.record is not None:
            self._keep_value(peer_id, answer.record.key, answer.record.value)
        if self.kind is KadType.GET_PROVIDERS:
            self._keep_providers(answer.providers)
        for contact in islice(_contacts(answer.closer), self.k):
            if contact.peer_id != peer_id:
                self._learn(contact, referrer=peer_id)
        self._forget_far()

    def on_failure(self, peer_id: str) -> None:
        """No usable answer: unreachable, refused, too late, or not the protocol."""
        candidate = self._candidates.get(peer_id)
        if candidate is None or candidate.state is not _State.ASKED:
            return
        candidate.state = _State.DEAD
        for referrer in candidate.referrers:
            self._blame[referrer] = self._blame.get(referrer, 0) + 1

    # --- the inside ---

    def _under_way(self) -> int:
        return sum(c.state is _State.ASKED for c in self._candidates.values())

    def _satisfied(self) -> bool:
        if self.enough is None:
            return False
        heard = self._providers if self.kind is KadType.GET_PROVIDERS else self._holders
        return len(heard) >= self.enough

    def _by_distance(self) -> list[_Candidate]:
        return sorted(self._candidates.values(), key=lambda c: c.distance)

    def _front(self) -> list[_Candidate]:
        """The k closest that are alive and that somebody believable named."""
        alive = (c for c in self._by_distance() if c.state is not _State.DEAD and self._believed(c))
        return list(islice(alive, self.k))

    def _believed(self, candidate: _Candidate) -> bool:
        if candidate.seed or candidate.state is not _State.WAITING:
            return True
        return any(self._blame.get(referrer, 0) < limits.KAD_BLAME_MAX for referrer in candidate.referrers)

    def _learn(self, contact: Contact, *, referrer: str | None) -> None:
        if contact.peer_id == self._own_id:
            return
        known = self._candidates.get(contact.peer_id)
        if known is None:
            try:
                public_of(contact.peer_id)
            except MalformedError:
                return
            raw = base58_decode(contact.peer_id)
            known = _Candidate(contact, position(raw) ^ self._target, seed=referrer is None)
            self._candidates[contact.peer_id] = known
        elif known.state is _State.WAITING:
            known.contact = _merged(known.contact, contact)
        if referrer is None:
            known.seed = True
        else:
            known.referrers.add(referrer)

    def _forget_far(self) -> None:
        surplus = len(self._candidates) - limits.KAD_LOOKUP_KNOWN_MAX
        for candidate in reversed(self._by_distance()):
            if surplus <= 0:
                return
            if candidate.state is _State.WAITING:
                del self._candidates[candidate.contact.peer_id]
                surplus -= 1

    def _keep_value(self, peer_id: str, key: bytes, value: bytes) -> None:
        if key != self.key or not value:
            return
        self._holders.add(peer_id)
        if len(self._values) < limits.KAD_VALUES_MAX:
            self._values.setdefault(value, peer_id)

    def _keep_providers(self, peers: tuple[KadPeer, ...]) -> None:
        for contact in _contacts(peers):
            known = self._providers.get(contact.peer_id)
            if known is not None:
                self._providers[contact.peer_id] = _merged(known, contact)
            elif len(self._providers) < limits.KAD_PROVIDERS_MAX:
                self._providers[contact.peer_id] = contact


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
    addrs = dict.fromkeys((*known.addrs, *heard.addrs))
    return Contact(known.peer_id, tuple(addrs)[: limits.KAD_ADDRS_MAX])
