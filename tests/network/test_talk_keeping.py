"""What people keep, prove, erase and ask each other besides talking, as programs drive it: real processes and disks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.commands import PASSPHRASE, Network, Program, a_network, run

KEEPING = "four quiet winter rivers"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with a_network(tmp_path_factory.mktemp("keeping"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def marta(network: Network) -> Path:
    return network.supporter("Marta")


@pytest.fixture(scope="module")
def ada(network: Network) -> Path:
    return network.supporter("Ada")


def talk(network: Network, folder: Path, *options: str) -> Program:
    words = ("talk", "--adult", "--data", str(folder), *options)
    return network.program(*words, passphrase=KEEPING)


def meet(duty: Program, seeker: Program) -> dict[str, Any]:
    knock = duty.wait("knock")
    duty.do(do="accept", to=knock["knock"])
    seeker.wait("joined")
    duty.wait("joined")
    return knock


def say(speaker: Program, hearer: Program, text: str, to: str = "") -> None:
    speaker.do(do="say", text=text, **({"to": to} if to else {}))
    heard = hearer.wait("text_received", text=text)
    assert not heard["again"]


def vault_files(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()} if folder.exists() else set()


def test_a_kept_conversation_goes_on_where_it_was(network: Network, marta: Path, tmp_path: Path) -> None:
    duty = network.duty(marta)
    seeker = talk(network, tmp_path / "river", "--with", "Marta", "--name", "River", "--keep")
    meet(duty, seeker)
    say(seeker, duty, "a rough week")
    say(duty, seeker, "I am listening")
    assert seeker.hang_up() == 0
    duty.do(do="say", text="said while you were away")
    duty.wait("message_state", state="held")
    for path in (tmp_path / "river").iterdir():
        assert b"rough week" not in path.read_bytes() and b"Marta" not in path.read_bytes()
    again = network.program("talk", "--data", str(tmp_path / "river"), "--resume", passphrase=KEEPING)
    assert again.wait("earlier")["said"] == "a rough week"
    assert again.wait("earlier")["said"] == "I am listening"
    assert not again.wait("text_received", text="said while you were away")["again"]
    say(again, duty, "back again")
    again.do(do="leave")
    assert again.process.wait(30) == 0
    duty.wait("closed")
    late = run("talk", "--data", str(tmp_path / "river"), "--resume", "--json", *network.entry, passphrase=KEEPING)
    assert late.returncode == 1 and "no such conversation is kept" in late.stderr
    assert duty.hang_up() == 0


def test_a_second_process_is_told_and_a_panic_ends_the_first(network: Network, marta: Path, tmp_path: Path) -> None:
    folder = tmp_path / "river"
    duty = network.duty(marta)
    seeker = talk(network, folder, "--with", "Marta", "--name", "River")
    meet(duty, seeker)
    assert not vault_files(folder)
    seeker.do(do="keep", passphrase=KEEPING)
    seeker.wait("kept")
    say(seeker, duty, "nobody may read this")
    second = run("talk", "--data", str(folder), "--resume", "--json", *network.entry, passphrase=KEEPING)
    assert second.returncode == 1
    assert f"process {seeker.process.pid}" in second.stderr and "open" in second.stderr
    wrong = run("threads", "list", "--data", str(folder), passphrase="quite another one")
    assert wrong.returncode == 1
    gone = run("talk", "--data", str(folder), "erase", "--json")
    assert gone.returncode == 0, gone.stderr
    said = json.loads(gone.stdout)
    assert said["ended"] == seeker.process.pid and "kept.db" in said["files"] and "kept.db.key" in said["files"]
    assert vault_files(folder) == set()
    assert seeker.process.wait(10) == -9
    assert "Nothing was kept" in run("talk", "--data", str(folder), "erase").stdout
    duty.do(do="leave")
    duty.hang_up()


def test_panic_inside_a_conversation_leaves_nothing(network: Network, marta: Path, tmp_path: Path) -> None:
    folder = tmp_path / "river"
    duty = network.duty(marta)
    seeker = talk(network, folder, "--with", "Marta", "--name", "River", "--keep")
    meet(duty, seeker)
    say(seeker, duty, "please forget me")
    seeker.do(do="panic")
    assert {"kept.db", "kept.db.key"} <= set(seeker.wait("erased")["files"])
    assert seeker.process.wait(10) == 0
    assert vault_files(folder) == set()
    duty.hang_up()


def test_a_thread_finds_the_same_person_until_one_forgets(network: Network, marta: Path, tmp_path: Path) -> None:
    folder = tmp_path / "river"
    duty = network.duty(marta)
    seeker = talk(network, folder, "--with", "Marta", "--name", "River")
    assert meet(duty, seeker)["known"] == ""
    seeker.do(do="thread", text="tuesday", passphrase=KEEPING)
    duty.wait("thread_offered")
    duty.do(do="no")
    seeker.wait("thread_declined")
    seeker.do(do="thread", text="tuesday", passphrase=KEEPING)
    duty.wait("thread_offered")
    duty.do(do="yes")
    assert seeker.wait("thread_kept")["name"] == "tuesday"
    duty.wait("thread_kept")
    seeker.do(do="leave")
    assert seeker.process.wait(30) == 0
    listed = run("threads", "list", "--json", "--data", str(folder), passphrase=KEEPING)
    assert [each["supporter"] for each in json.loads(listed.stdout)] == ["Marta"]
    duty.hang_up()
    duty = network.duty(marta, "--door", "known")  # a stranger would be turned away
    back = talk(network, folder, "--thread", "tuesday")
    knock = meet(duty, back)
    assert (knock["known"], knock["name"]) == ("River", "River")
    back.wait("thread_known")
    back.do(do="leave")
    assert back.process.wait(30) == 0
    assert run("threads", "forget", "tuesday", "--data", str(folder), passphrase=KEEPING).returncode == 0
    gone = run(
        *("talk", "--adult", "--thread", "tuesday", "--json", "--data", str(folder)), *network.entry, passphrase=KEEPING
    )
    assert gone.returncode == 1 and "no thread is called" in gone.stderr
    duty.do(do="forget", text="River")
    duty.wait("forgotten")
    duty.hang_up()


def test_a_thread_by_its_word_alone_leaves_nothing_on_the_disk(network: Network, marta: Path, tmp_path: Path) -> None:
    folder = tmp_path / "river"
    duty = network.duty(marta)
    seeker = talk(network, folder, "--with", "Marta", "--name", "Moss")
    meet(duty, seeker)
    duty.do(do="thread")
    seeker.wait("thread_offered")
    seeker.do(do="yes")
    word = seeker.wait("thread_word")["word"]
    duty.wait("thread_kept")
    seeker.do(do="leave")
    assert seeker.process.wait(30) == 0
    assert not vault_files(folder)
    back = talk(network, folder, "--with", "Marta", "--name", "Other", "--word", word)
    assert meet(duty, back)["known"] == "Moss"
    back.do(do="leave")
    duty.hang_up()


def test_a_report_proves_what_they_wrote_and_shows_what_was_chosen(
    network: Network, marta: Path, tmp_path: Path
) -> None:
    duty = network.duty(marta)
    seeker = talk(network, tmp_path / "river", "--with", "Marta", "--name", "River", "--closing")
    meet(duty, seeker)
    say(seeker, duty, "my secret is blue")
    say(duty, seeker, "send me money")
    say(seeker, duty, "I would rather not")
    say(duty, seeker, "your secret is blue, remember")
    file = tmp_path / "marta.report"
    seeker.do(do="report", text=str(file))
    made = seeker.wait("reported")
    assert (made["texts"], made["own"]) == (2, 0)
    assert b"rather not" not in file.read_bytes() and b"River" not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    seeker.do(do="report", text=str(file))
    assert "exists already" in seeker.wait_error()["error"]
    seeker.do(do="lines")
    lines = {each["said"]: each["line"] for each in (json.loads(seeker.next_line()) for _ in range(4))}
    seeker.do(do="leave")
    assert seeker.wait("closing")["signed"] == 2
    chosen = tmp_path / "chosen.report"
    assert seeker.process.stdin is not None
    wish = {
        "do": "report",
        "text": str(chosen),
        "include": [lines["I would rather not"]],
        "leave_out": [lines["your secret is blue, remember"]],
        "account": "it went on like this",
    }
    seeker.process.stdin.write(json.dumps(wish) + "\n")
    seeker.process.stdin.flush()
    assert seeker.wait("reported")["own"] == 1
    seeker.do(do="export", text=str(tmp_path / "copy"))
    assert len(seeker.wait("exported")["files"]) == 2
    seeker.do(do="done")
    assert seeker.process.wait(30) == 0
    assert b"secret is blue" not in chosen.read_bytes()
    verified = run("report", "verify", str(chosen), "--json")
    assert verified.returncode == 0, verified.stderr
    shown = json.loads(verified.stdout)
    assert [each["text"] for each in shown["signed"]] == ["send me money"]
    assert [each["text"] for each in shown["unproven"]] == ["I would rather not"]
    assert shown["supporter"] == "Marta" and shown["account"] == "it went on like this"
    assert "signed: send me money" in run("report", "verify", str(chosen)).stdout
    assert "my secret is blue" in (tmp_path / "copy.txt").read_text()
    bent = tmp_path / "bent.report"
    bent.write_bytes(file.read_bytes().replace(b"send me money", b"send me honey"))
    refused = run("report", "verify", str(bent))
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    duty.hang_up()


def test_a_second_peer_joins_after_a_yes_and_not_before(
    network: Network, marta: Path, ada: Path, tmp_path: Path
) -> None:
    first, second = network.duty(marta), network.duty(ada)
    seeker = talk(network, tmp_path / "river", "--with", "Marta", "--name", "River")
    meet(first, seeker)
    first.do(do="backup", text="@Ada a second pair of ears")
    assert seeker.wait("backup_asked")["words"] == "a second pair of ears"
    seeker.do(do="no")
    assert not first.wait("backup_answered")["yes"]
    first.do(do="backup", text="@Ada a second pair of ears")
    seeker.wait("backup_asked")
    seeker.do(do="yes")
    assert first.wait("backup_answered")["yes"]
    knock = second.wait("colleague")
    assert (knock["wants"], knock["line"]) == ("backup", "a second pair of ears")
    assert knock["who"].startswith("Marta")
    second.do(do="accept", to=knock["knock"])
    first.wait("backup_room", name="Ada")
    # all three are in the room: whoever speaks there is heard by both others
    for program in (seeker, second):
        program.wait("joined", name="Marta", place=2)
    first.wait("came_in")
    first.wait("came_in")
    seeker.do(do="say", to="2", text="hello both of you")
    for program in (first, second):
        program.wait("text_received", text="hello both of you")
    second.do(do="say", to="2", text="hello River")
    for program in (first, seeker):
        program.wait("text_received", text="hello River")
    for program in (seeker, second, first):
        program.hang_up()


def test_a_debrief_needs_no_seeker(network: Network, marta: Path, ada: Path) -> None:
    first, second = network.duty(marta), network.duty(ada)
    second.do(do="debrief", text="@Marta that was a lot")
    knock = first.wait("colleague", wants="debrief")
    assert knock["who"].startswith("Ada")
    first.do(do="accept", to=knock["knock"])
    second.wait("joined", name="Marta")
    say(second, first, "thank you for this")
    for program in (second, first):
        program.hang_up()


def test_nothing_is_written_for_people_who_keep_nothing(network: Network, marta: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    duty = network.duty(marta)
    before = dict(os.environ)
    os.environ["HOME"] = str(home)
    try:
        seeker = network.program("talk", "--adult", "--with", "Marta", "--name", "River")
    finally:
        os.environ.update(before)
    meet(duty, seeker)
    say(seeker, duty, "leave no trace")
    seeker.do(do="leave")
    assert seeker.process.wait(30) == 0
    assert not [each for each in home.rglob("*") if each.is_file()]
    duty.hang_up()


def test_a_supporters_machine_dies_and_the_conversation_goes_on(network: Network, marta: Path, tmp_path: Path) -> None:
    duty = network.duty(marta, "--keep")
    seeker = talk(network, tmp_path / "river", "--with", "Marta", "--name", "River")
    meet(duty, seeker)
    say(seeker, duty, "before")
    say(duty, seeker, "still here")
    duty.process.kill()
    duty.process.wait(10)
    seeker.do(do="say", text="are you there")
    seeker.wait("message_state", state="held")
    second = network.duty(marta, "--keep")
    assert second.wait("resumed")["name"] == "River"
    second.wait("text_received", text="are you there")
    say(second, seeker, "back, sorry")
    busy = run("supporter", "duty", "--keep", "--json", "--data", str(marta), *network.entry, passphrase=PASSPHRASE)
    assert busy.returncode == 1
    assert f"process {second.process.pid}" in busy.stderr
    second.do(do="leave")
    seeker.wait("closed", why="peer left")
    second.hang_up()
    third = network.duty(marta, "--keep")
    third.do(do="nothing")
    assert "nothing" in third.wait_error()["error"]
    assert not any('"resumed"' in line for line in third.heard)
    third.hang_up()
