"""Cells, the outer keys and X-Wing, against committed bytes, RFCs, and everything one can do to a cell."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmline.env import SeededRng
from warmline_protocol import limits, vectors
from warmline_protocol.errors import MalformedError, OversizeError, UsageError
from warmline_protocol.session import cells, xwing
from warmline_protocol.session.cells import Bundle, Joiner, Kind
from warmline_protocol.session.keyschedule import EpochKey, KeySchedule, _hkdf, first_key, next_key
from warmline_protocol.session.xwing import SealingKey

KEY = EpochKey(3, b"k" * 32)


def a_bundle(size: int, seed: int = 0, **fields: Any) -> Bundle:
    values: dict[str, Any] = {"kind": Kind.APPLICATION, "epoch": 3, "counter": 9, "id": b"b" * 8}
    return Bundle(**(values | fields), payload=Random(seed).randbytes(size))


def sealed(bundle: Bundle, seed: int = 0) -> tuple[bytes, ...]:
    return cells.seal(bundle, KEY.key, "log", SeededRng(seed).bytes)


# -- committed bytes


@pytest.mark.parametrize("row", vectors.load("session.cells"), ids=lambda row: row["name"])
def test_cells_are_as_committed(row: dict[str, Any]) -> None:
    salts = iter(row["salts"])
    bundle = Bundle(
        Kind(row["kind"]), row["epoch"], row["counter"], bytes.fromhex(row["bundle"]), bytes.fromhex(row["payload"])
    )
    made = cells.seal(bundle, bytes.fromhex(row["key"]), row["label"], lambda _: bytes.fromhex(next(salts)))
    assert [hashlib.sha256(cell).hexdigest() for cell in made] == row["cells_sha256"]
    assert made[0].hex().startswith(row["first_cell_start"])


def test_outer_keys_are_as_committed() -> None:
    (row,) = vectors.load("session.keys")
    key = first_key(bytes.fromhex(row["reply_secret"]), bytes.fromhex(row["random"]))
    assert key.hex() == row["keys"][0]
    for exporter, following in zip(row["exporters"], row["keys"][1:], strict=True):
        key = next_key(key, bytes.fromhex(exporter))
        assert key.hex() == following
    epoch = EpochKey(2, key)
    assert (epoch.digest.hex(), epoch.send_key.hex(), epoch.read_key.hex()) == (
        row["digest"],
        row["log_send"],
        row["log_read"],
    )


@pytest.mark.parametrize("row", vectors.load("session.xwing"), ids=lambda row: row["name"])
def test_what_another_library_sealed_opens(row: dict[str, str]) -> None:
    key = SealingKey(bytes.fromhex(row["seed"]))
    assert key.public.hex() == row["public"]
    assert key.open(bytes.fromhex(row["sealed"]), row["purpose"]).decode() == row["plaintext"]


def test_keys_grow_from_seeds_as_the_draft_says() -> None:
    """draft-connolly-cfrg-xwing-kem, first test vector: both ends of its public key."""
    key = SealingKey(bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26"))
    assert key.public.hex().startswith("e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5b19cfc3d")
    assert key.public.hex().endswith("27dce59844570216223593d4ba32d9abac8cd049040ef6534")


@pytest.mark.parametrize(
    ("ikm", "salt", "info", "size", "okm"),
    [
        (  # RFC 5869 A.1
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (  # RFC 5869 A.3
            "0b" * 22,
            "",
            "",
            42,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_hkdf_is_rfc_5869(ikm: str, salt: str, info: str, size: int, okm: str) -> None:
    assert _hkdf(bytes.fromhex(ikm), bytes.fromhex(salt), bytes.fromhex(info), size).hex() == okm


# -- sealing and opening


@pytest.mark.parametrize(
    ("size", "count"),
    [(0, 1), (cells.PAYLOAD, 1), (cells.PAYLOAD + 1, 2), (3 * cells.PAYLOAD, 4), (cells.BUNDLE_MAX, 16)],
)
def test_lengths_say_almost_nothing(size: int, count: int) -> None:
    made = sealed(a_bundle(size))
    assert len(made) == count
    assert {len(cell) for cell in made} == {limits.CELL_SIZE}


def test_too_much_for_sixteen_cells() -> None:
    with pytest.raises(OversizeError):
        sealed(a_bundle(cells.BUNDLE_MAX + 1))


@settings(max_examples=30, deadline=None)
@given(size=st.integers(0, cells.BUNDLE_MAX), seed=st.integers(0, 2**32))
def test_fragments_join_in_any_order_with_doubles(size: int, seed: int) -> None:
    bundle = a_bundle(size, seed)
    shuffled = [*sealed(bundle, seed), *sealed(bundle, seed + 1)]
    Random(seed).shuffle(shuffled)
    joiner, whole = Joiner(), []
    for cell in shuffled:
        fragment = cells.open_any(cell, [KEY], "log")
        assert fragment is not None
        joined = joiner.add(fragment)
        if joined is not None:
            whole.append(joined)
    assert whole and all(each == bundle for each in whole)


@settings(max_examples=50, deadline=None)
@given(at=st.integers(0, limits.CELL_SIZE - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(at: int, bit: int) -> None:
    (cell,) = sealed(a_bundle(100))
    spoilt = bytearray(cell)
    spoilt[at] ^= 1 << bit
    with pytest.raises(MalformedError):
        cells.open_cell(bytes(spoilt), KEY.key, "log")


def test_another_key_label_or_epoch_opens_nothing() -> None:
    (cell,) = sealed(a_bundle(100))
    assert cells.open_any(cell, [EpochKey(3, b"x" * 32)], "log") is None
    assert cells.open_any(cell, [KEY], "to guest") is None
    assert cells.open_any(cell, [EpochKey(4, KEY.key)], "log") is None
    for size in (0, 1, limits.CELL_SIZE - 1, limits.CELL_SIZE + 1):
        with pytest.raises(MalformedError):
            cells.open_cell(bytes(size), KEY.key, "log")
    with pytest.raises(UsageError):
        cells.seal(a_bundle(1), b"short", "log", SeededRng(0).bytes)


def test_unfinished_bundles_are_bounded() -> None:
    joiner = Joiner()
    for number in range(limits.UNFINISHED_BUNDLES_MAX * 3):
        first = sealed(a_bundle(cells.PAYLOAD + 1, id=number.to_bytes(8)))[0]
        fragment = cells.open_any(first, [KEY], "log")
        assert fragment is not None and joiner.add(fragment) is None
    assert joiner.unfinished == limits.UNFINISHED_BUNDLES_MAX


def test_fragments_of_two_minds_do_not_join() -> None:
    joiner = Joiner()
    one = sealed(a_bundle(cells.PAYLOAD + 1))
    two = sealed(a_bundle(cells.PAYLOAD + 1, counter=10))
    for cell in (one[0], two[1]):
        fragment = cells.open_any(cell, [KEY], "log")
        assert fragment is not None and joiner.add(fragment) is None


# -- the schedule


def test_one_old_key_for_ten_minutes() -> None:
    schedule = KeySchedule(EpochKey(0, b"0" * 32))
    assert [each.number for each in schedule.candidates()] == [0]
    schedule.advance(b"1" * 32, 1000)
    schedule.advance(b"2" * 32, 2000)
    assert [each.number for each in schedule.candidates()] == [2, 1]
    assert not schedule.expired(2000 + limits.OLD_EPOCH_MS - 1)
    assert schedule.expired(2000 + limits.OLD_EPOCH_MS)
    assert schedule.forget_previous() and not schedule.forget_previous()
    assert [each.number for each in schedule.candidates()] == [2]


# -- X-Wing


def test_seal_and_open() -> None:
    key = SealingKey(b"s" * 32)
    envelope = xwing.seal(key.public, b"hello", "hello")
    assert len(envelope) == 5 + xwing.OVERHEAD and len(key.public) == xwing.PUBLIC_SIZE
    assert key.open(envelope, "hello") == b"hello"
    with pytest.raises(MalformedError):
        key.open(envelope, "welcome")
    with pytest.raises(MalformedError):
        SealingKey(b"t" * 32).open(envelope, "hello")
    for at in (0, 1087, 1100, 1120, len(envelope) - 1):
        spoilt = bytearray(envelope)
        spoilt[at] ^= 1
        with pytest.raises(MalformedError):
            key.open(bytes(spoilt), "hello")
    for garbage in (b"", bytes(100), bytes(1136)):
        with pytest.raises(MalformedError):
            key.open(garbage, "hello")
    for public in (b"", bytes(1215), b"\xff" * 1216):
        with pytest.raises(MalformedError):
            xwing.seal(public, b"x", "hello")
    with pytest.raises(UsageError):
        SealingKey(b"short")
    assert "s" * 32 not in repr(key)
