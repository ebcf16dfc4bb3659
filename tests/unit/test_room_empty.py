"""What is said in a room before anybody is there who could read it, or before it is known who speaks."""

from __future__ import annotations

import pytest

from support.rooms import House
from warmline_protocol.session.events import TextReceived


@pytest.mark.parametrize("crash", [False, True])
def test_words_to_an_empty_room_are_refused_and_never_called_delivered(crash: bool) -> None:
    house = House(7)
    early = house.say(house.host, "is anybody here?")
    house.settle()
    assert house.host.states(early)[-1] == "refused"
    house.knock("River")
    house.settle()
    river = house.members[-1]
    if crash:
        house.host.crash(house.now)
    later = house.say(house.host, "welcome")
    house.settle()
    assert house.host.states(later)[-1] == "delivered"
    assert house.host.states(early)[-1] == "refused"
    assert river.texts == ["welcome"]


def test_who_comes_later_confirms_nothing_of_before() -> None:
    house = House(8)
    house.knock("River")
    house.settle()
    river = house.members[-1]
    message = house.say(house.host, "for River")
    while house.host.todo:
        house.perform(house.host)
    house.fetch(house.host)  # in the log, and River has not read it yet
    house.knock("Late")
    for _ in range(20):
        for person in [each for each in house.everyone if each is not river]:
            while person.todo:
                house.perform(person)
            house.fetch(person)
        house.sleep(1_000)
    late = house.members[-1]
    assert late is not river and late.texts == []
    assert "delivered" not in house.host.states(message)
    house.settle()
    assert house.host.states(message)[-1] == "delivered"
    assert river.texts == ["for River"]


def test_nobody_speaks_without_a_name() -> None:
    house = House(9)
    house.knock("River")
    house.knock("Moss")
    house.settle()
    river, moss = house.members
    del river.machine.people[moss.machine.me.id]  # as before the host's word about a newcomer has come
    house.say(moss, "hello")
    house.settle()
    assert [each.name for each in river.events if isinstance(each, TextReceived)] == ["somebody new"]
