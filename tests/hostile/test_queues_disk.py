"""A real node on a real disk that fills up: nothing receipted is lost, refusals are clear, and it starts again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.namespaces import TESTS

SIZE = "11m"


@pytest.fixture
def story(tmp_path: Path) -> Any:
    """What ``support.full_disk`` tells, run with a file system of its own mounted for it alone."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={SIZE} none {disk}"
    words = next((w for w in (("unshare", "-m"), ("unshare", "-rm")) if may_mount(w, mount)), None)
    if words is None:
        why = "no file system can be mounted here, not even in a namespace of one's own"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    done = subprocess.run(
        [*words, "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-m", "support.full_disk", str(disk)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def may_mount(words: tuple[str, ...], mount: str) -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*words, "sh", "-c", mount], capture_output=True, check=False, timeout=30).returncode == 0


def test_a_full_disk_refuses_keeps_all_it_has_and_survives_a_kill(story: Any) -> None:
    assert story["refused"] == ["disk"]
    assert all("Free space" in hint or "another node" in hint for hint in story["hints"])
    assert story["kept"] >= 100
    assert story["free"] < 1 << 20, "it was really full"
    assert story["status while full"] == story["kept"]
    assert story["read while full"]
    assert story["read after kill"]
    assert story["goes on"]
    assert story["log"] == []
