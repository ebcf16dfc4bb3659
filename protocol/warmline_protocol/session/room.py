"""A room: up to fifty people over one shared, ordered log.

The log gives what one-to-one lacks, a common order. Every append carries the epoch it was sealed in as its *fence*;
a commit ends the epoch and changes the log's keys in one step, so nothing of epoch e ever stands behind the commit
that ended it, and a reader needs no old keys. A sender who is told ``fenced`` reads the commit and seals again.

A room is facilitated or closed: without a sign of the host for two minutes nothing can be said, after ten it ends.
What is said, and what "delivered" means here, is in ``room_offers``; what is heard in ``room_hearing``.

A member that is out of step (keys or log are not the host's) reads nothing more: it says Hello again with the attempt
id that it came in by, the host lets it in without asking, and :meth:`Room.carry_from` takes over what was open.
"""

from __future__ import annotations

from typing import Any

from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import MalformedError, StoreError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session import events
from warmline_protocol.session.cells import Draw
from warmline_protocol.session.events import ReadOnly, UseLog
from warmline_protocol.session.hello import Answer, Invited, Joined, LogStart, Moved, Removed
from warmline_protocol.session.inbox import Inbox
from warmline_protocol.session.keyschedule import KeySchedule
from warmline_protocol.session.machine import SNAPSHOT_MAX, base_arguments
from warmline_protocol.session.messages import Leave, Person, Seen, Text, clean
from warmline_protocol.session.mls import E2EEProvider, Member
from warmline_protocol.session.room_heads import Heads
from warmline_protocol.session.room_hearing import RoomHearing, check_roster
from warmline_protocol.session.room_manners import Manners
from warmline_protocol.session.room_words import Consent, Plea, Private, Replies, seal_whisper
from warmline_protocol.wire import pack, unpack


class Room(RoomHearing):
    """A member's side; :class:`~.room_host.HostRoom` adds what only the host does."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._reply_secret = b""
        self._asides: set[bytes] = set()

    @classmethod
    def joined(
        cls, joined: Joined, draw: Draw, now_ms: int, *, name: str, avatar: bytes, reply_secret: bytes = b""
    ) -> Room:
        """A newcomer's room, once the Welcome opened and the statement verified. ``reply_secret`` is the Hello's."""
        welcome = joined.welcome
        if welcome.log is None:
            raise MalformedError("a Welcome to a room without its log")
        check_roster((), joined.group.roster(), joined.group.me)
        room = cls(
            joined.group,
            KeySchedule(joined.epoch),
            joined.host,
            draw,
            log=welcome.log,
            now_ms=now_ms,
            verifier=joined.verifier,
        )
        room._reply_secret = reply_secret
        host_name = clean(welcome.name)
        room.people[joined.host.id] = Person(joined.host.id, host_name, welcome.avatar)
        room.people[room.me.id] = Person(room.me.id, name, avatar)
        room._emit(events.Joined(joined.host.id, host_name, welcome.avatar, host=True))
        room._outputs.append(room._use_keys())
        return room

    def carry_from(self, old: Room, now_ms: int) -> None:
        """After a fresh Hello of the same attempt: what was not delivered goes again, under its ids; who was here
        before has not just come, and what they said meanwhile to others will be told as a gap."""
        self._events.clear()  # the host was here all the time
        self._ids = old._ids
        mine = self.people[self.me.id]
        here = {member.id for member in self._roster}
        self.people = {id: each for id, each in old.people.items() if id in here} | {self.me.id: mine}
        self.manners = old.manners
        self.manners.become(old.me.id, self.me.id)
        for member, inbox in old._inboxes.items():
            if member in self._roster:
                self._inboxes[member] = inbox
                self._recheck.add(member)
        for gone in [each for each in old._roster if each.id not in here and each != old.me]:
            if gone.id in old.people:
                self._emit(events.Left(gone.id, old.name_of(gone.id), "removed"))
        for entry in list(old.outbox.entries.values()):
            if entry.told:
                fresh = self.outbox.add(entry.id, entry.body, now_ms, told=True, limited=False)
                fresh.created_ms, fresh.expires_ms = entry.created_ms, entry.expires_ms
        self._pump(now_ms)

    # -- what the person does

    def send(self, text: str, now_ms: int) -> bytes:
        """Say something; the id under which its states are told."""
        self._check_writable(now_ms)
        entry = self._enqueue(Text(text), now_ms, told=True)
        self._pump(now_ms)
        return entry.id

    def leave(self, now_ms: int, why: str = "left") -> None:
        """Say goodbye, best effort; the host takes this member out."""
        if self.closed or self._leaving:
            return
        self._leaving = True
        self._enqueue(Leave(why), now_ms, told=False)
        self._pump(now_ms)

    def finish(self, why: str = "left") -> None:
        """The goodbye has had its time."""
        self._close(why)

    @property
    def farewell_sent(self) -> bool:
        """Whether the log holds everything that was said."""
        return all(entry.seq for entry in self.outbox.entries.values())

    def _check_writable(self, now_ms: int) -> None:
        if self.closed or self._leaving:
            raise UsageError("this room is over for you", hint="Join again, or another one.")
        if self.read_only:
            raise UsageError("the host is away: nothing can be said now", hint="Wait for the host, or leave.")
        if not self.manners.voice(self.me.id, self.host.id):
            raise UsageError(
                "you are listening only for now", hint="The host decides who speaks; newcomers often listen first."
            )
        wait = max(self.manners.wait_ms(self.me.id, self.host.id, now_ms), self._own_wait_ms(now_ms))
        if wait:
            raise UsageError("this room is in slow mode", hint=f"You can write again in {-(-wait // 1000)} s.")

    def _own_wait_ms(self, now_ms: int) -> int:
        """What is still on its way counts too."""
        if self.is_host or self.me.id in self.manners.helpers:
            return 0
        last = max((each.created_ms for each in self.outbox.entries.values() if each.told), default=None)
        return 0 if last is None else max(0, last + self.manners.slow_ms - now_ms)

    # -- words for the host alone

    def _whisper(self, word: Private, now_ms: int) -> None:
        if self.closed or self._leaving or not self._reply_secret:
            return
        self._enqueue(seal_whisper(word, self._reply_secret, self.draw), now_ms, told=False)
        self._pump(now_ms)

    def requeue(self, addresses: tuple[bytes, ...], now_ms: int) -> None:
        """One of this member's own queues is lost: the host reaches it by these."""
        self._whisper(Replies(addresses), now_ms)

    def ask(self, verb: str, member: bytes, now_ms: int) -> None:
        """As a co-facilitator: have somebody muted, unmuted or removed."""
        if self.me.id not in self.manners.helpers:
            raise UsageError("only the host and those who facilitate with it can do this")
        if all(each.id != member for each in self._roster):
            raise UsageError("nobody of that id is here")
        self._whisper(Plea(verb, member), now_ms)

    def answer_aside(self, aside: bytes, yes: bool, now_ms: int) -> None:
        """The person's answer to a word in private."""
        if aside not in self._asides:
            raise UsageError("nobody has asked for a word in private")
        self._asides.discard(aside)
        self._whisper(Consent(aside, yes), now_ms)

    # -- the control queue

    def control(self, answer: Answer, now_ms: int) -> None:
        """What came by this member's own reply queue."""
        if isinstance(answer, Removed):
            self._close("removed")
        elif isinstance(answer, Moved):
            self._recheck.update(self._inboxes)
            self._begin_log(answer.log)
            self._outputs.append(UseLog(answer.log.address, answer.log.incarnation, answer.log.after))
            self._remark(Seen(), now_ms)  # its floor tells the others what of it they will not hear any more
            self._pump(now_ms)
        elif isinstance(answer, Invited) and not self.closed:
            self._asides.add(answer.aside)
            self._emit(events.AsideAsked(answer.aside, self.name_of(self.host.id)))

    def locked_out(self, now_ms: int) -> None:
        """The log's node takes this member's keys for none of its log: a commit went by unseen."""
        self._lose_step("this room went on without this side", now_ms)

    # -- time

    def tick(self, now_ms: int) -> None:
        """Time has passed."""
        if self.closed:
            return
        self.outbox.expire(now_ms)
        self._watch_host(now_ms)
        self._tell_gone(now_ms)
        if self._seen_due_ms is not None and now_ms >= self._seen_due_ms:
            self._seen_due_ms = None
            self._remark(Seen(), now_ms)
        self._pump(now_ms)

    def _watch_host(self, now_ms: int) -> None:
        if self.is_host:
            return
        self._allow_for_sleep(now_ms)
        if now_ms >= self.host_seen_ms + self.closed_ms:
            self._say_left(now_ms)
            self._close("host gone")
        elif not self.read_only and now_ms >= self.host_seen_ms + self.read_only_ms:
            self.read_only = True
            self._emit(ReadOnly())

    def _allow_for_sleep(self, now_ms: int) -> None:
        """A timer that comes much too late tells of a device that slept, not of a host that was silent."""
        after = self.closed_ms if self.read_only else self.read_only_ms
        awoken_ms = min(limits.ROOM_AWOKEN_MS, self.closed_ms - self.read_only_ms)
        if now_ms > self.host_seen_ms + after + awoken_ms:
            self.host_seen_ms = max(self.host_seen_ms, now_ms + awoken_ms - self.closed_ms)

    def _say_left(self, now_ms: int) -> None:
        """Best effort: a host that comes back to this log does not wait for who is gone."""
        if self.log is not None and not self.out_of_step:
            self._remark_now(Leave("left"), now_ms)

    def next_timer(self) -> int | None:
        """When :meth:`tick` is due, in ms UTC."""
        if self.closed:
            return None
        return min((each for each in self._timers() if each is not None), default=None)

    def _timers(self) -> list[int | None]:
        due: list[int | None] = [gone.told_ms for gone in self._gone.values()]
        if not self.is_host:
            after = self.closed_ms if self.read_only else self.read_only_ms
            due.append(self.host_seen_ms + after)
        if self._ready_to_send():
            due.append(self._seen_due_ms)
        for entry in self.outbox.entries.values():
            due.append(entry.expires_ms)
            if not entry.seq and not entry.in_flight and self._ready_to_send() and self._may_go(entry):
                due.append(entry.next_ms.get(0, 0))
        return due

    # -- keeping

    def snapshot(self) -> bytes:
        """Everything needed to go on after a restart. Secret."""
        return encode(self._fields())

    def _fields(self) -> dict[str, Any]:
        fields = self._base_fields()
        fields |= {
            "heads": self.heads.to_fields(),
            "people": [pack(each) for each in self.people.values()],
            "manners": self.manners.to_fields(),
            "readonly": self.read_only,
            "hostseen": self.host_seen_ms,
            "inboxes": [[each.id, each.key, inbox.to_fields()] for each, inbox in self._inboxes.items()],
            "recheck": [[each.id, each.key] for each in sorted(self._recheck)],
            "ids": list(self._ids),
            "own": list(self._own),
            "replysecret": self._reply_secret,
            "asides": sorted(self._asides),
            "lost": self.out_of_step,
            "succession": self.succession,
        }
        if self.log is not None:
            fields["log"] = pack(self.log)
        return fields

    @classmethod
    def restore(
        cls, snapshot: bytes, provider: E2EEProvider, draw: Draw, now_ms: int, *, key: SigningKey | None = None
    ) -> Room:
        """The room that was saved; whatever was on its way is offered again."""
        fields: Any = decode(snapshot, max_size=SNAPSHOT_MAX)
        if not isinstance(fields, dict) or "people" not in fields:
            raise StoreError("a saved room that is not one")
        log = unpack(LogStart, fields["log"]) if "log" in fields else None
        arguments = base_arguments(fields, key)
        room = cls(provider.restore(fields["group"]), draw=draw, log=log, now_ms=now_ms, **arguments)
        room._restore(fields, now_ms)
        return room

    def _restore(self, fields: dict[str, Any], now_ms: int) -> None:
        self._restore_base(fields)
        self.heads = Heads.from_fields(fields["heads"])
        self.people = {each["member"]: unpack(Person, each) for each in fields["people"]}
        self.manners = Manners.from_fields(fields["manners"])
        self.read_only, self.host_seen_ms = fields["readonly"], fields["hostseen"]
        for id, key, inbox in fields["inboxes"]:
            self._inboxes[Member(id, key)] = Inbox.from_fields(inbox)
        self._recheck = {Member(*each) for each in fields["recheck"]}
        self._ids.extend(fields["ids"])
        self._own.extend(fields["own"])
        self._reply_secret, self._asides = fields["replysecret"], set(fields["asides"])
        self.out_of_step, self.succession = fields["lost"], fields["succession"]
        self._outputs.append(self._use_keys())
        self._pump(now_ms)
