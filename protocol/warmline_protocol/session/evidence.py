"""Accountability, one-sided by design: the supporter signs, the seeker's throw-away keys prove nothing.

The *statement* in the Welcome ties the supporter's delegated key to this very group: key package, group, leaf key
and the seeker's nonce. Without it anybody could answer a Hello, since a basic credential proves nothing. Every
message after it carries a signature over (chain nonce, counter, previous hash, salted body hash): a seeker who keeps
the conversation can show single messages to a panel, and the salt keeps the others unguessable. What has counter 0
signs the head of the chain without extending it.

One to one, the chain nonce is the seeker's session nonce. A room has many seekers and one broadcast: there the host
draws the nonce, and each Welcome's statement signs it together with the joiner's own.
"""

from __future__ import annotations

import hashlib

from warmline_protocol.codec import encode
from warmline_protocol.errors import BadSignatureError
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.session.messages import Evidence, Inner

START = bytes(32)
_STATEMENT = "session-statement"
_MESSAGE = "session-message"
_KEPT = 256


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

    def __init__(self, public: bytes, nonce: bytes) -> None:
        self.public = public
        self.nonce = nonce
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
        before = self._hashes.get(inner.counter - 1)
        if before is not None and before != evidence.previous:
            raise BadSignatureError("a message that does not follow the one before it")
        self._hashes[inner.counter] = hashlib.sha256(line).digest()
        # Only the neighbours of what may still arrive matter.
        while len(self._hashes) > _KEPT:
            del self._hashes[min(self._hashes)]

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
