"""Rooms between programs as people run them: rules first, manners, a word in private, and what a kill leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.chain import warmline
from support.commands import EXAMPLE, PASSPHRASE, Network, Node, Program, a_network, run
from support.terminals import terminal

QUICK = ("--heartbeat-every", "1", "--log-away-after", "3")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with a_network(tmp_path_factory.mktemp("rooms"), 5) as made:
        yield made


def card_id(network: Network, folder: Path) -> str:
    duty = network.duty(folder)
    card = next(said["card"] for said in map(json.loads, duty.heard) if said.get("event") == "on_duty")
    assert duty.hang_up() == 0
    return str(card)


@pytest.fixture(scope="module")
def bea(network: Network) -> Path:
    return network.supporter("Bea")


@pytest.fixture(scope="module")
def marta(network: Network, bea: Path) -> Path:
    """Her table for grief names Bea, who has no wallet, as its successor."""
    folder = network.supporter("Marta")
    week = network.folder / "week.toml"
    text = EXAMPLE.read_text().replace(
        'id = "grief-table"', f'id = "grief-table"\nsuccessors = ["{card_id(network, bea)}"]'
    )
    assert text.count("successors") == EXAMPLE.read_text().count("successors") + 1
    week.write_text(text)
    done = run("groups", "publish", str(week), "--data", str(folder), *network.entry, passphrase=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    return folder


def joins(network: Network, duty: Program, name: str, *options: str) -> Program:
    person = network.program("groups", "join", "grief-table", "--adult", "--accept-rules", "--name", name, *options)
    duty.do(do="accept", to=duty.wait("knock", name=name)["knock"])
    person.wait("joined", host=True)
    return person


def hears(person: Program, text: str) -> None:
    person.wait("text_received", text=text)


def test_the_rules_come_before_the_hello(network: Network, marta: Path) -> None:
    duty = network.duty(marta)
    person = network.program("groups", "join", "grief-table", "--adult", "--name", "Early")
    assert "What is said here stays here." in person.wait("rules")["rules"]
    person.do(do="say", text="hello?")
    assert "accept the rules" in person.wait_error()["error"]
    person.do(do="accept_rules")
    duty.wait("knock", name="Early")
    person.do(do="leave")
    declining = network.program("groups", "join", "grief-table", "--adult", "--name", "Reluctant")
    declining.wait("rules")
    declining.do(do="leave")
    declining.wait("rules_declined")
    assert declining.process.wait(30) == 0
    assert duty.hang_up() == 0
    assert not any('"Reluctant"' in line for line in duty.heard)


def test_a_person_is_asked_about_the_rules_and_has_the_rooms_verbs(network: Network, marta: Path) -> None:
    duty = network.duty(marta)
    words = warmline("groups", "join", "grief-table", "--adult", "--name", "Tess", *network.entry)
    with terminal(words, width=100) as person:
        person.expect("The rules of this group:")
        person.expect("What is said here stays here.")
        person.expect("Do you accept these rules?")
        person.type("yes\r")
        duty.do(do="accept", to=duty.wait("knock", name="Tess")["knock"])
        person.expect("Marta is here.")
        person.type("/who\r")
        person.expect("Here are: Marta, Tess.")
        duty.do(do="aside", to="Tess")
        person.expect("Marta asks whether you want a word in private")
        person.type("/no\r")
        assert duty.wait("aside_answered")["yes"] is False
        duty.do(do="mute", to="Tess")
        person.expect("Tess listens for now.")
        person.type("hello?\r")
        person.expect("you are listening only for now")
        person.type("/leave\r")
        person.ended()
    assert duty.hang_up() == 0


def test_manners_of_a_room(network: Network, marta: Path) -> None:
    duty = network.duty(marta)
    ann, bob = joins(network, duty, "Ann"), joins(network, duty, "Bob")
    duty.do(do="mute", to="Bob")
    bob.wait("muted", name="Bob")
    bob.do(do="say", text="can anybody hear me?")
    assert "listening only" in bob.wait_error()["error"]
    duty.do(do="cofacilitate", to="Ann")
    ann.wait("co_facilitates", name="Ann")
    ann.do(do="unmute", to="Bob")
    assert duty.wait("facilitated")["target"] == "Bob"
    bob.wait("unmuted", name="Bob")
    duty.do(do="slow", to="60")
    bob.wait("slow_mode", ms=60_000)
    bob.do(do="say", text="one")
    hears(ann, "one")
    bob.do(do="say", text="two")
    assert "slow mode" in bob.wait_error()["error"]
    duty.do(do="mutefirst", to="on")
    cleo = joins(network, duty, "Cleo")
    cleo.wait("muted", name="Cleo")
    bob.do(do="mute", to="Ann")
    assert "only the host" in bob.wait_error()["error"]
    duty.do(do="who")
    assert set(duty.wait("who")["people"]) == {"Marta", "Ann", "Bob", "Cleo"}
    assert duty.hang_up() == 0
    for person in (ann, bob, cleo):
        person.wait("closed", why="host gone")


def test_a_word_in_private_with_a_yes_and_without(network: Network, marta: Path) -> None:
    duty = network.duty(marta)
    ann, bob = joins(network, duty, "Anna"), joins(network, duty, "Boba")
    duty.do(do="aside", to="Anna")
    ann.wait("aside_asked", name="Marta")
    ann.do(do="yes")
    assert duty.wait("aside_answered")["yes"] is True
    duty.wait("came_in", name="Anna")  # without being asked about
    place = str(ann.wait("aside")["place"])
    ann.wait("joined", place=int(place), name="Marta")
    ann.do(do="say", to=place, text="just us")
    heard = duty.wait("text_received", text="just us")
    ann.do(do="say", to="1", text="all of us")
    assert duty.wait("text_received", text="all of us")["place"] != heard["place"]
    hears(bob, "all of us")
    duty.do(do="aside", to="Boba")
    bob.wait("aside_asked")
    bob.do(do="no")
    assert duty.wait("aside_answered", name="Boba")["yes"] is False
    assert duty.hang_up() == 0
    assert not any("just us" in line for line in bob.heard)


def test_a_guest_who_has_left_reports_what_the_host_signed(network: Network, marta: Path, tmp_path: Path) -> None:
    duty, file = network.duty(marta), tmp_path / "report"
    ann, bob = joins(network, duty, "Anja", "--closing"), joins(network, duty, "Bojan")
    bob.do(do="say", text="my sister is called Ruth")
    hears(ann, "my sister is called Ruth")
    ann.do(do="say", text="please stop")
    hears(duty, "please stop")
    duty.do(do="say", text="you are all worthless")
    hears(ann, "you are all worthless")
    ann.do(do="leave")
    closing = ann.wait("closing")
    assert (closing["signed"], closing["lines"]) == (1, 3)
    own = next(said["line"] for said in lines_of(ann, closing["lines"]) if said["mine"])
    ann.do(do="report", text=f"{file} {own}")
    reported = ann.wait("reported")
    assert (reported["texts"], reported["own"]) == (1, 1)
    ann.do(do="done")
    assert ann.process.wait(30) == 0
    shown = " ".join(run("report", "verify", str(file)).stdout.split())
    assert "signed: you are all worthless" in shown
    assert "unproven, the reporter's: please stop" in shown
    assert b"Ruth" not in file.read_bytes() and b"Bojan" not in file.read_bytes()
    assert duty.hang_up() == 0


def lines_of(person: Program, count: int) -> list[dict[str, Any]]:
    """What was said, numbered."""
    person.do(do="lines")
    found: list[dict[str, Any]] = []
    while len(found) < count:
        said = json.loads(person.next_line())
        found += [said] if "line" in said else []
    return found


def test_a_room_whose_host_was_killed_is_read_only_and_then_over(network: Network, marta: Path) -> None:
    duty = network.duty(marta, "--heartbeat-every", "1")
    ann = joins(network, duty, "Anne", "--host-away-after", "6")
    ann.do(do="say", text="still here?")
    hears(duty, "still here?")
    duty.process.kill()
    ann.wait("read_only")
    ann.do(do="say", text="anybody?")
    assert "the host is away" in ann.wait_error()["error"]
    ann.wait("closed", why="host gone")
    # Nobody is told anything before a yes; /follow would knock at Bea's door.
    assert ann.wait("successor")["name"] == "Bea"
    ann.do(do="leave")
    assert ann.process.wait(30) == 0


def test_a_successor_opens_the_next_room_for_those_who_follow(network: Network, marta: Path, bea: Path) -> None:
    duty, heir = network.duty(marta), network.duty(bea)
    ann, bob = joins(network, duty, "Anni", "--follow"), joins(network, duty, "Bobi")
    duty.do(do="handover")
    assert duty.wait("handed_over")["name"] == "Bea"
    for person in (ann, bob):
        person.wait("succession_named")
    bob.wait("successor", name="Bea")
    bob.do(do="follow")
    for _ in range(2):
        knock = heir.wait("knock")
        assert knock["name"] in ("Anni", "Bobi")
        heir.do(do="accept", to=knock["knock"])
    for person in (ann, bob):
        assert person.wait("joined", host=True)["name"] == "Bea"
    ann.do(do="say", text="we go on")
    hears(bob, "we go on")
    hears(heir, "we go on")
    assert heir.hang_up() == 0 and duty.hang_up() == 0


def test_a_room_whose_log_node_was_killed_moves(network: Network, marta: Path) -> None:
    duty = network.duty(marta, *QUICK)
    ann, bob = joins(network, duty, "Anno"), joins(network, duty, "Bobo")
    dead = node_of_the_log(network, ann)
    hears(bob, "before")
    hears(duty, "before")
    dead.process.kill()
    ann.do(do="say", text="said into the dark")
    duty.do(do="say", text="stay calm")
    hears(bob, "said into the dark")
    hears(duty, "said into the dark")
    hears(ann, "stay calm")
    ann.wait("message_state", state="delivered")
    late = joins(network, duty, "Lateo")
    late.do(do="say", text="is this the place?")
    for person in (duty, ann, bob):
        hears(person, "is this the place?")
    assert duty.hang_up() == 0


def node_of_the_log(network: Network, person: Program) -> Node:
    """The node whose receipt for a word it was."""
    by: list[str] = []
    while not by:  # a word that was read back before its receipt came names nobody
        person.do(do="say", text="before")
        by = person.wait("message_state", state="held")["by"]
    return next(node for node in network.nodes if node.peer_id == by[0])
