"""Cards and groups from the command line: wrong passphrases, wrong files, withdrawals, rooms and absences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import EXAMPLE, PASSPHRASE, Network, a_network, run


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with a_network(tmp_path_factory.mktemp("supporters"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def marta(network: Network) -> Path:
    folder = network.supporter("Marta")
    done = run("groups", "publish", str(EXAMPLE), "--data", str(folder), *network.entry, passphrase=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_wrong_passphrase_changes_nothing(network: Network, marta: Path) -> None:
    before = everything(marta)
    words = ("--name", "Other", "--language", "en", "--topic", "grief")
    for command in (
        ("supporter", "card", *words),
        ("groups", "publish", str(EXAMPLE)),
        ("groups", "withdraw", "grief-table"),
        ("supporter", "duty"),
    ):
        done = run(*command, "--data", str(marta), *network.entry, passphrase="wrong horses")
        assert done.returncode == 1, command
        assert "passphrase does not open" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert everything(marta) == before


def test_a_card_is_renewed_and_stays_the_same_card(network: Network, tmp_path: Path) -> None:
    words = ("supporter", "card", "--name", "Ada", "--language", "en", "--topic", "sleep", "--json")
    folder = str(tmp_path / "ada")
    cards = []
    for _ in range(2):
        done = run(*words, "--data", folder, *network.entry, passphrase=PASSPHRASE)
        assert done.returncode == 0, done.stderr
        cards.append(json.loads(done.stdout))
    assert cards[0]["card"] == cards[1]["card"]
    assert not cards[0]["verified"]
    assert len(cards[0]["doors"]) == 2


def test_a_file_with_an_error_names_line_field_and_remedy_and_publishes_nothing(
    network: Network, marta: Path, tmp_path: Path
) -> None:
    text = EXAMPLE.read_text()
    wrong = tmp_path / "week.toml"
    wrong.write_text(text.replace('topics = ["', 'topics = ["Not A Topic", "', 1))
    line = next(number for number, each in enumerate(wrong.read_text().splitlines(), 1) if "Not A Topic" in each)
    before, held = everything(marta), network.nodes[1].ask("status")["directory"]["listings"]
    for options in ((), ("--check",)):
        done = run(
            *("groups", "publish", str(wrong), "--data", str(marta), *options, *network.entry), passphrase=PASSPHRASE
        )
        assert done.returncode == 1
        assert f"line {line}" in done.stderr
        assert "topics" in done.stderr
        assert "hyphens" in done.stderr
    assert everything(marta) == before
    assert network.nodes[1].ask("status")["directory"]["listings"] == held


def test_find_filters_and_withdrawal_reaches_every_node(network: Network, marta: Path) -> None:
    done = run("groups", "find", "--topic", "grief", "--json", *network.entry)
    assert "grief-table" in {group["id"] for group in json.loads(done.stdout)["groups"]}
    done = run("groups", "find", "--topic", "grief", *network.entry, COLUMNS="80")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "A table for" in done.stdout
    done = run("groups", "find", "--topic", "underwater-chess", *network.entry)
    assert "No group fits" in done.stdout
    listings = network.nodes[0].ask("status")["directory"]["listings"]
    done = run("groups", "withdraw", "grief-table", "--data", str(marta), *network.entry, passphrase=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    for node in network.nodes:
        node.wait_status("directory", lambda held: held["listings"] < listings)
        done = run("groups", "find", "--topic", "grief", "--json", "--entry", node.join)
        assert "grief-table" not in {group["id"] for group in json.loads(done.stdout)["groups"]}
    done = run("groups", "publish", str(EXAMPLE), "--data", str(marta), *network.entry, passphrase=PASSPHRASE)
    assert done.returncode == 0, done.stderr


def test_decline_busy_block_and_leave(network: Network, marta: Path) -> None:
    duty = network.duty(marta)
    for answer in ("decline", "busy"):
        seeker = network.program("talk", "--adult", "--with", "Marta", "--name", "River")
        duty.do(do=answer, to=duty.wait("knock")["knock"])
        assert seeker.wait("closed")["why"] in (answer, f"{answer}d")
        assert seeker.process.wait(30) == 0
    for verb in ("leave", "block"):
        seeker = network.program("talk", "--adult", "--with", "Marta", "--name", "River")
        duty.do(do="accept", to=duty.wait("knock")["knock"])
        seeker.wait("joined")
        seeker.do(do="say", text="hello")
        assert duty.wait("text_received")["text"] == "hello"
        duty.do(do=verb)
        assert seeker.wait("closed")["why"]
        assert seeker.process.wait(30) == 0
        duty.wait("closed")
    assert duty.hang_up() == 0


def test_several_conversations_stay_apart(network: Network, marta: Path) -> None:
    duty = network.duty(marta)
    places = {}
    seekers = {}
    for name in ("Ann", "Bo"):
        seekers[name] = network.program("talk", "--adult", "--with", "Marta", "--name", name)
        duty.do(do="accept", to=duty.wait("knock", name=name)["knock"])
        places[name] = str(duty.wait("joined", name=name)["place"])
        seekers[name].wait("joined")
    duty.do(do="to", to=places["Bo"])
    duty.do(do="say", text="for Bo")
    duty.do(do="say", to=places["Ann"], text="for Ann")
    assert seekers["Bo"].wait("text_received")["text"] == "for Bo"
    assert seekers["Ann"].wait("text_received")["text"] == "for Ann"
    duty.do(do="say", to="9", text="for nobody")
    assert "no conversation" in duty.wait_error()["error"]
    assert duty.hang_up() == 0
    for seeker in seekers.values():
        assert seeker.wait("closed")["why"] == "peer left"
        assert seeker.process.wait(30) == 0


def test_a_room_its_people_a_removal_and_the_hosts_leaving(network: Network, marta: Path) -> None:
    duty = network.duty(marta)
    people = {}
    for name in ("Anna", "Ben"):
        people[name] = network.program("groups", "join", "grief-table", "--adult", "--accept-rules", "--name", name)
        duty.do(do="accept", to=duty.wait("knock", name=name)["knock"])
        people[name].wait("joined")
    people["Anna"].do(do="say", text="hi all")
    assert people["Ben"].wait("text_received")["text"] == "hi all"
    assert duty.wait("text_received")["text"] == "hi all"
    duty.do(do="remove", to="Ben")
    assert people["Ben"].wait("closed")["why"] == "removed"
    people["Anna"].do(do="say", text="still here")
    assert duty.wait("text_received")["text"] == "still here"
    assert duty.hang_up() == 0
    assert people["Anna"].wait("closed")["why"]
    assert people["Anna"].process.wait(30) == 0


def test_an_absent_supporter_leaves_the_hello_at_the_door(network: Network, marta: Path) -> None:
    seeker = network.program("talk", "--adult", "--with", "Marta", "--name", "Late River", "--line", "anyone?")
    seeker.wait("hello_held")
    duty = network.duty(marta)
    knock = duty.wait("knock", name="Late River")
    assert knock["line"] == "anyone?"
    duty.do(do="accept", to=knock["knock"])
    seeker.wait("joined")
    seeker.do(do="leave")
    assert seeker.wait("closed")["why"] == "left"
    assert duty.hang_up() == 0


def test_names_that_nobody_could_read_are_refused_before_anything_is_sent(network: Network, marta: Path) -> None:
    done = run("talk", "--adult", "--json", "--with", "Marta", "--name", "Ri\x1b[2Jver", *network.entry)
    assert done.returncode == 1
    assert "the name holds the invisible character" in done.stderr
