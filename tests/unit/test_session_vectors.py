"""Replays the committed bytes of first contact and evidence. A failure here means that the wire has changed."""

from __future__ import annotations

from typing import Any

import pytest

from warmline_protocol import vectors
from warmline_protocol.errors import BadSignatureError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session.evidence import Signer, Verifier, check_statement, pair_chain, sign_statement
from warmline_protocol.session.hello import (
    Accepted,
    Answer,
    AnswerReader,
    Declined,
    Hello,
    Welcome,
    open_hello,
    parse_answer,
    seal_answer,
)
from warmline_protocol.session.keyschedule import first_key, next_key
from warmline_protocol.session.messages import Inner
from warmline_protocol.session.xwing import SealingKey
from warmline_protocol.wire import from_wire, to_wire

CONTACTS = pytest.mark.parametrize("row", vectors.load("session.contact"), ids=lambda row: row["name"])
(CHAIN,) = vectors.load("session.evidence")


def raw(row: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(row[name])


def hello_of(row: dict[str, Any]) -> Hello:
    return from_wire(raw(row, "hello"), (Hello,))


def read(row: dict[str, Any], name: str) -> Answer:
    reader = AnswerReader(hello_of(row).reply_secret)
    answers = [reader.feed(bytes.fromhex(cell)) for cell in row[name]]
    (answer,) = [each for each in answers if each is not None]
    return answer


@CONTACTS
def test_a_hello_opens_as_committed(row: dict[str, Any]) -> None:
    hello, index = open_hello(raw(row, "hello_cell"), [SealingKey(raw(row, "contact_seed"))])
    assert index == 0 and hello == hello_of(row) and to_wire(hello) == raw(row, "hello")
    assert hello.kem == SealingKey(raw(row, "kem_seed")).public


@CONTACTS
def test_answers_open_as_committed(row: dict[str, Any]) -> None:
    accepted, declined = read(row, "answer_cells"), read(row, "declined_cells")
    assert isinstance(accepted, Accepted) and to_wire(accepted) == raw(row, "accepted")
    assert declined == Declined(hello_of(row).attempt, "busy")
    assert len(row["answer_cells"]) in (1, 2, 4, 8, 16) and len(row["declined_cells"]) == 1


@CONTACTS
def test_a_welcome_opens_as_committed(row: dict[str, Any]) -> None:
    hello, accepted = hello_of(row), from_wire(raw(row, "accepted"), (Accepted,))
    welcome = from_wire(SealingKey(raw(row, "kem_seed")).open(accepted.envelope, "welcome"), (Welcome,))
    assert to_wire(welcome) == raw(row, "welcome") and welcome.attempt == hello.attempt
    key = next_key(first_key(hello.reply_secret, raw(row, "first_key_random")), raw(row, "exporter"))
    assert (welcome.epoch, welcome.outer_key) == (1, key)
    of_pair = pair_chain(hello.nonce, bytes.fromhex(row["statement"]["group_id"]))
    assert (welcome.log is not None) == (row["name"] == "a room") == (welcome.chain != of_pair)


@CONTACTS
def test_a_statement_is_as_committed(row: dict[str, Any]) -> None:
    said = {name: bytes.fromhex(value) for name, value in row["statement"].items()}
    signature = said.pop("signature")
    key = SigningKey(raw(row, "supporter_seed"))
    made = sign_statement(key, said["key_package"], said["group_id"], said["leaf_key"], said["nonce"], said["chain"])
    assert made == signature
    with pytest.raises(BadSignatureError):
        check_statement(
            key.public, signature, said["key_package"], said["group_id"], said["leaf_key"], said["nonce"], bytes(32)
        )


def test_evidence_is_as_committed() -> None:
    signer = Signer(SigningKey(raw(CHAIN, "seed")), raw(CHAIN, "nonce"), raw(CHAIN, "start"))
    verifier = Verifier(signer.key.public, signer.nonce)
    for row in CHAIN["links"]:
        made = signer.sign(row["counter"], raw(row, "body"), raw(row, "salt"))
        assert (made.previous.hex(), made.signature.hex()) == (row["previous"], row["signature"])
        assert signer.head.hex() == row["head"]
        if row["counter"] == 4:
            verifier.pass_over(3)
        verifier.check(Inner(bytes(16), row["counter"], 1, 0, raw(row, "body"), None, made))


def test_an_answer_s_cells_are_sealed_as_committed() -> None:
    """All but the envelope repeats from what is drawn: the bundle's id, and a salt for each cell."""
    (row, _) = vectors.load("session.contact")
    cells = [bytes.fromhex(cell) for cell in row["declined_cells"]]
    reader = AnswerReader(hello_of(row).reply_secret)
    fragment = _only_fragment(row, cells[0])
    drawn = iter([fragment.bundle, *(cell[:32] for cell in cells)])
    again = seal_answer(Declined(hello_of(row).attempt, "busy"), hello_of(row).reply_secret, lambda _: next(drawn))
    assert list(again) == cells and reader.feed(cells[0]) is not None


def _only_fragment(row: dict[str, Any], cell: bytes) -> Any:
    from warmline_protocol.session import cells as sealing
    from warmline_protocol.session.hello import ANSWER_LABEL, answer_key

    fragment = sealing.open_any(cell, [answer_key(hello_of(row).reply_secret)], ANSWER_LABEL)
    assert fragment is not None
    bundle = sealing.Joiner().add(fragment)
    assert bundle is not None and isinstance(parse_answer(bundle), Declined)
    return fragment
