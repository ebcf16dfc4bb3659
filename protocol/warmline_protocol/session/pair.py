"""One supporter, one seeker: a session over two one-way queues in each direction.

The whole of it: how it begins on either side, what a person can do, what time does, and how it is kept. Sending is in
``pair_offers``, hearing in ``pair_hearing``, questions between the two in ``pair_asks``, the token for feedback in
``pair_feedback``. Only the supporter (the host) commits, and not again before the peer acknowledged the last commit
and spoke in its epoch.
"""

from __future__ import annotations

from typing import Any

from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import MalformedError, StoreError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session import events
from warmline_protocol.session.cells import Draw
from warmline_protocol.session.events import PeerAway
from warmline_protocol.session.evidence import Signer, pair_chain
from warmline_protocol.session.hello import Hello, Joined, make_welcome, seal_answer, welcome_answer
from warmline_protocol.session.inbox import Inbox, Release
from warmline_protocol.session.keyschedule import EXPORTER_LABEL, EpochKey, KeySchedule, first_key
from warmline_protocol.session.machine import SNAPSHOT_MAX, base_arguments
from warmline_protocol.session.messages import Introduce, Leave, Part, Requeue, Text, clean
from warmline_protocol.session.mls import E2EEProvider, Group, Member
from warmline_protocol.session.outbox import Entry
from warmline_protocol.session.pair_feedback import PairFeedback

_NEVER = 1 << 63


class Pair(PairFeedback):
    """Either side of a one-to-one session."""

    def __init__(self, group: Group, schedule: KeySchedule, host: Member, draw: Draw, **rest: Any) -> None:
        super().__init__(group, schedule, host, draw, **rest)
        self._commit_counter = 0
        self._renewed_ms = 0
        self._said_since = 0
        self._leaving_ms = 0
        self._goodbye = 0
        self._no_way_ms: int | None = None
        self.farewell: dict[int, tuple[bytes, ...]] = {}
        """After :meth:`finish`: the goodbye that no node had taken, sealed for each of the peer's queues."""

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
        chain = pair_chain(hello.nonce, group.group_id)
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
            chain=chain,
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
            signer=Signer(key, chain),
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
        """After a fresh Hello of the same attempt: what the old session had not delivered goes again, under its ids,
        and what had come out of order and was acknowledged is shown now."""
        self._ids = old._ids
        self.journal = old.journal
        self._untold = old._untold
        self._asks_from(old)
        if self.verifier is not None and old.verifier is not None:
            self.verifier.follow(old.verifier)
        for counter, inner in sorted(old._inbox.waiting.items()):
            if inner is not None:
                self._show_one(inner, Release(inner, late=counter <= old._inbox.shown))
        old._inbox.waiting.clear()
        self.met = old.met
        for entry in list(old.outbox.entries.values()):
            if entry.told:
                fresh = self.outbox.add(entry.id, entry.body, now_ms, told=True, limited=False)
                fresh.evidence = self._evidence(fresh.counter, fresh.body)
                fresh.created_ms, fresh.expires_ms = entry.created_ms, entry.expires_ms
        self._pump(now_ms)

    # -- what the person does

    def send(self, text: str, now_ms: int) -> bytes:
        """Say something; the 16-byte id under which its states are told."""
        self._check_open()
        entry = self._enqueue(Text(text), now_ms, told=True)
        self._said_since += 1
        if len(self._dead) == self.routes:
            self.outbox.settle(entry, "waiting", why="the other side has no queue at this moment")
        self._pump(now_ms)
        self._renew_if_due(now_ms)
        return entry.id

    def send_part(self, part: Part, now_ms: int) -> bytes:
        """A piece of a document; its id, as of :meth:`send`."""
        self._check_open()
        entry = self._enqueue(part, now_ms, told=True)
        self._pump(now_ms)
        return entry.id

    def introduce(self, name: str, avatar: bytes, now_ms: int) -> None:
        """Go by another name from here on. A supporter's name is the one on its card."""
        self._check_open()
        self._enqueue(Introduce(name, avatar), now_ms, told=False)
        self._pump(now_ms)

    def requeue(self, route: int, address: bytes, now_ms: int) -> None:
        """One of this side's own queues is lost: tell the peer which one takes its place."""
        if self.closed or self._leaving_ms:
            return
        self._enqueue(Requeue(route, address), now_ms, told=False)
        self._pump(now_ms, everywhere=True)

    def leave(self, now_ms: int, why: str = "left") -> None:
        """Say goodbye, best effort; ``blocked`` ends this contact. Take nothing more after it."""
        if self.closed or self._leaving_ms:
            return
        self._leaving_ms = now_ms
        self._goodbye = self._enqueue(Leave(why), now_ms, told=False).counter
        self._pump(now_ms, everywhere=True)

    def taken_back(self, now_ms: int) -> None:
        """The guest said at the door that it left. Whoever has been in says so inside, and nobody else can for them."""
        if not self.met and not self.closed:
            self._nobody_comes()

    def _nobody_comes(self) -> None:
        self._emit(events.Left(self.peer.id, self.peer_name or "Whoever knocked", "left"))
        self._close("peer left")

    def append_failed(self, token: int, code: str, why: str, now_ms: int) -> None:
        super().append_failed(token, code, why, now_ms)
        self._notice_no_way(now_ms)

    def _notice_no_way(self, now_ms: int) -> None:
        """The guest was never here and has no queue any more: it says Hello again soon, or left without a word."""
        if not self._unmet_and_unreachable:
            self._no_way_ms = None
        elif self._no_way_ms is None:
            self._no_way_ms = now_ms
        elif now_ms >= self._no_way_ms + limits.HELLO_AGAIN_MS:
            self._nobody_comes()

    @property
    def _unmet_and_unreachable(self) -> bool:
        return self.is_host and not self.met and not self.closed and len(self._dead) == self.routes

    def finish(self) -> None:
        """The goodbye has had its time: whatever is still open is explained and the session ends."""
        goodbye = self.outbox.entries.get(self._goodbye)
        held = [each for each in self.outbox.entries.values() if each.holders]
        self._close("left")
        if goodbye is not None and not goodbye.holders:
            self._seal_farewell(goodbye, [each for each in held if each.state == "held"])

    def _seal_farewell(self, goodbye: Entry, held: list[Entry]) -> None:
        """Anew, and behind what nodes hold: the rest has been given up, so nobody should wait for it."""
        entries = self.outbox.entries
        goodbye.unseal()
        entries.update({each.counter: each for each in (*held, goodbye)})
        for route in range(self.routes):
            if route not in self._dead:
                self.farewell[route] = self._seal_entry(goodbye, self._label_out)
        entries.clear()

    @property
    def farewell_sent(self) -> bool:
        """Whether a node holds everything that was said, the goodbye included."""
        return all(entry.holders or not entry.open for entry in self.outbox.entries.values())

    def _check_open(self) -> None:
        if self.closed or self._leaving_ms:
            raise UsageError("this session is over", hint="Start a new one.")

    # -- time

    def tick(self, now_ms: int) -> None:
        """Time has passed: expiry, retries, the second queue, old keys, renewal."""
        if self.closed:
            return
        self.outbox.expire(now_ms)
        if self.schedule.expired(now_ms):
            self._forget_previous()
        self._show(now_ms)
        if self._gone:  # their goodbye was behind something that never came
            self._send_ack(now_ms, everywhere=True)
            self._close("peer left")
            return
        self._notice_absence(now_ms)
        self._renew_if_due(now_ms)
        if self._ack_owed and not self._ack_on_way and now_ms >= self._ack_next_ms:
            self._send_ack(now_ms)
        self._notice_no_way(now_ms)
        self._pump(now_ms)

    def next_timer(self) -> int | None:
        """When :meth:`tick` is due, in ms UTC; None when only the outside can change anything."""
        if self.closed:
            return None
        due = [self.schedule.previous_until_ms, self._inbox.next_timer()]
        if self._no_way_ms is not None:
            due.append(self._no_way_ms + limits.HELLO_AGAIN_MS)
        if self._ack_owed and not self._ack_on_way and len(self._dead) < self.routes:
            due.append(self._ack_next_ms)
        soonest = min((each for each in due if each is not None), default=_NEVER)
        for entry in self.outbox.entries.values():
            soonest = min(soonest, entry.expires_ms, *self._retries_of(entry))
            if entry.told and not self.away and entry.holders:
                soonest = min(soonest, entry.created_ms + limits.PEER_AWAY_MS)
        return None if soonest == _NEVER else soonest

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
        } | self._asks_fields()
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
        pair._restore_asks(fields)
        if fields["owed"] and not pair.closed:
            pair._send_ack(now_ms)
        pair._pump(now_ms)
        return pair
