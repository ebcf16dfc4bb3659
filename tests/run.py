"""Every check and test of the project, one after another, with progress.

``./deploy/bootstrap test`` runs all; names after it run only those (``./deploy/bootstrap test unit hostile``).
Each suite is a pytest run of its own, so that a suite that hurts another one cannot hide.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DROP_OLD_STUBS = (
    "import shutil, sysconfig; shutil.rmtree(sysconfig.get_path('purelib') + '/trio-stubs', ignore_errors=True)"
)
ASYNC_OFF = "ASYNC127,ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913"
ASYNC_LINT = ("flake8-async", "--startable-in-context-manager", "_host,_run_session,_once,follow", "--disable")
OTHERS = {"node_modules", "python_modules"}
SCRIPTS = ["deploy/bootstrap", "requirements/lock", ".ci/run"]


LINTED = ("tests/unit", "tests/network", "tests/support")
"""Half of the tests by size; the other folders are the other half."""
SUITES = sorted(f"tests/{each.name}" for each in (ROOT / "tests").iterdir() if each.is_dir())


@dataclass(frozen=True)
class Step:
    """One line of progress: a command, or a pytest suite with its worker count."""

    name: str
    commands: tuple[tuple[str, ...], ...] = ()
    suite: str | None = None
    workers: int = 2
    at_once: bool = False
    """Whether the commands have nothing to do with each other: two run at a time, and each speaks when it is done."""


def steps() -> list[Step]:
    return [
        Step(
            "style",
            (
                ("ruff", "check"),
                ("ruff", "format", "--check"),
                # ASYNC127 asks for another HTTP client; libp2p brings httpx anyway, and one client is less to trust.
                # The others are optional and off by themselves, but an option given replaces the list of those.
                (*ASYNC_LINT, ASYNC_OFF, *python_files("node")),
                (*ASYNC_LINT, ASYNC_OFF, *python_files("protocol", "deploy")),
                # Doubles of an async interface, and tests that pytest-trio runs, need no await of their own.
                (*ASYNC_LINT, f"{ASYNC_OFF},ASYNC124", *python_files(*LINTED)),
                (*ASYNC_LINT, f"{ASYNC_OFF},ASYNC124", *python_files(*(each for each in SUITES if each not in LINTED))),
                ("shellcheck", *SCRIPTS, *executables("contracts", "tests", "deploy")),
                (
                    "codespell",
                    *("-q3", "-L", "iif,noes"),
                    "README.md",
                    "protocol",
                    "node",
                    "deploy",
                    "newsfragments",
                    "--skip",
                    "*.json,*.toml",
                ),
            ),
            at_once=True,
        ),
        # libp2p brings stubs for a Trio of years ago, which would hide the types that Trio has itself by now.
        Step("types", (("python", "-c", DROP_OLD_STUBS), ("mypy",))),
        Step("unit", suite="unit"),
        Step("contracts", (("contracts/check",),)),
        Step("chain", suite="chain"),
        Step("network", suite="network"),
        Step("hostile", suite="hostile"),
        Step("capture", suite="capture", workers=1),
        Step("sim", suite="sim"),
        Step("interop", suite="interop", workers=1),
        Step("deploy", suite="deploy", workers=1),
        Step("demo", suite="demo", workers=1),
        Step("chaos", suite="chaos", workers=1),
    ]


def python_files(*folders: str) -> list[str]:
    """Python sources under ``folders``, without what package managers put there."""
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [str(path.relative_to(ROOT)) for path in found if not OTHERS & set(path.parts)]


def executables(*folders: str) -> list[str]:
    """Shell scripts under ``folders``, found by their first line."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if "node_modules" in path.parts or not path.is_file() or not os.access(path, os.X_OK):
                continue
            if path.read_bytes()[:32].split(b"\n")[0].endswith((b"bash", b"sh")):
                found.append(str(path.relative_to(ROOT)))
    return [name for name in found if name not in SCRIPTS]


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, report: Path) -> None:
        if not report.exists():
            return
        for suite in ET.parse(report).getroot().iter("testsuite"):
            tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            self.failed += failed
            self.skipped += skipped
            self.passed += tests - failed - skipped


def pytest_command(step: Step, report: Path) -> tuple[str, ...]:
    workers = ("-n", str(step.workers)) if step.workers > 1 else ()
    return (
        *(sys.executable, "-m", "pytest", "-q", "--timeout=300", "--durations=5"),
        *(*workers, f"--junitxml={report}", f"tests/{step.suite}"),
    )


def run(step: Step, tally: Tally) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        commands = (pytest_command(step, report),) if step.suite else step.commands
        good = all(_run_two_at_a_time(commands) if step.at_once else [_run_one(each) for each in commands])
        tally.add(report)
        return good


def _run_one(command: tuple[str, ...], output: int | None = None) -> bool:
    """One command; with its ``output`` caught, told in one piece at its end."""
    line = f"    {' '.join(command)[:150]}"
    if output is None:
        print(line, flush=True)
    tool = shutil.which(command[0], path=os.environ["PATH"]) or str(ROOT / command[0])
    done = subprocess.run(
        (tool, *command[1:]), cwd=ROOT, check=False, stdout=output, stderr=output and subprocess.STDOUT
    )
    if output is not None:
        print(f"{line}\n{done.stdout.decode(errors='replace')}", end="", flush=True)
    return done.returncode == 0


def _run_two_at_a_time(commands: tuple[tuple[str, ...], ...]) -> list[bool]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda command: _run_one(command, subprocess.PIPE), commands))


def main(names: list[str]) -> int:
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    chosen = [step for step in steps() if not names or step.name in names]
    unknown = sorted(set(names) - {step.name for step in steps()})
    if unknown or not chosen:
        print(f"no such step: {', '.join(unknown)}; there are: {', '.join(s.name for s in steps())}", file=sys.stderr)
        return 2
    tally, results, began = Tally(), [], time.monotonic()
    for index, step in enumerate(chosen, 1):
        if step.suite and not (ROOT / "tests" / step.suite).is_dir():
            continue
        print(f"\n==> [{index}/{len(chosen)}] {step.name} ({time.monotonic() - began:.0f} s so far)", flush=True)
        started = time.monotonic()
        good = run(step, tally)
        results.append((step.name, good, time.monotonic() - started))
    print()
    for name, good, took in results:
        print(f"  {'ok    ' if good else 'FAILED'}  {name:<10} {took:6.0f} s")
    broken = [name for name, good, _ in results if not good]
    # A check that fails without a test of its own still counts as one failure.
    failed = max(tally.failed, len(broken))
    print(f"\nwarmline: {tally.passed} passed, {failed} failed, {tally.skipped} skipped")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
