"""What the one-to-one session and the room have in common: sealing, opening, evidence, tokens, snapshots.

Both are machines in the manner of h11: calls with a time go in (a text typed, cells received, a receipt, a failure, a
tick), and :meth:`Machine.take` hands out what is to be done and what the person should hear. A machine never waits,
never looks at a clock and draws randomness only from what it was given (its MLS engine excepted).

**Crash safety is an order of things.** Call the machine; save :meth:`snapshot` if anything is saved at all; only then
do what the outputs say, and only then acknowledge received cells to their queue. Whatever a crash cuts off is
offered or read again, and doubles are dropped by their counter.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from warmline_protocol.errors import BadSignatureError, MalformedError, RemoteError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session import cells
from warmline_protocol.session.cells import Bundle, Draw, Fragment, Kind
from warmline_protocol.session.events import Closed, Event, Output, event_fields, event_of, is_lasting, told_again
from warmline_protocol.session.evidence import Signer, Verifier
from warmline_protocol.session.keyschedule import EXPORTER_LABEL, EpochKey, KeySchedule
from warmline_protocol.session.messages import Body, Inner, pack_body, pack_inner, unpack_inner
from warmline_protocol.session.mls import Group, Member
from warmline_protocol.session.outbox import Entry, Outbox

FINAL_REFUSALS = frozenset({"denied", "unknown", "kind"})
"""Answers of a queue node after which there is no use in trying that queue again."""
NOBODY_LEFT = frozenset({"peer left", "host gone"})
"""Ends after which nobody comes for what nodes hold."""
SNAPSHOT_MAX = 16 << 20


@dataclass(slots=True)
class Statistics:
    """Counts, for tests and for a person who wonders."""

    cells: int = 0
    unopened: int = 0
    doubles: int = 0
    refused: int = 0
    """Bundles that opened and were not what a member may say."""
    sealed_again: int = 0
    unheard: int = 0
    """Texts that were not shown because of a room's manners."""


class Machine:
    """State that both kinds of session share. Use :class:`~.pair.Pair` or :class:`~.room.Room`."""

    def __init__(
        self,
        group: Group,
        schedule: KeySchedule,
        host: Member,
        draw: Draw,
        *,
        signer: Signer | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        self.group = group
        self.schedule = schedule
        self.host = host
        self.draw = draw
        self.signer = signer
        self.verifier = verifier
        self.outbox = Outbox()
        self.closed = ""
        self.statistics = Statistics()
        self.journal = False
        """Whether what was told, and not yet confirmed as shown, is kept for a restart."""
        self._untold: deque[Event] = deque()
        self._joiner = cells.Joiner()
        self._outputs: list[Output] = []
        self._events: list[Event] = []
        self._on_way: dict[int, Any] = {}
        self._token = 0

    @property
    def me(self) -> Member:
        return self.group.me

    @property
    def is_host(self) -> bool:
        return self.me == self.host

    @property
    def epoch(self) -> int:
        """Our own count of epochs."""
        return self.schedule.current.number

    def take(self) -> tuple[list[Output], list[Event]]:
        """What to do and what to tell, since the last call."""
        outputs, events = self._outputs, self._events + list(self.outbox.take_news())
        self._outputs, self._events = [], []
        if self.journal:
            self._untold += [each for each in events if is_lasting(each)]
        return outputs, events

    def told(self, count: int) -> None:
        """The first ``count`` lasting events that were not confirmed are: a restart need not tell them again."""
        for _ in range(min(count, len(self._untold))):
            self._untold.popleft()

    @property
    def untold(self) -> int:
        """How many lasting events nobody has confirmed."""
        return len(self._untold)

    @property
    def quiet(self) -> bool:
        """Whether nothing of what was said is on its way to a node, last acks included."""
        return not self._on_way

    def _emit(self, *events: Event) -> None:
        # State changes are gathered in the outbox; this keeps them in order with everything else.
        self._events += [*self.outbox.take_news(), *events]

    def _close(self, why: str) -> None:
        if self.closed:
            return
        self.closed = why
        self.outbox.close(why, fetched=why not in NOBODY_LEFT)
        self._emit(Closed(why))

    def _next_token(self) -> int:
        self._token += 1
        return self._token

    # -- saying

    def _evidence(self, counter: int, body: bytes) -> Any:
        return None if self.signer is None else self.signer.sign(counter, body, self.draw(16))

    def _enqueue(self, body: Body, now_ms: int, *, told: bool) -> Entry:
        packed = pack_body(body)
        entry = self.outbox.add(self.draw(16), packed, now_ms, told=told)
        entry.evidence = self._evidence(entry.counter, packed)
        return entry

    def _seal_entry(
        self, entry: Entry, label: str, seen: int | None = None, head: bytes | None = None
    ) -> tuple[bytes, ...]:
        """Cells of a numbered message: one MLS sealing per epoch, fresh outer salts at every offer."""
        if entry.sealed_epoch != self.epoch:
            if entry.sealed:
                self.statistics.sealed_again += 1
            inner = Inner(
                entry.id, entry.counter, self.outbox.floor, entry.created_ms, entry.body, seen, entry.evidence, head
            )
            entry.sealed, entry.sealed_epoch = self.group.seal(pack_inner(inner)), self.epoch
        return self._cells(entry.sealed, entry.counter, label)

    def _seal_remark(self, body: Body, now_ms: int, seen: int | None = None, head: bytes | None = None) -> bytes:
        """The MLS message of something that need not arrive."""
        packed = pack_body(body)
        inner = Inner(self.draw(16), 0, self.outbox.floor, now_ms, packed, seen, self._evidence(0, packed), head)
        return self.group.seal(pack_inner(inner))

    def _cells(self, sealed: bytes, counter: int, label: str) -> tuple[bytes, ...]:
        bundle = Bundle(Kind.APPLICATION, self.epoch, counter, self._bundle_id(), sealed)
        return cells.seal(bundle, self.schedule.current.key, label, self.draw)

    def _bundle_id(self) -> bytes:
        return self.draw(8)

    def _commit_cells(self, commit: bytes, counter: int, label: str, epoch: EpochKey) -> tuple[bytes, ...]:
        """Cells of a commit, under the key of the epoch that it ends."""
        bundle = Bundle(Kind.COMMIT, epoch.number, counter, self._bundle_id(), commit)
        return cells.seal(bundle, epoch.key, label, self.draw)

    def _advance(self, now_ms: int) -> None:
        """The group is in a new epoch: so is the outer key."""
        self.schedule.advance(self.group.export(EXPORTER_LABEL, b"", 32), now_ms)

    def _forget_previous(self) -> None:
        if self.schedule.forget_previous():
            self.group.forget_previous()

    # -- hearing

    def _fragment(self, cell: bytes, label: str) -> Fragment | None:
        self.statistics.cells += 1
        return cells.open_any(cell, self.schedule.candidates(), label)

    def _open(self, bundle: Bundle) -> tuple[Member, Inner]:
        """The message in an application bundle; RemoteError when it is not one that its sender may send."""
        opened = self.group.open(bundle.payload)
        inner = unpack_inner(opened.data)
        if inner.counter != bundle.counter:
            raise MalformedError("a bundle whose counter is not its message's")
        if opened.sender == self.host and self.verifier is not None:
            self.verifier.check(inner)
        return opened.sender, inner

    def _hear(self, bundle: Bundle) -> tuple[Member, Inner] | None:
        """As :meth:`_open`, with its failures settled: None when there is nothing to hear."""
        try:
            return self._open(bundle)
        except BadSignatureError:
            self._close("unproven")
        except RemoteError:
            self.statistics.refused += 1
            self._not_opened(bundle)
        return None

    def _not_opened(self, bundle: Bundle) -> None:
        """A bundle of this group whose message does not open."""

    # -- keeping

    def _base_fields(self) -> dict[str, Any]:
        schedule = self.schedule
        fields: dict[str, Any] = {
            "group": self.group.snapshot(),
            "host": [self.host.id, self.host.key],
            "epoch": schedule.current.number,
            "key": schedule.current.key,
            "outbox": self.outbox.to_fields(),
            "parts": [_fragment_fields(each) for each in self._joiner.fragments()],
            "token": self._token,
            "closed": self.closed,
            "journal": self.journal,
            "untold": [event_fields(each) for each in self._untold],
        }
        if schedule.previous is not None:
            fields["previous"] = [schedule.previous.number, schedule.previous.key, schedule.previous_until_ms or 0]
        if self.signer is not None:
            fields["chain"] = [self.signer.nonce, self.signer.head]
        if self.verifier is not None:
            fields["proof"] = self.verifier.to_fields()
        return fields

    def _restore_base(self, fields: dict[str, Any]) -> None:
        self.outbox = Outbox.from_fields(fields["outbox"])
        self._token = fields["token"]
        self.closed = fields["closed"]
        self.journal = fields["journal"]
        self._events = [told_again(event_of(each)) for each in fields["untold"]]
        for part in fields["parts"]:
            self._joiner.add(_fragment(part))


def base_arguments(fields: dict[str, Any], key: SigningKey | None) -> dict[str, Any]:
    """Keyword arguments of :class:`Machine` from a snapshot; ``key`` is the supporter's, which is kept elsewhere."""
    current = EpochKey(fields["epoch"], fields["key"])
    previous = fields.get("previous")
    schedule = KeySchedule(
        current,
        None if previous is None else EpochKey(previous[0], previous[1]),
        None if previous is None else previous[2],
    )
    signer = verifier = None
    if "chain" in fields and key is not None:
        signer = Signer(key, *fields["chain"])
    if "proof" in fields:
        verifier = Verifier.from_fields(fields["proof"])
    return {"schedule": schedule, "host": Member(*fields["host"]), "signer": signer, "verifier": verifier}


def _fragment_fields(part: Fragment) -> list[Any]:
    return [int(part.kind), part.epoch, part.counter, part.bundle, part.index, part.count, part.data]


def _fragment(fields: list[Any]) -> Fragment:
    kind, *rest = fields
    return Fragment(Kind(kind), *rest)
