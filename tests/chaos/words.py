"""What is said: texts that follow from the seed, so that a reader's screen can be checked byte by byte.

A message's *key* is ``conversation/speaker/number`` and the first word of its text; the rest is made from seed and key.
"""

from __future__ import annotations

import hashlib
import re
from random import Random

KEY = re.compile(r"([pr]\d+)/(\w+)/(\d+)( |$)")
LETTERS = "abcdefghijklmnopqrstuvwxyz     àéîöü ñçšž ωλ дом 茶 🫖"
LONGEST = 8000
"""UTF-8 bytes; a message may have 8192."""


def text_of(seed: int, key: str) -> str:
    """The one text that this message has."""
    draw = Random(f"{seed} {key}")
    kind = draw.random()
    size = draw.randrange(1, 200) if kind < 0.8 else draw.randrange(200, 2400) if kind < 0.97 else LONGEST
    filler = "".join(draw.choices(LETTERS, k=size))
    return (key + " " + filler).encode()[: size + len(key)].decode(errors="ignore").rstrip()


def key_of(text: str) -> str:
    """The key of what was shown; empty when no message of ours begins like this."""
    found = KEY.match(text)
    return "" if found is None else found.group(0).rstrip()


def digest(text: str) -> str:
    """What a journal keeps of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
