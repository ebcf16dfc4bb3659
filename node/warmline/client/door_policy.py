"""Whom a supporter's doors let through to them: anybody, people they know, or people whom their desk sends.

What a door turns away is answered ``declined`` after a while, like somebody who looked and said no: whether a stranger,
a person who was blocked, or a guess at a word. An answer at once would tell that somebody is there, and a different
one who is known. Limits and pauses are another matter, and are told as they are: ``busy``, at once, so that the seeker
can ask somebody else. An invitation by this client and a knock at one of its own groups pass every rule but a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Annotated, Final, TypeVar

from warmline.env import Clock
from warmline_protocol.errors import UsageError
from warmline_protocol.session.hello import Hello
from warmline_protocol.session.known import which_word
from warmline_protocol.wire import U53, Bytes16, Size

T = TypeVar("T")
OPEN, KNOWN, DESK = "open", "known", "desk"
WHO: Final = (OPEN, KNOWN, DESK)
DAY_MS: Final = 24 * 3_600_000
PEOPLE_MAX: Final = 512
SENT_MAX: Final = 64
"""Words of people whom colleagues sent: a colleague who sends without end pushes out those, and nobody else."""
KNOWN_MS: Final = 365 * DAY_MS
"""How long a word given to somebody opens the door."""


@dataclass(frozen=True, slots=True)
class DoorRules:
    """``who`` empty is for whoever knows the card to fill in; ``per_day`` 0 is no limit; ``rest_minutes`` is the pause
    after a conversation, 0 for none."""

    who: str = OPEN
    at_once: int = 3
    per_day: int = 0
    rest_minutes: int = 0

    def __post_init__(self) -> None:
        if self.who and self.who not in WHO:
            raise UsageError(f"{self.who!r:.20} is not a rule for a door", hint=f"Say one of {', '.join(WHO)}.")


class Decision(Enum):
    """What happens to somebody at the door."""

    SHOW = "show"
    BUSY = "busy"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who was given a word: by the supporter, or by a colleague of ``desk`` (its name)."""

    word: Bytes16
    name: Annotated[str, Size(0, 64)]
    until_ms: U53
    desk: Annotated[str, Size(0, 80)] = ""


@dataclass(frozen=True, slots=True)
class PeopleBook:
    """What the door remembers between two duties: words, blocked words and attempts, when conversations began."""

    people: Annotated[tuple[Person, ...], Size(0, PEOPLE_MAX)] = ()
    blocked: Annotated[tuple[Bytes16, ...], Size(0, 2 * PEOPLE_MAX)] = ()
    begun: Annotated[tuple[U53, ...], Size(0, PEOPLE_MAX)] = ()
    rested_ms: U53 = 0
    """Until when the supporter rests."""


@dataclass(slots=True)
class DoorGate:
    """Judges who is at the door. ``rules`` may change at any time; ``changed`` is called when ``book`` did."""

    rules: DoorRules
    clock: Clock
    book: PeopleBook = field(default_factory=PeopleBook)
    changed: Callable[[], None] = lambda: None
    own_room: Callable[[bytes], bool] = lambda listing: False
    familiar: Callable[[Hello], str] = lambda hello: ""
    """Another way to know somebody: their name, or nothing."""
    paused: bool = False

    # -- judging

    def at_door(self, hello: Hello, *, expected: bool, sessions: int) -> tuple[Decision, str]:
        """What to do about a Hello, and the name of whoever it is, where the supporter knows them."""
        if self._is_blocked(hello.attempt):
            return Decision.LATER, ""
        person = self.person(hello.attempt)
        known = person.name if person else self.familiar(hello)
        if expected or (hello.listing and self.own_room(hello.listing)):
            return Decision.SHOW, known
        if person is None and not known and self.rules.who != OPEN:
            return Decision.LATER, ""
        if person is not None and person.desk and self.rules.who == KNOWN:
            return Decision.LATER, ""
        return (Decision.BUSY if self.full(sessions) else Decision.SHOW), known

    def takes_offers(self, sessions: int) -> Decision:
        """What to do about a stranger's offer: LATER is no answer at all."""
        if self.rules.who != OPEN:
            return Decision.LATER
        return Decision.BUSY if self.full(sessions) else Decision.SHOW

    def full(self, sessions: int) -> str:
        """Why nobody more is taken now: ``seats``, ``day``, ``rest``, ``paused``, or nothing."""
        now = self.clock.utc_ms()
        if self.paused:
            return "paused"
        if sessions >= self.rules.at_once:
            return "seats"
        if self.rules.per_day and self.today() >= self.rules.per_day:
            return "day"
        return "rest" if self.book.rested_ms > now else ""

    def today(self) -> int:
        """Conversations begun in the last 24 hours."""
        now = self.clock.utc_ms()
        return sum(began > now - DAY_MS for began in self.book.begun)

    def person(self, attempt: bytes) -> Person | None:
        """Who made this attempt id with a word that still opens the door."""
        living = {each.word: each for each in self.book.people if each.until_ms > self.clock.utc_ms()}
        word = which_word(living, attempt)
        return living[word] if word is not None else None

    def _is_blocked(self, attempt: bytes) -> bool:
        return attempt in self.book.blocked or which_word(self.book.blocked, attempt) is not None

    # -- remembering

    def know(self, word: bytes, name: str, *, until_ms: int | None = None, desk: str = "") -> None:
        """From now on whoever knocks with this word is known by this name."""
        until = self.clock.utc_ms() + KNOWN_MS if until_ms is None else until_ms
        now = self.clock.utc_ms()
        everybody = [each for each in self.book.people if each.word != word and each.until_ms > now]
        everybody.append(Person(word, name, until, desk))
        own = _newest([each for each in everybody if not each.desk], PEOPLE_MAX - SENT_MAX)
        sent = _newest([each for each in everybody if each.desk], SENT_MAX)
        self._keep(people=(*own, *sent))

    def forget(self, name: str) -> int:
        """Take back the words given to people of this name; how many."""
        left = tuple(each for each in self.book.people if each.name != name)
        count = len(self.book.people) - len(left)
        self._keep(people=left)
        return count

    def block(self, attempt: bytes, word: bytes = b"") -> None:
        """This contact is over: neither this attempt nor the word it was made with, nor the ``word`` that was agreed
        on since, opens the door again."""
        person = self.person(attempt)
        words = [each for each in (attempt, word, person.word if person else b"") if each]
        blocked = _newest([*(each for each in self.book.blocked if each not in words), *words], 2 * PEOPLE_MAX)
        self._keep(blocked=blocked, people=tuple(each for each in self.book.people if each.word not in words))

    def began(self) -> None:
        """A conversation with a seeker begins."""
        now = self.clock.utc_ms()
        recent = [began for began in self.book.begun if began > now - DAY_MS]
        self._keep(begun=_newest([*recent, now], PEOPLE_MAX))

    def ended(self) -> None:
        """One has ended: time to rest, where the supporter wants that."""
        if self.rules.rest_minutes:
            self._keep(rested_ms=self.clock.utc_ms() + self.rules.rest_minutes * 60_000)

    def rest_over(self) -> None:
        """The supporter is ready again."""
        self.paused = False
        self._keep(rested_ms=0)

    def _keep(self, **changes: object) -> None:
        self.book = replace(self.book, **changes)  # type: ignore[arg-type]  # fields of the book
        self.changed()


def _newest(items: Iterable[T], most: int) -> tuple[T, ...]:
    return tuple(items)[-most:]
