"""Who may connect to us, and how many: the gate in front of every inbound connection.

It replaces the swarm's own inbound handler (libp2p/network/swarm.py ``_do_handle_inbound_connection``, 0.8.1), which
after an upgrade waits for the end of the *swarm* and so never gives back its slot: a stock node refuses everybody
after 250 inbound connections in its lifetime.

Loopback is where a reverse proxy stands, so it has no limit of its own; the total still holds, and nothing is trusted
because it comes from there.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from typing import Any

import trio
from libp2p.abc import IMuxedConn
from libp2p.network.connection.raw_connection import RawConnection

log = logging.getLogger("warmline.net")

LOOPBACK = "loopback"
UNKNOWN = "unknown"


class InboundGate:
    """Counts open inbound connections, in all and per subnet (/24 of IPv4, /48 of IPv6)."""

    def __init__(self, swarm: Any, *, total: int, per_subnet: int) -> None:
        self._swarm = swarm
        self._total = total
        self._per_subnet = per_subnet
        self._open: Counter[str] = Counter()
        self.refused = 0
        self._ended = trio.Event()

    def open_connections(self) -> int:
        """Inbound connections at this moment, those in their handshake included."""
        return self._open.total()

    async def wait_at_most(self, count: int) -> None:
        """Return when no more than ``count`` inbound connections are open; give it a deadline."""
        while self.open_connections() > count:
            await self._ended.wait()

    async def handle(self, closer: Any, maddr: Any) -> None:
        """Serve one accepted connection until it ends; the swarm's transports call this in a task each."""
        subnet = subnet_of(_remote_host(closer))
        if not self._admits(subnet):
            self.refused += 1
            await _close(closer)
            return
        self._open[subnet] += 1
        try:
            await self._serve(closer, maddr)
        finally:
            self._open[subnet] -= 1
            self._open += Counter()  # drop zeros: subnets come and go
            ended, self._ended = self._ended, trio.Event()
            ended.set()

    def _admits(self, subnet: str) -> bool:
        if self._open.total() >= self._total:
            return False
        return subnet in (LOOPBACK, UNKNOWN) or self._open[subnet] < self._per_subnet

    async def _serve(self, closer: Any, maddr: Any) -> None:
        try:
            if isinstance(closer, IMuxedConn):
                connection = await self._swarm.add_conn(closer, direction="inbound")
                await connection.event_closed.wait()
                return
            muxed = await self._swarm.upgrade_inbound_raw_conn(RawConnection(closer, False), maddr)
            await muxed.event_closed.wait()
        except Exception as error:  # noqa: BLE001 - a stranger's bytes; whatever they trigger ends this connection only
            log.debug("an inbound connection ended in its handshake: %s", type(error).__name__)
            await _close(closer)


def subnet_of(host: str | None) -> str:
    """The subnet that an address is counted under."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return LOOPBACK
    prefix = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))


def _remote_host(closer: Any) -> str | None:
    try:
        # The library's WebSocket connection answers None (transport/websocket/connection.py); its socket knows.
        web = getattr(closer, "_ws_connection", None)
        remote = closer.get_remote_address() if web is None else (web.remote.address, 0)
    except Exception:  # noqa: BLE001 - a transport whose socket is gone already
        return None
    return str(remote[0]) if remote else None


async def _close(closer: Any) -> None:
    try:
        await closer.close()
    except Exception as error:  # noqa: BLE001 - it is broken already; closing is best effort
        log.debug("closing a refused connection: %s", type(error).__name__)
