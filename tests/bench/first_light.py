"""The line from a cold start to a word of comfort, on real processes: prints one JSON object.

    python tests/bench/first_light.py [--seed 1] [--quick]

Nodes are ``warmline node run`` in processes of their own, clients are processes too (``first_light_roles.py``), and
everything goes over loopback TCP, Noise and Yamux. What each figure means stands in README.md beside this file. The
first start of everything only fills the bytecode cache, and is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import gossip_cpu
from first_light_parts import WARMLINE, Child, environment, machine, one, role, run, spread, times

from warmline_protocol import limits
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.card import AgeBand, Card, ContactKey, Door
from warmline_protocol.records.envelope import open_record, sign_record
from warmline_protocol.records.node import NodeAddress

Figures = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much of everything; ``gossip`` is (nodes, messages, rate, variants)."""

    nodes: int
    line: int
    records: int
    hellos: int
    cells: int
    burst: float
    words: int
    finds: int
    idle: float
    gossip: tuple[int, int, float, tuple[str, ...]]


FULL = Size(6, 5, 40, 12, 200, 5.0, 100, 5, 10.0, (10, 80, 10.0, ("warmline", "stock", "stock11")))
QUICK = Size(4, 4, 20, 3, 40, 1.0, 20, 2, 1.0, (5, 20, 20.0, ("warmline", "stock")))


@dataclass
class Nodes:
    """Running nodes and where others reach them."""

    processes: list[Child]
    addrs: list[str]
    folders: list[Path]


class Bench:
    def __init__(self, seed: int, size: Size, folder: Path, stack: ExitStack) -> None:
        self.seed = seed
        self.size = size
        self.folder = folder
        self.stack = stack
        self.env = environment(folder / "bytecode")
        self.nodes = Nodes([], [], [])

    def start(self, name: str, *more: str) -> tuple[Child, Path, float]:
        """A new node: the process, its directory, and milliseconds until it said that it is ready."""
        folder = self.folder / name
        where = ("--listen", "/ip4/127.0.0.1/tcp/0")
        command: list[str | Path] = [WARMLINE, "node", "run", "--data", folder, "--operator", name, *where]
        child = self.stack.enter_context(Child([*command, *more], self.env))
        ready, _ = child.wait_line("is ready")
        return child, folder, 1000 * (ready - child.started)

    def begin(self, name: str, **ask: Any) -> Child:
        """A client process that will say ``ready``."""
        return self.stack.enter_context(role(name, self.env, seed=self.seed, **ask))

    def role(self, name: str, **ask: Any) -> tuple[Child, Figures]:
        """A client process that is ready, and what it said about itself."""
        child = self.begin(name, **ask)
        return child, child.event("ready")

    def warm_up(self) -> None:
        child, _, _ = self.start("warm-up")
        addr = join_address(child)
        run([WARMLINE, "groups", "find", "--entry", addr], self.env)
        watcher, _ = self.role("watcher", node=addr)
        watcher.close()
        child.close()

    # --- figures

    def cold_start(self) -> Figures:
        """Process start to the line that says ready, each with the one before as its bootstrap."""
        walls, cpus = [], []
        for number in range(self.size.nodes):
            more = ("--bootstrap", self.nodes.addrs[-1]) if number else ()
            child, folder, wall = self.start(f"node{number}", *more)
            walls.append(wall)
            cpus.append(child.cpu_ms())
            self.nodes.processes.append(child)
            self.nodes.folders.append(folder)
            self.nodes.addrs.append(join_address(child))
        imports = [1000 * run([sys.executable, "-c", "import libp2p"], self.env)[0] for _ in range(3)]
        ready, bare = spread(walls), spread(imports)
        return {"wall": ready, "cpu": spread(cpus), "import_libp2p_alone": bare, "times_the_import": times(ready, bare)}

    def idle(self) -> Figures:
        """Memory and CPU of nodes that nobody asks anything."""
        processes = self.nodes.processes
        time.sleep(self.size.idle)
        before = [child.cpu_ms() for child in processes]
        time.sleep(self.size.idle)
        used = [child.cpu_ms() - start for child, start in zip(processes, before, strict=True)]
        memory = [child.memory_mib() for child in processes]
        code = "import libp2p,resource;print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        bare = int(run([sys.executable, "-c", code], self.env)[1]) / 1024
        rss = spread([each["rss"] for each in memory], "MiB")
        return {
            "rss": rss,
            "private": spread([each["private"] for each in memory], "MiB"),
            "import_libp2p_alone": one(bare, "MiB"),
            "times_the_import": round(rss["p50"] / bare, 2),
            "cpu": spread([used_ms / self.size.idle / 10 for used_ms in used], "% of a core"),
        }

    def publish_to_found(self) -> Figures:
        """A record handed to one node until another lists it: between the nodes that run, and along a line of nodes."""
        first, last, hops = self.far_apart()
        near = self.published(self.nodes.addrs[first], self.nodes.addrs[last], 0)
        addrs: list[str] = []
        line: list[Child] = []
        for number in range(self.size.line):
            store = str(self.folder / f"line{number}.db")
            before = addrs[-1] if addrs else ""
            child, said = self.role("directory_node", number=number, next=before, store=store)
            addrs.append(said["addr"])
            line.append(child)
        for child, peers in zip(line, [1, *[2] * (len(line) - 2), 1], strict=True):
            wait_mesh(child, peers)
        far = self.published(addrs[0], addrs[-1], self.size.records)
        for child in line:
            child.close()
        return {"nodes": {"hops": hops, **near}, "line": {"hops": len(line) - 1, **far}}

    def published(self, home: str, other: str, first: int) -> Figures:
        records = [card(self.seed, first + number) for number in range(self.size.records)]
        publisher = self.begin("publisher", node=home)
        watcher = self.begin("watcher", node=other, number=1)
        publisher.event("ready")
        watcher.event("ready")
        found, kept, polls = [], [], []
        for data in records:
            watcher.tell(open_record(data).id.hex())
            watcher.event("watching")
            publisher.tell(data.hex())
            handed = publisher.event("published")
            if handed["verdict"] != "accept":
                raise SystemExit(f"a record was refused: {handed}")
            seen = watcher.event("found")
            kept.append(handed["ms"])
            found.append((seen["stamp"] - handed["stamp"]) / 1e6)
            polls.append(found[-1] / max(1, seen["asked"]))
        publisher.close()
        watcher.close()
        return {"found": spread(found), "verdict_at_home": spread(kept), "poll": spread(polls)}

    def far_apart(self) -> tuple[int, int, int]:
        """Two nodes and the hops of the gossip mesh between them."""
        peers = [addr.rpartition("/p2p/")[2] for addr in self.nodes.addrs]
        meshes = []
        for folder in self.nodes.folders:
            _, said = run([WARMLINE, "node", "mesh", "--json", "--data", folder], self.env)
            nodes = json.loads(said)["nodes"]
            meshes.append({peers.index(node["peer_id"]) for node in nodes if node["in_mesh"]})
        found = [(len(path), a, b) for a in range(len(peers)) for b, path in shortest(meshes, a).items()]
        hops, first, last = max(found)
        return first, last, hops

    def find(self) -> Figures:
        """``warmline groups find``, from the shell and back."""
        command: list[str | Path] = [WARMLINE, "groups", "find", "--entry", self.nodes.addrs[0], "--json"]
        return {"wall": spread([1000 * run(command, self.env)[0] for _ in range(self.size.finds)])}

    def hello_to_reply(self) -> Figures:
        """A seeker's and a supporter's client in processes of their own, each through an entry of its own."""
        entry, other, node = self.nodes.addrs[0], self.nodes.addrs[1], self.nodes.addrs[2]
        supporter, contact = self.role("supporter", entry=other, node=node)
        seeker, _ = self.role("seeker", entry=entry, contact=contact)
        met = []
        for _ in range(self.size.hellos):
            seeker.tell("hello")
            met.append(seeker.event("met"))
        seeker.tell(f"talk {self.size.words} 10")
        talked = seeker.event("talked")
        seeker.close()
        supporter.close()
        return {
            "first_contact": {
                "reply": spread([each["reply"] for each in met]),
                "hello_held": spread([each["held"] for each in met]),
                "joined": spread([each["joined"] for each in met]),
                "with_goodbye": spread([each["with_goodbye"] for each in met]),
            },
            "session": {
                "rate": one(10, "messages/s"),
                "send_to_received": spread(talked["ages_ms"]),
                "send_to_known_delivered": spread(talked["delivered_ms"]),
            },
        }

    def pair(self) -> Figures:
        """One cell after another from one process to another, straight to the queue's node and through an entry."""
        node, ways = self.nodes.addrs[3], {"direct": ("", ""), "through_entry": tuple(self.nodes.addrs[:2])}
        readers = {way: self.begin("queue_reader", entry=ways[way][1], node=node, number=way) for way in ways}
        writers = {}
        for way, reader in readers.items():
            queue = {name: said for name, said in reader.event("ready").items() if name != "event"}
            writers[way] = self.begin("queue_writer", entry=ways[way][0], node=node, number=way, **queue)
        for writer in writers.values():
            writer.event("ready")
        direct, through = (self.carry(readers[way], writers[way]) for way in ways)
        latencies = ("append_to_receipt", "send_to_received")
        ratios = {name: times(through[name], direct[name]) for name in latencies}
        ratios["throughput"] = times(through["throughput"], direct["throughput"], "value")
        return {"direct": direct, "through_entry": through, "entry_over_direct": ratios}

    def carry(self, reader: Child, writer: Child) -> Figures:
        reader.tell("1")
        reader.event("ages")
        receipts, ages, order, _ = exchange(reader, writer, f"paced {self.size.cells} 20")
        quick, quick_ages, quick_order, took = exchange(reader, writer, f"burst {self.size.burst}")
        writer.close()
        reader.close()
        return {
            "rate": one(20, "messages/s"),
            "append_to_receipt": spread(receipts),
            "send_to_received": spread(ages),
            "throughput": one(len(quick) / took, "messages/s", len(quick)),
            "append_to_receipt_at_throughput": spread(quick),
            "send_to_received_at_throughput": spread(quick_ages),
            "lost": len(receipts) + len(quick) - len(ages) - len(quick_ages),
            "in_order": order and quick_order,
        }

    def gossip(self) -> Figures:
        """CPU for each copy that a subscriber gets, beside the library as shipped."""
        nodes, messages, rate, variants = self.size.gossip
        options = argparse.Namespace(seed=self.seed, nodes=nodes, messages=messages, rate=rate, size=200)
        results = {name: gossip_cpu.run(name, options) for name in variants}
        figures = {name: gossip_figures(found) for name, found in results.items()}
        mine = results["warmline"]["cpu_ms_per_delivery"]
        others = [name for name in variants if name != "warmline"]
        ratios = {name: round(results[name]["cpu_ms_per_delivery"] / mine, 2) for name in others}
        return {"setting": vars(options), **figures, "stock_over_warmline": ratios}

    def all(self) -> Figures:
        parts = {
            "gossip": self.gossip,
            "cold_start": self.cold_start,
            "idle_node": self.idle,
            "publish_to_found": self.publish_to_found,
            "find": self.find,
            "hello": self.hello_to_reply,
            "pair": self.pair,
        }
        self.warm_up()
        figures: Figures = {}
        for name, part in parts.items():
            print(f"{name} …", file=sys.stderr, flush=True)
            begun, load = time.monotonic(), os.getloadavg()[0]
            figures[name] = part() | {"load": round(load, 2), "took_s": round(time.monotonic() - begun, 1)}
        return figures


def join_address(child: Child) -> str:
    _, line = child.wait_line("--bootstrap")
    found = re.search(r"/ip4/\S+", line)
    assert found is not None
    return found.group()


def gossip_figures(found: dict[str, float]) -> Figures:
    n = int(found["deliveries"])
    return {
        "cpu_per_delivery": one(found["cpu_ms_per_delivery"], "ms", n),
        "delivered": one(100 * n / found["expected"], "%", int(found["expected"])),
        "latency": {"unit": "ms", "n": n, "p50": found["p50_ms"], "p99": found["p99_ms"]},
    }


def wait_mesh(child: Child, peers: int) -> None:
    for _ in range(300):
        child.tell("mesh")
        if child.event("mesh")["peers"] == peers:
            return
        time.sleep(0.1)
    raise SystemExit("the line of nodes did not become one mesh")


def exchange(reader: Child, writer: Child, how: str) -> tuple[list[float], list[float], bool, float]:
    """Receipt times, ages at the reader, whether all came in order, and seconds of writing."""
    writer.tell(how)
    written = writer.event("receipts")
    reader.tell(str(len(written["ms"])))
    read = reader.event("ages")
    return written["ms"], read["ms"], read["in_order"], written["seconds"]


def shortest(meshes: list[set[int]], start: int) -> dict[int, list[int]]:
    """Breadth first: for each node that is reached, the way to it."""
    ways: dict[int, list[int]] = {start: []}
    edge = [start]
    while edge:
        here = edge.pop(0)
        for there in sorted(meshes[here] - ways.keys()):
            ways[there] = [*ways[here], there]
            edge.append(there)
    return ways


def card(seed: int, number: int) -> bytes:
    """A valid card of somebody who owns nothing else."""
    key = SigningKey(sha256(b"bench card %d/%d" % (seed, number)).digest())
    now = time.time_ns() // 1_000_000
    end = now + limits.CARD_LIFE_MS
    node = NodeAddress(key.peer_id, (f"/ip4/127.0.0.1/tcp/4001/p2p/{key.peer_id}",))
    made = Card(
        key.public,
        now,
        end,
        f"Bench {number}",
        bytes(16),
        "I exist to be found.",
        ("en",),
        ("loneliness",),
        AgeBand(18, 120),
        "I am not a mandated reporter.",
        ContactKey(bytes(16), bytes(limits.CONTACT_KEY_SIZE), end),
        (Door(node, key.public[:16], True),),
    )
    return sign_record(made, key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="smaller counts: under a minute instead of five")
    options = parser.parse_args()
    begun = time.monotonic()
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="first-light-") as folder, ExitStack() as stack:
        bench = Bench(options.seed, QUICK if options.quick else FULL, Path(folder), stack)
        with suppress(KeyboardInterrupt):
            figures = bench.all()
            facts["load_after"] = round(os.getloadavg()[0], 2)
            took = round(time.monotonic() - begun, 1)
            result = {"bench": "first_light", "seed": options.seed, "quick": options.quick, "took_s": took}
            print(json.dumps({**result, "machine": facts, **figures}, indent=1))
            return
    sys.exit(130)


if __name__ == "__main__":
    main()
