"""`warmline node`: first run, second run, signals, kills, and what an operator is told when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.chain import warmline
from support.commands import PASSPHRASE, Lines, Node, Program, run

LOOPBACK = ("--listen", "/ip4/127.0.0.1/tcp/0")


@contextmanager
def a_node(folder: Path, *options: str, env: Any = None) -> Iterator[Node]:
    node = Node(folder, *(options or LOOPBACK), env=env)
    try:
        yield node
    finally:
        node.close()


def findings(folder: Path) -> dict[str, dict[str, str]]:
    done = run("node", "doctor", "--data", str(folder), "--json")
    rows = json.loads(done.stdout)
    broken = any(row["level"] == "FAIL" for row in rows)
    assert done.returncode == int(broken), rows
    return {row["what"]: row for row in rows}


def configure(folder: Path, section: str, **fields: object) -> None:
    """Add fields to a section of the configuration."""
    path = folder / "config.toml"
    lines = [f"{key} = {value}" for key, value in fields.items()]
    text = path.read_text().replace(f"[{section}]", f"[{section}]\n" + "\n".join(lines), 1)
    path.write_text(text)


def a_card(folder: Path, node: Node) -> None:
    done = run(
        *("supporter", "card", "--name", "Marta", "--language", "en", "--topic", "grief"),
        *("--data", str(folder), "--entry", node.join),
        passphrase=PASSPHRASE,
    )
    assert done.returncode == 0, done.stderr


def test_the_first_run_creates_what_it_needs_and_the_second_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    with a_node(folder, "--operator", "Harbour House", *LOOPBACK) as node:
        assert "created a node" in node.before[0]
        assert node.join.endswith(f"/p2p/{node.peer_id}")
        status = node.ask("status")
        assert status["operator"] == "Harbour House"
        assert status["chain"]["state"] == "none"
        assert node.ask("mesh")["peer_id"] == node.peer_id
        text = run("node", "status", "--data", str(folder)).stdout
        assert "records show as unverified" in text
        assert "Harbour House" in text
        assert (folder / "key").stat().st_mode & 0o777 == 0o600
        assert (folder / "control.sock").stat().st_mode & 0o777 == 0o600
        started = time.monotonic()
        assert node.end(signal.SIGTERM) == 0
        assert time.monotonic() - started < 10
        assert not (folder / "control.sock").exists()
    with a_node(folder, "--operator", "Another name") as again:
        assert again.peer_id == node.peer_id
        assert "its settings are those in" in again.log.read_text()
        assert again.ask("status")["operator"] == "Harbour House"
        assert again.end(signal.SIGINT) == 0


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    assert run("node", "init", "--data", str(tmp_path)).returncode == 0
    key = (tmp_path / "key").read_bytes()
    done = run("node", "init", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "there is a node in" in done.stderr
    assert (tmp_path / "key").read_bytes() == key


def test_two_nodes_in_one_directory_are_refused(tmp_path: Path) -> None:
    with a_node(tmp_path / "node") as node:
        done = run("node", "run", "--data", str(node.folder))
        assert done.returncode == 1
        assert "runs on this directory" in done.stderr
        assert "→" in done.stderr
        assert "Traceback" not in done.stderr
        assert node.ask("status")["peer_id"] == node.peer_id


def test_a_taken_port_is_named_with_its_remedy(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        where = f"/ip4/127.0.0.1/tcp/{port}"
        done = run("node", "run", "--data", str(tmp_path / "node"), "--listen", where)
        assert done.returncode == 1
        assert f"port {port} is taken" in done.stderr
        assert "ss -ltnp" in done.stderr
        assert "Traceback" not in done.stderr
        found = findings(tmp_path / "node")
        assert found["port"]["level"] == "FAIL"
        assert where in found["port"]["fix"]


def test_a_killed_node_keeps_its_records_and_doors(tmp_path: Path) -> None:
    folder, mine = tmp_path / "node", tmp_path / "marta"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with a_node(folder, "--listen", f"/ip4/127.0.0.1/tcp/{port}") as node, a_node(tmp_path / "entry") as entry:
        assert node.folder == folder
        del entry
        with a_node(tmp_path / "other", *LOOPBACK, "--bootstrap", node.join) as other:
            other.wait_status("nodes_known", lambda known: known == 2)
            a_card(mine, other)
            node.wait_status("directory", lambda held: held["cards"] == 1)
            assert node.end(signal.SIGKILL) == -signal.SIGKILL
            assert (folder / "control.sock").exists()
            refused = run("node", "status", "--data", str(folder))
            assert refused.returncode == 1
            assert "warmline node run" in refused.stderr
            with a_node(folder) as again:
                assert again.peer_id == node.peer_id
                assert again.ask("status")["directory"]["cards"] == 1
                # The door that was made before the kill still opens: duty does not need a new card.
                duty = Program(
                    tmp_path,
                    *("supporter", "duty", "--data", str(mine), "--entry", other.join),
                    passphrase=PASSPHRASE,
                )
                try:
                    assert duty.wait("on_duty")["doors"] >= 1
                    assert duty.hang_up() == 0
                finally:
                    duty.close()


@pytest.mark.parametrize("damage", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_never_silently_replaced(tmp_path: Path, damage: bytes) -> None:
    run("node", "init", "--data", str(tmp_path))
    (tmp_path / "key").write_bytes(damage)
    done = run("node", "run", "--data", str(tmp_path))
    assert done.returncode == 1
    assert f"is damaged: {len(damage)} bytes instead of 32" in done.stderr
    assert (tmp_path / "key").read_bytes() == damage
    assert "backup" in findings(tmp_path)["directory"]["fix"]


def test_half_a_directory_is_explained(tmp_path: Path) -> None:
    run("node", "init", "--data", str(tmp_path))
    (tmp_path / "key").unlink()
    done = run("node", "run", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "→" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[node]\nstore_mbb = 5\n", "[node] has no field 'store_mbb'"),
        ("[nodes]\n", "there is no section [nodes]"),
        ("[node]\nstore_mb = 'much'\n", "store_mb must be a whole number"),
        ("[node]\nstore_mb = 1\n", "store_mb must be at least 16"),
        ("[node\n", "is not TOML"),
        ("[net]\nlisten = ['nowhere']\n", "'nowhere' is no address to listen on"),
        ("[net]\nlisten = ['/ip4/127.0.0.1/tcp/0']\nannounce = ['nowhere']\n", "nowhere"),
        ("[net]\nlisten = ['/ip4/127.0.0.1/tcp/0']\nbootstrap = ['/ip4/127.0.0.1/tcp/1']\n", "/ip4/127.0.0.1/tcp/1"),
        ("[net]\nlisten = ['/ip4/127.0.0.1/tcp/0']\n[chain]\nurl = 'http://127.0.0.1:1'\n", "manifest"),
    ],
)
def test_a_wrong_configuration_names_the_field(tmp_path: Path, text: str, words: str) -> None:
    run("node", "init", "--data", str(tmp_path))
    (tmp_path / "config.toml").write_text(text)
    done = run("node", "run", "--data", str(tmp_path))
    assert done.returncode == 1, done.stdout
    assert words in done.stderr
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_chain_stops_nothing_and_doctor_says_so(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    address = {"address": "0x" + "11" * 20, "code_hash": "0x" + "22" * 32}
    names = ("CredentialRegistry", "DelegateRegistry", "SupporterBond", "ReportPanel", "ConductEpochs")
    manifest.write_text(json.dumps({"chain_id": 1337, "start_block": 0, "contracts": dict.fromkeys(names, address)}))
    folder = tmp_path / "node"
    run("node", "init", "--data", str(folder), *LOOPBACK)
    configure(folder, "chain", url='"http://127.0.0.1:1"', manifest=f'"{manifest}"')
    with a_node(folder) as node:
        status = node.wait_status("chain", lambda chain: bool(chain["problem"]))
        assert status["chain"]["state"] == "lagging"
        found = findings(folder)
        assert found["chain"]["level"] == "FAIL"
        assert found["chain"]["fix"]
        assert found["process"]["level"] == "ok"
        assert node.end() == 0


def test_a_full_disk_is_told_and_the_node_goes_on_reading(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    with a_node(folder) as first:
        assert first.end() == 0
    size = max(path.stat().st_size for path in folder.iterdir() if path.is_file())
    limit = (size + 96 * 1024) // 1024
    command = ["bash", "-c", f'ulimit -f {limit}; trap "" XFSZ; exec "$@"', "bash"]
    lines = Lines([*command, *warmline("node", "run", "--data", str(folder))], log=tmp_path / "full.log")
    try:
        while not (line := lines.next_line()).endswith("is ready"):
            pass
        assert first.peer_id in line
        join = lines.next_line().split("--bootstrap ")[1]
        with a_node(tmp_path / "other", *LOOPBACK, "--bootstrap", join) as other:
            other.wait_status("nodes_known", lambda known: known == 2)
            done = run(
                *("groups", "find", "--json", "--entry", join),
            )
            assert done.returncode == 0, done.stderr
        assert run("node", "status", "--quiet", "--data", str(folder)).returncode == 0
        assert lines.end() == 0
        assert "Traceback" not in lines.log.read_text()
    finally:
        lines.close()


def test_a_directory_that_cannot_be_written_is_explained() -> None:
    done = run("node", "init", "--data", "/proc/nowhere")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert os.path.exists("/proc")
