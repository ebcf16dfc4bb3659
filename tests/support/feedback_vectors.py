"""Makes the vectors of feedback: ``python -m support.feedback_vectors`` (in tests/).

The message rows are those that ``support.vectors`` would make. RSA keys and sealed cells cannot be made twice: a file
that exists is left alone, and tests replay what it holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import warmline_protocol.vectors as vectors
from support.feedback import CHAIN, CONTRACT, EPOCHS, World, wallet
from support.vectors import _written, message_rows
from warmline.env import SeededRng
from warmline_protocol.feedback import sheets, tree
from warmline_protocol.feedback.batch import totals_proof, write_batch
from warmline_protocol.feedback.chance import allowed, noes_for_alarm
from warmline_protocol.feedback.grants import IssuerEpoch, Purse
from warmline_protocol.feedback.messages import EpochVote, Rating
from warmline_protocol.feedback.tokens import Asking, seal_rating
from warmline_protocol.wire import to_wire

FOLDER = Path(vectors.__file__).parent
EPOCH = 5


class Recorder:
    """Random bytes, and what they were: another implementation is given the same."""

    def __init__(self, seed: str) -> None:
        self._draw: Callable[[int], bytes] = SeededRng(seed).bytes
        self.drawn: list[str] = []

    def __call__(self, size: int) -> bytes:
        part = self._draw(size)
        self.drawn.append(part.hex())
        return part


def token_row(world: World, issuer: IssuerEpoch) -> dict[str, Any]:
    """One token with every number on the way, and one rating."""
    draw = Recorder("feedback token")
    grant = issuer.grant(wallet("ana"))
    purse = Purse(grant, issuer.root, world.devices["ana"])
    asking = Asking(grant, wallet("ana"), issuer.root, EPOCH, draw)
    asked, draw.drawn = draw.drawn, []
    request = purse.request(asking.ask)
    answer = issuer.answer(request, world.speaks_for, world.draw)
    ticket = asking.finish(purse.given(request, answer))
    rating = ticket.rate(False, EPOCHS, draw)
    collector = world.keeper()
    return {
        "name": "a token",
        "key": issuer._keys[wallet("ana")].save().hex(),
        "key_root": issuer.root.hex(),
        "grant": to_wire(grant).hex(),
        "asking_draws": asked,
        "device_seed": world.devices["ana"].seed.hex(),
        "request": to_wire(request).hex(),
        "answer": to_wire(answer).hex(),
        "genesis_s": EPOCHS.genesis_s,
        "epoch_s": EPOCHS.length_s,
        "answer_meant": False,
        "rating_draws": draw.drawn,
        "rating": to_wire(rating).hex(),
        "collector_seed": collector.sealing.seed.hex(),
        "cell": seal_rating(rating, collector.sealing.public).hex(),
    }


def batch_row(world: World, ratings: list[Rating]) -> dict[str, Any]:
    """Ten answers, the batch of them, and what it comes to."""
    data = write_batch(CHAIN, CONTRACT, EPOCH + 1, ratings)
    found = world.ledger().check(data, 10)
    total = found.totals[wallet("ana")]
    return {
        "name": "a batch",
        "chain_id": CHAIN,
        "contract": CONTRACT.hex(),
        "key_root": world.issuers[EPOCH].root.hex(),
        "batch": data.hex(),
        "epoch": found.epoch,
        "data_hash": found.data_hash.hex(),
        "root": found.root.hex(),
        "tokens": found.tokens,
        "totals": {wallet("ana").hex(): [total.tokens, total.noes]},
        "proof": [part.hex() for part in totals_proof(found.totals, found.epoch, wallet("ana"))],
        "set_digest": sheets.set_digest(ratings).hex(),
        "not_before_s": [rating.not_before_s for rating in ratings],
    }


def tree_row() -> dict[str, Any]:
    leaves = {wallet(name): name.encode() for name in ("ana", "ben", "cleo", "dara", "eli")}
    return {
        "name": "a tree of five",
        "kind": "keys",
        "leaves": {owner.hex(): value.hex() for owner, value in leaves.items()},
        "root": tree.root("keys", leaves).hex(),
        "proofs": {owner.hex(): [part.hex() for part in tree.proof(leaves, owner)] for owner in leaves},
        "empty_root": tree.root("keys", {}).hex(),
    }


def signature_row(world: World) -> dict[str, Any]:
    keeper = world.keeper()
    vote = EpochVote(6, b"\1" * 32, b"\2" * 32, b"\3" * 32, 40, keeper.sheet.collector, bytes(65))
    digest = sheets.epoch_digest(CHAIN, CONTRACT, vote)
    signed = dataclasses.replace(vote, signature=sheets.sign_digest(digest, keeper.secret))
    return {
        "name": "a collector's signatures",
        "sheet": to_wire(keeper.sheet).hex(),
        "sheet_digest": sheets.sheet_digest(keeper.sheet).hex(),
        "announcement": to_wire(sheets.announce(keeper.sheet, 6, (), keeper.key)).hex(),
        "vote": to_wire(signed).hex(),
        "vote_digest": digest.hex(),
    }


def rows() -> dict[str, list[dict[str, Any]]]:
    world = World(seed=77)
    issuer = world.open(EPOCH)
    token = token_row(world, issuer)
    world.purses["ana", EPOCH].used = 1
    ratings = [world.rating("ana", EPOCH, again=number > 2) for number in range(10)]
    counts = [10, 20, 30, 40, 50, 80, 100, 130, 200, 500]
    alarms = {
        "name": "alarms",
        "noes_for_alarm": {str(tokens): noes_for_alarm(tokens) for tokens in counts},
        "allowed": {str(tokens): allowed(tokens) for tokens in counts},
    }
    made = [token, batch_row(world, ratings), tree_row(), signature_row(world), alarms]
    messages = message_rows()["messages.feedback.messages"]
    return {"feedback": made, "messages.feedback.messages": messages}


def main() -> None:
    """Write the files that are missing."""
    for name, made in rows().items():
        path = FOLDER / f"{name}.json"
        if not path.exists():
            path.write_text(_written(made), "utf-8")
            print(f"{path.name}: {len(made)} rows")


if __name__ == "__main__":
    main()
