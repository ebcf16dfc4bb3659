"""Programs that share no code with ours: node with js-libp2p and ts-mls, and a second Python binding of MLS.

They run wherever node, npm and pip find what is pinned; where not, these tests are skipped with the reason. In CI the
absence of node is a failure.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.tsmls import Peer, node_path

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def node_program() -> str:
    """The node executable (this environment's own before the machine's), with this directory's packages installed."""
    path = node_path()
    program = shutil.which("node", path=path)
    if os.environ.get("CI") != "true" and (program is None or shutil.which("npm", path=path) is None):
        pytest.skip("node and npm are not installed; tests/interop/install says what to type")
    done = subprocess.run(
        [HERE / "install"], capture_output=True, text=True, timeout=600, check=False, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert program is not None
    return program


@pytest.fixture(scope="session")
def peer(node_program: str) -> Iterator[Peer]:
    """ts-mls and the outer layer in JavaScript, in one process for all tests."""
    peer = Peer(node_program)
    yield peer
    peer.close()


@pytest.fixture(scope="session")
def rine() -> Any:
    """``rine-mls``, another binding over mls-rs with another build of its cryptography. A test peer, never shipped."""
    folder = HERE / "python_modules"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps")
    if not (folder / "rine_mls").exists():
        options = ("--require-hashes", "--only-binary", ":all:", "--target", str(folder))
        done = subprocess.run(
            [*pip, *options, "--requirement", str(HERE / "peers.txt")],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"rine-mls does not install here: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("rine_mls")
    except ImportError as error:
        pytest.skip(f"rine-mls does not load here: {error}")
    finally:
        sys.path.remove(str(folder))
