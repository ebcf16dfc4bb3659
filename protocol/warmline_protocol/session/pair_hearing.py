"""The receiving half of a one-to-one session: cells in any order, doubles and rubbish included, become what is shown.

There is no common order here, so everything settles by counters. A cell that no key opens may come from an epoch whose
commit is still on its way by the other queue: a few are kept and tried again after the next commit. A message that
opens outside but not inside is asked for again.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from warmline_protocol import limits
from warmline_protocol.errors import RemoteError
from warmline_protocol.session import events
from warmline_protocol.session.cells import Bundle, Draw, Fragment, Kind
from warmline_protocol.session.events import PeerBack
from warmline_protocol.session.inbox import Release
from warmline_protocol.session.keyschedule import KeySchedule
from warmline_protocol.session.messages import (
    Ack,
    Body,
    Inner,
    Introduce,
    Leave,
    Part,
    Requeue,
    Text,
    Undecryptable,
    clean,
    unpack_body,
)
from warmline_protocol.session.mls import Group, Member
from warmline_protocol.session.pair_offers import PairOffers

_IDS_KEPT = 512
_STUCK_CELLS = 3


class PairHearing(PairOffers):
    """Adds hearing to :class:`~.pair_offers.PairOffers`; the peer's name is the last that it gave itself."""

    def __init__(
        self,
        group: Group,
        schedule: KeySchedule,
        host: Member,
        draw: Draw,
        *,
        peer_name: str,
        peer_avatar: bytes,
        **rest: Any,
    ) -> None:
        super().__init__(group, schedule, host, draw, **rest)
        self.peer_name = peer_name
        self.peer_avatar = peer_avatar
        self.met = False
        self.away = False
        self._ids: deque[bytes] = deque(maxlen=_IDS_KEPT)
        self._unopened: deque[bytes] = deque(maxlen=limits.UNOPENED_CELLS_MAX)
        self._asked_ms: dict[int, int] = {}
        self._again: list[int] = []
        self._asking: list[int] = []
        self._gone = False
        self._stuck_since_ms: int | None = None
        self._stuck_cells = 0
        self.out_of_step = False

    # -- hearing

    def receive(self, cells: list[bytes], now_ms: int) -> None:
        """Cells of either of this side's queues, in any order, doubles and rubbish included."""
        ack = again = False
        for cell in cells:
            fresh, double = self._receive_one(cell, now_ms)
            ack |= fresh
            again |= double
        self._settle_received(now_ms, ack=ack, again=again)

    def _receive_one(self, cell: bytes, now_ms: int) -> tuple[bool, bool]:
        if self.closed:
            return False, False
        fragment = self._fragment(cell, self._label_in)
        if fragment is None:
            self.statistics.unopened += 1
            if not self.is_host:
                self._unopened.append(cell)
                self._notice_stuck(now_ms)
            return False, False
        if fragment.epoch == self.epoch:
            self._stuck_since_ms = None
        return self._take_fragment(fragment, now_ms)

    def _take_fragment(self, fragment: Fragment, now_ms: int) -> tuple[bool, bool]:
        """(something new that wants an ack, a double that was acknowledged in vain)."""
        bundle = self._joiner.add(fragment)
        if bundle is None:
            return False, False
        if bundle.counter and self._inbox.seen(bundle.counter):
            self.statistics.doubles += 1
            return False, True
        if bundle.counter and self._inbox.too_far(bundle.counter):
            self.statistics.refused += 1
            return False, False
        match bundle.kind:
            case Kind.APPLICATION:
                return self._take_message(bundle, now_ms), False
            case Kind.COMMIT:
                return self._take_commit(bundle, now_ms), False
            case _:
                self.statistics.refused += 1
                return False, False

    def _take_message(self, bundle: Bundle, now_ms: int) -> bool:
        heard = self._hear(bundle)
        if heard is None:
            return False
        sender, inner = heard
        if sender != self.peer:
            self.statistics.refused += 1
            return False
        self._spoken(bundle.epoch)
        self._inbox.raise_floor(inner.floor)
        if inner.counter == 0:
            self._take_remark(inner, now_ms)
            return False
        self._inbox.add(inner.counter, inner)
        return True

    def _spoken(self, epoch: int) -> None:
        """The peer is here, and in this epoch."""
        self.met = True
        if self.away:
            self.away = False
            self._emit(PeerBack())
        if epoch == self.epoch:
            self._forget_previous()

    def _take_remark(self, inner: Inner, now_ms: int) -> None:
        try:
            body = unpack_body(inner.body)
        except RemoteError:
            self.statistics.refused += 1
            return
        match body:
            case Ack(upto=upto, beyond=beyond):
                self.outbox.acknowledge(upto, beyond, (self.peer_name or "the other side",))
            case Undecryptable(counters=counters):
                self._again += counters

    def _take_commit(self, bundle: Bundle, now_ms: int) -> bool:
        if self.is_host or bundle.epoch != self.epoch:
            self.statistics.refused += 1
            return False
        try:
            roster = self.group.process(bundle.payload, self.host)
        except RemoteError:
            self.statistics.refused += 1
            self._lose_step("a key renewal that does not apply")
            return False
        if sorted(roster) != sorted((self.me, self.host)):
            self._close("removed")
            return False
        self._advance(now_ms)
        if bundle.counter:
            self._inbox.add(bundle.counter, None)
            if self.verifier is not None:
                self.verifier.pass_over(bundle.counter)
        # The host forgets the old epoch at the first word in the new one: what is still on its way goes again.
        for entry in self.outbox.entries.values():
            self._unseal(entry)
        self._stuck_since_ms = None
        waiting, self._unopened = list(self._unopened), deque(maxlen=limits.UNOPENED_CELLS_MAX)
        for cell in waiting:
            self._receive_one(cell, now_ms)
        return True

    def _lose_step(self, why: str) -> None:
        if not self.out_of_step:
            self.out_of_step = True
            self._emit(events.OutOfStep(why))

    def _notice_stuck(self, now_ms: int) -> None:
        """For longer than a host keeps an old key nothing opened that came: a commit was lost for good."""
        if self._stuck_since_ms is None:
            self._stuck_since_ms, self._stuck_cells = now_ms, 0
        self._stuck_cells += 1
        if self._stuck_cells >= _STUCK_CELLS and now_ms >= self._stuck_since_ms + limits.OLD_EPOCH_MS:
            self._lose_step("what comes does not open")

    def _not_opened(self, bundle: Bundle) -> None:
        if bundle.counter:
            self._asking.append(bundle.counter)

    def _settle_received(self, now_ms: int, *, ack: bool, again: bool) -> None:
        self._show(now_ms)
        if self.closed:
            return
        if ack or again:
            self._send_ack(now_ms, everywhere=again or self._gone)
        if self._gone:
            self._close("peer left")
            return
        self._ask(now_ms)
        self._seal_again(now_ms)
        self._offer_again(now_ms)
        self._pump(now_ms)

    def _ask(self, now_ms: int) -> None:
        asking, self._asking = self._asking, []
        due = [
            counter
            for counter in dict.fromkeys(asking)
            if not self._inbox.seen(counter)
            and now_ms >= self._asked_ms.get(counter, 0) + limits.UNDECRYPTABLE_AGAIN_MS
        ][:64]
        if due:
            self._asked_ms = {each: at for each, at in self._asked_ms.items() if not self._inbox.seen(each)}
            self._asked_ms.update(dict.fromkeys(due, now_ms))
            self._remark(Undecryptable(tuple(due)), now_ms)

    def _seal_again(self, now_ms: int) -> None:
        again, self._again = self._again, []
        for counter in again:
            entry = self.outbox.entries.get(counter)
            if entry is not None and not entry.fixed:
                self._unseal(entry)

    def _offer_again(self, now_ms: int) -> None:
        """The peer is there and has not acknowledged what nodes said they hold: they may have lost it."""
        for entry in self.outbox.entries.values():
            if entry.holders and now_ms >= entry.offered_ms + self.second_after_ms:
                entry.holders.clear()

    def _show(self, now_ms: int) -> None:
        for release in self._inbox.release(now_ms):
            if release.gap:
                self._emit(events.Gap(self.peer.id, release.gap))
            if release.inner is not None:
                self._show_one(release.inner, release)

    def _show_one(self, inner: Inner, release: Release) -> None:
        try:
            body = unpack_body(inner.body)
        except RemoteError:
            self.statistics.refused += 1
            return
        if inner.id in self._ids:
            return
        self._ids.append(inner.id)
        match body:
            case Text(text=text):
                signed = self.verifier is not None
                self._emit(
                    events.TextReceived(
                        inner.id,
                        self.peer.id,
                        self.peer_name,
                        clean(text, lines=True),
                        inner.sent_ms,
                        signed,
                        release.late,
                    )
                )
            case Part(document=document, index=index, count=count, data=data) if index < count:
                self._emit(events.PartReceived(inner.id, document, index, count, data))
            case Introduce(name=name, avatar=avatar) if self.is_host:
                self.peer_name, self.peer_avatar = clean(name), avatar
                self._emit(events.Joined(self.peer.id, self.peer_name, avatar))
            case Requeue(route=route, address=address) if route < self.routes:
                self._reroute(route, address)
            case Leave(why=why):
                self._emit(events.Left(self.peer.id, self.peer_name, why))
                self._gone = True
            case _ if self._hear_ask(body):
                pass
            case _:
                self.statistics.refused += 1

    def _hear_ask(self, body: Body) -> bool:
        """What ``pair_asks`` understands."""
        return False

    def _check_open(self) -> None:
        raise NotImplementedError
