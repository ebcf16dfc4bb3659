"""How the demo ends when a step fails: it says which, keeps the logs, and nothing runs on."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio

from warmline.demo import run
from warmline.demo.processes import Program, StepFailedError, open_fleet
from warmline.demo.run import Options, run_demo
from warmline.demo.stage import Stage
from warmline.demo.steps import Step

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "weekly_programme.toml"
SLEEPER = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


async def goes_well(stage: Stage) -> str:
    await trio.lowlevel.checkpoint()
    return "went well"


async def fails(stage: Stage) -> str:
    await trio.Path(stage.fleet.logs / "somebody.err").write_text("the reason")
    raise StepFailedError("somebody did not say 'ready' within 5 s", hint="Its log is somebody.err.")


async def fails_in_a_group(stage: Stage) -> str:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(goes_well, stage)
        nursery.start_soon(fails, stage)
    return "never"


async def is_never_played(stage: Stage) -> str:
    await trio.lowlevel.checkpoint()
    raise AssertionError("a step after a failed act was played")


@pytest.mark.parametrize("failing", [fails, fails_in_a_group])
async def test_a_failed_step_is_named_and_its_logs_are_kept(
    failing: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    acts = ((Step("a", "first", goes_well), Step("b", "second", failing)), (Step("c", "third", is_never_played),))
    monkeypatch.setattr(run, "ACTS", acts)
    assert await run_demo(Options(EXAMPLE, 6, keep=True, as_json=True)) == 1
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert not said["ok"]
    assert [step["ok"] for step in said["steps"]] == [True, False, False, False]
    assert "did not say 'ready'" in said["steps"][1]["problem"]
    assert said["steps"][1]["hint"] == "Its log is somebody.err."
    assert (Path(said["logs"]) / "somebody.err").read_text() == "the reason"
    assert said["logs"] in err


async def test_a_failed_step_is_shown_to_a_person(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "ACTS", ((Step("b", "second", fails),),))
    assert await run_demo(Options(EXAMPLE, 6, keep=False, as_json=False)) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "FAIL" in out
    assert "Its log is somebody.err." in out
    assert "not reached" in out


async def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmline.demo.processes.TERM_SECONDS", 0.3)
    monkeypatch.setattr("warmline.demo.processes.command_line", lambda: [sys.executable, "-c"])
    with trio.fail_after(60):
        async with open_fleet(tmp_path / "logs") as fleet:
            program = await fleet.start("sleeper", SLEEPER, home=tmp_path / "home")
            await program.wait_line("ready", within=30)
    assert program.process.returncode == -9


async def test_a_program_that_ends_early_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmline.demo.processes.command_line", lambda: [sys.executable, "-c"])
    async with open_fleet(tmp_path / "logs") as fleet:
        program: Program = await fleet.start("brief", "import sys; sys.exit('no such thing')", home=tmp_path / "home")
        with pytest.raises(StepFailedError, match="no such thing"):
            await program.wait_for("ready", within=30)
        with pytest.raises(StepFailedError, match="code 1"):
            await fleet.run("brief", "import sys; sys.exit('no such thing')", home=tmp_path / "home")


async def test_the_programs_share_nothing_with_the_persons_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMLINE_ENTRIES", "mine")
    monkeypatch.setenv("XDG_CONFIG_HOME", "mine")
    monkeypatch.setattr("warmline.demo.processes.command_line", lambda: [sys.executable, "-c"])
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    async with open_fleet(tmp_path / "logs") as fleet:
        said = await fleet.run("teller", code, home=tmp_path / "home")
    assert said["HOME"] == str(tmp_path / "home")
    assert "mine" not in said.values()


async def test_who_waits_for_one_program_hears_at_once_that_another_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warmline.demo.processes.command_line", lambda: [sys.executable, "-c"])
    with trio.fail_after(60):
        async with open_fleet(tmp_path / "logs") as fleet:
            waits = await fleet.start("waits", "import time; time.sleep(600)", home=tmp_path / "home")
            await fleet.start("fails", "import sys; sys.exit('a defect')", home=tmp_path / "home")
            with pytest.raises(StepFailedError, match=r"fails ended .*a defect"):
                await waits.wait_for("ready", within=500)
