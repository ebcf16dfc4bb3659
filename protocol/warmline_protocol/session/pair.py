"""One supporter, one seeker: a session over two one-way queues in each direction.

There is no common order here, so everything settles by counters. A message goes to the peer's preferred queue, and
after a minute without delivery to the second one too; it stays until the peer's ack, its expiry, or a refusal by
both. Only the supporter (the host) commits, and not again before the peer acknowledged the last commit and spoke in its
epoch.

A cell that no key opens may come from an epoch whose commit is still on its way by the other queue: a few are kept
and tried again after the next commit. A message that opens outside but not inside is asked for again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import MalformedError, RemoteError, StoreError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session import events
from warmline_protocol.session.cells import Bundle, Draw, Fragment, Kind
from warmline_protocol.session.events import Append, PeerAway, PeerBack
from warmline_protocol.session.evidence import Signer, Verifier
from warmline_protocol.session.hello import Hello, Joined, make_welcome, seal_answer, welcome_answer
from warmline_protocol.session.inbox import Inbox, Release
from warmline_protocol.session.keyschedule import EXPORTER_LABEL, EpochKey, KeySchedule, first_key
from warmline_protocol.session.machine import FINAL_REFUSALS, SNAPSHOT_MAX, Machine, base_arguments
from warmline_protocol.session.messages import (
    Ack,
    Body,
    Inner,
    Introduce,
    Leave,
    Text,
    Undecryptable,
    clean,
    unpack_body,
)
from warmline_protocol.session.mls import E2EEProvider, Group, Member
from warmline_protocol.session.outbox import Entry, retry_pause

_TO_GUEST, _TO_HOST = "to guest", "to host"
_IDS_KEPT = 512


@dataclass(frozen=True, slots=True)
class _Remark:
    """An unnumbered message on its way: worth one try at the other queue."""

    sealed: bytes
    epoch: int
    tried: frozenset[int]
    ack: bool = False


class Pair(Machine):
    """Either side of a one-to-one session; ``routes`` is how many queues the peer named (1 or 2)."""

    def __init__(
        self,
        group: Group,
        schedule: KeySchedule,
        host: Member,
        draw: Draw,
        *,
        peer: Member,
        routes: int,
        peer_name: str,
        peer_avatar: bytes,
        signer: Signer | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        super().__init__(group, schedule, host, draw, signer=signer, verifier=verifier)
        self.peer = peer
        self.peer_name = peer_name
        self.peer_avatar = peer_avatar
        self.routes = routes
        self.preferred = 0
        self.second_after_ms: int = limits.SECOND_QUEUE_MS
        self.met = False
        self.away = False
        self._dead: dict[int, str] = {}
        self._incarnations: dict[int, bytes] = {}
        self._inbox = Inbox()
        self._ids: deque[bytes] = deque(maxlen=_IDS_KEPT)
        self._unopened: deque[bytes] = deque(maxlen=limits.UNOPENED_CELLS_MAX)
        self._asked_ms: dict[int, int] = {}
        self._on_way: dict[int, tuple[int, Entry | _Remark]] = {}
        self._commit_counter = 0
        self._renewed_ms = 0
        self._said_since = 0
        self._again: list[int] = []
        self._asking: list[int] = []
        self._leaving_ms = 0
        self._gone = False
        self._ack_owed = False
        self._ack_tries = 0
        self._ack_next_ms = 0

    # -- beginnings

    @classmethod
    def accept(
        cls,
        hello: Hello,
        provider: E2EEProvider,
        draw: Draw,
        now_ms: int,
        *,
        key: SigningKey,
        name: str,
        avatar: bytes,
        queues: tuple[bytes, ...],
    ) -> Pair:
        """The supporter takes the Hello. The first output is the answer, for the reply queues."""
        group = provider.create(draw(16))
        start = EpochKey(0, first_key(hello.reply_secret, draw(32)))
        made = group.add([hello.key_package])
        schedule = KeySchedule(start)
        schedule.advance(group.export(EXPORTER_LABEL, b"", 32), now_ms)
        schedule.forget_previous()
        group.forget_previous()
        welcome = make_welcome(
            hello,
            key=key,
            group=group,
            epoch=schedule.current,
            mls_welcome=made.welcome,
            chain=hello.nonce,
            name=name,
            avatar=avatar,
            queues=queues,
        )
        pair = cls(
            group,
            schedule,
            group.me,
            draw,
            peer=next(each for each in group.roster() if each != group.me),
            routes=len(hello.replies),
            peer_name=clean(hello.name) if hello.name else "",
            peer_avatar=hello.avatar,
            signer=Signer(key, hello.nonce),
        )
        pair._renewed_ms = now_ms
        # The Welcome is message number 1: offered like any other until the guest's first ack.
        entry = pair.outbox.add(draw(16), b"", now_ms, told=False)
        answer = welcome_answer(hello, welcome)
        entry.fixed = tuple(seal_answer(answer, hello.reply_secret, draw) for _ in hello.replies)
        pair._pump(now_ms)
        return pair

    @classmethod
    def joined(cls, joined: Joined, draw: Draw, now_ms: int, *, name: str, avatar: bytes) -> Pair:
        """The seeker's side, once the Welcome opened and the statement verified. Introduces itself at once."""
        welcome = joined.welcome
        if len(joined.group.roster()) != 2 or not welcome.queues:
            raise MalformedError("a one-to-one session with other than two members and a way to answer")
        pair = cls(
            joined.group,
            KeySchedule(joined.epoch),
            joined.host,
            draw,
            peer=joined.host,
            routes=len(welcome.queues),
            peer_name=clean(welcome.name),
            peer_avatar=welcome.avatar,
            verifier=joined.verifier,
        )
        pair.met = True
        pair._inbox.add(1, None)
        pair._emit(events.Joined(joined.host.id, pair.peer_name, welcome.avatar, host=True))
        pair._enqueue(Introduce(name, avatar), now_ms, told=False)
        pair._pump(now_ms)
        pair._send_ack(now_ms)
        return pair

    def carry_from(self, old: Pair, now_ms: int) -> None:
        """After a fresh Hello of the same attempt: what the old session had not delivered goes again, under its ids."""
        self._ids = old._ids
        self.met = old.met
        for entry in list(old.outbox.entries.values()):
            if entry.told:
                fresh = self.outbox.add(entry.id, entry.body, now_ms, told=True)
                fresh.evidence = self._evidence(fresh.counter, fresh.body)
                fresh.created_ms, fresh.expires_ms = entry.created_ms, entry.expires_ms
        self._pump(now_ms)

    # -- what the person does

    def send(self, text: str, now_ms: int) -> bytes:
        """Say something; the 16-byte id under which its states are told."""
        self._check_open()
        entry = self._enqueue(Text(text), now_ms, told=True)
        self._said_since += 1
        self._pump(now_ms)
        self._renew_if_due(now_ms)
        return entry.id

    def introduce(self, name: str, avatar: bytes, now_ms: int) -> None:
        """Go by another name from here on. A supporter's name is the one on its card."""
        self._check_open()
        self._enqueue(Introduce(name, avatar), now_ms, told=False)
        self._pump(now_ms)

    def leave(self, now_ms: int, why: str = "left") -> None:
        """Say goodbye, best effort; ``blocked`` ends this contact. Take nothing more after it."""
        if self.closed or self._leaving_ms:
            return
        self._leaving_ms = now_ms
        self._enqueue(Leave(why), now_ms, told=False)
        self._pump(now_ms, everywhere=True)

    def finish(self) -> None:
        """The goodbye has had its time: whatever is still open is explained and the session ends."""
        self._close("left")

    @property
    def farewell_sent(self) -> bool:
        """Whether a node holds everything that was said, the goodbye included."""
        return all(entry.holders or not entry.open for entry in self.outbox.entries.values())

    def _check_open(self) -> None:
        if self.closed or self._leaving_ms:
            raise UsageError("this session is over", hint="Start a new one.")

    # -- what the queues answer

    def receipted(self, token: int, node: str, incarnation: bytes, now_ms: int) -> None:
        """``node`` has it on its disk."""
        route, what = self._on_way.pop(token, (0, None))
        if what is None:
            return
        if self._incarnations.get(route, incarnation) != incarnation:
            self.outbox.log_restarted(route, incarnation)
        self._incarnations[route] = incarnation
        if isinstance(what, Entry) and what.open and route in what.in_flight:
            self.outbox.held(what, route, node, incarnation)
        elif isinstance(what, _Remark) and what.ack:
            self._ack_owed, self._ack_tries = False, 0
        self._pump(now_ms)

    def append_failed(self, token: int, code: str, why: str, now_ms: int) -> None:
        """It is not there, or nobody knows. ``code`` is the node's, or ``unreachable``."""
        route, what = self._on_way.pop(token, (0, None))
        if code in FINAL_REFUSALS:
            self._dead[route] = why
            self._prefer_other(route)
        if isinstance(what, Entry):
            self.outbox.failed(what, route, now_ms)
        elif what is not None:
            self._remark_again(route, what, now_ms)
        if len(self._dead) == self.routes:
            self.outbox.refuse_all("the other side's queues no longer exist")
        self._pump(now_ms)

    def _prefer_other(self, route: int) -> None:
        if self.routes == 2 and self.preferred == route:
            self.preferred = 1 - route

    # -- offering

    def _pump(self, now_ms: int, *, everywhere: bool = False) -> None:
        """Offer what is due, oldest first."""
        if self.closed:
            return
        for entry in list(self.outbox.entries.values()):
            for route in self._routes_of(entry, now_ms, everywhere):
                self._offer(entry, route, now_ms)

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

    def _append(self, route: int, cells: tuple[bytes, ...], what: Entry | _Remark) -> None:
        token = self._next_token()
        self._on_way[token] = (route, what)
        self._outputs.append(Append(token, route, cells))

    def _send_ack(self, now_ms: int, *, everywhere: bool = False) -> None:
        # An ack is owed until some node holds it: a sender whose ack got lost would tell its person "expired".
        self._ack_owed = True
        self._remark(self._inbox.ack(), now_ms, everywhere=everywhere)

    @property
    def _ack_on_way(self) -> bool:
        return any(isinstance(what, _Remark) and what.ack for _, what in self._on_way.values())

    def _remark(self, body: Body, now_ms: int, *, everywhere: bool = False) -> None:
        alive = [route for route in range(self.routes) if route not in self._dead]
        if not alive:
            return
        first = self.preferred if self.preferred in alive else alive[0]
        routes = frozenset(alive if everywhere else [first])
        remark = _Remark(self._seal_remark(body, now_ms), self.epoch, routes, isinstance(body, Ack))
        for route in sorted(routes):
            self._append_remark(route, remark)

    def _append_remark(self, route: int, remark: _Remark) -> None:
        # Sealed outside anew each time: the same cell at two nodes would tell them that they serve one person.
        self._append(route, self._cells(remark.sealed, 0, self._label_out), remark)

    def _remark_again(self, route: int, remark: _Remark, now_ms: int) -> None:
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

    # -- hearing

    def receive(self, cells: list[bytes], now_ms: int) -> None:
        """Cells of either of this side's queues, in any order, doubles and rubbish included."""
        ack = again = False
        for cell in cells:
            fresh, double = self._receive_one(cell, now_ms)
            ack |= fresh
            again |= double
        self._settle_received(now_ms, ack=ack, again=again)

    def _receive_one(self, cell: bytes, now_ms: int) -> tuple[bool, bool]:
        if self.closed:
            return False, False
        fragment = self._fragment(cell, self._label_in)
        if fragment is None:
            self.statistics.unopened += 1
            if not self.is_host:
                self._unopened.append(cell)
            return False, False
        return self._take_fragment(fragment, now_ms)

    def _take_fragment(self, fragment: Fragment, now_ms: int) -> tuple[bool, bool]:
        """(something new that wants an ack, a double that was acknowledged in vain)."""
        bundle = self._joiner.add(fragment)
        if bundle is None:
            return False, False
        if bundle.counter and self._inbox.seen(bundle.counter):
            self.statistics.doubles += 1
            return False, True
        if bundle.counter and self._inbox.too_far(bundle.counter):
            self.statistics.refused += 1
            return False, False
        match bundle.kind:
            case Kind.APPLICATION:
                return self._take_message(bundle, now_ms), False
            case Kind.COMMIT:
                return self._take_commit(bundle, now_ms), False
            case _:
                self.statistics.refused += 1
                return False, False

    def _take_message(self, bundle: Bundle, now_ms: int) -> bool:
        heard = self._hear(bundle)
        if heard is None:
            return False
        sender, inner = heard
        if sender != self.peer:
            self.statistics.refused += 1
            return False
        self._spoken(bundle.epoch)
        self._inbox.raise_floor(inner.floor)
        if inner.counter == 0:
            self._take_remark(inner, now_ms)
            return False
        self._inbox.add(inner.counter, inner)
        return True

    def _spoken(self, epoch: int) -> None:
        """The peer is here, and in this epoch."""
        self.met = True
        if self.away:
            self.away = False
            self._emit(PeerBack())
        if epoch == self.epoch:
            self._forget_previous()

    def _take_remark(self, inner: Inner, now_ms: int) -> None:
        try:
            body = unpack_body(inner.body)
        except RemoteError:
            self.statistics.refused += 1
            return
        match body:
            case Ack(upto=upto, beyond=beyond):
                self.outbox.acknowledge(upto, beyond, (self.peer_name or "the other side",))
            case Undecryptable(counters=counters):
                self._again += counters

    def _take_commit(self, bundle: Bundle, now_ms: int) -> bool:
        if self.is_host or bundle.epoch != self.epoch:
            self.statistics.refused += 1
            return False
        try:
            roster = self.group.process(bundle.payload, self.host)
        except RemoteError:
            self.statistics.refused += 1
            self._emit(events.OutOfStep("a key renewal that does not apply"))
            return False
        if sorted(roster) != sorted((self.me, self.host)):
            self._close("removed")
            return False
        self._advance(now_ms)
        if bundle.counter:
            self._inbox.add(bundle.counter, None)
            if self.verifier is not None:
                self.verifier.pass_over(bundle.counter)
        # The host forgets the old epoch at the first word in the new one: what is still on its way goes again.
        for entry in self.outbox.entries.values():
            entry.unseal()
        waiting, self._unopened = list(self._unopened), deque(maxlen=limits.UNOPENED_CELLS_MAX)
        for cell in waiting:
            self._receive_one(cell, now_ms)
        return True

    def _not_opened(self, bundle: Bundle) -> None:
        if bundle.counter:
            self._asking.append(bundle.counter)

    def _settle_received(self, now_ms: int, *, ack: bool, again: bool) -> None:
        self._show(now_ms)
        if self.closed:
            return
        if ack or again:
            self._send_ack(now_ms, everywhere=again or self._gone)
        if self._gone:
            self._close("peer left")
            return
        self._ask(now_ms)
        self._seal_again(now_ms)
        self._offer_again(now_ms)
        self._pump(now_ms)

    def _ask(self, now_ms: int) -> None:
        asking, self._asking = self._asking, []
        due = [
            counter
            for counter in dict.fromkeys(asking)
            if not self._inbox.seen(counter)
            and now_ms >= self._asked_ms.get(counter, 0) + limits.UNDECRYPTABLE_AGAIN_MS
        ][:64]
        if due:
            self._asked_ms = {each: at for each, at in self._asked_ms.items() if not self._inbox.seen(each)}
            self._asked_ms.update(dict.fromkeys(due, now_ms))
            self._remark(Undecryptable(tuple(due)), now_ms)

    def _seal_again(self, now_ms: int) -> None:
        again, self._again = self._again, []
        for counter in again:
            entry = self.outbox.entries.get(counter)
            if entry is not None and not entry.fixed:
                entry.unseal()

    def _offer_again(self, now_ms: int) -> None:
        """The peer is there and has not acknowledged what nodes said they hold: they may have lost it."""
        for entry in self.outbox.entries.values():
            if entry.holders and now_ms >= entry.offered_ms + self.second_after_ms:
                entry.holders.clear()

    def _show(self, now_ms: int) -> None:
        for release in self._inbox.release(now_ms):
            if release.gap:
                self._emit(events.Gap(self.peer.id, release.gap))
            if release.inner is not None:
                self._show_one(release.inner, release)

    def _show_one(self, inner: Inner, release: Release) -> None:
        try:
            body = unpack_body(inner.body)
        except RemoteError:
            self.statistics.refused += 1
            return
        if inner.id in self._ids:
            return
        self._ids.append(inner.id)
        match body:
            case Text(text=text):
                signed = self.verifier is not None
                self._emit(
                    events.TextReceived(
                        inner.id,
                        self.peer.id,
                        self.peer_name,
                        clean(text, lines=True),
                        inner.sent_ms,
                        signed,
                        release.late,
                    )
                )
            case Introduce(name=name, avatar=avatar) if self.is_host:
                self.peer_name, self.peer_avatar = clean(name), avatar
                self._emit(events.Joined(self.peer.id, self.peer_name, avatar))
            case Leave(why=why):
                self._emit(events.Left(self.peer.id, self.peer_name, why))
                self._gone = True
            case _:
                self.statistics.refused += 1

    # -- time

    def tick(self, now_ms: int) -> None:
        """Time has passed: expiry, retries, the second queue, old keys, renewal."""
        if self.closed:
            return
        self.outbox.expire(now_ms)
        if self.schedule.expired(now_ms):
            self._forget_previous()
        self._show(now_ms)
        self._notice_absence(now_ms)
        self._renew_if_due(now_ms)
        if self._ack_owed and not self._ack_on_way and now_ms >= self._ack_next_ms:
            self._send_ack(now_ms)
        self._pump(now_ms)

    def next_timer(self) -> int | None:
        """When :meth:`tick` is due, in ms UTC; None when only the outside can change anything."""
        if self.closed:
            return None
        due = [self.schedule.previous_until_ms, self._inbox.next_timer()]
        if self._ack_owed and not self._ack_on_way and len(self._dead) < self.routes:
            due.append(self._ack_next_ms)
        for entry in self.outbox.entries.values():
            due.append(entry.expires_ms)
            due += self._retries_of(entry)
            if entry.holders and entry.told and not self.away:
                due.append(entry.created_ms + limits.PEER_AWAY_MS)
        return min((each for each in due if each is not None), default=None)

    def _retries_of(self, entry: Entry) -> list[int]:
        second_ms = self._second_ms(entry)
        due = []
        for route in range(self.routes):
            if route in self._dead or route in entry.holders or route in entry.in_flight:
                continue
            at = entry.next_ms.get(route, 0)
            due.append(at if route == self.preferred else max(at, second_ms))
        return due

    def _notice_absence(self, now_ms: int) -> None:
        if self.away:
            return
        held = [entry for entry in self.outbox.entries.values() if entry.holders and entry.told]
        if any(now_ms >= entry.created_ms + limits.PEER_AWAY_MS for entry in held):
            self.away = True
            self._emit(PeerAway())

    def _renew_if_due(self, now_ms: int) -> None:
        long_ago = now_ms >= self._renewed_ms + limits.REFRESH_MS
        if self.is_host and self.met and self._said_since and (long_ago or self._said_since >= limits.REFRESH_MESSAGES):
            self.renew(now_ms)

    def renew(self, now_ms: int) -> bool:
        """The host renews the keys of both; False while the last renewal has not arrived yet."""
        if not self.is_host:
            raise UsageError("only the host of a session renews its keys")
        if self.closed or self.schedule.previous is not None or self._commit_counter in self.outbox.entries:
            return False
        ended = self.schedule.current
        commit = self.group.refresh()
        entry = self.outbox.add(self.draw(16), b"", now_ms, told=False)
        entry.fixed = tuple(
            self._commit_cells(commit.commit, entry.counter, self._label_out, ended) for _ in range(self.routes)
        )
        self._commit_counter = entry.counter
        self._advance(now_ms)
        self._renewed_ms, self._said_since = now_ms, 0
        self._pump(now_ms)
        return True

    # -- keeping

    def snapshot(self) -> bytes:
        """Everything needed to go on after a restart. Secret."""
        fields = self._base_fields()
        fields |= {
            "peer": [self.peer.id, self.peer.key],
            "name": self.peer_name,
            "avatar": self.peer_avatar,
            "routes": self.routes,
            "preferred": self.preferred,
            "met": self.met,
            "dead": [[route, why] for route, why in sorted(self._dead.items())],
            "incarnations": [[route, each] for route, each in sorted(self._incarnations.items())],
            "inbox": self._inbox.to_fields(),
            "ids": list(self._ids),
            "unopened": list(self._unopened),
            "commit": self._commit_counter,
            "renewed": self._renewed_ms,
            "said": self._said_since,
            "owed": self._ack_owed,
        }
        return encode(fields)

    @classmethod
    def restore(
        cls, snapshot: bytes, provider: E2EEProvider, draw: Draw, now_ms: int, *, key: SigningKey | None = None
    ) -> Pair:
        """The session that was saved; whatever was on its way is offered again. ``key``: the supporter's."""
        fields: Any = decode(snapshot, max_size=SNAPSHOT_MAX)
        if not isinstance(fields, dict) or "peer" not in fields:
            raise StoreError("a saved session that is not one")
        pair = cls(
            provider.restore(fields["group"]),
            draw=draw,
            peer=Member(*fields["peer"]),
            routes=fields["routes"],
            peer_name=fields["name"],
            peer_avatar=fields["avatar"],
            **base_arguments(fields, key),
        )
        pair._restore_base(fields)
        pair.preferred, pair.met = fields["preferred"], fields["met"]
        pair._dead = dict(fields["dead"])
        pair._incarnations = dict(fields["incarnations"])
        pair._inbox = Inbox.from_fields(fields["inbox"])
        pair._ids.extend(fields["ids"])
        pair._unopened.extend(fields["unopened"])
        pair._commit_counter, pair._renewed_ms = fields["commit"], fields["renewed"]
        pair._said_since = fields["said"]
        if fields["owed"] and not pair.closed:
            pair._send_ack(now_ms)
        pair._pump(now_ms)
        return pair
