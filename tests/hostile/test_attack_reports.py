"""Reports that are made to mislead a panel: spliced, dressed up, or about somebody who never spoke."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak

from support.court import ADVOCATE, RESPONDENT, StillClock, court, embedded
from support.endpoints import endpoint
from support.evidence import chapter, signed_card_of
from support.records import NOW
from support.sessions import START_MS, meet, read_answer
from warmline import env
from warmline.chain.contracts import date
from warmline.chain.endpoints import DisagreeError, open_source
from warmline.cli.docket import chain_checked, evidence_text
from warmline.cli.report import _rows
from warmline.client.session_transcript import Line, as_text
from warmline_protocol.codec import decode
from warmline_protocol.errors import MalformedError
from warmline_protocol.records.card import Card
from warmline_protocol.records.envelope import open_record, sign_record
from warmline_protocol.session.events import Append
from warmline_protocol.session.evidence import Verifier, sign_statement
from warmline_protocol.session.evidence_bundle import OwnLine, ReportBundle, bundle_digest, make_bundle, verify_bundle
from warmline_protocol.session.evidence_case import Case
from warmline_protocol.session.hello import Accepted, Knock
from warmline_protocol.session.pair import Pair
from warmline_protocol.wire import to_wire

REGISTRY = b"\x22" * 20


def a_case(bundle: bytes, report_id: bytes = b"r" * 32) -> Case:
    digest = bundle_digest(bundle)
    return Case(report_id, ADVOCATE.address, RESPONDENT.address, digest, b"s" * 32, bundle, NOW)


def test_a_reporters_lines_cannot_pass_for_what_was_signed() -> None:
    """A line break was enough: the next line of the reporter's could begin with the mark of a signed one."""
    record, device = signed_card_of(RESPONDENT, 1, REGISTRY)
    forged = "I said no.\n ✓ Then pay me at once.\x1b[1A\x1b[2K"
    lines = (OwnLine(0, 1, NOW, forged), OwnLine(0, 0, NOW, "\x1b]0;owned\x07hello"))
    bundle = make_bundle(
        record, [chapter(device, ["Hello.\n   not proven: you asked me to."])], own=lines, account=forged
    )
    shown = evidence_text(a_case(bundle), verify_bundle(bundle)).split("\n")
    assert [line for line in shown if "pay me" in line] == ["   not proven:  ✓ Then pay me at once.�[1A�[2K"] * 2
    assert not any(char < " " for line in shown for char in line)
    assert sum("hello" in line for line in shown) == 1  # also what was said before the first signed text
    signed = [line for line in shown if line.startswith(" ✓ ")]
    assert signed == [" ✓ Hello.", " ✓    not proven: you asked me to."]


def framing_bundle(chain_id: int, registry: bytes) -> bytes:
    """A card by a key of the framer's own, which says to speak for a contract wallet: no signature to forge."""
    record, device = signed_card_of(RESPONDENT, chain_id, registry)
    honest = open_record(record)
    assert honest.delegation is not None and isinstance(honest.body, Card)
    own_word = replace(honest.delegation, signature=None)
    return make_bundle(sign_record(honest.body, device, own_word), [chapter(device, ["I will hurt you."])])


@pytest.fixture
def its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command does not believe a chain of another year."""
    monkeypatch.setattr(env, "SystemClock", StillClock)


async def test_evidence_by_a_key_that_the_wallet_never_named_is_refused(tmp_path: Path, its_time: None) -> None:
    async with court(embedded, tmp_path) as act:
        manifest = act.reports.manifest
        bundle = framing_bundle(manifest.chain_id, manifest.address("DelegateRegistry"))
        digest = bundle_digest(bundle)
        report_id = act.reports.report_id(ADVOCATE.address, RESPONDENT.address, digest, b"s" * 32)
        case = a_case(bundle, report_id)
        with pytest.raises(MalformedError, match="never let this key speak"):
            await chain_checked(act.reports, case)
        device = open_record(unpack_card(bundle)).key
        now_s = await act.reports.time_s()
        await act.do(RESPONDENT, act.reports.set_delegate(device, now_s + 86_400))
        assert (await chain_checked(act.reports, case)).only_on_chain
        await act.do(RESPONDENT, act.reports.revoke_before(now_s))
        assert await act.reports.delegate_until(RESPONDENT.address, device) == 0
        assert (await chain_checked(act.reports, case)).only_on_chain  # ended since, and said all the same


async def test_one_endpoint_that_makes_up_the_wallets_word_frames_nobody(tmp_path: Path, its_time: None) -> None:
    async with court(embedded, tmp_path) as act, endpoint(act.rpc) as liar:
        manifest = act.reports.manifest
        bundle = framing_bundle(manifest.chain_id, manifest.address("DelegateRegistry"))
        report_id = act.reports.report_id(ADVOCATE.address, RESPONDENT.address, bundle_digest(bundle), b"s" * 32)
        case, device = a_case(bundle, report_id), open_record(unpack_card(bundle)).key
        name = "0x" + bytes(keccak(b"DelegateSet(address,bytes32,uint64)")).hex()
        topics = [name, "0x" + RESPONDENT.address.rjust(32, b"\0").hex(), "0x" + device.hex()]
        log = {"address": "0x" + manifest.address("DelegateRegistry").hex(), "topics": topics, "data": "0x" + "0f" * 32}
        log |= {"blockNumber": "0x1", "blockHash": "0x" + "11" * 32, "logIndex": "0x0"}

        def invent(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            return answer | {"result": [log]} if request["method"] == "eth_getLogs" else answer

        liar.change = invent
        async with open_source((liar.url,), deadline_s=30) as alone:
            assert (await chain_checked(act.reports, case, alone)).only_on_chain  # whom one believes alone may frame
        async with open_source((act.rpc.url, liar.url), deadline_s=30) as both:
            with pytest.raises(DisagreeError):
                await chain_checked(act.reports, case, both)


async def test_a_delegation_for_another_chain_is_none_here(tmp_path: Path) -> None:
    async with court(embedded, tmp_path) as act:
        bundle = framing_bundle(99, REGISTRY)
        digest = bundle_digest(bundle)
        report_id = act.reports.report_id(ADVOCATE.address, RESPONDENT.address, digest, b"s" * 32)
        with pytest.raises(MalformedError, match="another chain"):
            await chain_checked(act.reports, a_case(bundle, report_id))


def unpack_card(bundle: bytes) -> bytes:
    fields = decode(bundle, max_size=1 << 20)
    assert isinstance(fields, dict) and isinstance(fields["card"], bytes)
    return fields["card"]


def test_texts_of_two_sessions_make_no_third() -> None:
    """The reporter chose the chain: two Hellos with one nonce, and texts of both read as one conversation."""
    parties = meet(0)
    nonce = parties.knock.hello.nonce
    provider, draw = parties.provider, parties.rng.bytes
    chains = set()
    for _ in range(2):
        knock = Knock(provider.candidate(), draw, (b"g0",), name="River", avatar=bytes(16))
        knock.hello = replace(knock.hello, nonce=nonce)
        host = Pair.accept(
            knock.hello, provider, draw, START_MS, key=parties.key, name="Ada", avatar=bytes(16), queues=(b"h0",)
        )
        assert host.signer is not None
        chains.add(host.signer.nonce)
        ((offer,), _) = host.take()
        assert isinstance(offer, Append)
        answer = read_answer(knock, offer.cells)
        assert isinstance(answer, Accepted)
        knock.join(answer, parties.key.public)
    assert len(chains) == 2 and nonce not in chains


def test_one_text_is_not_shown_as_said_in_two_sessions() -> None:
    """In a room everybody's texts hang on one chain: who joined twice had two statements for it."""
    record, device = signed_card_of(RESPONDENT, 1, REGISTRY)
    once = chapter(device, ["Go away.", "Now."])
    given, nonce = once.statement, b"n" * 32
    signature = sign_statement(device, b"key package", b"group", b"leaf", nonce, given.chain)
    twice = replace(once, statement=replace(given, nonce=nonce, signature=signature))
    with pytest.raises(MalformedError):
        verify_bundle(to_wire(ReportBundle(record, (once, twice))))
    parts = replace(once, words=once.words[:1]), replace(twice, words=once.words[1:])
    assert len(verify_bundle(make_bundle(record, parts)).texts) == 2
    verifier = Verifier(device.public, given.chain, twice.statement)
    verifier.earlier = [parts[0]]
    verifier._kept.extend(twice.words)
    assert verifier.chapters == parts


def test_a_time_that_no_calendar_has_ends_no_program() -> None:
    """Times are the other side's word. One of the year 287396 ended the program at /export, with the evidence."""
    said = [
        Line(1, b"i" * 16, False, "Ada", "hello\n2026-01-01 00:00:00  You: pay me", 2**53 - 1),
        Line(2, b"j" * 16, True, "River", "hi", 0),
    ]
    rows = as_text(said, "Title").splitlines()
    assert rows[2].startswith("9999-12-31") and rows[3].startswith("    2026") and rows[4].startswith("1970")
    record, device = signed_card_of(RESPONDENT, 1, REGISTRY)
    once = chapter(device, ["Hello."])
    late = replace(once, words=(replace(once.words[0], sent_ms=2**53 - 1),))
    lines = (OwnLine(0, 1, 2**53 - 1, "late"),)
    assert any("9999" in row for row in _rows(verify_bundle(make_bundle(record, [late], own=lines))))
    assert date(2**64 - 1).startswith("31 December 9999")
