"""The host's side of a room: who comes in, who goes, and the one commit at a time that makes it so.

A commit is applied here first, because the log's next keys follow from the new epoch, and then appended together with
the switch of fence and keys. Until its receipt the room stands still for the host: what it says waits for the new
epoch. The same commit may be offered again after any failure; the node answers with the same receipt. Old keys stay
until everything before the commit has been read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmline_protocol import limits
from warmline_protocol.errors import RefusedError, RemoteError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session import events
from warmline_protocol.session.cells import Bundle, Draw, Kind
from warmline_protocol.session.events import AppendCommit, AppendControl, UseKeys, UseLog
from warmline_protocol.session.evidence import Signer
from warmline_protocol.session.hello import (
    Hello,
    LogStart,
    Moved,
    Removed,
    make_welcome,
    seal_answer,
    welcome_answer,
)
from warmline_protocol.session.keyschedule import EpochKey, KeySchedule
from warmline_protocol.session.machine import FINAL_REFUSALS
from warmline_protocol.session.messages import Handover, Heartbeat, Person, Roster, Undecryptable, clean
from warmline_protocol.session.mls import E2EEProvider, Group, Member
from warmline_protocol.session.mlswire import member_of_key_package
from warmline_protocol.session.outbox import retry_pause
from warmline_protocol.session.room import Room
from warmline_protocol.session.room_offers import LABEL
from warmline_protocol.wire import pack, unpack

_CONTROL_TRIES = 20


@dataclass(slots=True)
class _Change:
    """A commit between its making and its receipt."""

    cells: tuple[bytes, ...]
    ended: int
    hello: Hello | None
    mls_welcome: bytes
    removed: bytes
    token: int = 0
    tries: int = 0
    next_ms: int = 0


@dataclass(slots=True)
class _Control:
    """A Welcome or a notice for one member, until some node holds it. ``next_ms`` is 0 while it is on its way."""

    addresses: tuple[bytes, ...]
    cells: tuple[bytes, ...]
    tries: int = 0
    next_ms: int = 0


@dataclass(frozen=True, slots=True)
class _Guest:
    """What the host keeps of a member besides its name: how to reach it when the log does not."""

    attempt: bytes
    reply_secret: bytes
    replies: tuple[bytes, ...]


class HostRoom(Room):
    """The facilitator's room. Its name and avatar are those of the card."""

    def __init__(self, group: Group, schedule: KeySchedule, host: Member, draw: Draw, **rest: Any) -> None:
        super().__init__(group, schedule, host, draw, **rest)
        self._change: _Change | None = None
        self._waiting: list[Hello] = []
        self._leaving_members: list[bytes] = []
        self._guests: dict[bytes, _Guest] = {}
        self._spoke_ms = self.host_seen_ms
        self._forget_after = 0
        self._controls: dict[int, _Control] = {}

    @classmethod
    def open(
        cls, provider: E2EEProvider, draw: Draw, now_ms: int, *, key: SigningKey, name: str, avatar: bytes
    ) -> HostRoom:
        """A room of one. Create its log with fence and keys of :attr:`log_epoch`, then call :meth:`log_ready`."""
        group = provider.create(draw(16))
        room = cls(
            group,
            KeySchedule(EpochKey(0, draw(32))),
            group.me,
            draw,
            log=None,
            now_ms=now_ms,
            signer=Signer(key, draw(32)),
        )
        room.people[room.me.id] = Person(room.me.id, name, avatar)
        return room

    def log_ready(self, address: bytes, incarnation: bytes, now_ms: int) -> None:
        """The log exists, with the fence and keys of :attr:`log_epoch`. Again, at another node, to move the room."""
        first = self.log is None
        self._begin_log(LogStart(address, incarnation, 0, b""))
        self._forget_after = 0
        epoch = self.log_epoch
        self._outputs += [
            UseLog(address, incarnation, 0),
            UseKeys(epoch.number, epoch.send_key, epoch.read_key),
        ]
        if not first:
            self._tell_moved()
        if self._change is not None:
            self._offer_change()
        self._change_next(now_ms)
        self._pump(now_ms)

    def _tell_moved(self) -> None:
        assert self.log is not None
        for guest in self._guests.values():
            answer = seal_answer(Moved(guest.attempt, self.log), guest.reply_secret, self.draw)
            self._control(guest.replies, answer)

    def _control(self, addresses: tuple[bytes, ...], cells: tuple[bytes, ...]) -> None:
        self._offer_control(_Control(addresses, cells))

    def _offer_control(self, control: _Control) -> None:
        control.next_ms = 0
        token = self._next_token()
        self._controls[token] = control
        self._outputs.append(AppendControl(token, control.addresses, control.cells))

    @property
    def settled(self) -> bool:
        """Whether no commit is on its way."""
        return self._change is None

    @property
    def log_epoch(self) -> EpochKey:
        """The fence and keys that a log has to be created with now: a commit on its way begins its epoch there."""
        previous = self.schedule.previous
        return previous if self._change is not None and previous is not None else self.schedule.current

    # -- who is in

    def admit(self, hello: Hello, now_ms: int) -> None:
        """Let somebody in. Raises RefusedError when the room is full, MalformedError for a bad key package."""
        member_of_key_package(hello.key_package)
        seats = len(self._roster) + len(self._waiting) + (self._change is not None and self._change.hello is not None)
        again = self._member_of_attempt(hello.attempt)
        if seats >= limits.ROOM_MEMBERS_MAX and again is None:
            raise RefusedError("full", "the room is full", hint="Decline as busy, or open a second room.")
        if again is not None:
            self._leaving_members.append(again)
        self._waiting = [each for each in self._waiting if each.attempt != hello.attempt] + [hello]
        self._change_next(now_ms)

    def _member_of_attempt(self, attempt: bytes) -> bytes | None:
        return next((member for member, guest in self._guests.items() if guest.attempt == attempt), None)

    def remove(self, member: bytes, now_ms: int) -> None:
        """Take somebody out: from the next epoch on they can neither read nor write."""
        if member == self.me.id or all(each.id != member for each in self._roster):
            raise UsageError("nobody of that id is here")
        self._leaving_members.append(member)
        self._change_next(now_ms)

    def hand_over(self, member: bytes, now_ms: int) -> None:
        """Name who opens the next group. The room itself stays this host's until it closes."""
        if all(each.id != member for each in self._roster):
            raise UsageError("nobody of that id is here")
        self._enqueue(Handover(member), now_ms, told=False)
        self._pump(now_ms)

    def _depart(self, member: Member, why: str, now_ms: int) -> None:
        super()._depart(member, why, now_ms)
        self._leaving_members.append(member.id)
        self._change_next(now_ms)

    # -- one commit at a time

    def _change_next(self, now_ms: int) -> None:
        # The log before the last commit must be read first: only one old epoch is kept.
        if self._change is not None or self._forget_after or self.closed or self.log is None:
            return
        while self._leaving_members:
            gone = self._leaving_members.pop(0)
            members = [each for each in self._roster if each.id == gone]
            if members:
                ended = self.schedule.current
                self._begin_change(self.group.remove(members).commit, ended, now_ms, removed=gone)
                return
        while self._waiting:
            hello = self._waiting.pop(0)
            ended = self.schedule.current
            try:
                made = self.group.add([hello.key_package])
            except RemoteError:
                self.statistics.refused += 1
                continue
            self._begin_change(made.commit, ended, now_ms, hello=hello, mls_welcome=made.welcome)
            return

    def _begin_change(
        self,
        commit: bytes,
        ended: EpochKey,
        now_ms: int,
        *,
        hello: Hello | None = None,
        mls_welcome: bytes = b"",
        removed: bytes = b"",
    ) -> None:
        cells = self._commit_cells(commit, 0, LABEL, ended)
        self._advance(now_ms)
        self._change = _Change(cells, ended.number, hello, mls_welcome, removed)
        self._offer_change()

    def _offer_change(self) -> None:
        change, epoch = self._change, self.schedule.current
        assert change is not None
        change.token = self._next_token()
        self._outputs.append(AppendCommit(change.token, change.cells, change.ended, epoch.send_key, epoch.read_key))

    def receipted(self, token: int, node: str, incarnation: bytes, seq: int, now_ms: int) -> None:
        if self._change is not None and token == self._change.token:
            self._change_landed(seq, now_ms)
        self._controls.pop(token, None)
        super().receipted(token, node, incarnation, seq, now_ms)

    def append_failed(self, token: int, code: str, why: str, now_ms: int) -> None:
        if self._change is not None and token == self._change.token:
            self._change.token = 0
            self._change.tries += 1
            self._change.next_ms = now_ms + retry_pause(self._change.tries)
        control = self._controls.get(token)
        if control is not None:
            self._control_failed(token, control, code, now_ms)
        super().append_failed(token, code, why, now_ms)

    def _control_failed(self, token: int, control: _Control, code: str, now_ms: int) -> None:
        control.tries += 1
        control.next_ms = now_ms + retry_pause(control.tries)
        if code in FINAL_REFUSALS or control.tries > _CONTROL_TRIES:
            del self._controls[token]  # a member who needs it says Hello again

    def _change_landed(self, seq: int, now_ms: int) -> None:
        change, self._change = self._change, None
        assert change is not None and self.log is not None
        before = self._roster
        self._roster = self.group.roster()
        self._forget_after = seq
        self._outputs.append(self._use_keys())
        if change.hello is not None:
            newcomer = next(each for each in self._roster if each not in before)
            self._let_in(newcomer, change.hello, change.mls_welcome, seq, now_ms)
        if change.removed:
            self._let_go(change.removed)
        if self.after >= seq:
            self._read_past_change(now_ms)

    def _let_in(self, member: Member, hello: Hello, mls_welcome: bytes, seq: int, now_ms: int) -> None:
        assert self.log is not None and self.signer is not None
        me = self.people[self.me.id]
        welcome = make_welcome(
            hello,
            key=self.signer.key,
            group=self.group,
            epoch=self.schedule.current,
            mls_welcome=mls_welcome,
            chain=self.signer.nonce,
            name=me.name,
            avatar=me.avatar,
            log=LogStart(self.log.address, self.log.incarnation, seq, b""),
        )
        self._guests[member.id] = _Guest(hello.attempt, hello.reply_secret, hello.replies)
        answer = seal_answer(welcome_answer(hello, welcome), hello.reply_secret, self.draw)
        self._control(hello.replies, answer)
        name = clean(hello.name) if hello.name else "someone"
        self._meet(Person(member.id, name, hello.avatar.ljust(limits.AVATAR_SIZE, b"\0")))
        self._enqueue(Roster(tuple(self.people.values())), now_ms, told=False)

    def _let_go(self, member: bytes) -> None:
        guest = self._guests.pop(member, None)
        name = self.name_of(member)
        if self.people.pop(member, None) is not None:
            self._emit(events.Left(member, name, "removed"))
        for gone in [each for each in self._inboxes if each.id == member]:
            del self._inboxes[gone]
        if guest is not None:
            self._control(guest.replies, seal_answer(Removed(guest.attempt), guest.reply_secret, self.draw))

    def _read_past_change(self, now_ms: int) -> None:
        self._forget_after = 0
        self._forget_previous()
        self._change_next(now_ms)

    def _read_one(self, seq: int, cell: bytes, now_ms: int) -> None:
        super()._read_one(seq, cell, now_ms)
        if self._forget_after and seq >= self._forget_after:
            self._read_past_change(now_ms)

    def _own_came_back(self, bundle: Bundle, seq: int, now_ms: int) -> None:
        change = self._change
        if bundle.kind is Kind.COMMIT and change is not None and bundle.epoch == change.ended:
            self._change_landed(seq, now_ms)
        super()._own_came_back(bundle, seq, now_ms)

    def _take_commit(self, bundle: Bundle, now_ms: int) -> None:
        # Nobody else commits here, and one's own are known by their id.
        self.statistics.refused += 1

    def _not_opened_at(self, seq: int, now_ms: int) -> None:
        self._remark(Undecryptable((seq,)), now_ms)

    # -- being there

    def _ready_to_send(self) -> bool:
        return super()._ready_to_send() and self._change is None

    def _spoke(self, now_ms: int) -> None:
        super()._spoke(now_ms)
        self._spoke_ms = now_ms

    def _seen_pause(self) -> int:
        return limits.SEEN_HOST_MS

    def tick(self, now_ms: int) -> None:
        change = self._change
        if change is not None and not change.token and now_ms >= change.next_ms:
            self._offer_change()
        for token, control in list(self._controls.items()):
            if control.next_ms and now_ms >= control.next_ms:
                del self._controls[token]
                self._offer_control(control)
        super().tick(now_ms)
        if not self.closed and now_ms >= self._spoke_ms + limits.HEARTBEAT_MS:
            self._remark(Heartbeat(self.epoch, self.schedule.current.digest), now_ms)

    def _timers(self) -> list[int | None]:
        due = super()._timers()
        if self._ready_to_send():
            due.append(self._spoke_ms + limits.HEARTBEAT_MS)
        if self._change is not None and not self._change.token:
            due.append(self._change.next_ms)
        due += [control.next_ms for control in self._controls.values() if control.next_ms]
        return due

    # -- keeping

    def _fields(self) -> dict[str, Any]:
        fields = super()._fields()
        fields |= {
            "waiting": [pack(each) for each in self._waiting],
            "goers": list(self._leaving_members),
            "guests": [
                [member, guest.attempt, guest.reply_secret, list(guest.replies)]
                for member, guest in self._guests.items()
            ],
            "forget": self._forget_after,
            "controls": [[list(each.addresses), list(each.cells)] for each in self._controls.values()],
        }
        change = self._change
        if change is not None:
            fields["change"] = [list(change.cells), change.ended, change.mls_welcome, change.removed]
            if change.hello is not None:
                fields["newcomer"] = pack(change.hello)
        return fields

    def _restore(self, fields: dict[str, Any], now_ms: int) -> None:
        self._waiting = [unpack(Hello, each) for each in fields["waiting"]]
        self._leaving_members = list(fields["goers"])
        for member, attempt, secret, replies in fields["guests"]:
            self._guests[member] = _Guest(attempt, secret, tuple(replies))
        self._forget_after = fields["forget"]
        if "change" in fields:
            cells, ended, mls_welcome, removed = fields["change"]
            hello = unpack(Hello, fields["newcomer"]) if "newcomer" in fields else None
            self._change = _Change(tuple(cells), ended, hello, mls_welcome, removed)
            # The roster of before the commit: what it changed is told when it lands.
            self._roster = tuple(each for each in self._roster if hello is None or not _is_newcomer(each, hello))
        super()._restore(fields, now_ms)
        for addresses, control in fields["controls"]:
            self._control(tuple(addresses), tuple(control))
        if self._change is not None:
            self._offer_change()


def _is_newcomer(member: Member, hello: Hello) -> bool:
    return member == member_of_key_package(hello.key_package)
