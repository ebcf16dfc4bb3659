"""The people of the demo, what they look for and what they say.

Every name, word and search of theirs occurs nowhere else, so that a single search through stores, logs and memory
tells whether it leaked.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmline_protocol.errors import ConfigError

SEARCHED = "sea-glass-and-thunder"
"""A topic that one seeker looks for and no group offers: whoever holds this word has seen a search."""
IN_THE_ROOM = "words of the room, spoken softly"
IN_PRIVATE = "small words that nobody else may read"
"""Part of everything that is said, there and there."""
PASSPHRASE = "correct horse battery"
CREDENTIAL = "warmline-demo-peer"
GROUPS_MIN = 24


@dataclass(frozen=True, slots=True)
class SeekerRole:
    """A name and an opening line, made up for one conversation."""

    key: str
    name: str
    line: str


@dataclass(frozen=True, slots=True)
class SupporterRole:
    """What is on a supporter's card. ``account``: their wallet among the development chain's."""

    key: str
    name: str
    account: int
    languages: tuple[str, ...]
    topics: tuple[str, ...]
    about: str


SEEKERS = (
    SeekerRole("seeker-1", "Marmalade Otter", "the kettle and I are both at boiling point tonight"),
    SeekerRole("seeker-2", "Paper Comet", "não consigo dormir desde quinta-feira passada"),
    SeekerRole("seeker-3", "Quiet Lantern", "my brother has not answered for eleven days"),
    SeekerRole("seeker-4", "Velvet Magpie", ""),
)
SUPPORTERS = (
    SupporterRole(
        "supporter-1", "Marta", 2, ("pt", "en"), ("burnout", "carers"), "I cared for my father for nine years."
    ),
    SupporterRole("supporter-2", "Jonas", 3, ("de", "en"), ("depression", "chronic-illness"), "Ten years with it."),
)
ISSUER_ACCOUNT = 1
SECOND_QUEUE_AFTER = 4
"""Seconds without an acknowledgement after which a second queue is offered; shorter than usual, to fit a minute."""


@dataclass(frozen=True, slots=True)
class Group:
    """What the demo needs to know of a group in the programme."""

    id: str
    title: str
    room: bool
    topics: tuple[str, ...]
    languages: tuple[str, ...]
    weekdays: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What a seeker asks for: the options that they type, and the groups that must be found (None: some)."""

    words: tuple[str, ...]
    expected: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Programme:
    """A weekly programme, split over two supporters."""

    head: str
    shares: tuple[tuple[Group, ...], tuple[Group, ...]]
    room: Group
    """The first supporter's group in which a room is held."""

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.shares[0] + self.shares[1]

    def file_of(self, supporter: int) -> str:
        return self.head + "".join(group.text for group in self.shares[supporter])

    def wishes(self) -> tuple[Wish, ...]:
        """One for each seeker, all different: by topic, by language, by both, by time."""
        room, other = self.room, self.shares[1][0]
        topic, language, weekday = room.topics[0], room.languages[0].partition("-")[0], self.shares[1][-1].weekdays[0]
        both = (other.topics[0], other.languages[0].partition("-")[0])
        return (
            Wish(("--topic", topic, "--topic", SEARCHED), self._with(topic=topic)),
            Wish(("--language", language), self._with(language=language)),
            Wish(("--topic", both[0], "--language", both[1]), self._with(*both)),
            Wish(("--when", weekday, "--zone", "UTC"), None),
        )

    def _with(self, topic: str = "", language: str = "") -> frozenset[str]:
        return frozenset(
            group.id
            for group in self.groups
            if (not topic or topic in group.topics)
            and (not language or any(tag.casefold().partition("-")[0] == language for tag in group.languages))
        )


def read_programme(path: Path) -> Programme:
    """Split a programme: what the first supporter speaks goes to them, the rest in turns. Raises ConfigError."""
    try:
        text = path.read_text("utf-8")
        tables = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="Name a programme with --programme.") from None
    head, *blocks = re.split(r"(?m)^(?=\[\[group\]\])", text)
    given = tables.get("group", [])
    if len(given) < GROUPS_MIN or len(given) != len(blocks):
        raise ConfigError(
            f"{path} has {len(given)} groups, the demo needs {GROUPS_MIN}", hint="`warmline groups publish --check`"
        )
    defaults = tables.get("defaults", {})
    groups = [_group(defaults | table, block) for table, block in zip(given, blocks, strict=True)]
    first = tuple(group for at, group in enumerate(groups) if _speaks(group, "pt") or at % 2 == 0)
    rooms = sorted((group for group in first if group.room), key=lambda group: not _speaks(group, "pt"))
    return Programme(head, (first, tuple(group for group in groups if group not in first)), rooms[0])


def _speaks(group: Group, language: str) -> bool:
    return any(tag.partition("-")[0] == language for tag in group.languages)


def _group(table: dict[str, Any], text: str) -> Group:
    return Group(
        table["id"],
        table["title"],
        table.get("kind", "room") == "room",
        tuple(table["topics"]),
        tuple(table["languages"]),
        tuple(slot.split()[0] for slot in table["when"]),
        text,
    )
