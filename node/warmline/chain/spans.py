"""How many blocks of logs to ask for at once: endpoints differ, and say so by refusing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from warmline.chain.errors import RpcError, RpcGarbageError

SPAN_MIN, SPAN_START, SPAN_MAX = 1, 16, 2048
"""Blocks of one eth_getLogs far below the head."""
FORGET_AFTER = 64
"""Spans that were answered until a width that was refused is tried again: where logs are few, more blocks go in one."""


class Asked(Protocol):
    """One endpoint, or several that agree."""

    async def call(self, method: str, *params: Any) -> Any: ...


class Width:
    """How many blocks to ask for at once: doubles until the endpoint refuses, then closes in on what it allows."""

    def __init__(self) -> None:
        self.now = SPAN_START
        self._good = SPAN_MIN
        self._too_wide = SPAN_MAX + 1
        self._since = 0

    def answered(self) -> None:
        self._good, self._since = self.now, self._since + 1
        if self._since >= FORGET_AFTER:
            self._too_wide, self._since = SPAN_MAX + 1, 0
        self.now = min(self.now * 2, (self.now + self._too_wide) // 2, SPAN_MAX)

    def refused(self) -> bool:
        """Ask for less; False when less cannot be asked for."""
        if self.now == SPAN_MIN:
            return False
        self._too_wide, self._since = self.now, 0
        self.now = self._good if self._good < self.now else self.now // 2
        self._good = SPAN_MIN
        return True


async def logs_between(rpc: Asked, wanted: Mapping[str, Any], first: int, last: int) -> list[Any]:
    """The logs of blocks `first` to `last` that fit the filter `wanted`, oldest first. Raises RpcError and others.

    Several endpoints agree on the logs that stand: in which order one of them lists them, and what it says was taken
    back (`removed`), is its own word and counts for nothing here.
    """
    found: list[Any] = []
    width = Width()
    width.now = max(last - first + 1, SPAN_MIN)
    while first <= last:
        end = min(first + width.now - 1, last)
        try:
            answer = await rpc.call("eth_getLogs", {**wanted, "fromBlock": hex(first), "toBlock": hex(end)})
        except RpcError:
            if not width.refused():
                raise
            continue
        width.answered()
        found += _standing(answer)
        first = end + 1
    return found


def _standing(answer: Any) -> list[Any]:
    try:
        return sorted((log for log in answer if not log.get("removed")), key=_place)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RpcGarbageError(f"the chain endpoint sent logs that cannot be read: {error!r}") from error


def _place(log: Any) -> tuple[int, int]:
    return int(log["blockNumber"], 16), int(log["logIndex"], 16)
