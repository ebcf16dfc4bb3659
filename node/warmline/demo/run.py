"""Plays the story from the first act to the last, and leaves nothing running and nothing lying about."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio
from rich.console import Console

from warmline.demo import conversations, evidence, steps
from warmline.demo.casting import PASSPHRASE, Programme, read_programme
from warmline.demo.evidence import Row
from warmline.demo.processes import StepFailedError, open_fleet
from warmline.demo.stage import Stage, all_of
from warmline.demo.steps import Step
from warmline.demo.tables import Outcome, Teller, as_data
from warmline_protocol.errors import WarmlineError

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended."""
TOTAL = 240.0
"""Seconds after which the whole story is given up, however busy the machine."""

ACTS: tuple[tuple[Step, ...], ...] = (
    (Step("chain", "a chain for development starts", steps.chain),),
    (
        Step("nodes", "nodes of different operators start and find each other", steps.nodes),
        Step("credentials", "an issuer credentials two supporters, who bond", steps.credentials),
    ),
    (Step("cards", "the supporters put their cards out", steps.cards),),
    (Step("publish", "they publish a week of groups", steps.publish),),
    (
        Step("find", "four seekers who know one node look for groups", steps.find),
        Step("duty", "the supporters go on duty", steps.duty),
    ),
    (
        Step("room", "two seekers and a supporter meet in a room", conversations.room),
        Step("one_to_one", "a seeker and a supporter talk one to one", conversations.one_to_one),
    ),
    (Step("node_dies", "the node that holds their queue is killed while they talk", conversations.node_dies),),
    (Step("goodbye", "they say goodbye; every message is accounted for", conversations.goodbye),),
    (Step("revoke", "a credential is revoked", steps.revoke),),
)


@dataclass(frozen=True, slots=True)
class Options:
    programme: Path
    nodes: int
    keep: bool
    as_json: bool


class Play:
    """One performance."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        self.stage = stage
        self.rows: list[Row] = []
        self.outcomes = [Outcome(step.key, step.name) for act in ACTS for step in act]
        self.outcomes.append(Outcome("evidence", "what each party saw is read and compared"))
        self._teller = teller

    @property
    def ok(self) -> bool:
        return all(outcome.ok for outcome in self.outcomes) and not any(row.wrong for row in self.rows)

    async def perform(self) -> None:
        """All acts, until one fails."""
        for act in ACTS:
            async with trio.open_nursery() as nursery:
                for step in act:
                    nursery.start_soon(self._play, step.key, partial(step.play, self.stage))
            if any(outcome.problem for outcome in self.outcomes):
                return
        await self._play("evidence", self._evidence)

    async def _evidence(self) -> str:
        await self.stage.remember()
        self.rows = await evidence.gather(self.stage)
        wrong = [trace for row in self.rows for trace in row.wrong]
        if wrong:
            raise StepFailedError(f"{len(wrong)} traces that may not be there, the first: {wrong[0]}")
        return "stores, logs, memory of peers, sockets and chain hold what they may, and no more"

    async def _play(self, key: str, play: Any) -> None:
        outcome = next(one for one in self.outcomes if one.key == key)
        begin = trio.current_time()
        self._teller.begun(outcome)
        try:
            outcome.said = await play()
        except (WarmlineError, OSError, BaseExceptionGroup) as error:
            _explain(outcome, error)
        finally:
            outcome.seconds = trio.current_time() - begin
            self._teller.done(outcome)


def _explain(outcome: Outcome, error: BaseException) -> None:
    """Put a step's failure into words; what is no failure of a step (cancellation, a defect of ours) goes on."""
    cause = error
    while isinstance(cause, BaseExceptionGroup):
        ours = [one for one in cause.exceptions if isinstance(one, (WarmlineError, OSError, BaseExceptionGroup))]
        if not ours:
            raise error
        cause = ours[0]
    if isinstance(cause, WarmlineError):
        outcome.problem, outcome.hint = cause.message, cause.hint
    else:
        outcome.problem, outcome.hint = str(cause), "See the logs."


@dataclass(slots=True)
class _Ending:
    """How the program ends, as far as that is known. A defect of the demo itself is a failure too."""

    code: int = 1


async def run_demo(options: Options) -> int:
    """Play it; the exit code. SIGTERM, SIGHUP and Ctrl-C end every program first."""
    programme = read_programme(options.programme)
    folder = Path(tempfile.mkdtemp(prefix="warmline-demo-"))
    ending = _Ending()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_signal, nursery.cancel_scope, ending)
            await _perform(options, programme, folder, ending)
            nursery.cancel_scope.cancel()
    finally:
        if ending.code in (0, INTERRUPTED):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"The logs are kept in {folder / 'logs'}", file=sys.stderr)
    return ending.code


async def _until_signal(scope: trio.CancelScope, ending: _Ending) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            ending.code = ending.code and INTERRUPTED  # after a good end, with --keep, it is how one leaves
            scope.cancel()
            return


async def _perform(options: Options, programme: Programme, folder: Path, ending: _Ending) -> None:
    console = Console(highlight=False)
    teller = Teller(console, silent=options.as_json)
    begin = trio.current_time()
    async with open_fleet(folder / "logs") as fleet:
        stage = Stage.of(folder, fleet, programme, options.nodes, teller.note)
        play = Play(stage, teller)
        teller.note(f"Everything of this demo is in {folder}")
        with trio.move_on_after(TOTAL) as whole:
            await play.perform()
        if whole.cancelled_caught:
            _give_up(play)
        total = trio.current_time() - begin
        _report(options, teller, play, total)
        if play.ok:
            ending.code = 0
            if options.keep:
                await _keep(stage, console)


def _give_up(play: Play) -> None:
    unfinished = next((one for one in play.outcomes if not one.ok and not one.problem), None)
    if unfinished is not None:
        unfinished.problem = f"not finished when {TOTAL:g} s had passed"
        unfinished.hint = "Run it on a machine that is less busy."


def _report(options: Options, teller: Teller, play: Play, total: float) -> None:
    if options.as_json:
        import json

        print(json.dumps(as_data(play.stage, play.outcomes, play.rows, total), ensure_ascii=False))
    else:
        teller.tables(play.stage, play.outcomes, play.rows, total)


async def _keep(stage: Stage, console: Console) -> None:
    """Leave nodes and chain running until Ctrl-C, and say what one can do with them."""
    if stage.killed is not None:
        await steps.start_node(stage, stage.killed)
    await all_of([seat.on_duty.end for seat in stage.supporters])
    console.print("\nThe network keeps running until you press Ctrl-C here. In other terminals:", style="bold")
    program = "warmline" if shutil.which("warmline") else str(Path(sys.executable).with_name("warmline"))
    for words, command in _to_play_with(stage, program):
        console.print(f"\n  {words}")
        console.print(f"    {command}", soft_wrap=True, markup=False)
    await trio.sleep_forever()


def _to_play_with(stage: Stage, program: str) -> Sequence[tuple[str, str]]:
    seat, entry, other = stage.supporters[0], stage.bootstrap.addr, stage.entry_of_supporters.addr
    name = seat.role.name
    return (
        (
            f"Be {name}, on duty (the passphrase is: {PASSPHRASE})",
            f"{program} supporter duty --data {seat.folder} --entry {other}",
        ),
        ("Find groups", f"{program} groups find --entry {entry}"),
        (f"Talk to {name}, as a seeker", f"{program} talk --with {name} --entry {entry}"),
        (f"Knock at {name}'s room", f"{program} groups join {stage.programme.room.id} --entry {entry}"),
        ("See the network as an operator", f"{program} node mesh --data {stage.bootstrap.home.folder}"),
        ("Add a node of your own", f"{program} node run --data ./my-node --bootstrap {entry}"),
        ("The chain answers at", stage.chain_url),
    )
