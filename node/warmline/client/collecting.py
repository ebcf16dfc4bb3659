"""What collectors of feedback lay out, fetched over private routing: whole, in parts, resumed where a path ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import trio

from warmline.client.session_client import Paths
from warmline.env import Rng
from warmline.net.rpc import call
from warmline.scopes import sole_error
from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, RefusedError, UnreachableError, WarmlineError
from warmline_protocol.feedback.batch import data_hash
from warmline_protocol.feedback.messages import BatchPage, BatchRead, CollectorRead
from warmline_protocol.feedback.serving import PROTOCOL
from warmline_protocol.records.collector import CollectorRecord
from warmline_protocol.records.node import NodeAddress

PART_S: Final = 20.0
"""Seconds for one part."""
PATHS: Final = 3
"""Paths in a row that may break without having brought anything."""
PATIENCE_S: Final = 120.0
SLOWEST: Final = 4096
"""Bytes a second, after some patience: a node that lets a file trickle would hold up all that waits behind it."""
MESSAGE_MAX: Final = 4096
"""Bytes of one message, and of an answer in a set or a batch with all that belongs to it."""


def largest(question: CollectorRead | BatchRead, count: int) -> int:
    """Bytes that an honest answer has at most. ``count``: answers that the set or the batch is said to have."""
    if isinstance(question, BatchRead) or question.what in ("set", "passed"):
        return min(MESSAGE_MAX * (count + 1), limits.FEEDBACK_BATCH_MAX)
    return MESSAGE_MAX * (limits.FEEDBACK_HEARD_MAX if question.what == "heard" else 1)


async def fetch(paths: Paths, node: NodeAddress, question: CollectorRead | BatchRead, count: int = 0) -> bytes:
    """The whole file at a collector's node. RefusedError ``unknown`` where it is not laid out (yet).

    ``count``: answers in the set that was announced, or in the batch that was posted; what is larger is not read.
    """
    data, size = bytearray(), largest(question, count)
    broken, began = 0, trio.current_time()
    while True:
        before = len(data)
        try:
            with sole_error():
                async with paths.path("collector", node) as path:
                    await _read_on(path, question, data, began, size)
            return bytes(data)
        except RefusedError:
            raise
        except (WarmlineError, trio.TooSlowError) as error:
            broken = 0 if len(data) > before else broken + 1
            if broken >= PATHS or isinstance(error, MalformedError) or _trickles(data, began):
                raise UnreachableError(f"a collector's node brought nothing whole: {error}") from error


def _trickles(data: bytearray, began: float) -> bool:
    return trio.current_time() > began + PATIENCE_S + len(data) / SLOWEST


async def _read_on(path: object, question: CollectorRead | BatchRead, data: bytearray, began: float, most: int) -> None:
    with trio.fail_after(PART_S):
        channel = await path.open_channel(PROTOCOL)  # type: ignore[attr-defined]
    async with channel:
        while True:
            page = await call(channel, replace(question, offset=len(data)), (BatchPage,), deadline=PART_S)
            data += page.data
            if page.size > most or len(data) > page.size or not (page.data or len(data) == page.size):
                raise MalformedError("a file of another size than it said")
            if len(data) == page.size:
                return
            if _trickles(data, began):
                raise UnreachableError("it comes too slowly")


async def fetch_batch(
    paths: Paths, collectors: Iterable[CollectorRecord], wanted: bytes, tokens: int, rng: Rng
) -> bytes:
    """The batch with this hash, posted for so many answers, from whichever collector has it; or UnreachableError."""
    asked = list(collectors)
    rng.shuffle(asked)
    problems = []
    for one in asked:
        try:
            data = await fetch(paths, one.node, BatchRead(wanted, 0), tokens)
        except WarmlineError as error:
            problems.append(str(error))
            continue
        if data_hash(data) == wanted:
            return data
        problems.append("a collector's node handed out something else")
    raise UnreachableError(
        "no collector hands out this batch" + (": " + "; ".join(problems) if problems else ""),
        hint="Try again later; a batch that nobody can have should be vetoed while its window is open.",
    )
