"""An epoch of feedback from conversations to a root that stands, and everybody in it a process of their own.

Nodes, the chain, a supporter on duty and three collectors are `warmline` as shipped, by a clock that is put forward;
seekers go over real circuits. One collector is killed while it reads its drops, another right after it announced.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from chaos.clocks import ShiftedClock
from support import ahead
from support.chain import warmline
from support.commands import PASSPHRASE, Lines, Node, Program, run, secrets_of
from warmline.chain import deployer
from warmline.chain.conduct import ConductChain, ConductNow
from warmline.chain.devchain import COLLECTORS, dev_terms
from warmline.chain.manifest import read_manifest
from warmline.chain.plans import dev_plan
from warmline.chain.provider import open_rpc
from warmline.chain.wallet import dev_wallet
from warmline.cli.root import command
from warmline.client.feedback import SeekerSide, seeker_side
from warmline.client.line import Line, pick_up
from warmline.client.matching import Supporter, Wanted
from warmline.client.rating import can_rate, rate
from warmline.client.reaching import contact_of
from warmline.client.session import Persona, open_session
from warmline.client.session_events import FeedbackNone, FeedbackReady
from warmline.env import SystemRng, run_in_thread
from warmline_protocol.feedback.epochs import Epochs

EPOCH_S, WINDOW_S = 3000, 120
PATIENCE = 480.0
GOVERNANCE, ISSUER, MARTA = 8, 1, 4
ANSWERS = 10
"""So many are published at once."""


@dataclass
class Town:
    """Everybody's processes; ``clock`` is all of theirs."""

    folder: Path
    stack: ExitStack
    clock: ShiftedClock
    nodes: list[Node] = field(default_factory=list)
    url: str = ""

    @property
    def prefix(self) -> tuple[str, ...]:
        return ahead.prefix(self.folder / "clock")

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def chain(self) -> tuple[str, ...]:
        return "--chain", self.url, "--manifest", str(self.manifest)

    def served(self, number: int) -> Path:
        return self.folder / f"collector{number}" / "served"

    def start_chain(self) -> None:
        words = ("chain", "dev", "--data", str(self.folder / "chain"), "--port", "0", "--period", "3", "--json")
        process = Lines([*self.prefix, *warmline(*words)], log=self.folder / "chain.log")
        self.stack.callback(process.close)
        self.url = json.loads(process.next_line())["url"]
        trio.run(self._deploy)

    async def _deploy(self) -> None:
        plan = dev_plan(replace(dev_terms(), epoch_s=EPOCH_S, window_s=WINDOW_S))
        async with open_rpc(self.url) as rpc:
            await deployer.deploy(rpc, dev_wallet(GOVERNANCE), plan, self.manifest, run_in_thread)

    def start_node(self) -> None:
        """Each hands out what one collector lays out; the first has the issuer's keys too."""
        number = len(self.nodes)
        home = self.folder / f"node{number}"
        join = ("--bootstrap", self.nodes[0].join) if self.nodes else ()
        words = ("--operator", f"House {number}", "--listen", "/ip4/127.0.0.1/tcp/0", *join, *self.chain)
        ok("node", "init", "--data", str(home), *words)
        text = (home / "config.toml").read_text()
        values = {"collector": self.served(number)} | ({"keys": self.folder / "keys"} if number == 0 else {})
        for name, value in values.items():
            text, changed = re.subn(rf'(?m)^#? ?{name} = ""$', f'{name} = "{value}"', text)
            assert changed == 1, name
        (home / "config.toml").write_text(text)
        node = Node(home, prefix=self.prefix)
        self.stack.callback(node.close)
        self.nodes.append(node)

    def collector(self, number: int) -> Program:
        """Its entry is not the node that it is served by."""
        words = ("--dev-account", str(COLLECTORS[number]), "--data", str(self.folder / f"collector{number}"))
        words += ("--node", self.nodes[number].join, "--entry", self.nodes[(number + 1) % 3].join, *self.chain)
        program = Program(self.served(number).parent, "collector", "run", *words, prefix=self.prefix)
        self.stack.callback(program.close)
        return program

    def marta(self) -> Program:
        """A supporter with a credential, vouchers and a card, on duty."""
        home, by = ("--data", str(self.folder / "marta")), ("--dev-account", str(ISSUER), *self.chain)
        ok("issuer", "admit", dev_wallet(ISSUER).shown, "--dev-account", str(GOVERNANCE), *self.chain, "--json")
        ok("issuer", "register", "--type", "peer", *by, "--json")
        ok("issuer", "issue", dev_wallet(MARTA).shown, "peer", "--days", "90", *by, "--json")
        ok("supporter", "register", "--dev-account", str(MARTA), *home, *self.chain, "--json")
        for more in ((), ("--next",)):
            ok("issuer", "vouchers", "peer", "--each", "20", "--keys", str(self.folder / "keys"), *more, *by, "--json")
        ok("supporter", "feedback", dev_wallet(ISSUER).shown, self.nodes[0].join, *home)
        entry = ("--entry", self.nodes[1].join)
        said = ("--name", "Marta", "--language", "en", "--topic", "grief", "--credential", "peer")
        ok("supporter", "card", *said, *home, *entry, passphrase=PASSPHRASE)
        words = ("supporter", "duty", "--seats", "6", *home, *entry)
        program = Program(self.folder, *words, passphrase=PASSPHRASE, prefix=self.prefix)
        self.stack.callback(program.close)
        program.wait("on_duty", PATIENCE)
        return program

    def at(self, second: int) -> None:
        """Put everybody's clock forward."""
        self.clock.set(max(self.clock.offset_ms, second * 1000 - time.time_ns() // 1_000_000))

    async def seen(self) -> tuple[ConductNow, Epochs]:
        async with open_rpc(self.url) as rpc:
            chain = ConductChain(rpc, read_manifest(self.manifest))
            return await chain.now(), (await chain.terms())[0]

    def wait_seen(self, wanted: Callable[[ConductNow], bool]) -> ConductNow:
        ends = time.monotonic() + PATIENCE
        while True:
            seen, _ = trio.run(self.seen)
            if wanted(seen):
                return seen
            assert time.monotonic() < ends, seen.posts
            time.sleep(1)

    async def signers(self, root: bytes) -> int:
        """How many collectors signed what was posted under this root."""
        async with open_rpc(self.url) as rpc:
            chain = ConductChain(rpc, read_manifest(self.manifest))
            await chain.now()
            (post,) = [log for log in chain._logs if root.hex() in log["data"]]
            sent = await rpc.call("eth_getTransactionByHash", post["transactionHash"])
            _, given = chain._contract("ConductEpochs").decode_function_input(sent["input"])
            return len(given["signers"])


def ok(*words: str, passphrase: str = "") -> None:
    """A command that works, in this process; the clock was not put forward yet."""
    options, _ = secrets_of(passphrase, "")
    done = CliRunner().invoke(command, [*words, *options], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert done.exit_code == 0, done.output


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with ExitStack() as stack:
        made = Town(tmp_path, stack, ShiftedClock(tmp_path / "clock"))
        made.start_chain()
        for number, account in enumerate(COLLECTORS):
            home = ("--data", str(made.served(number).parent))
            ok("supporter", "register", "--dev-account", str(account), *home, *made.chain, "--json")
            made.served(number).mkdir()
            made.start_node()
        for node in made.nodes:
            node.wait_status("nodes_known", lambda known: known == 3)
        yield made


# -- people


async def talk_to(town: Town, duty: Program) -> None:
    """Ten conversations with Marta, each with a token first and an answer at two collectors last."""
    line = await pick_up((town.nodes[2].join,), rng=SystemRng(), clock=town.clock, run_blocking=run_in_thread)
    with trio.fail_after(PATIENCE):
        while (who := await _ready(line)) is None:  # noqa: ASYNC110 - it follows the chain in the nodes' own time
            await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer, duty)
            turns = trio.Semaphore(3)
            async with trio.open_nursery() as seekers:
                for number in range(ANSWERS):
                    seekers.start_soon(_talk, line, who, number, turns)
            nursery.cancel_scope.cancel()


async def _ready(line: Line) -> Supporter | None:
    """Marta, once three operators vouch for her and tell of this epoch's vouchers, and every collector is found."""
    collection, _ = await line.finder.collect(Wanted())
    for who in collection.supporters(Wanted(), line.client.clock.utc_ms()):
        side = seeker_side(who)
        if side is not None and len(side.conduct.roots) == 2 and len(side.collectors) == len(COLLECTORS):
            return who
    return None


async def _answer(duty: Program) -> None:
    while True:
        knock = await trio.to_thread.run_sync(duty.wait, "knock", PATIENCE, abandon_on_cancel=True)
        duty.do(do="accept", to=knock["knock"])


async def _talk(line: Line, who: Supporter, number: int, turns: trio.Semaphore) -> None:
    side: SeekerSide | None = seeker_side(who)
    assert side is not None
    me = Persona(f"Moss {number}", bytes(16))
    async with turns:
        async with open_session(line.client, contact_of(who), me=me, line="hello", feedback=side) as session:
            async for event in session.events:
                assert not isinstance(event, FeedbackNone), event
                if isinstance(event, FeedbackReady):
                    break
        assert can_rate(side)
        left = await rate(line.client, side, number > 3)
    assert (left.reached, left.meant) == (2, 2)


# -- the epoch


@pytest.mark.timeout(1200)
def test_an_epoch_ends_between_processes_though_two_collectors_are_killed(town: Town) -> None:
    collectors = [town.collector(number) for number in range(3)]
    duty = town.marta()
    for each in collectors:
        each.wait("published", PATIENCE)
    trio.run(talk_to, town, duty)
    _, epochs = trio.run(town.seen)

    # Every answer is in a drop and shows in epoch 2 only. The third collector dies somewhere in reading them.
    town.at(epochs.end(2) - 30)
    time.sleep(1)
    collectors[2].end(signal.SIGKILL)
    collectors[2] = town.collector(2)
    town.at(epochs.end(2) + 1)
    collectors[1].wait("announced", PATIENCE)
    collectors[1].end(signal.SIGKILL)
    collectors[1] = town.collector(1)

    seen = town.wait_seen(lambda now: bool(now.posts))
    (post,) = seen.posts
    assert (post.epoch, post.tokens) == (2, ANSWERS)
    assert trio.run(town.signers, post.root) >= seen.threshold == 2
    town.at(post.stands_at_s + 1)
    for each in collectors:
        assert each.wait("settled", PATIENCE)["tokens"] == ANSWERS

    # Somebody who trusts none of them computes it again.
    third = ("--data", str(town.folder / "third"), "--entry", town.nodes[0].join, *town.chain, "--json")
    done = run("conduct", "recompute", *third, prefix=town.prefix)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["state"]["epochs"]
    assert (row["found"], row["state"], row["root"]) == ("matches", "stands", "0x" + post.root.hex())
    for each in collectors:
        assert each.end(signal.SIGINT) == 130
        assert not [line for line in each.heard if "objection" in line]
