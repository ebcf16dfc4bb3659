"""Sessions, rooms and queues beside a durable floor, Redis streams and mosquitto, in one run.

    PYTHONPATH=tests python tests/bench/sessions.py [--seed 1] [--quick] [--followers N] [--path DIR] [--only PART,..]

Prints a JSON object and then the same as a table. Everybody is a process of its own on this machine: one queue node,
one entry, clients, and the servers of the others. What the figures mean stands in README.md beside this file.
``--path`` is a directory on the disk to measure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from first_light_parts import Child, environment, machine, run, spread
from sessions_table import drawn, ratios

HERE = Path(__file__).parent
OTHERS = ("floor", "redis", "mosquitto")
WAYS = ("cells direct", "cells by entry")
Figures = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    paced: int
    rate: float
    burst: int
    backlog: int
    fans: tuple[int, ...]
    fanned: int
    flood: float
    hellos: int
    guests: int


FULL = Size(200, 20.0, 500, 1000, (20, 50), 20, 3.0, 10, 50)
QUICK = Size(40, 20.0, 100, 200, (20,), 10, 1.0, 2, 10)


@dataclass
class Bench:
    """Processes and where they listen."""

    seed: int
    size: Size
    folder: Path
    stack: ExitStack
    env: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    servers: dict[str, Any] = field(default_factory=dict)
    node: Any = None
    addr: str = ""
    entry: str = ""
    missing: dict[str, str] = field(default_factory=dict)
    topic: int = 0

    def role(self, name: str, **ask: Any) -> tuple[Child, Figures]:
        child = Child(
            [sys.executable, HERE / "sessions_roles.py", name, json.dumps({"seed": self.seed, **ask})], self.env
        )
        self.stack.enter_context(child)
        return child, child.event("ready")

    def start_nodes(self) -> None:
        self.node, found = self.role("node", path=str(self.folder / "node.db"), known={})
        self.addr = found["addr"]
        known = {found["peer"]: [self.addr]}
        _, entry = self.role("node", path=str(self.folder / "entry.db"), known=known, number=1)
        self.entry = entry["addr"]

    def start_others(self) -> None:
        floor: list[str | Path] = [sys.executable, HERE / "sessions_rivals.py", self.folder / "floor.db"]
        child = self.stack.enter_context(Child(floor, self.env))
        self.ports["floor"] = int(child.wait_line("port")[1].split()[1])
        self.servers["floor"] = child
        for name, program in (("redis", "redis-server"), ("mosquitto", "mosquitto")):
            where = shutil.which(program) or shutil.which(program, path="/usr/sbin")
            if where is None:
                self.missing[name] = f"{program} is not installed here"
                continue
            self.ports[name] = port = free_port()
            child = self.stack.enter_context(Child([where, *self.options(name, port)], self.env))
            self.servers[name] = child
            wait_open(port)

    def options(self, name: str, port: int) -> list[str | Path]:
        where = self.folder / name
        where.mkdir()
        if name == "redis":
            durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
            return ["--port", str(port), "--bind", "127.0.0.1", "--dir", where, *durable]
        text = (
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {where}/\n"
            "set_tcp_nodelay true\n"
            "autosave_on_changes true\nautosave_interval 1\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\n"
        )
        (where / "conf").write_text(text)
        return ["-c", where / "conf"]

    def systems(self) -> list[str]:
        return [*(name for name in OTHERS if name in self.ports), *WAYS]

    def ask_of(self, system: str) -> Figures:
        if system in self.ports:
            return {"system": system, "port": self.ports[system]}
        return {"system": "cells", "node": self.addr, "entry": self.entry if system.endswith("entry") else None}

    def server_of(self, system: str) -> Child:
        child: Child = self.servers.get(system, self.node)
        return child

    def next_topic(self, *, log: bool = False) -> int:
        self.topic += 20
        return self.topic + (1000 if log else 0)

    @contextmanager
    def group(self) -> Iterator[None]:
        """Processes started in the block end with it."""
        outer, self.stack = self.stack, ExitStack()
        try:
            with self.stack:
                yield
        finally:
            self.stack = outer


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_open(port: int) -> None:
    import socket

    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


class Meter:
    """CPU of some processes between two moments, for each of so many deliveries."""

    def __init__(self, **processes: Sequence[Child]) -> None:
        self.processes = processes
        self.before = {name: sum(each.cpu_ms() for each in all_) for name, all_ in processes.items()}

    def read(self, count: int) -> Figures:
        used = {name: sum(map(Child.cpu_ms, all_)) - self.before[name] for name, all_ in self.processes.items()}
        return {f"{name}_cpu_ms": round(value / max(1, count), 3) for name, value in used.items()}


# --- cells, over every system -------------------------------------------------------------------------------------


def pair(bench: Bench, system: str) -> Figures:
    """One writer, one reader: single cells at a pace, then bundles of sixteen for as long as it takes."""
    topic, size, ask = bench.next_topic(), bench.size, bench.ask_of(system)
    reader, _ = bench.role("reader", topic=topic, readers=1, **ask)
    writer, _ = bench.role("writer", topic=topic, lanes=1, **ask)
    writer.tell("paced 5 20")
    writer.event("done")
    reader.tell("collect 5")
    reader.event("ages")
    meter = Meter(server=[bench.server_of(system)], clients=[reader, writer])
    writer.tell(f"paced {size.paced} {size.rate}")
    receipts = writer.event("done")["ms"]
    reader.tell(f"collect {size.paced}")
    ages = reader.event("ages")["ms"]
    alone = meter.read(size.paced)
    meter = Meter(server=[bench.server_of(system)], clients=[reader, writer])
    start = time.monotonic()
    writer.tell(f"count {size.burst} 16")
    writer.event("done")
    reader.tell(f"collect {size.burst}")
    reader.event("ages")
    rate = size.burst / (time.monotonic() - start)
    return {
        "receipt": spread(receipts),
        "send_to_received": spread(ages),
        "cells_per_s": round(rate, 1),
        "cpu_each": alone,
        "cpu_each_in_stream": meter.read(size.burst),
    }


def backlog(bench: Bench, system: str) -> Figures:
    topic, count = bench.next_topic(), bench.size.backlog
    back, _ = bench.role("returner", topic=topic, **bench.ask_of(system))
    writer, _ = bench.role("writer", topic=topic, lanes=1, **bench.ask_of(system))
    writer.tell(f"count {count} 16")
    writer.event("done")
    back.tell(f"back {count}")
    found = back.event("back")
    return {"cells": count, "first_ms": round(found["first_ms"], 1), "all_ms": round(found["all_ms"], 1)}


def fan_out(bench: Bench, system: str, fans: int) -> Figures:
    """Age of each cell at the last of its readers."""
    topic, ask, count = bench.next_topic(log=True), bench.ask_of(system), bench.size.fanned
    reader, _ = bench.role("reader", topic=topic, readers=fans, **ask)
    writer, _ = bench.role("writer", topic=topic, lanes=1, **ask)
    meter = Meter(server=[bench.server_of(system)], clients=[reader, writer])
    writer.tell(f"paced {count} 5")
    writer.event("done")
    reader.tell(f"collect {count}")
    last = reader.event("ages")["ms"]
    return {"last_reader": spread(last), "cpu_each": meter.read(count * fans)}


def flood(bench: Bench, system: str, batch: int, clients: int = 3, lanes: int = 6) -> Figures:
    """Receipted cells a second of one server, several client processes with several connections each."""
    writers = [
        bench.role("writer", topic=bench.next_topic(log=True), lanes=lanes, number=each, **bench.ask_of(system))[0]
        for each in range(clients)
    ]
    meter = Meter(server=[bench.server_of(system)], clients=writers)
    for writer in writers:
        writer.tell(f"flood {bench.size.flood} {batch}")
    done = [writer.event("done") for writer in writers]
    cells = sum(each["cells"] for each in done)
    used = meter.read(cells)
    return {
        "cells_per_s": round(sum(each["cells"] / each["seconds"] for each in done), 1),
        "cells_per_server_cpu_s": round(1000 / used["server_cpu_ms"]) if used["server_cpu_ms"] else None,
        "cells": cells,
        **used,
    }


# --- people -------------------------------------------------------------------------------------------------------


def session(bench: Bench, entry: str | None) -> Figures:
    """Two people: first contacts, then words at a pace, then as fast as they go."""
    ask, size = {"nodes": [bench.addr], "entry": entry}, bench.size
    supporter, contact = bench.role("supporter", **ask)
    seeker, _ = bench.role("seeker", contact=contact, **ask)
    meetings = []
    for _ in range(size.hellos + 1):
        seeker.tell("hello")
        meetings.append(seeker.event("met"))
    seeker.tell("talk")
    seeker.event("established")
    supporter.tell("1")
    supporter.event("ages")
    found: Figures = {"hello_to_first_reply": spread([each["reply"] for each in meetings[1:]])}
    people = {"server": [bench.node], "clients": [supporter, seeker]}
    meter = Meter(**people)
    seeker.tell(f"paced {size.paced} {size.rate}")
    done = seeker.event("done")
    supporter.tell(str(size.paced))
    found["send_to_received"] = spread(supporter.event("ages")["ms"])
    found["send_to_known_delivered"] = spread(done["delivered_ms"])
    found["cpu_each"] = meter.read(size.paced)
    meter = Meter(**people)
    seeker.tell(f"burst {size.burst}")
    done = seeker.event("done")
    supporter.tell(str(size.burst))
    supporter.event("ages")
    found["messages_per_s"] = round(size.burst / done["seconds"], 1)
    found["cpu_each_in_stream"] = meter.read(size.burst)
    return found


def room(bench: Bench) -> Figures:
    """A host and two processes of guests, directly: joining, fan-out, and a member who was away."""
    size, ask = bench.size, {"nodes": [bench.addr], "entry": None}
    host, contact = bench.role("host", **ask)
    many, _ = bench.role("guests", contact=contact, number=0, **ask)
    found: Figures = {"join": {}, "fan_out": {}}
    seats = [each for each in (2, 10, *size.fans) if each <= size.guests]
    inside = 1
    for seat in sorted(set(seats)):
        while inside < seat:
            many.tell("join 1")
            took = many.event("joined")["ms"][0]
            inside += 1
            if inside == 2:
                host.tell("helper G0.0")
                host.event("done")
        found["join"][f"at_{seat}"] = round(took, 1)
        if seat in size.fans or seat == 2:
            meter = Meter(server=[bench.node], host=[host], guests=[many])
            host.tell(f"paced {size.fanned} 2")
            done = host.event("done")
            many.tell(f"collect {size.fanned} 0")
            ages = spread(many.event("ages")["ms"])
            known, used = spread(done["delivered_ms"]), meter.read(size.fanned * (seat - 1))
            found["fan_out"][f"to_{seat - 1}"] = {"last_member": ages, "known_delivered": known, "cpu_each": used}
    return found


def absent(bench: Bench) -> Figures:
    """Two guests; one loses the network while the host says everything."""
    ask, count = {"nodes": [bench.addr], "entry": None}, bench.size.backlog
    host, contact = bench.role("host", number=1, **ask)
    some, _ = bench.role("guests", contact=contact, number=1, **ask)
    some.tell("join 2")
    some.event("joined")
    some.tell("shut")
    some.event("shut")
    host.tell(f"burst {count}")
    said = host.event("done")
    some.tell(f"collect {count} 1")
    some.event("ages")
    some.tell(f"return {count}")
    back = some.event("returned")
    return {
        "messages": count,
        "heard": back["heard"],
        "said_per_s": round(count / said["seconds"], 1),
        "all_ms": back["ms"],
    }


def followers(bench: Bench, count: int) -> Figures:
    """By ``followers.py``: what idle followers cost a node, each by a circuit of its own."""
    command: list[str | Path] = [sys.executable, HERE / "followers.py", "--followers", str(count)]
    done = subprocess.run(command, env=bench.env, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        return {"failed": done.stderr[-300:]}
    found: Figures = json.loads(done.stdout)
    return found


# --- all of it ----------------------------------------------------------------------------------------------------


def measure(bench: Bench, only: Sequence[str], idle: int) -> Figures:
    found: Figures = {}

    def part(name: str, what: Any) -> None:
        with bench.group():
            found.setdefault(name, {}).update(what())
        print(f"{name}: load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)

    for system in bench.systems():
        if "pair" in only:
            part("pair", lambda system=system: {system: pair(bench, system)})
        if "backlog" in only:
            part("backlog", lambda system=system: {system: backlog(bench, system)})
        for fans in bench.size.fans if "fan" in only else ():
            part("fan_out", lambda system=system, fans=fans: {f"{system} to {fans}": fan_out(bench, system, fans)})
        for batch in (1, 4, 16) if "flood" in only else ():
            part("receipted", lambda s=system, batch=batch: {f"{s}, {batch} an append": flood(bench, s, batch)})
    if "session" in only:
        part("session", lambda: {"direct": session(bench, None)})
        part("session", lambda: {"by entry": session(bench, bench.entry)})
    if "room" in only:
        part("room", lambda: room(bench))
        part("room", lambda: {"backlog": absent(bench)})
    if idle and "followers" in only:
        found["followers"] = followers(bench, idle)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--followers", type=int, default=200, help="0 leaves them out")
    options.add_argument("--path", type=Path, help="a directory on the disk to measure; default: a temporary one")
    options.add_argument("--only", default="pair,backlog,fan,flood,session,room,followers")
    chosen = options.parse_args()
    size = QUICK if chosen.quick else FULL
    with tempfile.TemporaryDirectory(dir=chosen.path) as folder, ExitStack() as stack:
        bench = Bench(chosen.seed, size, Path(folder), stack, environment(Path(folder) / "bytecode"))
        bench.env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE.parent), bench.env.get("PYTHONPATH", ""))))
        about = {"bench": "sessions", "seed": chosen.seed, "date": datetime.now(UTC).isoformat("T", "minutes")}
        about |= {"machine": machine(), "quick": chosen.quick}
        run([sys.executable, "-c", "import warmline.client.rooms, warmline.services.queues"], bench.env)
        bench.start_nodes()
        bench.start_others()
        found = measure(bench, chosen.only.split(","), chosen.followers)
        about |= {"load_after": round(os.getloadavg()[0], 2), "not_measured": bench.missing}
    result = {**about, **found, "times_the_floor": ratios(found)}
    print(json.dumps(result, indent=2))
    print(drawn(result))


if __name__ == "__main__":
    main()
