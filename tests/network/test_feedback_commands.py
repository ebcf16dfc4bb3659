"""Collectors' commands over real nodes and the dev chain: published, killed, run again; epochs read by anybody."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.chain import warmline
from support.commands import Lines, Network, Node, Program, run
from warmline.chain.wallet import dev_wallet

ACCOUNT = "5"
"""One of the development chain's collectors."""


@dataclass
class Scene:
    """Three nodes, the first of which hands out what the collector lays out."""

    network: Network
    url: str
    folder: Path
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
        home = folder / "node0"
        made = run("node", "init", "--data", str(home), "--operator", "A collector", "--listen", "/ip4/127.0.0.1/tcp/0")
        assert made.returncode == 0, made.stderr
        config = home / "config.toml"
        served = f'collector = "{me / "served"}"'
        config.write_text(re.sub(r'(?m)^#? ?collector = ""$', served, config.read_text()))
        assert served in config.read_text()
        for _ in range(3):
            network.start_node()
        for node in network.nodes:
            node.wait_status("nodes_known", lambda known: known == 3)
        command = warmline("chain", "dev", "--data", str(folder / "chain"), "--port", "0", "--period", "1", "--json")
        chain = Lines(command, log=folder / "chain.log")
        stack.callback(chain.close)
        url = json.loads(chain.next_line())["url"]
        yield Scene(network, url, me, stack)


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
