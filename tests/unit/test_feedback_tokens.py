"""From a grant on the chain to a sealed rating, and everything that somebody on the way could try."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.feedback import EPOCHS, World, rsa_key, wallet
from warmline_protocol import limits
from warmline_protocol.errors import (
    BadSignatureError,
    MalformedError,
    RefusedError,
    RemoteError,
    StoreError,
    UsageError,
)
from warmline_protocol.feedback import blind, tree
from warmline_protocol.feedback.blind import PublicKey
from warmline_protocol.feedback.grants import IssuerEpoch, Purse, check_grant
from warmline_protocol.feedback.messages import Grant, Rating, TokenAnswer, TokenAsk, TokenGiven, TokenRequest
from warmline_protocol.feedback.tokens import Asking, check_rating, open_rating, seal_rating
from warmline_protocol.keys import SigningKey
from warmline_protocol.session import xwing
from warmline_protocol.session.xwing import SealingKey
from warmline_protocol.wire import to_wire


@pytest.fixture
def world() -> World:
    made = World()
    made.open(5)
    return made


def change(message: object, **fields: object) -> object:
    return dataclasses.replace(message, **fields)  # type: ignore[type-var]


# --- the tree


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.binary(min_size=20, max_size=20), st.binary(max_size=40), min_size=1, max_size=40))
def test_a_tree_proves_each_leaf_and_nothing_else(leaves: dict[bytes, bytes]) -> None:
    top = tree.root("keys", leaves)
    for owner, value in leaves.items():
        beside = tree.proof(leaves, owner)
        tree.check("keys", top, owner, value, beside)
        for wrong in (
            ("totals", top, owner, value, beside),
            ("keys", bytes(32), owner, value, beside),
            ("keys", top, owner[::-1] + b"x", value, beside),
            ("keys", top, owner, value + b"x", beside),
            ("keys", top, owner, value, (*beside, bytes(32))),
            ("keys", top, owner, value, (bytes(32), *beside)),
        ):
            with pytest.raises(RemoteError):
                tree.check(*wrong)
    assert top == tree.root("keys", dict(reversed(leaves.items())))


def test_proofs_are_short_and_roots_never_zero() -> None:
    leaves = {number.to_bytes(20): b"" for number in range(1000)}
    assert max(len(tree.proof(leaves, owner)) for owner in list(leaves)[:100]) <= 24
    assert tree.root("keys", {}) != bytes(32)
    with pytest.raises(UsageError):
        tree.proof(leaves, b"x" * 20)
    with pytest.raises(MalformedError):
        tree.check("keys", bytes(32), bytes(20), b"", (bytes(32),) * 256)


def test_a_root_has_one_key_for_a_supporter() -> None:
    """Whatever tree an issuer makes up, one wallet cannot have two leaves under it: on the way down from the root every
    node is either a leaf or has two sides, and the wallet says which."""
    owner, other = wallet("ana"), wallet("ben")
    honest = {owner: b"one", other: b"other"}
    top, beside = tree.root("keys", honest), tree.proof(honest, owner)
    for depth in range(len(beside) + 3):
        for filler in (bytes(32), *beside):
            with pytest.raises(RemoteError):
                tree.check("keys", top, owner, b"two", (*beside[:depth], filler))


# --- vouchers


def test_a_token_exchange(world: World) -> None:
    ticket = world.ticket("ana", 5)
    assert world.issuers[5].spent(wallet("ana")) == 1 and world.purses["ana", 5].left == world.vouchers - 1
    rating = ticket.rate(True, EPOCHS, world.draw)
    check_rating(rating, world.issuers[5].root)
    assert EPOCHS.start(6) <= rating.not_before_s < EPOCHS.end(6)


def test_a_seeker_takes_no_grant_that_the_chain_does_not_show(world: World) -> None:
    grant, root = world.purses["ana", 5].grant, world.issuers[5].root
    evil = blind.PrivateKey.generate(2048).public.modulus
    for wrong in (
        change(grant, modulus=evil),  # a key for this one seeker, to know them again
        change(grant, count=grant.count + 1),
        change(grant, proof=grant.proof[1:]),
        change(grant, issuer=wallet("other issuer")),
        change(grant, supporter=wallet("ben")),
        change(grant, epoch=6),
    ):
        assert isinstance(wrong, Grant)
        with pytest.raises(RemoteError):
            Asking(wrong, wallet("ana"), root, 5, world.draw)
        with pytest.raises(RemoteError):
            check_grant(wrong, root)
    for supporter, epoch, key_root in (
        (wallet("ben"), 5, root),
        (wallet("ana"), 4, root),
        (wallet("ana"), 5, bytes(32)),
    ):
        with pytest.raises(BadSignatureError):
            Asking(grant, supporter, key_root, epoch, world.draw)


def request_of(world: World, number: int | None = None, key: SigningKey | None = None) -> TokenRequest:
    purse = world.purses["ana", 5]
    spending = Purse(
        purse.grant, world.issuers[5].root, key or world.devices["ana"], purse.used if number is None else number
    )
    made = Asking(purse.grant, wallet("ana"), world.issuers[5].root, 5, world.draw)
    return spending.request(made.ask)


def test_a_voucher_is_spent_once(world: World) -> None:
    issuer = world.issuers[5]
    first = request_of(world, 0)
    answer = issuer.answer(first, world.speaks_for, world.draw)
    assert issuer.answer(first, world.speaks_for, world.draw) == answer
    with pytest.raises(RefusedError) as told:
        issuer.answer(request_of(world, 0), world.speaks_for, world.draw)
    assert told.value.code == "spent" and issuer.spent(wallet("ana")) == 1


def test_who_gets_no_signature(world: World) -> None:
    issuer = world.issuers[5]
    good = request_of(world, 0)
    stolen = request_of(world, 0, SigningKey(bytes(32)))
    cases = [
        (change(good, number=1), BadSignatureError),
        (change(good, blinded=bytes(256)), BadSignatureError),
        (change(good, supporter=wallet("ben")), BadSignatureError),
        (change(good, supporter=wallet("nobody")), RefusedError),
        (change(good, epoch=6), RefusedError),
        (change(good, issuer=wallet("x")), RefusedError),
        (stolen, RefusedError),
    ]
    for request, error in cases:
        assert isinstance(request, TokenRequest)
        with pytest.raises(error):
            issuer.answer(request, world.speaks_for, world.draw)
    assert issuer.spent(wallet("ana")) == 0 and issuer.spent(wallet("nobody")) == 0
    with pytest.raises(RefusedError):
        issuer.grant(wallet("nobody"))


def test_no_more_tokens_than_vouchers() -> None:
    world = World(vouchers=2)
    world.open(5)
    for _ in range(2):
        world.ticket("ana", 5)
    with pytest.raises(UsageError, match="no vouchers"):
        world.ticket("ana", 5)
    last = world.purses["ana", 5]
    greedy = Purse(change(last.grant, count=2), world.issuers[5].root, world.devices["ana"])  # type: ignore[arg-type]
    assert greedy.left == 2
    request = dataclasses.replace(greedy.request(TokenAsk(b"\x01" * 256)), number=7)
    with pytest.raises(RemoteError):
        world.issuers[5].answer(request, world.speaks_for, world.draw)


def test_a_supporter_notices_an_issuer_that_posted_another_grant(world: World) -> None:
    with pytest.raises(BadSignatureError):
        Purse(world.purses["ana", 5].grant, bytes(32), world.devices["ana"])
    purse = world.purses["ana", 5]
    request = purse.request(TokenAsk(b"\x01" * 256))
    with pytest.raises(BadSignatureError):
        purse.given(request, TokenAnswer(b"\x02" * 256))


def test_a_supporter_that_keeps_the_token_for_itself_gives_none(world: World) -> None:
    """It can have its own question signed; what it hands on then does not finish, and the seeker is told."""
    purse, issuer = world.purses["ana", 5], world.issuers[5]
    seeker = Asking(purse.grant, wallet("ana"), issuer.root, 5, world.draw)
    own = Asking(purse.grant, wallet("ana"), issuer.root, 5, world.draw)
    request = purse.request(own.ask)
    given = purse.given(request, issuer.answer(request, world.speaks_for, world.draw))
    with pytest.raises(BadSignatureError):
        seeker.finish(given)
    for wrong in (bytes(256), b"\xff" * 256):
        with pytest.raises(RemoteError):
            seeker.finish(TokenGiven(wrong))


def test_an_issuer_s_epoch_comes_back_from_its_snapshot(world: World) -> None:
    issuer = world.issuers[5]
    request = request_of(world, 0)
    answer = issuer.answer(request, world.speaks_for, world.draw)
    again = IssuerEpoch.restore(issuer.snapshot())
    assert again.root == issuer.root and again.vouchers == issuer.vouchers == 2 * world.vouchers
    again.remember(wallet("ana"), 0, *issuer.answered(wallet("ana"), 0))
    assert again.answer(request, world.speaks_for, world.draw) == answer
    with pytest.raises(RefusedError):
        again.answer(request_of(world, 0), world.speaks_for, world.draw)
    for bad in (b"\x80", b"\x90"):
        with pytest.raises(StoreError):
            IssuerEpoch.restore(bad)


def test_epochs_that_cannot_be_granted() -> None:
    for counts in ({}, {wallet("ana"): 0}, {wallet("ana"): limits.FEEDBACK_VOUCHERS_MAX + 1}):
        with pytest.raises(UsageError):
            IssuerEpoch.open(wallet("issuer"), 5, counts, lambda: rsa_key(0))
    with pytest.raises(UsageError, match="at most"):
        many = {number.to_bytes(20): 1000 for number in range(101)}
        IssuerEpoch.open(wallet("issuer"), 5, many, lambda: rsa_key(0))


# --- ratings


def test_a_rating_is_one_cell_for_one_collector(world: World) -> None:
    key, other = SealingKey(world.draw(32)), SealingKey(world.draw(32))
    ratings = [world.rating("ana", 5, again=again) for again in (True, False)]
    longest = (bytes(32),) * limits.FEEDBACK_PROOF_MAX
    grant = dataclasses.replace(ratings[0].grant, proof=longest, epoch=2**53 - 1, count=1000)
    ratings.append(dataclasses.replace(ratings[0], grant=grant, not_before_s=2**53 - 1))
    for rating in ratings:
        cell = seal_rating(rating, key.public)
        assert len(cell) == limits.CELL_SIZE and open_rating(cell, key) == rating
        with pytest.raises(MalformedError):
            open_rating(cell, other)
        with pytest.raises(MalformedError):
            open_rating(cell[:-1], key)
        with pytest.raises(MalformedError):
            open_rating(cell[:-1] + bytes([cell[-1] ^ 1]), key)
    padded = len(to_wire(ratings[0])).to_bytes(2) + to_wire(ratings[0])
    hiding = padded.ljust(limits.CELL_SIZE - xwing.OVERHEAD, b"\1")
    with pytest.raises(MalformedError, match="padding"):
        open_rating(xwing.seal(key.public, hiding, "rating"), key)


def test_ratings_that_are_not(world: World) -> None:
    root = world.issuers[5].root
    rating, other = world.rating("ana", 5), world.rating("ana", 5)
    for wrong in (
        change(rating, again=not rating.again),  # a collector turns the answer round
        change(rating, serial=other.serial),
        change(rating, token=other.token),
        change(rating, prefix=other.prefix),
        change(rating, signature=other.signature),
        change(rating, grant=world.purses["ben", 5].grant),  # a good word is carried to somebody else
        change(rating, grant=World(seed=1).open(5).grant(wallet("ana"))),
    ):
        assert isinstance(wrong, Rating)
        with pytest.raises(RemoteError):
            check_rating(wrong, root)
    check_rating(rating, root)


def test_every_rating_draws_anew_and_tells_nothing_of_its_request(world: World) -> None:
    ratings = [world.rating("ana", 5) for _ in range(6)]
    for field in ("serial", "prefix", "token", "signature"):
        assert len({getattr(each, field) for each in ratings}) == 6
    answered = [world.issuers[5].answered(wallet("ana"), number) for number in range(6)]
    seen = b"".join(part for pair in answered for part in pair)
    for rating in ratings:
        assert not any(piece in seen for piece in (rating.serial, rating.prefix, rating.token[:16], rating.token[-16:]))
    assert all(one != two for one, two in pairwise(rating.not_before_s for rating in ratings[:2]))


def test_any_token_could_come_from_any_request(world: World) -> None:
    """The issuer's whole log against all published tokens, with real bytes: every pair has a blinding factor."""
    ratings = [world.rating("ana", 5) for _ in range(3)]
    key = PublicKey(ratings[0].grant.modulus)
    for number in range(3):
        blinded, signed = world.issuers[5].answered(wallet("ana"), number)
        for rating in ratings:
            token = int.from_bytes(rating.token)
            factor = int.from_bytes(signed) * pow(token, -1, key.n) % key.n
            assert key.apply(token) * key.apply(factor) % key.n == int.from_bytes(blinded)
