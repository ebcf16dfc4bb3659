"""Scenarios of simulated networks, small enough for every change; a thousand nodes are one command (net/README.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(900)
"""Each run is a process of its own that only computes: on a busy machine it takes as long as it takes."""


def simulate(folder: Path, scenario: str, *, nodes: int, seed: int = 7, **options: int) -> dict[str, Any]:
    """Run one scenario; its figures, events and hash. Fails with what it printed where a threshold did not hold."""
    out = folder / f"{scenario}.json"
    given = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.sim.net", scenario, f"--nodes={nodes}", f"--seed={seed}", *given]
    ran = subprocess.run([*command, "--json", str(out)], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-6000:]
    told: dict[str, Any] = json.loads(out.read_text())
    return told


def test_two_runs_with_one_seed_are_the_same_to_the_event_and_another_seed_is_not(tmp_path: Path) -> None:
    one = simulate(tmp_path, "churn", nodes=16)
    same = simulate(tmp_path, "churn", nodes=16)
    other = simulate(tmp_path, "churn", nodes=16, seed=8)
    assert (one["hash"], one["events"], one["figures"]) == (same["hash"], same["events"], same["figures"])
    assert one["hash"] != other["hash"]


def test_a_hundred_nodes_on_a_quiet_day_and_the_model_beside_them(tmp_path: Path) -> None:
    figures = simulate(tmp_path, "baseline", nodes=100, messages=15)["figures"]
    assert figures["baseline: delivered"] == 100
    assert figures["bodies heard per delivery"] < 3.5
    # The model that stands in for networks too large to run is compared with the nodes here.
    for share in ("p50", "p99"):
        assert abs(figures[f"model minus nodes, {share}"]) < 0.1 * figures[f"baseline: node has it, {share}"]


def test_a_partition_heals_where_nobody_is_pinned_to_anybody(tmp_path: Path) -> None:
    assert simulate(tmp_path, "partition", nodes=24, bootstrap=0)["failures"] == []


@pytest.mark.parametrize(
    ("scenario", "nodes", "messages"),
    [
        ("partition", 24, 1),
        ("sybils", 40, 10),
        ("eclipse", 40, 10),
        ("replay", 24, 10),
        ("spam", 16, 10),
        ("dht_liars", 12, 2),
        ("find", 14, 2),
    ],
)
def test_what_networks_go_through(tmp_path: Path, scenario: str, nodes: int, messages: int) -> None:
    assert simulate(tmp_path, scenario, nodes=nodes, messages=messages)["failures"] == []
