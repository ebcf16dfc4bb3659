"""Names in addresses, resolved as the operating system does.

The library's TCP transport (transport/tcp/tcp.py, 0.8.1) asks DNS
servers by itself and so knows neither ``/etc/hosts`` nor a container's own names. WebSocket addresses keep their
name: TLS and virtual hosts need it.
"""

from __future__ import annotations

import socket

import trio
from multiaddr import Multiaddr

from warmline_protocol.errors import UnreachableError

_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


async def resolve(addr: Multiaddr) -> Multiaddr:
    """``addr`` with its name replaced by the first address it stands for; others as they are."""
    parts = str(addr).split("/")
    if len(parts) < 5 or parts[1] not in _FAMILIES or "ws" in parts or "wss" in parts:
        return addr
    try:
        found = await trio.socket.getaddrinfo(parts[2], None, _FAMILIES[parts[1]], socket.SOCK_STREAM)
    except OSError as error:
        raise UnreachableError(
            f"the name {parts[2]} does not resolve ({error.strerror})",
            hint="Check the spelling and that this machine has a working name service.",
        ) from None
    family, _, _, _, where = found[0]
    kind = "ip6" if family == socket.AF_INET6 else "ip4"
    return Multiaddr("/".join(["", kind, str(where[0]), *parts[3:]]))
