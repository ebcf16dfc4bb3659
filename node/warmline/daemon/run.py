"""Runs a node as a program: store, chain, signals, control socket, readiness, one supervised scope.

The store is opened outside the supervised part: when the node's network side fails by a defect and is started again,
nothing that was receipted is touched.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import Any

import trio

from warmline.chain.source import ChainConfig, open_chain
from warmline.daemon import control
from warmline.daemon.config import Config, load
from warmline.daemon.home import Home
from warmline.daemon.node import MIB, Node, build_node
from warmline.daemon.supervise import Supervisor
from warmline.env import Clock, SystemClock, SystemRng, run_in_thread
from warmline.store.store import open_store
from warmline_protocol.errors import UnreachableError

log = logging.getLogger("warmline.daemon")

Ready = Callable[[Node], None]


@dataclass(slots=True)
class _Running:
    """The node of the moment; None while it is being started again."""

    supervisor: Supervisor = field(default_factory=Supervisor)
    node: Node | None = None
    lives: int = 0

    async def status(self) -> dict[str, Any]:
        return {
            **await self._now().status(),
            "restarts": self.supervisor.restarts,
            "last_error": self.supervisor.last_error,
        }

    async def mesh(self) -> dict[str, Any]:
        return await self._now().mesh()

    async def peerstore(self) -> list[dict[str, Any]]:
        return await self._now().peerstore()

    def _now(self) -> Node:
        if self.node is None:
            raise UnreachableError("the node is being started again", hint="Ask again in a few seconds.")
        return self.node


async def run_node(folder: Path, ready: Ready, *, clock: Clock | None = None) -> None:
    """Run the node in ``folder`` until SIGTERM or SIGINT; ``ready`` is called at each start.

    Raises ConfigError for what the operator must mend (a taken port, a bad file, a directory in use).
    """
    home = Home(folder)
    config, key = load(folder), home.key()
    rng, clock, running = SystemRng(), clock or SystemClock(), _Running()
    async with (
        open_store(
            home.store_file, run_blocking=run_in_thread, clock=clock, rng=rng, disk_budget=config.node.store_mb * MIB
        ) as store,
        open_chain(_chain_config(config), store, clock, run_in_thread) as chain,
        trio.open_nursery() as nursery,
    ):

        async def one_life() -> None:
            async with build_node(
                config, key=key, rng=rng, clock=clock, store=store, chain=chain, run_blocking=run_in_thread
            ) as node:
                running.node = node
                running.lives += 1
                try:
                    ready(node)
                    notify("READY=1")
                    await trio.sleep_forever()
                finally:
                    running.node = None

        nursery.start_soon(_until_signal, nursery.cancel_scope)
        async with _control_socket(home, running, nursery):
            nursery.start_soon(_watchdog)
            await running.supervisor.keep("node", one_life, proven=lambda: running.lives > 0)


@asynccontextmanager
async def _control_socket(home: Home, running: _Running, nursery: trio.Nursery) -> AsyncIterator[None]:
    listener = control.bind(home.socket)
    answers = {"status": running.status, "mesh": running.mesh, "peerstore": running.peerstore}
    nursery.start_soon(control.serve, listener, answers)  # noqa: ASYNC113 - it listens already
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            home.socket.unlink()


async def _until_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            notify("STOPPING=1")
            log.info("stopping: connections are closed, what was receipted is on the disk")
            scope.cancel()
            return


def _chain_config(config: Config) -> ChainConfig:
    chain = config.chain
    manifest = config.folder / chain.manifest if chain.manifest else None
    return ChainConfig(chain.url, manifest, chain.confirmations or None, also=chain.also)


# --- systemd (sd_notify(3)) ------------------------------------------------------------------------------------------


def notify(state: str) -> None:
    """Tell systemd, where it runs us; silence elsewhere."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


async def _watchdog() -> None:
    """Pat systemd's watchdog from inside Trio: when the loop stalls, the pats stop and systemd restarts us."""
    every = int(environ.get("WATCHDOG_USEC", "0")) / 2_000_000
    while every > 0:
        notify("WATCHDOG=1")
        await trio.sleep(every)
