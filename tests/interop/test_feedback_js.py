"""Feedback with a client in JavaScript: blind tokens by @cloudflare/blindrsa-ts both ways, ratings, vectors."""

from __future__ import annotations

import base64
import math

import pytest

from support.feedback import EPOCHS, World, rsa_key, wallet
from support.tsmls import Peer, PeerError
from warmline_protocol import vectors
from warmline_protocol.feedback import blind
from warmline_protocol.feedback.messages import Rating, TokenAsk
from warmline_protocol.feedback.tokens import check_rating, open_rating, seal_rating
from warmline_protocol.session.xwing import SealingKey
from warmline_protocol.wire import from_wire, to_wire

TOKEN, _, TREE, *_ = vectors.load("feedback")


@pytest.fixture
def world() -> World:
    made = World()
    made.open(5)
    return made


def begin(peer: Peer, world: World, **other: object) -> bytes:
    fields = {
        "grant": to_wire(world.purses["ana", 5].grant).hex(),
        "supporter": wallet("ana").hex(),
        "keyRoot": world.issuers[5].root.hex(),
        "epoch": 5,
    }
    return bytes.fromhex(peer.call("feedback.begin", **{**fields, **other})["blinded"])


def test_a_seeker_in_javascript_rates(peer: Peer, world: World) -> None:
    purse, issuer, key = world.purses["ana", 5], world.issuers[5], SealingKey(world.draw(32))
    noes = 0
    for _ in range(12):
        request = purse.request(TokenAsk(begin(peer, world)))
        given = purse.given(request, issuer.answer(request, world.speaks_for, world.draw))
        peer.call("feedback.finish", signed=given.signed.hex())
        fields = {"again": True, "genesis": EPOCHS.genesis_s, "length": EPOCHS.length_s, "collector": key.public.hex()}
        said = peer.call("feedback.rate", **fields)
        rating = open_rating(bytes.fromhex(said["cell"]), key)
        assert to_wire(rating) == bytes.fromhex(said["rating"])
        check_rating(rating, issuer.root)
        assert EPOCHS.start(6) <= rating.not_before_s <= EPOCHS.slot(6, 75)
        noes += not rating.again
    assert noes <= 9
    ours = world.rating("ben", 5)
    cell = seal_rating(ours, key.public).hex()
    opened = bytes.fromhex(peer.call("feedback.open", cell=cell, seed=key.seed.hex())["rating"])
    assert from_wire(opened, (Rating,)) == ours


def test_it_takes_no_grant_that_the_root_does_not_hold(peer: Peer, world: World) -> None:
    for wrong in ({"keyRoot": "00" * 32}, {"supporter": wallet("ben").hex()}, {"epoch": 6}):
        with pytest.raises(PeerError, match="a grant"):
            begin(peer, world, **wrong)
    begin(peer, world)
    with pytest.raises(PeerError):
        peer.call("feedback.finish", signed="02" * 256)


def test_an_issuer_in_javascript_signs_for_our_client(peer: Peer, world: World) -> None:
    secret = rsa_key(0)
    message = blind.prepare(b"serial", world.draw)
    made = blind.blind(secret.public, message, world.draw)
    signed = peer.call("feedback.sign", jwk=_jwk(secret.save()), blinded=made.blinded.hex())["signed"]
    assert bytes.fromhex(signed) == secret.sign(made.blinded, world.draw)
    blind.finalize(secret.public, made, bytes.fromhex(signed))


def _jwk(saved: bytes) -> dict[str, object]:
    half = len(saved) // 2
    p, q = int.from_bytes(saved[:half]), int.from_bytes(saved[half:])
    d = pow(blind.EXPONENT, -1, math.lcm(p - 1, q - 1))
    numbers = {"n": p * q, "e": blind.EXPONENT, "d": d, "p": p, "q": q}
    numbers |= {"dp": d % (p - 1), "dq": d % (q - 1), "qi": pow(q, -1, p)}
    shown = {name: _base64url(number) for name, number in numbers.items()}
    return {"kty": "RSA", "ext": True, **shown}


def _base64url(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8)).rstrip(b"=").decode()


def test_vectors_hold_for_both(peer: Peer) -> None:
    opened = peer.call("feedback.open", cell=TOKEN["cell"], seed=TOKEN["collector_seed"])
    assert opened["rating"] == TOKEN["rating"]
    for name in ("grant", "request", "answer", "rating"):
        assert peer.call("outer.again", data=TOKEN[name])["data"] == TOKEN[name]
    for owner, proof in TREE["proofs"].items():
        fields = {"kind": TREE["kind"], "root": TREE["root"], "wallet": owner, "proof": proof}
        assert peer.call("feedback.tree", **fields, value=TREE["leaves"][owner])["good"]
        assert not peer.call("feedback.tree", **fields, value="00")["good"]
