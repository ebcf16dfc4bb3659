"""Which nodes a client enters the network by: options, environment, or a file of addresses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from warmline_protocol.errors import ConfigError


def entry_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--entry``; the command gets a tuple of addresses, to be passed to :func:`known_entries`."""
    return click.option(
        "--entry",
        "entries",
        multiple=True,
        envvar="WARMLINE_ENTRIES",
        show_envvar=True,
        metavar="ADDRESS",
        help="Address of a node to enter by, ending in /p2p/<id>; may be repeated.",
    )(command)


def entries_file() -> Path:
    return Path(click.get_app_dir("warmline")) / "entries"


def known_entries(given: tuple[str, ...]) -> tuple[str, ...]:
    """The entries given, else those in the file (one address a line); ConfigError where there are none."""
    path = entries_file()
    lines = path.read_text("utf-8").splitlines() if not given and path.exists() else list(given)
    found = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not found:
        raise ConfigError(
            "no node is known to enter by",
            hint=f"Give one with --entry, or write addresses into {path}; `warmline node status` shows a node's own.",
        )
    return found


def local_zone() -> str:
    """The IANA zone of this machine, or UTC."""
    name = os.environ.get("TZ", "").lstrip(":")
    if not name:
        _, found, name = os.path.realpath("/etc/localtime").partition("zoneinfo/")
        name = name if found else ""
    return name if "/" in name or name in ("UTC", "GMT") else "UTC"
