"""The host's side of a room: who comes in, who goes, who may speak, and who is asked for a word in private.

Only the host commits and only the host's word on manners counts; a co-facilitator asks, and the host's client does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from warmline_protocol import limits
from warmline_protocol.errors import RefusedError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session import events
from warmline_protocol.session.cells import Draw
from warmline_protocol.session.events import OpenLog, UseKeys, UseLog
from warmline_protocol.session.evidence import Signer
from warmline_protocol.session.hello import (
    Hello,
    LogStart,
    Moved,
    Removed,
    make_welcome,
    rules_digest,
    seal_answer,
    welcome_answer,
)
from warmline_protocol.session.keyschedule import EpochKey, KeySchedule
from warmline_protocol.session.messages import (
    Conduct,
    Handover,
    Heartbeat,
    Person,
    Roster,
    Seen,
    Succession,
    Undecryptable,
    clean,
)
from warmline_protocol.session.mls import E2EEProvider, Member
from warmline_protocol.session.mlswire import member_of_key_package
from warmline_protocol.session.room_facilitating import LISTS, Guest, RoomFacilitating
from warmline_protocol.session.room_heads import HEAD_SIZE, log_start
from warmline_protocol.session.xwing import check_public

_PLACES_MAX = 64
_OFTEN_WITHIN_MS = 600_000


@dataclass(frozen=True, slots=True)
class _Rank:
    """What somebody who comes back was before."""

    id: bytes
    voice: bool
    muted: bool
    helper: bool


class HostRoom(RoomFacilitating):
    """The facilitator's room. Its name and avatar are those of the card."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.rules = b""
        """Digest of the rules that everybody must have accepted; empty where there are none."""
        self.heartbeat_ms: int = limits.HEARTBEAT_MS
        self._ranks: dict[bytes, _Rank] = {}
        self._moved_for: set[bytes] = set()
        self._came_back: dict[bytes, int] = {}
        self._back_ms: dict[bytes, list[int]] = {}
        self._unopened: list[int] = []
        self._ask_due_ms = 0
        self._asked_at: dict[int, int] = {}
        self._leaving_log = False
        self._spoke_ms = self.host_seen_ms

    @classmethod
    def open(
        cls,
        provider: E2EEProvider,
        draw: Draw,
        now_ms: int,
        *,
        key: SigningKey,
        name: str,
        avatar: bytes,
        rules: Sequence[str] = (),
        mute_first: bool = False,
    ) -> HostRoom:
        """A room of one. Create its log with fence and keys of :attr:`log_epoch`, then call :meth:`log_ready`."""
        group = provider.create(draw(16))
        schedule = KeySchedule(EpochKey(0, draw(32)))
        room = cls(group, schedule, group.me, draw, log=None, now_ms=now_ms, signer=Signer(key, draw(32)))
        room.people[room.me.id] = Person(room.me.id, name, avatar)
        room.rules = rules_digest(rules) if rules else b""
        room.manners.conduct = Conduct(mute_first=mute_first, slow_ms=0)
        return room

    # -- where the log is

    def log_ready(self, address: bytes, incarnation: bytes, now_ms: int) -> None:
        """The log exists, with the fence and keys of :attr:`log_epoch`. Again, at another node, to move the room."""
        first = self.log is None
        self._recheck.update(self._inboxes)
        self._begin_log(LogStart(address, incarnation, 0, log_start(incarnation)))
        self._unopened.clear()
        self._asked_at.clear()
        self._leaving_log = False
        for guest in self._guests.values():
            guest.after = 0
        epoch = self.log_epoch
        self._outputs += [UseLog(address, incarnation, 0), UseKeys(epoch.number, epoch.send_key, epoch.read_key)]
        if not first:
            self._tell_moved()
            if self._landed is None:
                self._say_all(now_ms)  # who came just before may not have read it in the old one
        if self._landed is not None:  # what it was to be read back from is gone; nothing of before comes any more
            self._landed_at = 0
            self._read_past_change(now_ms)
        if self._change is not None:
            self._offer_change()
        self._change_next(now_ms)
        if not first:
            self._remark(Seen(), now_ms)
        self._pump(now_ms)

    def _tell_moved(self) -> None:
        assert self.log is not None
        for member, guest in self._guests.items():
            self._tell_alone(member, Moved(guest.attempt, self.log))

    def _log_restarted(self, now_ms: int) -> None:
        self._leave_log()

    def _other_log(self, sender: Member, now_ms: int) -> None:
        # The node shows the two of us different logs, or this member says so without cause: once for each of them.
        guest = self._guests.get(sender.id)
        if guest is not None and guest.attempt not in self._moved_for:
            self._moved_for.add(guest.attempt)
            self._leave_log()

    def _leave_log(self) -> None:
        if not self._leaving_log:
            self._leaving_log = True
            self._outputs.append(OpenLog())

    # -- who is in

    def expects(self, attempt: bytes) -> bool:
        """Whether a Hello with this attempt comes from somebody who is in, or was being let in."""
        waiting = [*self._waiting, *(self._change.hellos if self._change is not None else ())]
        return self._member_of_attempt(attempt) is not None or any(each.attempt == attempt for each in waiting)

    def comes_too_often(self, attempt: bytes, now_ms: int) -> bool:
        """Whether this attempt came back more often than any client does by itself. Each time is a commit for all, so
        the host's person is asked before the next."""
        since = now_ms - _OFTEN_WITHIN_MS
        self._back_ms[attempt] = [each for each in self._back_ms.get(attempt, ()) if each > since]
        return len(self._back_ms[attempt]) >= 2 * limits.ROOM_REJOINS_MAX

    def admit(self, hello: Hello, now_ms: int) -> None:
        """Let somebody in. RefusedError: ``full``, ``rules`` (not accepted, or others), ``facilitators`` (a second one
        is needed); MalformedError for a bad key package."""
        member_of_key_package(hello.key_package)
        check_public(hello.kem)  # by the time of the Welcome the commit stands in the log
        again = self._member_of_attempt(hello.attempt)
        if not self.expects(hello.attempt):
            self._check_admission(hello)
        if again is not None:
            self._rank_again(again, hello.attempt)
            self._back_ms.setdefault(hello.attempt, []).append(now_ms)
            self._leaving_members.append(again)
        if not self._waiting:
            self._batch_due_ms = now_ms + limits.ROOM_BATCH_MS
        self._waiting = [each for each in self._waiting if each.attempt != hello.attempt] + [hello]
        self._change_next(now_ms)

    def _check_admission(self, hello: Hello) -> None:
        if self.rules and hello.accepted != self.rules:
            raise RefusedError(
                "rules",
                "they have not accepted this room's rules, or an older text of them",
                hint="Answer them that they knock again, or decline.",
            )
        change = self._change or self._landed
        coming = len(self._waiting) + (0 if change is None else self._not_yet_in(change.hellos))
        seats = len(self._roster) + coming
        if seats >= limits.ROOM_MEMBERS_MAX:
            raise RefusedError("full", "the room is full", hint="Decline as busy, or open a second room.")
        if seats >= limits.ONE_FACILITATOR_SEATS_MAX and not self._helpers_here():
            raise RefusedError(
                "facilitators",
                f"above {limits.ONE_FACILITATOR_SEATS_MAX} people a room needs two facilitators",
                hint="Name somebody who is here, /cofacilitate NAME, or answer busy.",
            )

    def _not_yet_in(self, hellos: Sequence[Hello]) -> int:
        return sum(member_of_key_package(each.key_package) not in self._roster for each in hellos)

    def _rank_again(self, member: bytes, attempt: bytes) -> None:
        conduct = self._conduct
        self._ranks[attempt] = _Rank(
            member, member in conduct.voices, member in conduct.muted, member in conduct.helpers
        )
        # Once is a lost Welcome or a bad day; twice in one log, and it may be the log.
        self._came_back[attempt] = self._came_back.get(attempt, 0) + 1
        if self._came_back[attempt] == 2 and attempt not in self._moved_for:
            self._moved_for.add(attempt)
            self._leave_log()

    def _let_in(self, hellos: Sequence[Hello], mls_welcome: bytes, start: LogStart, now_ms: int) -> None:
        assert self.signer is not None
        me = self.people[self.me.id]
        for hello in hellos:
            welcome = make_welcome(
                hello,
                key=self.signer.key,
                group=self.group,
                epoch=self.schedule.current,
                mls_welcome=mls_welcome,
                chain=self.signer.nonce,
                name=me.name,
                avatar=me.avatar,
                log=start,
            )
            member = member_of_key_package(hello.key_package).id
            self._guests[member] = Guest(hello.attempt, hello.reply_secret, hello.replies, start.after)
            self._control(hello.replies, seal_answer(welcome_answer(hello, welcome), hello.reply_secret, self.draw))
            rank = self._ranks.pop(hello.attempt, None)
            if rank is not None:
                self._same_rank(rank, member)
            name = clean(hello.name) if hello.name else "someone"
            self._meet(Person(member, name, hello.avatar.ljust(limits.AVATAR_SIZE, b"\0")))
            if hello.attempt in self._never_came:
                self._never_came.remove(hello.attempt)
                self._has_gone(member)

    def _same_rank(self, rank: _Rank, member: bytes) -> None:
        conduct = self._conduct

        def renewed(ids: tuple[bytes, ...], held: bool) -> tuple[bytes, ...]:
            return tuple(each for each in ids if each != rank.id) + ((member,) if held else ())

        self.manners.conduct = Conduct(
            conduct.mute_first,
            conduct.slow_ms,
            renewed(conduct.voices, rank.voice),
            renewed(conduct.muted, rank.muted),
            renewed(conduct.helpers, rank.helper),
        )

    def _let_go(self, member: bytes, now_ms: int) -> None:
        guest = self._guests.get(member)
        back = guest is not None and guest.attempt in self._ranks
        person = self.people.pop(member, None)
        for gone in [each for each in self._inboxes if each.id == member]:
            del self._inboxes[gone]
        if person is not None and back:
            self._hold_gone(member, person, now_ms)
        elif person is not None:
            self._emit(events.Left(member, person.name, "removed"))
        if guest is not None and not back:
            self._tell_alone(member, Removed(guest.attempt))
        self._guests.pop(member, None)
        for entry in [each for each in self.outbox.entries.values() if each.told and each.back]:
            if self._nobody_reads(entry.back):
                self.outbox.settle(entry, "refused", why="who was here left and did not confirm it")

    def _say_all(self, now_ms: int) -> None:
        """How this room is kept, without which nobody speaks, and who is here."""
        here = {each.id for each in self._roster}
        self._say_conduct(
            now_ms, **{name: tuple(each for each in getattr(self._conduct, name) if each in here) for name in LISTS}
        )
        self._enqueue(Roster(tuple(self.people.values())), now_ms, told=False)
        self._pump(now_ms)

    def _tell_people(self, now_ms: int) -> None:
        self._say_all(now_ms)
        here = self._roster
        if len(here) > limits.ONE_FACILITATOR_SEATS_MAX and not self._helpers_here():
            self._emit(events.SecondFacilitatorGone(len(here)))

    def remove(self, member: bytes, now_ms: int) -> None:
        """Take somebody out: from the next epoch on they can neither read nor write."""
        self._check_here(member, not_me=True)
        self._leaving_members.append(member)
        self._change_next(now_ms)

    def hand_over(self, member: bytes, now_ms: int) -> None:
        """Name who opens the next group. The room itself stays this host's until it closes."""
        self._check_here(member)
        self._enqueue(Handover(member), now_ms, told=False)
        self._pump(now_ms)

    def succeed(self, card: bytes, now_ms: int) -> None:
        """Say whose card opens the next room for this listing; then :meth:`leave`."""
        self._enqueue(Succession(card), now_ms, told=False)
        self._pump(now_ms)

    def _depart(self, member: Member, why: str, now_ms: int) -> None:
        super()._depart(member, why, now_ms)
        self._leaving_members.append(member.id)  # with all others who left in what is being read

    # -- being there

    def _take_message(self, *arguments: Any) -> None:
        self._epoch_messages += 1
        super()._take_message(*arguments)

    def _not_opened_at(self, seq: int, now_ms: int) -> None:
        self._unopened.append(seq)

    def _batch_read(self, now_ms: int) -> None:
        self._ask_again(now_ms)
        self._change_next(now_ms)

    def _ask_again(self, now_ms: int) -> None:
        """What did not open is not delivered: whoever said it is asked to seal it anew, at most once a second."""
        if not self._unopened or now_ms < self._ask_due_ms:
            return
        self._ask_due_ms = now_ms + limits.SEEN_HOST_MS
        for start in range(0, len(self._unopened), _PLACES_MAX):
            places = tuple(self._unopened[start : start + _PLACES_MAX])
            self._asked_at[self._enqueue(Undecryptable(places), now_ms, told=False).counter] = places[0]
        self._unopened.clear()

    def _vouched(self) -> tuple[int, bytes]:
        # Nobody may take for delivered what has not been asked for yet.
        entries = self.outbox.entries
        self._asked_at = {n: place for n, place in self._asked_at.items() if n in entries and not entries[n].seq}
        seq = min([*self._unopened, *self._asked_at.values()], default=self.heads.seq + 1) - 1
        return seq, (self.heads.at(seq) or self.heads.head)[:HEAD_SIZE]

    def _spoke(self, now_ms: int) -> None:
        super()._spoke(now_ms)
        self._spoke_ms = now_ms

    def _reads_after(self, member: Member) -> int:
        guest = self._guests.get(member.id)
        return 0 if guest is None else guest.after

    def _nobody_reads(self, seq: int) -> bool:
        return not any(guest.after < seq for guest in self._guests.values())

    def _seen_pause(self) -> int:
        return limits.SEEN_HOST_MS

    def tick(self, now_ms: int) -> None:
        self._ask_again(now_ms)
        super().tick(now_ms)
        if not self.closed and now_ms >= self._spoke_ms + self.heartbeat_ms:
            self._remark(Heartbeat(self.epoch, self.schedule.current.digest), now_ms)

    def _timers(self) -> list[int | None]:
        due = super()._timers()
        if self._ready_to_send():
            due.append(self._spoke_ms + self.heartbeat_ms)
            due.append(self._ask_due_ms if self._unopened else None)
        return due

    # -- keeping

    def _fields(self) -> dict[str, Any]:
        guests = [
            [member, guest.attempt, guest.reply_secret, list(guest.replies), guest.after]
            for member, guest in self._guests.items()
        ]
        ranks = [[attempt, each.id, each.voice, each.muted, each.helper] for attempt, each in self._ranks.items()]
        return super()._fields() | {
            "guests": guests,
            "rules": self.rules,
            "ranks": ranks,
            "asked": [[aside, member] for aside, member in self._asked.items()],
            "movedfor": sorted(self._moved_for),
            "back": [[attempt, count] for attempt, count in self._came_back.items()],
        }

    def _restore(self, fields: dict[str, Any], now_ms: int) -> None:
        for member, attempt, secret, replies, after in fields["guests"]:
            self._guests[member] = Guest(attempt, secret, tuple(replies), after)
        self.rules = fields["rules"]
        self._ranks = {attempt: _Rank(*rest) for attempt, *rest in fields["ranks"]}
        self._asked = dict(fields["asked"])
        self._moved_for, self._came_back = set(fields["movedfor"]), dict(fields["back"])
        super()._restore(fields, now_ms)
