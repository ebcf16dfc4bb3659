"""What follows from a seed: who says how much to whom, how conversations end, and which faults come when.

Faults come by progress (after so many messages said), not by the clock: a slow machine gets the same story.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

MINUTE, HOUR = 60_000, 3600_000
GROUPS = 2
"""Each with a program of supporters, one of seekers, and one with a room. Pairs of the first are kept in vaults."""
MEMBERS = 3
ROOM_SHARE = 0.2
TOGETHER = 3
"""Faults at the same time, at most."""
PER_FAULT = 40
"""Messages between two faults in a short run; long ones have fewer, see :func:`faults_of`."""


@dataclass(frozen=True)
class Talk:
    """One conversation: a pair (speakers ``seeker``, ``supporter``) or a room (``host``, ``m1``...)."""

    name: str
    group: int
    counts: dict[str, int]

    @property
    def room(self) -> bool:
        return self.name.startswith("r")


@dataclass(frozen=True)
class Sitting:
    """One session of a conversation. ``leaver`` goes after saying ``after`` messages; empty: when all is settled."""

    quota: int
    window: int
    leaver: str
    after: int


@dataclass(frozen=True)
class Fault:
    """``at``: messages said. ``seconds``: how long it lasts; ``spare``: more about it, by kind."""

    number: int
    at: int
    kind: str
    node: int
    seconds: float
    spare: tuple[int, ...] = ()

    def __str__(self) -> str:
        spare = f" {self.spare}" if self.spare else ""
        return f"#{self.number} after {self.at}: {self.kind} node {self.node}{spare} for {self.seconds:.1f} s"


def talks_of(seed: int, messages: int) -> list[Talk]:
    """Conversations whose messages are ``messages`` together."""
    draw = Random(f"{seed} talks")
    speakers: list[tuple[str, int, str]] = []
    pairs = 4 if messages <= 4000 else 8
    for group in range(GROUPS):
        for number in range(pairs):
            name = f"p{group * pairs + number}"
            speakers += [(name, group, "seeker"), (name, group, "supporter")]
    rooms = [(f"r{group}", group, who) for group in range(GROUPS) for who in ("host", *members())]
    in_rooms = int(messages * ROOM_SHARE)
    shares = _split(draw, messages - in_rooms, len(speakers)) + _split(draw, in_rooms, len(rooms))
    talks: dict[str, Talk] = {}
    for (name, group, who), count in zip(speakers + rooms, shares, strict=True):
        talks.setdefault(name, Talk(name, group, {})).counts[who] = count
    return list(talks.values())


def members() -> list[str]:
    return [f"m{number}" for number in range(1, MEMBERS + 1)]


def _split(draw: Random, total: int, parts: int) -> list[int]:
    weights = [draw.uniform(0.5, 1.5) for _ in range(parts)]
    shares = [int(total * weight / sum(weights)) for weight in weights]
    for index in range(total - sum(shares)):
        shares[index % parts] += 1
    return shares


def sitting_of(seed: int, talk: str, number: int) -> Sitting:
    """The ``number``-th session of a conversation."""
    draw = Random(f"{seed} {talk} sitting {number}")
    quota = draw.choice((10, 20, 40, 80, 260))
    window = draw.choice((1, 2, 4, 8, 16))
    speakers = ["host", *members()] if talk.startswith("r") else ["seeker", "supporter"]
    leaver = draw.choice(speakers) if draw.random() < 0.35 else ""
    return Sitting(quota, window, leaver, draw.randrange(1, quota + 1))


KINDS = {
    "kill": 5,
    "stop": 2,
    "freeze": 2,
    "cut": 3,
    "hold": 3,
    "slow": 3,
    "full": 3,
    "limit": 2,
    "clock": 4,
    "expire": 1,
    "die": 3,
    "restore": 2,
}
"""Kinds of faults and how often each comes."""
LONG_FROM = 2000
"""Messages of a run that has room for faults of more than a minute."""
NODE_CLOCKS = (-25 * HOUR, -2 * HOUR, -3 * MINUTE, 3 * MINUTE, 2 * HOUR, 25 * HOUR, 49 * HOUR)


def faults_of(seed: int, messages: int, nodes: int, people: int, kinds: dict[str, int]) -> list[Fault]:
    """The schedule. ``expire``: one person's clock goes on by a day and an hour, so that open messages expire."""
    draw = Random(f"{seed} faults")
    every = PER_FAULT if messages <= 4000 else max(PER_FAULT, messages // 600)
    found, at, long = [], every, messages > LONG_FROM
    while kinds and at < messages - every // 2:
        kind = draw.choices(list(kinds), weights=list(kinds.values()))[0]
        found.append(
            _fault(draw, len(found) + 1, at + draw.randrange(-every // 3, every // 3), kind, nodes, people, long=long)
        )
        at += every
    return found


def _fault(draw: Random, number: int, at: int, kind: str, nodes: int, people: int, *, long: bool) -> Fault:
    node, spare = draw.randrange(nodes), ()
    seconds = draw.choice((1.0, 3.0, 6.0, 12.0)) * draw.uniform(0.5, 1.5)
    if long and draw.random() < 0.05:
        seconds = draw.uniform(45.0, 90.0)  # longer than any heartbeat
    if kind in ("cut", "hold"):
        # Two sides of the network, and on which of them each person is.
        others = draw.sample([each for each in range(nodes) if each != node], draw.randrange(3))
        away = [nodes + each for each in range(people) if draw.random() < 0.2]
        spare = (*others, *away)
    elif kind == "slow":
        spare = (draw.choice((20, 80, 250)), draw.choice((8, 32, 128)) * 1024)
        seconds *= 2
    elif kind == "clock":
        spare = (draw.choice(NODE_CLOCKS),)
    elif kind == "expire":
        node, spare, seconds = draw.randrange(people), (25 * HOUR,), 0.0
    elif kind == "die":
        node = draw.randrange(people)
    return Fault(number, at, kind, node, seconds, spare)
