"""A report's evidence as one file: what a panel can verify offline, and nothing of a seeker's but what they chose.

A bundle holds the supporter's signed card (with its delegation, which names the wallet), the statements by which their
key opened each session, and texts of theirs with salts, signatures and places in the chain. Texts that were left out
show as missing numbers, and their salted hashes cannot be guessed. Lines of the seeker are in it only where the seeker
put them: they are unsigned, and count as what one side says.

The file's SHA-256 is the evidence hash that a report commits to on the chain. Times are those of the supporter's
clock and are not signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from warmline_protocol import limits
from warmline_protocol.errors import BadSignatureError, MalformedError, RemoteError, UsageError
from warmline_protocol.records.card import Card
from warmline_protocol.records.envelope import CARD, OpenedRecord, open_record
from warmline_protocol.session.evidence import START, Chapter, SignedWord
from warmline_protocol.session.messages import Text, clean, unpack_body
from warmline_protocol.wire import U53, Range, Size, from_wire, message, to_wire


@dataclass(frozen=True, slots=True)
class OwnLine:
    """A line of the seeker: said in chapter number ``chapter``, after the supporter's text number ``after``."""

    chapter: Annotated[int, Range(0, limits.EVIDENCE_CHAPTERS_MAX - 1)]
    after: U53
    sent_ms: U53
    text: Annotated[str, Size(1, limits.TEXT_MAX)]


@message("report-bundle")
@dataclass(frozen=True, slots=True)
class ReportBundle:
    """``account``: what the seeker says happened, in their own words; may be empty."""

    card: Annotated[bytes, Size(1, limits.RECORD_MAX)]
    chapters: Annotated[tuple[Chapter, ...], Size(1, limits.EVIDENCE_CHAPTERS_MAX)]
    own: Annotated[tuple[OwnLine, ...], Size(0, limits.REPORT_OWN_MAX)] = ()
    account: Annotated[str, Size(0, limits.TEXT_MAX)] = ""


@dataclass(frozen=True, slots=True)
class ProvenText:
    """A text that the supporter signed. ``missing``: how many numbered messages before it are not shown.

    A renewal of keys uses a number too; where the chain proves that nothing lies between, ``missing`` is 0.
    """

    chapter: int
    counter: int
    sent_ms: int
    text: str
    missing: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What a verified bundle proves: ``card``'s key signed ``texts``. ``own`` and ``account`` are unproven."""

    digest: bytes
    card: OpenedRecord
    name: str
    texts: tuple[ProvenText, ...]
    own: tuple[OwnLine, ...]
    account: str

    @property
    def only_on_chain(self) -> bool:
        """Whether a contract wallet delegated: then only the chain says that the key spoke for it."""
        delegation = self.card.delegation
        return delegation is not None and delegation.signature is None


def make_bundle(card: bytes, chapters: Sequence[Chapter], *, own: Sequence[OwnLine] = (), account: str = "") -> bytes:
    """The bytes of a bundle, verified before they are given out; UsageError where they would prove nothing."""
    data = to_wire(ReportBundle(card, tuple(chapters), tuple(own), account))
    if len(data) > limits.REPORT_MAX:
        raise UsageError("a report above 1 MiB", hint="Include fewer lines of yours.")
    try:
        verify_bundle(data)
    except RemoteError as error:
        raise UsageError(f"this would prove nothing: {error}", hint="Report what you remember without it.") from None
    return data


def bundle_digest(data: bytes) -> bytes:
    """32 bytes: the evidence hash that a report on the chain commits to. Plain SHA-256, so that any tool checks it."""
    return hashlib.sha256(data).digest()


def verify_bundle(data: bytes) -> Finding:
    """What ``data`` proves. :class:`BadSignatureError` where any signature or link in it does not hold,
    :class:`MalformedError` for what is no bundle: a bundle with one bad part is refused whole."""
    bundle = from_wire(data, (ReportBundle,), max_size=limits.REPORT_MAX)
    record = open_record(bundle.card)
    if record.kind != CARD or not isinstance(record.body, Card):
        raise MalformedError(f"a report about a {record.kind}: it is about a supporter's card")
    texts: list[ProvenText] = []
    seen: set[tuple[bytes, int]] = set()
    for number, chapter in enumerate(bundle.chapters):
        chapter.statement.check(record.key)
        # A counter of 0 stands for the session itself; whoever was in a room twice has two of one chain.
        places = {(chapter.statement.nonce, 0), *((chapter.statement.chain, word.counter) for word in chapter.words)}
        if not seen.isdisjoint(places):
            raise MalformedError("one session shown as two")
        seen |= places
        texts += _read(number, chapter, record.key)
    if not texts:
        raise MalformedError("a report without a single text of the supporter")
    for line in bundle.own:
        if line.chapter >= len(bundle.chapters):
            raise MalformedError("a line of a session that is not in the report")
    # A reporter chooses every byte of these, and panels read them in terminals.
    own = tuple(replace(line, text=clean(line.text, lines=True)) for line in bundle.own)
    account = clean(bundle.account, lines=True) if bundle.account else ""
    return Finding(bundle_digest(data), record, record.body.name, tuple(texts), own, account)


def _read(number: int, chapter: Chapter, key: bytes) -> list[ProvenText]:
    texts = []
    before, head = 0, START
    for word in chapter.words:
        if word.counter <= before:
            raise MalformedError("texts out of their order")
        follows = word.previous == head
        if not follows and (word.counter == before + 1 and before):
            raise BadSignatureError("a text that does not follow the one before it")
        after = word.check(key, chapter.statement.chain)
        missing = 0 if follows else word.counter - before - 1
        texts.append(ProvenText(number, word.counter, word.sent_ms, _text(word), missing))
        before, head = word.counter, after
    return texts


def _text(word: SignedWord) -> str:
    body = unpack_body(word.body)
    if not isinstance(body, Text):
        raise MalformedError("a signed message that is no text")
    return clean(body.text, lines=True)
