"""What importing warmline does before the first line of a program runs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["warmline.daemon.run", "warmline.client.line"])
def test_the_library_is_imported_after_its_cures(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'httpx', 'requests', 'zeroconf'}} & sys.modules.keys()))"
    environment = {**os.environ, "LIBP2P_DEBUG": "DEBUG"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
    assert "Logging to" not in ran.stderr
