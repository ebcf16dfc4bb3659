"""Collectors' commands over real nodes and the dev chain: published, killed, run again; epochs read by anybody."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from support import records as make
from support.chain import warmline
from support.commands import Lines, Network, Node, Program, run
from warmline.chain.wallet import dev_wallet
from warmline.client.collecting import fetch_batch
from warmline.client.routes import Routes
from warmline.env import SystemClock, SystemRng
from warmline_protocol.errors import UnreachableError
from warmline_protocol.feedback.batch import data_hash
from warmline_protocol.records.node import NodeAddress

ACCOUNT = "5"
"""One of the development chain's collectors."""


@dataclass
class Scene:
    """Three nodes that follow the chain; the first serves an issuer, and hands out what the collector lays out."""

    network: Network
    url: str
    folder: Path
    manifest: str
    stack: ExitStack

    @property
    def node(self) -> Node:
        return self.network.nodes[0]

    @property
    def chain(self) -> tuple[str, ...]:
        return "--chain", self.url, "--data", str(self.folder)

    def collector(self) -> Program:
        words = ("collector", "run", "--node", self.node.join, "--dev-account", ACCOUNT, *self.chain)
        program = Program(self.folder, *words, "--entry", self.network.nodes[1].join)
        self.stack.callback(program.close)
        return program


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("collector")
    me = folder / "me"
    me.mkdir()
    with ExitStack() as stack:
        network = Network(folder)
        stack.callback(network.close)
        command = warmline("chain", "dev", "--data", str(folder / "chain"), "--port", "0", "--period", "1", "--json")
        chain = Lines(command, log=folder / "chain.log")
        stack.callback(chain.close)
        ready = json.loads(chain.next_line())
        home = folder / "node0"
        made = run("node", "init", "--data", str(home), "--operator", "A collector", "--listen", "/ip4/127.0.0.1/tcp/0")
        assert made.returncode == 0, made.stderr
        config = home / "config.toml"
        text = config.read_text()
        for name, value in (("collector", me / "served"), ("keys", folder / "keys")):
            text, changed = re.subn(rf'(?m)^#? ?{name} = ""$', f'{name} = "{value}"', text)
            assert changed == 1, name
        config.write_text(text)
        for _ in range(3):
            network.start_node("--chain", ready["url"], "--manifest", ready["manifest"])
        for node in network.nodes:
            node.wait_status("nodes_known", lambda known: known == 3)
        yield Scene(network, ready["url"], me, ready["manifest"], stack)


def ok(*words: str, passphrase: str = "") -> dict[str, Any]:
    """A command that works, as its JSON."""
    done = run(*words, "--json", passphrase=passphrase)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def test_a_collector_publishes_its_drops_and_goes_on_after_kill_9(scene: Scene) -> None:
    words = ("supporter", "register", "--dev-account", ACCOUNT, *scene.chain, "--json")
    done = run(*words)
    assert done.returncode == 0, done.stderr
    first = scene.collector()
    opened = first.wait("drops", 120)["epoch"]
    first.end(signal.SIGKILL)
    second = scene.collector()
    published = second.wait("published", 120)
    # An epoch may have passed meanwhile; what was opened is not opened again.
    assert opened in published["epochs"] or min(published["epochs"]) == opened + 1
    assert len(published["epochs"]) == 3
    assert opened not in [json.loads(line).get("epoch") for line in second.heard]
    assert second.end(signal.SIGINT) == 130
    entry = ("--entry", scene.network.nodes[2].join)
    done = run("conduct", "recompute", *scene.chain, *entry)
    assert done.returncode == 0, done.stderr
    assert "Nothing was posted yet" in done.stdout
    done = run("issuer", "alarms", "--issuer", dev_wallet(1).shown, *scene.chain, *entry, "--json")
    assert json.loads(done.stdout)["state"]["review"] == []


def test_who_is_no_collector_is_told_and_nothing_pending_cannot_be_vetoed(scene: Scene, tmp_path: Path) -> None:
    where = ("--chain", scene.url, "--data", str(tmp_path / "other"))
    assert run("supporter", "register", "--dev-account", "3", *where, "--yes").returncode == 0
    entry = ("--entry", scene.network.nodes[1].join)
    done = run("collector", "run", "--once", "--node", scene.node.join, "--dev-account", "3", *where, *entry)
    assert done.returncode == 1
    assert "does not name this wallet" in done.stderr
    listed = json.loads(run("conduct", "epochs", *where, "--json").stdout)["state"]
    assert (listed["threshold"], len(listed["collectors"]), listed["posts"]) == (2, 3, [])
    done = run("conduct", "veto", "--dev-account", ACCOUNT, *where, "--yes")
    assert done.returncode == 1
    assert "nothing is pending" in done.stderr
    done = run("conduct", "fetch", "--epoch", "1", "--out", str(tmp_path / "batch"), *where, *entry)
    assert done.returncode == 1
    assert "nothing stands or is pending" in done.stderr


def test_an_answer_at_the_closing_screen_goes_to_a_collector(scene: Scene) -> None:
    """From a credential and vouchers to one answer in a drop, all by commands."""
    network, chain = scene.network, ("--chain", scene.url)
    marta = network.folder / "marta"
    issuer, supporter = ("--dev-account", "1", *chain), ("--dev-account", "4", *chain, "--data", str(marta))
    who = dev_wallet(4).shown
    ok("issuer", "register", "--type", "peer", *issuer)
    ok("issuer", "issue", who, "peer", "--days", "90", *issuer)
    ok("supporter", "register", *supporter)
    keys = ("--keys", str(network.folder / "keys"))
    ok("issuer", "vouchers", "peer", "--each", "5", *keys, *issuer)
    ok("issuer", "vouchers", "peer", "--each", "5", "--next", *keys, *issuer)
    done = run("supporter", "feedback", dev_wallet(1).shown, scene.node.join, "--data", str(marta))
    assert done.returncode == 0, done.stderr
    network.supporter("marta", "--credential", "peer")
    collector = scene.collector()
    collector.wait("published", 120)
    duty = network.duty(marta)
    words = ("talk", "--with", "marta", "--adult", "--name", "Moss", "--line", "hello", "--closing")
    ends = time.monotonic() + 120
    while True:  # roots count when they are final, and what nodes tell follows in their own time
        seeker = network.program(*words)
        calling = seeker.wait("calling")
        knock = duty.wait("knock")
        duty.do(do="accept", to=knock["knock"])
        seeker.wait("joined")
        told = seeker.wait_any("feedback_ready", "feedback_none") if calling["verified"] else {"event": "unverified"}
        if told["event"] == "feedback_ready" or time.monotonic() > ends:
            break
        seeker.do(do="leave")
        seeker.hang_up()
    assert told["event"] == "feedback_ready", told
    seeker.do(do="leave")
    seeker.wait("rating_question")
    seeker.do(do="rate", text="yes")
    rated = seeker.wait("rated")
    assert (rated["reached"], rated["meant"]) == (1, 1)
    assert seeker.hang_up() == 0
    assert collector.end(signal.SIGINT) == 130


async def test_a_batch_comes_whole_over_a_circuit(scene: Scene) -> None:
    data = SystemRng().bytes(200_000)
    name = data_hash(data)
    served = scene.folder / "served"
    served.mkdir(exist_ok=True)
    (served / f"{name.hex()}.batch").write_bytes(data)
    entry = scene.network.nodes[1].join
    peer = scene.node.join.rpartition("/p2p/")[2]
    record = make.collector(node=NodeAddress(peer, (scene.node.join,)))
    with trio.fail_after(60):
        routes = Routes((entry,), rng=SystemRng(), clock=SystemClock())
        assert await fetch_batch(routes, [record], name, 50, SystemRng()) == data
        with pytest.raises(UnreachableError, match="another size"):
            await fetch_batch(routes, [record], name, 10, SystemRng())
        with pytest.raises(UnreachableError, match="no collector hands out"):
            await fetch_batch(routes, [record], bytes(32), 50, SystemRng())
        (served / f"{bytes(32).hex()}.batch").write_bytes(b"something else")
        with pytest.raises(UnreachableError, match="something else"):
            await fetch_batch(routes, [record], bytes(32), 50, SystemRng())
