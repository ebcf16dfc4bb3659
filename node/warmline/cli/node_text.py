"""The texts of `warmline node status` and `mesh`: designed for an operator's eyes, pure functions of the answers."""

from __future__ import annotations

from typing import Any

MIB = 1 << 20


def duration(seconds: float) -> str:
    """Two units at most: ``3 d 4 h``, ``12 min``, ``8 s``."""
    left, parts = int(seconds), []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def status_text(status: dict[str, Any]) -> str:
    """A screenful: who, how others join, what it carries, what it keeps, how it stands with chain and clock."""
    directory, relay, keeper = status["directory"], status["relay"], status["keeper"]
    up = duration((status["now_ms"] - status["started_ms"]) / 1000)
    lines = [
        f"node      {status['peer_id']}",
        f"operator  {status['operator'] or '(unnamed: set [node] operator)'}, up {up}, version {status['version']}",
        *(f"join by   {addr}" for addr in status["addrs"]),
        f"peers     {status['peers']} connected, {keeper['degree']} are nodes; {status['nodes_known'] - 1} nodes known",
        f"gossip    {status['gossip']['accepted']} records taken, {status['gossip']['rejected']} refused as broken",
        f"records   {directory['listings']} listings, {directory['cards']} cards, {directory['nodes']} nodes"
        f" ({directory['unverified']} unverified, {directory['deferred']} waiting for the chain)",
        f"relay     {relay['circuits']} circuits now, {relay['opened']} since the start,"
        f" {(relay['bytes_up'] + relay['bytes_down']) / MIB:.1f} MiB carried",
        _queues(status["queues"]),
        _chain(status["chain"]),
        _clock(status["clock_offset_ms"]),
    ]
    if status["restarts"]:
        lines.append(f"restarts  {status['restarts']} (last: {status['last_error']})")
    return "\n".join(lines)


def _queues(queues: dict[str, Any] | None) -> str:
    if queues is None:
        return "queues    switched off"
    return (
        f"queues    {queues['cells']} cells receipted, {queues['followers']} readers now, {queues['refused']} refusals"
    )


def _chain(chain: dict[str, Any]) -> str:
    if chain["state"] == "none":
        return "chain     none configured: records show as unverified"
    age = "" if chain["lag_s"] is None else f", {duration(chain['lag_s'])} old"
    behind = f" ({chain['lag_blocks']} behind)" if chain["lag_blocks"] else ""
    text = f"chain     {chain['state']} at block {chain['block']}{behind}{age}{_agreeing(chain['endpoints'])}"
    return f"{text}: {chain['problem']}" if chain["problem"] else text


def _agreeing(endpoints: list[dict[str, str]]) -> str:
    """How many endpoints agree; nothing where one alone is asked."""
    good = sum(one["state"] == "ok" for one in endpoints)
    return f", {good} of {len(endpoints)} endpoints agree" if endpoints else ""


def _clock(offset_ms: int | None) -> str:
    if offset_ms is None:
        return "clock     not compared with another node yet"
    if abs(offset_ms) < 1000:
        return "clock     agrees with the other nodes"
    return f"clock     {abs(offset_ms) / 1000:.0f} s {'behind' if offset_ms > 0 else 'ahead of'} the other nodes"


def mesh_text(mesh: dict[str, Any]) -> str:
    """One line a node, with a legend, because a healthy neighbour need not be in the mesh."""
    lines = [f"{mesh['peer_id']}  {mesh['operator'] or '(unnamed)'}  (this node)"]
    for node in mesh["nodes"]:
        mark = "═" if node["in_mesh"] else "─" if node["connected"] else " "
        note = "  graylisted: sends broken records" if node["graylisted"] else ""
        age = duration(node["age_s"])
        lines.append(f" ├{mark}{mark} …{node['peer_id'][-8:]}  {node['operator']:<24.24} record {age} old{note}")
    lines.append(f" └─ {mesh['clients']} other connections (clients and relayed)")
    lines.append("")
    lines.append(
        "═ gossips with it   ─ connected (GossipSub keeps only some neighbours in its mesh)   blank: known only"
    )
    return "\n".join(lines)
