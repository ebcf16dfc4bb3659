"""Nodes in other processes.

A node under attack must be another process: what kills it must not kill the test, and what it may know of us must
have come over the wire. ``start(__file__, "my_node", degree=3)`` runs ``my_node(ready, degree=3)`` of the calling
file there and returns when it has called ``ready({...})``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

START_SECONDS = 60.0
"""How long a process may take to be ready on a busy machine."""


class Child:
    """A running process and the facts it told when it was ready."""

    def __init__(self, process: subprocess.Popen[bytes], facts: dict[str, Any], errors: IO[bytes]) -> None:
        self.process = process
        self.facts = facts
        self._errors = errors

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def stderr(self) -> str:
        """Everything the process has written to its stderr so far."""
        return Path(self._errors.name).read_text(errors="replace")

    @property
    def complaints(self) -> str:
        """What it wrote to its stderr, except that the handler that is made to fail has failed."""
        lines = self.stderr.splitlines()
        return "\n".join(line for line in lines if not line.startswith("a handler of /warmline/test/raise/1 failed"))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """Close its stdin, which asks it to end; kill it when it does not."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._errors.close()


def start(file: str, function: str, *, seconds: float = START_SECONDS, **options: Any) -> Child:
    """Run ``function`` of ``file`` in another process; returns when it is ready, within ``seconds``."""
    errors = tempfile.NamedTemporaryFile(prefix="warmline-child-", suffix=".err")  # noqa: SIM115 - Child closes it
    tests = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "support.child", file, function, json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**os.environ, "PYTHONPATH": str(tests)},
    )
    return Child(process, json.loads(_first_line(process, errors, seconds)), errors)


@contextmanager
def running(file: str, function: str, **options: Any) -> Iterator[Child]:
    """:func:`start` for the length of a block; the usual body of a module-scoped fixture."""
    child = start(file, function, **options)
    try:
        yield child
    finally:
        child.stop()


def _first_line(process: subprocess.Popen[bytes], errors: IO[bytes], seconds: float) -> bytes:
    assert process.stdout is not None
    line, deadline = b"", time.monotonic() + seconds
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        # Byte by byte: what the child says after its first line belongs to the test.
        piece = os.read(process.stdout.fileno(), 1) if readable else b""
        if not piece:
            process.kill()
            raise AssertionError(f"the process was not ready: {Path(errors.name).read_text(errors='replace')[-3000:]}")
        line += piece
    return line
