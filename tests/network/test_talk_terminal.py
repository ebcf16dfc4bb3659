"""Conversations as people have them: in a terminal, typing while others write, leaving whenever they want."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.chain import warmline
from support.commands import PASSPHRASE, Network, a_network, with_passphrase
from support.terminals import Terminal, terminal


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with a_network(tmp_path_factory.mktemp("talk"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def marta(network: Network) -> Path:
    return network.supporter("Marta")


@pytest.fixture(scope="module")
def ada(network: Network) -> Path:
    """At whose door knocks are left behind: whoever takes the oldest knock at Marta's must find their own."""
    return network.supporter("Ada")


@contextmanager
def on_duty(network: Network, folder: Path, width: int = 80) -> Iterator[Terminal]:
    options, fd = with_passphrase(PASSPHRASE)
    words = warmline("supporter", "duty", "--data", str(folder), *network.entry, *options)
    with terminal(words, width=width, fds=[fd]) as shown:
        os.close(fd)
        shown.expect("You are on duty")
        yield shown


@contextmanager
def seeking(network: Network, *options: str, whom: str = "Marta", width: int = 80) -> Iterator[Terminal]:
    with terminal(warmline("talk", "--with", whom, *network.entry, *options), width=width) as shown:
        yield shown


@pytest.mark.parametrize("width", [80, 40])
def test_a_conversation_from_the_first_screen_to_the_goodbye(network: Network, marta: Path, width: int) -> None:
    with on_duty(network, marta, width) as supporter, seeking(network, width=width) as seeker:
        before = seeker.modes()
        seeker.expect("not a crisis service")
        seeker.expect("Are you 18 or older?")
        seeker.type("y\n")
        seeker.expect("A name for this conversation")
        seeker.type("River\n")
        seeker.expect("A first line for Marta to read?")
        seeker.type("rough week\n")
        seeker.expect("Calling Marta")
        seeker.expect("thrown away on this machine")
        supporter.expect("somebody knocks")
        assert "rough week" not in supporter.screen.words, "name and words are read by who asks for them"
        supporter.type("/show\r")
        supporter.expect("rough week")
        supporter.type("/accept\r")
        seeker.expect("Marta is here.")
        supporter.expect("River")
        seeker.type("is any")
        supporter.type("I am listening.\r")
        seeker.expect("Marta: I am listening.")
        seeker.settle()
        assert seeker.screen.lines[-1] == "Marta > is any"
        seeker.type("body there?\r")
        supporter.expect("River: is anybody there?")
        seeker.expect("they have “is anybody there?”")
        seeker.type("/nothing\r")
        seeker.expect("/help")
        seeker.type("/leave\r")
        seeker.expect("Enter lets it go")
        seeker.type("\r")
        assert seeker.ended() == 0
        assert seeker.modes() == before
        assert "You have left." in seeker.screen.words
        assert "Take care of yourself" in seeker.screen.words
        assert all(len(line) <= width for line in seeker.screen.lines)
        supporter.expect("said goodbye")
        supporter.type("\x04")
        assert supporter.ended() == 0
        assert not seeker.screen.strays
        assert not supporter.screen.strays


@pytest.mark.parametrize("keys", ["\x03", "\x04", "half a line\x03"])
def test_leaving_by_a_key_gives_the_terminal_back(network: Network, ada: Path, keys: str) -> None:
    with seeking(network, "--adult", "--name", "River", "--line", "hello", whom="Ada") as seeker:
        before = seeker.modes()
        seeker.expect("Your hello is at their door.")
        assert seeker.modes() != before
        seeker.type(keys)
        assert seeker.ended() == 0
        assert seeker.modes() == before


@pytest.mark.parametrize("keys", ["/leave\r", "half a line\x1c"])
def test_whoever_leaves_before_the_answer_is_no_longer_at_the_door(network: Network, tmp_path: Path, keys: str) -> None:
    """They have three seconds to say so, which a busy machine may need for something else: then another one knocks."""
    name = f"Bo {len(keys)}"
    options = ("--adult", "--name", "River", "--line", "hello", "--data", str(tmp_path / "river"))
    with on_duty(network, network.supporter(name)) as supporter:
        for number in range(1, 6):
            with seeking(network, *options, whom=name) as seeker:
                seeker.expect("Your hello is at their door.")
                supporter.expect(f"{number}: somebody knocks")
                seeker.type(keys)
                if keys.startswith("/"):
                    seeker.expect("You have left.")
                assert seeker.ended() == 0
                if "\x1c" in keys:
                    assert not seeker.raw.rpartition(b"\x1b[3J")[2].strip(), "the screen stays empty"
            with suppress(AssertionError):
                supporter.expect(f"{number}: they have left.", 15)
                break
        supporter.type(f"/accept {number}\r")
        supporter.expect(f"{number} has left. Nobody did anything wrong.")
        supporter.type("\x04")
        assert supporter.ended() == 0


def test_people_under_18_are_not_turned_away_coldly(network: Network, marta: Path) -> None:
    with seeking(network) as seeker:
        seeker.expect("Are you 18 or older?")
        seeker.type("n\n")
        assert seeker.ended() == 0
        assert "childhelplineinternational.org" in seeker.screen.text


def test_ctrl_c_at_a_question_ends_quietly(network: Network, marta: Path) -> None:
    with seeking(network) as seeker:
        seeker.expect("Are you 18 or older?")
        assert seeker.interrupted() == 130
        assert "Traceback" not in seeker.screen.text


def test_keeping_asks_twice_and_shows_nothing_and_ctrl_backslash_erases(
    network: Network, marta: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "river"
    options = ("--adult", "--name", "River", "--line", "hello", "--data", str(folder))
    with on_duty(network, marta) as supporter, seeking(network, *options) as seeker:
        before = seeker.modes()
        supporter.expect("knocks")
        supporter.type("/accept\r")
        seeker.expect("Marta is here.")
        seeker.type("/keep\r")
        seeker.expect("A new passphrase for what you keep")
        seeker.type("four quiet rivers\r")
        seeker.expect("The same again")
        seeker.type("four loud rivers\r")
        seeker.expect("two different passphrases")
        assert not folder.exists() or not list(folder.iterdir())
        seeker.type("/keep\r")
        seeker.expect("A new passphrase for what you keep")
        seeker.type("four quiet rivers\r")
        seeker.expect("The same again")
        seeker.type("four quiet rivers\r")
        seeker.expect("is kept on this device")
        assert "quiet rivers" not in seeker.screen.text
        supporter.type("I hear you\r")
        seeker.expect("Marta: I hear you")
        assert (folder / "kept.db").exists()
        seeker.type("half a li\x1c")
        assert seeker.ended() == 0
        assert seeker.modes() == before
        assert list(folder.iterdir()) == []
        assert b"\x1b[2J\x1b[3J" in seeker.raw
        supporter.type("\x04")
        assert supporter.ended() == 0


def test_the_closing_screen_offers_a_report_with_chosen_lines(network: Network, marta: Path, tmp_path: Path) -> None:
    file = tmp_path / "report"
    with (
        on_duty(network, marta) as supporter,
        seeking(network, "--adult", "--name", "River", "--line", "hello") as seeker,
    ):
        supporter.expect("knocks")
        supporter.type("/accept\r")
        seeker.expect("Marta is here.")
        seeker.type("please do not write to me again\r")
        supporter.expect("please do not write")
        supporter.type("I know where you live\r")
        seeker.expect("Marta: I know where you live")
        supporter.type("/leave\r")
        seeker.expect("Enter lets it go")
        seeker.type(f"/report {file}\r")
        seeker.expect("Numbers to include")
        seeker.type("1\r")
        seeker.expect("Numbers to leave out")
        seeker.type("\r")
        seeker.expect("What happened, in your words")
        seeker.type("they threatened me\r")
        seeker.expect("1 signed messages of Marta and 1 lines of yours")
        seeker.type("/thread\r")
        seeker.expect("this conversation is over")
        seeker.type("\r")
        assert seeker.ended() == 0
        assert "Take care of yourself" in seeker.screen.words
        supporter.type("\x04")
        assert supporter.ended() == 0
    shown = subprocess.run(warmline("report", "verify", str(file)), capture_output=True, text=True, check=True).stdout
    shown = " ".join(shown.split())
    assert "signed: I know where you live" in shown
    assert "unproven, the reporter's: please do not write to me again" in shown
    assert "they threatened me" in shown
