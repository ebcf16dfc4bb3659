"""The node's side of signals: the newest of each, one batch a second, nothing for long, and nothing without a place."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from support.signals import ROOM, Corner, Someone, a_corner
from warmline_protocol.errors import ChannelClosed, DeadlineError, RefusedError
from warmline_protocol.limits import SIGNAL_BATCH_MS, SIGNAL_CHANNEL_MAX, SIGNAL_EVERY_MS, SIGNAL_SILENCE_MS

BATCH_S, EVERY_S = SIGNAL_BATCH_MS / 1000, SIGNAL_EVERY_MS / 1000


async def test_everybody_hears_the_others_and_nobody_themselves(autojump_clock: MockClock) -> None:
    async with a_corner() as corner:
        ana, ben, eve = [await corner.join() for _ in range(3)]
        for name, person in (("ana", ana), ("ben", ben), ("eve", eve)):
            await person.say(name)
        assert await ana.hear() == ("ben", "eve")
        assert await ben.hear() == ("ana", "eve")
        assert await eve.hear() == ("ana", "ben")
        assert corner.service.statistics().people == 3


async def test_one_batch_a_second_and_one_signal_in_two_seconds_the_newest(autojump_clock: MockClock) -> None:
    async with a_corner() as corner:
        ana, ben = await corner.join(), await corner.join()
        started = trio.current_time()
        for number in range(4):
            await ana.say(number)
        assert await ben.hear() == ("0",)
        assert trio.current_time() - started == pytest.approx(BATCH_S)
        assert await ben.hear() == ("3",), "those in between were replaced"
        assert trio.current_time() - started == pytest.approx(EVERY_S, abs=BATCH_S + 0.01)


async def test_who_comes_later_is_told_at_once_and_of_those_who_are_there_only(autojump_clock: MockClock) -> None:
    async with a_corner() as corner:
        ana, ben = await corner.join(), await corner.join()
        await ana.say("ana")
        await ben.say("ben")
        await ana.hear()
        await ben.channel.aclose()
        started = trio.current_time()
        late = await corner.join()
        assert await late.hear() == ("ana",)
        assert trio.current_time() - started < BATCH_S


async def test_channels_do_not_hear_each_other(autojump_clock: MockClock) -> None:
    async with a_corner() as corner:
        ana, ben, eve = await corner.join(), await corner.join(), await corner.join(b"x" * 16)
        await ana.say("ana")
        assert await ben.hear() == ("ana",)
        with pytest.raises(DeadlineError):
            await eve.hear(BATCH_S * 3)
        assert corner.service.statistics().channels == 2


async def test_a_goodbye_goes_out_even_when_it_comes_too_early(autojump_clock: MockClock) -> None:
    async with a_corner() as corner:
        ana, ben = await corner.join(), await corner.join()
        await ana.say("here")
        assert await ben.hear() == ("here",)
        await ana.say("goodbye")
        await ana.channel.aclose()
        assert await ben.hear() == ("goodbye",)


async def test_nothing_is_left_when_everybody_has_gone(autojump_clock: MockClock) -> None:
    async with a_corner() as corner:
        people = [await corner.join() for _ in range(5)]
        for number, person in enumerate(people):
            await person.say(number)
        for person in people:
            await person.channel.aclose()
        await trio.sleep(5 * BATCH_S)
        service = corner.service
        assert not service._rooms and not service._due and not service._entries
        assert (service.statistics().people, service.statistics().channels) == (0, 0)


async def test_who_says_nothing_is_let_go_and_who_waits_hears_that_the_node_is_there(autojump_clock: MockClock) -> None:
    async with a_corner() as corner:
        ana = await corner.join()
        beats = 0
        with pytest.raises(ChannelClosed):
            while True:
                await ana.channel.receive(deadline=100)
                beats += 1
        assert trio.current_time() == pytest.approx(SIGNAL_SILENCE_MS / 1000, abs=1)
        assert beats >= 3


# --- places ----------------------------------------------------------------------------------------------------------


async def test_a_channel_has_places_for_a_room_and_no_more(autojump_clock: MockClock) -> None:
    async with a_corner(people=1000) as corner:
        for _ in range(SIGNAL_CHANNEL_MAX):
            await corner.join()
        await refused(corner)
        await corner.join(b"x" * 16)


async def test_greedy_entries_leave_places_to_the_next(autojump_clock: MockClock) -> None:
    async with a_corner(people=60) as corner:
        assert await fill(corner, "greedy") == 30
        assert await fill(corner, "greedy too") == 15
        await corner.join(b"n" * 16, "next")


async def test_entries_that_are_new_share_a_quarter(autojump_clock: MockClock) -> None:
    async with a_corner(people=80) as corner:
        corner.known = False
        taken = sum([await fill(corner, f"invented {number}") for number in range(30)])
        assert taken <= 20
        corner.known = True
        assert await fill(corner, "known") >= 20


async def fill(corner: Corner, entry: str) -> int:
    """Come as often as one may, each time on another channel; how often that was."""
    count = 0
    while True:
        try:
            await corner.join(f"{entry} {count}".encode().ljust(16, b".")[-16:], entry)
        except RefusedError as error:
            assert error.code == "busy"
            return count
        count += 1


async def refused(corner: Corner) -> None:
    with pytest.raises(RefusedError) as refusal:
        await corner.join()
    assert refusal.value.code == "busy"


# --- load ------------------------------------------------------------------------------------------------------------


async def test_while_cells_wait_signals_do_too_and_only_the_newest_is_left(autojump_clock: MockClock) -> None:
    async with a_corner() as corner:
        ana, ben = await corner.join(), await corner.join()
        corner.crowded = True
        await ana.say("old")
        await trio.sleep(EVERY_S)
        await ana.say("new")
        await nothing_for(ben, 5 * BATCH_S)
        await refused(corner)
        corner.crowded = False
        assert await ben.hear() == ("new",)
        assert corner.service.statistics().rounds_shed >= 4
        assert ROOM in corner.service._rooms


async def nothing_for(person: Someone, seconds: float) -> None:
    with pytest.raises(DeadlineError):
        await person.hear(seconds)
