"""A room whose host says nothing: when it is read-only, when it is over, and what a device that slept makes of it."""

from __future__ import annotations

import pytest

from support.rooms import House, a_house
from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.session.events import Closed, ReadOnly, Writable

NAMES = ["River", "Moss", "Fern", "Wren"]


@pytest.fixture
def house() -> House:
    return a_house(*NAMES)


def test_without_the_host_nothing_can_be_said_and_then_it_ends(house: House) -> None:
    member = house.members[0]
    house.now += limits.ROOM_READ_ONLY_MS
    member.machine.tick(house.now)
    member.commit()
    assert isinstance(member.events[-1], ReadOnly)
    with pytest.raises(UsageError):
        member.machine.send("anyone?", house.now)
    house.host.machine.tick(house.now)
    house.host.commit()
    house.settle()
    assert any(isinstance(each, Writable) for each in member.events)
    house.say(member, "there you are")
    house.settle()
    for silence in (limits.ROOM_READ_ONLY_MS, limits.ROOM_CLOSED_MS - limits.ROOM_READ_ONLY_MS):
        house.now += silence
        member.machine.tick(house.now)
        member.commit()
    assert member.events[-1] == Closed("host gone")
    while member.todo:
        house.perform(member)
    house.settle()  # the host comes back, and does not wait for who is gone
    assert member.machine.me.id not in house.host.machine.people


def test_a_member_whose_device_slept_reads_first_what_the_host_said_meanwhile(house: House) -> None:
    member = house.members[0]
    house.now += 2 * limits.ROOM_CLOSED_MS
    house.say(house.host, "still here")
    while house.host.todo:
        house.perform(house.host)
    member.machine.tick(house.now)
    member.commit()
    assert isinstance(member.events[-1], ReadOnly)
    house.fetch(member)
    assert "still here" in member.texts
    assert any(isinstance(each, Writable) for each in member.events)
    house.now += limits.ROOM_READ_ONLY_MS - 1
    member.machine.tick(house.now)
    assert not member.machine.closed
    assert not member.machine.read_only


def test_a_member_whose_device_slept_does_not_wait_long_for_a_host_that_is_gone(house: House) -> None:
    member = house.members[0]
    house.now += 2 * limits.ROOM_CLOSED_MS
    member.machine.tick(house.now)
    assert not member.machine.closed
    due = member.machine.next_timer()
    assert due == house.now + limits.ROOM_AWOKEN_MS
    house.now = due
    member.machine.tick(house.now)
    member.commit()
    assert member.events[-1] == Closed("host gone")


def test_a_device_that_slept_a_few_minutes_gives_the_host_all_its_time(house: House) -> None:
    member = house.members[0]
    seen = member.machine.host_seen_ms
    house.now = seen + limits.ROOM_CLOSED_MS // 2
    member.machine.tick(house.now)
    assert member.machine.host_seen_ms == seen
    house.now = seen + limits.ROOM_CLOSED_MS - 1
    member.machine.tick(house.now)
    assert not member.machine.closed


def test_old_words_of_the_host_are_no_sign_of_life(house: House) -> None:
    member = house.members[0]
    house.say(house.host, "said long ago")
    while house.host.todo:
        house.perform(house.host)
    house.now += limits.ROOM_READ_ONLY_MS + 1
    member.machine.tick(house.now)
    house.fetch(member)
    assert member.machine.read_only


def test_heartbeats_keep_a_quiet_room_open(house: House) -> None:
    for _ in range(20):
        house.sleep(30_000)
        for person in house.everyone:
            while person.todo:
                house.perform(person)
        for person in house.everyone:
            house.fetch(person)
    assert not any(isinstance(each, ReadOnly) for each in house.members[0].events)
