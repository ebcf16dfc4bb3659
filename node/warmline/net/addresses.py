"""Which addresses a node tells others, and which of those that strangers tell it may be dialled.

What a host that listens on every interface tells must be addresses of interfaces: the one that this machine's own
route to the world starts from first. Only the widest kind is told: who has an address on the open network says
nothing of the networks behind it, and loopback is told where there is nothing else, so that nodes on one machine
still meet. Behind NAT all of them are private, and the operator says the public one.

A record of a stranger's may name any address at all. A node on the open network dials none that is private there:
otherwise one record a port turns every relay into a scanner of its operator's own network.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence

import psutil
from multiaddr import Multiaddr

from warmline_protocol.networks import is_global

__all__ = ["dialable", "interfaces", "is_global", "to_tell"]

# Documentation addresses (RFC 5737, RFC 3849): a UDP "connection" to them picks a route and sends nothing.
_SOMEWHERE = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}

Interfaces = Callable[[str], Sequence[str]]


def interfaces(wildcard: str) -> list[str]:
    """This machine's addresses of the wildcard's family, the one that its route to the world starts from first.

    Link-local ones need a zone to be dialled and are left out; loopback stands in where there is no other.
    """
    family, somewhere = _SOMEWHERE[wildcard]
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    found = [
        each.address
        for name, all_of_it in sorted(psutil.net_if_addrs().items())
        for each in all_of_it
        if each.family == family and name in up and "%" not in each.address
    ]
    useful = [text for text in found if not _is_narrow(text)]
    first = _route_start(family, somewhere)
    useful.sort(key=lambda text: text != first)
    return useful or [_LOOPBACK[wildcard]]


def _is_narrow(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return address.is_loopback or address.is_link_local or address.is_unspecified


def _route_start(family: int, somewhere: str) -> str:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((somewhere, 9))
        except OSError:  # no route: every interface is as good as the others
            return ""
        return str(probe.getsockname()[0])


def to_tell(listening: Iterable[Multiaddr], interfaces_of: Interfaces = interfaces) -> list[Multiaddr]:
    """What a host that listens at ``listening`` tells others: dialable, of the widest kind there is, TCP first."""
    texts = [text for addr in listening for text in _expanded(str(addr), interfaces_of)]
    widest = max(map(_reach, texts), default=0)
    told = list(dict.fromkeys(text for text in texts if _reach(text) == widest))
    told.sort(key=lambda text: "/ws" in text)  # stable: the route's own interface stays first
    return [Multiaddr(text) for text in told]


def _expanded(text: str, interfaces_of: Interfaces) -> list[str]:
    parts = text.split("/")
    if parts[2] not in _SOMEWHERE:
        return [text]
    return ["/".join([*parts[:2], own, *parts[3:]]) for own in interfaces_of(parts[2])]


def _reach(text: str) -> int:
    """2 on the open network, 1 on some network, 0 on this machine only."""
    if is_global(text):
        return 2
    try:
        return 0 if ipaddress.ip_address(text.split("/")[2]).is_loopback else 1
    except (ValueError, IndexError):
        return 1


def dialable(told: Iterable[str], own: Iterable[str]) -> tuple[str, ...]:
    """Those of a stranger's addresses that a node with the addresses ``own`` may dial."""
    if not any(map(is_global, own)):
        return tuple(told)
    return tuple(addr for addr in told if is_global(addr))
