"""The hearing half of a room: cells of the log in, events out, and who is who.

Everything here happens at a place in the log that is the same for all members, so all come to the same view: who is
in, what they are called, who may speak, and which texts are shown.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, RemoteError
from warmline_protocol.session import events
from warmline_protocol.session.cells import Bundle, Kind
from warmline_protocol.session.events import UseKeys, Writable
from warmline_protocol.session.inbox import Inbox
from warmline_protocol.session.messages import (
    Body,
    Conduct,
    Handover,
    Heartbeat,
    Inner,
    Introduce,
    Leave,
    Person,
    Roster,
    Seen,
    Succession,
    Text,
    Undecryptable,
    Whisper,
    clean,
    unpack_body,
)
from warmline_protocol.session.mls import Member
from warmline_protocol.session.room_manners import plausible
from warmline_protocol.session.room_offers import LABEL, RoomOffers

_BACK_WITHIN_MS = 2_000
"""Somebody whose place was renewed is gone for one commit: so long nobody is told that they left."""


def _folded(name: str) -> str:
    """What two names have in common that a person would take for one: case, width and spaces make no difference."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def check_roster(before: Sequence[Member], after: Sequence[Member], me: Member) -> None:
    """What a commit may make of a roster; :class:`MalformedError` for the rest. A commit may add people and take them
    out. It may not change anybody's key, seat one id twice, or take more than a room holds."""
    keys = {member.id: member.key for member in after}
    if len(keys) != len(after) or len(after) > limits.ROOM_MEMBERS_MAX or me not in after:
        raise MalformedError("a commit to a room that cannot be")
    if any(keys.get(member.id, member.key) != member.key for member in before):
        raise MalformedError("a commit that changes whose key a member's is")


@dataclass(frozen=True, slots=True)
class _Gone:
    """Somebody whom a commit took out. Their place may be being renewed."""

    person: Person
    told_ms: int


class RoomHearing(RoomOffers):
    """What a member, the host included, makes of the log."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._gone: dict[bytes, _Gone] = {}
        self._recheck: set[Member] = set()
        self.succession = b""
        """The card that opens the next room, once the host said so."""

    def _use_keys(self) -> UseKeys:
        epoch = self.schedule.current
        return UseKeys(epoch.number, epoch.send_key, epoch.read_key)

    # -- cells

    def read(self, cells: Sequence[tuple[int, bytes]], incarnation: bytes, now_ms: int) -> None:
        """Cells of the log with their numbers, in order; what was read before may come again."""
        if self.log is None or self.out_of_step:
            return
        if incarnation != self.log.incarnation:
            self._log_restarted(now_ms)
            return
        for seq, cell in cells:
            if self.closed or self.out_of_step or seq <= self.after:
                continue
            self.heads.read(seq, cell)
            self._read_one(seq, cell, now_ms)
        self._batch_read(now_ms)
        self._offer_dropped(now_ms)
        self._pump(now_ms)

    def _batch_read(self, now_ms: int) -> None:
        """All of it was read."""

    def _log_restarted(self, now_ms: int) -> None:
        """The node came back from a backup: what it shows from here on is not the log that was agreed on. The host
        opens another one, and says so by the members' own queues."""

    def _read_one(self, seq: int, cell: bytes, now_ms: int) -> None:
        fragment = self._fragment(cell, LABEL)
        if fragment is None:
            self.statistics.unopened += 1
            self._not_opened_at(seq, now_ms)
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
        if entry is None or self.log is None or bundle.epoch != entry.sealed_epoch:
            return
        if bundle.payload != entry.sealed:
            return  # another member's, under the id of one's own
        if entry.told and not entry.back:
            # Everybody judges it by what was the host's word at this place; its sender is the one who must be told.
            why = self.manners.refuses(self.me.id, self.host.id, entry.created_ms)
            if why:
                self.outbox.settle(entry, "refused", why=why)
                return
            self.manners.spoke(self.me.id, entry.created_ms)
        if entry.told and self._nobody_reads(seq):
            self.outbox.settle(entry, "refused", why="nobody else was here, and who comes later cannot read it")
            return
        entry.back = seq
        if not entry.seq:
            entry.seq = seq
            self.outbox.held(entry, 0, "", self.log.incarnation)

    # -- messages

    def _take_message(self, bundle: Bundle, seq: int, now_ms: int) -> None:
        heard = self._hear(bundle)
        if heard is None:
            if not self.closed:
                self._not_opened_at(seq, now_ms)
            return
        sender, inner = heard
        agreed = inner.seen is None or inner.head is None or not self.heads.contradict(inner.seen, inner.head)
        if not agreed:
            self._other_log(sender, now_ms)
        if sender == self.host:
            self._host_spoke(inner, now_ms)
        self._tell_gap(sender, inner)
        owed = inner.counter and (self.is_host or sender == self.host)
        if not self._fresh(sender, inner):
            self.statistics.doubles += 1
            if owed:  # its sender does not know that it was read: what said so may have gone with a log
                self._owe_seen(seq, now_ms)
            return
        try:
            body = unpack_body(inner.body)
        except RemoteError:
            self.statistics.refused += 1
            return
        self._take_body(sender, inner, body, seq, now_ms)
        if inner.seen is not None and agreed:
            self._take_seen(sender, inner.seen)
        if owed:
            self._owe_seen(seq, now_ms)

    def _other_log(self, sender: Member, now_ms: int) -> None:
        if sender == self.host:
            self._lose_step("the log shown here is not the one that the host reads", now_ms)

    def _not_opened_at(self, seq: int, now_ms: int) -> None:
        """Only the host asks for what did not open: it is the one who vouches for delivery."""

    def _tell_gap(self, sender: Member, inner: Inner) -> None:
        """Once for each sender after a log was left behind: what they said there, and others confirmed, will not come
        any more."""
        if sender not in self._recheck:
            return
        self._recheck.discard(sender)
        inbox = self._inboxes.get(sender)
        if inbox is not None:
            missed = inbox.missed_below(inner.floor)
            if missed:
                self._emit(events.Gap(sender.id, missed))

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
        if self.read_only and now_ms < self.host_seen_ms + self.read_only_ms:
            self.read_only = False
            self._emit(Writable())

    def _take_body(self, sender: Member, inner: Inner, body: Body, seq: int, now_ms: int) -> None:
        match body:
            case Text(text=text):
                self._take_text(sender, inner, text, now_ms)
            case Introduce(name=new, avatar=avatar) if sender != self.host:
                self._meet(Person(sender.id, new, avatar))
            case Leave(why=why):
                self._depart(sender, why, now_ms)
            case Whisper():
                self._take_whisper(sender, body, now_ms)
            case Seen():
                pass
            case _ if sender == self.host:
                self._take_hosts_word(body, now_ms)
            case _:
                self.statistics.refused += 1

    def _take_hosts_word(self, body: Body, now_ms: int) -> None:
        match body:
            case Roster(people=people):
                for person in people:
                    self._meet(person)
            case Conduct():
                self._take_conduct(body)
            case Handover(member=member):
                self._emit(events.SuccessorNamed(member, self.name_of(member)))
            case Succession(card=card):
                self.succession = card
                self._emit(events.SuccessionNamed(card))
            case Heartbeat(epoch=epoch, digest=digest):
                if epoch == self.epoch and digest != self.schedule.current.digest:
                    self._lose_step("this room's keys are not the host's", now_ms)
            case Undecryptable(counters=places):
                self._seal_again(places)
            case _:
                self.statistics.refused += 1

    def _take_text(self, sender: Member, inner: Inner, text: str, now_ms: int) -> None:
        if inner.id in self._ids:
            return
        sent = plausible(inner.sent_ms, now_ms)
        if self.manners.refuses(sender.id, self.host.id, sent):
            self.statistics.unheard += 1
            return
        self._ids.append(inner.id)
        self.manners.spoke(sender.id, sent)
        signed = sender == self.host and self.verifier is not None
        # A newcomer may speak before the host has said who it is.
        name, shown = self.name_of(sender.id) or "somebody new", clean(text, lines=True)
        self._emit(events.TextReceived(inner.id, sender.id, name, shown, inner.sent_ms, signed))

    def _take_whisper(self, sender: Member, whisper: Whisper, now_ms: int) -> None:
        """For the host alone."""

    # -- manners

    def _take_conduct(self, conduct: Conduct) -> None:
        before = {member.id: self.manners.voice(member.id, self.host.id) for member in self._roster}
        helpers, slow = self.manners.helpers, self.manners.slow_ms
        known = self.manners.conduct is not None
        self.manners.conduct = conduct
        for member, spoke in before.items():
            speaks = self.manners.voice(member, self.host.id)
            if speaks != spoke:
                name = self.name_of(member)
                self._emit(events.Unmuted(member, name) if speaks else events.Muted(member, name))
        for member in (*conduct.helpers, *helpers):
            if (member in conduct.helpers) != (member in helpers):
                ended = member not in conduct.helpers
                if not ended or any(each.id == member for each in self._roster):
                    self._emit(events.CoFacilitates(member, self.name_of(member), ended))
        if slow != conduct.slow_ms and (known or conduct.slow_ms):
            self._emit(events.SlowMode(conduct.slow_ms))
        self._refuse_unheard()

    def _refuse_unheard(self) -> None:
        """What a muted person had waiting does not go: they hear it now, not somebody later."""
        if self.manners.voice(self.me.id, self.host.id):
            return
        for entry in list(self.outbox.entries.values()):
            if entry.told and not entry.seq and not entry.in_flight:
                self.outbox.settle(entry, "refused", why="muted")

    # -- people

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
        back = next((id for id, each in self._gone.items() if _same(each.person, named)), None)
        if back is None:
            self._emit(events.Joined(member.id, named.name, named.avatar, host=member == self.host))
        else:
            del self._gone[back]
            self.manners.become(back, member.id)
            self._emit(events.Rejoined(back, member.id, named.name))

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

    def _take_roster(self, roster: tuple[Member, ...], now_ms: int) -> None:
        for gone in [each for each in self._roster if each not in roster]:
            self._inboxes.pop(gone, None)
            self._since.pop(gone.id, None)
            person = self.people.pop(gone.id, None)
            if person is not None:
                self._hold_gone(gone.id, person, now_ms)
        for new in [each for each in roster if each not in self._roster]:
            self._since[new.id] = self.epoch
        self._roster = roster

    def _hold_gone(self, member: bytes, person: Person, now_ms: int) -> None:
        self._gone[member] = _Gone(person, now_ms + _BACK_WITHIN_MS)

    def _tell_gone(self, now_ms: int) -> None:
        """Those who did not come back within a moment were taken out."""
        for member, gone in list(self._gone.items()):
            if now_ms >= gone.told_ms:
                del self._gone[member]
                self._emit(events.Left(member, gone.person.name, "removed"))

    # -- epochs

    def _take_commit(self, bundle: Bundle, now_ms: int) -> None:
        try:
            if bundle.epoch != self.epoch:
                raise MalformedError("a commit of another epoch")
            before = self._roster
            roster = self.group.process(bundle.payload, self.host)
            if roster:
                check_roster(before, roster, self.me)
        except RemoteError:
            # Anybody here can write rubbish of this kind. Was it the host's, the node is in another epoch by now, and
            # takes none of this side's keys: that is what is noticed (``locked_out``).
            self.statistics.refused += 1
            return
        if not roster:
            self._close("removed")
            return
        if self.host not in roster:
            self._close("host gone")
            return
        self._advance(now_ms)
        self._forget_previous()
        self._take_roster(roster, now_ms)
        for entry in self.outbox.entries.values():
            entry.next_ms.clear()
        self._outputs.append(self._use_keys())

    def _lose_step(self, why: str, now_ms: int) -> None:
        if not self.out_of_step:
            self.out_of_step = True
            self._emit(events.OutOfStep(why))


def _same(one: Person, other: Person) -> bool:
    return _folded(one.name) == _folded(other.name) and one.avatar == other.avatar
