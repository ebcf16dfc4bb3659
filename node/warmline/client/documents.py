"""Something longer than a message, over a one-to-one session: in numbered pieces, put together by the other side."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from warmline.client.session import Session
from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.session.events import PartReceived
from warmline_protocol.session.messages import Part

UNFINISHED_MAX: Final = 2
"""Documents that one peer may have begun and not ended; the oldest is forgotten."""


async def send_document(session: Session, data: bytes) -> list[bytes]:
    """The ids under which the session tells what becomes of each piece. UsageError above 1 MiB or for nothing."""
    pieces = [data[at : at + limits.PART_MAX] for at in range(0, len(data), limits.PART_MAX)]
    if not 1 <= len(pieces) <= limits.PARTS_MAX:
        raise UsageError(f"a document of {len(data)} bytes cannot be sent", hint="It may have 1 byte to 1 MiB.")
    document = session.client.rng.bytes(16)
    parts = [Part(document, index, len(pieces), piece) for index, piece in enumerate(pieces)]
    return [await session.send_part(part) for part in parts]


class Assembler:
    """Pieces of one peer in, whole documents out. Pieces come once and in order of sending, except late ones."""

    def __init__(self) -> None:
        self._begun: OrderedDict[bytes, dict[int, bytes]] = OrderedDict()

    def take(self, part: PartReceived) -> bytes | None:
        """The document that this piece completes, if it does. Nonsense is nothing."""
        if not (0 <= part.index < part.count <= limits.PARTS_MAX) or len(part.data) > limits.PART_MAX:
            return None
        pieces = self._begun.setdefault(part.document, {})
        pieces.setdefault(part.index, part.data)
        if len(pieces) == part.count and max(pieces) == part.count - 1:
            del self._begun[part.document]
            return b"".join(pieces[index] for index in range(part.count))
        while len(self._begun) > UNFINISHED_MAX:
            self._begun.popitem(last=False)
        return None
