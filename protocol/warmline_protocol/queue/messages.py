"""The messages of ``/warmline/queue/1``; what they mean is in protocol/queues.md.

One question, one answer, on a channel that carries many; only ``follow`` turns its channel into a stream. Optional
fields are absent when they do not apply to the queue's kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.wire import U53, Bytes16, Bytes32, OneOf, Range, Size, message

PROTOCOL: Final = "/warmline/queue/1"
QUEUE, DOOR, LOG = "queue", "door", "log"
CAPS: Final = {QUEUE: limits.QUEUE_CAP_MAX, DOOR: limits.DOOR_CAP_MAX, LOG: limits.LOG_CAP_MAX}

Cell: TypeAlias = Annotated[bytes, Size(limits.CELL_SIZE, limits.CELL_SIZE)]
Cells16: TypeAlias = Annotated[tuple[Cell, ...], Size(1, limits.QUEUE_CELLS_MAX)]
Signature: TypeAlias = Annotated[bytes, Size(64, 64)]
Work: TypeAlias = Annotated[bytes, Size(4 * limits.WORK_PARTS, 4 * limits.WORK_PARTS)]
Ttl: TypeAlias = Annotated[int, Range(limits.CELL_TTL_MIN_MS, limits.CELL_TTL_MAX_MS)]
Life: TypeAlias = Annotated[int, Range(limits.QUEUE_LIFE_MIN_MS, limits.QUEUE_LIFE_MAX_MS)]


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a reader has come: the last ``seq`` it has, within one life (``incarnation``) of the log."""

    incarnation: Bytes16
    seq: U53


# -- what clients ask


@message("challenge")
@dataclass(frozen=True, slots=True)
class Challenge:
    """Ask for the nonce that owners sign on this channel."""


@message("create")
@dataclass(frozen=True, slots=True)
class Create:
    """Make the queue that belongs to ``owner``; its id follows from that key, so that asking twice makes one.

    A queue has ``send_hash``, a room log ``send_hash``, ``read_hash`` and ``fence``, a door none of them. A queue or
    door with ``release_at`` is a drop: it takes cells at once and shows them from that time on. Signed by the owner.
    """

    kind: Annotated[str, OneOf(QUEUE, DOOR, LOG)]
    owner: Bytes32
    cap: Annotated[int, Range(1, limits.LOG_CAP_MAX)]
    cell_ttl_ms: Ttl
    life_ms: Life
    signature: Signature
    send_hash: Bytes32 | None = None
    read_hash: Bytes32 | None = None
    fence: U53 | None = None
    release_at: U53 | None = None

    def __post_init__(self) -> None:
        has = (self.send_hash is not None, self.read_hash is not None, self.fence is not None)
        if has != (self.kind != DOOR, self.kind == LOG, self.kind == LOG):
            raise UsageError(f"a {self.kind} is created with other keys than these")
        if self.release_at is not None and self.kind == LOG:
            raise UsageError(f"a {self.kind} has no release time")
        if self.cap > CAPS[self.kind]:
            raise UsageError(f"a {self.kind} holds at most {CAPS[self.kind]} cells")


@message("append")
@dataclass(frozen=True, slots=True)
class Append:
    """Add cells, all or none. ``fence`` for room logs; ``work`` where a door asked for it."""

    queue: Bytes16
    cells: Cells16
    send_key: Bytes32 | None = None
    fence: U53 | None = None
    work: Work | None = None
    challenge: Bytes32 | None = None


@message("append-commit")
@dataclass(frozen=True, slots=True)
class AppendCommit:
    """Add the cells that end epoch ``fence`` and begin ``fence + 1`` with these keys, all or nothing. Signed."""

    queue: Bytes16
    fence: U53
    cells: Cells16
    send_hash: Bytes32
    read_hash: Bytes32
    signature: Signature
    new_owner: Bytes32 | None = None


@message("read")
@dataclass(frozen=True, slots=True)
class Read:
    """The cells after ``cursor`` (all without one), as owner by ``signature`` or in a room log by ``read_key``."""

    queue: Bytes16
    cursor: Cursor | None = None
    signature: Signature | None = None
    read_key: Bytes32 | None = None


@message("follow")
@dataclass(frozen=True, slots=True)
class Follow:
    """As ``read``, and then every cell as it comes. Uses up the channel."""

    queue: Bytes16
    cursor: Cursor | None = None
    signature: Signature | None = None
    read_key: Bytes32 | None = None


@message("taken")
@dataclass(frozen=True, slots=True)
class Taken:
    """A follower has taken cells up to ``seq`` out of the stream. Deletes nothing. Also answers a heartbeat."""

    seq: U53


@message("ack")
@dataclass(frozen=True, slots=True)
class Ack:
    """Delete up to ``cursor``: the reader has them safe. Not for room logs. Signed."""

    queue: Bytes16
    cursor: Cursor
    signature: Signature


@message("remove")
@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the queue with all it holds. Signed."""

    queue: Bytes16
    signature: Signature


# -- what nodes answer (or the common ``refused``)


@message("nonce")
@dataclass(frozen=True, slots=True)
class Nonce:
    """Valid on this channel, for as long as it lives."""

    nonce: Bytes32


@message("created")
@dataclass(frozen=True, slots=True)
class Created:
    """The queue exists until ``until_ms``, longer if its owner shows signs of life."""

    queue: Bytes16
    incarnation: Bytes16
    until_ms: U53


@message("receipt")
@dataclass(frozen=True, slots=True)
class Receipt:
    """The cells are on the disk; the last is number ``seq``, ``chain`` is the hash chain after it. The node keeps them
    until they are acknowledged, or until ``until_ms``."""

    incarnation: Bytes16
    seq: U53
    chain: Bytes32
    until_ms: U53


@message("work-needed")
@dataclass(frozen=True, slots=True)
class WorkNeeded:
    """The door is over half full: append again with ``work`` for this challenge."""

    challenge: Bytes32
    bits: Annotated[int, Range(1, limits.WORK_BITS_MAX)]


@message("cells")
@dataclass(frozen=True, slots=True)
class Cells:
    """Cells ``first``, ``first + 1``, …, all appended under ``fence``; ``before`` is the chain ahead of the first.
    ``head`` is the last cell that this reader may see."""

    incarnation: Bytes16
    fence: U53
    first: U53
    before: Bytes32
    head: U53
    cells: Annotated[tuple[Cell, ...], Size(0, limits.QUEUE_CELLS_MAX)]


@message("heartbeat")
@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The node is there and ``head`` is the last cell that this follower may see. The first frame of every follow."""

    incarnation: Bytes16
    head: U53


@message("acked")
@dataclass(frozen=True, slots=True)
class Acked:
    """Cells up to ``base`` are gone."""

    base: U53


@message("removed")
@dataclass(frozen=True, slots=True)
class Removed:
    """The queue is gone."""


Request: TypeAlias = Challenge | Create | Append | AppendCommit | Read | Follow | Ack | Remove
REQUESTS: Final[tuple[type[Request], ...]] = (Challenge, Create, Append, AppendCommit, Read, Follow, Ack, Remove)
