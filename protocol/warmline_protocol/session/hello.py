"""First contact: one sealed cell to a door, one sealed answer to the reply queues.

``Hello`` is sealed (HPKE X-Wing) to the contact key of the supporter's card and is always exactly one cell, so that a
door shows no more than that somebody knocked. The answer comes back under a key of the secret that the Hello carried;
an acceptance holds the Welcome envelope, sealed once more to the joiner's one-use X-Wing key. What ties it to the
person on the card is the statement inside (see ``evidence``): nothing of the supporter is shown before it verifies.

A contact key lives as long as its card, its private half a day longer: in between a Hello is answered ``stale``.
After that nobody can read it; the door is deleted, and its node's refusal is what tells the seeker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from warmline_protocol import limits
from warmline_protocol.codec import encode
from warmline_protocol.errors import BadSignatureError, MalformedError, OversizeError, RemoteError, UsageError
from warmline_protocol.keys import SigningKey, verify
from warmline_protocol.session import cells, xwing
from warmline_protocol.session.cells import Bundle, Draw, Kind
from warmline_protocol.session.evidence import (
    Statement,
    Verifier,
    check_statement,
    pair_chain,
    sign_statement,
)
from warmline_protocol.session.keyschedule import EpochKey, derive
from warmline_protocol.session.messages import Avatar, Name
from warmline_protocol.session.mls import Candidate, Group, Member
from warmline_protocol.wire import U53, Bytes16, Bytes32, OneOf, Size, from_wire, message, to_wire

Address: TypeAlias = Annotated[bytes, Size(1, limits.QUEUE_ADDRESS_MAX)]
"""An encoded queue address; opaque here."""

_HELLO_BODY = limits.CELL_SIZE - xwing.OVERHEAD
ANSWER_LABEL = "answer"


@dataclass(frozen=True, slots=True)
class PeerProof:
    """A supporter's delegated key and its signature over attempt, key package, contact key and wish.

    Whoever opens the Hello could show it to others, so a peer who knocks leaves the only trace here that proves
    anything: that this key asked the owner of that contact key for support. Seekers never send one.
    """

    key: Bytes32
    wants: Annotated[str, OneOf("backup", "debrief")]
    signature: Annotated[bytes, Size(64, 64)]


def _peer_line(attempt: bytes, key_package: bytes, contact: bytes, wants: str) -> bytes:
    digests = [hashlib.sha256(each).digest() for each in (key_package, contact)]
    return encode([attempt, *digests, wants])


@dataclass(frozen=True, slots=True)
class Peer:
    """What a supporter knocks with at another's door."""

    key: SigningKey
    wants: str


@message("hello")
@dataclass(frozen=True, slots=True)
class Hello:
    """What a seeker says to a door. Name, avatar and line may be empty: then they follow the acceptance."""

    attempt: Bytes16
    key_package: Annotated[bytes, Size(1, limits.KEY_PACKAGE_MAX)]
    kem: Annotated[bytes, Size(xwing.PUBLIC_SIZE, xwing.PUBLIC_SIZE)]
    nonce: Bytes32
    reply_secret: Bytes32
    replies: Annotated[tuple[Address, ...], Size(1, 2)]
    name: Annotated[str, Size(0, limits.NAME_MAX)]
    avatar: Annotated[bytes, Size(0, limits.AVATAR_SIZE)]
    line: Annotated[str, Size(0, limits.OPENING_LINE_MAX)]
    listing: Annotated[bytes, Size(0, 32)]
    """Record id of the room that is asked for; empty for the supporter."""
    accepted: Bytes32 | None = None
    """Hash of the room's rules that the seeker has read and accepted (:func:`rules_digest`)."""
    peer: PeerProof | None = None
    """Set by a supporter who knocks at another's door."""

    def check_peer(self, contact: bytes) -> None:
        """Raise :class:`BadSignatureError` unless ``peer``'s key signed this very Hello to this contact key."""
        if self.peer is None:
            raise BadSignatureError("a Hello that does not say to come from a peer")
        line = _peer_line(self.attempt, self.key_package, contact, self.peer.wants)
        verify(self.peer.key, "peer-hello", line, self.peer.signature)


def rules_digest(rules: Sequence[str]) -> bytes:
    """32 bytes that stand for these rules, as a listing has them: another word, another hash."""
    return hashlib.sha256(b"warmline/1/rules\0" + encode(list(rules))).digest()


def seal_hello(hello: Hello, contact: bytes) -> bytes:
    """One cell for the door whose card shows the 1216-byte ``contact`` key."""
    return seal_for_door(to_wire(hello), contact)


def open_hello(cell: bytes, keys: Sequence[xwing.SealingKey]) -> tuple[Hello, int]:
    """The Hello in a door's cell and which of ``keys`` opened it; :class:`MalformedError` for anything else."""
    body, index = open_at_door(cell, keys)
    return from_wire(body, (Hello,)), index


def seal_for_door(body: bytes, contact: bytes) -> bytes:
    """One cell with any message for a door; to its node all of them look the same."""
    padded = len(body).to_bytes(2) + body
    if len(padded) > _HELLO_BODY:
        raise UsageError(
            f"a Hello of {len(body)} bytes does not fit one cell", hint="Shorten the name or the opening line."
        )
    return xwing.seal(contact, padded.ljust(_HELLO_BODY, b"\0"), "hello")


def open_at_door(cell: bytes, keys: Sequence[xwing.SealingKey]) -> tuple[bytes, int]:
    """The message in a door's cell and which of ``keys`` opened it; :class:`MalformedError` for anything else."""
    if len(cell) != limits.CELL_SIZE:
        raise MalformedError(f"a Hello of {len(cell)} bytes; it is always one cell")
    for index, key in enumerate(keys):
        try:
            padded = key.open(cell, "hello")
        except MalformedError:
            continue
        size = int.from_bytes(padded[:2])
        if any(padded[2 + size :]):
            raise MalformedError("a Hello whose padding is not zero")
        return padded[2 : 2 + size], index
    raise MalformedError("a Hello to none of these keys")


@dataclass(frozen=True, slots=True)
class LogStart:
    """Where a room's newcomer begins to read: position and hash of the log after the commit that added it."""

    address: Address
    incarnation: Annotated[bytes, Size(1, 32)]
    after: U53
    head: Annotated[bytes, Size(0, 32)]


@message("welcome")
@dataclass(frozen=True, slots=True)
class Welcome:
    """Inside the envelope. ``queues`` are where the joiner sends (one to one); ``log`` is set for a room."""

    attempt: Bytes16
    epoch: U53
    outer_key: Bytes32
    mls: Annotated[bytes, Size(1, limits.WELCOME_MAX)]
    host: Bytes16
    supporter: Bytes32
    statement: Annotated[bytes, Size(64, 64)]
    chain: Bytes32
    name: Name
    avatar: Avatar
    queues: Annotated[tuple[Address, ...], Size(0, 2)]
    log: LogStart | None = None


@message("accepted")
@dataclass(frozen=True, slots=True)
class Accepted:
    attempt: Bytes16
    envelope: Annotated[bytes, Size(xwing.OVERHEAD, cells.BUNDLE_MAX - 64)]


@message("declined")
@dataclass(frozen=True, slots=True)
class Declined:
    """``why`` gives no reason of the person: declined, busy, or a contact key that is no longer in use."""

    attempt: Bytes16
    why: Annotated[str, OneOf("declined", "busy", "stale")]


@message("moved")
@dataclass(frozen=True, slots=True)
class Moved:
    """Control: the room's log is somewhere else now. Offer again what the host has not acknowledged."""

    attempt: Bytes16
    log: LogStart


@message("removed")
@dataclass(frozen=True, slots=True)
class Removed:
    """Control: the host took this member out; the log no longer opens for it."""

    attempt: Bytes16


@message("invited")
@dataclass(frozen=True, slots=True)
class Invited:
    """Control: the host asks this member for a word in private. Whoever wants it says Hello with attempt ``aside``."""

    attempt: Bytes16
    aside: Bytes16


Answer: TypeAlias = Accepted | Declined | Moved | Removed | Invited
_ANSWERS: tuple[type[Answer], ...] = (Accepted, Declined, Moved, Removed, Invited)


def answer_key(reply_secret: bytes) -> EpochKey:
    """The key of answers and of a room's control messages; it exists before any epoch, hence number 0."""
    return EpochKey(0, derive(reply_secret, ANSWER_LABEL))


def seal_answer(answer: Answer, reply_secret: bytes, draw: Draw) -> tuple[bytes, ...]:
    """Cells for a reply queue."""
    bundle = Bundle(Kind.ANSWER, 0, 0, draw(8), to_wire(answer))
    return cells.seal(bundle, answer_key(reply_secret).key, ANSWER_LABEL, draw)


def parse_answer(bundle: Bundle) -> Answer:
    """The answer in a bundle that :func:`answer_key` opened."""
    if bundle.kind is not Kind.ANSWER:
        raise MalformedError("a bundle that is no answer")
    return from_wire(bundle.payload, _ANSWERS)


def welcome_answer(hello: Hello, welcome: Welcome) -> Accepted:
    """The acceptance with its envelope sealed to the Hello's one-use key."""
    return Accepted(hello.attempt, xwing.seal(hello.kem, to_wire(welcome), "welcome"))


def make_welcome(
    hello: Hello,
    *,
    key: SigningKey,
    group: Group,
    epoch: EpochKey,
    mls_welcome: bytes,
    chain: bytes,
    name: str,
    avatar: bytes,
    queues: tuple[bytes, ...] = (),
    log: LogStart | None = None,
) -> Welcome:
    """The Welcome of the host ``group.me``, with the statement signed by its delegated ``key``."""
    if len(mls_welcome) > limits.WELCOME_MAX:
        raise OversizeError("an MLS Welcome above its limit")
    statement = sign_statement(key, hello.key_package, group.group_id, group.me.key, hello.nonce, chain)
    return Welcome(
        hello.attempt,
        epoch.number,
        epoch.key,
        mls_welcome,
        group.me.id,
        key.public,
        statement,
        chain,
        name,
        avatar,
        queues,
        log,
    )


@dataclass(frozen=True, slots=True)
class Joined:
    """What a joiner has once the Welcome opened and the supporter's statement verified."""

    group: Group
    epoch: EpochKey
    host: Member
    welcome: Welcome
    verifier: Verifier


class Knock:
    """The seeker's side of one first contact. Lives in memory only: after a restart a fresh one takes its place."""

    def __init__(
        self,
        candidate: Candidate,
        draw: Draw,
        replies: tuple[bytes, ...],
        *,
        name: str = "",
        avatar: bytes = b"",
        line: str = "",
        listing: bytes = b"",
        attempt: bytes | None = None,
        accepted: bytes | None = None,
        peer: Peer | None = None,
    ) -> None:
        self._candidate = candidate
        self._peer = peer
        self._kem = xwing.SealingKey(draw(32))
        self.hello = Hello(
            attempt if attempt is not None else draw(16),
            candidate.key_package,
            self._kem.public,
            draw(32),
            draw(32),
            replies,
            name,
            avatar,
            line,
            listing,
            accepted,
        )

    def cell(self, contact: bytes) -> bytes:
        """The sealed cell for the door."""
        hello = self.hello
        if self._peer is not None:
            key, wants = self._peer.key, self._peer.wants
            line = _peer_line(hello.attempt, hello.key_package, contact, wants)
            hello = replace(hello, peer=PeerProof(key.public, wants, key.sign("peer-hello", line)))
        return seal_hello(hello, contact)

    def join(self, accepted: Accepted, supporter: bytes) -> Joined:
        """Open the envelope and check it against the card's key.

        :class:`BadSignatureError`: whoever answered is not the person on the card. :class:`MalformedError`: the
        Welcome does not open; say Hello again with the same attempt id.
        """
        sealed = accepted.envelope
        welcome = from_wire(self._kem.open(sealed, "welcome"), (Welcome,))
        if welcome.attempt != self.hello.attempt:
            raise MalformedError("a Welcome for another Hello")
        if welcome.supporter != supporter:
            raise BadSignatureError("the answer comes from another key than the card's")
        group = self._candidate.join(welcome.mls)
        host = next((each for each in group.roster() if each.id == welcome.host), None)
        if host is None or host == group.me:
            raise MalformedError("a group without its host")
        check_statement(
            supporter,
            welcome.statement,
            self.hello.key_package,
            group.group_id,
            host.key,
            self.hello.nonce,
            welcome.chain,
        )
        if welcome.log is None and welcome.chain != pair_chain(self.hello.nonce, group.group_id):
            raise BadSignatureError("a one-to-one session whose evidence is not bound to this Hello")
        epoch = EpochKey(welcome.epoch, welcome.outer_key)
        statement = Statement(
            hashlib.sha256(self.hello.key_package).digest(),
            group.group_id,
            host.key,
            self.hello.nonce,
            welcome.chain,
            welcome.statement,
        )
        return Joined(group, epoch, host, welcome, Verifier(supporter, welcome.chain, statement))


class AnswerReader:
    """Cells of a reply queue in, answers out; what is not an answer to this Hello is passed over."""

    def __init__(self, reply_secret: bytes) -> None:
        self._key = answer_key(reply_secret)
        self._joiner = cells.Joiner()

    def feed(self, cell: bytes) -> Answer | None:
        """The answer that this cell completes, if it does."""
        fragment = cells.open_any(cell, (self._key,), ANSWER_LABEL)
        bundle = None if fragment is None else self._joiner.add(fragment)
        if bundle is None:
            return None
        try:
            return parse_answer(bundle)
        except RemoteError:
            return None
