"""RFC 9474: its four vectors byte by byte, what a signer refuses, and why nothing links a request to a token."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from warmline.env import SeededRng
from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError
from warmline_protocol.feedback import blind
from warmline_protocol.feedback.blind import Blinding, PrivateKey, PublicKey

ROWS: list[dict[str, str]] = json.loads(Path(__file__).with_name("rfc9474.json").read_text("utf-8"))
VARIANTS = {each.name: each for each in vars(blind).values() if isinstance(each, blind.Variant)}
VECTORS = pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])


@cache
def key(seed: int = 0) -> PrivateKey:
    return PrivateKey.generate(2048)


def draw(seed: object = 0) -> Any:
    return SeededRng(f"blind {seed}").bytes


def raw(row: dict[str, str], name: str) -> bytes:
    return bytes.fromhex(row[name])


def number(row: dict[str, str], name: str) -> int:
    return int(row[name], 16)


def drawn(*parts: bytes) -> Any:
    """A source that gives these parts, and then only what is random anyway."""
    waiting = list(parts)
    rest = draw("rest")

    def take(size: int) -> bytes:
        if waiting and len(waiting[0]) == size:
            return waiting.pop(0)
        return rest(size)

    return take


@VECTORS
def test_the_client_s_side_is_as_in_the_rfc(row: dict[str, str]) -> None:
    variant, public = VARIANTS[row["name"]], PublicKey(raw(row, "n"))
    prefix = raw(row, "msg_prefix") if "msg_prefix" in row else b""
    prepared = blind.prepare(raw(row, "msg"), lambda size: prefix[:size], variant)
    assert prepared == raw(row, "prepared_msg")
    encoded = blind.encode_pss(prepared, public.n.bit_length() - 1, raw(row, "salt"))
    assert encoded == raw(row, "encoded_msg")
    factor = pow(number(row, "inv"), -1, public.n).to_bytes(len(public.modulus))
    parts = [part for part in (raw(row, "salt"), factor) if part]
    made = blind.blind(public, prepared, drawn(*parts), variant)
    assert (made.blinded, made.inverse) == (raw(row, "blinded_msg"), number(row, "inv"))
    assert blind.finalize(public, made, raw(row, "blind_sig"), variant) == raw(row, "sig")


@VECTORS
def test_the_issuer_s_side_is_as_in_the_rfc(row: dict[str, str]) -> None:
    secret = PrivateKey(number(row, "p"), number(row, "q"))
    assert secret.public.modulus == raw(row, "n") and int(row["e"], 16) == blind.EXPONENT
    for seed in range(3):
        assert secret.sign(raw(row, "blinded_msg"), draw(seed)) == raw(row, "blind_sig")
    secret.public.verify(raw(row, "prepared_msg"), raw(row, "sig"), VARIANTS[row["name"]])


def test_all_four_variants_are_here() -> None:
    assert {row["name"] for row in ROWS} == set(VARIANTS) and len(VARIANTS) == 4


def test_a_round() -> None:
    secret = key()
    message = blind.prepare(b"serial", draw(1))
    made = blind.blind(secret.public, message, draw(2))
    signature = blind.finalize(secret.public, made, secret.sign(made.blinded, draw(3)))
    secret.public.verify(message, signature)
    for bad in (b"other", message + b"\0", message[1:]):
        with pytest.raises(BadSignatureError):
            secret.public.verify(bad, signature)
    assert PrivateKey.load(secret.save()).sign(made.blinded, draw(4)) == secret.sign(made.blinded, draw(5))


def test_a_wrong_answer_is_noticed_before_it_is_a_token() -> None:
    other, secret = sorted((key(), key(1)), key=lambda each: each.public.n)
    made = blind.blind(secret.public, b"serial", draw())
    right = secret.sign(made.blinded, draw())
    theirs = other.sign((int.from_bytes(made.blinded) % other.public.n).to_bytes(256), draw())
    for wrong in (right[:-1] + bytes([right[-1] ^ 1]), theirs, bytes(256)):
        with pytest.raises(BadSignatureError):
            blind.finalize(secret.public, made, wrong)
    with pytest.raises(MalformedError):
        blind.finalize(secret.public, made, b"short")


def test_what_the_issuer_does_not_sign() -> None:
    secret = key()
    n = secret.public.n
    for bad in (bytes(256), n.to_bytes(256), (n + 5).to_bytes(256), b"\x01" * 255, b"\0" + b"\x01" * 256, b""):
        with pytest.raises(MalformedError):
            secret.sign(bad, draw())


def test_a_fault_never_leaves_the_machine() -> None:
    """One wrong bit in a CRT exponent would give the factors to whoever sees the result (Boneh, DeMillo, Lipton)."""
    secret = PrivateKey.load(key().save())
    secret._dp ^= 2
    with pytest.raises(UsageError, match="nothing was sent"):
        secret.sign(b"\x01" * 256, draw())


def test_keys_that_are_none() -> None:
    for bad in (b"", b"\x7f" * 256, b"\xff" * 255 + b"\xfe"):
        with pytest.raises(MalformedError):
            PublicKey(bad)
    with pytest.raises(UsageError):
        blind.encode_pss(b"", 512, bytes(48))


def test_every_token_fits_every_request() -> None:
    """Perfect blindness: for any request and any token there is a blinding factor that makes them a pair, so that an
    issuer that keeps everything it ever saw, and has all the time in the world, learns nothing from the numbers."""
    secret = key()
    n = secret.public.n
    rounds: list[tuple[Blinding, bytes, int]] = []
    for seed in range(4):
        made = blind.blind(secret.public, bytes([seed]) * 64, draw(("pair", seed)))
        signed = secret.sign(made.blinded, draw(seed))
        rounds.append((made, signed, int.from_bytes(blind.finalize(secret.public, made, signed))))
    for made, signed, _ in rounds:
        for _, _, token in rounds:
            factor = int.from_bytes(signed) * pow(token, -1, n) % n
            encoded = secret.public.apply(token)
            assert encoded * secret.public.apply(factor) % n == int.from_bytes(made.blinded)


def test_blinding_factors_are_uniform_and_never_the_same() -> None:
    source = draw("uniform")
    numbers = [blind._uniform(1000, source) for _ in range(4000)]
    assert min(numbers) >= 1 and max(numbers) <= 999 and len(set(numbers)) > 950
    assert 450 < sum(numbers) / len(numbers) < 550
    secret = key()
    assert len({blind.blind(secret.public, b"same", source).blinded for _ in range(5)}) == 5
