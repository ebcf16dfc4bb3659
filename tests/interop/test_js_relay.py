"""js-libp2p, an implementation that shares no code with ours, uses our relay and our nodes as the specification says.

Runs wherever node and npm are; skips where they are not, except in CI, where their absence is a failure.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from support.hosts import ECHO, ECHO_FRAME, LOOPBACK, LOOPBACK_WS, a_host, echo, key_of
from support.relays import echoes, relaying, routes_through
from warmline_protocol.records.node import NodeAddress

HERE = Path(__file__).parent
JS_SECONDS = 90.0
FRAMES = [1, 100, 4096, 60_000]


def command(program: str, **options: Any) -> list[str]:
    # Node has a WebSocket from version 22 on without being asked.
    flags = ["--experimental-websocket", "--no-warnings", "--import", str(HERE / "polyfill.mjs")]
    return [program, *flags, str(HERE / "peer.mjs"), json.dumps(options)]


async def js_dials(program: str, **options: Any) -> dict[str, Any]:
    """Run a dialling js peer to its end; the facts it told."""
    with trio.fail_after(JS_SECONDS):
        done = await trio.run_process(
            command(program, mode="dial", protocol=ECHO, **options),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    lines = done.stdout.decode().splitlines()
    assert lines, done.stderr.decode()[-2000:]
    facts: dict[str, Any] = json.loads(lines[-1])
    return facts


@asynccontextmanager
async def js_listens(program: str, **options: Any) -> AsyncIterator[dict[str, Any]]:
    """A js peer that reserves at a relay and echoes, for the length of the block."""
    async with trio.open_nursery() as nursery:
        line_of = command(program, mode="listen", protocol=ECHO, **options)
        start = partial(trio.run_process, line_of, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
        process: trio.Process = await nursery.start(start)
        assert process.stdout is not None
        assert process.stdin is not None
        line = b""
        with trio.fail_after(JS_SECONDS):
            while not line.endswith(b"\n"):
                piece = await process.stdout.receive_some()
                assert piece, "the js peer ended before it was ready"
                line += piece
        yield json.loads(line)
        await process.stdin.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
async def test_js_dials_our_node_through_our_relay_without_a_reservation(node_program: str, transport: str) -> None:
    async with a_host(listen=(LOOPBACK, LOOPBACK_WS)) as entry, a_host() as node:
        node.serve(ECHO, echo, max_frame=ECHO_FRAME, max_channels_per_peer=4)
        known = {node.peer_id: node.addrs()}
        async with relaying(entry, known, duration_s=600, data=1 << 24) as relay, relaying(node, {}) as end:
            (addr,) = (addr for addr in entry.addrs() if ("/ws" in addr) == (transport == "websocket"))
            facts = await js_dials(node_program, entry=addr, destination=node.peer_id, frames=FRAMES)
            assert facts.get("echoed") == len(FRAMES), facts
            assert facts["remote"] == node.peer_id, "the far end proved the node's key"
            assert facts["limited"]
            assert 0 < facts["limits"]["seconds"] <= 600
            assert 0 < facts["limits"]["bytes"] <= 1 << 24
            numbers = relay.statistics()
            assert (numbers.opened, numbers.reservations, numbers.refused) == (1, 0, {})
            assert not end.entry_of(facts["peer"]), "the circuit is gone with its client"
            assert facts["peer"] not in str(_addresses(node))


async def test_js_is_refused_where_no_node_record_is(node_program: str) -> None:
    async with a_host() as entry, a_host() as stranger, relaying(entry, {}) as relay, relaying(stranger, {}):
        facts = await js_dials(node_program, entry=entry.addrs()[0], destination=stranger.peer_id, frames=[1])
        assert "error" in facts
        assert "NO_RESERVATION" in facts["message"]
        assert relay.statistics().refused == {"unknown destination": 1}
        assert stranger.peers() == ()


async def test_js_reserves_at_our_relay_and_both_sides_dial_it(node_program: str) -> None:
    key = key_of("a js node behind a router")
    address = NodeAddress(key.peer_id, (f"/ip4/192.0.2.1/tcp/1/p2p/{key.peer_id}",))
    async with a_host() as entry, relaying(entry, {key.peer_id: ()}, reservations=4) as relay:
        js = js_listens(node_program, relay=entry.addrs()[0], seed=key.seed.hex())
        async with js as listening:
            assert listening["peer"] == key.peer_id
            assert listening["addrs"][0].endswith(f"/p2p/{entry.peer_id}/p2p-circuit/p2p/{key.peer_id}")
            assert relay.statistics().reservations == 1
            async with routes_through(entry).path("ours dials theirs", address) as path:
                for size in FRAMES:
                    await echoes(path, bytes(size))
            facts = await js_dials(node_program, entry=entry.addrs()[0], destination=key.peer_id, frames=FRAMES)
            assert facts.get("echoed") == len(FRAMES), facts
            assert relay.statistics().opened == 2


async def test_js_gets_no_reservation_where_none_are_granted(node_program: str) -> None:
    key = key_of("a stranger")
    async with a_host() as entry, relaying(entry, {}, reservations=4) as relay:
        done = await trio.run_process(
            command(node_program, mode="listen", protocol=ECHO, relay=entry.addrs()[0], seed=key.seed.hex()),
            capture_stdout=True,
            check=False,
        )
        assert done.returncode == 1
        assert "error" in json.loads(done.stdout.splitlines()[-1])
        assert relay.statistics().refused["reservation of an unknown peer"] >= 1
        assert relay.statistics().reservations == 0


def _addresses(host: Any) -> dict[str, Any]:
    store = host.raw.get_peerstore()
    return {str(peer): store.addrs(peer) for peer in store.peers_with_addrs()}
