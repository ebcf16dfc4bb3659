"""``python -m tests.sim.net SCENARIO``: the runner in a process of its own, whose hash seed is 0."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]


def main(argv: list[str]) -> int:
    """The runner's exit code."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, "-m", "sim.net.runner", *argv], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
