"""Typing, away and small gestures, as people see them in a terminal and programs in JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.chain import warmline
from support.commands import Network, a_network
from support.terminals import terminal


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with a_network(tmp_path_factory.mktemp("signals"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def marta(network: Network) -> Path:
    return network.supporter("Marta")


def test_programs_see_who_types_and_who_is_away(network: Network, marta: Path) -> None:
    duty = network.duty(marta)
    seeker = network.program("talk", "--adult", "--with", "Marta", "--name", "River")
    duty.do(do="accept", to=duty.wait("knock")["knock"])
    seeker.wait("joined")
    assert duty.wait("signal", presence="here")["name"] == "River"
    seeker.wait("signal", presence="here")
    seeker.do(do="typing")
    duty.wait("signal", typing=True)
    duty.do(do="away")
    assert seeker.wait("signal", presence="away")["name"] == "Marta"
    duty.do(do="back")
    seeker.wait("signal", presence="here")
    seeker.do(do="wave")
    duty.wait("signal", gesture="wave")
    seeker.do(do="mood", text="hungry")
    assert "cannot say" in seeker.wait_error()["error"]
    assert duty.hang_up() == 0


def test_a_person_sees_one_quiet_line_and_their_keys_show_as_typing(network: Network, marta: Path) -> None:
    duty = network.duty(marta)
    words = ("talk", "--with", "Marta", "--adult", "--name", "River", "--line", "hello")
    with terminal(warmline(*words, *network.entry)) as seeker:
        duty.do(do="accept", to=duty.wait("knock")["knock"])
        seeker.expect("Marta is here.")
        duty.wait("signal", presence="here")
        seeker.type("/he")
        seeker.type("\x7f\x7f\x7fI ")
        assert duty.wait("signal", typing=True)["place"] == 1
        duty.do(do="typing")
        seeker.expect("Marta is typing …")
        duty.do(do="away")
        seeker.expect("Marta is away")
        seeker.settle()
        assert seeker.screen.lines[-1] == "Marta > I", "what one types stays where it is"
        seeker.type("\x15/away\r")
        seeker.expect("They see that you are away.")
        duty.wait("signal", presence="away")
        seeker.type("\x03")
        seeker.ended()
    assert duty.hang_up() == 0
