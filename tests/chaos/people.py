"""What all programs of people share: their clients, keys and doors, what they remember, what they tell each other."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from chaos import plan
from chaos.clocks import ShiftedClock
from chaos.journal import Journal, lines_of
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.client.routes import Routes
from warmline.client.session import (
    Client,
    Contact,
    QueueNode,
    SessionSettings,
)
from warmline.client.session_door_lane import OwnDoor
from warmline.client.vault import Vault, open_vault
from warmline.env import SeededRng, SystemRng, run_in_thread
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.xwing import SealingKey

SETTINGS = SessionSettings(
    request=10.0,
    create=20.0,
    retry_first=0.3,
    retry_max=3.0,
    goodbye=3.0,
    second_queue_ms=4_000,
    still_waiting=8.0,
    queue_silence=8.0,
    log_silence=8.0,
    queue_life_ms=15 * 60_000,
)
"""As shipped but for shorter times: the second queue after 4 s instead of 60, a silent node replaced after 8 s."""
REPORT_EVERY = 0.5
FAR_MS = 400 * 24 * 3600_000


@dataclass
class Leg:
    """One speaker of one conversation, over all its sessions."""

    talk: plan.Talk
    who: str
    said: int = 0

    @property
    def left(self) -> int:
        return self.talk.counts[self.who] - self.said


@dataclass
class Peers:
    """What other programs told of a conversation."""

    left: dict[str, int]
    done: dict[str, int] = field(default_factory=dict)
    """The last session number that each speaker is done with."""
    open: int = -1
    """The number of the room that is open."""


class Memory:
    """What the journal of this program's former lives says."""

    def __init__(self, path: Path) -> None:
        self.lives = 0
        self.sent: dict[tuple[str, str], dict[str, int]] = {}
        """(talk, speaker) to the keys that were sent, with the session's number."""
        self.unsure: dict[tuple[str, str], tuple[str, int]] = {}
        """What was being said when the program died."""
        self.last: dict[str, int] = {}
        self.shown = 0
        self.states: dict[bytes, str] = {}
        for line in lines_of(path) if path.exists() else ():
            self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        what, where = line["what"], (line.get("talk", ""), line.get("who", ""))
        if what == "began":
            self.lives += 1
        elif what == "saying":
            self.unsure[where] = (line["key"], line["number"])
        elif what in ("sent", "not taken", "unsure"):
            self.unsure.pop(where, None)
            if what == "sent":
                self.sent.setdefault(where, {})[line["key"]] = line["number"]
                self.states.setdefault(bytes.fromhex(line["id"]), "waiting")
        elif what == "state":
            self.states[bytes.fromhex(line["id"])] = fate(line["state"], line["last"])
        elif what == "shown":
            self.shown += 1
        if "number" in line:
            self.last[where[0]] = max(line["number"], self.last.get(where[0], -1))


def fate(state: str, last: bool) -> str:
    return "left held" if state == "held" and last else state


class Person:
    """What all programs of people share."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.seed: int = config["seed"]
        self.group: int = config["group"]
        self.folder = folder = Path(config["folder"])
        self.memory = Memory(folder / "journal.jsonl")
        self.journal = Journal(folder / "journal.jsonl")
        self.journal.write("began")
        self.clock = ShiftedClock(folder / "clock")
        self.rng = SystemRng()
        self.talks = {talk.name: talk for talk in plan.talks_of(self.seed, config["messages"])}
        self.peers = {name: Peers(dict(talk.counts)) for name, talk in self.talks.items()}
        self.news = trio.Event()
        self.finishing = False
        self.counts: Counter[str] = Counter()
        self.states = self.memory.states
        self.counts["said"] = sum(map(len, self.memory.sent.values()))
        self.counts["shown"] = self.memory.shown
        self.vault: Vault | None = None

    def open_vault(self, stack: ExitStack) -> None:
        """Where this person's conversations are kept, if they are."""
        if self.config["kept"]:
            opening = open_vault(self.folder / "vault", rng=self.rng, clock=self.clock, passphrase=lambda: "slow river")
            self.vault = stack.enter_context(opening)

    def leg(self, talk: plan.Talk, who: str) -> Leg:
        """As it stood when this program's last life ended."""
        leg = Leg(talk, who, len(self.memory.sent.get((talk.name, who), ())))
        self.peers[talk.name].left[who] = leg.left
        return leg

    # -- the parties

    @property
    def nodes(self) -> list[QueueNode]:
        return [
            QueueNode(NodeAddress(node["peer_id"], (node["addr"],)), node["operator"]) for node in self.config["nodes"]
        ]

    def client(self) -> Client:
        routes = Routes(tuple(self.config["entries"]), rng=self.rng, clock=self.clock)
        nodes = self.nodes
        provider = MlsRsProvider(self.rng.bytes)
        return Client(routes, lambda: nodes, provider, self.rng, self.clock, run_in_thread, SETTINGS)

    def supporter_key(self, group: str) -> SigningKey:
        return SigningKey(SeededRng(f"{self.seed} supporter {group}").bytes(32))

    def contact_key(self, group: str) -> SealingKey:
        return SealingKey(SeededRng(f"{self.seed} contact {group}").bytes(32))

    def doors(self, group: str) -> list[OwnDoor]:
        rng = SeededRng(f"{self.seed} doors {group}")
        return [OwnDoor(node.address, SigningKey(rng.bytes(32))) for node in rng.sample(self.nodes, 2)]

    def contact(self, group: str) -> Contact:
        doors = tuple(QueueAddress(each.node, each.door.door, bytes(32)) for each in self.doors(group))
        return Contact(self.supporter_key(group).public, self.contact_key(group).public, doors)

    # -- what others say

    def change(self) -> None:
        news, self.news = self.news, trio.Event()
        news.set()

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await self.news.wait()

    def tell(self, leg: Leg, number: int, *, done: bool) -> None:
        fact = {"talk": leg.talk.name, "who": leg.who, "number": number, "left": leg.left, "done": done}
        self.hear(fact)
        say(fact)

    def hear(self, wish: dict[str, Any]) -> None:
        if wish.get("do") == "finish":
            self.finishing = True
        elif "talk" in wish:
            peers = self.peers[wish["talk"]]
            peers.left[wish["who"]] = wish["left"]
            if wish["done"]:
                peers.done[wish["who"]] = max(wish["number"], peers.done.get(wish["who"], -1))
            elif wish["who"] == "host":
                peers.open = wish["number"]
        self.change()

    async def listen_to_driver(self) -> None:
        rest = b""
        async for chunk in trio.lowlevel.FdStream(os.dup(0)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.hear(json.loads(line))
        os._exit(3)  # the driver is gone

    async def change_forever(self) -> None:
        """For what is told by no event."""
        while True:
            self.change()
            await trio.sleep(REPORT_EVERY)

    async def report_forever(self) -> None:
        while True:
            self.report()
            await trio.sleep(REPORT_EVERY)

    def report(self) -> None:
        say({"counts": {**self.counts, **{f"state {name}": n for name, n in Counter(self.states.values()).items()}}})

    def over(self, talk: plan.Talk) -> bool:
        """Whether everybody said everything."""
        return self.finishing or not any(self.peers[talk.name].left.values())


def say(data: dict[str, Any]) -> None:
    """One line to the driver."""
    os.write(1, json.dumps(data).encode() + b"\n")
