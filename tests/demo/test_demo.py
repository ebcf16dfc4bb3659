"""`warmline demo` as a person runs it: every step, every promise of the privacy table, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from warmline.demo.processes import command_line
from warmline.demo.run import ACTS

WHOLE = 300.0
"""Seconds on a machine that is busy with other suites; a quiet one needs less than sixty."""
DEMO = [*command_line(), "demo"]

PROMISED = {
    "entry node": ("yes", "a node's name", "no", "no"),
    "queue node": ("no", "traffic of a queue", "no", "no"),
    "directory node": ("no", "no", "no", "no"),
    "supporter": ("no", "pseudonym", "yes", "no"),
    "chain, anyone": ("no", "no", "no", "no"),
}


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One run, read by several tests; its folder must be gone afterwards."""
    folder = tmp_path_factory.mktemp("d")
    done = subprocess.run(
        [*DEMO, "--json"], env=_short(folder), capture_output=True, text=True, timeout=WHOLE, check=False
    )
    said = json.loads(done.stdout)
    assert done.returncode == 0, (said, done.stderr)
    assert not list(folder.glob("warmline-demo-*"))
    return said


def _short(folder: Path) -> dict[str, str]:
    """Temporary files in ``folder``, where its path leaves room for the nodes' sockets."""
    return os.environ | ({"TMPDIR": str(folder)} if len(str(folder)) < 50 else {})


@pytest.mark.timeout(WHOLE)
def test_every_step_of_the_story_went_well(summary: Any) -> None:
    assert summary["ok"]
    assert [step["step"] for step in summary["steps"]] == [step.key for act in ACTS for step in act] + ["evidence"]
    assert all(step["ok"] for step in summary["steps"]), summary["steps"]
    assert summary["nodes"] >= 6
    assert summary["groups"] >= 24


def test_no_message_was_lost_in_silence(summary: Any) -> None:
    messages = summary["messages"]
    assert messages["sent"] >= 14
    assert messages["sent"] == messages["delivered"] + messages["expired"] + messages["refused"]


def test_what_was_promised_to_be_measured_was_measured(summary: Any) -> None:
    timings = summary["timings"]
    for name in ("cold_start", "publish_to_found", "hello_to_reply", "failover", "revocation_to_gone"):
        assert 0 < timings[name] < WHOLE, name


@pytest.mark.parametrize("party", PROMISED)
def test_each_party_saw_what_the_table_grants_and_no_more(summary: Any, party: str) -> None:
    (row,) = [row for row in summary["privacy"] if row["party"] == party]
    assert tuple(cell["allowed"] for cell in row["cells"].values()) == PROMISED[party]
    for name, cell in row["cells"].items():
        assert not cell["violations"], (party, name)
        if cell["allowed"] == "no" and cell["read"]:
            assert cell["saw"] == "no", (party, name)
        if sys.platform == "linux":
            assert cell["read"], (party, name)


@pytest.mark.timeout(WHOLE)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_no_process_and_no_folder(tmp_path: Path, number: signal.Signals) -> None:
    env = os.environ | {"TMPDIR": str(tmp_path), "WARMLINE_TEST_MARK": tmp_path.name}
    with subprocess.Popen(DEMO, env=env, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "a chain of its own answers" in line:
                break
        demo.send_signal(number)
        demo.stdout.read()
        assert demo.wait(60) == 130
    assert not list(tmp_path.iterdir())
    assert not [pid for pid in _pids() if str(tmp_path).encode() in _command_of(pid)]


def test_a_programme_that_is_too_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text("[defaults]\n", "utf-8")
    done = subprocess.run(
        [*DEMO, "--programme", str(tmp_path / "short.toml")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "has 0 groups, the demo needs 24" in done.stderr
    assert "Traceback" not in done.stderr


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()] if os.path.isdir("/proc") else []


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
