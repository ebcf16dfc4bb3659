"""What the two of a session ask each other, evidence that outlives it, and events that nobody confirmed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import records as make
from support.sessions import START_MS, Link, meet
from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import BadSignatureError, MalformedError, RemoteError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.envelope import sign_record
from warmline_protocol.session import events
from warmline_protocol.session.evidence import Chapter
from warmline_protocol.session.evidence_bundle import (
    OwnLine,
    ReportBundle,
    bundle_digest,
    make_bundle,
    verify_bundle,
)
from warmline_protocol.session.hello import Knock, Peer, open_hello
from warmline_protocol.session.known import known_attempt, knows
from warmline_protocol.session.messages import BackupAnswer, Invite, Text, ThreadHere, ThreadOffer, pack_body
from warmline_protocol.session.xwing import SealingKey
from warmline_protocol.wire import to_wire


def a_link(seed: int = 0) -> Link:
    link = Link(meet(seed), Random(seed))
    link.settle()
    return link


def told(link: Link, kind: type[Any]) -> list[bool]:
    """Who heard such an event: [host, guest]."""
    return [any(isinstance(each, kind) for each in end.events) for end in link.ends]


def do(link: Link, end: Any, work: Callable[[Any], None]) -> None:
    work(end.machine)
    end.commit()
    link.settle()


# -- threads


def test_both_say_yes_and_have_the_same_word() -> None:
    link = a_link()
    do(link, link.guest, lambda pair: pair.offer_thread(link.now))
    assert told(link, events.ThreadOffered) == [True, False]
    assert not link.host.machine.thread and not link.guest.machine.thread
    do(link, link.host, lambda pair: pair.answer_thread(True, link.now))
    assert told(link, events.ThreadAgreed) == [True, True]
    word = link.guest.machine.thread
    assert len(word) == 16 and word == link.host.machine.thread
    assert knows(word, known_attempt(word, b"8 random"))


def test_a_no_leaves_nothing_and_may_be_asked_again() -> None:
    link = a_link()
    do(link, link.host, lambda pair: pair.offer_thread(link.now))
    do(link, link.guest, lambda pair: pair.answer_thread(False, link.now))
    assert told(link, events.ThreadDeclined) == [True, False] and told(link, events.ThreadAgreed) == [False, False]
    assert not link.host.machine.thread and not link.guest.machine.thread
    do(link, link.guest, lambda pair: pair.offer_thread(link.now))
    do(link, link.host, lambda pair: pair.answer_thread(True, link.now))
    assert link.host.machine.thread == link.guest.machine.thread != b""


def test_both_ask_at_once() -> None:
    link = a_link()
    for end in link.ends:
        end.machine.offer_thread(link.now)
        end.commit()
    link.settle()
    assert told(link, events.ThreadAgreed) == [True, True]
    assert link.host.machine.thread == link.guest.machine.thread != b""


def test_nobody_agrees_for_the_other() -> None:
    link = a_link()
    with pytest.raises(UsageError):
        link.guest.machine.answer_thread(True, link.now)
    do(link, link.guest, lambda pair: pair.offer_thread(link.now))
    with pytest.raises(UsageError):
        link.guest.machine.offer_thread(link.now)
    # a second share, chosen after seeing the answer, changes nothing
    do(link, link.host, lambda pair: pair.answer_thread(True, link.now))
    word = link.host.machine.thread
    link.guest.machine._enqueue(ThreadOffer(b"x" * 32), link.now, told=False)
    do(link, link.guest, lambda pair: pair._pump(link.now))
    assert link.host.machine.thread == word


def test_a_thread_survives_a_restart_and_proves_itself_once() -> None:
    link = a_link()
    for end in link.ends:
        do(link, end, lambda pair: pair.offer_thread(link.now))
    link.guest.crash(link.now)
    word = link.guest.machine.thread
    assert word == link.host.machine.thread
    again = a_link(1)
    again.guest.machine.came_back(word, again.now)
    do(again, again.host, lambda pair: pair.came_back(word, again.now))
    assert told(again, events.ThreadKnown) == [False, True]
    other = a_link(2)  # a proof of another session proves nothing
    other.guest.machine.came_back(word, other.now)
    other.host.machine._enqueue(ThreadHere(again.host.machine._thread_proof()), other.now, told=False)
    do(other, other.host, lambda pair: pair._pump(other.now))
    assert told(other, events.ThreadKnown) == [False, False]


# -- backup


def test_an_invitation_needs_the_seekers_yes() -> None:
    link = a_link()
    with pytest.raises(UsageError):
        link.host.machine.invite(b"a" * 16, "", b"", link.now)
    with pytest.raises(UsageError):
        link.guest.machine.ask_backup("", link.now)
    do(link, link.host, lambda pair: pair.ask_backup("a second pair of ears", link.now))
    do(link, link.guest, lambda pair: pair.answer_backup(False, link.now))
    assert [each.yes for each in link.host.events if isinstance(each, events.BackupAnswered)] == [False]
    with pytest.raises(UsageError):
        link.host.machine.invite(b"a" * 16, "", b"", link.now)
    do(link, link.guest, lambda pair: pair.answer_backup(True, link.now))
    do(link, link.host, lambda pair: pair.invite(b"a" * 16, "come", b"", link.now))
    assert [each.attempt for each in link.guest.events if isinstance(each, events.Invited)] == [b"a" * 16]


def test_a_client_that_does_not_ask_is_not_heard() -> None:
    link = a_link()
    for body in (Invite(b"a" * 16, "", b""),):
        link.host.machine._enqueue(body, link.now, told=False)
    link.guest.machine._enqueue(BackupAnswer(True), link.now, told=False)
    for end in link.ends:
        do(link, end, lambda pair: pair._pump(link.now))
    assert told(link, events.Invited) == [False, False] and told(link, events.BackupAnswered) == [False, False]


def test_a_colleagues_hello_is_for_one_door_and_one_wish() -> None:
    parties = meet()
    mine, other = SealingKey(b"1" * 32), SealingKey(b"2" * 32)
    key = SigningKey(b"k" * 32)
    draw = parties.rng.bytes
    knock = Knock(parties.provider.candidate(), draw, (b"q" * 300, b"r" * 300), name="Ada", peer=Peer(key, "backup"))
    hello, _ = open_hello(knock.cell(mine.public), [mine])
    hello.check_peer(mine.public)
    assert hello.peer is not None and hello.peer.key == key.public
    with pytest.raises(BadSignatureError):
        hello.check_peer(other.public)
    for changed in (
        dataclasses.replace(hello, peer=dataclasses.replace(hello.peer, wants="debrief")),
        dataclasses.replace(hello, peer=dataclasses.replace(hello.peer, key=SigningKey(b"x" * 32).public)),
        dataclasses.replace(hello, attempt=b"z" * 16),
        dataclasses.replace(hello, key_package=b"another"),
    ):
        with pytest.raises(BadSignatureError):
            changed.check_peer(mine.public)


# -- evidence


def a_report(count: int = 3, seed: int = 0) -> tuple[Link, bytes, tuple[Chapter, ...]]:
    link = a_link(seed)
    for number in range(count):
        link.say(link.guest, f"what he wrote {number}")
        link.say(link.host, f"what she wrote {number}")
        link.settle()
    key = link.parties.key
    return link, sign_record(make.card(key.public), key), link.guest.machine.verifier.chapters


def test_a_bundle_proves_what_she_wrote_and_nothing_of_his() -> None:
    _, card, chapters = a_report()
    data = make_bundle(card, chapters)
    finding = verify_bundle(data)
    assert [each.text for each in finding.texts] == [f"what she wrote {number}" for number in range(3)]
    assert all(each.missing == 0 for each in finding.texts)
    assert finding.own == () and b"what he wrote" not in data and b"River" not in data
    assert finding.digest == bundle_digest(data)


def test_lines_of_his_are_there_where_he_put_them() -> None:
    _, card, chapters = a_report()
    after = chapters[0].words[1].counter
    data = make_bundle(card, chapters, own=[OwnLine(0, after, START_MS, "no, thank you")], account="twice")
    finding = verify_bundle(data)
    assert [each.text for each in finding.own] == ["no, thank you"] and finding.account == "twice"


def test_what_is_left_out_shows_as_missing() -> None:
    _, card, (chapter,) = a_report(4)
    fewer = dataclasses.replace(chapter, words=(chapter.words[0], chapter.words[3]))
    data = make_bundle(card, [fewer])
    assert [each.missing for each in verify_bundle(data).texts] == [0, 2]
    assert b"what she wrote 1" not in data


def test_a_renewal_of_keys_is_no_missing_message() -> None:
    link, card, _ = a_report(2)
    do(link, link.host, lambda pair: pair.renew(link.now))
    link.say(link.host, "in the next epoch")
    link.settle()
    finding = verify_bundle(make_bundle(card, link.guest.machine.verifier.chapters))
    assert [each.missing for each in finding.texts] == [0, 0, 0]


def test_evidence_survives_restarts_and_is_bounded() -> None:
    link, card, _ = a_report(limits.EVIDENCE_KEPT + 5)
    link.guest.crash(link.now)
    (chapter,) = link.guest.machine.verifier.chapters
    assert len(chapter.words) == limits.EVIDENCE_KEPT
    finding = verify_bundle(make_bundle(card, [chapter]))
    assert finding.texts[-1].text == f"what she wrote {limits.EVIDENCE_KEPT + 4}" and finding.texts[0].missing > 0


def test_a_fresh_hello_begins_another_chapter() -> None:
    link, card, before = a_report(2)
    fresh = a_link(7).guest.machine
    fresh.verifier.follow(link.guest.machine.verifier)
    assert fresh.verifier.chapters == ()  # another supporter's
    same = a_link(0).guest.machine
    same.verifier.follow(link.guest.machine.verifier)
    assert same.verifier.chapters == before
    verify_bundle(make_bundle(card, before))


def test_a_fabricated_report_is_refused() -> None:
    link, card, (chapter,) = a_report()
    word = chapter.words[1]
    invented = dataclasses.replace(word, body=pack_body(Text("what she never wrote")))
    later = dataclasses.replace(word, counter=word.counter + 1)
    moved = dataclasses.replace(word, previous=chapter.words[0].previous)
    other = a_report(3, seed=3)[2][0]
    mixed = dataclasses.replace(chapter, words=(chapter.words[0], other.words[1]))
    for words in ((invented,), (later,), (chapter.words[0], moved), (word, chapter.words[0]), (word, word)):
        with pytest.raises(RemoteError):
            verify_bundle(to_wire(ReportBundle(card, (dataclasses.replace(chapter, words=words),))))
    for chapters in ((mixed,), (other,), (chapter, chapter), (dataclasses.replace(chapter, words=()),)):
        with pytest.raises(RemoteError):
            verify_bundle(to_wire(ReportBundle(card, chapters)))
    stranger = SigningKey(b"s" * 32)
    theirs = sign_record(make.card(stranger.public), stranger)
    with pytest.raises(BadSignatureError):
        verify_bundle(to_wire(ReportBundle(theirs, (chapter,))))
    with pytest.raises(UsageError):
        make_bundle(theirs, (chapter,))
    assert link.host.machine.verifier is None


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_bit_of_a_bundle_can_be_bent_unnoticed(at: int, bit: int) -> None:
    data = bytearray(_bundle())
    data[at % len(data)] ^= 1 << bit
    before = verify_bundle(_bundle())
    try:
        after = verify_bundle(bytes(data))
    except RemoteError:
        return
    # Only what nobody signed can differ: her clock.
    assert [each.text for each in after.texts] == [each.text for each in before.texts]
    assert after.card.data == before.card.data and after.digest != before.digest


def _bundle(made: list[bytes] = []) -> bytes:  # noqa: B006 - made once
    if not made:
        _, card, chapters = a_report()
        made.append(make_bundle(card, chapters))
    return made[0]


def test_rubbish_is_no_bundle() -> None:
    for data in (b"", b"\x80", encode({"t": "report-bundle"}), _bundle() + b"\0", _bundle()[:-1]):
        with pytest.raises(MalformedError):
            verify_bundle(data)


# -- events that nobody confirmed


def test_what_was_not_confirmed_is_told_again_and_marked() -> None:
    link = a_link()
    link.guest.machine.journal = True
    link.say(link.host, "one")
    link.say(link.host, "two")
    link.settle()
    assert link.guest.texts == ["one", "two"] and link.guest.machine.untold == 2
    link.guest.machine.told(1)
    link.guest.commit()
    link.guest.crash(link.now)
    again = [each for each in link.guest.events if isinstance(each, events.TextReceived) and each.again]
    assert [each.text for each in again] == ["two"]
    link.guest.machine.told(1)
    link.guest.commit()
    link.guest.crash(link.now)
    assert sum(each.again for each in link.guest.events if isinstance(each, events.TextReceived)) == 1


def test_the_last_word_on_ones_own_messages_is_told_again_too() -> None:
    link = a_link()
    link.guest.machine.journal = True
    link.guest.commit()
    message = link.say(link.guest, "are you there")
    link.settle()
    assert link.guest.states(message)[-1] == "delivered"
    link.guest.events.clear()
    link.guest.crash(link.now)
    assert link.guest.states(message) == ["delivered"]


def test_every_lasting_event_can_be_kept() -> None:
    kinds = [
        events.MessageState(b"i", "held", ("a", "b"), "left", 5),
        events.TextReceived(b"i", b"s", "Ada", "text", 1, True, True),
        events.Gap(b"s", 2),
        events.Left(b"m", "Ada", "left"),
        events.ThreadOffered(),
        events.ThreadAgreed(),
        events.ThreadDeclined(),
        events.BackupAsked("why"),
        events.BackupAnswered(True),
        events.Invited(b"a", "w", b"card"),
        events.Closed("left"),
    ]
    for event in kinds:
        assert events.is_lasting(event)
        packed = decode(encode(events.event_fields(event)))
        assert isinstance(packed, list) and events.event_of(packed) == event
    assert not events.is_lasting(events.MessageState(b"i", "waiting")) and not events.is_lasting(events.PeerAway())
