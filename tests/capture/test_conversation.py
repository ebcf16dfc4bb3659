"""What each party can see of a conversation: every packet, its store, its log, its memory and its peerstore.

Five kinds of machines, each a network namespace of its own: a seeker, their entry, queue nodes, a directory node and a
supporter. Each search is also made for something that must be found, so that "nothing found" cannot mean "not looked".
"""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from support import stage
from support.commands import Node
from support.namespaces import TESTS, Place, unshare_words
from support.pcap import Capture
from support.stage import LONG, SECRETS, UNREAD, Scene, a_scene
from warmline.demo.memory import search
from warmline_protocol.limits import CELL_SIZE

CANARY = b"a canary, in two halves, that every search must find"
NODES = tuple(stage.ROLES)
QUEUE_NODES = ("queue1", "queue2")
PEOPLE = ("seeker", "supporter")
DIRECT = """
import sys, trio
from support.hosts import a_host
async def main(addr):
    async with a_host(listen=()) as host:
        await host.connect(addr)
        print("up", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
trio.run(main, sys.argv[1])
"""
SAY = """
import select, socket, sys
half = len(sys.argv[3]) // 2
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as wire:
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for part in (sys.argv[3][:half], sys.argv[3][half:]):
        wire.sendall(part.encode())
        select.select([wire], [], [], 0.3)
"""


@dataclass(slots=True)
class Left:
    """What one node was left with."""

    disk: bytes
    log: str
    memory: set[bytes]
    peerstore: str
    cells: Counter[int]
    """Sizes of the cells in its store."""


@dataclass(slots=True)
class Evidence:
    ip: dict[str, str]
    queues: tuple[bytes, ...]
    left: dict[str, Left]
    packets: dict[str, Capture]
    seekers_memory: set[bytes]
    careless: tuple[str, set[bytes], str]
    """Somebody who connects to a queue node directly: their address, what of it is in its memory, its peerstore."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    if unshare_words() is None:
        why = "network namespaces cannot be made here (needs Linux, iproute2, util-linux, and the right to unshare)"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    with a_scene(tmp_path_factory.mktemp("scene")) as scene:
        yield gather(scene)


def gather(scene: Scene) -> Evidence:
    """Read everything while everybody is still there; the recorders last."""
    leave_unread(scene)
    ip = {name: place.ip for name, place in scene.places.items()}
    queues = tuple(queue for name in QUEUE_NODES for queue in private_queues(scene.nodes[name]))
    needles = [*SECRETS, *queues, *(mark for name in PEOPLE for mark in marks_of(ip[name]))]
    left = {name: left_with(node, scene.peerstores[name], needles) for name, node in scene.nodes.items()}
    mine = search(scene.programs["seeker"].process.pid, [LONG[:50].encode()])
    assert mine is not None
    scene.places["seeker"].python(SAY, ip["entry"], "7400", CANARY.decode())
    careless = watch_careless(scene.nodes["queue1"], scene.places["stranger"])
    return Evidence(ip, queues, left, scene.captures(), mine, careless)


def leave_unread(scene: Scene) -> None:
    """Let nodes hold cells of messages of several lengths, by stopping the reader."""
    scene.programs["supporter"].process.send_signal(signal.SIGSTOP)
    seeker = scene.programs["seeker"]
    for text in UNREAD:
        seeker.do(do="say", text=text)
        seeker.wait("message_state", state="held", id=seeker.wait("sent", text=text)["id"])


def marks_of(ip: str) -> tuple[bytes, bytes]:
    """An address as text, and inside a binary multiaddr: /ip4 (4), four bytes, /tcp (6)."""
    return ip.encode(), b"\x04" + ipaddress.ip_address(ip).packed + b"\x06"


def private_queues(node: Node) -> list[bytes]:
    """Ids of queues between two people; those of doors stand in cards, which everybody may read."""
    return [queue for (queue,) in ask(node, "SELECT queue FROM queues WHERE kind = 'queue'")]


def ask(node: Node, query: str) -> list[Any]:
    with sqlite3.connect(f"file:{node.folder / 'node.db'}?mode=ro", uri=True, timeout=10) as conn:
        return conn.execute(query).fetchall()


def left_with(node: Node, peerstore: Any, needles: list[bytes]) -> Left:
    disk = b"\0".join(path.read_bytes() for path in sorted(node.folder.glob("node.db*")))
    memory = search(node.process.pid, needles)
    assert memory is not None, "a parent may read its child's memory"
    cells = Counter(size for (size,) in ask(node, "SELECT length(cell) FROM queue_cells"))
    return Left(disk, node.log.read_text(), memory, repr(peerstore), cells)


def watch_careless(node: Node, place: Place) -> tuple[str, set[bytes], str]:
    command = (*place.prefix, sys.executable, "-c", DIRECT, node.join)
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        memory = search(node.process.pid, list(marks_of(place.ip)))
        return place.ip, memory or set(), repr(stage.peerstore(node))
    finally:
        process.communicate("end\n", timeout=30)


# --- what was said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [*NODES, *PEOPLE])
def test_nothing_that_was_said_or_searched_passes_in_the_clear(seen: Evidence, place: str) -> None:
    assert seen.packets[place].finds(*SECRETS) == set()


@pytest.mark.parametrize("node", NODES)
def test_nothing_that_was_said_or_searched_stays_at_a_node(seen: Evidence, node: str) -> None:
    left = seen.left[node]
    for secret in SECRETS:
        assert secret not in left.disk
        assert secret.decode() not in left.log
        assert secret not in left.memory


def test_the_searches_would_have_found_it(seen: Evidence) -> None:
    for place in ("seeker", "entry"):
        capture = seen.packets[place]
        assert CANARY not in capture.raw, "it went in two packets, so only the joined connection has it"
        assert capture.finds(CANARY) == {CANARY}
    assert CANARY not in b"".join(seen.packets["directory"].streams().values())
    assert seen.seekers_memory == {LONG[:50].encode()}, "what a process has in memory is found there"


# --- who is where ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person", PEOPLE)
def test_people_speak_to_their_entry_and_to_nobody_else(seen: Evidence, person: str) -> None:
    assert seen.packets[person].hosts() == {seen.ip[person], seen.ip["entry"]}


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("node", [*QUEUE_NODES, "directory"])
def test_no_address_of_a_person_comes_to_a_node_behind_the_entry(seen: Evidence, node: str, person: str) -> None:
    ip, left = seen.ip[person], seen.left[node]
    text, binary = marks_of(ip)
    assert ip not in seen.packets[node].hosts()
    assert seen.packets[node].finds(text, binary) == set()
    assert not left.memory & {text, binary}
    assert text not in left.disk
    assert binary not in left.disk
    assert ip not in left.log
    assert ip not in left.peerstore
    assert seen.ip["entry"] in left.peerstore, "the peerstore that was read is a real one"
    assert "DEBUG" in left.log, "the log that was read is a talkative one"


def test_an_entry_writes_no_address_of_a_person_down(seen: Evidence) -> None:
    left = seen.left["entry"]
    for person in PEOPLE:
        text, binary = marks_of(seen.ip[person])
        assert {text, binary} & left.memory, "it has them while they are connected, as it must"
        assert text not in left.disk
        assert binary not in left.disk
        loud = [line for line in left.log.splitlines() if re.search(r" (INFO|WARNING|ERROR|CRITICAL) ", line)]
        assert not [line for line in loud if seen.ip[person] in line]


def test_somebody_who_connects_directly_would_have_been_seen(seen: Evidence) -> None:
    ip, memory, peerstore = seen.careless
    assert ip in seen.packets["queue1"].hosts()
    assert memory
    assert ip in peerstore


# --- queues ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", ["entry", "directory"])
def test_no_queue_id_comes_to_the_entry_or_the_directory(seen: Evidence, node: str) -> None:
    assert len(seen.queues) >= 2, "one for each direction"
    left = seen.left[node]
    for queue in seen.queues:
        assert seen.packets[node].finds(queue, queue.hex().encode()) == set()
        assert queue not in left.disk
        assert queue not in left.memory
        assert queue.hex() not in left.log


def test_the_queue_nodes_have_them_so_the_search_finds_queue_ids(seen: Evidence) -> None:
    for queue in seen.queues:
        assert any(queue in seen.left[node].memory for node in QUEUE_NODES)
        assert any(queue in seen.left[node].disk for node in QUEUE_NODES)
        assert all(queue.hex() not in seen.left[node].log for node in QUEUE_NODES)


def test_nodes_hold_cells_of_one_size(seen: Evidence) -> None:
    sizes = seen.left["queue1"].cells + seen.left["queue2"].cells
    assert set(sizes) == {CELL_SIZE}
    assert sizes[CELL_SIZE] >= len(UNREAD)


@pytest.mark.parametrize("person", PEOPLE)
def test_cells_have_one_size_on_the_wire(seen: Evidence, person: str) -> None:
    """Noise says in clear how long each of its messages is: the observer's best ruler."""
    entry, own = seen.ip["entry"], seen.ip[person]
    talks = {
        way: large(stream)
        for way, stream in seen.packets[person].streams().items()
        if {way.source, way.target} == {entry, own} and carries_cells(stream)
    }
    assert talks, "the conversation was not found among the connections"
    for way, sizes in talks.items():
        assert all(map(cells_in, sizes)), f"something else than whole cells: {way} {sizes}"
    said = sum(sum(sizes.values()) for way, sizes in talks.items() if way.source == own)
    assert said >= (4 + len(UNREAD) if person == "seeker" else 1)


def noise_messages(stream: bytes) -> list[int]:
    """Lengths of the outer Noise messages of a libp2p connection, after its negotiation; empty for anything else."""
    at = 0
    while stream[at + 1 : at + 2] == b"/":
        at += 1 + stream[at]
    lengths = []
    while 0 < at <= len(stream) - 2:
        lengths.append(int.from_bytes(stream[at : at + 2], "big"))
        at += 2 + lengths[-1]
    return lengths


def large(stream: bytes) -> Counter[int]:
    return Counter(length for length in noise_messages(stream) if length > CELL_SIZE // 2)


def carries_cells(stream: bytes) -> bool:
    """Snapshots of the directory are large too, and public; they come in sizes that are no cells."""
    return any(cells_in(size) for size in large(stream))


def cells_in(length: int) -> int:
    """How many cells a Noise message holds; 0 when it is no whole number of them.

    A relay and its client put what waits into one message: several cells, or a cell and an answer that was due. What is
    not cells is headers of less than 256 bytes each, where texts of this conversation differ by thousands.
    """
    cells, rest = divmod(length, CELL_SIZE)
    return cells if rest < 256 * cells else 0
