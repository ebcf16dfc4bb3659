"""How the demo is told: a line as each step goes, two tables at the end, or one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from warmline.demo.casting import SECOND_QUEUE_AFTER
from warmline.demo.evidence import COLUMNS, Cell, Row
from warmline.demo.ledger import FINAL
from warmline.demo.stage import Stage
from warmline_protocol import limits


@dataclass(slots=True)
class Outcome:
    """How one step went. ``problem`` is empty when it went well; ``said`` is empty when it was not reached."""

    key: str
    name: str
    seconds: float = 0.0
    said: str = ""
    problem: str = ""
    hint: str = ""

    @property
    def ok(self) -> bool:
        return bool(self.said) and not self.problem


SETTINGS = f"a second queue is offered after {SECOND_QUEUE_AFTER} s here, {limits.SECOND_QUEUE_MS // 1000} s otherwise"
MEASURED = (
    ("cold_start", "cold start to ready (slowest of all nodes, started at once)"),
    ("publish_to_all_nodes", "publish typed, to every group at every node"),
    ("publish_spread", "all groups at the first node, to all groups at the last node"),
    ("publish_to_found", "published, to found by a seeker who just arrived"),
    ("find", "four seekers' searches from a cold start, at the same time"),
    ("hello_to_reply", "Hello to the first decrypted reply"),
    ("failover", f"queue node killed, to the next message shown on both sides ({SETTINGS})"),
    ("revocation_to_dropped", "revoking transaction, to dropped by every node"),
    ("revocation_to_gone", "revoking transaction, to found no more by a seeker"),
)


class Teller:
    """Progress for a person: at a terminal what goes on now and a line per finished step; elsewhere plain lines."""

    def __init__(self, console: Console, *, silent: bool) -> None:
        self._console = console
        self._silent = silent
        self._running: list[str] = []
        self._status: Status | None = None

    def note(self, text: str) -> None:
        if not self._silent:
            self._console.print(escape(text), style="dim", soft_wrap=True)

    def begun(self, outcome: Outcome) -> None:
        self._running.append(outcome.name)
        if self._console.is_terminal:
            self._spin()
        else:
            self.note(f"  …            {outcome.name}")

    def done(self, outcome: Outcome) -> None:
        self._running.remove(outcome.name)
        if self._silent:
            return
        mark = "[green]ok[/]  " if outcome.ok else "[red]FAIL[/]"
        text = outcome.said if outcome.ok else outcome.problem or "stopped"
        self._console.print(f"  {mark}{outcome.seconds:6.1f} s  {escape(text)}", soft_wrap=True)
        self._spin()

    def _spin(self) -> None:
        if self._silent or not self._console.is_terminal:
            return
        if not self._running:
            if self._status is not None:
                self._status.stop()
                self._status = None
            return
        text = escape("; ".join(self._running))
        if self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def tables(self, stage: Stage, outcomes: Sequence[Outcome], rows: Sequence[Row], total: float) -> None:
        if self._silent:
            return
        self._console.print()
        self._console.print(_happened(stage, outcomes, total))
        if rows:
            self._console.print(_seen(rows))
            for row in rows:
                for trace in row.wrong:
                    self._console.print(f"  [red]VIOLATION[/] {escape(trace)}")
        for outcome in outcomes:
            if outcome.problem:
                self._console.print(f"\n[red]{escape(outcome.name)}[/]: {escape(outcome.problem)}")
                self._console.print(f"  → {escape(outcome.hint)}")


def _happened(stage: Stage, outcomes: Sequence[Outcome], total: float) -> Table:
    table = Table(title="What happened", title_justify="left", header_style="bold", title_style="bold")
    table.add_column("step")
    table.add_column("", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    for outcome in outcomes:
        verdict = "[green]ok[/]" if outcome.ok else "[red]failed[/]" if outcome.problem else "[dim]not reached[/]"
        table.add_row(escape(outcome.name), verdict, f"{outcome.seconds:.1f}" if outcome.seconds else "")
    table.add_section()
    for key, words in MEASURED:
        if key in stage.timings:
            table.add_row(words, "", f"{stage.timings[key]:.2f}")
    if "sent" in stage.counts:
        fates = ", ".join(f"{stage.counts[fate]} {fate}" for fate in FINAL)
        table.add_row(f"{stage.counts['sent']} messages sent: {fates}; none lost in silence, none shown twice", "", "")
    table.add_row("everything", "", f"{total:.1f}", style="bold")
    return table


def _seen(rows: Sequence[Row]) -> Table:
    table = Table(
        title="What each party saw of the seekers; anything beyond the published promise is a VIOLATION",
        title_justify="left",
        header_style="bold",
        title_style="bold",
    )
    table.add_column("party", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column)
    for row in rows:
        table.add_row(row.party, *(_cell(row.cells[column]) for column in COLUMNS))
    table.caption = "Read from: " + "; ".join(f"{row.party}: {row.sources}" for row in rows) + "."
    table.caption_justify = "left"
    return table


def _cell(cell: Cell) -> str:
    if cell.wrong:
        return f"[red]VIOLATION ({len(cell.wrong)})[/]"
    if not cell.read:
        return "[yellow]not read[/]"
    return f"[green]{escape(cell.saw)}[/]" if cell.allowed == "no" else escape(cell.saw)


def as_data(stage: Stage, outcomes: Sequence[Outcome], rows: Sequence[Row], total: float) -> dict[str, Any]:
    """The machine's summary."""
    return {
        "ok": all(outcome.ok for outcome in outcomes) and not any(row.wrong for row in rows),
        "seconds": round(total, 3),
        "nodes": len(stage.nodes),
        "groups": len(stage.programme.groups),
        "logs": str(stage.fleet.logs),
        "steps": [
            {"step": o.key, "ok": o.ok, "seconds": round(o.seconds, 3), "said": o.said, "problem": o.problem}
            | ({"hint": o.hint} if o.problem else {})
            for o in outcomes
        ],
        "timings": {key: round(stage.timings[key], 3) for key, _ in MEASURED if key in stage.timings}
        | {"chain_ready": round(stage.timings.get("chain_ready", 0.0), 3)},
        "messages": {key: stage.counts.get(key, 0) for key in ("sent", "shown", "delivered", "expired", "refused")},
        "privacy": [
            {
                "party": row.party,
                "read_from": row.sources,
                "cells": {
                    name: {"allowed": cell.allowed, "saw": cell.saw, "read": cell.read, "violations": cell.wrong}
                    for name, cell in row.cells.items()
                },
            }
            for row in rows
        ],
    }
