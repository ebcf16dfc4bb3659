"""The messages of ``/warmline/signal/1``; what they mean is in protocol/queues.md.

One channel of the connection is one person on one signal channel: ``join`` first, then signals both ways until either
side ends. The node keeps each sender's newest signal for as long as the sender stays, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from warmline_protocol import limits
from warmline_protocol.wire import Bytes16, Size, message

PROTOCOL: Final = "/warmline/signal/1"
Frame: TypeAlias = Annotated[bytes, Size(limits.SIGNAL_SIZE, limits.SIGNAL_SIZE)]


@message("signal-join")
@dataclass(frozen=True, slots=True)
class SignalJoin:
    """Be on a channel. Who knows its id may: it is a secret of the group, and another one each epoch."""

    channel: Bytes16


@message("signal-joined")
@dataclass(frozen=True, slots=True)
class SignalJoined:
    """The node passes signals on from now."""


@message("signal")
@dataclass(frozen=True, slots=True)
class Signal:
    """This sender's newest, in place of any before it."""

    frame: Frame


@message("signals")
@dataclass(frozen=True, slots=True)
class Signals:
    """What others on the channel said since the last batch: the newest of each, in no order. Empty ones say that the
    node is still there."""

    frames: Annotated[tuple[Frame, ...], Size(0, limits.SIGNAL_CHANNEL_MAX)]
