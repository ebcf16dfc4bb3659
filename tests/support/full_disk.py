"""The story of a real node on a disk that fills up: ``python -m support.full_disk <directory on a small disk>``.

Prints what happened as JSON. The directory may vanish with this process: it is a file system in memory, mounted for it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import trio

from support.commands import Node
from support.hosts import a_host
from support.queues import HostPath, cell
from warmline.client.queues import Cursor, QueueClient
from warmline_protocol.errors import RefusedError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.auth import queue_id

OWNER, SEND = SigningKey(b"o" * 32), b"s" * 32
QUEUE = queue_id(OWNER.public)
BUNDLE = 4


async def fill(client: QueueClient) -> tuple[list[bytes], list[RefusedError]]:
    """Append until the node refuses eight times; what it gave receipts for, and its refusals."""
    kept: list[bytes] = []
    refusals: list[RefusedError] = []
    while len(refusals) < 8:
        cells = [cell(f"{len(kept)}.{part}") for part in range(BUNDLE)]
        try:
            await client.append(QUEUE, cells, send_key=SEND)
        except RefusedError as error:
            refusals.append(error)
        else:
            kept += cells
    return kept, refusals


async def read_all(client: QueueClient) -> list[bytes]:
    found: list[bytes] = []
    cursor = None
    while (batch := await client.read(QUEUE, owner=OWNER, cursor=cursor)).cells:
        found += batch.cells
        cursor = Cursor(batch.incarnation, batch.first + len(batch.cells) - 1)
    return found


async def at(node: Node, act: Any) -> Any:
    async with a_host(listen=(), name="visitor") as host:
        await host.connect(node.join)
        async with QueueClient(HostPath(host, node.peer_id)) as client:
            return await act(client)


def start(folder: Path) -> Node:
    return Node(folder, "--operator", "A small house", "--listen", "/ip4/127.0.0.1/tcp/0")


def main(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = {}
    node = start(folder)
    try:

        async def until_full(client: QueueClient) -> list[bytes]:
            await client.create(OWNER, send_key=SEND, cap=1024)
            kept, refusals = await fill(client)
            told["refused"] = sorted({error.code for error in refusals})
            told["hints"] = sorted({error.hint or "" for error in refusals})
            told["read while full"] = await read_all(client) == kept
            return kept

        kept = trio.run(at, node, until_full)
        told["kept"] = len(kept)
        told["free"] = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        told["status while full"] = node.ask("status")["queues"]["cells"]
        node.process.kill()
        node.process.wait()
        node = start(folder)

        async def afterwards(client: QueueClient) -> None:
            told["read after kill"] = await read_all(client) == kept
            batch = await client.read(QUEUE, owner=OWNER)
            await client.ack(QUEUE, OWNER, Cursor(batch.incarnation, len(kept) // 2))
            receipt = await client.append(QUEUE, [cell("room again")], send_key=SEND)
            told["goes on"] = receipt.seq == len(kept) + 1

        trio.run(at, node, afterwards)
        told["log"] = [line for line in node.log.read_text().splitlines() if "Traceback" in line]
    finally:
        node.close()
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
