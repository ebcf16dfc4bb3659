"""How a room changes who is in: one commit at a time, made by the host.

A commit is applied here first, because the log's next keys follow from the new epoch, and then appended together with
the switch of fence and keys. Until its receipt the room stands still for the host: what it says waits for the new
epoch. The same commit may be offered again after any failure; the node answers with the same receipt. Old keys stay
until everything before the commit has been read; only then is the next one made, and only then do newcomers get their
Welcome, which names the log's chain behind the commit that let them in.

Those who knock within a moment come in by one commit, those who go leave by one, and an empty one renews the keys of a
room in which people have talked for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, RemoteError
from warmline_protocol.session.cells import Bundle, Kind
from warmline_protocol.session.events import AppendCommit, AppendControl
from warmline_protocol.session.hello import Hello, LogStart
from warmline_protocol.session.keyschedule import EpochKey
from warmline_protocol.session.machine import FINAL_REFUSALS
from warmline_protocol.session.mls import Commit
from warmline_protocol.session.mlswire import member_of_key_package
from warmline_protocol.session.outbox import retry_pause
from warmline_protocol.session.room import Room
from warmline_protocol.session.room_hearing import check_roster
from warmline_protocol.session.room_offers import LABEL
from warmline_protocol.wire import pack, unpack

_CONTROL_TRIES = 20


@dataclass(slots=True)
class _Change:
    """A commit between its making and its receipt. After the receipt ``seq`` says where it stands in the log."""

    cells: tuple[bytes, ...]
    ended: int
    hellos: tuple[Hello, ...] = ()
    mls_welcome: bytes = b""
    removed: tuple[bytes, ...] = ()
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


class RoomChanges(Room):
    """The commits of :class:`~.room_host.HostRoom`, and what it sends to members' own queues."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._change: _Change | None = None
        self._landed: _Change | None = None
        self._landed_at = 0
        self._waiting: list[Hello] = []
        self._batch_due_ms = 0
        self._leaving_members: list[bytes] = []
        self._controls: dict[int, _Control] = {}
        self._epoch_since_ms = self.host_seen_ms
        self._epoch_messages = 0

    @property
    def settled(self) -> bool:
        """Whether no commit is on its way, or landed and not read back."""
        return self._change is None and self._landed is None

    @property
    def log_epoch(self) -> EpochKey:
        """The fence and keys that a log has to be created with now: a commit on its way begins its epoch there."""
        previous = self.schedule.previous
        return previous if self._change is not None and previous is not None else self.schedule.current

    # -- making

    def _change_next(self, now_ms: int) -> None:
        # The log before the last commit must be read first: only one old epoch is kept.
        if not self.settled or self.closed or self.log is None:
            return
        goers = [each for each in self._roster if each.id in self._leaving_members]
        self._leaving_members.clear()
        if goers:
            ended = self.schedule.current
            made = self.group.remove(goers)
            self._begin_change(made, ended, now_ms, removed=tuple(each.id for each in goers))
        elif self._waiting and now_ms >= self._batch_due_ms:
            self._add_waiting(now_ms)
        elif self._renewal_due(now_ms):
            ended = self.schedule.current
            self._begin_change(self.group.refresh(), ended, now_ms)

    def _add_waiting(self, now_ms: int) -> None:
        """One commit for as many of those who wait as the engine takes together."""
        ended = self.schedule.current
        while self._waiting:
            batch = list(self._waiting)
            while batch:
                try:
                    made = self.group.add([each.key_package for each in batch])
                except RemoteError:
                    if len(batch) == 1:
                        self.statistics.refused += 1
                        self._waiting.remove(batch[0])
                    batch = batch[: len(batch) // 2]
                    continue
                self._waiting = [each for each in self._waiting if each not in batch]
                self._begin_change(made, ended, now_ms, hellos=tuple(batch))
                return

    def _renewal_due(self, now_ms: int) -> bool:
        # The keys of a room of one protect nobody, and those of a silent one need no renewal.
        if len(self._roster) < 2 or not self._epoch_messages:
            return False
        late = now_ms >= self._epoch_since_ms + limits.REFRESH_MS
        return late or self._epoch_messages >= limits.REFRESH_MESSAGES

    def _begin_change(
        self,
        made: Commit,
        ended: EpochKey,
        now_ms: int,
        *,
        hellos: Sequence[Hello] = (),
        removed: tuple[bytes, ...] = (),
    ) -> None:
        self._check_made(hellos, removed)
        cells = self._commit_cells(made.commit, 0, LABEL, ended)
        self._advance(now_ms)
        self._epoch_since_ms, self._epoch_messages = now_ms, 0
        self._change = _Change(cells, ended.number, tuple(hellos), made.welcome, removed)
        self._offer_change()

    def _check_made(self, hellos: Sequence[Hello], removed: tuple[bytes, ...]) -> None:
        """That the engine made of the group what was asked, whatever engine it is."""
        after = self.group.roster()
        check_roster(self._roster, after, self.me)
        wanted = {each for each in self._roster if each.id not in removed}
        wanted |= {member_of_key_package(each.key_package) for each in hellos}
        if set(after) != wanted:
            raise MalformedError("the engine's commit lets in, or takes out, somebody else")

    def _offer_change(self) -> None:
        change, epoch = self._change, self.schedule.current
        assert change is not None
        change.token = self._next_token()
        self._outputs.append(AppendCommit(change.token, change.cells, change.ended, epoch.send_key, epoch.read_key))

    # -- landing

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

    def _change_landed(self, seq: int, now_ms: int) -> None:
        change, self._change = self._change, None
        assert change is not None
        self._landed, self._landed_at = change, seq
        self._roster = self.group.roster()
        self._outputs.append(self._use_keys())
        for member in change.removed:
            self._let_go(member, now_ms)
        if self.after >= seq:
            self._read_past_change(now_ms)

    def _read_past_change(self, now_ms: int) -> None:
        assert self.log is not None
        change, self._landed = self._landed, None
        assert change is not None
        self._forget_previous()
        head = self.heads.at(self._landed_at) or self.heads.head
        start = LogStart(self.log.address, self.log.incarnation, self._landed_at, head)
        if change.hellos:
            self._let_in(change.hellos, change.mls_welcome, start, now_ms)
        self._tell_people(now_ms)
        self._change_next(now_ms)

    def _read_one(self, seq: int, cell: bytes, now_ms: int) -> None:
        super()._read_one(seq, cell, now_ms)
        if self._landed is not None and seq >= self._landed_at:
            self._read_past_change(now_ms)

    def _own_came_back(self, bundle: Bundle, seq: int, now_ms: int) -> None:
        change = self._change
        if bundle.kind is Kind.COMMIT and change is not None and bundle.epoch == change.ended:
            self._change_landed(seq, now_ms)
        super()._own_came_back(bundle, seq, now_ms)

    def _take_commit(self, bundle: Bundle, now_ms: int) -> None:
        # Nobody else commits here, and one's own are known by their id.
        self.statistics.refused += 1

    def _let_in(self, hellos: Sequence[Hello], mls_welcome: bytes, start: LogStart, now_ms: int) -> None:
        raise NotImplementedError

    def _let_go(self, member: bytes, now_ms: int) -> None:
        raise NotImplementedError

    def _tell_people(self, now_ms: int) -> None:
        raise NotImplementedError

    def _forget_late(self, now_ms: int) -> None:
        """Old keys go on time, whatever became of what was said under them: it is asked for again."""
        if self._change is None and self.schedule.expired(now_ms):
            self._forget_previous()

    # -- members' own queues

    def _control(self, addresses: tuple[bytes, ...], cells: tuple[bytes, ...]) -> None:
        self._offer_control(_Control(addresses, cells))

    def _offer_control(self, control: _Control) -> None:
        control.next_ms = 0
        token = self._next_token()
        self._controls[token] = control
        self._outputs.append(AppendControl(token, control.addresses, control.cells))

    def _control_failed(self, token: int, control: _Control, code: str, now_ms: int) -> None:
        control.tries += 1
        control.next_ms = now_ms + retry_pause(control.tries)
        if code in FINAL_REFUSALS or control.tries > _CONTROL_TRIES:
            del self._controls[token]  # a member who needs it says Hello again

    def _readdress(self, before: tuple[bytes, ...], after: tuple[bytes, ...]) -> None:
        """What waits for a member goes to its new queues."""
        for control in self._controls.values():
            if control.addresses == before:
                control.addresses = after

    # -- time

    def _ready_to_send(self) -> bool:
        return super()._ready_to_send() and self._change is None

    def tick(self, now_ms: int) -> None:
        change = self._change
        if change is not None and not change.token and now_ms >= change.next_ms:
            self._offer_change()
        for token, control in list(self._controls.items()):
            if control.next_ms and now_ms >= control.next_ms:
                del self._controls[token]
                self._offer_control(control)
        self._forget_late(now_ms)
        self._change_next(now_ms)
        super().tick(now_ms)

    def _timers(self) -> list[int | None]:
        due = super()._timers()
        if self._change is not None and not self._change.token:
            due.append(self._change.next_ms)
        if self.settled and self.log is not None:
            due.append(self._batch_due_ms if self._waiting else None)
            if self._epoch_messages and len(self._roster) > 1:
                due.append(self._epoch_since_ms + limits.REFRESH_MS)
        due.append(self.schedule.previous_until_ms if self._change is None else None)
        due += [control.next_ms for control in self._controls.values() if control.next_ms]
        return due

    # -- keeping

    def _fields(self) -> dict[str, Any]:
        fields = super()._fields()
        fields |= {
            "waiting": [pack(each) for each in self._waiting],
            "goers": list(self._leaving_members),
            "landedat": self._landed_at,
            "controls": [[list(each.addresses), list(each.cells)] for each in self._controls.values()],
            "since": [self._epoch_since_ms, self._epoch_messages, self._batch_due_ms],
        }
        for name, change in (("change", self._change), ("landed", self._landed)):
            if change is not None:
                hellos = [pack(each) for each in change.hellos]
                fields[name] = [list(change.cells), change.ended, hellos, change.mls_welcome, list(change.removed)]
        return fields

    def _restore(self, fields: dict[str, Any], now_ms: int) -> None:
        self._waiting = [unpack(Hello, each) for each in fields["waiting"]]
        self._leaving_members = list(fields["goers"])
        self._landed_at = fields["landedat"]
        self._epoch_since_ms, self._epoch_messages, self._batch_due_ms = fields["since"]
        self._change, self._landed = _change(fields.get("change")), _change(fields.get("landed"))
        if self._change is not None:
            # The roster of before the commit: what it changed is told when it lands.
            new = {member_of_key_package(each.key_package) for each in self._change.hellos}
            self._roster = tuple(each for each in self._roster if each not in new)
        super()._restore(fields, now_ms)
        for addresses, control in fields["controls"]:
            self._control(tuple(addresses), tuple(control))
        if self._change is not None:
            self._offer_change()


def _change(fields: Any) -> _Change | None:
    if fields is None:
        return None
    cells, ended, hellos, mls_welcome, removed = fields
    return _Change(tuple(cells), ended, tuple(unpack(Hello, each) for each in hellos), mls_welcome, tuple(removed))
