"""A whole course credentialed from a file: killed in the middle it goes on, and nobody pays twice for a wrong line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

from support.chain import NEVER_S, PATIENCE_S, actors, devchain, warmline
from support.persons import Person
from warmline.chain.cohort import read_cohort
from warmline.chain.contracts import type_id_of
from warmline.chain.wallet import dev_wallet
from warmline_protocol.errors import UsageError

ISSUER = ("--dev-account", "1")
TYPE = type_id_of("peer")


def people(count: int) -> list[bytes]:
    return [number.to_bytes(20) for number in range(1, count + 1)]


def journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def write_csv(path: Path, holders: list[bytes]) -> Path:
    path.write_text("wallet,name\n" + "".join(f"0x{one.hex()},somebody\n" for one in holders))
    return path


@pytest.fixture
async def person(tmp_path: Path) -> Any:
    async with devchain(tmp_path / "chain", period_s=NEVER_S) as running:
        made = Person(running, tmp_path / "me")
        await made.json("issuer", "register", "--type", "peer", *ISSUER, passphrase=None)
        yield made


async def valid(person: Person, holders: list[bytes]) -> int:
    async with actors(person.chain) as act:
        states = await act.contracts.credentials_of(dev_wallet(1).address, holders, TYPE)
    return sum(state.state == 1 for state in states)


async def issued(person: Person, holder: bytes) -> int:
    """How many times it was given."""
    async with actors(person.chain) as act:
        (state,) = await act.contracts.credentials_of(dev_wallet(1).address, [holder], TYPE)
    return state.version


async def test_a_course_is_credentialed_and_renewed(person: Person, tmp_path: Path) -> None:
    holders = people(230)
    file = write_csv(tmp_path / "course.csv", holders)
    planned = await person.json(
        "issuer", "issue-csv", str(file), "peer", "--days", "20", "--dry-run", *ISSUER, passphrase=None
    )
    assert planned["state"] == {**planned["state"], "people": 230, "to_give": 230, "hold_it": 0}
    assert not journals(tmp_path)
    done = await person.json("issuer", "issue-csv", str(file), "peer", "--days", "20", *ISSUER, passphrase=None)
    assert (done["state"]["hold_it"], len(done["transactions"])) == (230, 3)
    assert await valid(person, holders) == 230
    assert not journals(tmp_path)
    renewed = await person.json("issuer", "renew", "peer", "--days", "300", *ISSUER, passphrase=None)
    assert renewed["state"]["hold_it"] == 230
    again = await person.json("issuer", "renew", "peer", "--days", "300", *ISSUER, passphrase=None)
    assert again["state"] == {"renewed": 0}


async def test_killed_in_the_middle_it_goes_on_and_gives_nothing_twice(person: Person, tmp_path: Path) -> None:
    holders = people(400)
    file = write_csv(tmp_path / "course.csv", holders)
    command = warmline("issuer", "issue-csv", str(file), "peer", "--days", "90", "--yes", *ISSUER)
    environment = {**os.environ, "WARMLINE_CHAIN": person.chain.url, "WARMLINE_SUPPORTER": str(tmp_path / "me")}
    child = await trio.lowlevel.open_process(command, env=environment, stdout=subprocess.PIPE)
    assert child.stdout is not None
    with trio.fail_after(PATIENCE_S):
        seen = b""
        while b"[2/4]" not in seen:
            seen += await child.stdout.receive_some()
    child.send_signal(signal.SIGKILL)
    await child.wait()
    await child.stdout.aclose()
    kept = json.loads((tmp_path / "course.csv.journal").read_text())
    assert 0 < await valid(person, holders) < 400
    done = await person.json("issuer", "issue-csv", str(file), "peer", "--days", "90", *ISSUER, passphrase=None)
    assert done["state"]["hold_it"] == 400
    assert done["state"]["until_s"] == kept["until_s"]
    assert await issued(person, holders[0]) == await issued(person, holders[399])


async def test_a_wrong_line_is_named_and_nothing_is_sent(person: Person, tmp_path: Path) -> None:
    holders = people(3)
    file = write_csv(tmp_path / "course.csv", holders)
    file.write_text(file.read_text() + "0x123,short\n" + f"0x{holders[0].hex()},twice\n")
    words = await person.fails(
        "issuer", "issue-csv", str(file), "peer", "--days", "9", "--yes", *ISSUER, passphrase=None
    )
    assert "line 5" in words
    assert "line 6" in words
    assert "line 2 already" in words
    assert await valid(person, holders) == 0


async def test_another_list_does_not_go_on_with_this_one(person: Person, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "course.csv", people(3))
    (tmp_path / "course.csv.journal").write_text(json.dumps({"of": "another", "until_s": 1, "sent": []}))
    command = ("issuer", "issue-csv", str(file), "peer", "--days", "9", "--yes", *ISSUER)
    assert "belongs to another run" in await person.fails(*command, passphrase=None)
    (tmp_path / "course.csv.journal").write_text("{")
    assert "cannot be read" in await person.fails(*command, passphrase=None)


async def test_an_issuer_recognises_another_and_takes_it_back(person: Person) -> None:
    other = "0x" + dev_wallet(2).address.hex()
    await person.json("issuer", "register", "--type", "other", "--dev-account", "2", passphrase=None)
    given = await person.json("issuer", "recognise", other, "peer", *ISSUER, passphrase=None)
    assert given["state"]["recognised"]
    holder = "0x" + "11" * 20
    issue = ("issuer", "issue", holder, "peer", "--days", "9", "--dev-account", "2")
    assert (await person.json(*issue, passphrase=None))["state"]["valid"]
    taken = await person.json("issuer", "recognise", other, "peer", "--withdraw", *ISSUER, passphrase=None)
    assert not taken["state"]["recognised"]
    assert "may not issue" in await person.fails(*issue, "--yes", passphrase=None)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "names 0 people"),
        ("wallet\n", "names 0 people"),
        ("wallet\nMarta\n", "line 2"),
        ("0x" + "00" * 20, "zero address"),
        ("0x" + "aB" * 20, "checksum"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        read_cohort(text)


def test_a_list_may_begin_with_a_mark_and_a_heading() -> None:
    assert read_cohort("\N{ZERO WIDTH NO-BREAK SPACE}wallet,name\n0x" + "11" * 20 + ",Ada\n\n") == (b"\x11" * 20,)
