"""A short run of everything under random faults, and the account's own rules."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from chaos import words
from chaos.account import Account
from chaos.plan import KINDS, faults_of, talks_of
from chaos.run import Options, Run

SEED = 20
MESSAGES = 400


@pytest.mark.timeout(600)  # three quarters of a minute on two idle cores
async def test_every_message_is_accounted_for(tmp_path: Path) -> None:
    run = Run(Options(SEED, MESSAGES, tmp_path, settle=120.0, limit=540.0))
    await run.run()
    run.report()
    assert run.good
    assert run.account is not None and len(run.account.messages) == MESSAGES
    assert run.schedule


def test_a_seed_is_a_story() -> None:
    one, again = (faults_of(5, 2000, 8, 6, KINDS) for _ in range(2))
    assert one == again != faults_of(6, 2000, 8, 6, KINDS)
    assert {fault.kind for fault in faults_of(5, 20_000, 8, 6, KINDS)} == set(KINDS)
    talks = talks_of(5, 1234)
    assert sum(count for talk in talks for count in talk.counts.values()) == 1234


# --- the account: what it must find -----------------------------------------------------------------------------------

SAID = {"what": "sent", "talk": "p1", "number": 0, "who": "supporter", "life": 1}
SHOWN = {"what": "shown", "talk": "p1", "number": 0, "who": "seeker", "late": False, "signed": True, "name": "Ada"}


def lines(*counts: int, shown: tuple[int, ...] | None = None, fate: str = "delivered") -> list[dict[str, Any]]:
    """A supporter's messages with these numbers, and what the seeker was shown."""
    told = []
    for count in counts:
        key, id = f"p1/supporter/{count}", f"{count:032x}"
        told.append(SAID | {"key": key, "id": id})
        told.append({"what": "state", "id": id, "state": fate, "why": "", "last": fate != "waiting", "life": 1})
    for count in counts if shown is None else shown:
        key = f"p1/supporter/{count}"
        told.append(SHOWN | {"key": key, "hash": words.digest(words.text_of(SEED, key)), "id": "", "life": 1})
    return told


def found(told: list[dict[str, Any]]) -> list[str]:
    account = Account(SEED)
    for at, line in enumerate(told):
        account.take(line | {"at": at})
    account.judge()
    return [what for what, _ in account.violations]


def test_a_sound_account() -> None:
    assert found(lines(0, 1, 2)) == []
    assert found(lines(0, 1, 2, shown=(), fate="expired")) == []


def gave_up(who: str, talk: str = "p0") -> dict[str, Any]:
    return {"what": "gave up", "talk": talk, "number": 3, "who": who, "why": "nothing happens", "t": 9.0}


def ended(who: str, at: float, talk: str = "p0", number: int = 3) -> list[dict[str, Any]]:
    where = {"talk": talk, "number": number, "who": who}
    return [{"what": "in"} | where, {"what": "event", "told": {"event": "closed", "why": "left"}, "t": at} | where]


def test_who_is_left_alone_gives_up_only_when_the_others_had_ended() -> None:
    stays = {"what": "in", "talk": "p0", "number": 3, "who": "supporter"}
    assert found([*ended("supporter", 8.0), gave_up("seeker")]) == []
    for told in (ended("supporter", 9.5), [stays, *ended("supporter", 8.0, number=2)]):
        assert found([gave_up("seeker"), *told]) == ["p0 3: seeker gave up: nothing happens"]
    room = [*ended("m1", 8.0, "r0"), gave_up("host", "r0")]
    assert found(room) == []
    assert found([*room, *ended("m2", 9.5, "r0")]) == ["r0 3: host gave up: nothing happens"]


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        (lines(0, 1, shown=(0,)), "delivered and not shown"),
        (lines(0, shown=(0, 0)), "shown 2 times"),
        (lines(0, 1, shown=(1, 0)), "not marked late"),
        (lines(0, fate="waiting"), "without a last word"),
        (lines(0, shown=(0, 5)), "never had it taken"),
        ([each | {"hash": "other"} for each in lines(0)], "altered"),
        ([each | {"signed": False} for each in lines(0)], "without the signature"),
        ([*lines(0), lines(0)[1] | {"state": "refused"}], "after its last word"),
        ([*lines(0), SHOWN | {"key": "", "hash": "", "id": "", "life": 1}], "said by nobody"),
        ([{**each, "talk": "p2"} if each["what"] == "shown" else each for each in lines(0)], "not to read it"),
    ],
)
def test_what_the_account_finds(told: list[dict[str, Any]], complaint: str) -> None:
    assert any(complaint in what for what in found(told))


def test_a_gap_in_a_room_must_be_told() -> None:
    told = []
    for line in lines(0, 1, 2):
        line = line | ({"talk": "r1", "key": line["key"].replace("p1/supporter", "r1/host")} if "key" in line else {})
        told.append(line | ({"who": "host"} if line["what"] == "sent" else {}))
    for line in told:
        if line["what"] == "shown":
            line |= {"who": "m1", "hash": words.digest(words.text_of(SEED, line["key"]))}
    others = [line | {"who": "m2"} for line in told if line["what"] == "shown" and not line["key"].endswith("/1")]
    assert found(told) == []
    assert found([*told, *others]) == ["not shown to r1/m2, who was told of no gap"]
    gap = {"what": "gap", "talk": "r1", "who": "m2", "number": 0, "count": 1}
    assert found([*told, *others, gap]) == []


def test_texts_come_in_all_sizes_and_are_known_by_their_key() -> None:
    draw = random.Random(1)
    texts = [words.text_of(3, f"p{draw.randrange(8)}/seeker/{number}") for number in range(400)]
    assert max(len(text.encode()) for text in texts) > 7000
    assert all(words.key_of(text).endswith(f"/{number}") for number, text in enumerate(texts))
