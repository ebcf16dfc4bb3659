"""What a session tells the person, and what it asks of whoever drives it.

Events are for people (and the programs that show them); outputs are for the driver. Message states, exactly:

``waiting``    in the outbox; no node holds it yet
``held``       receipted by the nodes named in ``by``, who keep it until ``until_ms`` at least; not yet delivered.
               With a ``why`` this is the last word: this side ended, and will not hear whether it was read
``delivered``  the other side's client has it (rooms: the host has it, or a member has the host's)
``expired``    it was offered until its time ran out; nobody acknowledged it
``refused``    it will not go; ``why`` says why
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

State: TypeAlias = Literal["waiting", "held", "delivered", "expired", "refused"]
FINAL: frozenset[State] = frozenset({"delivered", "expired", "refused"})


@dataclass(frozen=True, slots=True)
class MessageState:
    """Where one of this side's messages is. ``by``: the nodes that hold it, or who has it."""

    id: bytes
    state: State
    by: tuple[str, ...] = ()
    why: str = ""
    until_ms: int = 0

    @property
    def last(self) -> bool:
        """Whether nothing more will be told of this message."""
        return self.state in FINAL or (self.state == "held" and bool(self.why))


@dataclass(frozen=True, slots=True)
class TextReceived:
    """``signed``: the supporter's signature verified. ``late``: later messages were shown before it.

    ``again``: this program ended before it was sure that it had been shown, so it may have been.
    """

    id: bytes
    sender: bytes
    name: str
    text: str
    sent_ms: int
    signed: bool = False
    late: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class GrantOffered:
    """The supporter shows a grant (``feedback.messages.Grant``, packed) under which a token can be had."""

    grant: bytes


@dataclass(frozen=True, slots=True)
class TokenAsked:
    """The seeker wants this signed by the issuer."""

    blinded: bytes


@dataclass(frozen=True, slots=True)
class TokenArrived:
    """What the issuer signed."""

    signed: bytes


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """No token: no grant, no voucher, issuer away, refused."""

    why: str


@dataclass(frozen=True, slots=True)
class PartReceived:
    """Part ``index`` of ``count`` of something long, that both sides know by its id ``document``."""

    id: bytes
    document: bytes
    index: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of the other side that will not come, or not in their place."""

    sender: bytes
    count: int


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody is here. For the seeker the first one is the supporter, after its statement verified."""

    member: bytes
    name: str
    avatar: bytes
    host: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """``why``: left, blocked, closed, removed."""

    member: bytes
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class PeerAway:
    """A message has been held for a while and nobody fetched it."""


@dataclass(frozen=True, slots=True)
class PeerBack:
    """Something came from the other side again."""


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """The room's host has been silent for two minutes: nothing can be said until it is back."""


@dataclass(frozen=True, slots=True)
class Writable:
    """The host is back."""


@dataclass(frozen=True, slots=True)
class SuccessorNamed:
    """The host hands over: this member opens the next group."""

    member: bytes
    name: str


# --- room life -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SuccessionNamed:
    """The host ends this room; whoever has this card opens the next one for the same listing."""

    card: bytes


@dataclass(frozen=True, slots=True)
class Muted:
    """This member's texts are not shown from here on. One's own id: nothing can be said for now."""

    member: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Unmuted:
    """This member may speak again, or for the first time."""

    member: bytes
    name: str


@dataclass(frozen=True, slots=True)
class SlowMode:
    """So long lies between two texts of one member from here on; 0 ends it."""

    ms: int


@dataclass(frozen=True, slots=True)
class CoFacilitates:
    """This member facilitates with the host: may mute, unmute and remove. ``ended``: no more."""

    member: bytes
    name: str
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Rejoined:
    """This member had lost the thread and is back, under another id."""

    before: bytes
    member: bytes
    name: str


@dataclass(frozen=True, slots=True)
class AsideAsked:
    """The host asks this person for a word in private; nothing happens without a yes."""

    aside: bytes
    name: str


@dataclass(frozen=True, slots=True)
class AsideAnswered:
    """To the host: this member's answer. After a yes a Hello with the attempt ``aside`` comes to the card's door."""

    aside: bytes
    member: bytes
    name: str
    yes: bool


@dataclass(frozen=True, slots=True)
class Facilitated:
    """To the host: a co-facilitator had this done (mute, unmute, remove)."""

    member: bytes
    name: str
    verb: str
    target: str


@dataclass(frozen=True, slots=True)
class SecondFacilitatorGone:
    """To the host: so many people are here and nobody facilitates with it; nobody more can come in."""

    people: int


@dataclass(frozen=True, slots=True)
class OutOfStep:
    """This side lost the thread (a fork, a lost commit) and reads no more: a Hello with the same attempt id helps."""

    why: str


@dataclass(frozen=True, slots=True)
class ThreadOffered:
    """One to one: the other side would like both to find each other again. Answer yes or no."""


@dataclass(frozen=True, slots=True)
class ThreadAgreed:
    """Both said yes: each may keep the thread, and each may forget it."""


@dataclass(frozen=True, slots=True)
class ThreadDeclined:
    """They would rather not. Nothing was kept."""


@dataclass(frozen=True, slots=True)
class ThreadKnown:
    """The other side proved that it still has the thread by which this side came back."""


@dataclass(frozen=True, slots=True)
class BackupAsked:
    """The supporter asks whether a second peer may join. Nobody joins without a yes."""

    words: str


@dataclass(frozen=True, slots=True)
class BackupAnswered:
    """The seeker's answer to that question."""

    yes: bool


@dataclass(frozen=True, slots=True)
class Invited:
    """The supporter opened a room: knock at the door on ``card`` (a signed record) with this attempt id.

    ``card`` is empty where the door is the one that this conversation came in by.
    """

    attempt: bytes
    words: str
    card: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The end. ``why``: left, peer left, removed, host gone, unproven, declined, busy, stale, no answer."""

    why: str


Event: TypeAlias = (
    MessageState
    | TextReceived
    | PartReceived
    | GrantOffered
    | TokenAsked
    | TokenArrived
    | TokenRefused
    | Gap
    | Joined
    | Left
    | PeerAway
    | PeerBack
    | ReadOnly
    | Writable
    | SuccessorNamed
    | SuccessionNamed
    | Muted
    | Unmuted
    | SlowMode
    | CoFacilitates
    | Rejoined
    | AsideAsked
    | AsideAnswered
    | Facilitated
    | SecondFacilitatorGone
    | OutOfStep
    | ThreadOffered
    | ThreadAgreed
    | ThreadDeclined
    | ThreadKnown
    | BackupAsked
    | BackupAnswered
    | Invited
    | Closed
)

_LASTING: dict[str, type[Any]] = {
    each.__name__: each
    for each in (
        MessageState,
        TextReceived,
        PartReceived,
        Gap,
        Left,
        ThreadOffered,
        ThreadAgreed,
        ThreadDeclined,
        BackupAsked,
        BackupAnswered,
        Invited,
        Closed,
    )
}
"""Events that a person must not miss. The others say how things are, and come again when they change."""


def is_lasting(event: object) -> bool:
    """Whether a restart must tell this event again when nobody confirmed that it was shown."""
    if isinstance(event, MessageState):
        return event.last
    return type(event).__name__ in _LASTING


def event_fields(event: Event) -> list[Any]:
    """A lasting event for a snapshot."""
    values = (getattr(event, field.name) for field in dataclasses.fields(event))
    return [type(event).__name__, *(list(each) if isinstance(each, tuple) else each for each in values)]


def event_of(fields: list[Any]) -> Event:
    """The inverse."""
    name, *values = fields
    event: Event = _LASTING[name](*(tuple(each) if isinstance(each, list) else each for each in values))
    return event


def told_again(event: Event) -> Event:
    """The event as a restart tells it."""
    return dataclasses.replace(event, again=True) if isinstance(event, TextReceived) else event


@dataclass(frozen=True, slots=True)
class Append:
    """Append ``cells``, together, to the peer's queue number ``route`` (rooms: 0 is the log, with its ``fence``).

    Answer with ``receipted(token, ...)`` or ``append_failed(token, ...)``.
    """

    token: int
    route: int
    cells: tuple[bytes, ...]
    fence: int = 0


@dataclass(frozen=True, slots=True)
class AppendCommit:
    """Append the commit that ends an epoch and switch the log to ``fence`` and the new keys, in one step."""

    token: int
    cells: tuple[bytes, ...]
    fence: int
    send_key: bytes
    read_key: bytes


@dataclass(frozen=True, slots=True)
class AppendControl:
    """Append to a member's own reply queues (each address in turn until one takes it)."""

    token: int
    addresses: tuple[bytes, ...]
    cells: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class UseRoute:
    """One to one: the peer's queue number ``route`` is at another address from now on. Saved with the session."""

    route: int
    address: bytes


@dataclass(frozen=True, slots=True)
class UseKeys:
    """The log's keys changed: append and read with these from now on."""

    fence: int
    send_key: bytes
    read_key: bytes


@dataclass(frozen=True, slots=True)
class UseLog:
    """The room's log is at another address now: read it from ``after``."""

    address: bytes
    incarnation: bytes
    after: int


@dataclass(frozen=True, slots=True)
class OpenLog:
    """The room's log is not to be trusted: make another one elsewhere, then call ``log_ready``."""


Output: TypeAlias = Append | AppendCommit | AppendControl | UseRoute | UseKeys | UseLog | OpenLog
