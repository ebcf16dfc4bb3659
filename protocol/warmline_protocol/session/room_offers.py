"""The sending half of a room: one append at a time to the shared log, and who has read how far.

What waits goes together, sixteen cells at most: a node takes an append whole or not at all.

"Delivered" cannot mean everybody: fifty acks for every message would be most of the traffic. A member's message is
delivered when the *host* has read it; the host's when *somebody* has. Readers say how far they have read with
whatever they send (``Inner.seen``), or after a while with nothing else; members wait a random time for their turn,
and the first one spares the others.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from warmline_protocol import limits
from warmline_protocol.session.cells import Draw, cells_needed
from warmline_protocol.session.events import Append
from warmline_protocol.session.evidence import Signer, Verifier
from warmline_protocol.session.hello import LogStart
from warmline_protocol.session.inbox import Inbox
from warmline_protocol.session.keyschedule import KeySchedule
from warmline_protocol.session.machine import Machine
from warmline_protocol.session.messages import Body, Person
from warmline_protocol.session.mls import Group, Member
from warmline_protocol.session.outbox import Entry
from warmline_protocol.session.room_heads import Heads
from warmline_protocol.session.room_manners import Manners

LABEL = "log"
_IDS_KEPT = 1024
_OWN_KEPT = 512


@dataclass(slots=True)
class _Part:
    """One message of an append, and how many of its cells are this one's. ``entry`` is None where it is sealed anew
    since: what becomes of these cells counts for nothing."""

    entry: Entry | None
    cells: int


class RoomOffers(Machine):
    """What a member, the host included, says to a room's log."""

    def __init__(
        self,
        group: Group,
        schedule: KeySchedule,
        host: Member,
        draw: Draw,
        *,
        log: LogStart | None,
        now_ms: int,
        signer: Signer | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        super().__init__(group, schedule, host, draw, signer=signer, verifier=verifier)
        self.log = log
        self.heads = Heads() if log is None else Heads(log.after, log.head)
        self.manners = Manners()
        self.read_only_ms: int = limits.ROOM_READ_ONLY_MS
        self.closed_ms: int = limits.ROOM_CLOSED_MS
        """Silence of the host after which nothing can be said, and after which the room is over."""
        self.people: dict[bytes, Person] = {}
        self.read_only = False
        self.host_seen_ms = now_ms
        self._roster = group.roster()
        self._inboxes: dict[Member, Inbox] = {}
        self._ids: deque[bytes] = deque(maxlen=_IDS_KEPT)
        self._own: deque[bytes] = deque(maxlen=_OWN_KEPT)
        self._on_way: dict[int, list[_Part]] = {}
        self._seen_due_ms: int | None = None
        self._seen_for = self._seen_epoch = 0
        self._since: dict[bytes, int] = {}
        """Member to the epoch in which it came, of those who came later than this side."""
        self._host_read = 0
        self._leaving = False
        self.out_of_step = False

    @property
    def after(self) -> int:
        """The last cell that was read."""
        return self.heads.seq

    def name_of(self, member: bytes) -> str:
        """How a member is called here; empty before it was introduced."""
        person = self.people.get(member)
        return "" if person is None else person.name

    # -- offering

    def _ready_to_send(self) -> bool:
        return not (self.closed or self.read_only or self.log is None or self.out_of_step)

    def _vouched(self) -> tuple[int, bytes]:
        """How far this side has read what opened, and the chain's short head there."""
        return self.heads.seq, self.heads.short

    def _may_go(self, entry: Entry) -> bool:
        """A newcomer's words wait until it knows the room's manners; a leave or a roster never waits."""
        return not entry.told or self.is_host or self.manners.conduct is not None

    def _pump(self, now_ms: int) -> None:
        """One append at a time: the log's order is then the sender's own."""
        if not self._ready_to_send() or any(entry.in_flight for entry in self.outbox.entries.values()):
            return
        cells: tuple[bytes, ...] = ()
        parts: list[_Part] = []
        for entry in self.outbox.entries.values():
            if entry.seq or not self._may_go(entry):
                continue
            if now_ms < entry.next_ms.get(0, 0):
                break
            made = self._seal_entry(entry, LABEL, *self._vouched())
            if len(cells) + len(made) > limits.QUEUE_CELLS_MAX:
                break
            cells += made
            parts.append(_Part(entry, len(made)))
        if parts:
            for part in parts:
                assert part.entry is not None
                part.entry.in_flight.add(0)
            self._append(cells, parts)
            self._spoke(now_ms)

    def _append(self, cells: tuple[bytes, ...], parts: list[_Part]) -> None:
        token = self._next_token()
        self._on_way[token] = parts
        self._outputs.append(Append(token, 0, cells, self.epoch))

    def _remark(self, body: Body, now_ms: int) -> None:
        if self._ready_to_send():
            self._remark_now(body, now_ms)

    def _remark_now(self, body: Body, now_ms: int) -> None:
        self._append(self._cells(self._seal_remark(body, now_ms, *self._vouched()), 0, LABEL), [])
        self._spoke(now_ms)

    def _spoke(self, now_ms: int) -> None:
        self._seen_due_ms = None

    def _bundle_id(self) -> bytes:
        # One's own messages come back by the log and cannot be opened: they are known by this.
        mine = self.draw(8)
        self._own.append(mine)
        return mine

    # -- what the log's node answers

    def receipted(self, token: int, node: str, incarnation: bytes, seq: int, now_ms: int) -> None:
        """The cells are on the disk; the last one is number ``seq``."""
        parts = self._on_way.pop(token, [])
        place = seq - sum(part.cells for part in parts)
        for part in parts:
            place += part.cells
            entry = part.entry
            if entry is not None and entry.open and entry.in_flight:
                entry.seq = place
                self.outbox.held(entry, 0, node, incarnation)
        self._pump(now_ms)

    def append_failed(self, token: int, code: str, why: str, now_ms: int) -> None:
        """Not there, or nobody knows. ``fenced``: the commit that says why is in the log."""
        for part in self._on_way.pop(token, []):
            if part.entry is not None and part.entry.open:
                self.outbox.failed(part.entry, 0, now_ms)
        self._pump(now_ms)

    def _begin_log(self, log: LogStart) -> None:
        self.log, self.heads = log, Heads(log.after, log.head)
        self._host_read = self._seen_for = 0
        self._on_way.clear()
        for entry in self.outbox.entries.values():
            entry.unseal()
            entry.seq = 0

    def _offer_again(self, entry: Entry) -> None:
        entry.unseal()
        entry.seq = 0
        for parts in self._on_way.values():
            for part in parts:
                if part.entry is entry:
                    part.entry = None

    def _offer_dropped(self, now_ms: int) -> None:
        """Offer again what the node receipted and then left out of the log."""
        for entry in self.outbox.entries.values():
            if 0 < entry.seq <= self.after and not entry.back:
                self.outbox.release(entry, 0)
                self._offer_again(entry)
                self.outbox.failed(entry, 0, now_ms)

    def _seal_again(self, places: tuple[int, ...]) -> None:
        for entry in self.outbox.entries.values():
            last = entry.seq or entry.back
            first = last - cells_needed(len(entry.sealed)) + 1
            if last and any(first <= place <= last for place in places):
                self._offer_again(entry)

    # -- who has read how far

    def _take_seen(self, sender: Member, seen: int) -> None:
        if sender != self.host and not self.is_host:
            if seen >= self._seen_for and self._since.get(sender.id, 0) <= self._seen_epoch:
                self._seen_due_ms = None  # somebody else, who was here by then, has told the host
            return
        by = (self.name_of(sender.id) or "someone here",)
        # What counts is where one has read it oneself: a node may give a receipt for what it never shows anybody.
        first = self._reads_after(sender)
        for entry in [each for each in self.outbox.entries.values() if first < each.back <= seen]:
            self.outbox.settle(entry, "delivered", by=by)

    def _reads_after(self, member: Member) -> int:
        """The place in the log up to which this member was not in the room yet, and can read nothing."""
        return 0

    def _nobody_reads(self, seq: int) -> bool:
        """Whether what stands at this place will never be read by anybody else."""
        return False

    def _owe_seen(self, seq: int, now_ms: int) -> None:
        self._seen_for = seq
        if self._seen_due_ms is None:
            self._seen_epoch = self.epoch
            self._seen_due_ms = now_ms + self._seen_pause()

    def _seen_pause(self) -> int:
        span = limits.SEEN_MEMBER_MS * len(self._roster)
        return 100 + int.from_bytes(self.draw(4)) % span
