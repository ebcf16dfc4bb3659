"""Whom doors let through, what they remember, and that it lies encrypted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from warmline.client.door_policy import DESK, KNOWN, OPEN, SENT_MAX, Decision, DoorGate, DoorRules, PeopleBook
from warmline.client.identity import Identity
from warmline.client.people_file import PeopleFile
from warmline.env import SeededRng
from warmline_protocol.errors import ConfigError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session.hello import Hello
from warmline_protocol.session.known import known_attempt

MINUTE = 60_000
WORD = b"a word of Ada's."


class AClock:
    now = 1_800_000_000_000

    def utc_ms(self) -> int:
        return self.now


def a_gate(who: str = OPEN, **rules: int) -> tuple[DoorGate, AClock]:
    clock = AClock()
    return DoorGate(DoorRules(who, **rules), clock), clock


def hello(attempt: bytes = b"?" * 16, listing: bytes = b"") -> Hello:
    return Hello(attempt, b"kp", bytes(1216), bytes(32), bytes(32), (b"q",), "River", bytes(16), "hi", listing)


def judged(gate: DoorGate, said: Hello, *, expected: bool = False, sessions: int = 0) -> tuple[Decision, str]:
    return gate.at_door(said, expected=expected, sessions=sessions)


def by_word(word: bytes = WORD) -> Hello:
    return hello(known_attempt(word, b"saltsalt"))


@pytest.mark.parametrize("who", [KNOWN, DESK])
def test_a_closed_door_turns_strangers_away_late_and_shows_people_it_knows(who: str) -> None:
    gate, _ = a_gate(who)
    gate.know(WORD, "River")
    assert judged(gate, hello()) == (Decision.LATER, "")
    assert judged(gate, by_word()) == (Decision.SHOW, "River")
    assert judged(gate, by_word(b"another guess...")) == (Decision.LATER, "")
    assert gate.takes_offers(0) is Decision.LATER


def test_an_open_door_shows_everybody_and_names_who_is_known() -> None:
    gate, _ = a_gate()
    gate.know(WORD, "River")
    assert judged(gate, hello()) == (Decision.SHOW, "")
    assert judged(gate, by_word()) == (Decision.SHOW, "River")


def test_who_a_desk_sends_comes_in_by_desk_and_not_where_only_known_people_do() -> None:
    for who, decision in ((DESK, Decision.SHOW), (OPEN, Decision.SHOW), (KNOWN, Decision.LATER)):
        gate, clock = a_gate(who)
        gate.know(WORD, "sent by Night Owls", until_ms=clock.now + MINUTE, desk="Night Owls")
        assert judged(gate, by_word())[0] is decision
        clock.now += 2 * MINUTE
        assert judged(gate, by_word())[0] is (Decision.SHOW if who == OPEN else Decision.LATER)


@pytest.mark.parametrize("who", [OPEN, KNOWN, DESK])
def test_a_block_ends_the_contact_whatever_the_rule(who: str) -> None:
    gate, _ = a_gate(who)
    gate.know(WORD, "River")
    gate.block(by_word().attempt)
    gate.know(b"a word agreed on", "River")
    gate.block(b"attempt of today", b"a word agreed on")
    assert judged(gate, by_word(b"a word agreed on")) == (Decision.LATER, "")
    assert judged(gate, by_word()) == (Decision.LATER, "")
    assert judged(gate, hello(known_attempt(WORD, b"moresalt"))) == (Decision.LATER, "")
    assert judged(gate, hello(b"attempt of today"), expected=True) == (Decision.LATER, "")
    assert gate.book.people == ()


def test_limits_are_told_as_busy_and_invitations_and_own_groups_pass_them() -> None:
    gate, clock = a_gate(at_once=2, per_day=3, rest_minutes=10)
    assert judged(gate, hello(), sessions=2)[0] is Decision.BUSY
    for _ in range(3):
        gate.began()
    assert gate.full(0) == "day" and gate.takes_offers(0) is Decision.BUSY
    clock.now += 24 * 60 * MINUTE + 1
    assert gate.full(0) == "" and gate.today() == 0
    gate.ended()
    assert gate.full(0) == "rest"
    gate.own_room = lambda listing: listing == b"mine"
    assert judged(gate, hello(listing=b"mine"))[0] is Decision.SHOW
    assert judged(gate, hello(listing=b"somebody else's"))[0] is Decision.BUSY
    assert judged(gate, hello(), expected=True)[0] is Decision.SHOW
    clock.now += 9 * MINUTE
    assert gate.full(0) == "rest"
    gate.rest_over()
    assert gate.full(0) == ""


def test_rest_ends_by_itself_and_a_pause_does_not() -> None:
    gate, clock = a_gate(rest_minutes=10)
    gate.ended()
    clock.now += 10 * MINUTE
    assert gate.full(0) == ""
    gate.paused = True
    assert judged(gate, hello())[0] is Decision.BUSY


def test_another_way_to_know_somebody_counts() -> None:
    gate, _ = a_gate(KNOWN)
    gate.familiar = lambda said: "an old friend" if said.line == "hi" else ""
    assert judged(gate, hello()) == (Decision.SHOW, "an old friend")
    assert judged(gate, replace(hello(), line=""))[0] is Decision.LATER


def test_forgetting_takes_every_word_of_a_name_back() -> None:
    gate, _ = a_gate(KNOWN)
    gate.know(WORD, "River")
    gate.know(b"a second word...", "River")
    assert gate.forget("River") == 2
    assert judged(gate, by_word())[0] is Decision.LATER


def test_only_three_rules_exist() -> None:
    with pytest.raises(UsageError):
        DoorRules("nobody")


def test_the_book_is_encrypted_and_comes_back(tmp_path: Path) -> None:
    identity = Identity(SigningKey(b"i" * 32))
    file = PeopleFile(tmp_path, identity, SeededRng(1))
    assert file.load() == PeopleBook()
    gate, _ = a_gate()
    gate.know(WORD, "River of the north")
    gate.block(b"attempt of today")
    gate.began()
    file.save(gate.book)
    data = file.path.read_bytes()
    assert b"River" not in data and WORD not in data and b"attempt" not in data
    assert (file.path.stat().st_mode & 0o777) == 0o600
    assert PeopleFile(tmp_path, identity, SeededRng(2)).load() == gate.book
    file.path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ConfigError):
        file.load()
    file.path.write_bytes(data)
    with pytest.raises(ConfigError):
        PeopleFile(tmp_path, Identity(SigningKey(b"j" * 32)), SeededRng(3)).load()


def test_a_colleague_who_sends_without_end_pushes_out_nobody_whom_the_supporter_knows() -> None:
    gate, clock = a_gate(DESK)
    gate.know(WORD, "River")
    for number in range(600):
        gate.know(number.to_bytes(16), "sent by Mallory", until_ms=clock.now + MINUTE, desk="Night Owls")
    assert judged(gate, by_word()) == (Decision.SHOW, "River")
    assert len(gate.book.people) == 1 + SENT_MAX
