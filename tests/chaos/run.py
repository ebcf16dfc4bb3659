"""The whole product under random faults: ``python tests/chaos/run.py --messages 100000 --seed N``; see README.md."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.account import Account, account_of
from chaos.faults import Weather
from chaos.fleet import READY, Fleet, PersonSeat, open_fleet
from chaos.picture import Picture
from chaos.plan import GROUPS, KINDS, faults_of
from warmline.daemon import control
from warmline_protocol.errors import WarmlineError

ROLES = ("supporters", "seekers", "circle")
ENTRIES = 3


@dataclass(frozen=True)
class Options:
    """What a run is asked to do."""

    seed: int
    messages: int
    folder: Path
    nodes: int = 8
    kinds: tuple[str, ...] = tuple(KINDS)
    settle: float = 300.0
    """Seconds without any progress, after the weather cleared, that count as a hang."""
    limit: float = 24 * 3600.0


class Run:
    """One run from the first process to the verdict."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.account: Account | None = None
        self.problems: list[str] = []
        self.schedule: list[str] = []
        self.interrupted = self.stop = False
        self.began = time.monotonic()

    def log(self, line: str) -> None:
        """Part of the schedule of faults as it happened."""
        line = f"{time.time():.3f} {time.monotonic() - self.began:8.2f} s  {line}"
        self.schedule.append(line)
        with (self.options.folder / "schedule.log").open("a") as file:
            file.write(line + "\n")

    async def run(self) -> None:
        options = self.options
        async with open_fleet(options.folder) as fleet, trio.open_nursery() as nursery:
            nursery.start_soon(self._until_interrupt, fleet, nursery)
            await self._start(fleet, nursery)
            kinds = {kind: weight for kind, weight in KINDS.items() if kind in options.kinds}
            faults = faults_of(options.seed, options.messages, options.nodes, len(fleet.people), kinds)
            weather = Weather(fleet, faults, lambda: picture.totals()["said"], self.log)
            picture = Picture(fleet, weather, options.messages, options.seed)
            nursery.start_soon(_paint, picture)
            for person in fleet.people:
                nursery.start_soon(self._watch, fleet, person)
            nursery.start_soon(self._watch_network, fleet)
            with trio.move_on_after(options.limit) as limit:
                await self._storm_and_calm(fleet, weather, picture)
            if limit.cancelled_caught:
                self.problems.append(f"not over within {options.limit:g} s")
            self.problems += fleet.deaths
            picture.paint()
            nursery.cancel_scope.cancel()
        self.account = await trio.to_thread.run_sync(account_of, options.folder, options.seed)

    async def _start(self, fleet: Fleet, nursery: trio.Nursery) -> None:
        print(f"seed {self.options.seed}, logs in {self.options.folder}", flush=True)
        await fleet.open_network(self.options.nodes)
        fleet.furnish()
        for node in fleet.nodes:
            nursery.start_soon(fleet.keep_node, node)
        with trio.fail_after(READY):
            for node in fleet.nodes:
                while not await _knows_all(node, len(fleet.nodes)):
                    if fleet.deaths:
                        raise RuntimeError(f"{fleet.deaths}: {_tail(self.options.folder / f'{node.name}.log')}")
                    await trio.sleep(0.2)  # noqa: ASYNC110 - a node tells nobody when it knows enough others
        draw = random.Random(f"{self.options.seed} entries")
        for group in range(GROUPS):
            for role in ROLES:
                await self._start_person(fleet, f"{role}{group}", role, group, draw)

    async def _start_person(self, fleet: Fleet, name: str, role: str, group: int, draw: random.Random) -> None:
        folder = self.options.folder / name
        folder.mkdir()
        config = {
            "name": name,
            "role": role,
            "group": group,
            "kept": group == 0 and role != "circle",
            "seed": self.options.seed,
            "messages": self.options.messages,
            "folder": str(folder),
            "entries": [node.addr_at(await fleet.port(node, name)) for node in draw.sample(fleet.nodes, ENTRIES)],
            "nodes": [
                {"peer_id": node.peer_id, "addr": node.addr, "operator": f"operator {node.number}"}
                for node in fleet.nodes
            ],
        }
        (folder / "config.json").write_text(json.dumps(config))
        seat = PersonSeat(name, folder / "config.json", config["kept"])
        fleet.people.append(seat)
        await fleet.run_person(seat)

    async def _storm_and_calm(self, fleet: Fleet, weather: Weather, picture: Picture) -> None:
        async with trio.open_nursery() as nursery:
            storm = trio.CancelScope()

            async def faults() -> None:
                with storm:
                    await weather.run()

            nursery.start_soon(faults)
            await fleet.until(lambda: self.interrupted or self._all_said(fleet, picture))
            storm.cancel()
        await self._heal(fleet)
        if self.interrupted:
            for person in fleet.people:
                if person.running is not None:
                    await person.running.tell({"do": "finish"})
        await self._settle(fleet, picture)

    def _all_said(self, fleet: Fleet, picture: Picture) -> bool:
        people = {person.name for person in fleet.people}
        return picture.totals()["said"] >= self.options.messages or people <= fleet.finished or bool(self.problems)

    async def _heal(self, fleet: Fleet) -> None:
        """Everything works again, so that what is still open can end."""
        self.log("calm")
        assert fleet.network is not None
        await fleet.network.tell({"links": []})
        for node in fleet.nodes:
            node.wanted = True
            node.clock.set(0)
            node.empty()
            node.limit(-1)
            node.state.clear()
        for person in fleet.people:
            if not person.wanted:
                await fleet.run_person(person)
        fleet.change()

    async def _settle(self, fleet: Fleet, picture: Picture) -> None:
        def busy() -> list[str]:
            return sorted(each.name for each in fleet.people if each.alive and each.name not in fleet.finished)

        while busy():
            before = picture.totals()
            with trio.move_on_after(self.options.settle):
                await fleet.until(lambda: not busy() or picture.totals() != before)  # noqa: B023 - awaited at once
                continue
            self.problems.append(f"nothing moves any more; not finished: {', '.join(busy())}")
            return

    async def _watch(self, fleet: Fleet, person: PersonSeat) -> None:
        await fleet.until(lambda: person.wanted and not person.alive)
        if person.name not in fleet.finished:
            self.problems.append(f"{person.name} ended by itself: {_tail(self.options.folder / f'{person.name}.log')}")
            self.interrupted = True
            fleet.change()

    async def _watch_network(self, fleet: Fleet) -> None:
        network = fleet.network
        assert network is not None
        await network.ended.wait()
        self.problems.append(f"the network ended by itself: {_tail(self.options.folder / 'network.log')}")
        self.interrupted = True
        fleet.change()

    async def _until_interrupt(self, fleet: Fleet, nursery: trio.Nursery) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if self.stop:
                    nursery.cancel_scope.cancel()
                print("\ninterrupted: healing and leaving, the account follows (once more: end at once)", flush=True)
                self.interrupted = self.stop = True
                fleet.change()

    # -- the verdict

    @property
    def good(self) -> bool:
        return self.account is not None and not self.account.violations and not self.problems

    def report(self) -> None:
        account = self.account
        assert account is not None
        print("\n".join(["", *account.table()]))
        for problem in self.problems:
            print(f"PROBLEM: {problem}")
        for what, key in account.violations[:20]:
            print(f"VIOLATION: {key or '?'} {what}")
        if account.violations:
            key = account.violations[0][1]
            print(f"\nhistory of {key}:", *account.history(key, self.options.folder), sep="\n  ")
        if not self.good:
            print(f"\nfaults as they came ({self.options.folder / 'schedule.log'}):", *self.schedule[-60:], sep="\n  ")
        verdict = "every message is accounted for" if self.good else "NOT GOOD"
        partial = " (interrupted)" if self.interrupted else ""
        took = time.monotonic() - self.began
        print(
            f"\nchaos: {verdict}{partial}; seed {self.options.seed}, {len(account.messages)} messages, "
            f"{sum('begin' in line for line in self.schedule)} faults, {took:.0f} s; logs: {self.options.folder}"
        )


async def _paint(picture: Picture) -> None:
    while True:
        picture.paint()
        await trio.sleep(1)


async def _knows_all(node: object, count: int) -> bool:
    try:
        status = await control.ask(node.home.socket, "status")  # type: ignore[attr-defined]
    except WarmlineError:
        return False
    return bool(status["nodes_known"] >= count)


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-1500:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--faults", default=",".join(KINDS), help="kinds of faults, with commas; empty: none")
    parser.add_argument("--folder", type=Path, default=None, help="where logs and journals go; default: a new one")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if asked.seed is None else asked.seed
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="warmline-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    kinds = tuple(kind for kind in asked.faults.split(",") if kind)
    run = Run(Options(seed, asked.messages, folder, asked.nodes, kinds))
    trio.run(run.run)
    run.report()
    return 0 if run.good else 1


if __name__ == "__main__":
    sys.exit(main())
