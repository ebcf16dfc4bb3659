"""Offers, their answers, introductions and words: what is said at a door before anybody is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from warmline.env import SeededRng
from warmline_protocol import limits
from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session.hello import Declined, Hello
from warmline_protocol.session.known import heard, known_attempt, knows, spoken, which_word
from warmline_protocol.session.offers import (
    ANSWERED,
    AtDoor,
    Offer,
    OfferOver,
    Taken,
    introduce,
    read_at_door,
    read_offer_answer,
    seal_at_door,
    seal_offer_answer,
)
from warmline_protocol.session.xwing import SealingKey
from warmline_protocol.wire import from_wire, to_wire

CONTACT = SealingKey(b"c" * 32)
OFFER = Offer(b"a" * 16, b"s" * 32, b"queue", ("en",), 18, 30, "grief", 1_800_000_000_000)
HELLO = Hello(b"a" * 16, b"kp", bytes(1216), bytes(32), bytes(32), (b"q",), "River", bytes(16), "hi", b"")
INTRODUCED = introduce(SigningKey(b"i" * 32), b"d" * 32, b"t" * 32, b"w" * 16, 1_800_000_000_000)


@pytest.mark.parametrize(
    "said", [OFFER, OfferOver(b"a" * 16, ANSWERED), HELLO, INTRODUCED], ids=lambda s: type(s).__name__
)
def test_everything_at_a_door_is_one_cell_that_only_the_contact_key_opens(said: AtDoor) -> None:
    cell = seal_at_door(said, CONTACT.public)
    assert len(cell) == limits.CELL_SIZE
    assert read_at_door(cell, [SealingKey(b"o" * 32), CONTACT]) == (said, 1)
    with pytest.raises(MalformedError):
        read_at_door(cell, [SealingKey(b"o" * 32)])


@pytest.mark.parametrize("wrong", [{"languages": ("English",)}, {"topic": "Grief!"}, {"age_low": 40, "age_high": 30}])
def test_an_offer_holds_tags_and_a_band_and_no_words(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(OFFER, **wrong)
    assert set(Offer.__dataclass_fields__) == {
        *("attempt", "reply_secret", "reply", "languages", "age_low", "age_high", "topic", "until_ms")
    }


def test_an_answer_reaches_whoever_has_the_secret_of_the_offer() -> None:
    draw = SeededRng("answer").bytes
    for answer in (Taken(OFFER.attempt), Declined(OFFER.attempt, "busy")):
        cell = seal_offer_answer(answer, OFFER.reply_secret, draw)
        assert len(cell) == limits.CELL_SIZE
        assert read_offer_answer(cell, OFFER.reply_secret) == answer
        assert read_offer_answer(cell, b"another secret of the other two!") is None
    assert read_offer_answer(bytes(limits.CELL_SIZE), OFFER.reply_secret) is None


def test_an_introduction_is_for_one_card_and_by_one_key() -> None:
    INTRODUCED.check(b"t" * 32)
    with pytest.raises(MalformedError):
        INTRODUCED.check(b"u" * 32)
    for wrong in (
        {"word": b"x" * 16},
        {"desk": b"x" * 32},
        {"until_ms": INTRODUCED.until_ms + 1},
        {"key": SigningKey(b"j" * 32).public},
    ):
        with pytest.raises(BadSignatureError):
            replace(INTRODUCED, **wrong).check(b"t" * 32)
    assert from_wire(to_wire(INTRODUCED), (type(INTRODUCED),)) == INTRODUCED


def test_an_attempt_shows_the_word_it_was_made_with_and_no_other() -> None:
    words = [bytes([n]) * 16 for n in range(20)]
    attempt = known_attempt(words[7], b"saltsalt")
    assert len(attempt) == 16
    assert which_word(words, attempt) == words[7]
    assert which_word([*words[:7], *words[8:]], attempt) is None
    assert not knows(words[7], b"saltsalT" + attempt[8:])
    assert known_attempt(words[7], b"another!")[8:] != attempt[8:]


def test_a_word_is_written_down_and_read_back() -> None:
    word = SeededRng("word").bytes(16)
    text = spoken(word)
    assert len(text.replace("-", "")) == 26
    assert heard(text) == heard(text.upper().replace("-", " ")) == word
    for wrong in ("", "abcd", text + "a", "ä" * 26, text[:-1] + "1"):
        with pytest.raises(UsageError):
            heard(wrong)
