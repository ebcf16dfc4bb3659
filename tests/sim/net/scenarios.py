"""What networks go through: the quiet day, churn, partitions. Attacks are in ``attacks``."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from sim.net.figures import Deliveries, percentile
from sim.net.model import first_arrivals
from sim.net.runs import Run, until_all_hold
from sim.net.world import Member

Scenario = Callable[[Run], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Described:
    run: Scenario
    says: str
    dht: bool = False
    """Whether its nodes use the DHT whatever the command says."""


SCENARIOS: dict[str, Described] = {}


def scenario(says: str, *, dht: bool = False) -> Callable[[Scenario], Scenario]:
    """Register a scenario under its function's name."""

    def register(run: Scenario) -> Scenario:
        SCENARIOS[run.__name__] = Described(run, says, dht)
        return run

    return register


@scenario("nothing goes wrong: delivery, latency, copies, bytes, and the model beside it")
async def baseline(run: Run) -> None:
    world = run.world
    await run.build()
    everybody = world.honest()
    run.phase("idle for 30 s")
    before = run.traffic(everybody)
    await trio.sleep(30)
    idle = run.traffic(everybody) - before
    run.report("idle: bytes sent a second and node", idle.bytes / idle.at / len(everybody), "B/s")
    run.phase(f"{run.messages} listings of about 1 KB at {run.rate:g} a second")
    before = run.traffic(everybody)
    meshes = run.meshes(everybody)
    sent = await run.publish_many(lambda: everybody, lambda: everybody)
    await trio.sleep(10)
    busy = run.traffic(everybody) - before
    run.delivered("baseline", sent)
    run.say(sent.curve("share of deliveries over time"))
    run.report("bodies heard per delivery", (busy.accepted + busy.duplicates) / max(1, busy.accepted))
    extra = busy.bytes - idle.bytes * busy.at / idle.at
    run.report("bytes sent per node and message, idle traffic taken off", extra / len(everybody) / run.messages, "B")
    run.report("mesh degree, mean", sum(map(len, meshes.values())) / len(meshes))
    run.report("connections per node, mean", sum(len(m.running.host.peers()) for m in everybody) / len(everybody))
    compare_with_model(run, sent, meshes)
    run.hold("every node holds every listing", sent.share() == 1)
    run.hold("99.9 % of deliveries within 5 s", sent.share(5) >= 0.999)
    run.hold("the slowest 1 % of deliveries within 1.5 s", percentile(sent.delays(), 0.99) <= 1.5)
    bodies = (busy.accepted + busy.duplicates) / max(1, busy.accepted)
    run.hold("at most 4 bodies per delivery", bodies <= 4)


def compare_with_model(run: Run, sent: Deliveries, meshes: dict[int, tuple[int, ...]]) -> None:
    """First arrivals by shortest path over the meshes of the real nodes, beside what the nodes did."""
    world = run.world
    ends = {member.index: member.endpoint for member in world.members if member.endpoint is not None}
    index = {member.peer_id: member.index for member in world.members}
    connected = {each.origin: _peers(index, world.members[each.origin]) for each in sent.sent}

    def link(one: int, other: int) -> float:
        return world.net.delay(ends[one], ends[other]) + world.net.links.jitter / 2

    errors, modelled = [], []
    rng = random.Random(f"model/{world.shape.seed}")
    for each in sent.sent:
        arrivals = first_arrivals(each.origin, meshes, link, flood=connected[each.origin], rng=rng)
        for member, held in each.held.items():
            if member in arrivals and member != each.origin:
                modelled.append(arrivals[member])
                errors.append(held - each.published - arrivals[member])
    real = sent.delays()
    run.report("modelled: node has it, p50", 1000 * percentile(modelled, 0.5), "ms")
    run.report("modelled: node has it, p99", 1000 * percentile(modelled, 0.99), "ms")
    run.report("model minus nodes, p50", 1000 * (percentile(modelled, 0.5) - percentile(real, 0.5)), "ms")
    run.report("model minus nodes, p99", 1000 * (percentile(modelled, 0.99) - percentile(real, 0.99)), "ms")
    run.report("error of single deliveries, p1", 1000 * percentile(errors, 0.01), "ms")
    run.report("error of single deliveries, p99", 1000 * percentile(errors, 0.99), "ms")
    run.hold(
        "the model's p50 and p99 are within 10 % of the nodes'",
        all(math.isclose(percentile(modelled, share), percentile(real, share), rel_tol=0.1) for share in (0.5, 0.99)),
    )


def _peers(index: dict[str, int], member: Member) -> tuple[int, ...]:
    return tuple(sorted(index[peer] for peer in member.running.host.peers() if peer in index))


@scenario("a tenth of the nodes is replaced every minute, half of them without a word")
async def churn(run: Run) -> None:
    world = run.world
    await run.build()
    replaced = max(1, len(world.members) // 10)
    pause = 60 / replaced
    minutes = 3
    every = max(1, minutes * replaced // run.messages)
    sent = Deliveries()
    away: list[int] = []
    run.phase(f"{minutes} minutes of churn, {replaced} nodes a minute")
    for step in range(minutes * replaced):
        fallen = world.rng.choice([m for m in world.honest() if m.index >= 3])
        await world.crash(fallen.index, silent=step % 2 == 0)
        away.append(fallen.index)
        if len(away) > replaced:
            await world.start(away.pop(0))
        if step % every == 0:
            alive = world.honest()
            wanted = [m for m in alive if m.index not in away]
            origin = world.rng.choice(alive)
            sent.sent.append(await run.publish(origin, run.a_listing(origin, step), wanted))
        await trio.sleep(pause)
    run.phase("everybody comes back")
    for index in away:
        await world.start(index)
    await trio.sleep(90)
    stayed = frozenset(m.index for m in world.members if m.starts == 1)
    for each in sent.sent:
        each.wanted &= stayed
    run.delivered("nodes that stayed", sent)
    holding = [m for m in world.honest() if all(m.index in each.held for each in sent.sent)]
    share = len(holding) / len(world.members)
    run.report("nodes that hold everything 90 s after the churn", 100 * share, "%")
    degrees = [len(m.running.host.peers()) for m in world.honest()]
    run.report("connections per node afterwards, least", min(degrees))
    run.hold("nodes that stayed hold every listing", sent.share() == 1)
    run.hold("95 % of deliveries to nodes that stayed within 5 s", sent.share(5) >= 0.95)
    run.hold("90 s after the churn every node, new ones too, holds everything", share == 1)


@scenario("two halves for five minutes, each publishing and one withdrawing, then healed")
async def partition(run: Run) -> None:
    world = run.world
    await run.build()
    everybody = world.honest()
    sides = {member.name: world.rng.randrange(2) for member in everybody}
    left = [member for member in everybody if not sides[member.name]]
    right = [member for member in everybody if sides[member.name]]
    listing = run.a_listing(left[0], 1)
    first = await run.publish(left[0], listing, everybody)
    await trio.sleep(10)
    run.hold("before: everybody holds the listing", first.missing() == 0)
    run.phase(f"partition: {len(left)} and {len(right)} nodes for 300 s")
    world.net.partition(lambda end: sides.get(end.name, 0))
    await trio.sleep(60)
    here = await run.publish(left[0], run.a_listing(left[0], 2), left)
    there = await run.publish(right[0], run.a_listing(right[0], 3), right)
    gone = await run.publish(left[0], run.a_withdrawal(listing, left[0]), left)
    await trio.sleep(240)
    for side, sent in (("left", here), ("right", there)):
        run.report(f"{side} half: nodes that hold its own listing", 100 * sent.share(), "%")
        run.hold(f"within the {side} half everybody holds what it published", sent.missing() == 0)
    run.phase("heal")
    world.net.heal()
    healed = trio.current_time()
    for what, sent in (("withdrawal", gone), ("right's listing", there), ("left's listing", here)):
        sent.wanted = frozenset(member.index for member in everybody)
        took = await until_all_hold(sent, seconds=120)
        after = trio.current_time() - healed
        run.report(f"after healing, until all hold the {what}", "never" if took is None else f"{after:.1f}", "s")
        run.hold(f"the {what} is everywhere within 60 s of healing", took is not None and after <= 60)
