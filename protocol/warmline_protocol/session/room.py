"""A room: up to fifty people over one shared, ordered log.

The log gives what one-to-one lacks, a common order. Every append carries the epoch it was sealed in as its *fence*;
a commit ends the epoch and changes the log's keys in one step, so nothing of epoch e ever stands behind the commit
that ended it, and a reader needs no old keys. A sender who is told ``fenced`` reads the commit and seals again.

A room is facilitated or closed: without a sign of the host for two minutes nothing can be said, after ten it ends.
What is said, and what "delivered" means here, is in ``room_offers``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import MalformedError, RemoteError, StoreError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.log import link
from warmline_protocol.session import events
from warmline_protocol.session.cells import Bundle, Draw, Kind
from warmline_protocol.session.events import ReadOnly, UseKeys, UseLog, Writable
from warmline_protocol.session.hello import Answer, Joined, LogStart, Moved, Removed
from warmline_protocol.session.inbox import Inbox
from warmline_protocol.session.keyschedule import KeySchedule
from warmline_protocol.session.machine import SNAPSHOT_MAX, base_arguments
from warmline_protocol.session.messages import (
    Body,
    Handover,
    Heartbeat,
    Inner,
    Introduce,
    Leave,
    Person,
    Roster,
    Seen,
    Text,
    Undecryptable,
    clean,
    unpack_body,
)
from warmline_protocol.session.mls import E2EEProvider, Member
from warmline_protocol.session.room_offers import LABEL, RoomOffers
from warmline_protocol.wire import pack, unpack


def _folded(name: str) -> str:
    """What two names have in common that a person would take for one: case, width and spaces make no difference."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


class Room(RoomOffers):
    """A member's side; :class:`~.room_host.HostRoom` adds what only the host does."""

    @classmethod
    def joined(cls, joined: Joined, draw: Draw, now_ms: int, *, name: str, avatar: bytes) -> Room:
        """A newcomer's room, once the Welcome opened and the statement verified."""
        welcome = joined.welcome
        if welcome.log is None:
            raise MalformedError("a Welcome to a room without its log")
        room = cls(
            joined.group,
            KeySchedule(joined.epoch),
            joined.host,
            draw,
            log=welcome.log,
            now_ms=now_ms,
            verifier=joined.verifier,
        )
        host_name = clean(welcome.name)
        room.people[joined.host.id] = Person(joined.host.id, host_name, welcome.avatar)
        room.people[room.me.id] = Person(room.me.id, name, avatar)
        room._emit(events.Joined(joined.host.id, host_name, welcome.avatar, host=True))
        room._outputs.append(room._use_keys())
        return room

    def _use_keys(self) -> UseKeys:
        epoch = self.schedule.current
        return UseKeys(epoch.number, epoch.send_key, epoch.read_key)

    # -- what the person does

    def send(self, text: str, now_ms: int) -> bytes:
        """Say something; the id under which its states are told."""
        self._check_writable()
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

    def finish(self) -> None:
        """The goodbye has had its time."""
        self._close("left")

    @property
    def farewell_sent(self) -> bool:
        """Whether the log holds everything that was said."""
        return all(entry.seq for entry in self.outbox.entries.values())

    def _check_writable(self) -> None:
        if self.closed or self._leaving:
            raise UsageError("this room is over for you", hint="Join again, or another one.")
        if self.read_only:
            raise UsageError("the host is away: nothing can be said now", hint="Wait for the host, or leave.")

    # -- reading

    def read(self, cells: Sequence[tuple[int, bytes]], incarnation: bytes, now_ms: int) -> None:
        """Cells of the log with their numbers, in order; what was read before may come again."""
        if self.log is not None and incarnation != self.log.incarnation:
            self._log_restarted(incarnation)
        for seq, cell in cells:
            if self.closed or seq <= self.after:
                continue
            self.after = seq
            self.head = link(self.head, cell)
            self._read_one(seq, cell, now_ms)
        self._offer_dropped(now_ms)
        self._pump(now_ms)

    def _log_restarted(self, incarnation: bytes) -> None:
        """The node came back from a backup: its numbers mean something else now."""
        assert self.log is not None
        self.log = LogStart(self.log.address, incarnation, 0, b"")
        self._begin_log(self.log)

    def _read_one(self, seq: int, cell: bytes, now_ms: int) -> None:
        fragment = self._fragment(cell, LABEL)
        if fragment is None:
            self.statistics.unopened += 1
            return
        bundle = self._joiner.add(fragment)
        if bundle is None:
            return
        if bundle.id in self._own:
            self._own_came_back(bundle, seq, now_ms)
        elif bundle.kind is Kind.COMMIT:
            self._take_commit(bundle, now_ms)
        elif bundle.kind is Kind.APPLICATION:
            self._take_message(bundle, seq, now_ms)
        else:
            self.statistics.refused += 1

    def _own_came_back(self, bundle: Bundle, seq: int, now_ms: int) -> None:
        """A receipt by other means: the answer to an append may get lost."""
        entry = self.outbox.entries.get(bundle.counter)
        if entry is None or self.log is None:
            return
        entry.back = seq
        if not entry.seq:
            entry.seq = seq
            self.outbox.held(entry, 0, "", self.log.incarnation)

    def _take_message(self, bundle: Bundle, seq: int, now_ms: int) -> None:
        heard = self._hear(bundle)
        if heard is None:
            if not self.closed:
                self._not_opened_at(seq, now_ms)
            return
        sender, inner = heard
        if sender == self.host:
            self._host_spoke(inner, now_ms)
        if not self._fresh(sender, inner):
            self.statistics.doubles += 1
            return
        try:
            body = unpack_body(inner.body)
        except RemoteError:
            self.statistics.refused += 1
            return
        self._take_body(sender, inner, body, seq, now_ms)
        if inner.seen is not None:
            self._take_seen(sender, inner.seen)
        if inner.counter and (self.is_host or sender == self.host):
            self._owe_seen(seq, now_ms)

    def _not_opened_at(self, seq: int, now_ms: int) -> None:
        """Only the host asks for what did not open: it is the one who vouches for delivery."""

    def _fresh(self, sender: Member, inner: Inner) -> bool:
        if inner.counter == 0:
            return True
        inbox = self._inboxes.get(sender)
        if inbox is None:
            inbox = self._inboxes[sender] = Inbox()
            inbox.begin_at(min(inner.floor, inner.counter))
        if inbox.seen(inner.counter) or inbox.too_far(inner.counter):
            return False
        inbox.raise_floor(inner.floor)
        if not inbox.seen(inner.counter):
            inbox.note(inner.counter)
        return True

    def _host_spoke(self, inner: Inner, now_ms: int) -> None:
        # What is read late was said long ago: it is no sign that the host is there now.
        self.host_seen_ms = max(self.host_seen_ms, min(inner.sent_ms, now_ms))
        if self.read_only and now_ms < self.host_seen_ms + limits.ROOM_READ_ONLY_MS:
            self.read_only = False
            self._emit(Writable())

    def _take_body(self, sender: Member, inner: Inner, body: Body, seq: int, now_ms: int) -> None:
        name = self.name_of(sender.id)
        match body:
            case Text(text=text):
                if inner.id not in self._ids:
                    self._ids.append(inner.id)
                    signed = sender == self.host and self.verifier is not None
                    shown = clean(text, lines=True)
                    self._emit(events.TextReceived(inner.id, sender.id, name, shown, inner.sent_ms, signed))
            case Introduce(name=new, avatar=avatar) if sender != self.host:
                self._meet(Person(sender.id, new, avatar))
            case Leave(why=why):
                self._depart(sender, why, now_ms)
            case Roster(people=people) if sender == self.host:
                for person in people:
                    self._meet(person)
            case Handover(member=member) if sender == self.host:
                self._emit(events.SuccessorNamed(member, self.name_of(member)))
            case Heartbeat(epoch=epoch, digest=digest) if sender == self.host:
                if epoch == self.epoch and digest != self.schedule.current.digest:
                    self._lose_step("this room's keys are not the host's")
            case Undecryptable(counters=places) if sender == self.host:
                self._seal_again(places)
            case Seen():
                pass
            case _:
                self.statistics.refused += 1

    def _meet(self, person: Person) -> None:
        member = next((each for each in self._roster if each.id == person.member), None)
        known = self.people.get(person.member)
        if member is None or member == self.me:
            return
        name = clean(person.name) if member == self.host else self._distinct(clean(person.name), person.member)
        named = Person(person.member, name, person.avatar)
        if known == named:
            return
        self.people[person.member] = named
        self._emit(events.Joined(member.id, named.name, named.avatar, host=member == self.host))

    def _distinct(self, name: str, member: bytes) -> str:
        """``name``, numbered where somebody else here goes by it: nobody may pass for the host, or for another."""
        taken = {_folded(each.name) for each in self.people.values() if each.member != member}
        shown, number = name, 1
        while _folded(shown) in taken:
            number += 1
            mark = f" {number}"
            shown = name.encode()[: limits.NAME_MAX - len(mark)].decode(errors="ignore") + mark
        return shown

    def _depart(self, member: Member, why: str, now_ms: int) -> None:
        name = self.name_of(member.id)
        if self.people.pop(member.id, None) is not None:
            self._emit(events.Left(member.id, name, why))
        if member == self.host and not self.is_host:
            self._close("host gone")

    # -- epochs

    def _take_commit(self, bundle: Bundle, now_ms: int) -> None:
        try:
            if bundle.epoch != self.epoch:
                raise MalformedError("a commit of another epoch")
            roster = self.group.process(bundle.payload, self.host)
        except RemoteError:
            self.statistics.refused += 1
            if bundle.epoch == self.epoch:
                self._lose_step("a change of the room's keys that does not apply")
            return
        if not roster:
            self._close("removed")
            return
        if self.host not in roster:
            self._close("host gone")
            return
        self._advance(now_ms)
        self._forget_previous()
        self._take_roster(roster)
        for entry in self.outbox.entries.values():
            entry.next_ms.clear()
        self._outputs.append(self._use_keys())

    def _lose_step(self, why: str) -> None:
        if not self.out_of_step:
            self.out_of_step = True
            self._emit(events.OutOfStep(why))

    def _take_roster(self, roster: tuple[Member, ...]) -> None:
        for gone in [each for each in self._roster if each not in roster]:
            self._inboxes.pop(gone, None)
            name = self.name_of(gone.id)
            if self.people.pop(gone.id, None) is not None:
                self._emit(events.Left(gone.id, name, "removed"))
        self._roster = roster

    # -- the control queue

    def control(self, answer: Answer, now_ms: int) -> None:
        """What came by this member's own reply queue."""
        if isinstance(answer, Removed):
            self._close("removed")
        elif isinstance(answer, Moved):
            self._begin_log(answer.log)
            self._outputs.append(UseLog(answer.log.address, answer.log.incarnation, answer.log.after))
            self._pump(now_ms)

    # -- time

    def tick(self, now_ms: int) -> None:
        """Time has passed."""
        if self.closed:
            return
        self.outbox.expire(now_ms)
        self._watch_host(now_ms)
        if self._seen_due_ms is not None and now_ms >= self._seen_due_ms:
            self._seen_due_ms = None
            self._remark(Seen(), now_ms)
        self._pump(now_ms)

    def _watch_host(self, now_ms: int) -> None:
        if self.is_host:
            return
        if now_ms >= self.host_seen_ms + limits.ROOM_CLOSED_MS:
            self._close("host gone")
        elif not self.read_only and now_ms >= self.host_seen_ms + limits.ROOM_READ_ONLY_MS:
            self.read_only = True
            self._emit(ReadOnly())

    def next_timer(self) -> int | None:
        """When :meth:`tick` is due, in ms UTC."""
        if self.closed:
            return None
        return min((each for each in self._timers() if each is not None), default=None)

    def _timers(self) -> list[int | None]:
        due: list[int | None] = []
        if not self.is_host:
            after = limits.ROOM_CLOSED_MS if self.read_only else limits.ROOM_READ_ONLY_MS
            due.append(self.host_seen_ms + after)
        if self._ready_to_send():
            due.append(self._seen_due_ms)
        for entry in self.outbox.entries.values():
            due.append(entry.expires_ms)
            if not entry.seq and not entry.in_flight and self._ready_to_send():
                due.append(entry.next_ms.get(0, 0))
        return due

    # -- keeping

    def snapshot(self) -> bytes:
        """Everything needed to go on after a restart. Secret."""
        return encode(self._fields())

    def _fields(self) -> dict[str, Any]:
        fields = self._base_fields()
        fields |= {
            "after": self.after,
            "head": self.head,
            "people": [pack(each) for each in self.people.values()],
            "readonly": self.read_only,
            "hostseen": self.host_seen_ms,
            "inboxes": [[each.id, each.key, inbox.to_fields()] for each, inbox in self._inboxes.items()],
            "ids": list(self._ids),
            "own": list(self._own),
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
        self.after, self.head = fields["after"], fields["head"]
        self.people = {each["member"]: unpack(Person, each) for each in fields["people"]}
        self.read_only, self.host_seen_ms = fields["readonly"], fields["hostseen"]
        for id, key, inbox in fields["inboxes"]:
            self._inboxes[Member(id, key)] = Inbox.from_fields(inbox)
        self._ids.extend(fields["ids"])
        self._own.extend(fields["own"])
        self._outputs.append(self._use_keys())
        self._pump(now_ms)
