"""Looks for what keeps a node from working and names the fix, with the node running or not."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import trio

from warmline.chain.manifest import read_manifest
from warmline.chain.provider import open_rpc
from warmline.daemon import control
from warmline.daemon.config import Config, load
from warmline.daemon.home import Home
from warmline.daemon.node import MIB
from warmline.net.addresses import is_global
from warmline_protocol.errors import UnreachableError, WarmlineError
from warmline_protocol.limits import CLOCK_SKEW_MS

DIAL_DEADLINE = 5.0
FREE_MIB = 256
"""Disk that should stay free beside the budget, so that the database can always write its journal."""


class Level(Enum):
    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, how it is, and what to do when it is not well."""

    what: str
    level: Level
    detail: str
    fix: str = ""


def good(what: str, detail: str) -> Finding:
    return Finding(what, Level.OK, detail)


async def examine(folder: Path) -> list[Finding]:
    """All findings for the node in ``folder``; never raises for what a check is there to find."""
    try:
        home, config = Home(folder), load(folder)
        key = home.key()
    except WarmlineError as error:
        return [Finding("directory", Level.FAIL, error.message, error.hint)]
    findings = [good("directory", f"{folder}, node {key.peer_id}"), _disk(home, config)]
    status = await _status(home)
    findings += _ports(config) if status is None else [good("process", "the node runs and answers")]
    findings += [_addresses(config, status)]
    findings += await _bootstrap(config)
    if status is not None:
        findings += [_peers(config, status), _clock(status), _restarts(status)]
    findings += [await _chain(config, status)]
    return findings


def _disk(home: Home, config: Config) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=home.folder) as probe:
            probe.write(b"warmline")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return Finding(
            "disk",
            Level.FAIL,
            f"{home.folder} cannot be written: {error.strerror}",
            "Free space or mend the permissions.",
        )
    used = home.store_file.stat().st_size // MIB if home.store_file.exists() else 0
    free = shutil.disk_usage(home.folder).free // MIB
    needed = max(0, config.node.store_mb - used) + FREE_MIB
    if free < needed:
        return Finding(
            "disk",
            Level.FAIL,
            f"{free} MiB free, and the budget may still take {needed} MiB",
            "Free some space, or lower [node] store_mb in the configuration.",
        )
    return good("disk", f"{free} MiB free, {used} of {config.node.store_mb} MiB used")


async def _status(home: Home) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = await control.ask(home.socket, "status")
    except UnreachableError:
        return None
    return answer


def _ports(config: Config) -> list[Finding]:
    findings = [Finding("process", Level.NOTE, "the node is not running", "Start it with `warmline node run`.")]
    for addr in config.net.listen:
        parts = addr.split("/")
        try:
            _try_to_bind(parts[2], int(parts[4]))
        except (OSError, IndexError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not an address to listen on"
            fix = f"Stop what uses it (`ss -ltnp` names it), or change [net] listen: {addr}"
            findings.append(Finding("port", Level.FAIL, f"{addr}: {reason}", fix))
        else:
            findings.append(good("port", f"{addr} is free"))
    return findings


def _try_to_bind(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))


def _addresses(config: Config, status: dict[str, Any] | None) -> Finding:
    addrs = status["addrs"] if status else list(config.net.announce)
    if any(is_global(addr) for addr in addrs):
        return good("address", next(addr for addr in addrs if is_global(addr)))
    return Finding(
        "address",
        Level.NOTE,
        "only addresses of this machine or its own network are known",
        "For others to reach this node, set [net] announce to its public address and open the port.",
    )


async def _bootstrap(config: Config) -> list[Finding]:
    findings: list[Finding] = []

    async def dial(addr: str) -> None:
        parts = addr.split("/")
        try:
            with trio.fail_after(DIAL_DEADLINE):
                stream = await trio.open_tcp_stream(parts[2], int(parts[4]))
                await stream.aclose()
        except (OSError, trio.TooSlowError, IndexError, ValueError) as error:
            detail = f"{addr} does not answer ({type(error).__name__})"
            fix = "Ask its operator whether it runs, or use another node in [net] bootstrap."
            findings.append(Finding("bootstrap", Level.FAIL, detail, fix))
        else:
            findings.append(good("bootstrap", f"{addr} answers"))

    async with trio.open_nursery() as nursery:
        for addr in config.net.bootstrap:
            nursery.start_soon(dial, addr)
    return sorted(findings, key=lambda finding: finding.detail)


def _peers(config: Config, status: dict[str, Any]) -> Finding:
    degree, wanted = status["keeper"]["degree"], config.node.peers_min
    known = status["nodes_known"] - 1
    if degree == 0 and (config.net.bootstrap or known):
        return Finding("peers", Level.FAIL, "connected to no other node", "See bootstrap and address above.")
    if degree < min(wanted, known):
        return Finding(
            "peers", Level.NOTE, f"connected to {degree} of {wanted} nodes", "It keeps dialling; look again."
        )
    if known <= 0:
        return Finding(
            "peers", Level.NOTE, "no other node is known", "Tell others your address, or set [net] bootstrap to theirs."
        )
    return good("peers", f"connected to {degree} nodes, {known} known")


def _clock(status: dict[str, Any]) -> Finding:
    offset = status["clock_offset_ms"]
    if offset is None:
        return Finding("clock", Level.NOTE, "no other node to compare with yet", "Make sure NTP is on: timedatectl")
    seconds = abs(offset) / 1000
    way = "behind" if offset > 0 else "ahead of"
    if abs(offset) > CLOCK_SKEW_MS:
        return Finding(
            "clock",
            Level.FAIL,
            f"{seconds:.0f} s {way} the other nodes: records signed here are refused elsewhere, or theirs here",
            "Set the clock: timedatectl set-ntp true",
        )
    if abs(offset) > CLOCK_SKEW_MS // 5:
        return Finding(
            "clock", Level.NOTE, f"{seconds:.0f} s {way} the other nodes", "Turn NTP on: timedatectl set-ntp true"
        )
    return good("clock", f"within {max(seconds, 0.1):.1f} s of the other nodes")


def _restarts(status: dict[str, Any]) -> Finding:
    restarts = status["restarts"]
    if restarts:
        names = ", ".join(f"{name} {count}× ({status['last_error'][name]})" for name, count in sorted(restarts.items()))
        return Finding(
            "services", Level.NOTE, f"started again after failing: {names}", "Please report it with the log."
        )
    return good("services", "none has failed")


async def _chain(config: Config, status: dict[str, Any] | None) -> Finding:
    if not config.chain.url:
        return Finding(
            "chain", Level.NOTE, "none is configured: records show as unverified", "Set [chain] url and manifest."
        )
    if status is not None and status["chain"]["problem"]:
        return Finding("chain", Level.FAIL, status["chain"]["problem"], status["chain"]["hint"] or "")
    unwell = [] if status is None else [one for one in status["chain"]["endpoints"] if one["state"] != "ok"]
    if unwell:
        said = "; ".join(f"{one['where']} {one['state']}: {one['why']}" for one in unwell)
        return Finding("chain", Level.NOTE, said, "Standing goes by the others. Mend or replace it: one alone may lie.")
    return await _catching("chain", lambda: _chain_answers(config))


async def _chain_answers(config: Config) -> Finding:
    manifest = read_manifest(config.folder / config.chain.manifest)
    async with open_rpc(config.chain.url, deadline_s=DIAL_DEADLINE) as rpc:
        chain_id = await rpc.call("eth_chainId")
        head = await rpc.call("eth_blockNumber")
    if int(str(chain_id), 16) != manifest.chain_id:
        return Finding(
            "chain",
            Level.FAIL,
            f"the endpoint serves chain {int(str(chain_id), 16)}, the manifest is for chain {manifest.chain_id}",
            "Use the endpoint or the manifest of the same chain.",
        )
    return good("chain", f"chain {manifest.chain_id} at block {int(str(head), 16)}")


async def _catching(what: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await check()
    except WarmlineError as error:
        return Finding(what, Level.FAIL, error.message, error.hint)
