"""The DHT among whole nodes, and the client's finder over circuits: each once in peace and once among liars.

A lying member of the DHT takes values and claims and forgets them, names none, and leads every question to its own
kind; in directory sync and gossip it is :func:`sim.net.attacks.mute`. A lying holder serves snapshots that leave a
listing out, and names the listing's home to nobody.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from sim.net.attacks import mute
from sim.net.figures import percentile
from sim.net.runs import Run
from sim.net.scenarios import scenario
from sim.net.transport import MemoryTransport
from sim.net.world import Member, World
from warmline.client import finder, lookup, routes
from warmline.client.finder import Finder
from warmline.client.matching import Wanted
from warmline.client.routes import Routes
from warmline.daemon.node import Node
from warmline.env import SeededRng
from warmline.net.host import HostSettings, open_host
from warmline_protocol.errors import WarmlineError
from warmline_protocol.kad import position
from warmline_protocol.keys import SigningKey, base58_decode
from warmline_protocol.records.messages import dht_key

SETTLE = 90.0
"""Seconds after the last start until routing tables have filled and shards are claimed."""
REPLICAS = 20


@dataclass(slots=True)
class Asked:
    """Operations of one kind: seconds each took, questions each cost, and how many were right."""

    seconds: list[float] = field(default_factory=list)
    questions: list[int] = field(default_factory=list)
    right: int = 0

    def report(self, run: Run, name: str) -> None:
        run.report(f"{name}: right", 100 * self.right / len(self.seconds), "%")
        run.report(f"{name}: p50", percentile(self.seconds, 0.5), "s")
        run.report(f"{name}: p99", percentile(self.seconds, 0.99), "s")
        run.report(f"{name}: questions, mean", sum(self.questions) / len(self.questions))


class Questions:
    """Counts what each member asks of others in the DHT."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.of: Counter[int] = Counter()
        for member in members:
            peers: Any = member.running.dht._peers
            peers._ask = functools.partial(self._counted, member.index, peers._ask)

    async def _counted(self, member: int, ask: Callable[..., Any], *args: Any) -> Any:
        self.of[member] += 1
        return await ask(*args)


def astray(friends: frozenset[str], node: Node) -> None:
    """Keeps nothing, finds nothing, and knows nobody but its friends."""
    mute(node)
    kad: Any = node.dht._kad
    kad.value_store.get = lambda key: None
    kad.value_store.put_record = lambda key, record: None
    kad.provider_store.add_provider = lambda key, provider: None
    kad.provider_store.get_providers = lambda key: []
    say = kad._add_closer_peers_to_response

    def lead(response: Any, closest: Any, exclude: Any = None) -> None:
        known = sorted(kad.routing_table.get_peer_ids(), key=lambda peer: peer.to_bytes())
        say(response, [peer for peer in known if str(peer) in friends], exclude)

    kad._add_closer_peers_to_response = lead


@scenario("nodes put, get, claim and find in the DHT", dht=True)
async def dht(run: Run) -> None:
    await exercise(run, [])


@scenario("the same while a fifth of the nodes forgets, finds nothing and leads astray", dht=True)
async def dht_liars(run: Run) -> None:
    members = run.world.members
    bad = run.world.rng.sample(members[run.world.shape.bootstrap :], len(members) // 5)
    friends = frozenset(member.peer_id for member in bad)
    for member in bad:
        member.misbehave = functools.partial(astray, friends)
    await exercise(run, bad)


async def exercise(run: Run, bad: Sequence[Member]) -> None:
    """Values and claims by random honest nodes, each looked up by another."""
    world = run.world
    await run.build(settle=SETTLE)
    honest = world.honest()
    tables = [len(member.running.dht.peers()) for member in honest]
    run.report("routing table, mean", sum(tables) / len(tables))
    run.phase(f"{run.messages} values and claims, {len(bad)} of {len(world.members)} nodes lie")
    questions = Questions(honest)
    puts, gets, provides, finds = Asked(), Asked(), Asked(), Asked()
    kept: list[int] = []

    async def round_trip(number: int, author: Member, reader: Member) -> None:
        content = world.rng.randbytes(32)
        data = run.a_listing(author, number)
        key = dht_key(run.id_of(data))
        await timed(run, questions, puts, author, author.running.dht.put(key, data), lambda took: took >= 3)
        kept.append(_holders(key, honest))
        await timed(run, questions, gets, reader, reader.running.dht.get(key), lambda value: value == data)
        claim = author.running.dht.provide(content)
        await timed(run, questions, provides, author, claim, lambda took: took >= 3)
        found = reader.running.dht.find_providers(content)
        await timed(run, questions, finds, reader, found, lambda who: author.peer_id in who)

    busy = world.rng.sample(
        honest, 2 * min(run.messages, len(honest) // 2)
    )  # who asks once asks nothing else meanwhile
    async with trio.open_nursery() as nursery:
        for number, (author, reader) in enumerate(zip(busy[::2], busy[1::2], strict=True)):
            nursery.start_soon(round_trip, number, author, reader)
            await trio.sleep(1)
    for name, asked in (("put", puts), ("get", gets), ("provide", provides), ("find providers", finds)):
        asked.report(run, name)
    run.report("honest nodes that keep a value, least", min(kept))
    run.report("honest nodes that keep a value, mean", sum(kept) / len(kept))
    closest = [_closest(world, honest, data) for data in (world.rng.randbytes(32) for _ in range(50))]
    run.report("of the 20 closest nodes, honest, mean", sum(closest) / len(closest))
    for name, asked in (("value", gets), ("claim", finds)):
        run.hold(f"every {name} is found", asked.right == len(asked.seconds))
    run.hold("every value is kept by three honest nodes at least", min(kept) >= 3)


async def timed(
    run: Run, questions: Questions, asked: Asked, member: Member, work: Any, is_right: Callable[[Any], bool]
) -> None:
    """Await ``work``, an operation of ``member``'s, and note what it cost."""
    began, before = trio.current_time(), questions.of[member.index]
    answer = await work
    asked.seconds.append(trio.current_time() - began)
    asked.questions.append(questions.of[member.index] - before)
    asked.right += is_right(answer)
    run.world.note("asked", member.index, f"{is_right(answer)} {asked.questions[-1]}")


def _holders(key: str, honest: Sequence[Member]) -> int:
    return sum(member.running.dht._values.get(key.encode()) is not None for member in honest)


def _closest(world: World, honest: Sequence[Member], key: bytes) -> int:
    """How many of the closest to ``key`` of all members are honest."""
    at = position(key)
    ranked = sorted(world.members, key=lambda member: position(base58_decode(member.peer_id)) ^ at)
    known = {member.index for member in honest}
    return sum(member.index in known for member in ranked[:REPLICAS])


# --- the client's finder ---


@scenario("a client that knows one node, a liar, finds a listing that a third of all holders leave out", dht=True)
async def find(run: Run) -> None:
    world = run.world
    await run.build(settle=SETTLE)
    everybody = world.honest()
    found, took, operators, fetched = 0, [], [], []
    run.phase(f"{run.messages} clients, each behind one liar")
    homes = world.rng.sample(everybody, run.messages)
    listings = [run.a_listing(home, number) for number, home in enumerate(homes)]
    sent = [await run.publish(home, data, everybody) for home, data in zip(homes, listings, strict=True)]
    await trio.sleep(20)
    assert not any(each.missing() for each in sent), "gossip or sync brought it to everybody"
    for number, (home, data) in enumerate(zip(homes, listings, strict=True)):
        others = [member for member in everybody if member is not home]
        liars = world.rng.sample(others, len(everybody) // 3)
        entry = liars[0]
        record = run.id_of(data)
        with leaving_out(liars, record, home.peer_id), a_machine(world, number):
            rng = SeededRng(f"client {world.shape.seed} {number}")
            client = Finder(Routes((entry.addr,), rng=rng, clock=home.clock), rng=rng, clock=home.clock)
            began = trio.current_time()
            try:
                findings = await client.find(Wanted())
            except WarmlineError as error:
                run.say(f"  client {number}: {error}")
                world.note("lost", entry.index, record[:8])
                continue
            took.append(trio.current_time() - began)
            found += any(match.record.id == record for match in findings.matches)
            operators.append(findings.operators)
            fetched.append(findings.fetched)
            world.note("found", entry.index, f"{len(findings.matches)} {findings.operators}")
    run.report("clients that found it", 100 * found / run.messages, "%")
    run.report("seconds until done, p50", percentile(took, 0.5), "s")
    run.report("seconds until done, most", max(took, default=0.0), "s")
    run.report("operators that were read, least", min(operators, default=0))
    run.report("bytes of directories that were read, mean", sum(fetched) / max(1, len(fetched)), "B")
    run.hold("every client finds the listing", found == run.messages)


@contextmanager
def leaving_out(liars: Sequence[Member], record: bytes, home: str) -> Iterator[None]:
    """Within the block these serve snapshots without one record and tell nobody of its home."""
    undo = []
    for member in liars:
        index: Any = member.running.directory.shelf.index
        claims: Any = member.running.dht._providers
        rows, nodes, told = index.rows, index.nodes, claims.get_providers
        index.rows = lambda now, rows=rows: [row for row in rows(now) if row.id != record]
        index.nodes = lambda now, nodes=nodes: [each for each in nodes(now) if each.body.peer_id != home]
        claims.get_providers = lambda key, told=told: [each for each in told(key) if str(each.peer_id) != home]
        index.version += 1
        undo += [(index, "rows"), (index, "nodes"), (claims, "get_providers")]
    try:
        yield
    finally:
        for owner, name in undo:
            delattr(owner, name)


@contextmanager
def a_machine(world: World, number: int) -> Iterator[None]:
    """Within the block clients' hosts are on a machine of the simulated network."""
    end = world.net.endpoint(f"client {number}", f"90.{number & 255}.0.1")

    def opened(settings: HostSettings, *, key: SigningKey, **rest: Any) -> Any:
        transport = MemoryTransport(world.net, end, key.peer_id)
        return open_host(settings, key=key, **{**rest, "transports": [transport]})

    seams: Sequence[Any] = (finder, lookup, routes)
    for module in seams:
        module.open_host = opened
    try:
        yield
    finally:
        for module in seams:
            module.open_host = open_host
