"""Bounds for WebSocket connections before the inbound gate sees them.

The gate counts connections that have finished their WebSocket handshake; the library's server takes any number that
have not. Here they have a waiting room with a size and a share for each subnet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from warmline.net.inbound import LOOPBACK, UNKNOWN, subnet_of

HANDSHAKE: Final = 10.0
"""Seconds a WebSocket client has for its upgrade request."""
GOODBYE: Final = 2.0
"""Seconds a WebSocket client has to answer a close."""
WAITING: Final = 512
"""WebSocket connections in their handshake or goodbye, in all."""
WAITING_PER_SUBNET: Final = 32
"""The same from one subnet, loopback (the reverse proxy) excepted."""


class WaitingRoom:
    """WebSocket connections that are not (or no longer) with their handler, in all and per subnet."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()
        self._subnet: ContextVar[str] = ContextVar("subnet")

    @contextmanager
    def place(self, stream: Any) -> Iterator[bool]:
        """Whether there was room; holds the place for the length of the block."""
        subnet = _subnet(stream)
        self._subnet.set(subnet)
        full = self._waiting.total() >= WAITING or (
            subnet not in (LOOPBACK, UNKNOWN) and self._waiting[subnet] >= WAITING_PER_SUBNET
        )
        if full:
            yield False
            return
        self._waiting[subnet] += 1
        try:
            yield True
        finally:
            self._waiting[subnet] -= 1
            self._waiting += Counter()  # drop zeros

    def leaving(self, handler: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        """``handler``, whose connections do not count while they are with it: the inbound gate counts them."""

        async def handle(request: Any) -> None:
            subnet = self._subnet.get()
            self._waiting[subnet] -= 1
            try:
                await handler(request)
            finally:
                self._waiting[subnet] += 1

        return handle


def _subnet(stream: Any) -> str:
    try:
        return subnet_of(stream.socket.getpeername()[0])
    except (AttributeError, OSError):  # TLS wraps the socket; a reset one has no peer any more
        return UNKNOWN
