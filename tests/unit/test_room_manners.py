"""Room life on real MLS and the queue node's real log: rules, voices, slow mode, facilitators, asides, successions."""

from __future__ import annotations

import pytest

from support.rooms import House, Person, a_house
from warmline_protocol import limits
from warmline_protocol.errors import RefusedError, UsageError
from warmline_protocol.session import events as said
from warmline_protocol.session.hello import rules_digest
from warmline_protocol.session.messages import Conduct, Text
from warmline_protocol.session.room_manners import Manners, plausible
from warmline_protocol.session.room_words import Consent, Plea, seal_whisper

NAMES = ["River", "Moss", "Fern", "Wren"]


@pytest.fixture
def house() -> House:
    return a_house(*NAMES)


def id_of(person: Person) -> bytes:
    return person.machine.me.id


def told(person: Person, kind: type) -> list[said.Event]:
    return [each for each in person.events if isinstance(each, kind)]


def host_does(house: House, name: str, *arguments: object) -> None:
    getattr(house.room, name)(*arguments, house.now)
    house.host.commit()
    house.settle()


def smuggle(house: House, person: Person, text: str, *, later_ms: int = 0) -> bytes:
    """A dishonest client: says it whatever its room's manners are."""
    entry = person.machine._enqueue(Text(text), house.now + later_ms, told=True)
    person.machine._pump(house.now)
    person.commit()
    return entry.id


# --- rules -----------------------------------------------------------------------------------------------------------


def test_nobody_comes_in_without_having_accepted_these_very_rules(house: House) -> None:
    rules = ("Be kind.", "What is said here stays here.")
    house.room.rules = rules_digest(rules)
    for accepted in (None, rules_digest(("Be kind.",)), rules_digest(tuple(reversed(rules)))):
        with pytest.raises(RefusedError) as refusal:
            house.knock("Late", accepted=accepted)
        assert refusal.value.code == "rules"
    house.knock("Late", accepted=rules_digest(rules))
    house.settle()
    assert len(house.room.group.roster()) == 6


# --- voices ----------------------------------------------------------------------------------------------------------


def test_a_muted_member_is_told_and_shown_to_nobody(house: House) -> None:
    river, moss = house.members[:2]
    host_does(house, "mute", id_of(river))
    assert all(said.Muted(id_of(river), "River") in person.events for person in house.everyone)
    with pytest.raises(UsageError, match="listening only"):
        river.machine.send("hello?", house.now)
    host_does(house, "unmute", id_of(river))
    house.say(river, "thank you")
    house.settle()
    assert "thank you" in house.host.texts and "thank you" in moss.texts


def test_a_client_that_does_not_keep_to_a_mute_speaks_to_nobody(house: House) -> None:
    river = house.members[0]
    host_does(house, "mute", id_of(river))
    message = smuggle(house, river, "you must hear me")
    house.settle()
    for person in house.everyone:
        assert "you must hear me" not in person.texts
    assert river.states(message)[-1] == "refused"


def test_what_crosses_a_mute_in_the_log_ends_the_same_for_all(house: House) -> None:
    river = house.members[0]
    message = house.say(river, "crossing")
    crossing = river.todo.pop(0)
    house.room.mute(id_of(river), house.now)
    house.host.commit()
    while house.host.todo:
        house.perform(house.host)
    river.todo.append(crossing)
    house.settle()
    word = [each for each in told(river, said.MessageState) if each.id == message][-1]
    assert (word.state, word.why) == ("refused", "muted")
    assert all("crossing" not in person.texts for person in house.everyone)


def test_newcomers_listen_first_and_keep_their_rank_when_they_come_back(house: House) -> None:
    host_does(house, "mute_first", True)
    house.knock("Late")
    house.settle()
    late = house.members[-1]
    assert said.Muted(id_of(late), "Late") in late.events
    house.say(house.members[0], "those who were here still speak")
    house.settle()
    assert "those who were here still speak" in late.texts
    late.machine.locked_out(house.now)
    late.commit()
    house.rejoin(late)
    house.settle()
    with pytest.raises(UsageError, match="listening only"):
        late.machine.send("now?", house.now)
    host_does(house, "unmute", id_of(late))
    house.say(late, "hello all")
    house.settle()
    assert "hello all" in house.host.texts


def test_what_was_waiting_when_somebody_is_muted_is_refused_at_once(house: House) -> None:
    river = house.members[0]
    house.say(river, "first")
    message = house.say(river, "second")  # behind the first, which is on its way
    house.room.mute(id_of(river), house.now)
    house.host.commit()
    while house.host.todo:
        house.perform(house.host)
    house.fetch(river)
    assert river.states(message) == ["waiting", "refused"]
    house.settle()


# --- slow mode -------------------------------------------------------------------------------------------------------


def test_slow_mode_is_said_beforehand(house: House) -> None:
    host_does(house, "slow", 60_000)
    river = house.members[0]
    assert said.SlowMode(60_000) in river.events
    house.say(river, "one")
    with pytest.raises(UsageError, match="slow mode") as error:
        river.machine.send("two", house.now)
    assert error.value.hint is not None and "60 s" in error.value.hint
    house.settle()
    house.sleep(60_000)
    house.say(river, "two")
    house.say(house.host, "the host may")
    house.say(house.host, "say more")
    house.settle()
    assert house.host.texts[-2:] == ["one", "two"]
    host_does(house, "slow", 0)
    house.say(river, "three")
    house.say(river, "four")
    house.settle()
    assert house.host.texts[-2:] == ["three", "four"]


def test_a_client_that_does_not_keep_to_slow_mode_is_not_shown(house: House) -> None:
    host_does(house, "slow", 60_000)
    river, moss = house.members[:2]
    smuggle(house, river, "one")
    second = smuggle(house, river, "two")
    # Times that lie ahead help as far as clocks may be wrong, and no further.
    ahead = [smuggle(house, river, f"ahead {n}", later_ms=n * 60_000) for n in range(1, 30)]
    house.settle()
    assert river.states(second)[-1] == "refused"
    assert "two" not in moss.texts and "two" not in house.host.texts
    shown = [text for text in moss.texts if text.startswith("ahead")]
    assert len(shown) <= limits.CLOCK_SKEW_MS // 60_000 + 1 < len(ahead)
    assert shown == [text for text in house.host.texts if text.startswith("ahead")]


# --- facilitators ----------------------------------------------------------------------------------------------------


def test_a_co_facilitator_has_things_done_and_others_have_not(house: House) -> None:
    river, moss, fern = house.members[:3]
    with pytest.raises(UsageError):
        moss.machine.ask("mute", id_of(river), house.now)
    moss.machine._whisper(Plea("mute", id_of(river)), house.now)  # a dishonest client asks all the same
    moss.commit()
    house.settle()
    assert house.room.manners.voice(id_of(river), house.room.host.id)
    host_does(house, "co_facilitate", id_of(moss), True)
    host_does(house, "co_facilitate", id_of(fern), True)
    assert said.CoFacilitates(id_of(moss), "Moss") in river.events
    moss.machine.ask("mute", id_of(river), house.now)
    moss.commit()
    house.settle()
    assert said.Facilitated(id_of(moss), "Moss", "mute", "River") in house.host.events
    assert said.Muted(id_of(river), "River") in fern.events
    for target in (id_of(fern), house.room.me.id):  # not the host, and not each other
        moss.machine.ask("remove", target, house.now)
        moss.commit()
        house.settle()
    assert len(house.room.group.roster()) == 5
    moss.machine.ask("remove", id_of(river), house.now)
    moss.commit()
    house.settle()
    assert river.events[-1] == said.Closed("removed")


def test_above_twelve_people_a_second_facilitator_must_be_here() -> None:
    house = House(5)
    for number in range(limits.ONE_FACILITATOR_SEATS_MAX - 1):
        house.knock(f"member {number}", wait=False)
    with pytest.raises(RefusedError) as refusal:
        house.knock("thirteen")
    assert refusal.value.code == "facilitators" and "/cofacilitate" in str(refusal.value.hint)
    house.sleep(limits.ROOM_BATCH_MS)
    house.settle()
    helper = house.members[0]
    host_does(house, "co_facilitate", id_of(helper), True)
    house.knock("thirteen")
    house.settle()
    assert len(house.room.group.roster()) == 13
    host_does(house, "remove", id_of(helper))
    house.members.remove(helper)
    house.members.append(helper)
    host_does(house, "remove", id_of(house.members[1]))
    assert not told(house.host, said.SecondFacilitatorGone)  # twelve are left


def test_it_is_said_when_the_second_facilitator_has_gone() -> None:
    house = House(6)
    house.knock("Helper")
    house.settle()
    (helper,) = house.members
    host_does(house, "co_facilitate", id_of(helper), True)
    for number in range(13):
        house.knock(f"member {number}", wait=False)
    house.sleep(limits.ROOM_BATCH_MS)
    house.settle()
    host_does(house, "remove", id_of(helper))
    assert said.SecondFacilitatorGone(14) in house.host.events
    with pytest.raises(RefusedError):
        house.knock("fifteen")


# --- a word in private -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("yes", [True, False])
def test_a_word_in_private_takes_a_yes(house: House, yes: bool) -> None:
    river, moss = house.members[:2]
    aside = house.room.invite(id_of(river), house.now)
    house.host.commit()
    house.settle()
    assert said.AsideAsked(aside, "Ada") in river.events
    assert not told(moss, said.AsideAsked)
    with pytest.raises(UsageError):
        moss.machine.answer_aside(aside, True, house.now)
    # Another member who learnt the id cannot say yes in River's place.
    moss.machine._whisper(Consent(aside, True), house.now)
    moss.commit()
    house.settle()
    assert not told(house.host, said.AsideAnswered)
    river.machine.answer_aside(aside, yes, house.now)
    river.commit()
    house.settle()
    assert said.AsideAnswered(aside, id_of(river), "River", yes) in house.host.events
    assert all("Consent" not in repr(person.events) for person in house.members)


def test_whispers_under_a_wrong_key_are_nothing(house: House) -> None:
    river = house.members[0]
    before = house.room.statistics.refused
    whisper = seal_whisper(Plea("remove", id_of(house.members[1])), bytes(32), house.rng.bytes)
    river.machine._enqueue(whisper, house.now, told=False)
    river.machine._pump(house.now)
    river.commit()
    house.settle()
    assert house.room.statistics.refused == before + 1
    assert len(house.room.group.roster()) == 5


# --- the end ---------------------------------------------------------------------------------------------------------


def test_the_host_says_whose_card_opens_the_next_room(house: House) -> None:
    house.room.succeed(b"c" * 32, house.now)
    house.room.leave(house.now, "closed")
    house.host.commit()
    for person in house.everyone:
        while person.todo:
            house.perform(person)
        house.fetch(person)
    for member in house.members:
        assert member.machine.succession == b"c" * 32
        assert member.events[-1] == said.Closed("host gone")


def test_only_the_host_says_how_one_speaks_here(house: House) -> None:
    from warmline_protocol.session.messages import Conduct, Succession

    member, other = house.members[:2]
    for body in (Conduct(True, 3_600_000), Succession(b"c" * 32)):
        member.machine._remark(body, house.now)
    member.commit()
    house.settle()
    assert other.machine.statistics.refused == 2 and other.machine.succession == b""
    assert other.machine.manners.slow_ms == 0


def test_a_time_ahead_makes_no_room_for_many_before_it() -> None:
    """One text dated five minutes ahead, and any number dated now was far enough from it."""
    manners, now = Manners(), 1_000_000_000
    manners.conduct = Conduct(mute_first=False, slow_ms=60_000)

    def shown(*times: int) -> int:
        count = 0
        for sent in times:
            if not manners.refuses(b"m", b"h", plausible(sent, now)):
                manners.spoke(b"m", plausible(sent, now))
                count += 1
        return count

    assert shown(now + 300_000) == 1
    assert shown(*[now] * 20) == 1
    assert shown(*(now - number * 60_000 for number in range(1, 50))) == 2
    restored = Manners.from_fields(manners.to_fields())
    assert restored.refuses(b"m", b"h", now - 10**7) == "slow mode"
    manners.become(b"m", b"n")
    assert manners.refuses(b"n", b"h", now - 10**7) == "slow mode"
    now += 60_000
    assert not manners.refuses(b"n", b"h", plausible(now + 300_000, now))


def test_what_was_offered_again_is_heard_behind_later_texts() -> None:
    manners = Manners()
    manners.conduct = Conduct(mute_first=False, slow_ms=60_000)
    for sent in (180_000, 60_000, 120_000):
        assert manners.refuses(b"m", b"h", sent) == ""
        manners.spoke(b"m", sent)
