"""A backup is worth what its restoring is worth: a node is lost, its backup runs, and its addresses go on working."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import trio

from support.commands import Node, run
from support.hosts import a_host
from support.queues import HostPath, cell
from warmline.client.queues import Cursor, QueueClient
from warmline.daemon.backup import NAMES
from warmline_protocol.errors import RefusedError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.auth import queue_id
from warmline_protocol.queue.messages import LOG

OWNER, ROOM, SEND = SigningKey(b"o" * 32), SigningKey(b"r" * 32), b"s" * 32
WRITTEN = cell("what somebody wrote")
LOOPBACK = ("--listen", "/ip4/127.0.0.1/tcp/0")


async def at(node: Node, act: Any) -> Any:
    async with a_host(listen=(), name="visitor") as host:
        await host.connect(node.join)
        async with QueueClient(HostPath(host, node.peer_id)) as client:
            return await act(client)


async def before(client: QueueClient) -> Cursor:
    made = await client.create(OWNER, send_key=SEND)
    await client.append(made.queue, [WRITTEN, WRITTEN], send_key=SEND)
    log = await client.create(ROOM, LOG, send_key=SEND, read_key=b"e" * 32, fence=0)
    await client.append(log.queue, [WRITTEN], send_key=SEND, fence=0)
    await client.append_commit(log.queue, ROOM, [WRITTEN], fence=0, send_key=b"t" * 32, read_key=b"f" * 32)
    return Cursor(made.incarnation, 2)


async def afterwards(client: QueueClient, cursor: Cursor) -> None:
    queue, log = queue_id(OWNER.public), queue_id(ROOM.public)
    assert (await client.read(queue, owner=OWNER)).cells == ()
    with pytest.raises(RefusedError) as refusal:
        await client.ack(queue, OWNER, cursor)
    assert refusal.value.code == "incarnation"
    receipt = await client.append(queue, [cell("again")], send_key=SEND)
    assert (receipt.seq, receipt.incarnation != cursor.incarnation) == (3, True)
    assert (await client.read(queue, owner=OWNER, cursor=cursor)).cells == (cell("again"),)
    assert (await client.append(log, [cell("next")], send_key=b"t" * 32, fence=1)).seq == 3
    assert (await client.read(log, read_key=b"f" * 32)).cells == (cell("next"),)


def test_a_lost_node_comes_back_with_its_addresses_and_nothing_that_people_wrote(tmp_path: Path) -> None:
    folder, target, again = tmp_path / "node", tmp_path / "backup.tar", tmp_path / "again"
    node = Node(folder, "--operator", "Harbour House", *LOOPBACK)
    try:
        cursor = trio.run(at, node, before)
        # What belongs to a person and only lies here by mistake stays out.
        (folder / "identity.json").write_text("a supporter's keys")
        (folder / "vault.db").write_bytes(b"somebody's conversations")
        done = run("node", "backup", str(target), "--data", str(folder), "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["peer_id"], told["queues"], told["records"]) == (node.peer_id, 2, 1)
    finally:
        node.process.kill()
        node.close()
    assert target.stat().st_mode & 0o077 == 0
    assert list(tmp_path.glob(".backup-*")) == []
    with tarfile.open(target) as tar:
        assert set(tar.getnames()) <= {"backup.json", *NAMES}
    raw = target.read_bytes()
    for private in (b"what somebody wrote", b"a supporter's keys", b"somebody's conversations"):
        assert private not in raw
    assert b"Harbour House" in raw, "what is in it can be found"

    done = run("node", "restore", str(target), "--data", str(again))
    assert done.returncode == 0, done.stderr
    assert (again / "key").stat().st_mode & 0o077 == 0
    node = Node(again)
    try:
        assert node.peer_id == told["peer_id"]
        trio.run(at, node, lambda client: afterwards(client, cursor))
        assert {row["level"] for row in node.ask("doctor")} <= {"OK", "NOTE", "ok", "note"}
    finally:
        node.close()


def test_nothing_is_overwritten_and_a_node_that_never_ran_has_a_backup_too(tmp_path: Path) -> None:
    folder, target = str(tmp_path / "node"), str(tmp_path / "backup.tar")
    assert "no node" in run("node", "backup", target, "--data", folder).stderr
    assert run("node", "init", "--data", folder).returncode == 0
    assert run("node", "backup", target, "--data", folder).returncode == 0
    done = run("node", "backup", target, "--data", folder)
    assert done.returncode == 1 and "exists already" in done.stderr
    done = run("node", "restore", target, "--data", folder)
    assert done.returncode == 1 and "a node in" in done.stderr
    assert run("node", "restore", target, "--data", folder + "2").returncode == 0
    assert (tmp_path / "node2" / "key").read_bytes() == (tmp_path / "node" / "key").read_bytes()


def changed(raw: bytes, files: dict[str, bytes | None]) -> bytes:
    """A backup with some files replaced, added or (None) left out, its list of sums as it was."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        parts: dict[str, bytes | None] = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    parts |= files
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in parts.items():
            if data is not None:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_a_bent_backup_makes_no_node(tmp_path: Path) -> None:
    folder, good, bad = str(tmp_path / "node"), tmp_path / "backup.tar", tmp_path / "bad.tar"
    assert run("node", "init", "--data", folder).returncode == 0
    assert run("node", "backup", str(good), "--data", folder).returncode == 0
    raw = good.read_bytes()
    for wrong in (
        b"",
        b"noise" * 500,
        raw[: len(raw) // 3],
        changed(raw, {"key": bytes(32)}),
        changed(raw, {"key": None}),
        changed(raw, {"backup.json": b"[]"}),
        changed(raw, {"../evil": b"x"}),
        changed(raw, {"evil": b"x"}),
    ):
        bad.write_bytes(wrong)
        done = run("node", "restore", str(bad), "--data", str(tmp_path / "again"))
        assert done.returncode == 1, wrong[:40]
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "again" / "key").exists()
    assert not (tmp_path / "evil").exists()
