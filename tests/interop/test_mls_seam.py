"""The session machines do not know their engine: their suites pass over ts-mls without a changed line.

What another engine must bring is written down in ``warmline_protocol/session/mls.py``; here one that shares no code, no
language and no process with mls-rs brings it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.engines import CHOICE

ROOT = Path(__file__).parent.parent.parent
NODES_ONLY = "not nodes_that_forget"
"""Left out because it takes longest and is about nodes that lose what they held, whatever the engine."""
SUITES = ("tests/unit/test_session_pair.py", "tests/unit/test_session_room.py")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("suite", SUITES, ids=lambda path: Path(path).stem)
def test_the_suite_of_a_machine_over_another_engine(node_program: str, suite: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-n",
            "2",
            "-k",
            NODES_ONLY,
            "--timeout=500",
            suite,
        ],
        cwd=ROOT,
        env={**os.environ, CHOICE: "ts-mls"},
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    counted = re.search(r"(\d+) passed", done.stdout)
    assert counted is not None and int(counted[1]) >= 20, done.stdout[-400:]


def test_session_code_names_no_engine() -> None:
    sources = sorted((ROOT / "protocol" / "warmline_protocol").rglob("*.py"))
    naming = [
        path.name for path in sources if re.search(r"import.*(mls_rs|engine_mlsrs|uniffi)", path.read_text("utf-8"))
    ]
    assert naming == []
