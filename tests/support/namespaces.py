"""Machines of their own on one real machine: network namespaces behind a router, and a recorder in each.

Every place has an address in a subnet of its own and can reach every other place, as on the internet: nothing but the
programs themselves keeps one from speaking to another. The recorders see each packet that enters or leaves a place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
READY_SECONDS = 30.0


@cache
def unshare_words() -> tuple[str, ...] | None:
    """How a network namespace is made here, as root or in a user namespace; None where it cannot be."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return None
    for words in (("unshare", "-n"), ("unshare", "-rn")):
        probe = "ip link add v0 type veth peer name v1 && echo 1 > /proc/sys/net/ipv4/ip_forward"
        done = subprocess.run((*words, "sh", "-c", probe), capture_output=True, check=False, timeout=READY_SECONDS)
        if done.returncode == 0:
            return words
    return None


@dataclass(slots=True)
class Recorder:
    """Writes every packet of a place to a pcap file until it is ended."""

    process: subprocess.Popen[str]
    file: Path

    def end(self) -> tuple[int, int]:
        """Stop; the numbers of packets written and lost."""
        out, _ = self.process.communicate("end\n", timeout=READY_SECONDS)
        written, lost = map(int, out.split())
        return written, lost


@dataclass(slots=True)
class Place:
    """One machine. ``prefix`` before a command runs it there."""

    name: str
    ip: str
    prefix: tuple[str, ...]
    recorder: Recorder | None = field(default=None)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            (*self.prefix, *command), capture_output=True, text=True, check=False, timeout=READY_SECONDS
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, code: str, *args: str) -> str:
        return self.run(sys.executable, "-c", code, *args)


class Wires:
    """The router and the places around it; obtained from :func:`wires`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        words = unshare_words()
        assert words is not None
        self._words = words
        self._router = self._hold(())
        self._in(self._router, "ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward")
        self.places: list[Place] = []

    def place(self, name: str) -> Place:
        """A new machine at 10.77.n.2, being recorded."""
        number = len(self.places) + 1
        holder = self._hold(self._prefix(self._router))
        net, near, far = f"10.77.{number}", f"r{number}", f"p{number}"
        self._in(
            self._router,
            f"ip link add {near} type veth peer name {far} && ip link set {far} netns {holder.pid}"
            f" && ip addr add {net}.1/24 dev {near} && ip link set {near} up",
        )
        self._in(
            holder,
            f"ip link set lo up && ip link set {far} name wire && ip addr add {net}.2/24 dev wire"
            f" && ip link set wire up && ip route add default via {net}.1",
        )
        place = Place(name, f"{net}.2", self._prefix(holder))
        place.recorder = self._record(place)
        self.places.append(place)
        return place

    def _hold(self, prefix: Sequence[str]) -> subprocess.Popen[str]:
        """A process that keeps a new namespace alive until this one ends, however it ends."""
        words = ("unshare", "-n") if prefix else self._words
        holder = self._start((*prefix, *words, "sh", "-c", "echo up; exec cat"))
        assert holder.stdout is not None
        assert holder.stdout.readline() == "up\n", "no namespace"
        return holder

    def _record(self, place: Place) -> Recorder:
        file = self._folder / f"{place.name}.pcap"
        process = self._start((*place.prefix, sys.executable, "-m", "support.recorder", "wire", str(file)))
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n", "the recorder did not start"
        return Recorder(process, file)

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        self._stack.callback(_end, process)
        return process

    def _prefix(self, holder: subprocess.Popen[str]) -> tuple[str, ...]:
        user = ("-U", "--preserve-credentials") if "-rn" in self._words else ()
        return "nsenter", "-t", str(holder.pid), *user, "-n", "--"

    def _in(self, holder: subprocess.Popen[str], script: str) -> None:
        done = subprocess.run(
            (*self._prefix(holder), "sh", "-c", script),
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_SECONDS,
        )
        assert done.returncode == 0, f"{script}: {done.stderr}"


@contextmanager
def wires(folder: Path) -> Iterator[Wires]:
    """A router without places; everything made in it is gone with the block."""
    with ExitStack() as stack:
        yield Wires(folder, stack)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(10)
    for stream in (process.stdin, process.stdout):
        if stream is not None and not stream.closed:
            stream.close()
