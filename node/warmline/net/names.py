"""Addresses as others and the operating system understand them.

What a host that listens on every interface tells others must be an address of one: the one that this machine's own
route to the world starts from. Behind NAT that is a private one, and the operator says the public one.

Names are resolved as the operating system does: the library's TCP transport (transport/tcp/tcp.py, 0.8.1) asks DNS
servers by itself and so knows neither ``/etc/hosts`` nor a container's own names. WebSocket addresses keep their
name: TLS and virtual hosts need it.
"""

from __future__ import annotations

import socket

import trio
from multiaddr import Multiaddr

from warmline_protocol.errors import UnreachableError

# Documentation addresses (RFC 5737, RFC 3849): a UDP "connection" to them picks a route and sends nothing.
_SOMEWHERE = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}
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


def reachable(addr: Multiaddr) -> Multiaddr:
    """``addr`` with "every interface" replaced by the interface that this machine reaches others from."""
    parts = str(addr).split("/")
    if parts[2] not in _SOMEWHERE:
        return addr
    family, somewhere = _SOMEWHERE[parts[2]]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((somewhere, 9))
            own = probe.getsockname()[0]
        except OSError:  # no route: only this machine can reach itself
            own = "127.0.0.1" if family == socket.AF_INET else "::1"
    return Multiaddr("/".join([*parts[:2], own, *parts[3:]]))
