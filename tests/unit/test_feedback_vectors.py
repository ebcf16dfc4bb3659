"""Replays the committed bytes of feedback. A failure here means that the wire, or what is computed, has changed."""

from __future__ import annotations

from typing import Any

from support.feedback import wallet
from warmline_protocol import vectors
from warmline_protocol.feedback import sheets, tree
from warmline_protocol.feedback.batch import Ledger, Total, check_total, read_batch
from warmline_protocol.feedback.blind import PrivateKey
from warmline_protocol.feedback.chance import allowed, noes_for_alarm
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.grants import IssuerEpoch, Purse
from warmline_protocol.feedback.messages import (
    CollectorSheet,
    EpochVote,
    Grant,
    Rating,
    SetAnnouncement,
    TokenAnswer,
    TokenRequest,
)
from warmline_protocol.feedback.tokens import Asking, check_rating, open_rating
from warmline_protocol.keys import SigningKey
from warmline_protocol.session.xwing import SealingKey
from warmline_protocol.wire import from_wire, to_wire

TOKEN, BATCH, TREE, SIGNED, ALARMS = vectors.load("feedback")


def raw(row: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(row[name])


def drawn(row: dict[str, Any], name: str) -> Any:
    waiting = iter([bytes.fromhex(part) for part in row[name]])

    def draw(size: int) -> bytes:
        part = next(waiting)
        assert len(part) == size
        return part

    return draw


def test_a_token_is_as_committed() -> None:
    grant = from_wire(raw(TOKEN, "grant"), (Grant,))
    root = raw(TOKEN, "key_root")
    asking = Asking(grant, grant.supporter, root, grant.epoch, drawn(TOKEN, "asking_draws"))
    device = SigningKey(raw(TOKEN, "device_seed"))
    purse = Purse(grant, root, device)
    request = purse.request(asking.ask)
    assert to_wire(request) == raw(TOKEN, "request") == to_wire(from_wire(raw(TOKEN, "request"), (TokenRequest,)))
    answer = from_wire(raw(TOKEN, "answer"), (TokenAnswer,))
    key = PrivateKey.load(raw(TOKEN, "key"))
    assert key.public.modulus == grant.modulus
    assert key.sign(asking.ask.blinded, lambda size: b"\x05" * size) == answer.signed
    ticket = asking.finish(purse.given(request, answer))
    epochs = Epochs(TOKEN["genesis_s"], TOKEN["epoch_s"])
    rating = ticket.rate(TOKEN["answer_meant"], epochs, drawn(TOKEN, "rating_draws"))
    assert to_wire(rating) == raw(TOKEN, "rating")
    check_rating(rating, root)
    assert open_rating(raw(TOKEN, "cell"), SealingKey(raw(TOKEN, "collector_seed"))) == rating


def test_an_issuer_with_the_same_keys_has_the_same_root() -> None:
    grant = from_wire(raw(TOKEN, "grant"), (Grant,))
    one = IssuerEpoch(grant.issuer, grant.epoch, {grant.supporter: grant.count}, {grant.supporter: _key()})
    assert one.grant(grant.supporter).modulus == grant.modulus and one.root != raw(TOKEN, "key_root")


def _key() -> PrivateKey:
    return PrivateKey.load(raw(TOKEN, "key"))


def test_a_batch_comes_to_what_is_committed() -> None:
    data, contract = raw(BATCH, "batch"), raw(BATCH, "contract")
    ledger = Ledger(BATCH["chain_id"], contract, lambda issuer, epoch: raw(BATCH, "key_root") if epoch == 5 else None)
    found = ledger.check(data, BATCH["tokens"])
    assert (found.epoch, found.tokens) == (BATCH["epoch"], BATCH["tokens"])
    assert (found.data_hash, found.root) == (raw(BATCH, "data_hash"), raw(BATCH, "root"))
    assert {key.hex(): [total.tokens, total.noes] for key, total in found.totals.items()} == BATCH["totals"]
    for owner, (tokens, noes) in BATCH["totals"].items():
        proof = tuple(bytes.fromhex(part) for part in BATCH["proof"])
        check_total(found.root, found.epoch, bytes.fromhex(owner), Total(tokens, noes), proof)
    assert len(list(read_batch(data)[1])) == 10


def test_a_tree_is_as_committed() -> None:
    leaves = {bytes.fromhex(owner): bytes.fromhex(value) for owner, value in TREE["leaves"].items()}
    assert tree.root(TREE["kind"], leaves) == raw(TREE, "root") and tree.root(TREE["kind"], {}) == raw(
        TREE, "empty_root"
    )
    for owner, proof in TREE["proofs"].items():
        beside = [bytes.fromhex(part) for part in proof]
        assert list(tree.proof(leaves, bytes.fromhex(owner))) == beside
        tree.check(TREE["kind"], raw(TREE, "root"), bytes.fromhex(owner), leaves[bytes.fromhex(owner)], beside)
    assert wallet("ana") in leaves


def test_signatures_are_as_committed() -> None:
    sheet = from_wire(raw(SIGNED, "sheet"), (CollectorSheet,))
    assert sheets.sheet_digest(sheet) == raw(SIGNED, "sheet_digest")
    sheets.check_sheet(sheet, [sheet.collector], 6)
    sheets.check_announcement(from_wire(raw(SIGNED, "announcement"), (SetAnnouncement,)), sheet)
    vote = from_wire(raw(SIGNED, "vote"), (EpochVote,))
    assert sheets.epoch_digest(sheet.chain_id, sheet.contract, vote) == raw(SIGNED, "vote_digest")
    sheets.check_vote(sheet.chain_id, sheet.contract, vote)


def test_alarms_are_as_committed() -> None:
    for table, function in (("noes_for_alarm", noes_for_alarm), ("allowed", allowed)):
        assert {tokens: function(int(tokens)) for tokens in ALARMS[table]} == ALARMS[table]


def test_a_rating_on_the_wire_is_small_enough() -> None:
    assert len(to_wire(from_wire(raw(TOKEN, "rating"), (Rating,)))) < 1000
