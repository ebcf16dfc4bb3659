"""What each party saw, read from what it was left with, against what it may see.

The claims are those of the published table: rows are parties, columns are a seeker's address, who talks to whom,
content, and what is searched. A cell is ``no`` when a search of everything that was read found nothing, and each
search is first tried on something that must be there, so that "nothing found" cannot mean "nothing read".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from warmline.demo.casting import IN_PRIVATE, IN_THE_ROOM, SEARCHED
from warmline.demo.memory import search
from warmline.demo.sockets import available
from warmline.demo.stage import NodeSeat, Stage
from warmline.env import run_in_thread


@dataclass(slots=True)
class Cell:
    """``allowed`` is what the design grants, ``saw`` what was found; ``wrong`` are traces that may not be there."""

    allowed: str
    saw: str = ""
    wrong: list[str] = field(default_factory=list)
    read: bool = True


@dataclass(slots=True)
class Row:
    party: str
    cells: dict[str, Cell]
    sources: str

    @property
    def wrong(self) -> list[str]:
        return [f"{self.party}: {trace}" for cell in self.cells.values() for trace in cell.wrong]


NODE_SOURCES = "store, log, memory, peerstore, sockets"
COLUMNS = ("seeker's address", "who talks to whom", "content", "what is searched")


@dataclass(slots=True)
class Traces:
    """Everything that only certain parties may ever hold."""

    content: dict[str, bytes]
    names: dict[str, bytes]
    searched: dict[str, bytes]
    ports: set[int]
    """At which seekers' machines were seen; every seeker is at 127.0.0.1 here."""
    others: dict[str, set[int]] = field(default_factory=dict)
    """By node: the ports of everybody else who was connected to it. The kernel gives one port to two connections when
    they lead to different nodes, so a number alone does not tell whose it is."""

    def ports_at(self, node: str) -> set[int]:
        """The ports that would be a seeker's if this node had them."""
        return self.ports - self.others.get(node, set())


def traces_of(stage: Stage) -> Traces:
    said = [IN_THE_ROOM, IN_PRIVATE, *(seat.role.line for seat in stage.seekers if seat.role.line)]
    content = {text: text.encode() for text in said}
    names = {seat.role.name: seat.role.name.encode() for seat in stage.seekers}
    ports = stage.fleet.watch.ports_of(*(seat.role.key for seat in stage.seekers))
    # A port that the kernel gave to a node at another time tells nothing.
    ports -= stage.fleet.watch.ports_of(*(node.name for node in stage.nodes))
    seekers = {seat.role.key for seat in stage.seekers}
    others = {
        node.name: {
            connection.local
            for party, seen in stage.fleet.watch.seen.items()
            if party not in seekers
            for connection in seen
            if connection.remote == node.port
        }
        for node in stage.nodes
    }
    return Traces(content, names, {SEARCHED: SEARCHED.encode()}, ports, others)


@dataclass(slots=True)
class Holding:
    """Everything that a node was left with. ``memory``: which of the searched texts its process has in memory; None
    where that cannot be read, since the process is dead or the system does not allow it."""

    node: NodeSeat
    disk: bytes
    log: bytes
    memory: set[bytes] | None


async def gather(stage: Stage) -> list[Row]:
    """Read everything, then judge. Nodes must still run, so that their memory can be read."""
    traces = traces_of(stage)
    holdings = [await run_in_thread(partial(_read_node, stage, node, traces)) for node in stage.nodes]
    control = _control(stage, holdings)
    rows = [
        _entry_row(stage, traces, holdings),
        _queue_row(stage, traces, holdings),
        _directory_row(stage, traces, holdings),
        _supporter_row(stage, traces),
        await _chain_row(stage, traces),
    ]
    rows[0].cells["content"].wrong += control
    return rows


def _read_node(stage: Stage, node: NodeSeat, traces: Traces) -> Holding:
    folder = node.home.folder
    disk = b"".join(_bytes_of(path) for path in sorted(folder.iterdir()) if path.name.startswith("node.db"))
    assert node.program is not None
    log = _bytes_of(node.program.err_file) + _bytes_of(node.program.out_file)
    needles = [*traces.content.values(), *traces.names.values(), *traces.searched.values(), _public(stage)]
    return Holding(node, disk, log, search(node.program.pid, needles) if node.alive else None)


def _public(stage: Stage) -> bytes:
    """Something that every node must have."""
    return stage.programme.room.title.encode()


def _bytes_of(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _control(stage: Stage, holdings: Sequence[Holding]) -> list[str]:
    """What must be found where we look; otherwise the reading itself is broken."""
    public = _public(stage)
    wrong = [f"no published group was found in the store of {h.node.name}" for h in holdings if public not in h.disk]
    readable = [holding for holding in holdings if holding.memory is not None]
    return wrong + [
        f"no published group was found in the memory of {holding.node.name}"
        for holding in readable
        if public not in (holding.memory or ())
    ]


# --- nodes -----------------------------------------------------------------------------------------------------------


def _entry_row(stage: Stage, traces: Traces, holdings: Sequence[Holding]) -> Row:
    mine = [holding for holding in holdings if holding.node is stage.bootstrap]
    seen = _client_ends(stage, traces, {stage.bootstrap.name})
    address = Cell("yes", f"yes: {len(seen)} connections" if seen else "none seen")
    address.wrong = _addresses_kept(traces, mine) if available() else []
    address.wrong += _direct_connections(stage) if available() else []
    if available() and not seen:
        address.wrong.append("no seeker was seen here, where one must be: then seeing none elsewhere says nothing")
    address.read = available()
    pairs = Cell("a node's name", "a node's name")
    pairs.wrong = _found(traces.names, mine)
    return Row(
        "entry node",
        {
            COLUMNS[0]: address,
            COLUMNS[1]: pairs,
            COLUMNS[2]: _content_cell(traces, mine),
            COLUMNS[3]: _search_cell(traces, mine),
        },
        NODE_SOURCES,
    )


def _queue_row(stage: Stage, traces: Traces, holdings: Sequence[Holding]) -> Row:
    mine = [holding for holding in holdings if holding.node.queues]
    pairs = Cell("traffic of a queue", "")
    met = _met_at(stage)
    pairs.saw = f"traffic, under {len(met)} one-purpose keys"
    pairs.wrong = [
        f"the key …{peer[-8:]} was met at {len(names)} nodes" for peer, names in met.items() if len(names) > 1
    ]
    pairs.wrong += _found(traces.names, mine)
    return Row(
        "queue node",
        {
            COLUMNS[0]: _address_cell(stage, traces, mine),
            COLUMNS[1]: pairs,
            COLUMNS[2]: _content_cell(traces, mine),
            COLUMNS[3]: _search_cell(traces, mine),
        },
        NODE_SOURCES,
    )


def _directory_row(stage: Stage, traces: Traces, holdings: Sequence[Holding]) -> Row:
    mine = [holding for holding in holdings if holding.node is not stage.bootstrap]
    pairs = Cell("no", "no", _found(traces.names, mine))
    return Row(
        "directory node",
        {
            COLUMNS[0]: _address_cell(stage, traces, mine),
            COLUMNS[1]: pairs,
            COLUMNS[2]: _content_cell(traces, mine),
            COLUMNS[3]: _search_cell(traces, mine),
        },
        NODE_SOURCES,
    )


def _address_cell(stage: Stage, traces: Traces, mine: Sequence[Holding]) -> Cell:
    if not available():
        return Cell("no", "not read: this system has no /proc", read=False)
    seen = _client_ends(stage, traces, {holding.node.name for holding in mine})
    cell = Cell("no", "no", [f"{node} remembers {where}" for node, where in seen])
    cell.wrong += _addresses_kept(traces, mine)
    if not traces.ports:
        cell.wrong.append("not one connection of a seeker was seen, so there was nothing to compare with")
    return cell


def _content_cell(traces: Traces, mine: Sequence[Holding]) -> Cell:
    return Cell("no", "no" if mine else "", _found(traces.content, mine))


def _search_cell(traces: Traces, mine: Sequence[Holding]) -> Cell:
    return Cell("no", "no", _found(traces.searched, mine))


def _found(needles: dict[str, bytes], where: Iterable[Holding]) -> list[str]:
    found = []
    for holding in where:
        for text, needle in needles.items():
            places = {
                "store": needle in holding.disk,
                "log": needle in holding.log,
                "memory": needle in (holding.memory or ()),
            }
            found += [f"{holding.node.name}'s {place} has {text!r}" for place, has in places.items() if has]
    return found


def _client_ends(stage: Stage, traces: Traces, nodes: set[str]) -> list[tuple[str, str]]:
    """Addresses of seekers in what these nodes' hosts remembered: (node, address)."""
    found = set()
    for memory in stage.memories:
        if memory.node in nodes:
            for peer in memory.peers:
                for where in [*peer["addrs"], *peer["connections"]]:
                    if _ports_in(where) & traces.ports_at(memory.node):
                        found.add((memory.node, where))
    return sorted(found)


def _ports_in(address: str) -> set[int]:
    return {int(port) for port in re.findall(r"(?:/tcp/|:)(\d+)", address)}


def _addresses_kept(traces: Traces, where: Iterable[Holding]) -> list[str]:
    """Seekers' addresses in stores and logs, as text or as a binary multiaddr."""
    found = []
    for holding in where:
        ports = {int(port) for port in re.findall(rb"127\.0\.0\.1(?:/tcp/|:|', )(\d{1,5})", holding.log + holding.disk)}
        wanted = traces.ports_at(holding.node.name)
        kept = ports & wanted
        kept |= {port for port in wanted if b"\x04\x7f\0\0\x01\x06" + port.to_bytes(2, "big") in holding.disk}
        found += [f"{holding.node.name} kept a seeker's address 127.0.0.1:{port}" for port in sorted(kept)]
    return found


def _direct_connections(stage: Stage) -> list[str]:
    """Connections of seekers that lead anywhere but to their entry."""
    watch, entry = stage.fleet.watch, stage.bootstrap
    names = {node.port: node.name for node in stage.nodes}
    return [
        f"{seat.role.key} was connected to {names.get(connection.remote, f'port {connection.remote}')} directly"
        for seat in stage.seekers
        for connection in sorted(watch.seen.get(seat.role.key, ()), key=lambda one: one.remote)
        if connection.remote != entry.port
    ]


def _met_at(stage: Stage) -> dict[str, set[str]]:
    """Keys that are no node's, by the nodes other than entries where they were met."""
    known = {node.peer_id for node in stage.nodes}
    entries = {stage.bootstrap.name, stage.entry_of_supporters.name}
    met: dict[str, set[str]] = {}
    for memory in stage.memories:
        if memory.node not in entries:
            for peer in memory.peers:
                if peer["peer"] not in known:
                    met.setdefault(peer["peer"], set()).add(memory.node)
    return met


# --- people and the chain --------------------------------------------------------------------------------------------


def _supporter_row(stage: Stage, traces: Traces) -> Row:
    address = Cell("no", "no")
    heard: Counter[str] = Counter()
    everything = b""
    for seat in stage.supporters:
        files = [path for path in seat.folder.rglob("*") if path.is_file()]
        printed = b"".join(
            _bytes_of(p.out_file) + _bytes_of(p.err_file) for p in stage.fleet.programs if p is seat.duty
        )
        everything += printed + b"".join(_bytes_of(path) for path in files)
        heard.update(name for name, needle in traces.names.items() if needle in printed)
    kept = {int(port) for port in re.findall(rb"127\.0\.0\.1(?:/tcp/|:|', )(\d{1,5})", everything)} & traces.ports
    address.wrong = [f"a supporter's device has a seeker's address 127.0.0.1:{port}" for port in sorted(kept)]
    entry = stage.entry_of_supporters.port
    strangers = {
        connection.remote
        for seat in stage.supporters
        for connection in stage.fleet.watch.seen.get(seat.role.key, ())
        if connection.remote != entry and f":{connection.remote}" not in stage.chain_url
    }
    address.wrong += [f"a supporter was connected to port {port} directly" for port in sorted(strangers)]
    address.read = available()
    return Row(
        "supporter",
        {
            COLUMNS[0]: address,
            COLUMNS[1]: Cell("pseudonym", f"{len(heard)} made-up names"),
            COLUMNS[2]: Cell("yes", "what was said to them"),
            COLUMNS[3]: Cell("no", "no", [f"a supporter has {SEARCHED!r}"] if SEARCHED.encode() in everything else []),
        },
        "files, output, sockets",
    )


async def _chain_row(stage: Stage, traces: Traces) -> Row:
    transactions, logs = await _whole_chain(stage)
    allowed = {stage.issuer.lower(), *(seat.wallet.lower() for seat in stage.supporters), _governance()}
    senders = {str(one["from"]).lower() for one in transactions}
    written = b"".join(bytes.fromhex(str(one["input"]).removeprefix("0x")) for one in transactions)
    written += repr(logs).encode()
    journal = b"".join(_bytes_of(path) for path in (stage.folder / "chain").rglob("*") if path.is_file())
    strangers = [
        f"a transaction of {sender}, who is no issuer and no supporter" for sender in sorted(senders - allowed)
    ]
    keys = [b for memory in stage.memories for peer in memory.peers if (b := str(peer["peer"]).encode())]

    def traced(needles: dict[str, bytes]) -> list[str]:
        return [f"the chain has {text!r}" for text, needle in needles.items() if needle in written + journal]

    pairs = Cell("no", "no", strangers + traced(traces.names))
    pairs.wrong += ["the chain has a peer's key" for key in sorted(set(keys)) if key in written + journal][:1]
    direct = [c for seat in stage.seekers for c in stage.fleet.watch.seen.get(seat.role.key, ())]
    address = Cell("no", "no", read=available())
    address.wrong = ["a seeker was connected to the chain" for c in direct if f":{c.remote}" in stage.chain_url][:1]
    return Row(
        "chain, anyone",
        {
            COLUMNS[0]: address,
            COLUMNS[1]: pairs,
            COLUMNS[2]: Cell("no", "no", traced(traces.content)),
            COLUMNS[3]: Cell("no", "no", traced(traces.searched)),
        },
        f"all {len(transactions)} transactions of {len(senders)} accounts",
    )


async def _whole_chain(stage: Stage) -> tuple[list[dict[str, Any]], list[Any]]:
    from warmline.chain.provider import open_rpc

    async with open_rpc(stage.chain_url) as rpc:
        tip = int(await rpc.call("eth_blockNumber"), 16)
        blocks = await rpc.batch([("eth_getBlockByNumber", [hex(number), True]) for number in range(tip + 1)])
        logs = await rpc.call("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"})
    return [one for block in blocks for one in block["transactions"]], logs


def _governance() -> str:
    from warmline.chain.accounts import GOVERNANCE
    from warmline.chain.wallet import dev_wallet

    return "0x" + dev_wallet(GOVERNANCE).address.hex()
