"""What a node knows of a client that came through an entry, read from the node's own process.

The client dials from an address that nothing else in the test uses. The node is searched for it: its peerstore, its
connection table, its log at DEBUG, and every writable byte of its memory. The entry, which must know the address, is
searched the same way, to show that the search finds what is there.
"""

from __future__ import annotations

import ipaddress
import re

import pytest

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
                    assert CLIENT in everything_in(entry), "the search must find what is there"
                    assert CLIENT not in everything_in(node)
        assert len(set(ids)) == 3, "one throw-away id per purpose"
        after = await ask(node, LOOK)
        assert CLIENT not in str(after)
        assert not set(ids) & {peer for peer, _, _ in after["connections"]}
        assert CLIENT not in node.stderr
        assert node.stderr, "the node logs at DEBUG, so silence proves nothing else"
        assert not re.search(rf"^(INFO|WARNING|ERROR|CRITICAL).*{CLIENT}", entry.stderr, re.MULTILINE)


async def ask_from_elsewhere(monkeypatch: pytest.MonkeyPatch, node: object) -> dict[str, object]:
    """The inspector connects directly, so it must not use the client's address."""
    with monkeypatch.context() as patched:
        dial_from(patched, "127.0.0.1")
        return await ask(node, LOOK)  # type: ignore[arg-type]


def known_ids(holdings: dict[str, object]) -> set[str]:
    connections = holdings["connections"]
    assert isinstance(connections, list)
    return {peer for peer, _, _ in connections}


def everything_in(child: object) -> str:
    """``CLIENT`` when the process's memory holds it in either form, else nothing."""
    found = any(CLIENT.encode() in region or BINARY in region for region in memory_of(child))  # type: ignore[arg-type]
    return CLIENT if found else ""
