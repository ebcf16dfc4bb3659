"""What a node knows of a client that came through an entry, read from the node's own process.

The client dials from an address that nothing else in the test uses. The node is searched for it: its peerstore, its
connection table, its log at DEBUG, and every writable byte of its memory; the same search finds the throw-away id.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest

from support.hosts import port_of
from support.processes import Child
from support.relays import (
    LOOK,
    address,
    ask,
    dial_from,
    echoes,
    memory_of,
    routes_through,
    two_nodes,
)

CLIENT = "127.83.91.77"
BINARY = b"\x04" + ipaddress.ip_address(CLIENT).packed + b"\x06"
"""The same address inside a binary multiaddr: /ip4 (4), four bytes, /tcp (6)."""


async def test_a_node_learns_no_address_and_only_throw_away_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    with two_nodes(log="DEBUG") as (entry, node):
        ids = []
        with monkeypatch.context() as patched:
            dial_from(patched, CLIENT)
            routes = routes_through(entry)
            for purpose in ("queue of one contact", "queue of another", "directory fetch"):
                async with routes.path(purpose, address(node)) as path:
                    await echoes(path)
                    ids.append(path.peer_id)
                    during = await ask_from_elsewhere(monkeypatch, node)
                    assert known_ids(during) >= {path.peer_id, entry.facts["peer"]}
                    assert CLIENT not in str(during)
                    for peer, addrs, kind in during["connections"]:
                        if peer == path.peer_id:
                            assert kind == "relayed"
                            assert addrs == [f"/p2p/{entry.facts['peer']}/p2p-circuit"]
                    assert "addrs" not in during["peers"].get(path.peer_id, {}) or during["peers"][path.peer_id][
                        "addrs"
                    ] in ("[]", "{}")
                    assert dialled_from(CLIENT) == {port_of(entry.facts["addrs"][0])}
                    assert holds(node, path.peer_id.encode()), "the search must find what is there"
                    assert not holds(node, CLIENT.encode(), BINARY)
        assert len(set(ids)) == 3, "one throw-away id per purpose"
        after = await ask(node, LOOK)
        assert CLIENT not in str(after)
        assert not set(ids) & {peer for peer, _, _ in after["connections"]}
        assert CLIENT not in node.stderr
        assert node.stderr, "the node logs at DEBUG, so silence proves nothing else"
        assert not re.search(rf"^(INFO|WARNING|ERROR|CRITICAL).*{CLIENT}", entry.stderr, re.MULTILINE)


async def ask_from_elsewhere(monkeypatch: pytest.MonkeyPatch, node: Child) -> dict[str, object]:
    """The inspector connects directly, so it must not use the client's address."""
    with monkeypatch.context() as patched:
        dial_from(patched, "127.0.0.1")
        return await ask(node, LOOK)


def known_ids(holdings: dict[str, object]) -> set[str]:
    connections = holdings["connections"]
    assert isinstance(connections, list)
    return {peer for peer, _, _ in connections}


def dialled_from(ip: str) -> set[int]:
    """Ports that this machine's established TCP connections from ``ip`` go to: the kernel's view, not the program's."""
    source = ipaddress.ip_address(ip).packed[::-1].hex().upper()
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = [line.split()[1:4] for line in lines]
    return {int(far.split(":")[1], 16) for near, far, state in ends if near.startswith(source) and state == "01"}


def holds(child: Child, *secrets: bytes) -> bool:
    """Whether the process's memory holds one of ``secrets`` anywhere."""
    return any(secret in region for region in memory_of(child) for secret in secrets)
