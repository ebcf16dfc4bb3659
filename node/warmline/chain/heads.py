"""The newest block: only its number is taken from `latest`, which endpoints need not agree on; the rest is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmline.chain.errors import ChainUnreachableError, RpcGarbageError
from warmline.chain.spans import Asked
from warmline.env import Clock
from warmline_protocol.errors import ClockError
from warmline_protocol.limits import STANDING_AGE_MAX_S


@dataclass(frozen=True, slots=True)
class Head:
    """A block's number, and its time in seconds."""

    number: int
    time_s: int


async def newest(source: Asked, clock: Clock | None = None) -> Head:
    """The head of the chain. With a clock, ClockError where the two are more than an hour apart.

    Raises RpcGarbageError, ChainUnreachableError, and what the source raises. One endpoint of two can still hold the
    head back, but by an hour at most.
    """
    number = _number(await source.call("eth_getBlockByNumber", "latest", False), "number")
    block = await source.call("eth_getBlockByNumber", hex(number), False)
    if block is None:
        raise ChainUnreachableError(
            "the chain endpoints do not have the block that they call the newest",
            hint="At the head of the chain that passes: try again.",
        )
    if _number(block, "number") != number:
        raise RpcGarbageError("the chain endpoint answered with another block than the one that was asked for")
    head = Head(number, _number(block, "timestamp"))
    if clock is not None:
        _check_time(head, clock.utc_ms() // 1000)
    return head


def _number(block: Any, name: str) -> int:
    try:
        number = int(block[name], 16)
    except (KeyError, TypeError, ValueError):
        number = -1
    if number < 0:
        raise RpcGarbageError(f"the chain endpoint told of a block without a {name}")
    return number


def _check_time(head: Head, now_s: int) -> None:
    apart_s = head.time_s - now_s
    if abs(apart_s) > STANDING_AGE_MAX_S:
        where = "ahead of" if apart_s > 0 else "behind"
        raise ClockError(
            f"the newest block of the chain is {abs(apart_s) // 60} minutes {where} this machine's clock",
            hint="Set the clock by NTP. If it is right, a chain endpoint is behind or lies: name others with --also.",
        )
