"""The truth about who is awake: rotas that people agreed to, forged ones, and colleagues who introduce somebody."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from support import records as make
from warmline.client.awake import who_is_awake
from warmline.client.line import Line
from warmline.client.matching import Collection, Holding, Supporter, Vouching, Wanted
from warmline.client.rota_watch import RotaWatch
from warmline_protocol.errors import UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.card import Door
from warmline_protocol.records.envelope import CARD, DESK, open_record, record_id, sign_record
from warmline_protocol.session.offers import introduce

HOUR = 3_600_000
EVENING = make.NOW - make.NOW % 86_400_000 + 20 * HOUR
"""20:00 in Lisbon on 15 January 2027: the first two are on duty."""
AT = EVENING - 24 * HOUR
"""When everything below was signed."""


def owner(name: str) -> bytes:
    return make.key(name).public


def card_id(name: str) -> bytes:
    return record_id(CARD, owner(name))


def desk_id(name: str) -> bytes:
    return record_id(DESK, owner(name), "night-owls")


def a_card(name: str, *desks: bytes, opened: bool = True) -> bytes:
    door = make.door()
    doors = (Door(door.node, door.door, opened),)
    body = make.card(owner(name), at_ms=AT, name=name.title(), desks=desks or None, doors=doors)
    return sign_record(body, make.key(name))


def a_desk(name: str, *people: str) -> bytes:
    return make.signed_desk(name, wallet=False, at_ms=AT, people=tuple(card_id(each) for each in people))


def heard(*records: bytes) -> Collection:
    collection = Collection()
    collection.add(Holding("node", "one", tuple(open_record(data) for data in records), None))
    return collection


def names(found: Any) -> list[str]:
    return sorted(one.card.name for one in found)


def test_who_is_on_duty_agreed_to_be_and_others_are_told_apart() -> None:
    collection = heard(
        a_desk("coordinator", "ana", "ben", "zoe"),
        a_card("ana", desk_id("coordinator")),
        a_card("ben", desk_id("coordinator")),
        a_card("zoe"),  # on the rota, and never agreed
        a_card("dee"),
        a_card("eve", desk_id("coordinator"), opened=False),
    )
    awake = who_is_awake(collection, Wanted(), EVENING)
    assert names(awake.on_duty) == ["Ana", "Ben"]
    assert names(awake.others) == ["Dee", "Zoe"]
    assert (awake.off, awake.on_duty_all, awake.desks) == ((), 2, 1)
    later = who_is_awake(collection, Wanted(), EVENING + 4 * HOUR)
    assert names(later.off) == ["Ana", "Ben"]
    assert later.next is not None
    assert later.next.watch.start == EVENING + 24 * HOUR
    assert later.next.desk == "Night Owls"


def test_who_does_not_fit_is_counted_and_not_asked() -> None:
    collection = heard(a_desk("coordinator", "ana", "ben"), a_card("ana", desk_id("coordinator")))
    awake = who_is_awake(collection, Wanted(("chess",)), EVENING)
    assert (awake.on_duty, awake.on_duty_all, awake.next) == ((), 1, None)


def verified(who: Supporter) -> Supporter:
    return replace(who, vouching=Vouching(3, 3))


def test_a_script_with_cards_and_a_rota_of_its_own_comes_after_everybody_who_is_verified() -> None:
    """Without this a night of invented people on duty would be asked before anybody real."""
    crowd = [f"sybil{number}" for number in range(20)]
    collection = heard(
        a_desk("coordinator", "ana", "ben"),
        a_desk("mallory", *crowd),
        *(a_card(name, desk_id("coordinator")) for name in ("ana", "ben")),
        *(a_card(name, desk_id("mallory")) for name in crowd),
        a_card("dee"),
    )
    awake = who_is_awake(collection, Wanted(), EVENING)
    assert len(awake.on_duty) == 4  # Mallory's first two have the evening, as Ana and Ben do
    assert awake.tiers == (awake.on_duty, awake.others, awake.off)  # nobody is verified: nothing tells them apart
    real = {"Ana", "Dee"}
    known = replace(
        awake,
        on_duty=tuple(verified(one) if one.card.name in real else one for one in awake.on_duty),
        others=tuple(verified(one) if one.card.name in real else one for one in awake.others),
    )
    first, second, last = known.tiers
    assert (names(first), names(second)) == (["Ana"], ["Dee"])
    assert len(last) == 21 and known.on_duty_verified == 1


def test_a_desk_by_the_same_name_of_somebody_else_puts_nobody_on_duty() -> None:
    """Mallory copies the rota and the name. Her desk has another id, and no card names that."""
    real = a_desk("coordinator", "ana", "ben")
    people = (card_id("mallory"), card_id("ana"))
    forged = make.signed_desk("mallory", wallet=False, at_ms=AT + 1000, people=people)
    cards = (a_card("ana", desk_id("coordinator")), a_card("ben", desk_id("coordinator")))
    collection = heard(real, forged, *cards)
    awake = who_is_awake(collection, Wanted(), EVENING)
    assert names(awake.on_duty) == ["Ana", "Ben"]
    morning = who_is_awake(collection, Wanted(), EVENING - 13 * HOUR)  # Auckland's evening: only Ana, by Mallory
    assert names(morning.on_duty) == ["Ben"]


@dataclass
class AClient:
    now: int

    @property
    def clock(self) -> AClient:
        return self

    def utc_ms(self) -> int:
        return self.now


@dataclass
class ALine:
    client: AClient


def a_watch(own: str, collection: Collection, now: int = EVENING) -> RotaWatch:
    watch = RotaWatch(cast("Line", ALine(AClient(now))), card_id(own))
    watch.learn(collection)
    return watch


@pytest.fixture
def rota() -> Collection:
    return heard(
        a_desk("coordinator", "ana", "ben", "zoe"),
        a_card("ana", desk_id("coordinator")),
        a_card("ben", desk_id("coordinator")),
        a_card("zoe"),
        a_card("mallory", desk_id("coordinator")),  # names the desk, and is not on its rota
    )


def test_a_supporter_is_told_when_they_are_due(rota: Collection) -> None:
    (now,) = a_watch("ben", rota).due()
    assert (now.desk, now.now, now.watch.end) == ("Night Owls", True, EVENING + 3 * HOUR)
    (coming,) = a_watch("ben", rota, EVENING + 4 * HOUR).due()
    assert not coming.now and coming.watch.start == EVENING + 24 * HOUR
    assert a_watch("zoe", rota).due() == []  # she never agreed


def test_only_a_colleague_on_the_rota_introduces_and_only_to_whom_they_say(rota: Collection) -> None:
    ben, until = a_watch("ben", rota), EVENING + HOUR

    def said(key: SigningKey, desk: bytes = desk_id("coordinator"), card: bytes = card_id("ben")) -> Any:
        return introduce(key, desk, card, b"w" * 16, until)

    assert ben.introducer(said(make.key("ana"))) == ("Night Owls", "Ana")
    assert ben.introducer(said(make.key("mallory"))) is None
    assert ben.introducer(said(make.key("zoe"))) is None
    assert ben.introducer(said(make.key("nobody"))) is None
    assert ben.introducer(said(make.key("ana"), card=card_id("ana"))) is None
    assert ben.introducer(said(make.key("ana"), desk=desk_id("mallory"))) is None
    assert a_watch("dee", rota).introducer(said(make.key("ana"))) is None


def test_colleagues_are_named_by_name_or_id_and_nobody_else_is(rota: Collection) -> None:
    ben = a_watch("ben", rota)
    assert ben.colleague("ana")[1].name == "Ana"
    assert ben.colleague(card_id("ana").hex()[:8])[2] == desk_id("coordinator")
    for wrong in ("ben", "zoe", "mallory", card_id("ana").hex()[:3]):
        with pytest.raises(UsageError, match="nobody of your desk"):
            ben.colleague(wrong)
