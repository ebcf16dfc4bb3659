"""Accountability, one-sided by design: the supporter signs, the seeker's throw-away keys prove nothing.

The *statement* in the Welcome ties the supporter's delegated key to this very group: key package, group, leaf key
and the seeker's nonce. Without it anybody could answer a Hello, since a basic credential proves nothing. Every
message after it carries a signature over (chain nonce, counter, previous hash, salted body hash): a seeker who keeps
the conversation can show single messages to a panel, and the salt keeps the others unguessable. What has counter 0
signs the head of the chain without extending it.

One to one, the chain nonce follows from the seeker's nonce and the supporter's random group id: neither can have two
sessions with one chain, and texts of one session pass for none of another. A room has many seekers and one broadcast:
there the host draws the nonce, and each Welcome's statement signs it together with the joiner's own.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import Annotated, Any

from warmline_protocol import limits
from warmline_protocol.codec import encode
from warmline_protocol.errors import BadSignatureError, RemoteError
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.session.messages import Evidence, Inner, Text, unpack_body
from warmline_protocol.wire import U53, Bytes16, Bytes32, Size, pack, unpack

START = bytes(32)
_STATEMENT = "session-statement"
_MESSAGE = "session-message"
_KEPT = 256


@dataclass(frozen=True, slots=True)
class Statement:
    """What the supporter signed in the Welcome, as the joiner can show it to others later."""

    key_package_hash: Bytes32
    group_id: Annotated[bytes, Size(1, 64)]
    leaf_key: Annotated[bytes, Size(1, 64)]
    nonce: Bytes32
    chain: Bytes32
    signature: Annotated[bytes, Size(64, 64)]

    def check(self, public: bytes) -> None:
        """Raise :class:`BadSignatureError` unless the owner of ``public`` made it."""
        line = encode([self.key_package_hash, self.group_id, self.leaf_key, self.nonce, self.chain])
        verify(public, _STATEMENT, line, self.signature)


@dataclass(frozen=True, slots=True)
class SignedWord:
    """One text of the supporter with its place in the chain. ``sent_ms`` is not signed."""

    counter: U53
    sent_ms: U53
    previous: Bytes32
    salt: Bytes16
    body: Annotated[bytes, Size(1, 16 * 1024)]
    signature: Annotated[bytes, Size(64, 64)]

    def check(self, public: bytes, chain: bytes) -> bytes:
        """The head of the chain after it; :class:`BadSignatureError` unless its signature holds."""
        line = _line(chain, self.counter, self.previous, self.salt, self.body)
        verify(public, _MESSAGE, line, self.signature)
        return hashlib.sha256(line).digest()


@dataclass(frozen=True, slots=True)
class Chapter:
    """What is kept of one session, or one chain of it: after a fresh Hello another one begins."""

    statement: Statement
    words: Annotated[tuple[SignedWord, ...], Size(0, limits.EVIDENCE_KEPT)]


def pair_chain(nonce: bytes, group_id: bytes) -> bytes:
    """The 32-byte chain nonce of a one-to-one session."""
    return hashlib.sha256(b"warmline/1/chain\0" + nonce + group_id).digest()


def sign_statement(
    key: SigningKey, key_package: bytes, group_id: bytes, leaf_key: bytes, nonce: bytes, chain: bytes
) -> bytes:
    """64 bytes: this key's owner opened this group for this key package."""
    return key.sign(_STATEMENT, _statement(key_package, group_id, leaf_key, nonce, chain))


def check_statement(
    public: bytes,
    signature: bytes,
    key_package: bytes,
    group_id: bytes,
    leaf_key: bytes,
    nonce: bytes,
    chain: bytes,
) -> None:
    """Raise :class:`BadSignatureError` unless the card's key made that statement."""
    verify(public, _STATEMENT, _statement(key_package, group_id, leaf_key, nonce, chain), signature)


def _statement(key_package: bytes, group_id: bytes, leaf_key: bytes, nonce: bytes, chain: bytes) -> bytes:
    return encode([hashlib.sha256(key_package).digest(), group_id, leaf_key, nonce, chain])


def _line(nonce: bytes, counter: int, previous: bytes, salt: bytes, body: bytes) -> bytes:
    return encode([nonce, counter, previous, hashlib.sha256(salt + body).digest()])


class Signer:
    """The supporter's side of the chain."""

    def __init__(self, key: SigningKey, nonce: bytes, head: bytes = START) -> None:
        self.key = key
        self.nonce = nonce
        self.head = head

    def sign(self, counter: int, body: bytes, salt: bytes) -> Evidence:
        """Evidence for ``body``; counters above 0 extend the chain and must come in order."""
        line = _line(self.nonce, counter, self.head, salt, body)
        evidence = Evidence(self.head, salt, self.key.sign(_MESSAGE, line))
        if counter:
            self.head = hashlib.sha256(line).digest()
        return evidence


class Verifier:
    """The seeker's side: signatures at once, the chain as far as its links have arrived."""

    def __init__(self, public: bytes, nonce: bytes, statement: Statement | None = None) -> None:
        self.public = public
        self.nonce = nonce
        self.statement = statement
        self.earlier: list[Chapter] = []
        self._kept: deque[SignedWord] = deque(maxlen=limits.EVIDENCE_KEPT)
        self._hashes: dict[int, bytes] = {}

    def check(self, inner: Inner) -> None:
        """Raise :class:`BadSignatureError` unless the supporter signed ``inner`` at this place of the chain."""
        evidence = inner.evidence
        if evidence is None:
            raise BadSignatureError("a message of the supporter without a signature")
        line = _line(self.nonce, inner.counter, evidence.previous, evidence.salt, inner.body)
        verify(self.public, _MESSAGE, line, evidence.signature)
        if inner.counter == 0:
            return
        self._keep(inner, evidence)
        before = self._hashes.get(inner.counter - 1)
        if before is not None and before != evidence.previous:
            raise BadSignatureError("a message that does not follow the one before it")
        self._hashes[inner.counter] = hashlib.sha256(line).digest()
        # Only the neighbours of what may still arrive matter.
        while len(self._hashes) > _KEPT:
            del self._hashes[min(self._hashes)]

    def _keep(self, inner: Inner, evidence: Evidence) -> None:
        """Texts only: a roster or a requeue names others, and says nothing that a panel could judge."""
        try:
            is_text = isinstance(unpack_body(inner.body), Text)
        except RemoteError:
            is_text = False
        if is_text and all(inner.counter != word.counter for word in self._kept):
            place = evidence.previous, evidence.salt
            self._kept.append(SignedWord(inner.counter, inner.sent_ms, *place, inner.body, evidence.signature))

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        """The last texts of the supporter, oldest first, with what proves them."""
        now = () if self.statement is None else (Chapter(self.statement, tuple(self._kept)),)
        left, kept = limits.EVIDENCE_KEPT, []
        before = {(chapter.statement.chain, word.counter) for chapter in self.earlier for word in chapter.words}
        for chapter in reversed((*self.earlier, *now)):
            own = chapter.words
            if chapter in now:  # who came back into a room reads again what was offered again
                own = tuple(word for word in own if (chapter.statement.chain, word.counter) not in before)
            words = own[max(0, len(own) - left) :]
            left -= len(words)
            if words:
                kept.append(Chapter(chapter.statement, words))
        return tuple(reversed(kept[: limits.EVIDENCE_CHAPTERS_MAX]))

    def follow(self, before: Verifier) -> None:
        """This session takes the place of another with the same supporter: its evidence is kept on."""
        if before.public == self.public:
            self.earlier = list(before.chapters)

    def pass_over(self, counter: int) -> None:
        """This counter was used by a commit, which is signed by MLS alone."""
        before = self._hashes.get(counter - 1)
        if before is not None:
            self._hashes[counter] = before

    def known(self) -> dict[int, bytes]:
        """For a snapshot."""
        return dict(self._hashes)

    def learn(self, hashes: dict[int, bytes]) -> None:
        """The inverse."""
        self._hashes.update(hashes)

    def to_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "public": self.public,
            "nonce": self.nonce,
            "known": [[counter, digest] for counter, digest in sorted(self._hashes.items())],
            "words": [pack(word) for word in self._kept],
            "earlier": [pack(chapter) for chapter in self.earlier],
        }
        if self.statement is not None:
            fields["statement"] = pack(self.statement)
        return fields

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Verifier:
        statement = unpack(Statement, fields["statement"]) if "statement" in fields else None
        verifier = cls(fields["public"], fields["nonce"], statement)
        verifier.learn(dict(fields["known"]))
        verifier._kept.extend(unpack(SignedWord, word) for word in fields["words"])
        verifier.earlier = [unpack(Chapter, chapter) for chapter in fields["earlier"]]
        return verifier
