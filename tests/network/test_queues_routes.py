"""Queues through an entry: what the node counts is the entry, and it keeps no peer id of a client."""

from __future__ import annotations

from pathlib import Path

import trio

from support.hosts import PATIENCE, a_host
from support.queues import HostPath, a_store, cell
from support.relays import relaying
from warmline.client.queues import QueueClient
from warmline.client.routes import Routes
from warmline.env import SystemClock, SystemRng
from warmline.services.queues import DIRECT, open_queues
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.node import NodeAddress

OWNER = SigningKey(b"o" * 32)
SEND = b"s" * 32


async def test_the_entry_is_what_shares_are_counted_by(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            a_store(tmp_path / "s.db") as store,
            a_host() as node,
            relaying(node, {}),
            open_queues(node, store, clock=SystemClock(), rng=SystemRng()),
            a_host() as entry,
            relaying(entry, {node.peer_id: node.addrs()}),
        ):
            routes = Routes((entry.addrs()[0],), rng=SystemRng(), clock=SystemClock())
            here = NodeAddress(node.peer_id, node.addrs())
            async with routes.path("a queue", here) as path, QueueClient(path) as client:
                made = await client.create(OWNER, send_key=SEND)
                async with client.follow(made.queue, owner=OWNER) as cells:
                    receipt = await client.append(made.queue, [cell(1)], send_key=SEND)
                    cursor, got = await cells.__anext__()
                    assert (cursor.seq, got) == (receipt.seq, cell(1))
            async with a_host(listen=()) as stranger:
                await stranger.connect(node.addrs()[0])
                async with QueueClient(HostPath(stranger, node.peer_id)) as client:
                    await client.append(made.queue, [cell(2)], send_key=SEND)
            entries = await store.read(
                lambda conn: {name for (name,) in conn.execute("SELECT entry FROM queue_entries")}
            )
            assert entries == {entry.peer_id, DIRECT}
