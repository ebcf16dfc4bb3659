"""Signals: who is here, away or typing, where they sit, how they are, and small gestures. Seen now or not at all.

A signal is 128 bytes: ``salt (32) ‖ ChaCha20-Poly1305``, under a key used once, derived from the epoch's signal secret
and the salt. The secret comes from the MLS exporter (label ``SIGNAL_LABEL``) and the outer key, so that a recording is
as hard to open as one of cells; the channel's id comes from the secret, so that a node cannot tell which room or
conversation it serves, nor link two epochs, and who was removed does not find the next channel.

Signals are lossy by design: a sender's newest counts, a counter inside drops replays, and what nobody repeats fades.
Any member holds the secret, so a member of a room can pose as another *in signals*; nothing that matters hangs on them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, UsageError
from warmline_protocol.session.cells import Draw
from warmline_protocol.session.keyschedule import derive

SIGNAL_LABEL: Final = b"warmline/1/signal"
PRESENCES: Final = ("here", "away", "gone")
MOODS: Final = ("", "calm", "tired", "sad", "tense", "angry", "numb", "hopeful", "glad")
GESTURES: Final = ("", "nod", "wave", "hand", "heart", "breathe")
"""What a signal can say, by number on the wire; the first of each says nothing in particular."""
SEAT_MAX: Final = limits.ROOM_SEATS_MAX

_VERSION = 1
_SALT, _TAG = 32, 16
# version, sender, counter, presence, typing, seat, mood, gesture, number of the gesture
_BODY = struct.Struct(">B16sQBBBBBB")
_PADDING = bytes(limits.SIGNAL_SIZE - _SALT - _TAG - _BODY.size)
TYPING_SHOWN_MS: Final = limits.TYPING_MS + limits.SIGNAL_EVERY_MS + 2 * limits.SIGNAL_BATCH_MS


@dataclass(frozen=True, slots=True)
class State:
    """What one person signals. ``seat``: 0 for none, else 1 to 50. ``gesture_no`` (1 to 255, around) tells one gesture
    from the next."""

    presence: str = "here"
    typing: bool = False
    seat: int = 0
    mood: str = ""
    gesture: str = ""
    gesture_no: int = 0

    def __post_init__(self) -> None:
        known = self.presence in PRESENCES and self.mood in MOODS and self.gesture in GESTURES
        if not known or not 0 <= self.seat <= SEAT_MAX or not 0 <= self.gesture_no <= 255:
            raise UsageError("a signal cannot say this", hint=f"Moods: {', '.join(MOODS[1:])}. Seats: 1 to {SEAT_MAX}.")


@dataclass(frozen=True, slots=True)
class SignalKeys:
    """One epoch's secret and the id of its channel."""

    secret: bytes
    channel: bytes

    @classmethod
    def of(cls, outer: bytes, exporter: bytes) -> SignalKeys:
        """From the epoch's outer key and 32 bytes of its MLS exporter with ``SIGNAL_LABEL`` and no context."""
        secret = derive(outer, "signal secret", salt=exporter)
        return cls(secret, derive(secret, "signal channel", size=16))


def seal(keys: SignalKeys, sender: bytes, counter: int, state: State, draw: Draw) -> bytes:
    """The 128 bytes of one signal. ``counter`` only rises: the sender's time in ms UTC, or one more than the last."""
    body = _BODY.pack(
        _VERSION,
        sender,
        counter,
        PRESENCES.index(state.presence),
        state.typing,
        state.seat,
        MOODS.index(state.mood),
        GESTURES.index(state.gesture),
        state.gesture_no,
    )
    salt = draw(_SALT)
    return salt + _cipher(keys, salt).encrypt(bytes(12), body + _PADDING, keys.channel)


def open_frame(keys: SignalKeys, frame: bytes) -> tuple[bytes, int, State]:
    """(sender, counter, state) of a signal; MalformedError for anything that no member sealed in this epoch."""
    if len(frame) != limits.SIGNAL_SIZE:
        raise MalformedError("a signal of another size")
    salt = frame[:_SALT]
    try:
        plain = _cipher(keys, salt).decrypt(bytes(12), frame[_SALT:], keys.channel)
    except InvalidTag:
        raise MalformedError("a signal that does not open") from None
    version, sender, counter, presence, typing, seat, mood, gesture, number = _BODY.unpack_from(plain)
    if version != _VERSION or plain[_BODY.size :] != _PADDING or typing > 1:
        raise MalformedError("a signal in another form")
    try:
        return sender, counter, State(PRESENCES[presence], bool(typing), seat, MOODS[mood], GESTURES[gesture], number)
    except (IndexError, UsageError):
        raise MalformedError("a signal that says something unknown") from None


def _cipher(keys: SignalKeys, salt: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(derive(keys.secret, "signal frame", salt=salt))


@dataclass(frozen=True, slots=True)
class Seen:
    """Somebody's state changed. ``gesture`` only in the one change that brings it; ``gone`` ends what was known."""

    member: bytes
    state: State


@dataclass(slots=True)
class _Other:
    state: State
    heard_ms: int


def _lasting(state: State) -> State:
    """Without the gesture, which is seen once."""
    return replace(state, gesture="", gesture_no=0)


class SignalBoard:
    """One person's signals and what they see of the others': times in, frames out; frames in, changes out."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._keys: SignalKeys | None = None
        self._me = b""
        self._members: frozenset[bytes] = frozenset()
        self._others: dict[bytes, _Other] = {}
        self._heard: dict[bytes, int] = {}  # counters; also of those who are gone, so that nobody plays them back
        self._mine = State()
        self._typing_until = self._gesture_until = 0
        self._counter = 0
        self._sent: State | None = None
        self._sent_ms = 0
        self.refused = 0
        """Frames that nobody in this epoch sealed, that were replayed, or that are old."""

    @property
    def mine(self) -> State:
        return self._mine

    @property
    def others(self) -> dict[bytes, State]:
        """What is known of the others, by member id."""
        return {member: other.state for member, other in sorted(self._others.items())}

    # -- epochs

    def rekey(self, keys: SignalKeys, me: bytes, members: Iterable[bytes]) -> list[Seen]:
        """Another epoch: nothing was said in it yet. Who is no member any more is gone."""
        self._keys, self._me, self._members, self._sent = keys, me, frozenset(members) - {me}, None
        self._heard = {member: counter for member, counter in self._heard.items() if member in self._members}
        return [self._forget(member) for member in sorted(self._others) if member not in self._members]

    # -- saying

    def set(
        self,
        now_ms: int,
        *,
        presence: str | None = None,
        typing: bool | None = None,
        seat: int | None = None,
        mood: str | None = None,
        gesture: str | None = None,
    ) -> None:
        """Change what is said; what is not named stays. Typing ends by itself, a gesture is made once."""
        mine = self._mine
        said = {"presence": presence, "typing": typing, "seat": seat, "mood": mood, "gesture": gesture}
        mine = replace(mine, **{name: value for name, value in said.items() if value is not None})  # type: ignore[arg-type]
        if typing:
            self._typing_until = now_ms + limits.TYPING_MS
        if gesture:
            self._gesture_until = now_ms + limits.GESTURE_MS
            mine = replace(mine, gesture_no=mine.gesture_no % 255 + 1)
        self._mine = mine

    def due_ms(self) -> int | None:
        """When the next frame should be made; None before the first epoch."""
        if self._keys is None:
            return None
        if self._sent is None:
            return 0
        earliest = self._sent_ms + limits.SIGNAL_EVERY_MS
        if self._mine != self._sent:
            return earliest
        again = limits.TYPING_MS - limits.SIGNAL_EVERY_MS if self._mine.typing else limits.SIGNAL_AGAIN_MS
        ends = [self._typing_until] if self._mine.typing else []
        ends += [self._gesture_until] if self._mine.gesture else []
        return max(earliest, min([self._sent_ms + again, *ends]))

    def frame(self, now_ms: int) -> bytes | None:
        """The frame to send now, or None when none is due."""
        self._fade(now_ms)
        due = self.due_ms()
        # A clock that was set back must not silence anybody for as long.
        if self._keys is None or due is None or (now_ms < due and now_ms >= self._sent_ms):
            return None
        self._counter = max(self._counter + 1, now_ms)
        self._sent, self._sent_ms = self._mine, now_ms
        return seal(self._keys, self._me, self._counter, self._mine, self._draw)

    def farewell(self, now_ms: int) -> bytes | None:
        """A last frame that says so; it need not wait for its turn, and nothing follows it."""
        if self._keys is None:
            return None
        self._counter = max(self._counter + 1, now_ms)
        return seal(self._keys, self._me, self._counter, replace(State(), presence="gone"), self._draw)

    def _fade(self, now_ms: int) -> None:
        if self._mine.typing and now_ms >= self._typing_until:
            self._mine = replace(self._mine, typing=False)
        if self._mine.gesture and now_ms >= self._gesture_until:
            self._mine = replace(self._mine, gesture="")

    # -- hearing

    def hear(self, frames: Iterable[bytes], now_ms: int) -> list[Seen]:
        """What a batch changes. Forged, replayed, old and foreign frames change nothing."""
        return [seen for frame in frames if (seen := self._hear_one(frame, now_ms)) is not None]

    def tick(self, now_ms: int) -> list[Seen]:
        """What time changes: who was not heard for long is gone, typing fades."""
        seen = []
        for member, other in sorted(self._others.items()):
            silent = now_ms - other.heard_ms
            if silent > limits.SIGNAL_LIFE_MS:
                seen.append(self._forget(member))
            elif other.state.typing and silent > TYPING_SHOWN_MS:
                other.state = replace(other.state, typing=False)
                seen.append(Seen(member, _lasting(other.state)))
        return seen

    def _hear_one(self, frame: bytes, now_ms: int) -> Seen | None:
        assert self._keys is not None
        try:
            sender, counter, state = open_frame(self._keys, frame)
        except MalformedError:
            self.refused += 1
            return None
        stale = abs(now_ms - counter) > limits.SIGNAL_LIFE_MS + limits.CLOCK_SKEW_MS
        if sender not in self._members or stale or counter <= self._heard.get(sender, -1):
            self.refused += 1
            return None
        self._heard[sender] = counter
        old = self._others.get(sender)
        if state.presence == "gone":
            return None if old is None else self._forget(sender)
        self._others[sender] = _Other(state, now_ms)
        fresh = bool(state.gesture) and (old is None or old.state.gesture_no != state.gesture_no)
        if old is not None and not fresh and _lasting(old.state) == _lasting(state):
            return None
        return Seen(sender, state if fresh else _lasting(state))

    def _forget(self, member: bytes) -> Seen:
        del self._others[member]
        return Seen(member, State(presence="gone"))
