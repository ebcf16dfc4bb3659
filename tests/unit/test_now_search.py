"""Asking three at once: fair turns, first yes wins, everybody is told, and a minute is a minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import trio
from trio.testing import MockClock

from warmline.client.now import AWAY, BUSY, DECLINED, TAKEN, Asking, Rotation, Search, Yes
from warmline.env import SeededRng

Plan = Callable[[int], tuple[float, str]]
"""The how-maniest time somebody is asked, to seconds and answer."""


@dataclass
class Person:
    name: str
    plan: Plan
    rung: list[FakeRinging] = field(default_factory=list)


@dataclass
class FakeRinging:
    person: Person
    attempt: bytes
    began: float
    reachable: bool = True
    told: str = ""

    async def left(self) -> bool:
        await trio.lowlevel.checkpoint()
        return self.reachable

    async def answer(self) -> str:
        seconds, answer = self.person.plan(len(self.person.rung))
        await trio.sleep(seconds)
        return answer

    def over(self, why: str) -> None:
        self.told = self.told or why


def a_person(name: str, seconds: float = 1000, answer: str = AWAY) -> Person:
    return Person(name, lambda time: (seconds, answer))


class Street:
    """Rings at fake doors and remembers how many were rung at once."""

    def __init__(self) -> None:
        self.open: list[FakeRinging] = []
        self.most = 0

    def ring(self, person: Person) -> FakeRinging:
        ringing = FakeRinging(person, bytes([len(self.open)]) * 16, trio.current_time())
        person.rung.append(ringing)
        self.open.append(ringing)
        self.most = max(self.most, sum(not each.told for each in self.open))
        return ringing


def a_search(
    *tiers: list[Person], seed: int = 1, tell: Callable[[Asking], None] = lambda a: None
) -> tuple[Search[Person], Street]:
    street = Street()
    return Search(tiers, street.ring, rng=SeededRng(seed), tell=tell), street


async def test_the_first_yes_wins_and_the_other_two_are_told_answered(autojump_clock: MockClock) -> None:
    quick, slow, silent = a_person("quick", 3, TAKEN), a_person("slow", 5, TAKEN), a_person("silent")
    search, street = a_search([quick, slow, silent])
    found = await search.run()
    assert isinstance(found, Yes) and found.who is quick
    assert trio.current_time() - search._began == 3
    assert (slow.rung[0].told, silent.rung[0].told, quick.rung[0].told) == ("answered", "answered", "")
    assert street.most == 3 and search.asked == 3


async def test_two_who_say_yes_in_one_moment_are_one_winner_and_one_who_is_told(autojump_clock: MockClock) -> None:
    twins = [a_person("a", 2, TAKEN), a_person("b", 2, TAKEN), a_person("c")]
    search, _ = a_search(twins)
    found = await search.run()
    assert found is not None
    told = {person.name: person.rung[0].told for person in twins}
    assert told.pop(found.who.name) == ""
    assert set(told.values()) == {"answered"}


async def test_never_more_than_three_at_once_and_nobody_twice_before_everybody_once(autojump_clock: MockClock) -> None:
    people = [a_person(str(number)) for number in range(7)]
    search, street = a_search(people)
    assert await search.run() is None
    assert trio.current_time() - search._began == 60
    assert street.most == 3
    order = [ringing.person.name for ringing in street.open]
    assert sorted(order[:7]) == [str(number) for number in range(7)]
    assert len(order) == 9 and search.asked == 7
    assert all(ringing.told == "late" for ringing in street.open)


async def test_on_duty_come_before_others_and_each_tier_is_fair(autojump_clock: MockClock) -> None:
    firsts: Counter[str] = Counter()
    for seed in range(300):
        duty = [a_person(f"duty {n}", 1, DECLINED) for n in range(5)]
        other = [a_person("other", 1, DECLINED)]
        search, street = a_search(duty, other, seed=seed)
        assert await search.run() is None
        order = [ringing.person.name for ringing in street.open]
        assert order[-1] == "other"
        firsts.update(order[:3])
    assert all(150 <= count <= 210 for count in firsts.values()), firsts  # 180 of 300 each


async def test_when_everybody_said_no_nobody_waits_for_the_minute_to_end(autojump_clock: MockClock) -> None:
    search, street = a_search([a_person(str(n), 2, DECLINED) for n in range(4)])
    assert await search.run() is None
    assert trio.current_time() - search._began == 4
    assert len(street.open) == 4


async def test_somebody_busy_is_asked_again_after_a_pause(autojump_clock: MockClock) -> None:
    busy = Person("busy", lambda time: (1.0, BUSY if time == 1 else TAKEN))
    search, _ = a_search([busy])
    found = await search.run()
    assert found is not None
    assert [ringing.began - search._began for ringing in busy.rung] == [0, 21]


async def test_who_says_yes_and_vanishes_is_left_and_the_search_goes_on(autojump_clock: MockClock) -> None:
    vanishing, steady = a_person("vanishing", 1, TAKEN), a_person("steady", 4, TAKEN)
    search, _ = a_search([vanishing, steady])
    first = await search.run()
    assert first is not None and first.who is vanishing
    first.ringing.over("late")
    second = await search.run()
    assert second is not None and second.who is steady
    assert steady.rung[0].told == "answered" and len(steady.rung) == 2


async def test_who_takes_everything_gets_no_more_than_their_turns(autojump_clock: MockClock) -> None:
    """Rotation, not speed, decides who is asked: a machine that says yes at once is asked as often as anybody."""
    won = 0
    for seed in range(200):
        greedy = a_person("greedy", 0, TAKEN)
        people = [greedy, *(a_person(str(n), 6, TAKEN) for n in range(8))]
        search, _ = a_search(people, seed=seed)
        found = await search.run()
        won += found is not None and found.who is greedy
    assert 45 <= won <= 90, won  # asked in 3 of 9 first turns


async def test_a_door_out_of_reach_makes_room_for_the_next(autojump_clock: MockClock) -> None:
    here = a_person("here", 2, TAKEN)
    gone = [a_person(str(n)) for n in range(3)]
    street = Street()

    def ring(person: Person) -> FakeRinging:
        ringing = street.ring(person)
        ringing.reachable = person is here
        return ringing

    search = Search([gone, [here]], ring, rng=SeededRng(3))
    found = await search.run()
    assert found is not None and found.who is here


async def test_leaving_tells_whoever_is_being_asked(autojump_clock: MockClock) -> None:
    people = [a_person(str(n)) for n in range(3)]
    search, street = a_search(people)
    with trio.move_on_after(7):
        await search.run()
    assert [ringing.told for ringing in street.open] == ["left"] * 3


async def test_progress_is_told_every_few_seconds(autojump_clock: MockClock) -> None:
    told: list[Asking] = []
    search, _ = a_search([a_person(str(n)) for n in range(3)], tell=told.append)
    await search.run()
    assert [each.seconds for each in told] == list(range(0, 60, 5))
    assert {each.now for each in told[1:]} == {3}


def test_rotation_gives_nobody_up_after_one_silence() -> None:
    rotation = Rotation([["a"]], SeededRng(1))
    for _ in range(3):
        turn = rotation.next(0.0)
        assert turn is not None
        rotation.back(turn, AWAY, 0.0)
    assert rotation.next(0.0) is None and rotation.empty
