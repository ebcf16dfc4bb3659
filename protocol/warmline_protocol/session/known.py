"""How somebody whom a supporter knows is told from a stranger, by the supporter's client and by nobody else.

Both hold a 16-byte secret, the *word*. The attempt id of a Hello, random otherwise, is then 8 random bytes and the
first 8 bytes of HMAC-SHA256 (RFC 2104) over them under that secret. Without the word it looks like any other id, so a
door for known people only gives nothing away: neither to its node nor to whoever knocks with a guess.
"""

from __future__ import annotations

import hmac
from base64 import b32decode, b32encode
from binascii import Error as NotBase32
from collections.abc import Iterable

from warmline_protocol.errors import UsageError

WORD_SIZE = 16
_SALT = 8
_GROUP = 4


def known_attempt(word: bytes, salt: bytes) -> bytes:
    """The 16-byte attempt id that shows knowledge of ``word``; ``salt`` is 8 random bytes, fresh for each attempt."""
    return salt + _mark(word, salt)


def knows(word: bytes, attempt: bytes) -> bool:
    """Whether whoever made this attempt id had the word."""
    return hmac.compare_digest(attempt[_SALT:], _mark(word, attempt[:_SALT]))


def which_word(words: Iterable[bytes], attempt: bytes) -> bytes | None:
    """The word that an attempt was made with. Takes the same time whichever it is, or none."""
    found = None
    for word in words:
        if knows(word, attempt):
            found = word
    return found


def spoken(word: bytes) -> str:
    """A 16-byte word as people write it down: 26 letters and digits of base 32 (RFC 4648), in groups of four."""
    text = b32encode(word).decode().rstrip("=").lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def heard(text: str) -> bytes:
    """The word that :func:`spoken` wrote, however it was grouped; :class:`UsageError` for anything else."""
    plain = "".join(text.split()).replace("-", "").upper()
    try:
        word = b32decode(plain + "=" * (-len(plain) % 8))
    except (NotBase32, ValueError):
        word = b""
    if len(word) != WORD_SIZE:
        raise UsageError(
            "this is not a word that a supporter gave", hint="It has 26 letters and digits from a to z and 2 to 7."
        )
    return word


def _mark(word: bytes, salt: bytes) -> bytes:
    return hmac.digest(word, b"warmline/1/known\0" + salt, "sha256")[:_SALT]
