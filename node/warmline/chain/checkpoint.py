"""The follower's memory in the node's store: final events, the unconfirmed window, and how far both reach.

One write per step keeps the three consistent, so a killed node resumes with no event missing and none doubled.
The window is kept too: a revocation that was seen but is not final must still act after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from warmline.chain.events import from_row, to_row
from warmline.chain.reorg import Ref, Span
from warmline_protocol.records.standing_events import Event


@dataclass(frozen=True, slots=True)
class Saved:
    base: Ref
    final: tuple[Event, ...]
    window: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What changed: spans that start above `keep` go, then `grown` come, then the base moves to `base`."""

    keep: int
    grown: Sequence[Span]
    base: Ref


def newest(conn: apsw.Connection, manifest: bytes) -> tuple[bytes, Saved] | None:
    """What is saved for this manifest, with the identity of the chain that it was read from."""
    for (identity,) in list(conn.execute("SELECT identity FROM chain_base WHERE manifest = ?", (manifest,))):
        saved = load(conn, identity)
        if saved is not None:
            return identity, saved
    return None


def load(conn: apsw.Connection, identity: bytes) -> Saved | None:
    """None if nothing is saved, or only of another chain or other contracts."""
    rows = list(conn.execute("SELECT number, hash, time_s FROM chain_base WHERE identity = ?", (identity,)))
    if not rows:
        return None
    base = Ref(*rows[0])
    events: dict[int, list[Event]] = {}
    for last, row in conn.execute("SELECT last, row FROM chain_event ORDER BY last, position"):
        events.setdefault(last, []).append(from_row(row))
    spans = conn.execute("SELECT first, parent, last, hash, time_s FROM chain_span ORDER BY first")
    window = tuple(
        Span(first, parent, Ref(last, hash_, time_s), tuple(events.pop(last, ())))
        for first, parent, last, hash_, time_s in spans
    )
    final = tuple(event for last in sorted(events) for event in events[last])
    return Saved(base, final, window)


def reset(conn: apsw.Connection, identity: bytes, manifest: bytes, base: Ref) -> None:
    """Forget everything and start above `base`."""
    conn.execute("DELETE FROM chain_event")
    conn.execute("DELETE FROM chain_span")
    conn.execute("DELETE FROM chain_base")
    conn.execute(
        "INSERT INTO chain_base VALUES (?, ?, ?, ?, ?)", (identity, manifest, base.number, base.hash, base.time_s)
    )


def save(conn: apsw.Connection, step: Step) -> None:
    conn.execute("DELETE FROM chain_event WHERE last IN (SELECT last FROM chain_span WHERE first > ?)", (step.keep,))
    conn.execute("DELETE FROM chain_span WHERE first > ?", (step.keep,))
    for span in step.grown:
        conn.execute(
            "INSERT INTO chain_span VALUES (?, ?, ?, ?, ?)",
            (span.first, span.parent, span.last.number, span.last.hash, span.last.time_s),
        )
        for position, event in enumerate(span.events):
            conn.execute("INSERT INTO chain_event VALUES (?, ?, ?)", (span.last.number, position, to_row(event)))
    # A final span's events stay; the span itself is no longer needed.
    conn.execute("DELETE FROM chain_span WHERE last <= ?", (step.base.number,))
    conn.execute(
        "UPDATE chain_base SET number = ?, hash = ?, time_s = ?", (step.base.number, step.base.hash, step.base.time_s)
    )
