"""The little of RFC 9420's encoding that must be read without an engine: who is in a key package and in a tree.

mls-rs shows neither names nor keys of members, and a basic credential is accepted whatever it says. So the identity
is read here before an add and again, from the ratchet tree, after each commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, OversizeError

IDENTITY_SIZE = 16
SUITE = 0x0001
_MLS_10 = 1
_WIRE_PRIVATE = 2
_WIRE_KEY_PACKAGE = 5
_APPLICATION = 1
_BASIC = 1
_FROM_KEY_PACKAGE, _FROM_UPDATE, _FROM_COMMIT = 1, 2, 3
_TREE_MAX = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A leaf of the group: its random 16-byte credential and its 32-byte Ed25519 signature key."""

    id: bytes
    key: bytes


class _Reader:
    """TLS presentation language with the variable-size vectors of RFC 9420 section 2.1.2."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def done(self) -> bool:
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise MalformedError("MLS bytes that end too early")
        part = self._data[self._at : self._at + size]
        self._at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self) -> bytes:
        first = self.number(1)
        width = first >> 6
        if width == 3:
            raise MalformedError("an MLS vector length that RFC 9420 forbids")
        rest = self.take((1 << width) - 1)
        return self.take(int.from_bytes(bytes([first & 0x3F]) + rest))


def _leaf(reader: _Reader) -> Member:
    return _leaf_and_life(reader)[0]


def _leaf_and_life(reader: _Reader) -> tuple[Member, tuple[int, int] | None]:
    reader.vector()  # encryption key
    key = reader.vector()
    if reader.number(2) != _BASIC:
        raise MalformedError("an MLS credential that is not basic")
    identity = reader.vector()
    for _ in range(5):  # capabilities
        reader.vector()
    source, life = reader.number(1), None
    if source == _FROM_KEY_PACKAGE:
        life = (reader.number(8), reader.number(8))
    elif source == _FROM_COMMIT:
        reader.vector()
    elif source != _FROM_UPDATE:
        raise MalformedError("an MLS leaf from nowhere")
    reader.vector()  # extensions
    reader.vector()  # signature
    if len(identity) != IDENTITY_SIZE or len(key) != 32:
        raise MalformedError("an MLS leaf whose credential or key has the wrong size")
    return Member(identity, key), life


def member_of_key_package(message: bytes) -> Member:
    """Whom an MLSMessage with a key package would add; :class:`MalformedError` unless suite and shape are ours."""
    return _read_key_package(message)[0]


def lifetime_of_key_package(message: bytes) -> tuple[int, int]:
    """Seconds UTC from and until which engines accept the key package.

    It begins when it was made, by its maker's clock: whoever adds it with a clock that is behind has to wait.
    """
    life = _read_key_package(message)[1]
    if life is None:
        raise MalformedError("a key package whose leaf has no lifetime")
    return life


def _read_key_package(message: bytes) -> tuple[Member, tuple[int, int] | None]:
    if len(message) > limits.KEY_PACKAGE_MAX:
        raise OversizeError(f"a key package of {len(message)} bytes; at most {limits.KEY_PACKAGE_MAX} are allowed")
    reader = _Reader(message)
    if reader.number(2) != _MLS_10 or reader.number(2) != _WIRE_KEY_PACKAGE:
        raise MalformedError("not an MLS 1.0 key package")
    if reader.number(2) != _MLS_10 or reader.number(2) != SUITE:
        raise MalformedError("a key package of another suite than 0x0001")
    reader.vector()  # init key
    found = _leaf_and_life(reader)
    reader.vector()  # extensions
    reader.vector()  # signature
    if not reader.done():
        raise MalformedError("bytes after a key package")
    return found


def check_key_packages(messages: Sequence[bytes], roster: Sequence[Member]) -> tuple[Member, ...]:
    """Whom these key packages would add to ``roster``; :class:`MalformedError` for none such, and for a double."""
    new = tuple(member_of_key_package(message) for message in messages)
    ids = [member.id for member in (*roster, *new)]
    if len(set(ids)) != len(ids):
        raise MalformedError("a key package for someone who is already a member")
    return new


def members_of_tree(tree: bytes) -> tuple[Member, ...]:
    """The members in an exported ratchet tree, in leaf order."""
    if len(tree) > _TREE_MAX:
        raise OversizeError("a ratchet tree above 1 MiB")
    whole = _Reader(tree)
    nodes = _Reader(whole.vector())
    if not whole.done():
        raise MalformedError("bytes after a ratchet tree")
    members = []
    while not nodes.done():
        if nodes.number(1) == 0:
            continue
        match nodes.number(1):
            case 1:
                members.append(_leaf(nodes))
            case 2:
                for _ in range(3):  # encryption key, parent hash, unmerged leaves
                    nodes.vector()
            case _:
                raise MalformedError("a ratchet tree node of no kind")
    return tuple(members)


def is_application(message: bytes) -> bool:
    """Whether an MLSMessage is a PrivateMessage with application data (its content type is in clear)."""
    try:
        reader = _Reader(message)
        if reader.number(2) != _MLS_10 or reader.number(2) != _WIRE_PRIVATE:
            return False
        reader.vector()  # group id
        reader.take(8)  # epoch
        return reader.number(1) == _APPLICATION
    except MalformedError:
        return False
