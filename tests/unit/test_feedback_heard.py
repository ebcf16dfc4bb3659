"""What collectors heard each other announce, and when it is a proof."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.feedback import CHAIN, CONTRACT, Keeper, World
from warmline_protocol import limits
from warmline_protocol.codec import frame
from warmline_protocol.errors import BadSignatureError, MalformedError
from warmline_protocol.feedback.heard import Heard, as_heard, read_heard, read_proof
from warmline_protocol.feedback.messages import SetHeard
from warmline_protocol.feedback.sheets import announce
from warmline_protocol.wire import to_wire

EPOCH = 2


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def word(world: World, keeper: Keeper, count: int, *, epoch: int = EPOCH) -> SetHeard:
    """Its word that it holds so many answers."""
    held = [world.rating("ana", 1) for _ in range(count)]
    return as_heard(keeper.sheet, announce(keeper.sheet, epoch, held, keeper.key))


def heard() -> Heard:
    return Heard(CHAIN, CONTRACT, EPOCH)


def test_one_word_is_kept_and_told_on_and_two_are_a_proof(world: World) -> None:
    liar, honest = world.keeper(), world.keeper()
    collectors = {liar.sheet.collector, honest.sheet.collector}
    mine, theirs = heard(), heard()
    first, second = word(world, liar, 1), word(world, liar, 2)
    assert mine.hear(first, collectors)
    assert not mine.hear(first, collectors)
    assert mine.hear(word(world, honest, 0), collectors)
    mine.take(liar.sheet.collector)
    told = list(read_heard(mine.write()))
    assert sorted(each.taken for each in told) == [False, True]
    assert theirs.hear(second, collectors)
    assert mine.aside() == theirs.aside() == frozenset()
    for each in told:
        theirs.hear(each, collectors)
    assert theirs.aside() == {liar.sheet.collector}
    assert theirs.of(liar.sheet.collector) is None
    assert theirs.of(honest.sheet.collector) is not None
    assert not theirs.hear(word(world, liar, 0), collectors)  # a third adds nothing
    one, two = read_proof(theirs.proof(liar.sheet.collector), CHAIN, CONTRACT)
    assert {one.count, two.count} == {1, 2}


def test_nobody_is_set_aside_by_what_they_did_not_say(world: World) -> None:
    victim, framer = world.keeper(), world.keeper()
    collectors = {victim.sheet.collector, framer.sheet.collector}
    real, forged = word(world, victim, 1), word(world, framer, 2)
    book = heard()
    book.hear(real, collectors)
    for wrong in (
        SetHeard(victim.sheet, forged.said, False),  # the framer's words under the victim's sheet
        SetHeard(framer.sheet, word(world, victim, 3).said, False),
    ):
        with pytest.raises(BadSignatureError):
            book.hear(wrong, collectors)
    with pytest.raises(BadSignatureError):
        book.hear(forged, {victim.sheet.collector})  # no collector
    with pytest.raises(MalformedError):
        book.hear(word(world, victim, 0, epoch=EPOCH + 1), collectors)
    with pytest.raises(BadSignatureError):
        Heard(CHAIN + 1, CONTRACT, EPOCH).hear(real, collectors)
    assert not book.aside()


def test_what_proves_nothing_is_no_proof(world: World) -> None:
    one, two = world.keeper(), world.keeper()
    collectors = {one.sheet.collector, two.sheet.collector}
    apart = heard()
    apart.hear(word(world, one, 1), collectors)
    apart.hear(word(world, two, 2), collectors)
    alone = heard()
    alone.hear(word(world, one, 1), collectors)
    for data in (apart.write(), alone.write(), alone.write() * 2, b"", b"\x01"):
        with pytest.raises(MalformedError):
            read_proof(data, CHAIN, CONTRACT)
    both = heard()
    for count in (1, 2):
        both.hear(word(world, one, count), collectors)
    proof = both.proof(one.sheet.collector)
    assert read_proof(proof, CHAIN, CONTRACT)
    for where in ((CHAIN + 1, CONTRACT), (CHAIN, bytes(20))):
        with pytest.raises(BadSignatureError):
            read_proof(proof, *where)
    forged = b"".join(
        frame(to_wire(replace(each, said=replace(each.said, count=number))))
        for number, each in enumerate(read_heard(proof))
    )
    with pytest.raises(BadSignatureError):
        read_proof(forged, CHAIN, CONTRACT)
    with pytest.raises(MalformedError):
        list(read_heard(alone.write() * (limits.FEEDBACK_HEARD_MAX + 1)))
