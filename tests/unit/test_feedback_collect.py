"""Collectors, batches and what anybody recomputes from them: the happy way, and everybody who lies on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest
from eth_account.messages import encode_typed_data

from support.feedback import CHAIN, CONTRACT, EPOCHS, Keeper, World, exchange, late, wallet
from warmline.chain.contracts import EpochPost
from warmline_protocol import limits
from warmline_protocol.codec import frame
from warmline_protocol.errors import (
    BadSignatureError,
    MalformedError,
    OversizeError,
    RefusedError,
    RemoteError,
    UsageError,
)
from warmline_protocol.feedback import sheets
from warmline_protocol.feedback.batch import (
    Recomputed,
    Total,
    Window,
    check_total,
    read_batch,
    totals_proof,
    totals_root,
    write_batch,
)
from warmline_protocol.feedback.collect import select
from warmline_protocol.feedback.messages import BatchHead, EpochVote, Rating
from warmline_protocol.keys import SigningKey
from warmline_protocol.wire import to_wire

E = 6
"""Ratings of epoch 5 are posted for epoch 6."""


@pytest.fixture(scope="module")
def world() -> World:
    made = World(vouchers=60)
    made.open(5)
    made.open(6)
    return made


@pytest.fixture(scope="module")
def ratings(world: World) -> list[Rating]:
    """Twenty-five about ana, of which five mean no, and nine about ben."""
    about_ana = [world.rating("ana", 5, again=number >= 5) for number in range(25)]
    return about_ana + [world.rating("ben", 5) for _ in range(9)]


def collect(keeper: Keeper, ratings: Iterable[Rating], epoch: int = E) -> Keeper:
    for rating in ratings:
        keeper.machine.accept(rating, late(epoch))
    return keeper


def posted(found: Recomputed) -> dict[str, object]:
    return {name: getattr(found, name) for name in ("epoch", "root", "data_hash", "tokens")}


def batch_of(keeper: Keeper, world: World, epoch: int = E) -> bytes:
    return keeper.machine.batch(epoch, world.open(epoch).vouchers, CHAIN, CONTRACT)


def test_an_epoch(world: World, ratings: list[Rating]) -> None:
    keepers = [collect(world.keeper(), part) for part in (ratings[:20], ratings[10:], ratings[::3])]
    exchange(E, keepers)
    batches = {batch_of(keeper, world) for keeper in keepers}
    (data,) = batches
    found = world.ledger().check(data, world.open(E).vouchers)
    assert found.tokens == 20 and set(found.totals) == {wallet("ana")} and found.epoch == E
    noes = {rating.serial for rating in ratings if not rating.again}
    assert found.totals[wallet("ana")] == Total(20, len(noes & set(found.serials)))
    check_total(found.root, E, wallet("ana"), found.totals[wallet("ana")], totals_proof(found.totals, E, wallet("ana")))
    with pytest.raises(BadSignatureError):
        check_total(found.root, E, wallet("ana"), Total(20, 0), totals_proof(found.totals, E, wallet("ana")))
    for keeper in keepers:
        assert keeper.machine.objections(data, world.open(E).vouchers, posted(found)) == ()
        keeper.machine.settle(found)
        assert len(keeper.machine.held) == 14

    # The next epoch: five that waited and five new ones make a ten, for both.
    world.open(7)
    more = [world.rating(name, 6) for name in ("ana",) * 5 + ("ben",) * 1]
    for keeper in keepers:
        collect(keeper, more, 7)
    exchange(7, keepers)
    (data,) = {batch_of(keeper, world, 7) for keeper in keepers}
    ledger = world.ledger()
    ledger.add(found)
    second = ledger.check(data, world.open(7).vouchers)
    assert {owner: total.tokens for owner, total in second.totals.items()} == {wallet("ana"): 10, wallet("ben"): 10}
    assert not set(second.serials) & set(found.serials)


def test_one_honest_collector_brings_a_rating_into_the_union(world: World, ratings: list[Rating]) -> None:
    ten = ratings[:10]
    honest, *others = [collect(world.keeper(), part) for part in (ten, ten[:9], ten[:4])]
    exchange(E, [honest, *others])
    assert {batch_of(each, world) for each in others} == {batch_of(honest, world)}
    assert world.ledger().check(batch_of(others[0], world), 100).tokens == 10


def test_what_is_left_out_is_seen_by_who_announced_it(world: World, ratings: list[Rating]) -> None:
    honest = collect(world.keeper(), ratings)
    liar = collect(world.keeper(), [rating for rating in ratings if rating.again])
    liar.machine.cut_off(E)  # it does not take the union
    data = batch_of(liar, world)
    found = world.ledger().check(data, 120)
    honest.machine.cut_off(E)
    (why,) = honest.machine.objections(data, 120, posted(found))
    assert "left out" in why
    nothing = write_batch(CHAIN, CONTRACT, E, [])
    empty = world.ledger().check(nothing, 120)
    assert "left out" in honest.machine.objections(nothing, 120, posted(empty))[0]


def test_a_false_sum_or_another_batch_is_vetoed(world: World, ratings: list[Rating]) -> None:
    keeper = collect(world.keeper(), ratings)
    data = batch_of(keeper, world)
    found = world.ledger().check(data, 120)
    for name, wrong in (("root", bytes(32)), ("data_hash", bytes(32)), ("tokens", 10), ("epoch", 7)):
        (why,) = keeper.machine.objections(data, 120, {**posted(found), name: wrong})
        assert name in why
    assert "does not hold" in keeper.machine.objections(data[:-1], 120, posted(found))[0]


def test_a_set_is_the_one_that_was_announced(world: World, ratings: list[Rating]) -> None:
    one, two = collect(world.keeper(), ratings[:5]), collect(world.keeper(), ratings[5:9])
    said = sheets.announce(two.sheet, E, two.machine.cut_off(E), two.key)
    sheets.check_announcement(said, two.sheet)
    for wrong in (two.machine.cut_off(E)[1:], ratings[:4], ()):
        with pytest.raises(MalformedError):
            one.machine.merge(said, wrong)
    assert one.machine.merge(said, two.machine.cut_off(E)) == 4
    assert one.machine.merge(said, two.machine.cut_off(E)) == 0
    for bad in (
        dataclasses.replace(said, count=3),
        dataclasses.replace(said, epoch=7),
        dataclasses.replace(said, collector=one.sheet.collector),
    ):
        with pytest.raises(BadSignatureError):
            sheets.check_announcement(bad, two.sheet)
    with pytest.raises(BadSignatureError):
        sheets.check_announcement(said, one.sheet)
    with pytest.raises(UsageError):
        sheets.announce(one.sheet, E, (), two.key)


def test_nobody_forces_bad_ratings_on_others(world: World, ratings: list[Rating]) -> None:
    honest, liar = collect(world.keeper(), ratings[:5]), world.keeper()
    turned = [dataclasses.replace(each, again=not each.again) for each in ratings[5:10]]
    said = sheets.announce(liar.sheet, E, turned, liar.key)
    assert honest.machine.merge(said, sorted(turned, key=lambda each: each.serial)) == 0
    assert len(honest.machine.held) == 5


def test_two_answers_under_one_serial_count_as_one(world: World) -> None:
    ticket = world.ticket("ana", 5)
    both = [ticket.rate(True, EPOCHS, world.draw) for _ in range(8)]
    assert len({each.serial for each in both}) == 1
    one, two = collect(world.keeper(), both), collect(world.keeper(), both[::-1])
    exchange(E, [one, two])
    assert one.machine.held == two.machine.held and len(one.machine.held) == 1


def test_when_ratings_are_taken(world: World, ratings: list[Rating]) -> None:
    keeper, rating = world.keeper(), ratings[0]
    with pytest.raises(RefusedError) as told:
        keeper.machine.accept(rating, rating.not_before_s - 1)
    assert told.value.code == "early"
    keeper.machine.accept(rating, rating.not_before_s)
    keeper.machine.accept(rating, rating.not_before_s)
    with pytest.raises(MalformedError, match="released in the epoch"):
        keeper.machine.accept(dataclasses.replace(rating, not_before_s=EPOCHS.start(5)), late(E))
    for epoch in (5, 5 + limits.FEEDBACK_WINDOW_EPOCHS + 1):
        with pytest.raises(RemoteError):
            keeper.machine.accept(dataclasses.replace(rating, not_before_s=EPOCHS.start(6)), EPOCHS.start(epoch))
    assert keeper.machine.cut_off(5) == () and len(keeper.machine.cut_off(E)) == 1
    keeper.machine.recall(E, ())  # nothing was announced when another's post was looked at, which was vetoed then
    keeper.machine.forget(E)
    assert len(keeper.machine.cut_off(E)) == 1
    settled = world.ledger().check(write_batch(CHAIN, CONTRACT, E, ratings[:10]), 100)
    keeper.machine.settle(settled)
    with pytest.raises(RefusedError) as told:
        keeper.machine.accept(rating, late(E + 1))
    assert told.value.code == "spent"


def test_what_waits_too_long_is_dropped(world: World, ratings: list[Rating]) -> None:
    keeper = collect(world.keeper(), ratings[:3])
    for epoch in range(E, 5 + limits.FEEDBACK_WINDOW_EPOCHS + 1):
        nothing = world.ledger().check(write_batch(CHAIN, CONTRACT, epoch, []), 0)
        assert len(keeper.machine.held) == 3
        keeper.machine.settle(nothing)
    assert keeper.machine.held == {}


def test_tens_within_the_vouchers(world: World, ratings: list[Rating]) -> None:
    assert len(select(ratings, 1000)) == 20 and len(select(ratings, 19)) == 10 and select(ratings, 9) == ()
    assert select(ratings, 100) == select(ratings[::-1], 100)


def test_a_batch_is_read_as_it_was_written(world: World, ratings: list[Rating]) -> None:
    data = write_batch(CHAIN, CONTRACT, E, ratings)
    assert data == write_batch(CHAIN, CONTRACT, E, ratings[::-1])
    head, rows = read_batch(data)
    assert head == BatchHead(CHAIN, CONTRACT, E, len(ratings))
    assert {row.serial: row.again for row in rows} == {each.serial: each.again for each in ratings}


def batches_that_do_not_hold(world: World, ratings: list[Rating]) -> dict[str, tuple[bytes, int]]:
    ten = ratings[:10]
    good = write_batch(CHAIN, CONTRACT, E, ten)
    head = frame(to_wire(BatchHead(CHAIN, CONTRACT, E, 10)))
    frames = good[len(head) :]
    grant = frame(to_wire(ten[0].grant))
    rows = frames[len(grant) :]
    size = len(rows) // 10
    assert len(rows) == 10 * size
    swapped = rows[size : 2 * size] + rows[:size] + rows[2 * size :]
    foreign = World(seed=9, vouchers=60)
    return {
        "nothing": (b"", 100),
        "only a head": (head, 100),
        "a head that counts otherwise": (frame(to_wire(BatchHead(CHAIN, CONTRACT, E, 20))) + frames, 100),
        "another contract": (write_batch(CHAIN, bytes(20), E, ten), 100),
        "another chain": (write_batch(1, CONTRACT, E, ten), 100),
        "its own epoch": (write_batch(CHAIN, CONTRACT, 5, ten), 100),
        "too old": (write_batch(CHAIN, CONTRACT, 5 + limits.FEEDBACK_WINDOW_EPOCHS + 1, ten), 100),
        "not in tens": (write_batch(CHAIN, CONTRACT, E, ratings[:9]), 100),
        "more than the vouchers": (good, 9),
        "cut": (good[:-1], 100),
        "cut between rows": (good[:-size], 100),
        "longer": (good + b"\x01", 100),
        "rows out of order": (head + grant + swapped, 100),
        "a row twice": (head + grant + rows[:size] + rows[:size] + rows[size : 9 * size], 100),
        "a grant twice": (head + grant + rows[: 5 * size] + grant + rows[5 * size :], 100),
        "rows before a grant": (head + rows + grant, 100),
        "an answer turned round": (
            write_batch(CHAIN, CONTRACT, E, [dataclasses.replace(ten[0], again=not ten[0].again), *ten[1:]]),
            100,
        ),
        "a token of nobody": (
            write_batch(CHAIN, CONTRACT, E, [dataclasses.replace(ten[0], token=bytes(256)), *ten[1:]]),
            100,
        ),
        "an issuer that posted no root": (
            write_batch(CHAIN, CONTRACT, E, [dataclasses.replace(each, grant=change_issuer(each)) for each in ten]),
            100,
        ),
        "another world": (write_batch(CHAIN, CONTRACT, E, [foreign.rating("ana", 5) for _ in range(10)]), 100),
    }


def change_issuer(rating: Rating) -> Any:
    return dataclasses.replace(rating.grant, issuer=wallet("else"))


def test_batches_that_do_not_hold(world: World, ratings: list[Rating]) -> None:
    for name, (data, vouchers) in batches_that_do_not_hold(world, ratings).items():
        with pytest.raises(RemoteError):
            world.ledger().check(data, vouchers)
            raise AssertionError(name)
    assert world.ledger().check(write_batch(CHAIN, CONTRACT, E, ratings[:10]), 10).tokens == 10
    with pytest.raises(OversizeError):
        read_batch(bytes(limits.FEEDBACK_BATCH_MAX + 1))


def test_a_token_counts_once_over_all_epochs(world: World, ratings: list[Rating]) -> None:
    ledger = world.ledger()
    ledger.add(ledger.check(write_batch(CHAIN, CONTRACT, E, ratings[:10]), 100))
    with pytest.raises(MalformedError, match="counted before"):
        ledger.check(write_batch(CHAIN, CONTRACT, E + 1, ratings[9:19]), 100)
    assert ledger.check(write_batch(CHAIN, CONTRACT, E + 1, ratings[10:20]), 100).tokens == 10


def test_an_issuer_cannot_sign_beyond_what_it_posted() -> None:
    """It holds the key and can mint tokens; those beyond the count in its own leaf make the batch fail."""
    world = World(vouchers=10)
    issuer = world.open(5)
    ten = [world.rating("ana", 5) for _ in range(10)]
    forged = []
    for _ in range(10):
        from warmline_protocol.feedback.messages import TokenGiven
        from warmline_protocol.feedback.tokens import Asking

        asking = Asking(issuer.grant(wallet("ana")), wallet("ana"), issuer.root, 5, world.draw)
        signed = issuer._keys[wallet("ana")].sign(asking.ask.blinded, world.draw)
        forged.append(asking.finish(TokenGiven(signed)).rate(True, EPOCHS, world.draw))
    ledger = world.ledger()
    with pytest.raises(MalformedError, match="vouchers"):
        ledger.check(write_batch(CHAIN, CONTRACT, E, ten + forged), 100)
    ledger.add(ledger.check(write_batch(CHAIN, CONTRACT, E, ten), 100))
    with pytest.raises(MalformedError, match="vouchers"):
        ledger.check(write_batch(CHAIN, CONTRACT, E + 1, forged), 100)


def test_a_window_is_a_quarter_of_a_year() -> None:
    window = Window()
    for epoch in range(1, 20):
        window.add(epoch, {wallet("ana"): Total(10, 3)})
    assert window.of(wallet("ana")) == Total(130, 39) and window.of(wallet("ben")) == Total(0, 0)
    assert window.wallets() == (wallet("ana"),)
    assert totals_root({}, 1) != totals_root({wallet("ana"): Total(10, 3)}, 1) != bytes(32)


# --- sheets and votes


def test_a_sheet_is_signed_by_the_collector_s_wallet(world: World) -> None:
    keeper = world.keeper()
    sheet, listed = keeper.sheet, [keeper.sheet.collector]
    sheets.check_sheet(sheet, listed, 6)
    for wrong in (
        dataclasses.replace(sheet, key=SigningKey(bytes(32)).public),
        dataclasses.replace(sheet, sealing=bytes(1216)),
        dataclasses.replace(sheet, until_epoch=9999),
        dataclasses.replace(sheet, contract=bytes(20)),
        dataclasses.replace(sheet, signature=bytes(64) + b"\x1b"),
        dataclasses.replace(sheet, signature=sheet.signature[:64] + b"\x00"),
    ):
        with pytest.raises(BadSignatureError):
            sheets.check_sheet(wrong, listed, 6)
    with pytest.raises(BadSignatureError):
        sheets.check_sheet(sheet, [], 6)
    with pytest.raises(BadSignatureError):
        sheets.check_sheet(sheet, listed, 1001)


def test_what_is_signed_is_what_the_contract_and_wallets_hash(world: World) -> None:
    """Against eth-account, as `Contracts.conduct_document` shows it to wallets."""
    keeper = world.keeper()
    vote = EpochVote(6, b"\1" * 32, b"\2" * 32, b"\3" * 32, 40, keeper.sheet.collector, bytes(65))
    digest = sheets.epoch_digest(CHAIN, CONTRACT, vote)
    conduct = EpochPost(vote.epoch, vote.previous_root, vote.root, vote.data_hash, vote.tokens)
    fields = {
        "epoch": "uint64",
        "previousRoot": "bytes32",
        "root": "bytes32",
        "dataHash": "bytes32",
        "tokenCount": "uint64",
    }
    said = [conduct.epoch, conduct.previous_root, conduct.root, conduct.data_hash, conduct.token_count]
    assert digest == _hashed(encode_typed_data(full_message=_document("Epoch", fields, said)))
    signed = dataclasses.replace(vote, signature=sheets.sign_digest(digest, keeper.secret))
    sheets.check_vote(CHAIN, CONTRACT, signed)
    for wrong in (dataclasses.replace(signed, tokens=41), dataclasses.replace(signed, collector=bytes(20))):
        with pytest.raises(BadSignatureError):
            sheets.check_vote(CHAIN, CONTRACT, wrong)


def _document(name: str, fields: dict[str, str], said: list[Any]) -> dict[str, Any]:
    domain = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}
    return {
        "types": {
            "EIP712Domain": [{"name": key, "type": kind} for key, kind in domain.items()],
            name: [{"name": key, "type": kind} for key, kind in fields.items()],
        },
        "primaryType": name,
        "domain": {
            "name": "warmline ConductEpochs",
            "version": "1",
            "chainId": CHAIN,
            "verifyingContract": "0x" + CONTRACT.hex(),
        },
        "message": dict(zip(fields, said, strict=True)),
    }


def _hashed(message: Any) -> bytes:
    from eth_hash.auto import keccak

    return bytes(keccak(b"\x19" + message.version + message.header + message.body))
