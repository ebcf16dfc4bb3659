"""Queues between real hosts on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from support.hosts import PATIENCE, a_host
from support.queues import HostPath, a_store, cell
from warmline.client.queues import Cursor, QueueClient
from warmline.env import SystemClock, SystemRng
from warmline.net.host import Libp2pHost
from warmline.services.queues import QueueService, QueueSettings, open_queues
from warmline_protocol.errors import RefusedError, UnreachableError
from warmline_protocol.keys import SigningKey
from warmline_protocol.limits import QUEUE_CELLS_MAX
from warmline_protocol.queue.messages import LOG

OWNER = SigningKey(b"o" * 32)
SEND = b"s" * 32


@dataclass
class Node:
    host: Libp2pHost
    service: QueueService


@asynccontextmanager
async def a_node(path: Path, *, name: str = "node") -> AsyncIterator[Node]:
    async with (
        a_store(path) as store,
        a_host(name=name) as host,
        open_queues(host, store, clock=SystemClock(), rng=SystemRng(), settings=QueueSettings()) as service,
    ):
        yield Node(host, service)


@asynccontextmanager
async def a_client(node: Node) -> AsyncIterator[QueueClient]:
    async with a_host(listen=()) as host:
        await host.connect(node.host.addrs()[0])
        async with QueueClient(HostPath(host, node.host.peer_id)) as client:
            yield client


async def test_two_people_over_one_queue(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_node(tmp_path / "s.db") as node, a_client(node) as reader, a_client(node) as sender:
            made = await reader.create(OWNER, send_key=SEND)
            async with reader.follow(made.queue, owner=OWNER) as cells:
                for n in range(0, 48, QUEUE_CELLS_MAX):
                    receipt = await sender.append(
                        made.queue, [cell(m) for m in range(n, n + QUEUE_CELLS_MAX)], send_key=SEND
                    )
                    assert receipt.seq == n + QUEUE_CELLS_MAX
                    for m in range(n, n + QUEUE_CELLS_MAX):
                        cursor, got = await cells.__anext__()
                        assert (cursor.seq, got) == (m + 1, cell(m))
                    await reader.ack(made.queue, OWNER, cursor)
            assert (await reader.read(made.queue, owner=OWNER)).cells == ()


async def test_who_is_cancelled_leaves_at_once(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_node(tmp_path / "s.db") as node:
            with trio.CancelScope() as scope:
                async with a_client(node) as client:
                    await client.create(OWNER, send_key=SEND)
                    before = trio.current_time()
                    scope.cancel()
                    await trio.sleep_forever()
            assert trio.current_time() - before < 1.5


async def test_a_node_restarts_and_everybody_goes_on(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_node(tmp_path / "s.db") as node, a_client(node) as client:
            room = await client.create(OWNER, LOG, send_key=SEND, read_key=SEND, fence=0)
            receipt = await client.append(room.queue, [cell(1)], send_key=SEND, fence=0)
        async with a_node(tmp_path / "s.db") as node, a_client(node) as client:
            again = await client.append(room.queue, [cell(2)], send_key=SEND, fence=0)
            assert again.incarnation == receipt.incarnation
            after = Cursor(receipt.incarnation, receipt.seq)
            async with client.follow(room.queue, read_key=SEND, cursor=after) as cells:
                assert (await cells.__anext__())[1] == cell(2)


async def test_a_node_that_goes_away_is_unreachable_not_refusing(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_host(listen=()) as host:
            async with a_node(tmp_path / "s.db") as node:
                await host.connect(node.host.addrs()[0])
                client = QueueClient(HostPath(host, node.host.peer_id), deadline=5)
                made = await client.create(OWNER, send_key=SEND)
                following = client.follow(made.queue, owner=OWNER)
                cells = await following.__aenter__()
            with pytest.raises(UnreachableError):
                await cells.__anext__()
            await following.__aexit__(None, None, None)
            with pytest.raises(UnreachableError):
                await client.append(made.queue, [cell(1)], send_key=SEND)
            await client.aclose()


async def test_a_signature_does_not_travel_to_another_channel(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_node(tmp_path / "s.db") as node, a_client(node) as one, a_client(node) as two:
            made = await one.create(OWNER, send_key=SEND)
            with pytest.raises(RefusedError) as caught:
                await two.create(OWNER, send_key=b"x" * 32)
            assert caught.value.code == "exists"
            two._nonce = one._nonce  # and so it signs what was signed for the other channel
            with pytest.raises(RefusedError) as caught:
                await two.remove(made.queue, OWNER)
            assert caught.value.code == "denied"
            await one.remove(made.queue, OWNER)
