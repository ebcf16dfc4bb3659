"""`warmline` as people and programs run it: commands, nodes and conversations in processes of their own."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from support.chain import warmline

PATIENCE = 60.0
PASSPHRASE = "correct horse"
EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "weekly_programme.toml"


def with_passphrase(passphrase: str, option: str = "--passphrase-fd") -> tuple[list[str], int]:
    """Options that hand a passphrase over, and the descriptor that the process must inherit."""
    reader, writer = os.pipe()
    os.write(writer, passphrase.encode() + b"\n")
    os.close(writer)
    return [option, str(reader)], reader


def secrets_of(passphrase: str, cases: str) -> tuple[list[str], list[int]]:
    """As :func:`with_passphrase`, for the device and for what is kept of cases; none where it is empty."""
    given = [with_passphrase(passphrase)] if passphrase else []
    given += [with_passphrase(cases, "--case-passphrase-fd")] if cases else []
    return [word for options, _ in given for word in options], [fd for _, fd in given]


def run(
    *words: str, passphrase: str = "", cases: str = "", prefix: Sequence[str] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    """One command, to its end; ``prefix`` comes before it and says where it runs."""
    options, fds = secrets_of(passphrase, cases)
    try:
        return subprocess.run(
            [*prefix, *warmline(*words, *options)],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            stdin=subprocess.DEVNULL,
            pass_fds=fds,
            env={**os.environ, **env},
            check=False,
        )
    finally:
        for fd in fds:
            os.close(fd)


class Lines:
    """A process whose output is read line by line."""

    def __init__(self, command: Sequence[str], *, log: Path, fds: Sequence[int] = (), env: Any = None) -> None:
        self.log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                pass_fds=tuple(fds),
                env={**os.environ, **(env or {})},
            )
        self.heard: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def next_line(self, seconds: float = PATIENCE) -> str:
        try:
            line = self._queue.get(timeout=seconds)
        except queue.Empty:
            line = None
        assert line is not None, f"no more lines after {self.heard[-5:]}: {self.log.read_text()[-2000:]}"
        self.heard.append(line)
        return line

    def rest(self) -> list[str]:
        """What was said until the end and not read yet; after the process has ended."""
        found: list[str] = []
        while (line := self._queue.get(timeout=PATIENCE)) is not None:
            found.append(line)
        return found

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 15.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


class Node(Lines):
    """`warmline node run`, ready."""

    def __init__(self, folder: Path, *options: str, env: Any = None, prefix: Sequence[str] = ()) -> None:
        self.folder = folder
        super().__init__(
            [*prefix, *warmline("node", "run", "--data", str(folder), *options)],
            log=folder.with_suffix(".log"),
            env=env,
        )
        self.before: list[str] = []
        while not (line := self.next_line()).endswith("is ready"):
            self.before.append(line)
        self.peer_id = line.split()[1]
        self.join = self.next_line().split("--bootstrap ")[1]

    def ask(self, what: str) -> Any:
        """`warmline node status|mesh|doctor --json`."""
        done = run("node", what, "--data", str(self.folder), "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def wait_status(self, key: str, wanted: Any) -> dict[str, Any]:
        """Ask for the status until ``wanted(status[key])``."""
        ends = time.monotonic() + PATIENCE
        while True:
            status: dict[str, Any] = self.ask("status")
            if wanted(status[key]):
                return status
            assert time.monotonic() < ends, f"{key} stayed {status[key]}"


class Program(Lines):
    """A command that speaks JSON lines."""

    def __init__(
        self, folder: Path, *words: str, passphrase: str = "", cases: str = "", prefix: Sequence[str] = ()
    ) -> None:
        options, fds = secrets_of(passphrase, cases)
        super().__init__([*prefix, *warmline(*words, *options, "--json")], log=folder / "program.log", fds=fds)
        for fd in fds:
            os.close(fd)

    def wait(self, event: str, seconds: float = PATIENCE, **wanted: Any) -> dict[str, Any]:
        """The next event of that name (and with those fields)."""
        ends = time.monotonic() + seconds
        while True:
            said: dict[str, Any] = json.loads(self.next_line(max(0.1, ends - time.monotonic())))
            if said.get("event") == event and wanted.items() <= said.items():
                return said

    def wait_any(self, *events: str) -> dict[str, Any]:
        """The next event with one of these names."""
        while True:
            said: dict[str, Any] = json.loads(self.next_line())
            if said.get("event") in events:
                return said

    def wait_error(self) -> dict[str, Any]:
        while True:
            said: dict[str, Any] = json.loads(self.next_line())
            if "error" in said:
                return said

    def do(self, **wish: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()

    def hang_up(self, seconds: float = 30.0) -> int:
        """Close its input, which ends it; the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(seconds)


class Network:
    """Nodes that know each other, and whoever is started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Node] = []
        self._running = ExitStack()

    def start_node(self, *options: str) -> Node:
        join = ("--bootstrap", self.nodes[0].join) if self.nodes else ()
        name = f"node{len(self.nodes)}"
        node = Node(
            self.folder / name, "--operator", f"The {name} house", "--listen", "/ip4/127.0.0.1/tcp/0", *join, *options
        )
        self.nodes.append(node)
        self._running.callback(node.close)
        return node

    def program(self, *words: str, passphrase: str = "") -> Program:
        program = Program(self.folder, *words, *self.entry, passphrase=passphrase)
        self._running.callback(program.close)
        return program

    @property
    def entry(self) -> tuple[str, str]:
        return "--entry", self.nodes[0].join

    def supporter(self, name: str, *options: str) -> Path:
        """A supporter with a published card; their directory."""
        folder = self.folder / name
        done = run(
            *("supporter", "card", "--name", name, "--language", "en", "--topic", "grief", "--data", str(folder)),
            *self.entry,
            *options,
            passphrase=PASSPHRASE,
        )
        assert done.returncode == 0, done.stderr
        return folder

    def duty(self, folder: Path, *options: str) -> Program:
        program = self.program("supporter", "duty", "--data", str(folder), *options, passphrase=PASSPHRASE)
        program.wait("on_duty")
        return program

    def close(self) -> None:
        self._running.close()


@contextmanager
def a_network(folder: Path, count: int) -> Iterator[Network]:
    """``count`` nodes that all know each other."""
    network = Network(folder)
    try:
        for _ in range(count):
            network.start_node()
        for node in network.nodes:
            node.wait_status("nodes_known", lambda known: known == count)
        yield network
    finally:
        network.close()
