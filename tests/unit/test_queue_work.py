"""The door's proof of work: worth what it says, for one cell and one challenge, and bounded."""

from __future__ import annotations

import pytest

from warmline_protocol.limits import WORK_BITS_MAX, WORK_PARTS
from warmline_protocol.queue.work import bits_for, solve, strength

CHALLENGE = b"c" * 32
CELL = b"hello".ljust(4096, b".")


def test_free_up_to_half_then_dearer_to_a_bound() -> None:
    for cap in (1, 2, 3, 10, 64, 256):
        prices = [bits_for(count, cap) for count in range(cap + 1)]
        assert prices == sorted(prices)
        assert prices[: cap // 2 + 1] == [0] * (cap // 2 + 1)
        assert all(0 < price <= WORK_BITS_MAX for price in prices[cap // 2 + 1 :])
    assert bits_for(256, 256) == WORK_BITS_MAX


@pytest.mark.parametrize("bits", [1, 6, 9])
def test_a_solution_is_worth_its_bits(bits: int) -> None:
    work = solve(CHALLENGE, CELL, bits)
    assert len(work) == 4 * WORK_PARTS
    assert strength(CHALLENGE, CELL, work) >= bits


def test_a_solution_is_for_one_cell_and_one_challenge() -> None:
    work = solve(CHALLENGE, CELL, 8)
    assert strength(b"d" * 32, CELL, work) < 8
    assert strength(CHALLENGE, b"other".ljust(4096, b"."), work) < 8


def test_each_part_counts() -> None:
    work = bytearray(solve(CHALLENGE, CELL, 8))
    work[-1] ^= 1
    assert strength(CHALLENGE, CELL, bytes(work)) < 8
    assert strength(CHALLENGE, CELL, bytes(work[:-4])) == 0
    assert strength(CHALLENGE, CELL, b"") == 0
