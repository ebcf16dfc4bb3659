"""The sending half of a one-to-one session: which message goes to which of the peer's queues, and when again.

A message goes to the peer's preferred queue, and after a minute without delivery to the second one too; it stays until
the peer's ack, its expiry, or a refusal by both. What is not numbered (acks, requests) gets one try at each queue, but
an ack is owed until some node holds it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from warmline_protocol import limits
from warmline_protocol.session.cells import Draw
from warmline_protocol.session.events import Append, UseRoute
from warmline_protocol.session.evidence import Signer, Verifier
from warmline_protocol.session.inbox import Inbox
from warmline_protocol.session.keyschedule import KeySchedule
from warmline_protocol.session.machine import FINAL_REFUSALS, Machine
from warmline_protocol.session.messages import Ack, Body
from warmline_protocol.session.mls import Group, Member
from warmline_protocol.session.outbox import Entry, retry_pause

_TO_GUEST, _TO_HOST = "to guest", "to host"


@dataclass(frozen=True, slots=True)
class Remark:
    """An unnumbered message on its way: worth one try at the other queue."""

    sealed: bytes
    epoch: int
    tried: frozenset[int]
    ack: bool = False


class PairOffers(Machine):
    """``routes`` is how many queues the peer named (1 or 2)."""

    def __init__(
        self,
        group: Group,
        schedule: KeySchedule,
        host: Member,
        draw: Draw,
        *,
        peer: Member,
        routes: int,
        signer: Signer | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        super().__init__(group, schedule, host, draw, signer=signer, verifier=verifier)
        self.peer = peer
        self.routes = routes
        self.preferred = 0
        self.second_after_ms: int = limits.SECOND_QUEUE_MS
        self._inbox = Inbox()
        self._dead: dict[int, str] = {}
        self._incarnations: dict[int, bytes] = {}
        self._on_way: dict[int, tuple[int, Entry | Remark]] = {}
        self._ack_owed = False
        self._ack_outdated = False
        """Whether more came while an ack was on its way to a node."""
        self._ack_tries = 0
        self._ack_next_ms = 0

    # -- what the queues answer

    def receipted(self, token: int, node: str, incarnation: bytes, now_ms: int) -> None:
        """``node`` has it on its disk."""
        if token not in self._on_way:
            return
        route, what = self._on_way.pop(token)
        if self._incarnations.get(route, incarnation) != incarnation:
            self.outbox.log_restarted(route, incarnation)
        self._incarnations[route] = incarnation
        if isinstance(what, Entry) and what.open and route in what.in_flight:
            self.outbox.held(what, route, node, incarnation)
        elif isinstance(what, Remark) and what.ack:
            self._ack_owed, self._ack_tries = self._ack_outdated, 0
            if self._ack_owed and not self.closed:
                self._send_ack(now_ms)
        self._pump(now_ms)

    def append_failed(self, token: int, code: str, why: str, now_ms: int) -> None:
        """It is not there, or nobody knows. ``code`` is the node's, or ``unreachable``."""
        if token not in self._on_way:
            return
        route, what = self._on_way.pop(token)
        if code in FINAL_REFUSALS:
            self._dead[route] = why
            self._prefer_other(route)
        if isinstance(what, Entry):
            self.outbox.failed(what, route, now_ms)
        else:
            self._remark_again(route, what, now_ms)
        if len(self._dead) == self.routes:
            self.outbox.refuse_all("the other side's queues no longer exist")
        self._pump(now_ms)

    def _unseal(self, entry: Entry) -> None:
        """What was offered does not open: seal anew. Answers to the old offers mean nothing any more."""
        entry.unseal()
        for token in [token for token, (_, what) in self._on_way.items() if what is entry]:
            del self._on_way[token]

    def _reroute(self, route: int, address: bytes) -> None:
        """The peer's queue of this number is another one from now on; nothing is there yet."""
        self._outputs.append(UseRoute(route, address))
        for token in [token for token, (on, _) in self._on_way.items() if on == route]:
            del self._on_way[token]
        self._dead.pop(route, None)
        self._incarnations.pop(route, None)
        for entry in self.outbox.entries.values():
            self.outbox.release(entry, route)
        self._ack_owed = True

    def _prefer_other(self, route: int) -> None:
        if self.routes == 2 and self.preferred == route:
            self.preferred = 1 - route

    # -- offering

    def _pump(self, now_ms: int, *, everywhere: bool = False) -> None:
        """Offer what is due, oldest first."""
        if self.closed:
            return
        for entry in list(self.outbox.entries.values()):
            if everywhere or not self._is_where_it_should_be(entry, now_ms):
                for route in self._routes_of(entry, now_ms, everywhere):
                    self._offer(entry, route, now_ms)

    def _is_where_it_should_be(self, entry: Entry, now_ms: int) -> bool:
        """At the preferred queue, or on the way there, and too young for the other: what is true of nearly all of a
        full outbox, and is asked of each of them at every step."""
        route = self.preferred
        if route not in entry.holders and route not in entry.in_flight:
            return False
        young = self.routes == 1 or (not entry.tries and now_ms < entry.created_ms + self.second_after_ms)
        return young and route not in self._dead

    def _routes_of(self, entry: Entry, now_ms: int, everywhere: bool) -> list[int]:
        alive = [route for route in range(self.routes) if route not in self._dead]
        first = [route for route in alive if route == self.preferred]
        rest = [route for route in alive if route != self.preferred]
        second = everywhere or not first or now_ms >= self._second_ms(entry)
        return first + rest if second else first

    def _second_ms(self, entry: Entry) -> int:
        """From when on the second queue may have it too: time without delivery, or a node that cannot be reached."""
        failed = entry.tries.get(self.preferred, 0) >= limits.SECOND_QUEUE_TRIES
        return 0 if failed else entry.created_ms + self.second_after_ms

    def _offer(self, entry: Entry, route: int, now_ms: int) -> None:
        if route in entry.holders or route in entry.in_flight or now_ms < entry.next_ms.get(route, 0):
            return
        if route != self.preferred and self.preferred in entry.next_ms and self.preferred not in entry.holders:
            # A minute of failures: what follows need not wait that long again.
            self.preferred = route
        cells = entry.fixed[route] if entry.fixed else self._seal_entry(entry, self._label_out)
        entry.in_flight.add(route)
        entry.offered_ms = now_ms
        self._append(route, cells, entry)

    def _append(self, route: int, cells: tuple[bytes, ...], what: Entry | Remark) -> None:
        token = self._next_token()
        self._on_way[token] = (route, what)
        self._outputs.append(Append(token, route, cells))

    def _send_ack(self, now_ms: int, *, everywhere: bool = False) -> None:
        # An ack is owed until some node holds it: a sender whose ack got lost would tell its person "expired".
        self._ack_owed = True
        self._ack_outdated = not everywhere and self._ack_on_way
        if self._ack_outdated:
            return  # one at a time: the next says what came meanwhile, all at once
        self._remark(self._inbox.ack(), now_ms, everywhere=everywhere)

    @property
    def _ack_on_way(self) -> bool:
        return any(isinstance(what, Remark) and what.ack for _, what in self._on_way.values())

    def _remark(self, body: Body, now_ms: int, *, everywhere: bool = False) -> None:
        alive = [route for route in range(self.routes) if route not in self._dead]
        if not alive:
            return
        first = self.preferred if self.preferred in alive else alive[0]
        routes = frozenset(alive if everywhere else [first])
        remark = Remark(self._seal_remark(body, now_ms), self.epoch, routes, isinstance(body, Ack))
        for route in sorted(routes):
            self._append_remark(route, remark)

    def _append_remark(self, route: int, remark: Remark) -> None:
        # Sealed outside anew each time: the same cell at two nodes would tell them that they serve one person.
        self._append(route, self._cells(remark.sealed, 0, self._label_out), remark)

    def _remark_again(self, route: int, remark: Remark, now_ms: int) -> None:
        for other in range(self.routes):
            if other not in remark.tried and other not in self._dead and remark.epoch == self.epoch:
                self._append_remark(other, replace(remark, tried=remark.tried | {other}))
                return
        if remark.ack:
            self._ack_tries += 1
            self._ack_next_ms = now_ms + retry_pause(self._ack_tries)

    @property
    def _label_out(self) -> str:
        return _TO_GUEST if self.is_host else _TO_HOST

    @property
    def _label_in(self) -> str:
        return _TO_HOST if self.is_host else _TO_GUEST

    # -- time

    def _retries_of(self, entry: Entry) -> list[int]:
        due = []
        for route in range(self.routes):
            if route in entry.holders or route in entry.in_flight or route in self._dead:
                continue
            at = entry.next_ms.get(route, 0)
            due.append(at if route == self.preferred else max(at, self._second_ms(entry)))
        return due
