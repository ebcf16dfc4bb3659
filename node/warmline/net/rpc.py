"""Typed calls over channels: one message there, one of the expected messages back, refusals as errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import trio

from warmline.net.streams import LINGER, Channel
from warmline_protocol.errors import ChannelClosed, RefusedError, RemoteError, WarmlineError
from warmline_protocol.limits import REFUSAL_TEXT_MAX
from warmline_protocol.records.text import printable
from warmline_protocol.wire import Refused, from_wire, to_wire

A = TypeVar("A")
Q = TypeVar("Q")


async def call(channel: Channel, msg: object, answers: tuple[type[A], ...], *, deadline: float | None = None) -> A:
    """Send ``msg`` and return the answer; :class:`RefusedError` when the other side says no."""
    await channel.send(to_wire(msg), deadline=deadline)
    return await expect(channel, answers, deadline=deadline)


async def expect(channel: Channel, answers: tuple[type[A], ...], *, deadline: float | None = None) -> A:
    """The next message, which must be one of ``answers``; a broken one resets the channel."""
    data = await channel.receive(deadline=deadline)
    try:
        kinds: tuple[type[object], ...] = (*answers, Refused)
        answer = from_wire(data, kinds, max_size=channel.max_frame)
    except RemoteError:
        with trio.move_on_after(LINGER, shield=True):
            await channel.abort()
        raise
    if isinstance(answer, Refused):
        raise RefusedError(printable(answer.code), printable(answer.why), hint=printable(answer.hint) or None)
    return cast(A, answer)


def refusal(error: WarmlineError, code: str = "refused") -> Refused:
    """``error`` as the wire message that tells the other side."""
    name = error.code if isinstance(error, RefusedError) else code
    return Refused(name[:40], error.message[:REFUSAL_TEXT_MAX], error.hint[:REFUSAL_TEXT_MAX])


async def answer_calls(
    channel: Channel,
    questions: tuple[type[Q], ...],
    answer: Callable[[Q], Awaitable[object]],
    *,
    deadline: float | None = None,
    max_question: int | None = None,
) -> None:
    """Answer one question after another until the other side ends; what ``answer`` refuses is told in words.

    ``max_question`` is in bytes, where questions are smaller than the answers that the channel's frames must hold.

    Only :class:`RefusedError` crosses the wire: other errors are this node's own and reset the channel.
    """
    while True:
        try:
            data = await channel.receive(deadline=deadline)
        except ChannelClosed:
            return
        question = from_wire(data, questions, max_size=max_question or channel.max_frame)
        try:
            reply = await answer(question)
        except RefusedError as error:
            reply = refusal(error)
        await channel.send(to_wire(reply), deadline=deadline)
