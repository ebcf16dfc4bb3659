"""Bundles of 4096-byte cells: all that a queue node ever sees of a session.

A bundle (an MLS message, an answer) is cut into fragments and padded to 1, 2, 4, 8 or 16 cells, so that a length says
almost nothing. A cell is ``salt (32) ‖ ChaCha20-Poly1305``: its key is HKDF-SHA256 of the epoch's outer key with the
cell's own random salt, used once, hence the zero nonce. Epoch, counter, bundle id and fragment number are inside, so
no two cells can be linked by what is outside. ``label`` names the direction: a node that plays a cell back to its
sender, or into another log, produces a cell that does not open.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, OversizeError, UsageError
from warmline_protocol.session.keyschedule import EpochKey, derive

Draw: TypeAlias = Callable[[int], bytes]
"""Where random bytes come from: ``draw(32)``."""

_VERSION = 1
_SALT = 32
_TAG = 16
# version, kind, epoch, counter, bundle id, fragment, fragments, bytes used
_HEADER = struct.Struct(">BBIQ8sBBH")
PAYLOAD = limits.CELL_SIZE - _SALT - _TAG - _HEADER.size
"""Bytes of a bundle that one cell carries."""
BUNDLE_MAX = PAYLOAD * limits.BUNDLE_CELLS[-1]


class Kind(IntEnum):
    """What a bundle holds."""

    APPLICATION = 0
    COMMIT = 1
    ANSWER = 2
    CONTROL = 3


@dataclass(frozen=True, slots=True)
class Bundle:
    """One whole bundle. ``counter`` is the sender's own, 0 for what is never repeated."""

    kind: Kind
    epoch: int
    counter: int
    id: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class Fragment:
    """One opened cell."""

    kind: Kind
    epoch: int
    counter: int
    bundle: bytes
    index: int
    count: int
    data: bytes


def cells_needed(size: int) -> int:
    """How many cells a bundle of ``size`` bytes takes; :class:`OversizeError` above 16."""
    for count in limits.BUNDLE_CELLS:
        if size <= count * PAYLOAD:
            return count
    raise OversizeError(f"a bundle of {size} bytes where at most {BUNDLE_MAX} fit in {limits.BUNDLE_CELLS[-1]} cells")


def seal(bundle: Bundle, key: bytes, label: str, draw: Draw) -> tuple[bytes, ...]:
    """The cells of ``bundle``; draws 32 bytes a cell."""
    count = cells_needed(len(bundle.payload))
    return tuple(
        _seal_one(
            Fragment(
                bundle.kind,
                bundle.epoch,
                bundle.counter,
                bundle.id,
                index,
                count,
                bundle.payload[index * PAYLOAD : (index + 1) * PAYLOAD],
            ),
            key,
            label,
            draw(_SALT),
        )
        for index in range(count)
    )


def _seal_one(fragment: Fragment, key: bytes, label: str, salt: bytes) -> bytes:
    header = _HEADER.pack(
        _VERSION,
        fragment.kind,
        fragment.epoch,
        fragment.counter,
        fragment.bundle,
        fragment.index,
        fragment.count,
        len(fragment.data),
    )
    body = header + fragment.data.ljust(PAYLOAD, b"\0")
    return salt + _cipher(key, label, salt).encrypt(bytes(12), body, None)


def open_cell(cell: bytes, key: bytes, label: str) -> Fragment:
    """The fragment in ``cell``; :class:`MalformedError` when it was not sealed so."""
    if len(cell) != limits.CELL_SIZE:
        raise MalformedError(f"a cell of {len(cell)} bytes; all have {limits.CELL_SIZE}")
    try:
        body = _cipher(key, label, cell[:_SALT]).decrypt(bytes(12), cell[_SALT:], None)
    except InvalidTag:
        raise MalformedError("a cell that this key does not open") from None
    version, kind, epoch, counter, bundle, index, count, length = _HEADER.unpack_from(body)
    data = body[_HEADER.size : _HEADER.size + length]
    if (
        version != _VERSION
        or kind not in set(Kind)
        or count not in limits.BUNDLE_CELLS
        or index >= count
        or length > PAYLOAD
    ):
        raise MalformedError("a cell header that the protocol does not know")
    return Fragment(Kind(kind), epoch, counter, bundle, index, count, data)


def open_any(cell: bytes, keys: Iterable[EpochKey], label: str) -> Fragment | None:
    """The fragment under whichever key opens the cell, or None. The epoch inside must be that key's own."""
    for epoch in keys:
        try:
            fragment = open_cell(cell, epoch.key, label)
        except MalformedError:
            continue
        return fragment if fragment.epoch == epoch.number else None
    return None


def _cipher(key: bytes, label: str, salt: bytes) -> ChaCha20Poly1305:
    if len(key) != 32:
        raise UsageError("an outer key has 32 bytes")
    return ChaCha20Poly1305(derive(key, f"cell {label}", salt=salt))


class Joiner:
    """Fragments in, whole bundles out; in any order, with doubles. Keeps a bounded number of unfinished bundles."""

    def __init__(self) -> None:
        self._parts: OrderedDict[tuple[int, bytes], dict[int, Fragment]] = OrderedDict()

    @property
    def unfinished(self) -> int:
        return len(self._parts)

    def add(self, fragment: Fragment) -> Bundle | None:
        """The bundle that this fragment completes, if it does."""
        key = (fragment.epoch, fragment.bundle)
        parts = self._parts.setdefault(key, {})
        known = next(iter(parts.values()), fragment)
        if (known.kind, known.counter, known.count) != (fragment.kind, fragment.counter, fragment.count):
            return None
        parts.setdefault(fragment.index, fragment)
        if len(parts) < fragment.count:
            while len(self._parts) > limits.UNFINISHED_BUNDLES_MAX:
                self._parts.popitem(last=False)
            return None
        del self._parts[key]
        payload = b"".join(parts[index].data for index in range(fragment.count))
        return Bundle(fragment.kind, fragment.epoch, fragment.counter, fragment.bundle, payload)

    def fragments(self) -> tuple[Fragment, ...]:
        """What is unfinished, for a snapshot."""
        return tuple(part for parts in self._parts.values() for part in parts.values())
