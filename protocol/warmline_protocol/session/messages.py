"""What members say to each other inside MLS.

Every message is an :class:`Inner`: the sender's counter, its floor, and a body. Counters number what must arrive
(texts, names, a farewell); what need not (acks, heartbeats) has counter 0. The floor is the lowest counter that the
sender has not given up: a receiver need not wait for anything below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.feedback.messages import Grant, TokenAsk, TokenGiven, TokenMissing
from warmline_protocol.records.text import check_text
from warmline_protocol.wire import U53, Bytes16, Bytes32, OneOf, Range, Size, from_wire, message, to_wire

Name: TypeAlias = Annotated[str, Size(1, limits.NAME_MAX)]
Avatar: TypeAlias = Annotated[bytes, Size(limits.AVATAR_SIZE, limits.AVATAR_SIZE)]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A supporter's signature over one message: what a panel can verify, and nobody else can make."""

    previous: Bytes32
    salt: Bytes16
    signature: Annotated[bytes, Size(64, 64)]


@message("inner")
@dataclass(frozen=True, slots=True)
class Inner:
    """``seen`` is, in rooms, the log position up to which the sender has read, and ``head`` the first 16 bytes of the
    chain hash there: two who were shown different logs find out."""

    id: Bytes16
    counter: U53
    floor: U53
    sent_ms: U53
    body: Annotated[bytes, Size(1, 16 * 1024)]
    seen: U53 | None = None
    evidence: Evidence | None = None
    head: Bytes16 | None = None


@message("introduce")
@dataclass(frozen=True, slots=True)
class Introduce:
    """The name and avatar that the sender goes by here. A supporter's name comes with its Welcome instead."""

    name: Name
    avatar: Avatar


@message("text")
@dataclass(frozen=True, slots=True)
class Text:
    text: Annotated[str, Size(1, limits.TEXT_MAX)]


@message("ack")
@dataclass(frozen=True, slots=True)
class Ack:
    """End to end: all counters up to ``upto`` arrived, and those in ``beyond``."""

    upto: U53
    beyond: Annotated[tuple[U53, ...], Size(0, 64)]


@message("undecryptable")
@dataclass(frozen=True, slots=True)
class Undecryptable:
    """These arrived and did not open: seal them again, in the epoch that is now. Rooms: positions in the log."""

    counters: Annotated[tuple[U53, ...], Size(1, 64)]


@message("leave")
@dataclass(frozen=True, slots=True)
class Leave:
    """The sender is gone for good."""

    why: Annotated[str, OneOf("left", "blocked", "closed")]


@message("requeue")
@dataclass(frozen=True, slots=True)
class Requeue:
    """One to one: the sender's queue number ``route`` is lost; from now on send to ``address`` instead."""

    route: Annotated[int, Range(0, 1)]
    address: Annotated[bytes, Size(1, limits.QUEUE_ADDRESS_MAX)]


@message("seen")
@dataclass(frozen=True, slots=True)
class Seen:
    """Nothing to say but ``Inner.seen``."""


@message("heartbeat")
@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The host is there. A member whose digest differs is out of step and says Hello again."""

    epoch: U53
    digest: Bytes16


@dataclass(frozen=True, slots=True)
class Person:
    """A member as the host introduces it."""

    member: Bytes16
    name: Name
    avatar: Avatar


@message("roster")
@dataclass(frozen=True, slots=True)
class Roster:
    """The host names everybody, after each join: late joiners cannot read what was said before."""

    people: Annotated[tuple[Person, ...], Size(1, limits.ROOM_MEMBERS_MAX)]


@message("handover")
@dataclass(frozen=True, slots=True)
class Handover:
    """The host names the member who opens the next group."""

    member: Bytes16


# --- room life -------------------------------------------------------------------------------------------------------


@message("conduct")
@dataclass(frozen=True, slots=True)
class Conduct:
    """Who may speak here, whole, from the host: after every join and every change.

    With ``mute_first`` only ``voices`` may; ``muted`` never may; the host and ``helpers`` (who facilitate with it)
    always may. Between two texts of one member lie ``slow_ms`` at least.
    """

    mute_first: bool
    slow_ms: Annotated[int, Range(0, limits.SLOW_MODE_MAX_MS)]
    voices: Annotated[tuple[Bytes16, ...], Size(0, limits.ROOM_MEMBERS_MAX)] = ()
    muted: Annotated[tuple[Bytes16, ...], Size(0, limits.ROOM_MEMBERS_MAX)] = ()
    helpers: Annotated[tuple[Bytes16, ...], Size(0, limits.ROOM_MEMBERS_MAX)] = ()


@message("succession")
@dataclass(frozen=True, slots=True)
class Succession:
    """The host ends this room, and whoever has this card opens the next one for the same listing."""

    card: Bytes32


@message("whisper")
@dataclass(frozen=True, slots=True)
class Whisper:
    """For the host alone, in the log of all: a bundle under the key that member and host share since the Hello."""

    cells: Annotated[tuple[Annotated[bytes, Size(limits.CELL_SIZE, limits.CELL_SIZE)], ...], Size(1, 2)]


# --- one to one: threads and backup ----------------------------------------------------------------------------------


@message("thread-offer")
@dataclass(frozen=True, slots=True)
class ThreadOffer:
    """Let us be able to find each other again. ``share`` is the sender's half of the thread's secret."""

    share: Bytes32


@message("thread-answer")
@dataclass(frozen=True, slots=True)
class ThreadAnswer:
    """Yes, with the other half; or no, without one."""

    share: Bytes32 | None = None


@message("thread-here")
@dataclass(frozen=True, slots=True)
class ThreadHere:
    """The supporter still has the thread that the Hello showed."""

    proof: Bytes16


@message("backup-ask")
@dataclass(frozen=True, slots=True)
class BackupAsk:
    """The supporter asks whether a second peer may join."""

    words: Annotated[str, Size(0, limits.OPENING_LINE_MAX)]


@message("backup-answer")
@dataclass(frozen=True, slots=True)
class BackupAnswer:
    yes: bool


@message("invite")
@dataclass(frozen=True, slots=True)
class Invite:
    """Come to a room: say Hello at the sender's door with this attempt id. ``card`` is the signed record of the door,
    empty where the receiver came in by it."""

    attempt: Bytes16
    words: Annotated[str, Size(0, limits.OPENING_LINE_MAX)]
    card: Annotated[bytes, Size(0, 8192)]


# --- one to one: something long ---------------------------------------------------------------------------------------


@message("part")
@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a document that is longer than a message: a report's evidence. ``document`` is random."""

    document: Bytes16
    index: Annotated[int, Range(0, limits.PARTS_MAX - 1)]
    count: Annotated[int, Range(1, limits.PARTS_MAX)]
    data: Annotated[bytes, Size(1, limits.PART_MAX)]


Body: TypeAlias = (
    Introduce
    | Text
    | Ack
    | Undecryptable
    | Leave
    | Requeue
    | Seen
    | Heartbeat
    | Roster
    | Handover
    | Conduct
    | Succession
    | Whisper
    | ThreadOffer
    | ThreadAnswer
    | ThreadHere
    | BackupAsk
    | BackupAnswer
    | Invite
    | Part
    | Grant
    | TokenAsk
    | TokenGiven
    | TokenMissing
)
_BODIES: tuple[type[Body], ...] = (
    Introduce,
    Text,
    Ack,
    Undecryptable,
    Leave,
    Requeue,
    Seen,
    Heartbeat,
    Roster,
    Handover,
    Conduct,
    Succession,
    Whisper,
    ThreadOffer,
    ThreadAnswer,
    ThreadHere,
    BackupAsk,
    BackupAnswer,
    Invite,
    Part,
    Grant,
    TokenAsk,
    TokenGiven,
    TokenMissing,
)
_INNER_MAX = 20 * 1024


def clean(text: str, *, lines: bool = False) -> str:
    """``text`` as it may be shown: what could repaint a terminal or reorder a name is replaced, not refused, since a
    message that is already acknowledged must not vanish."""
    kept = "".join(char if _shown(char, lines) else "\N{REPLACEMENT CHARACTER}" for char in text)
    return kept.strip() or "\N{REPLACEMENT CHARACTER}"


def _shown(char: str, lines: bool) -> bool:
    try:
        check_text("text", f"x{char}x", lines=lines)
    except UsageError:
        return False
    return True


def pack_inner(inner: Inner) -> bytes:
    """Bytes for MLS to seal."""
    return to_wire(inner)


def unpack_inner(data: bytes) -> Inner:
    """The inverse; RemoteError for anything else."""
    return from_wire(data, (Inner,), max_size=_INNER_MAX)


def pack_body(body: Body) -> bytes:
    return to_wire(body)


def unpack_body(data: bytes) -> Body:
    return from_wire(data, _BODIES, max_size=_INNER_MAX)
