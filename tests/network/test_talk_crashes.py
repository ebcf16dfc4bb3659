"""A seeker's machine dies at every step at which its client writes to the disk: nothing is lost, doubled or silent.

Real processes, real SIGKILL, real files: see ``support.dying``.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.commands import Lines, Network, a_network, with_passphrase

KEEPING = "four quiet winter rivers"
STEPS = 13 if os.environ.get("WARMLINE_EVERY_STEP") else 10
WHEN = ("before", "during", "after")
HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with a_network(tmp_path_factory.mktemp("crashes"), 3) as made:
        yield made


class Dying(Lines):
    """A `warmline talk` that dies at a step, or does not (step 0)."""

    def __init__(self, folder: Path, entry: tuple[str, ...], step: int, when: str, *options: str) -> None:
        self.over = False
        passphrase, fd = with_passphrase(KEEPING)
        words = ("talk", "--adult", "--json", "--data", str(folder), *options, *entry, *passphrase)
        super().__init__(
            [sys.executable, "-m", "support.dying", str(step), when, *words],
            log=folder.with_suffix(".log"),
            fds=[fd],
            env={"PYTHONPATH": str(HERE)},
        )
        os.close(fd)

    def until(self, event: str, **wanted: Any) -> dict[str, Any] | None:
        """The next such event; None where the process died first."""
        while (line := self._take()) is not None:
            said: dict[str, Any] = json.loads(line)
            if said.get("event") == event and wanted.items() <= said.items():
                return said
        return None

    def _take(self) -> str | None:
        line = None if self.over else self._queue.get(timeout=60)
        self.over = line is None
        if line is not None:
            self.heard.append(line)
        return line

    def do(self, **wish: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(wish) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died already

    def rest(self) -> None:
        """Read what it still said, after its end."""
        while self._take() is not None:
            pass

    def events(self, event: str) -> list[dict[str, Any]]:
        return [said for said in map(json.loads, self.heard) if said.get("event") == event]


@pytest.mark.timeout(290)
@pytest.mark.parametrize(
    "when", ["before", "during", "after"] if os.environ.get("WARMLINE_EVERY_STEP") else ["in turn"]
)
def test_every_message_is_accounted_for_wherever_it_dies(network: Network, tmp_path: Path, when: str) -> None:
    """Each step is cut before, during or after its write in turn; WARMLINE_EVERY_STEP=1 cuts each in all three ways."""
    duty = network.duty(network.supporter(f"Marta {when}"))
    folder = tmp_path / "river"
    first = Dying(folder, network.entry, 0, when, "--with", f"Marta {when}", "--name", "River", "--keep")
    duty.do(do="accept", to=duty.wait("knock")["knock"])
    assert first.until("joined") is not None
    duty.wait("joined")
    assert first.process.stdin is not None
    first.process.stdin.close()
    assert first.process.wait(30) == 0
    runs = [first]
    said_by_her, said_by_him = [], []
    for step in range(1, STEPS):
        how = WHEN[step % 3] if when == "in turn" else when
        run = Dying(folder, network.entry, step, how, "--resume")
        runs.append(run)
        said_by_him.append(f"his {step}")
        said_by_her.append(f"hers {step}")
        run.do(do="say", text=said_by_him[-1])
        duty.do(do="say", text=said_by_her[-1])
        if run.until("text_received", text=said_by_her[-1]) is not None:
            run.until("message_state", state="delivered")
        if run.process.poll() is None:  # it had less to write than that
            run.process.stdin.close()  # type: ignore[union-attr]
        assert run.process.wait(60) in (-9, 0)
        run.rest()
    last = Dying(folder, network.entry, 0, when, "--resume")
    runs.append(last)
    last.do(do="say", text="the last")
    while last.until("message_state", state="delivered", id=_id_of(last, "the last")) is None:
        raise AssertionError("the last run died")
    duty.wait("text_received", text="the last")
    last.do(do="leave")
    assert last.process.wait(30) == 0
    last.rest()
    assert sum(run.process.returncode == -9 for run in runs) >= STEPS // 2
    _account_for_his(runs, duty.heard)
    _account_for_hers(runs, said_by_her)
    duty.hang_up()


def _id_of(run: Dying, text: str) -> str:
    sent = run.until("sent", text=text)
    assert sent is not None
    return str(sent["id"])


def _account_for_his(runs: list[Dying], heard: list[str]) -> None:
    """What he said arrived once: all of which his client said that it was sent, and nothing twice."""
    sent = {each["text"] for run in runs for each in run.events("sent")}
    arrived = Counter(each["text"] for each in map(json.loads, heard) if each.get("event") == "text_received")
    assert sent <= set(arrived)
    assert set(arrived.values()) == {1}
    # What he typed and did not see as sent is in the transcript if, and only if, it went out.
    earlier = {each["said"] for each in runs[-1].events("earlier") if each["mine"]}
    assert earlier == set(arrived) - {"the last"}


def _account_for_hers(runs: list[Dying], said: list[str]) -> None:
    """What she said was shown: marked where a run before this one may have shown it."""
    shown: set[str] = set()
    for run in runs:
        now = run.events("text_received")
        for each in now:
            assert each["again"] or each["text"] not in shown, each
        assert len({each["text"] for each in now}) == len(now)
        shown |= {each["text"] for each in now}
    assert shown == set(said)
