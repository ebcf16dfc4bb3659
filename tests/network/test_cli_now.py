"""From the command line: a desk, who is awake, somebody to talk to now, doors with rules, and an honest nobody."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.commands import PASSPHRASE, PATIENCE, Network, Program, a_network, run


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with a_network(tmp_path_factory.mktemp("now"), 3) as made:
        yield made


def card(network: Network, name: str, *options: str) -> dict[str, Any]:
    done = run(
        *("supporter", "card", "--name", name, "--language", "en", "--topic", "grief", "--json", *options),
        *("--data", str(network.folder / name), *network.entry),
        passphrase=PASSPHRASE,
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def a_desk(tmp_path: Path, people: dict[str, str], hours: str = "daily 00:00-24:00") -> Path:
    names = "\n".join(f'{name.lower()} = "{card}"' for name, card in people.items())
    file = tmp_path / "desk.toml"
    file.write_text(
        f"""[desk]
id = "night-owls"
name = "Night Owls"
languages = ["en"]
topics = ["grief"]

[people]
{names}

[[rota]]
zone = "UTC"
shifts = ["{hours} {" ".join(name.lower() for name in people)}"]
"""
    )
    return file


def seek(network: Network, *options: str) -> Program:
    return network.program("talk", "--now", "--adult", "--name", "River", "--line", "a hard night", *options)


@pytest.fixture(scope="module")
def desk(network: Network, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ada and Ben are on a rota and agreed; Zoe is on it and never did."""
    cards = {name: card(network, name)["card"] for name in ("Ada", "Ben", "Zoe")}
    file = a_desk(tmp_path_factory.mktemp("desk"), cards)
    done = run(
        *("desk", "publish", str(file), "--json", "--data", str(network.folder / "Ada"), *network.entry),
        passphrase=PASSPHRASE,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    for name in ("Ada", "Ben"):
        card(network, name, "--desk", row["record"])
    record: str = row["record"]
    return record


def test_a_desk_is_found_and_drawn_and_counts_only_who_agreed(network: Network, desk: str) -> None:
    done = run("desk", "find", "--topic", "grief", "--json", *network.entry)
    (row,) = json.loads(done.stdout)
    assert (row["record"], row["people"], row["agreed"], row["on_duty"]) == (desk, 3, 2, 2)
    assert json.loads(run("desk", "find", "--topic", "chess", "--json", *network.entry).stdout) == []
    for which in ("night-owls", desk[:8]):
        done = run("desk", "show", which, "--zone", "Asia/Kolkata", *network.entry)
        assert done.returncode == 0, done.stderr
        assert "2 on duty now" in done.stdout
        assert len(re.findall(r"^\w{3} \d\d \w{3}  2{48}$", done.stdout, re.M)) == 7
        assert "No gap" in done.stdout
        assert "2 of 3 people on this rota name the desk" in done.stdout
    data = json.loads(run("desk", "show", desk, "--json", *network.entry).stdout)
    assert (data["empty"], data["quarters"], data["gaps"]) == (0, 672, [])
    done = run("desk", "show", "day-larks", *network.entry)
    assert done.returncode == 1 and "there is no desk" in done.stderr


def test_somebody_says_yes_and_the_others_are_told(network: Network, desk: str) -> None:
    ada, ben = (network.duty(network.folder / name) for name in ("Ada", "Ben"))
    assert ada.wait("due")["desk"] == "Night Owls"
    seeker = seek(network, "--topic", "grief", "--language", "en", "--age", "18-30")
    assert seeker.wait("awake")["on_duty"] == 2
    offer = ada.wait("offer")
    assert (offer["languages"], offer["age_low"], offer["age_high"], offer["topic"]) == (["en"], 18, 30, "grief")
    assert "River" not in json.dumps(offer) and "hard night" not in json.dumps(offer)
    assert seeker.wait("asking")
    ada.do(do="accept", to=offer["offer"])
    came = ada.wait("came_in")
    assert (came["name"], came["line"]) == ("River", "a hard night")
    assert seeker.wait("calling")["supporter"] == "Ada"
    seeker.wait("joined")
    seeker.do(do="say", text="hello")
    assert ada.wait("text_received")["text"] == "hello"
    ada.do(do="say", text="hello River")
    assert seeker.wait("text_received")["text"] == "hello River"
    seeker.do(do="leave")
    assert seeker.process.wait(60) == 0
    for duty in (ada, ben):
        assert duty.hang_up() == 0
    told = [json.loads(line) for line in ben.rest()]
    shown = [line["offer"] for line in told if line.get("event") == "offer"]
    over = {line["offer"]: line["why"] for line in told if line.get("event") == "offer_over"}
    # Where the end overtook the offer, as on a busy machine, Ben was not shown it at all.
    assert set(over) == set(shown) and set(over.values()) <= {"answered", "late"}


def test_a_door_for_known_people_and_a_word_from_the_desk(network: Network, desk: str) -> None:
    card(network, "Ben", "--desk", desk, "--closed")
    ada = network.duty(network.folder / "Ada", "--unread")
    ben = network.duty(network.folder / "Ben", "--door", "desk")
    for duty in (ada, ben):
        duty.wait("due")
    seeker = network.program("talk", "--adult", "--with", "Ada", "--name", "Moss", "--line", "it is late")
    knock = ada.wait("knock")
    assert knock["unread"] and "name" not in knock and "line" not in knock
    ada.do(do="show", to=knock["knock"])
    shown = ada.wait("knock")
    assert (shown["name"], shown["line"], shown["unread"]) == ("Moss", "it is late", False)
    ada.do(do="accept", to=knock["knock"])
    seeker.wait("joined")
    ada.do(do="introduce", text="Ben")
    assert ada.wait("introduction")["colleague"] == "Ben"
    assert ben.wait("introduced")["name"] == "sent by Ada"
    text = seeker.wait("text_received")["text"]
    found = re.search(r"--with (\w+) --word ([\w-]+)", text)
    assert found is not None
    seeker.do(do="leave")
    assert seeker.process.wait(60) == 0
    sent = network.program("talk", "--adult", "--with", found[1], "--word", found[2], "--name", "Moss")
    knock = ben.wait("knock")
    assert (knock["known"], knock["name"]) == ("sent by Ada", "Moss")
    ben.do(do="accept", to=knock["knock"])
    sent.wait("joined")
    ben.do(do="block")
    assert sent.process.wait(60) == 0
    again = network.program("talk", "--adult", "--with", found[1], "--word", found[2], "--name", "Moss")
    again.wait("hello_held")
    ben.do(do="door")
    assert ben.wait("door")["door"] == "desk"
    assert sum(json.loads(line).get("event") == "knock" for line in ben.heard) == 1
    again.close()
    assert (network.folder / "Ben" / "people.box").exists()
    assert b"Ada" not in (network.folder / "Ben" / "people.box").read_bytes()
    card(network, "Ben", "--desk", desk)
    for duty in (ada, ben):
        assert duty.hang_up() == 0


def test_nobody_is_awake_and_the_choice_is_an_honest_one(network: Network, desk: str) -> None:
    seeker = seek(network, "--topic", "underwater-chess")
    awake = seeker.wait("awake")
    assert (awake["on_duty"], awake["others"], awake["desks"]) == (0, 0, 1)
    assert awake["on_duty_all"] == 2
    nobody = seeker.wait("nobody")
    assert nobody["asked"] == 0
    assert nobody["options"] == {"wait": True, "rooms": [], "callback": None, "due_ms": 0, "helpline": True}
    seeker.do(do="helpline")
    assert "112" in seeker.wait("helpline")["words"]
    seeker.do(do="callback")
    assert "nobody is due" in seeker.wait_error()["error"]
    seeker.do(do="quit")
    assert seeker.process.wait(60) == 0


def test_everybody_declines_and_nobody_waits_out_the_minute(network: Network, desk: str) -> None:
    ada = network.duty(network.folder / "Ada", "--rest", "5")
    card(network, "Ben", "--desk", desk, "--closed")
    card(network, "Zoe", "--closed")
    seeker = seek(network)
    offer = ada.wait("offer")
    ada.do(do="decline", to=offer["offer"])
    nobody = seeker.wait("nobody")
    assert nobody["asked"] == 1
    seeker.do(do="wait")
    assert seeker.wait("nobody")["asked"] == 1  # she said no, and is not asked again
    seeker.do(do="quit")
    assert seeker.process.wait(60) == 0
    ada.do(do="pause")
    ada.wait("resting")
    seeker = seek(network)
    seeker.wait("awake")
    ada.do(do="ready")
    ada.wait("ready")
    ada.do(do="accept", to=ada.wait("offer")["offer"])
    seeker.wait("joined")
    ada.do(do="leave")
    assert seeker.process.wait(60) == 0
    ada.do(do="door")
    assert ada.wait("door")["full"] == "rest"
    assert ada.hang_up() == 0


def test_a_knock_waits_for_who_is_due_next(network: Network, tmp_path: Path) -> None:
    mine = card(network, "Cleo", "--topic", "shift-work")["card"]
    start = (time.gmtime().tm_hour + 2) % 24
    file = a_desk(tmp_path, {"Cleo": mine}, f"daily {start:02}:00-{start + 1:02}:00")
    published = ("desk", "publish", str(file), "--json", "--data", str(network.folder / "Cleo"), *network.entry)
    (row,) = json.loads(run(*published, passphrase=PASSPHRASE).stdout)
    mine = card(network, "Cleo", "--topic", "shift-work", "--desk", row["record"])["card"]
    seeker = seek(network, "--topic", "shift-work")
    nobody = seeker.wait("nobody", 2 * PATIENCE)  # said after a minute in which Cleo could have answered
    assert nobody["options"]["callback"] == {"card": mine, "name": "Cleo"}
    seeker.do(do="callback")
    assert seeker.wait("called_back")["card"] == mine
    seeker.wait("hello_held")
    cleo = network.duty(network.folder / "Cleo", "--read")
    knock = cleo.wait("knock")
    assert (knock["name"], knock["line"]) == ("River", "a hard night")
    cleo.do(do="accept", to=knock["knock"])
    seeker.wait("joined")
    seeker.do(do="leave")
    assert seeker.process.wait(60) == 0
    assert cleo.hang_up() == 0
