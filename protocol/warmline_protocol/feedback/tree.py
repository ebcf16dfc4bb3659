"""A Merkle tree over wallets in which each wallet has one place: what a root commits to, it commits to once.

That is why it is not a list: with two leaves for one supporter an issuer could give every seeker a key of their own and
know each of them again by it. Here the place follows from the wallet: the bits of SHA-256(``path`` ‖ wallet) lead from
the top to the leaf. A part of the tree with one leaf is that leaf, so that proofs have about log2(n) hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from warmline_protocol.errors import BadSignatureError, MalformedError, UsageError

_EMPTY = bytes(32)
_DEPTH = 256


def root(kind: str, leaves: Mapping[bytes, bytes]) -> bytes:
    """32 bytes, never zero, over ``leaves`` (wallet to value). ``kind`` keeps trees of different meaning apart."""
    return _top(kind, _node(_placed(leaves), 0))


def proof(leaves: Mapping[bytes, bytes], wallet: bytes) -> tuple[bytes, ...]:
    """The hashes beside the way to ``wallet``, from the top down; :class:`UsageError` if it has no leaf."""
    if wallet not in leaves:
        raise UsageError("this wallet is not in the tree")
    placed, path = _placed(leaves), _path(wallet)
    beside: list[bytes] = []
    while len(placed) > 1:
        depth = len(beside)
        mine, other = _split(placed, depth)[:: 1 if not _bit(path, depth) else -1]
        beside.append(_node(other, depth + 1))
        placed = mine
    return tuple(beside)


def check(kind: str, root: bytes, wallet: bytes, value: bytes, beside: Sequence[bytes]) -> None:
    """Raise :class:`BadSignatureError` unless ``root`` gives ``wallet`` this ``value``."""
    if len(beside) >= _DEPTH:
        raise MalformedError("a proof longer than the tree is deep")
    path = _path(wallet)
    found = _leaf(path, value)
    for depth in range(len(beside) - 1, -1, -1):
        pair = (beside[depth], found) if _bit(path, depth) else (found, beside[depth])
        found = _inner(*pair)
    if _top(kind, found) != root:
        raise BadSignatureError("this is not what the published root says about this wallet")


_Placed = dict[bytes, bytes]


def _placed(leaves: Mapping[bytes, bytes]) -> _Placed:
    return {_path(wallet): leaves[wallet] for wallet in leaves}


def _node(placed: _Placed, depth: int) -> bytes:
    if not placed:
        return _EMPTY
    if len(placed) == 1:
        return _leaf(*next(iter(placed.items())))
    left, right = _split(placed, depth)
    return _inner(_node(left, depth + 1), _node(right, depth + 1))


def _split(placed: _Placed, depth: int) -> tuple[_Placed, _Placed]:
    left = {path: value for path, value in placed.items() if not _bit(path, depth)}
    return left, {path: value for path, value in placed.items() if path not in left}


def _path(wallet: bytes) -> bytes:
    return hashlib.sha256(b"warmline/1/feedback path\0" + wallet).digest()


def _bit(path: bytes, depth: int) -> int:
    return path[depth // 8] >> (7 - depth % 8) & 1


def _leaf(path: bytes, value: bytes) -> bytes:
    return hashlib.sha256(b"\0" + path + value).digest()


def _inner(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _top(kind: str, node: bytes) -> bytes:
    return hashlib.sha256(f"warmline/1/feedback {kind}\0".encode() + node).digest()
