"""What collectors heard each other announce: told on, so that two different words of one collector come together.

Everybody votes for the union of what was announced, so a collector that tells two others different sets, or one of them
nothing, would keep their votes apart. Against the second, whoever has a set passes it on. Against the first there is a
proof: two announcements of one collector for one epoch, each with the wallet's own sheet. The proof needs nobody's word
and goes round like the announcements; whoever has it leaves that collector's set out of the epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from warmline_protocol import limits
from warmline_protocol.codec import frame, frames
from warmline_protocol.errors import BadSignatureError, MalformedError
from warmline_protocol.feedback.messages import CollectorSheet, SetAnnouncement, SetHeard
from warmline_protocol.feedback.sheets import check_announcement, check_sheet
from warmline_protocol.wire import from_wire, to_wire

_WORD_MAX = 4096


def check_heard(one: SetHeard, chain_id: int, contract: bytes, collectors: Collection[bytes]) -> None:
    """Raise :class:`BadSignatureError` unless one of the contract's collectors announced that.

    An announcement is made in the epoch after the one that it is about, so the sheet must be good then.
    """
    if (one.sheet.chain_id, one.sheet.contract) != (chain_id, contract):
        raise BadSignatureError("a sheet for another contract")
    check_sheet(one.sheet, collectors, one.said.epoch + 1)
    check_announcement(one.said, one.sheet)


class Heard:
    """Announcements for one epoch: one of each collector, or two that contradict each other."""

    def __init__(self, chain_id: int, contract: bytes, epoch: int) -> None:
        self.epoch = epoch
        self._where = chain_id, contract
        self._words: dict[bytes, list[SetHeard]] = {}

    def hear(self, one: SetHeard, collectors: Collection[bytes]) -> bool:
        """Take a word, whoever tells it; whether it was new. RemoteError unless it holds."""
        if one.said.epoch != self.epoch:
            raise MalformedError("an announcement of another epoch")
        words = self._words.get(one.said.collector, [])
        if len(words) == 2 or any(_same(one.said, each.said) for each in words):
            return False
        check_heard(one, *self._where, collectors)
        self._words[one.said.collector] = [*words, replace(one, taken=False)]
        return True

    def take(self, collector: bytes) -> None:
        """From now on say that the set that was announced is here, for who lacks it."""
        self._words[collector] = [replace(each, taken=True) for each in self._words.get(collector, [])]

    def of(self, collector: bytes) -> SetHeard | None:
        """What it announced, if it did not contradict itself."""
        words = self._words.get(collector, [])
        return words[0] if len(words) == 1 else None

    def aside(self) -> frozenset[bytes]:
        """Those who announced two sets: neither counts in this epoch."""
        return frozenset(who for who, words in self._words.items() if len(words) == 2)

    def proof(self, collector: bytes) -> bytes:
        """Both words of one of :meth:`aside`, for :func:`read_proof`."""
        return _write(self._words[collector])

    def write(self) -> bytes:
        """For whoever asks."""
        return b"".join(_write(self._words[who]) for who in sorted(self._words))


def read_heard(data: bytes) -> Iterator[SetHeard]:
    """The words in it, unchecked; MalformedError for anything else."""
    for number, part in enumerate(frames(data, _WORD_MAX)):
        if number >= limits.FEEDBACK_HEARD_MAX:
            raise MalformedError("more announcements than there are collectors")
        yield from_wire(part, (SetHeard,))


def read_proof(data: bytes, chain_id: int, contract: bytes) -> tuple[SetAnnouncement, SetAnnouncement]:
    """Two announcements of one wallet for one epoch that are not the same. RemoteError where it proves nothing.

    By signatures alone: whether the wallet is a collector is for the contract to say, and a proof outlives that.
    """
    words = list(read_heard(data))
    if len(words) != 2:
        raise MalformedError("a proof is of two announcements")
    for one in words:
        check_heard(one, chain_id, contract, (one.sheet.collector,))
    first, second = (one.said for one in words)
    if (first.collector, first.epoch) != (second.collector, second.epoch) or _same(first, second):
        raise MalformedError("these announcements do not contradict each other")
    return first, second


def as_heard(sheet: CollectorSheet, said: SetAnnouncement) -> SetHeard:
    """A word as one heard it oneself."""
    return SetHeard(sheet, said, taken=False)


def _same(one: SetAnnouncement, two: SetAnnouncement) -> bool:
    return (one.count, one.digest) == (two.count, two.digest)


def _write(words: list[SetHeard]) -> bytes:
    return b"".join(frame(to_wire(each)) for each in words)
