"""The figures of ``sessions.py`` side by side: how many times the floor, and a table for a terminal."""

from __future__ import annotations

from typing import Any

Figures = dict[str, Any]
COLUMNS = ("floor", "redis", "mosquitto", "cells direct", "cells by entry", "session direct", "session by entry")


def _p(spread: Figures | None, of: str) -> float | None:
    return None if not spread else spread.get(of)


def rows(found: Figures) -> dict[str, dict[str, float | None]]:
    """Name of the figure to column to number."""
    table: dict[str, dict[str, float | None]] = {}

    def put(row: str, column: str, value: float | None) -> None:
        if value is not None:
            table.setdefault(row, {})[column] = value

    pairs: Figures = dict(found.get("pair", {}))
    pairs |= {f"session {way}": each for way, each in found.get("session", {}).items()}
    for column, each in pairs.items():
        put("send to received p50 ms", column, _p(each["send_to_received"], "p50"))
        put("send to received p99 ms", column, _p(each["send_to_received"], "p99"))
        put("receipt p50 ms", column, _p(each.get("receipt"), "p50"))
        put("known delivered p50 ms", column, _p(each.get("send_to_known_delivered"), "p50"))
        put("hello to first reply p50 ms", column, _p(each.get("hello_to_first_reply"), "p50"))
        put("in a stream, per s", column, each.get("cells_per_s", each.get("messages_per_s")))
        for who in ("server", "clients"):
            put(f"CPU ms each, {who}", column, each["cpu_each"][f"{who}_cpu_ms"])
            put(f"CPU ms each in a stream, {who}", column, each["cpu_each_in_stream"][f"{who}_cpu_ms"])
    for column, each in found.get("backlog", {}).items():
        put(f"backlog of {each['cells']} ms", column, each["all_ms"])
    for name, each in found.get("fan_out", {}).items():
        column, _, fans = name.rpartition(" to ")
        put(f"to the last of {fans} p50 ms", column, _p(each["last_reader"], "p50"))
    for name, each in found.get("receipted", {}).items():
        column, _, batch = name.partition(", ")
        put(f"receipted per s, {batch}", column, each["cells_per_s"])
        put(f"receipted per server CPU s, {batch}", column, each["cells_per_server_cpu_s"])
    return table


def ratios(found: Figures) -> Figures:
    """Each figure over the floor's, where the floor has it."""
    return {
        row: {column: round(value / floor, 2) for column, value in each.items() if value is not None}
        for row, each in rows(found).items()
        if (floor := each.get("floor"))
    }


def drawn(result: Figures) -> str:
    """The table, and below it what has one column only."""
    table = rows(result)
    columns = [name for name in COLUMNS if any(name in each for each in table.values())]
    width = max(map(len, table), default=0)
    lines = [" " * width + "".join(f"{name:>18}" for name in columns)]
    for row, each in table.items():
        lines.append(row.ljust(width) + "".join(f"{_shown(each.get(name)):>18}" for name in columns))
    room = result.get("room", {})
    lines += [f"room, join {name}: {value} ms" for name, value in room.get("join", {}).items()]
    for name, each in room.get("fan_out", {}).items():
        last = each["last_member"]
        lines.append(
            f"room, host {name}: last member p50 {last.get('p50')} p99 {last.get('p99')} ms, {each['cpu_each']}"
        )
    if "backlog" in room:
        lines.append(f"room, a member's backlog: {room['backlog']}")
    if "followers" in result:
        each = result["followers"]
        lines.append(f"idle followers: {each.get('followers')}, {each.get('mb_for_1000')} MB for 1000")
    lines += [f"not measured: {name}: {why}" for name, why in result.get("not_measured", {}).items()]
    lines.append(f"seed {result['seed']}, load {result['machine']['load_before']} to {result['load_after']}")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
