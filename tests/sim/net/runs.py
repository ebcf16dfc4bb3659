"""One run of a scenario: what it publishes, measures and holds the network to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from sim.net.figures import Deliveries, Delivery, percentile
from sim.net.world import Member, World
from support.records import key, listing
from warmline_protocol import limits
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.envelope import LISTING, Tombstone, open_record, sign_record
from warmline_protocol.records.listing import Listing
from warmline_protocol.records.messages import TOPIC

TEXT = ("We sit together for half an hour before the day begins. Nobody has to talk. " * 6).strip()


@dataclass(slots=True)
class Traffic:
    """What all honest nodes sent and heard between two moments."""

    bytes: int
    segments: int
    accepted: int
    duplicates: int
    at: float

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.bytes - other.bytes,
            self.segments - other.segments,
            self.accepted - other.accepted,
            self.duplicates - other.duplicates,
            self.at - other.at,
        )


@dataclass(eq=False)
class Run:
    """Given to a scenario."""

    world: World
    messages: int
    rate: float
    """Messages a virtual second."""
    say: Callable[[str], None] = print
    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    _published: int = 0
    _authors: list[SigningKey] = field(default_factory=list)
    _began: float = field(default_factory=time.perf_counter)

    # --- saying ---

    def report(self, name: str, value: float | str, unit: str = "") -> None:
        """One figure of the run."""
        self.figures[name] = value
        shown = value if isinstance(value, str) else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
        self.say(f"  {name:<58} {shown} {unit}".rstrip())

    def hold(self, claim: str, holds: bool) -> None:
        """A threshold: the run fails where it does not hold."""
        self.say(f"  {'ok    ' if holds else 'FAILED'} {claim}")
        self.world.note("claim", int(holds), claim.encode())
        if not holds:
            self.failures.append(claim)

    def phase(self, name: str) -> None:
        real = time.perf_counter() - self._began
        self.say(f"-- {name} (virtual {trio.current_time():.0f} s, real {real:.0f} s, CPU {time.process_time():.0f} s)")

    # --- doing ---

    async def build(self, indices: Sequence[int] | None = None, *, settle: float = 20.0) -> None:
        """Start everybody and let meshes form."""
        self.phase(f"start {len(self.world.members)} nodes")
        await self.world.start_all(indices)
        await trio.sleep(settle)

    def a_listing(self, member: Member, number: int, *, age_s: float = 0.0, author: str = "") -> bytes:
        """A signed listing of about 1 KB, by a throw-away key, signed at ``member``'s clock."""
        owner = key(author or f"author {self.world.shape.seed} {number}")
        self._authors.append(owner)
        at_ms = member.clock.utc_ms() - round(age_s * 1000)
        body = listing(owner.public, f"s{number}", at_ms=at_ms, summary=TEXT)
        return sign_record(body, owner)

    def a_withdrawal(self, data: bytes, member: Member) -> bytes:
        """The tombstone of what :meth:`a_listing` made, by the same author."""
        opened = open_record(data)
        assert isinstance(opened.body, Listing)
        now = member.clock.utc_ms()
        end = Tombstone(opened.owner, LISTING, opened.body.slug, now, now + limits.LISTING_LIFE_MS)
        return sign_record(end, next(k for k in self._authors if k.public == opened.key))

    @staticmethod
    def id_of(data: bytes) -> bytes:
        """The record id of some bytes."""
        return open_record(data).id

    async def publish(self, member: Member, data: bytes, wanted: Iterable[Member]) -> Delivery:
        """Publish at ``member`` and watch who comes to hold the record."""
        record = open_record(data).digest
        held = self.world.watch(record)
        sent = Delivery(trio.current_time(), member.index, frozenset(m.index for m in wanted), held)
        self.world.note("publish", member.index, record[:8])
        answer = await member.running.directory.publish(data)
        assert answer.verdict == "accept", answer
        return sent

    async def publish_many(
        self,
        origins: Callable[[], Sequence[Member]],
        wanted: Callable[[], Iterable[Member]],
        *,
        count: int | None = None,
    ) -> Deliveries:
        """``count`` listings at the run's rate, each from a random member of ``origins``."""
        out = Deliveries()
        for _ in range(self.messages if count is None else count):
            self._published += 1
            member = self.world.rng.choice(origins())
            out.sent.append(await self.publish(member, self.a_listing(member, self._published), wanted()))
            await trio.sleep(1 / self.rate)
        return out

    # --- measuring ---

    def traffic(self, members: Sequence[Member]) -> Traffic:
        """Totals so far of members that run."""
        told = [member.running.gossip.statistics() for member in members]
        ends = [member.endpoint for member in members if member.endpoint is not None]
        return Traffic(
            sum(end.bytes_sent for end in ends),
            sum(end.segments_sent for end in ends),
            sum(each["accepted"] for each in told),
            sum(each["duplicates"] for each in told),
            trio.current_time(),
        )

    def delivered(self, phase: str, what: Deliveries, *, within: float = 5.0) -> None:
        """The usual figures of some messages."""
        delays, whole = what.delays(), what.until_all()
        self.report(f"{phase}: messages", len(what.sent))
        self.report(f"{phase}: delivered", 100 * what.share(), "%")
        self.report(f"{phase}: delivered within {within:g} s", 100 * what.share(within), "%")
        self.report(f"{phase}: node has it, p50", 1000 * percentile(delays, 0.5), "ms")
        self.report(f"{phase}: node has it, p99", 1000 * percentile(delays, 0.99), "ms")
        finite = [each for each in whole if math.isfinite(each)]
        self.report(f"{phase}: all nodes have it, p50", 1000 * percentile(finite, 0.5), "ms")
        self.report(f"{phase}: all nodes have it, p99", 1000 * percentile(finite, 0.99), "ms")

    def meshes(self, members: Sequence[Member]) -> dict[int, tuple[int, ...]]:
        """Who forwards to whom, read from the nodes."""
        index = {member.peer_id: member.index for member in self.world.members}
        return {m.index: tuple(sorted(index[p] for p in m.running.gossip.mesh(TOPIC) if p in index)) for m in members}


async def until_all_hold(sent: Delivery, *, seconds: float) -> float | None:
    """Virtual seconds from now until everybody wanted holds it, None if they do not in time."""
    began = trio.current_time()
    while sent.missing():
        if trio.current_time() - began > seconds:
            return None
        await trio.sleep(0.25)
    return trio.current_time() - began
