"""Proof of work for doors that are over half full, after Hashcash (Back, 2002).

It is the last line of three: addresses are limited at the entry and each entry has its share of a door. What it must
not do is to shut out a cheap phone, so it is bounded from above, and cut into sixteen puzzles, since the time that one
large puzzle takes varies without bound. A proof belongs to one cell and to one challenge of one door.
"""

from __future__ import annotations

import hashlib

from warmline_protocol.limits import WORK_BITS_MAX, WORK_BITS_MIN, WORK_PARTS


def bits_for(count: int, cap: int) -> int:
    """Bits that each part needs when a door holds ``count`` of ``cap`` cells: 0 up to half, then rising to the most."""
    over, room = count - cap // 2, cap - cap // 2
    if over <= 0:
        return 0
    return min(WORK_BITS_MAX, WORK_BITS_MIN + over * (WORK_BITS_MAX - WORK_BITS_MIN) // room + 1)


def solve(challenge: bytes, cell: bytes, bits: int) -> bytes:
    """Sixteen 4-byte nonces. Blocks for up to seconds: run it where that hurts nobody."""
    seed = _seed(challenge, cell)
    return b"".join(_solve_part(seed, part, bits) for part in range(WORK_PARTS))


def strength(challenge: bytes, cell: bytes, work: bytes) -> int:
    """The number of bits for which ``work`` is a solution; 0 for none at all."""
    if len(work) != 4 * WORK_PARTS:
        return 0
    seed = _seed(challenge, cell)
    return min(_bits(seed, part, work[4 * part : 4 * part + 4]) for part in range(WORK_PARTS))


def _seed(challenge: bytes, cell: bytes) -> bytes:
    return hashlib.sha256(b"warmline/1/door-work\0" + challenge + hashlib.sha256(cell).digest()).digest()


def _solve_part(seed: bytes, part: int, bits: int) -> bytes:
    number = 0
    while _bits(seed, part, nonce := number.to_bytes(4)) < bits:
        number += 1
    return nonce


def _bits(seed: bytes, part: int, nonce: bytes) -> int:
    digest = hashlib.sha256(seed + bytes((part,)) + nonce).digest()
    return 32 - int.from_bytes(digest[:4]).bit_length()
