"""Which network an address is in: what counts as *one voice* where keys and names cost nothing.

Anybody makes a thousand keys in a second, and an operator's name is whatever they type. Addresses on the open network
are scarcer, so lookups, routing tables and searches take only so many peers of one network: an IPv4 /16, an IPv6 /32,
or a domain. Private addresses say nothing of who is behind them and are never counted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

NETWORK_BITS = {4: 16, 6: 32}
_LOCAL_NAMES = (".local", ".localhost", ".internal", ".lan", ".home.arpa")


@lru_cache(maxsize=4096)
def is_global(addr: str) -> bool:
    """Whether a multiaddr is on the open network, as far as its text says; a name counts unless it is a local one."""
    parts = addr.split("/")
    if len(parts) < 3:
        return False
    if parts[1] in ("ip4", "ip6"):
        return is_global_ip(parts[2])
    name = parts[2].lower().rstrip(".")
    return parts[1].startswith("dns") and "." in name and not name.endswith(_LOCAL_NAMES)


def is_global_ip(text: str) -> bool:
    """Whether an IP address is on the open network."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    # A v4 address inside a v6 one reaches the same machine.
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    return (inner or address).is_global and not address.is_multicast


@lru_cache(maxsize=4096)
def network_of(addr: str) -> str | None:
    """The /16 (IPv4), /32 (IPv6) or domain of a multiaddr on the open network; None for any other."""
    if not is_global(addr):
        return None
    parts = addr.split("/")
    if parts[1] not in ("ip4", "ip6"):
        return ".".join(parts[2].lower().rstrip(".").split(".")[-2:])
    address = ipaddress.ip_address(parts[2])
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    return str(ipaddress.ip_network((inner, NETWORK_BITS[inner.version]), strict=False))


def networks_of(addrs: Iterable[str]) -> frozenset[str]:
    """Every network that a peer's addresses are in; empty where all of them are private."""
    return frozenset(network for addr in addrs if (network := network_of(addr)))
