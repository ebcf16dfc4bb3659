"""What free text, tags and names in a record may hold.

Records are shown in terminals and pages that belong to strangers. A control character can repaint a terminal and a
bidirectional override can make one name read as another, so neither is valid in a record at all: there is then no
display code that has to remember to filter.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

from warmline_protocol.errors import UsageError

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")
_TOPIC = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")
_SLUG = _TOPIC
_CALENDAR_END_MS = 253_402_300_799_000
# Zero-width joiner and non-joiner stay allowed: emoji, Persian and Indic scripts need them.
_BAD_FORMAT = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def check_text(field: str, text: str, *, lines: bool = False) -> None:
    """Raise :class:`UsageError` for control or reordering characters, or space at the ends."""
    plain = text.replace("\n", "") if lines else text
    for char in "" if plain.isascii() and plain.isprintable() else text:
        if char == "\n" and lines:
            continue
        if unicodedata.category(char) in ("Cc", "Zl", "Zp", "Co", "Cn") or char in _BAD_FORMAT:
            raise UsageError(
                f"{field} holds the invisible character U+{ord(char):04X}", hint="Type the text again without it."
            )
    if text != text.strip():
        raise UsageError(f"{field} begins or ends with a space", hint="Remove the space.")


def printable(text: str) -> str:
    """What a stranger's node said, fit for a terminal: refusals and hints are shown to people as they came."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def shown_time(ms: int) -> datetime:
    """A moment in UTC as somebody else says it: what is beyond the calendar is shown as its end."""
    return datetime.fromtimestamp(min(max(ms, 0), _CALENDAR_END_MS) / 1000, UTC)


def check_language(tag: str) -> None:
    """A BCP 47 tag of language, optional script and optional region, in canonical case: ``pt-BR``, ``zh-Hant``."""
    if not _LANGUAGE.fullmatch(tag):
        raise UsageError(f"{tag!r:.40} is not a BCP 47 language tag", hint="Write it like en, pt-BR or zh-Hant.")


def check_topic(tag: str) -> None:
    """Lower-case words joined by hyphens."""
    if not _TOPIC.fullmatch(tag):
        raise UsageError(
            f"{tag!r:.40} is not a topic tag", hint="Use lower-case letters, digits and hyphens: new-parents."
        )


def check_slug(slug: str) -> None:
    """The name of a listing within its owner's listings; same form as a topic."""
    if not _SLUG.fullmatch(slug):
        raise UsageError(
            f"{slug!r:.40} is not a listing id", hint="Use lower-case letters, digits and hyphens: quiet-mornings."
        )


def check_zone(name: str) -> None:
    """The form of an IANA zone name; whether this machine knows the zone is for :mod:`.schedule` to say."""
    if not _ZONE.fullmatch(name):
        raise UsageError(f"{name!r:.40} is not a time zone name", hint="Write it like Europe/Lisbon.")


def check_unique(field: str, items: tuple[object, ...]) -> None:
    """Raise when something is listed twice."""
    if len(set(items)) != len(items):
        raise UsageError(f"{field} names something twice", hint="Keep each entry once.")
