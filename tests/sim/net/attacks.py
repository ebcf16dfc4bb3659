"""What hostile nodes do, and what honest ones keep all the same.

A hostile member runs the real node with some of its behaviour replaced, so that it speaks the protocol well enough to
be believed. Each scenario says what honest nodes had and fails below a threshold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import trio

from sim.net.figures import Deliveries
from sim.net.runs import Run
from sim.net.scenarios import scenario
from sim.net.world import Member, World
from support.records import key
from warmline.daemon.node import Node
from warmline_protocol import limits
from warmline_protocol.errors import WarmlineError
from warmline_protocol.records.envelope import LISTING, Tombstone, sign_record
from warmline_protocol.records.messages import TOPIC, Digests

SPAM_RATE = 500.0
"""Messages a second of one hostile peer: ten times what is judged of one."""
SPAM_SECONDS = 15
TELLERS_MOST = 20
"""Nodes that tell old records again, 100 a second each to every peer: what a large run spends its CPU time on."""


def mute(node: Node) -> None:
    """Forwards nothing, serves nothing, and says in directory sync that there is nothing to fetch."""
    router: Any = node.gossip._pubsub.router
    directory: Any = node.directory

    async def nothing(*args: object) -> None:
        await trio.lowlevel.checkpoint()

    router.forward = lambda *args, **options: None
    router.handle_iwant = nothing
    directory._compare = lambda question, peer: Digests(directory.shelf.judge.clock.utc_ms(), question.digests)


def hostile(world: World, count: int) -> list[Member]:
    """``count`` random members, none of which somebody was told to join by first, made :func:`mute`."""
    chosen: list[Member] = world.rng.sample(world.members[world.shape.bootstrap :], count)
    for member in chosen:
        member.misbehave = mute
    return sorted(chosen, key=lambda member: member.index)


async def press(attackers: Iterable[Member], targets: Sequence[Member], world: World, *, each: int) -> None:
    """Every attacker connects to ``each`` random targets and asks to be in their meshes."""
    for attacker in attackers:
        for target in world.rng.sample(targets, min(each, len(targets))):
            world.nursery.start_soon(_connect, attacker, target)
            await trio.sleep(0.02)


async def _connect(attacker: Member, target: Member) -> None:
    try:
        await attacker.running.host.connect(target.addr)
        await trio.sleep(2)
        await attacker.running.gossip._pubsub.router.emit_graft(TOPIC, _id(target))
    except WarmlineError:
        return


def _id(member: Member) -> Any:
    from libp2p.peer.id import ID

    return ID.from_string(member.peer_id)


@scenario("a fifth of the nodes are sybils: they fill meshes, forward nothing and leave out in sync")
async def sybils(run: Run) -> None:
    world = run.world
    bad = hostile(world, len(world.members) // 5)
    await run.build()
    honest = world.honest()
    run.phase(f"{len(bad)} sybils connect to 30 nodes each")
    await press(bad, honest, world, each=30)
    await trio.sleep(20)
    shares = [_hostile_share(m, bad) for m in honest]
    run.report("sybils' share of honest meshes, mean", 100 * sum(shares) / len(shares), "%")
    run.report("honest nodes whose mesh is all sybils", sum(share == 1 for share in shares))
    sent = await run.publish_many(lambda: honest, lambda: honest)
    await trio.sleep(60)
    run.delivered("honest nodes", sent)
    run.say(sent.curve("share of deliveries over time"))
    run.hold("honest nodes hold every listing", sent.share() == 1)
    run.hold("99 % of deliveries within 5 s", sent.share(5) >= 0.99)
    _nobody_marked(run, honest)


def _hostile_share(member: Member, bad: Sequence[Member]) -> float:
    mesh = member.running.gossip.mesh(TOPIC)
    ids = {each.peer_id for each in bad}
    return sum(peer in ids for peer in mesh) / max(1, len(mesh))


def _nobody_marked(run: Run, honest: Sequence[Member], among: Sequence[Member] | None = None) -> None:
    """Honest nodes graylisted by honest nodes: there must be none."""
    ids = {member.peer_id for member in (honest if among is None else among)}
    wrong = sum(len(ids.intersection(member.running.gossip.graylisted())) for member in honest)
    run.report("honest nodes graylisted by honest nodes", wrong)
    run.hold("no honest node is graylisted by another", wrong == 0)


@scenario("two fifths of the nodes surround one: they dial it, graft, forward nothing; then it restarts among them")
async def eclipse(run: Run) -> None:
    world = run.world
    bad = hostile(world, 2 * len(world.members) // 5)
    await run.build()
    honest = world.honest()
    victim = next(member for member in reversed(honest) if member.index >= world.shape.bootstrap)
    for again in (False, True):
        if again:
            await world.crash(victim.index)
            await world.start(victim.index)
        run.phase(f"{len(bad)} nodes surround n{victim.index}" + (" again after its restart" if again else ""))
        for _ in range(3):
            for attacker in bad:
                world.nursery.start_soon(_connect, attacker, victim)
            await trio.sleep(10)
        mesh = victim.running.gossip.mesh(TOPIC)
        run.report("connections of the victim", len(victim.running.host.peers()))
        run.report("its mesh", len(mesh))
        run.report("hostile ones in its mesh", round(_hostile_share(victim, bad) * len(mesh)))
        heard = await run.publish_many(lambda: [m for m in honest if m is not victim], lambda: [victim])
        said = await _said_by(run, victim, honest)
        await trio.sleep(60)
        name = "after restart" if again else "first"
        run.report(f"{name}: the victim heard within 5 s", 100 * heard.share(5), "%")
        run.report(f"{name}: the victim heard within 60 s", 100 * heard.share(60), "%")
        run.report(f"{name}: what the victim said, heard within 5 s", 100 * said.share(5), "%")
        run.hold(f"{name}: the victim hears everything within 60 s", heard.share(60) == 1)
        run.hold(f"{name}: 95 % of it within 5 s", heard.share(5) >= 0.95)
        run.hold(f"{name}: everybody hears what the victim says", said.share() == 1)


async def _said_by(run: Run, victim: Member, honest: Sequence[Member]) -> Deliveries:
    out = Deliveries()
    for number in range(5):
        data = run.a_listing(victim, number, author=f"victim {run.world.tell()}")
        out.sent.append(await run.publish(victim, data, honest))
        await trio.sleep(1 / run.rate)
    return out


@scenario("some nodes publish valid records at ten times the limit for a quarter of a minute")
async def spam(run: Run) -> None:
    world = run.world
    bad = hostile(world, max(1, len(world.members) // 50))
    await run.build()
    honest = world.honest()
    run.phase(f"{len(bad)} spammers, {SPAM_RATE:g} messages a second each")
    began = trio.current_time()
    for attacker in bad:
        world.nursery.start_soon(_spam, world, attacker)
    listed = Counter[str]()
    world.nursery.start_soon(_see_graylisting, world, honest, bad, listed, began)
    sent = await run.publish_many(lambda: honest, lambda: honest)
    left = SPAM_SECONDS - (trio.current_time() - began)
    await trio.sleep(max(0.0, left) + 60)
    run.delivered("honest listings", sent)
    told = [member.running.gossip.statistics() for member in honest]
    run.report("spam not judged, per honest node", sum(each["over_rate"] for each in told) / len(told))
    run.report("spam from graylisted peers, per honest node", sum(each["from_graylisted"] for each in told) / len(told))
    neighbours = sum(_is_connected(member, bad) for member in honest)
    run.report("honest neighbours of spammers", neighbours)
    run.report("of them, that graylisted one", len(listed))
    run.report("seconds of spam until then, most", max(listed.values(), default=0))
    run.hold("honest nodes hold every listing", sent.share() == 1)
    run.hold("95 % of deliveries within 5 s", sent.share(5) >= 0.95)
    _nobody_marked(run, honest)


def _is_connected(member: Member, others: Sequence[Member]) -> bool:
    return bool({each.peer_id for each in others}.intersection(member.running.host.peers()))


async def _spam(world: World, attacker: Member) -> None:
    """Tombstones of listings that never were: valid, cheap to make, each new."""
    pubsub: Any = attacker.running.gossip._pubsub
    batch = 25
    for number in range(int(SPAM_RATE * SPAM_SECONDS)):
        author = key(f"spam {attacker.index} {number // 16}")
        now = attacker.clock.utc_ms()
        end = Tombstone(author.public, LISTING, f"x{number}", now, now + limits.LISTING_LIFE_MS)
        pubsub.send(TOPIC, sign_record(end, author))
        if number % batch == batch - 1:
            await trio.sleep(batch / SPAM_RATE)


async def _see_graylisting(
    world: World, honest: Sequence[Member], bad: Sequence[Member], listed: Counter[str], began: float
) -> None:
    ids = {member.peer_id for member in bad}
    while True:
        for member in honest:
            if member.is_up and member.name not in listed and ids.intersection(member.running.gossip.graylisted()):
                listed[member.name] = round(trio.current_time() - began)
                world.note("graylist", member.index)
        await trio.sleep(1)


@scenario("old records are told again without end: expired, replaced and withdrawn ones")
async def replay(run: Run) -> None:
    world = run.world
    bad = hostile(world, min(max(1, len(world.members) // 10), TELLERS_MOST))
    await run.build()
    honest = world.honest()
    run.phase("listings appear, are replaced and withdrawn; hostile nodes keep every version")
    old, gone = await _history(run, honest)
    await trio.sleep(45)
    before = {member.index: _count(member) for member in honest}
    run.phase(f"{len(bad)} nodes tell {len(old)} old versions again, 100 a second each")
    for attacker in bad:
        world.nursery.start_soon(_tell_again, attacker, old)
    sent = await run.publish_many(lambda: honest, lambda: honest)
    await trio.sleep(60)
    run.delivered("fresh listings meanwhile", sent)
    risen = sum(member.running.directory.record(record) is None for member in honest for record in gone)
    stale = sum(_is_stale(member, gone) for member in honest)
    run.report("withdrawn listings that came back", stale)
    run.report("tombstones lost", risen)
    extra = [_count(member) - before[member.index] - len(sent.sent) for member in honest]
    run.report("records that honest nodes gained from it, most", max(extra))
    run.hold("nothing withdrawn comes back", stale == 0 and risen == 0)
    run.hold("no old record is taken in", max(extra) == 0)
    run.hold("honest nodes hold every fresh listing", sent.share() == 1)
    run.hold("99 % of fresh deliveries within 5 s", sent.share(5) >= 0.99)
    _nobody_marked(run, honest)


def _count(member: Member) -> int:
    return member.running.directory.statistics()["records"]


def _is_stale(member: Member, gone: Sequence[bytes]) -> bool:
    records = [member.running.directory.record(record) for record in gone]
    return any(record is not None and not isinstance(record.body, Tombstone) for record in records)


async def _history(run: Run, honest: Sequence[Member]) -> tuple[list[bytes], list[bytes]]:
    """Bytes of every old version, and the ids of what was withdrawn."""
    old: list[bytes] = []
    gone: list[bytes] = []
    for number in range(20):
        member = run.world.rng.choice(honest)
        first = run.a_listing(member, 1000 + number, age_s=10)
        newer = run.a_listing(member, 1000 + number)
        old.append(run.a_listing(member, 2000 + number, age_s=3 * 86_400))  # its 48 hours were over a day ago
        await run.publish(member, first, honest)
        await trio.sleep(0.2)
        if number % 2:
            await run.publish(member, newer, honest)
        else:
            await run.publish(member, run.a_withdrawal(first, member), honest)
            gone.append(run.id_of(first))
        old.append(first)
    return old, gone


async def _tell_again(attacker: Member, old: Sequence[bytes]) -> None:
    """In fresh envelopes and to everybody, over and over."""
    pubsub: Any = attacker.running.gossip._pubsub
    number = 0
    while attacker.is_up:
        for _ in range(10):
            pubsub.send(TOPIC, old[number % len(old)])
            number += 1
        await trio.sleep(0.1)
