"""First contact: what fits a Hello, who may answer it, and what a seeker believes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.sessions import START_MS, meet, read_answer
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.env import SeededRng
from warmline_protocol import limits
from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session import xwing
from warmline_protocol.session.events import Append
from warmline_protocol.session.evidence import Signer, Verifier
from warmline_protocol.session.hello import (
    Accepted,
    AnswerReader,
    Declined,
    Knock,
    Welcome,
    open_hello,
    seal_answer,
    seal_hello,
)
from warmline_protocol.session.messages import Inner, Text, clean, pack_body
from warmline_protocol.session.pair import Pair
from warmline_protocol.session.xwing import SealingKey
from warmline_protocol.wire import from_wire, to_wire

CONTACT, KEY = SealingKey(b"c" * 32), SigningKey(b"k" * 32)


@pytest.fixture
def provider() -> MlsRsProvider:
    return MlsRsProvider(SeededRng("hello").bytes)


def a_knock(provider: MlsRsProvider, **fields: str) -> Knock:
    return Knock(provider.candidate(), SeededRng("knock").bytes, (b"q0", b"q1"), avatar=bytes(16), **fields)


def accepted(provider: MlsRsProvider, knock: Knock, key: SigningKey = KEY) -> Accepted:
    host = Pair.accept(
        knock.hello,
        provider,
        SeededRng("host").bytes,
        START_MS,
        key=key,
        name="Ada",
        avatar=bytes(16),
        queues=(b"h0",),
    )
    (offer,), _ = host.take()
    assert isinstance(offer, Append)
    answer = read_answer(knock, offer.cells)
    assert isinstance(answer, Accepted)
    return answer


def test_the_longest_hello_is_one_cell(provider: MlsRsProvider) -> None:
    knock = Knock(
        provider.candidate(),
        SeededRng(1).bytes,
        (b"q" * limits.QUEUE_ADDRESS_MAX, b"r" * limits.QUEUE_ADDRESS_MAX),
        name="n" * limits.NAME_MAX,
        avatar=bytes(16),
        line="l" * limits.OPENING_LINE_MAX,
        listing=bytes(32),
    )
    cell = knock.cell(CONTACT.public)
    assert len(cell) == limits.CELL_SIZE
    assert open_hello(cell, [SealingKey(b"o" * 32), CONTACT]) == (knock.hello, 1)


def test_what_does_not_fit_is_said_before_it_leaves(provider: MlsRsProvider) -> None:
    for fields in ({"name": "n" * 65}, {"line": "é" * 141}):
        with pytest.raises(UsageError):
            a_knock(provider, **fields).cell(CONTACT.public)
    knock = a_knock(provider)
    with pytest.raises(UsageError):
        seal_hello(replace(knock.hello, key_package=bytes(limits.KEY_PACKAGE_MAX + 1)), CONTACT.public)


def test_hellos_that_are_not(provider: MlsRsProvider) -> None:
    cell = a_knock(provider).cell(CONTACT.public)
    for bad in (b"", cell[:-1], cell + b"\0", bytes(limits.CELL_SIZE), cell[:-1] + bytes([cell[-1] ^ 1])):
        with pytest.raises(MalformedError):
            open_hello(bad, [CONTACT])
    body = limits.CELL_SIZE - xwing.OVERHEAD
    for plain in (
        b"\xff" * body,
        b"\0\1\xc0".ljust(body, b"\0"),
        b"\0\0".ljust(body, b"\0"),
        b"\0\0".ljust(body, b"x"),
    ):
        with pytest.raises(MalformedError):
            open_hello(xwing.seal(CONTACT.public, plain, "hello"), [CONTACT])


def test_only_the_key_on_the_card_may_answer(provider: MlsRsProvider) -> None:
    thief = SigningKey(b"t" * 32)
    knock = a_knock(provider)
    with pytest.raises(BadSignatureError):
        knock.join(accepted(provider, knock, thief), KEY.public)


def reseal(knock: Knock, answer: Accepted, **fields: object) -> Accepted:
    welcome = from_wire(knock._kem.open(answer.envelope, "welcome"), (Welcome,))
    changed = replace(welcome, **fields)  # type: ignore[arg-type]
    return Accepted(answer.attempt, xwing.seal(knock.hello.kem, to_wire(changed), "welcome"))


def test_a_statement_for_another_session_is_refused(provider: MlsRsProvider) -> None:
    knock = a_knock(provider)
    stolen = from_wire(knock._kem.open(accepted(provider, knock).envelope, "welcome"), (Welcome,)).statement
    for fields in ({"statement": stolen}, {"chain": b"x" * 32}, {"supporter": b"y" * 32}):
        again = a_knock(provider)
        with pytest.raises(BadSignatureError):
            again.join(reseal(again, accepted(provider, again), **fields), KEY.public)


def test_a_welcome_of_another_attempt_or_host_is_refused(provider: MlsRsProvider) -> None:
    for fields in ({"attempt": b"z" * 16}, {"host": b"z" * 16}):
        knock = a_knock(provider)
        with pytest.raises(MalformedError):
            knock.join(reseal(knock, accepted(provider, knock), **fields), KEY.public)
    knock, other = a_knock(provider), a_knock(provider)
    with pytest.raises(MalformedError):
        other.join(accepted(provider, knock), KEY.public)


def test_answers_look_like_any_cell_and_only_the_seeker_reads_them(provider: MlsRsProvider) -> None:
    knock = a_knock(provider)
    cells = seal_answer(Declined(knock.hello.attempt, "busy"), knock.hello.reply_secret, SeededRng(5).bytes)
    assert [len(cell) for cell in cells] == [limits.CELL_SIZE]
    assert AnswerReader(knock.hello.reply_secret).feed(cells[0]) == Declined(knock.hello.attempt, "busy")
    assert AnswerReader(b"x" * 32).feed(cells[0]) is None
    assert AnswerReader(knock.hello.reply_secret).feed(b"rubbish") is None


# -- evidence


def a_message(signer: Signer, counter: int, text: str) -> Inner:
    body = pack_body(Text(text))
    evidence = signer.sign(counter, body, b"s" * 16)
    return Inner(b"i" * 16, counter, 1, START_MS, body, evidence=evidence)


def test_evidence_holds_and_nothing_else_does() -> None:
    nonce = b"n" * 32
    signer, verifier = Signer(KEY, nonce), Verifier(KEY.public, nonce)
    first, second, third = (a_message(signer, counter, f"word {counter}") for counter in (1, 2, 3))
    for inner in (second, first, third):
        verifier.check(inner)
    forged = [
        replace(first, evidence=None),
        replace(first, body=pack_body(Text("other words"))),
        replace(first, counter=4),
        replace(first, evidence=second.evidence),
    ]
    for inner in forged:
        with pytest.raises(BadSignatureError):
            verifier.check(inner)
    for wrong in (Verifier(KEY.public, b"m" * 32), Verifier(SigningKey(b"x" * 32).public, nonce)):
        with pytest.raises(BadSignatureError):
            wrong.check(first)


def test_a_chain_that_branches_is_refused() -> None:
    nonce = b"n" * 32
    signer, verifier = Signer(KEY, nonce), Verifier(KEY.public, nonce)
    verifier.check(a_message(signer, 1, "what was said"))
    other = Signer(KEY, nonce)
    a_message(other, 1, "what was said instead")
    with pytest.raises(BadSignatureError):
        verifier.check(a_message(other, 2, "and then"))


# -- text


def test_what_could_repaint_a_terminal_is_replaced() -> None:
    assert clean("plain, ünïcode, 👩‍👧") == "plain, ünïcode, 👩‍👧"
    assert "\x1b" not in clean("\x1b[2Jhello") and "hello" in clean("\x1b[2Jhello")
    assert "\u202e" not in clean("abc\u202edef")
    assert clean("two\nlines", lines=True) == "two\nlines"
    assert "\n" not in clean("two\nlines")
    assert clean("  \x00 ") != ""


def test_a_name_made_of_control_characters_is_shown_as_such() -> None:
    parties = meet(5, name="\x1b]0;gotcha\x07")
    assert "\x1b" not in parties.host.peer_name
