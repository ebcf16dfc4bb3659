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
from warmline_protocol.networks import is_global_ip

_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


async def resolve(addr: Multiaddr, *, open_only: bool = False) -> Multiaddr:
    """``addr`` with its name replaced by the first address it stands for; others as they are.

    With ``open_only`` a name that stands for any address off the open network is refused: a stranger's record may name
    whatever it likes, and whoever holds a name decides what is behind it.
    """
    parts = str(addr).split("/")
    if len(parts) < 5 or parts[1] not in _FAMILIES:
        return addr
    keeps_name = "ws" in parts or "wss" in parts
    if keeps_name and not open_only:
        return addr
    try:
        found = await trio.socket.getaddrinfo(parts[2], None, _FAMILIES[parts[1]], socket.SOCK_STREAM)
    except OSError as error:
        raise UnreachableError(
            f"the name {parts[2]} does not resolve ({error.strerror})",
            hint="Check the spelling and that this machine has a working name service.",
        ) from None
    if open_only and not all(is_global_ip(str(where[0])) for *_, where in found):
        raise UnreachableError(
            f"the name {parts[2]} stands for an address inside a private network",
            hint="Where that is meant, give the address itself instead of the name.",
        )
    if keeps_name:
        return addr
    family, _, _, _, where = found[0]
    kind = "ip6" if family == socket.AF_INET6 else "ip4"
    return Multiaddr("/".join(["", kind, str(where[0]), *parts[3:]]))
