"""A collector: takes ratings, says at the cut-off what it holds, takes the union with others, and objects.

``accept`` → (end of epoch) ``cut_off`` → announcements are exchanged → ``merge`` each announced set → ``batch`` →
votes → posted → ``objections`` while the window is open → ``settle``. One honest collector that holds a rating brings
it into everybody's union; one that is ignored sees it in the batch and vetoes.

Answers about a supporter go out in tens. Which ten is decided by hashes; the others wait for the next epoch, thirteen
epochs at most.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, RefusedError, RemoteError
from warmline_protocol.feedback.batch import Ledger, Recomputed, read_batch, write_batch
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.messages import Rating, SetAnnouncement
from warmline_protocol.feedback.sheets import set_digest
from warmline_protocol.feedback.tokens import check_rating
from warmline_protocol.wire import to_wire


def turn(rating: Rating) -> tuple[int, bytes]:
    """The order in which answers about one supporter come to be published: older epochs first, then by hash."""
    return (rating.grant.epoch, hashlib.sha256(rating.serial).digest())


def select(ratings: Iterable[Rating], vouchers: int) -> tuple[Rating, ...]:
    """What of a union is published: tens for each supporter, as long as the epoch's vouchers suffice.

    Where they do not, supporters come in the order of their first answer's hash, which nobody chooses.
    """
    about: dict[bytes, list[Rating]] = defaultdict(list)
    for rating in ratings:
        about[rating.grant.supporter].append(rating)
    left, chosen = vouchers, list[Rating]()
    for mine in sorted((sorted(each, key=turn) for each in about.values()), key=lambda each: turn(each[0])):
        size = min(len(mine), left) // limits.FEEDBACK_STEP * limits.FEEDBACK_STEP
        chosen += mine[:size]
        left -= size
    return tuple(chosen)


def _preferred(one: Rating, two: Rating) -> Rating:
    """Of two ratings under one serial: whoever holds the serial signed both, and neither is more honest."""
    return min(one, two, key=lambda rating: hashlib.sha256(to_wire(rating)).digest())


class Collector:
    """One collector's ratings. ``held`` is what must be saved; everything else follows from it."""

    def __init__(self, epochs: Epochs, ledger: Ledger) -> None:
        self._epochs = epochs
        self._ledger = ledger
        self.held: dict[bytes, Rating] = {}
        """By serial; kept across epochs until published or too old."""
        self._union: dict[int, dict[bytes, Rating]] = {}
        self._own: dict[int, tuple[Rating, ...]] = {}

    def accept(self, rating: Rating, now_s: int) -> None:
        """Take a rating that was opened; RemoteError says why not. Doubles are taken in silence."""
        epoch = self._epochs.at(now_s)
        self._check(rating, epoch)
        if rating.not_before_s > now_s:
            raise RefusedError("early", "this rating is not to be opened yet")
        known = self.held.get(rating.serial, rating)
        self.held[rating.serial] = _preferred(known, rating)

    def _check(self, rating: Rating, epoch: int) -> None:
        if rating.not_before_s < self._epochs.start(rating.grant.epoch + 1):
            raise MalformedError("a rating that is released in the epoch that it is about")
        if self._ledger.is_spent(rating.serial):
            raise RefusedError("spent", "this token was counted before")
        check_rating(rating, self._ledger.root_for(rating.grant, epoch))

    def cut_off(self, epoch: int) -> tuple[Rating, ...]:
        """What this collector holds for the batch of ``epoch``, in the order of serials; fixed at the first call."""
        if epoch not in self._own:
            self._own[epoch] = tuple(self.held[serial] for serial in sorted(self.held) if self._eligible(serial, epoch))
            self._union[epoch] = {rating.serial: rating for rating in self._own[epoch]}
        return self._own[epoch]

    def recall(self, epoch: int, own: Sequence[Rating]) -> None:
        """After a restart: this is what :meth:`cut_off` said. Then :meth:`merge` what was merged."""
        self._own[epoch] = tuple(own)
        self._union[epoch] = {rating.serial: rating for rating in own}

    def forget(self, epoch: int) -> None:
        """Nothing was said yet: the next :meth:`cut_off` looks at what is held by then."""
        self._own.pop(epoch, None)
        self._union.pop(epoch, None)

    def _eligible(self, serial: bytes, epoch: int) -> bool:
        rating = self.held[serial]
        return rating.not_before_s < self._epochs.end(epoch) and self._counts(rating, epoch)

    def _counts(self, rating: Rating, epoch: int) -> bool:
        return epoch - limits.FEEDBACK_WINDOW_EPOCHS <= rating.grant.epoch < epoch

    def merge(self, announcement: SetAnnouncement, ratings: Sequence[Rating]) -> int:
        """Take another collector's set into the union; how many ratings were new.

        :class:`MalformedError` unless it is the set that was announced (checked with ``check_announcement``). Ratings
        in it that do not verify are left out: whoever announced them cannot force them on others.
        """
        if len(ratings) != announcement.count or set_digest(ratings) != announcement.digest:
            raise MalformedError("a set that is not the one that was announced")
        epoch, new = announcement.epoch, 0
        self.cut_off(epoch)
        union = self._union[epoch]
        for rating in ratings:
            if union.get(rating.serial) == rating or rating.not_before_s >= self._epochs.end(epoch):
                continue
            try:
                self._check(rating, epoch)
            except RemoteError:
                continue
            new += rating.serial not in union
            union[rating.serial] = _preferred(union.get(rating.serial, rating), rating)
            self.held[rating.serial] = union[rating.serial]
        return new

    def batch(self, epoch: int, vouchers: int, chain_id: int, contract: bytes) -> bytes:
        """The batch of the union as it is now. Collectors with the same union make the same bytes."""
        self.cut_off(epoch)
        return write_batch(chain_id, contract, epoch, select(self._union[epoch].values(), vouchers))

    def objections(self, data: bytes, vouchers: int, posted: Mapping[str, object]) -> tuple[str, ...]:
        """Why this collector vetoes a posted batch; empty when it does not.

        ``posted``: ``epoch``, ``root``, ``data_hash`` and ``tokens`` of the contract's event.
        """
        try:
            found = self._ledger.check(data, vouchers)
        except RemoteError as error:
            return (f"the batch does not hold: {error}",)
        wrong = [name for name in ("epoch", "root", "data_hash", "tokens") if getattr(found, name) != posted[name]]
        if wrong:
            return (f"what was posted is not what the batch comes to: {', '.join(wrong)}",)
        return self._omitted(data, found, vouchers)

    def _omitted(self, data: bytes, found: Recomputed, vouchers: int) -> tuple[str, ...]:
        published: dict[bytes, list[Rating]] = defaultdict(list)
        for rating in read_batch(data)[1]:
            published[rating.grant.supporter].append(rating)
        mine: dict[bytes, list[Rating]] = defaultdict(list)
        for rating in self.cut_off(found.epoch):
            if rating.serial not in found.serials:
                mine[rating.grant.supporter].append(rating)
        full = found.tokens + limits.FEEDBACK_STEP > vouchers
        missing = 0
        for wallet, left_out in sorted(mine.items()):
            shown = published.get(wallet, [])
            last = max((turn(rating) for rating in shown), default=None)
            overtaken = sum(last is not None and turn(rating) < last for rating in left_out)
            another_ten = len(left_out) >= limits.FEEDBACK_STEP and not full
            missing += overtaken or (len(left_out) if another_ten else 0)
        return (f"{missing} answers that this collector announced are left out",) if missing else ()

    def settle(self, settled: Recomputed) -> None:
        """The batch stands: what it published is spent, and what is too old by now is dropped."""
        self._ledger.add(settled)
        self.held = {
            serial: rating
            for serial, rating in self.held.items()
            if serial not in settled.serials and self._counts(rating, settled.epoch + 1)
        }
        for epoch in [each for each in self._own if each <= settled.epoch]:
            del self._own[epoch], self._union[epoch]
