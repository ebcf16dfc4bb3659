"""Processes, clocks and figures for ``first_light.py``: everything that knows nothing of what is measured."""

from __future__ import annotations

import json
import os
import platform
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

WARMLINE = Path(sysconfig.get_path("scripts")) / "warmline"
ROLES = Path(__file__).with_name("first_light_roles.py")
PATIENCE = 90.0
"""Seconds for anything that takes milliseconds on an idle machine."""
TICKS = os.sysconf("SC_CLK_TCK")


def spread(values: Sequence[float], unit: str = "ms") -> dict[str, Any]:
    """n, p50 and p99 by nearest rank, least and most. With fewer than 100 values p99 is the most."""
    ranked = sorted(values)
    if not ranked:
        return {"unit": unit, "n": 0}

    def rank(share: float) -> float:
        return round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 2)

    return {
        "unit": unit,
        "n": len(ranked),
        "p50": rank(0.5),
        "p99": rank(0.99),
        "min": round(ranked[0], 2),
        "max": round(ranked[-1], 2),
    }


def one(value: float, unit: str, n: int = 1) -> dict[str, Any]:
    return {"unit": unit, "n": n, "value": round(value, 3)}


def times(a: dict[str, Any], b: dict[str, Any], of: str = "p50") -> float | None:
    """How many times ``a`` is ``b``."""
    return round(a[of] / b[of], 2) if a.get(of) and b.get(of) else None


def machine() -> dict[str, Any]:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "cpu": model[0].partition(":")[2].strip() if model else platform.machine(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def environment(bytecode: Path) -> dict[str, str]:
    """That of the children. Bytecode is cached as it is wherever the sources' directory can be written."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONUNBUFFERED": "1"}


class Child:
    """A process of this benchmark. Lines it prints are waited for; it is gone after the block, whatever happened."""

    def __init__(self, arguments: Sequence[str | Path], env: dict[str, str]) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [str(each) for each in arguments],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._lines: queue.Queue[tuple[float, str]] = queue.Queue()
        self._errors: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put((time.monotonic(), line.rstrip("\n")))
        self._lines.put((time.monotonic(), "\0"))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors = [*self._errors[-30:], line.rstrip("\n")]

    def wait_line(self, part: str) -> tuple[float, str]:
        """When and what: the next line that has ``part`` in it."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                when, line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise SystemExit(f"{self.name} did not say {part!r}: {self._errors}") from None
            if part in line:
                return when, line
            if line == "\0":
                raise SystemExit(f"{self.name} ended before it said {part!r}: " + "\n".join(self._errors))

    def event(self, name: str) -> dict[str, Any]:
        """The next line of this event; for roles."""
        data: dict[str, Any] = json.loads(self.wait_line(f'"event": "{name}"')[1])
        return data

    def tell(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    @property
    def name(self) -> str:
        arguments = self.process.args
        return " ".join(str(each)[-40:] for each in (arguments if isinstance(arguments, list) else [arguments])[:3])

    def cpu_ms(self) -> float:
        """CPU that the process has used so far, its own and the kernel's for it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return 1000 * (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mib(self) -> dict[str, float]:
        """Resident, and resident without what other processes share."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        kib = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
        return {"rss": kib["Rss:"] / 1024, "private": (kib["Private_Clean:"] + kib["Private_Dirty:"]) / 1024}

    def close(self) -> None:
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def role(name: str, env: dict[str, str], **ask: Any) -> Child:
    return Child([sys.executable, ROLES, name, json.dumps(ask)], env)


def run(arguments: Sequence[str | Path], env: dict[str, str]) -> tuple[float, str]:
    """A command to its end: seconds and what it printed."""
    start = time.monotonic()
    done = subprocess.run(
        [str(each) for each in arguments], env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode:
        raise SystemExit(f"{arguments[1:3]} failed: {done.stderr[-800:]}")
    return time.monotonic() - start, done.stdout
