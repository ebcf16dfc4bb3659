"""A session in a vault: the machine, the other side's queues, one's own queues and how far they were read, what was
said, and what a seeker needs of the card to say Hello again.

Saved before anything leaves the machine, so that what comes back is never older than what others have seen. A
session is kept for a day from its last word; rooms are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from warmline.client.queues import Cursor
from warmline.client.session_client import Client, OwnQueue
from warmline.client.session_seeking import Contact, Persona
from warmline.client.session_transcript import Line, pack_line, unpack_line
from warmline.client.vault import Kept, Vault
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import StoreError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.machine import SNAPSHOT_MAX
from warmline_protocol.session.pair import Pair
from warmline_protocol.wire import pack, unpack

KIND: Final = "session"
LINE: Final = "line"
"""The id of a line is that of its session and its number, 8 bytes."""
KEPT_MS: Final = 24 * 3600_000


@dataclass(frozen=True, slots=True)
class Origin:
    """How a seeker came in, for the Hello that repairs: the card's keys and doors, the name, the attempt."""

    contact: Contact
    me: Persona
    attempt: bytes


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was saved. ``origin`` is None at the supporter's side."""

    pair: Pair
    routes: tuple[QueueAddress, ...]
    own: list[OwnQueue]
    lines: list[Line]
    origin: Origin | None
    attempt: bytes


class Keep:
    """One session's place in a vault. Everything here blocks."""

    def __init__(self, client: Client, vault: Vault, id: bytes | None = None) -> None:
        self._client = client
        self._vault = vault
        self.id = client.rng.bytes(16) if id is None else id
        self.until_ms = 0

    def save(
        self,
        machine: Pair,
        routes: tuple[QueueAddress, ...],
        own: list[OwnQueue],
        lines: Sequence[Line] = (),
        origin: Origin | None = None,
        attempt: bytes = b"",
    ) -> None:
        """Put in place of what was there, in one transaction; ``lines`` are those that are new or changed."""
        fields: dict[str, Any] = {
            "machine": machine.snapshot(),
            "routes": [pack(each) for each in routes],
            "queues": [_queue_fields(each) for each in own],
            "name": machine.peer_name,
            "attempt": attempt if origin is None else origin.attempt,
        }
        if origin is not None:
            fields["contact"], fields["me"] = pack(origin.contact), pack(origin.me)
        self.until_ms = self._client.clock.utc_ms() + KEPT_MS
        rows = [Kept(LINE, self.id + line.number.to_bytes(8), pack_line(line), self.until_ms) for line in lines]
        self._vault.put_all([Kept(KIND, self.id, encode(fields), self.until_ms), *rows])

    def load(self, key: SigningKey | None) -> Loaded:
        """What was saved; ``key`` is the supporter's."""
        fields = _read(self._vault, self.id)
        client = self._client
        pair = Pair.restore(fields["machine"], client.provider, client.rng.bytes, client.clock.utc_ms(), key=key)
        routes = tuple(unpack(QueueAddress, each) for each in fields["routes"])
        lines = [
            unpack_line(data)
            for each in self._vault.ids(LINE)
            if each.startswith(self.id) and (data := self._vault.get(LINE, each)) is not None
        ]
        origin = None
        if "contact" in fields:
            contact, me = unpack(Contact, fields["contact"]), unpack(Persona, fields["me"])
            origin = Origin(contact, me, fields["attempt"])
        own = [_queue(each) for each in fields["queues"]]
        return Loaded(pair, routes, own, lines, origin, fields["attempt"])

    def forget(self) -> None:
        """It ended."""
        self._vault.delete_under(LINE, self.id)
        self._vault.delete(KIND, self.id)


def kept_sessions(vault: Vault) -> list[tuple[bytes, str]]:
    """(id, name of the other side) of the sessions that can be resumed."""
    return [(each, str(_read(vault, each)["name"])) for each in vault.ids(KIND)]


def _read(vault: Vault, id: bytes) -> dict[str, Any]:
    data = vault.get(KIND, id)
    if data is None:
        raise UsageError("this session is not kept here any more", hint="Say Hello again.")
    fields: Any = decode(data, max_size=2 * SNAPSHOT_MAX)
    if not isinstance(fields, dict):
        raise StoreError("a kept session that is not one")
    return fields


def _queue_fields(own: OwnQueue) -> dict[str, Any]:
    fields: dict[str, Any] = {"node": pack(own.node), "seed": own.owner.seed, "send": own.send_key}
    if own.cursor is not None:
        fields["cursor"] = pack(own.cursor)
    return fields


def _queue(fields: dict[str, Any]) -> OwnQueue:
    cursor = unpack(Cursor, fields["cursor"]) if "cursor" in fields else None
    return OwnQueue(unpack(NodeAddress, fields["node"]), SigningKey(fields["seed"]), fields["send"], cursor)
