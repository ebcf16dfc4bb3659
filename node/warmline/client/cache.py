"""The directory as this device last saw it, kept only where the person asked for it.

What is kept is what every node serves to everybody: signed public records, and the signed standing sheets of the nodes
that were asked. No search is in it, and nothing of who asked. That the file is there says that somebody used warmline
on this machine, which is why keeping it is a choice. It lets a second search show something at once, before the
network has answered, and makes that answer smaller; it is never taken for the present, and its age is always shown.

Also, what was seen once cannot be left out later by every node at once.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from warmline.client.matching import Holding
from warmline.client.snapshots import merged
from warmline_protocol import limits
from warmline_protocol.codec import FrameReader, decode, encode, frame
from warmline_protocol.errors import RemoteError
from warmline_protocol.keys import public_of
from warmline_protocol.records.envelope import OpenedRecord, open_record
from warmline_protocol.records.standing_sheet import read_standing
from warmline_protocol.wire import U53, Range, Size, pack, unpack

NAME: Final = "directory.cache"
CACHE_MAX: Final = 128 << 20
SHEET_MAX: Final = 16 << 20
HOLDERS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class _Voice:
    peer: Annotated[str, Size(1, 64)]
    operator: Annotated[str, Size(1, 100)]
    sheets: Annotated[int, Range(0, limits.SHARDS_MAX)]


@dataclass(frozen=True, slots=True)
class _Head:
    version: Annotated[int, Range(1, 1)]
    saved_ms: U53
    voices: Annotated[tuple[_Voice, ...], Size(0, HOLDERS_MAX)]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a cache holds: ``holdings`` carry the standing of those who were asked, and no records of their own."""

    saved_ms: int
    records: tuple[OpenedRecord, ...]
    holdings: tuple[Holding, ...]


class DirectoryCache:
    """One file in ``folder``, there or not."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def load(self, now_ms: int) -> Kept | None:
        """What lives of what was kept; None where there is nothing, or nothing that can be read.

        Blocks for the disk and a fraction of a millisecond for each record, whose signatures are checked again.
        """
        try:
            if self.path.stat().st_size > CACHE_MAX:
                return None
            return _read(self.path.read_bytes(), now_ms)
        except (OSError, RemoteError):
            return None

    def save(self, now_ms: int, records: list[OpenedRecord], voices: list[tuple[str, str, tuple[bytes, ...]]]) -> None:
        """Replace what is kept; ``voices`` are (peer id, operator, standing sheets). Raises OSError."""
        voices = voices[:HOLDERS_MAX]
        rows = tuple(_Voice(peer, operator[:100] or "?", len(sheets)) for peer, operator, sheets in voices)
        parts = [frame(encode(pack(_Head(1, now_ms, rows))))]
        parts += [frame(sheet) for _, _, sheets in voices for sheet in sheets]
        parts += [frame(record.data) for record in records]
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=NAME)  # for its owner only
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    file.write(part)
            Path(name).replace(self.path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def forget(self) -> bool:
        """Delete the file; whether there was one."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True


def _read(data: bytes, now_ms: int) -> Kept:
    reader = FrameReader(SHEET_MAX)
    reader.feed(data)
    head = unpack(_Head, _fields(reader.next() or b""))
    holdings = []
    for voice in head.voices:
        sheets = [read_standing(reader.next() or b"", public_of(voice.peer)) for _ in range(voice.sheets)]
        holdings.append(Holding(voice.peer, voice.operator, (), merged(sheets)))
    records = []
    while (part := reader.next()) is not None:
        record = open_record(part)
        if record.body.not_after > now_ms:
            records.append(record)
    return Kept(head.saved_ms, tuple(records), tuple(holdings))


def _fields(data: bytes) -> dict[str, object]:
    fields = decode(data)
    return dict(fields) if isinstance(fields, dict) else {}
