"""js-libp2p beside our nodes: gossip and DHT both ways, a directory through our relay, records read by other code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

import warmline_protocol.vectors as vectors
from support import records as make
from support.directories import DirectoryNode, a_directory
from warmline.env import SystemClock
from warmline_protocol.records.envelope import open_record
from warmline_protocol.records.messages import dht_key, shard_key

HERE = Path(__file__).parent
CLOCK = SystemClock()
JS_SECONDS = 120.0
VECTORS = Path(vectors.__file__).parent


def command(program: str, **options: Any) -> list[str]:
    flags = ["--no-warnings", "--import", str(HERE / "polyfill.mjs")]
    return [program, *flags, str(HERE / "directory_peer.mjs"), json.dumps(options)]


async def js_runs(program: str, **options: Any) -> list[dict[str, Any]]:
    """What a js program told until its end."""
    with trio.fail_after(JS_SECONDS):
        done = await trio.run_process(
            command(program, **options), capture_stdout=True, capture_stderr=True, check=False
        )
    lines = done.stdout.decode().splitlines()
    assert lines, done.stderr.decode()[-2000:]
    return [json.loads(line) for line in lines]


class JsPeer:
    """A js node that runs; ``heard`` are the records that gossip brought it."""

    def __init__(self, process: trio.Process) -> None:
        self.facts: dict[str, Any] = {}
        self.heard: set[str] = set()
        self._process = process
        self._numbers = count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = trio.Event()

    async def do(self, deed: str, **options: Any) -> Any:
        number = next(self._numbers)
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({"n": number, "do": deed, **options}).encode() + b"\n")
        await self.until(lambda: number in self._answers)
        said = self._answers.pop(number)
        assert "error" not in said, said
        return said.get("answer")

    async def until(self, true: Any) -> None:
        while not true():
            await self._changed.wait()

    async def eventually(self, deed: str, good: Any, **options: Any) -> Any:
        """Ask again until the answer is ``good``: the other program has no event for it."""
        while not good(answer := await self.do(deed, **options)):  # noqa: ASYNC110 - no event
            await trio.sleep(0.1)
        return answer

    async def listen(self) -> None:
        assert self._process.stdout is not None
        held = b""
        async for piece in self._process.stdout:
            *lines, held = (held + piece).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "heard" in said:
                    self.heard.add(said["heard"])
                elif "n" in said:
                    self._answers[said["n"]] = said
                else:
                    self.facts = said
            self._changed.set()
            self._changed = trio.Event()


@asynccontextmanager
async def js_node(program: str, **options: Any) -> AsyncIterator[JsPeer]:
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process, command(program, **options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False
        )
        process: trio.Process = await nursery.start(start)
        peer = JsPeer(process)
        nursery.start_soon(peer.listen)
        with trio.fail_after(JS_SECONDS):
            await peer.until(lambda: peer.facts)
        assert "peer" in peer.facts, peer.facts
        yield peer
        nursery.cancel_scope.cancel()


async def met(node: DirectoryNode, peer: JsPeer) -> None:
    """Both know each other, gossip and DHT alike."""
    assert node.dht is not None
    await peer.do("subscribe")
    assert await peer.do("connect", addr=node.addr) == node.host.peer_id
    await peer.eventually("subscribers", lambda found: node.host.peer_id in found)
    while peer.facts["peer"] not in node.dht.peers():  # noqa: ASYNC110 - identify has no event
        await trio.sleep(0.05)
    await peer.eventually("table", lambda size: size >= 1)


async def test_gossip_goes_both_ways(node_program: str) -> None:
    now = CLOCK.utc_ms()
    async with a_directory("ours", dht=True) as node, js_node(node_program) as peer:
        with trio.fail_after(JS_SECONDS):
            await met(node, peer)
            ours = make.signed_listing(at_ms=now, wallet=False)
            await node.directory.publish(ours)
            await peer.until(lambda: ours.hex() in peer.heard)
            theirs = make.signed_listing("ben", at_ms=now, wallet=False)
            assert node.host.peer_id in await peer.do("publish", data=theirs.hex())
            record = await node.directory.wait_record(open_record(theirs).id)
            assert record.data == theirs
            assert await peer.do("publish", data=b"junk".hex())
            assert (
                await node.directory.publish(make.signed_listing("cy", at_ms=now, wallet=False))
            ).verdict == "accept"


async def test_the_dht_puts_gets_provides_and_finds_both_ways(node_program: str) -> None:
    now = CLOCK.utc_ms()
    async with (
        a_directory("ours", dht=True) as node,
        a_directory("another", dht=True) as other,
        js_node(node_program) as peer,
    ):
        assert node.dht is not None
        with trio.fail_after(JS_SECONDS):
            await other.host.connect(node.addr)
            await met(node, peer)
            ours, theirs = (make.signed_listing(name, at_ms=now, wallet=False) for name in ("ana", "ben"))
            key, other_key = (dht_key(open_record(data).id) for data in (ours, theirs))
            await node.dht.put(key, ours)
            assert await peer.eventually("get", bool, key=key) == ours.hex()
            assert await peer.do("put", key=other_key, data=theirs.hex()) >= 1
            assert await node.dht.get(other_key) == theirs
            newer = make.signed_listing("ana", at_ms=now + 1000, wallet=False)
            await node.dht.put(key, newer)
            assert await peer.eventually("get", lambda got: got == newer.hex(), key=key)
            await node.dht.provide(shard_key())
            await peer.eventually("find", lambda found: node.host.peer_id in found, key=shard_key().hex())
            content = shard_key(1, 1)
            assert await peer.do("provide", key=content.hex()) >= 1
            assert other.dht is not None
            await other.dht.wait_peers(1)
            assert peer.facts["peer"] in await other.dht.find_providers(content)
            assert await other.dht.find_node(peer.facts["peer"])


async def test_a_whole_directory_is_fetched_through_our_relay(node_program: str) -> None:
    now = CLOCK.utc_ms()
    async with a_directory("entry", relay=True) as entry, a_directory("home", relay=True) as home:
        with trio.fail_after(JS_SECONDS):
            await entry.host.connect(home.addr)
            while entry.directory.locate(home.host.peer_id) is None:
                await entry.directory.wait_change()
            slugs = [f"group-{number}" for number in range(70)]
            published = [make.signed_listing("ana", slug, at_ms=now) for slug in slugs[:30]]
            published += [make.signed_listing(f"host {n % 10}", slug, at_ms=now) for n, slug in enumerate(slugs[30:])]
            published.append(make.signed_card("ana", at_ms=now))
            for data in published:
                assert (await home.directory.publish(data)).verdict == "accept"
            (facts,) = await js_runs(node_program, mode="snapshot", entry=entry.addr, destination=home.host.peer_id)
            assert "records" in facts, facts
            assert facts["limited"], "over a circuit, not directly"
            assert facts["remote"] == home.host.peer_id
            assert facts["shards"] == 1
            wanted = sorted(open_record(data).id.hex() for data in published)
            assert facts["rows"] == [record["id"] for record in facts["records"]] == wanted
            assert not await trio.to_thread.run_sync(lambda: facts["peer"] in str(home.host.peers()))


@pytest.mark.parametrize("name", ["records", "records.broken"])
async def test_other_code_reads_the_vectors_as_we_do(node_program: str, name: str) -> None:
    rows = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    found = await js_runs(node_program, mode="vectors", file=str(VECTORS / f"{name}.json"))
    assert [said["name"] for said in found] == [row["name"] for row in rows]
    for row, said in zip(rows, found, strict=True):
        if "error" in row:
            assert "refused" in said, said
            continue
        for field in ("kind", "id", "owner", "delegation_digest", "delegation_text"):
            assert said.get(field) == row[field], (row["name"], field, said)
        assert said["again"], "what it encodes is what was signed"
