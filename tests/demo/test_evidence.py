"""The demo's own instruments: each must find what was planted, or its "nothing found" would mean nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from warmline.demo import casting, evidence, memory, sockets
from warmline.demo.ledger import Talk, settle
from warmline.demo.processes import Heard, Program

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "weekly_programme.toml"
needs_proc = pytest.mark.skipif(not sockets.available(), reason="this system has no /proc")


@needs_proc
def test_a_word_in_another_process_memory_is_found() -> None:
    holder = "import sys; kept = sys.stdin.readline().encode() * 2; print('kept', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"a planted word of forty-seven\n")
        child.stdin.flush()
        child.stdout.readline()
        try:
            found = memory.search(child.pid, [b"a planted word of forty-seven", b"a word that was never planted"])
        finally:
            child.stdin.close()
    if found is None:
        pytest.skip("this system does not let a parent read its child's memory")
    assert found == {b"a planted word of forty-seven"}


def test_memory_that_cannot_be_read_is_no_empty_memory() -> None:
    assert memory.search(2**22 + 1, [b"x"]) is None


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            yield client, accepted


@needs_proc
def test_a_connection_is_seen_with_both_ports(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    seen = sockets.connections_of(os.getpid())
    assert sockets.Connection(client.getsockname()[1], client.getpeername()[1]) in seen


@needs_proc
def test_the_watch_remembers_connections_that_are_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    class Me:
        pid = os.getpid()
        running = True

    watch = sockets.Watch()
    watch.add("me", Me())
    watch.look()
    port = pair[0].getsockname()[1]
    for end in pair:
        end.close()
    watch.look()
    assert port in watch.ports_of("me")
    assert port not in sockets.Watch().ports_of("me")


@pytest.mark.parametrize(
    ("where", "ports"),
    [
        ("127.0.0.1:4100", {4100}),
        ("/ip4/127.0.0.1/tcp/4100", {4100}),
        ("/ip4/127.0.0.1/tcp/4100/p2p/12D3KooW", {4100}),
        ("circuit", set()),
    ],
)
def test_ports_are_read_from_every_form_of_address(where: str, ports: set[int]) -> None:
    assert evidence._ports_in(where) == ports


def test_a_word_in_a_store_or_a_log_is_a_trace(tmp_path: Path) -> None:
    class Node:
        name = "node-9"

    holding = evidence.Holding(Node(), b"..secret words..", b"", {b"a name"})  # type: ignore[arg-type]
    found = evidence._found({"secret words": b"secret words", "a name": b"a name", "else": b"else"}, [holding])
    assert found == ["node-9's store has 'secret words'", "node-9's memory has 'a name'"]


@pytest.mark.parametrize(
    "kept",
    [b"from 127.0.0.1:4100 came", b"/ip4/127.0.0.1/tcp/4100", b"('127.0.0.1', 4100)", b"\x04\x7f\0\0\x01\x06\x10\x04"],
)
def test_an_address_kept_in_any_form_is_a_trace(kept: bytes) -> None:
    class Node:
        name = "node-9"

    traces = evidence.Traces({}, {}, {}, {4100})
    holding = evidence.Holding(Node(), b"...." + kept + b"....", b"", None)  # type: ignore[arg-type]
    assert evidence._addresses_kept(traces, [holding]) == ["node-9 kept a seeker's address 127.0.0.1:4100"]
    other = evidence.Traces({}, {}, {}, {4101})
    assert evidence._addresses_kept(other, [holding]) == []
    shared = evidence.Traces({}, {}, {}, {4100}, {"node-9": {4100}})
    assert evidence._addresses_kept(shared, [holding]) == []


def program(name: str, *lines: dict[str, object]) -> Program:
    heard = [Heard(0.0, {"place": 1, **line}) for line in lines]
    return Program(name, None, 0.0, Path(), Path(), heard, [], trio.Event())  # type: ignore[arg-type]


def said(number: str, text: str, *states: str) -> list[dict[str, object]]:
    told: list[dict[str, object]] = [{"event": "sent", "id": number, "text": text}]
    return told + [{"event": "message_state", "id": number, "state": state, "by": ["n"]} for state in states]


def shown(text: str) -> dict[str, object]:
    return {"event": "text_received", "text": text}


@pytest.mark.parametrize(
    ("sender", "reader", "lost", "twice"),
    [
        (said("1", "a", "held", "delivered"), [shown("a")], 0, 0),
        (said("1", "a", "held", "expired"), [], 0, 0),
        (said("1", "a", "refused"), [], 0, 0),
        (said("1", "a", "held"), [shown("a")], 1, 0),
        (said("1", "a"), [], 1, 0),
        (said("1", "a", "delivered"), [], 1, 0),
        (said("1", "a", "delivered"), [shown("a"), shown("a")], 0, 1),
    ],
    ids=["delivered", "expired", "refused", "never told", "nothing known", "told but not shown", "shown twice"],
)
def test_every_message_is_accounted_for(
    sender: list[dict[str, object]], reader: list[dict[str, object]], lost: int, twice: int
) -> None:
    account = settle([Talk("t", (program("a", *sender), program("b", *reader)), (1, 1))])
    assert (len(account.lost), len(account.twice)) == (lost, twice)
    assert account.sound == (not lost and not twice)


def test_the_programme_is_split_so_that_nothing_is_missing() -> None:
    programme = casting.read_programme(EXAMPLE)
    ids = [group.id for group in programme.groups]
    assert len(ids) == len(set(ids)) >= casting.GROUPS_MIN
    assert all(programme.shares)
    assert programme.room in programme.shares[0]
    wishes = programme.wishes()
    assert len({wish.words for wish in wishes}) == 4
    assert all(wish.expected is None or wish.expected for wish in wishes)
    assert casting.SEARCHED not in EXAMPLE.read_text("utf-8")
