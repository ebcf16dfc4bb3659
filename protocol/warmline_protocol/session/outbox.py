"""What this side has said and must account for: no entry leaves unexplained.

An entry is kept until the other side acknowledged it, until its time ran out, or until it cannot go any more, and
the person hears which. It knows which node holds it and where it is on its way, not how: routes are numbers here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.session.events import FINAL, MessageState, State
from warmline_protocol.session.messages import Evidence
from warmline_protocol.wire import pack, unpack

UNSEALED = -1


def retry_pause(tries: int) -> int:
    """Milliseconds to wait after so many failures."""
    return min(limits.RETRY_FIRST_MS << min(tries - 1, 16), limits.RETRY_MAX_MS)


@dataclass(slots=True)
class Entry:
    """One numbered message of this side, and what has become of it."""

    id: bytes
    counter: int
    body: bytes
    created_ms: int
    expires_ms: int
    told: bool
    """Whether the person hears of its state: texts yes, names and farewells no."""
    evidence: Evidence | None = None
    state: State = "waiting"
    sealed: bytes = b""
    sealed_epoch: int = UNSEALED
    fixed: tuple[tuple[bytes, ...], ...] = ()
    """Cells per route that may not be sealed again: a commit's key is gone soon after."""
    holders: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    """Route to (node, incarnation of its log)."""
    in_flight: set[int] = field(default_factory=set)
    next_ms: dict[int, int] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    offered_ms: int = 0
    seq: int = 0
    """Rooms: where it stands in the log, as its node says; 0 while it does not."""
    back: int = 0
    """Rooms: where this side has read it back; 0 before that."""

    @property
    def open(self) -> bool:
        return self.state not in FINAL

    @property
    def held_by(self) -> tuple[str, ...]:
        """The nodes that are known to hold it."""
        return tuple(node for node, _ in self.holders.values() if node)

    def unseal(self) -> None:
        """Seal it anew and offer it again everywhere: what was offered does not open."""
        self.sealed, self.sealed_epoch = b"", UNSEALED
        self.holders.clear()
        self.in_flight.clear()
        self.next_ms.clear()
        self.back = 0


class Outbox:
    """Entries by counter, oldest first. ``news`` gathers the state changes that the person should hear of."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.next_counter = 1
        self.news: list[MessageState] = []

    def add(self, id: bytes, body: bytes, now_ms: int, *, told: bool, limited: bool = True) -> Entry:
        """Number a message. :class:`UsageError` when too many are still open, but never for what is not ``told``."""
        if told and limited and len(self.entries) >= limits.OUTBOX_MAX:
            raise UsageError(
                f"{limits.OUTBOX_MAX} messages are still on their way",
                hint="Wait until some are delivered, or until they expire.",
            )
        entry = Entry(id, self.next_counter, body, now_ms, now_ms + limits.MESSAGE_TTL_MS, told)
        self.next_counter += 1
        self.entries[entry.counter] = entry
        self._tell(entry)
        return entry

    @property
    def floor(self) -> int:
        """The lowest counter that may still arrive."""
        return next(iter(self.entries), self.next_counter)

    def settle(self, entry: Entry, state: State, *, by: tuple[str, ...] = (), why: str = "") -> None:
        """Give an entry its state; a final one ends it."""
        if not entry.open:
            return
        entry.state = state
        if not entry.open:
            self.entries.pop(entry.counter, None)
        self._tell(entry, by, why)

    def _tell(self, entry: Entry, by: tuple[str, ...] = (), why: str = "") -> None:
        if entry.told:
            until_ms = entry.expires_ms if entry.state == "held" else 0
            self.news.append(MessageState(entry.id, entry.state, by, why, until_ms))

    def held(self, entry: Entry, route: int, node: str, incarnation: bytes) -> None:
        """A node receipted it."""
        entry.in_flight.discard(route)
        entry.holders[route] = (node, incarnation)
        entry.tries.pop(route, None)
        self.settle(entry, "held", by=entry.held_by)

    def failed(self, entry: Entry, route: int, now_ms: int) -> None:
        """A try failed; the next one waits twice as long."""
        entry.in_flight.discard(route)
        tries = entry.tries[route] = entry.tries.get(route, 0) + 1
        entry.next_ms[route] = now_ms + retry_pause(tries)

    def log_restarted(self, route: int, incarnation: bytes) -> None:
        """The log behind ``route`` has a new life: what its old one held may be gone."""
        for entry in self.entries.values():
            held = entry.holders.get(route)
            if held is not None and held[1] != incarnation:
                self.release(entry, route)

    def release(self, entry: Entry, route: int) -> None:
        """What was held, or on its way, by this route is not any more: it may be offered there afresh."""
        entry.in_flight.discard(route)
        entry.next_ms.pop(route, None)
        entry.tries.pop(route, None)
        if entry.holders.pop(route, None) is not None and not entry.holders:
            self.settle(entry, "waiting", why="the node that held it lost it")

    def acknowledge(self, upto: int, beyond: tuple[int, ...], by: tuple[str, ...]) -> None:
        """The other side has these."""
        for counter in [each for each in self.entries if each <= upto or each in beyond]:
            self.settle(self.entries[counter], "delivered", by=by)

    def expire(self, now_ms: int) -> None:
        for entry in [each for each in self.entries.values() if now_ms >= each.expires_ms]:
            self.settle(entry, "expired", why="nobody confirmed it in time")

    def refuse_all(self, why: str) -> None:
        """Nothing that is open can go any more."""
        for entry in list(self.entries.values()):
            self.settle(entry, "refused", why=why)

    def close(self, why: str, *, fetched: bool) -> None:
        """This side's account ends. ``fetched``: whether somebody may still come for what nodes hold."""
        for entry in list(self.entries.values()):
            if fetched and entry.holders:
                del self.entries[entry.counter]
                entry.state = "held"
                self._tell(entry, entry.held_by, why)
            else:
                self.settle(entry, "refused", why=why)

    def take_news(self) -> list[MessageState]:
        news, self.news = self.news, []
        return news

    def to_fields(self) -> dict[str, Any]:
        return {"next": self.next_counter, "entries": [_entry_fields(each) for each in self.entries.values()]}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Outbox:
        """What was on its way at the snapshot is offered again: receivers drop doubles."""
        outbox = cls()
        outbox.next_counter = fields["next"]
        outbox.entries = {each["counter"]: _entry(each) for each in fields["entries"]}
        return outbox


def _entry_fields(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": entry.id,
        "counter": entry.counter,
        "body": entry.body,
        "created": entry.created_ms,
        "expires": entry.expires_ms,
        "told": entry.told,
        "state": entry.state,
        "sealed": entry.sealed,
        "epoch": entry.sealed_epoch,
        "fixed": [list(cells) for cells in entry.fixed],
        "holders": [[route, node, incarnation] for route, (node, incarnation) in sorted(entry.holders.items())],
        "seq": entry.seq,
        "back": entry.back,
    }
    if entry.evidence is not None:
        fields["evidence"] = pack(entry.evidence)
    return fields


def _entry(fields: dict[str, Any]) -> Entry:
    return Entry(
        id=fields["id"],
        counter=fields["counter"],
        body=fields["body"],
        created_ms=fields["created"],
        expires_ms=fields["expires"],
        told=fields["told"],
        evidence=unpack(Evidence, fields["evidence"]) if "evidence" in fields else None,
        state=fields["state"],
        sealed=fields["sealed"],
        sealed_epoch=fields["epoch"],
        fixed=tuple(tuple(cells) for cells in fields["fixed"]),
        holders={route: (node, incarnation) for route, node, incarnation in fields["holders"]},
        seq=fields["seq"],
        back=fields["back"],
    )
