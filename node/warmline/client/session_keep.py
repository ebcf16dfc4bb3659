"""A session in a vault: the machine, the other side's queues, one's own queues and how far they were read.

Saved before anything leaves the machine, so that what comes back is never older than what others have seen. A
session is kept for a day from its last word; rooms are not kept.
"""

from __future__ import annotations

from typing import Any, Final

from warmline.client.queues import Cursor
from warmline.client.session_client import Client, OwnQueue
from warmline.client.vault import Vault
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import StoreError, UsageError
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.address import QueueAddress
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.machine import SNAPSHOT_MAX
from warmline_protocol.session.pair import Pair
from warmline_protocol.wire import pack, unpack

KIND: Final = "session"
KEPT_MS: Final = 24 * 3600_000


class Keep:
    """One session's place in a vault. Everything here blocks."""

    def __init__(self, client: Client, vault: Vault, id: bytes | None = None) -> None:
        self._client = client
        self._vault = vault
        self.id = client.rng.bytes(16) if id is None else id

    def save(self, machine: Pair, routes: tuple[QueueAddress, ...], own: list[OwnQueue]) -> None:
        """Put in place of what was there."""
        fields = {
            "machine": machine.snapshot(),
            "routes": [pack(each) for each in routes],
            "queues": [_queue_fields(each) for each in own],
        }
        self._vault.put(KIND, self.id, encode(fields), self._client.clock.utc_ms() + KEPT_MS)

    def load(self, key: SigningKey | None) -> tuple[Pair, tuple[QueueAddress, ...], list[OwnQueue]]:
        """What was saved; ``key`` is the supporter's."""
        data = self._vault.get(KIND, self.id)
        if data is None:
            raise UsageError("this session is not kept here any more", hint="Say Hello again.")
        fields: Any = decode(data, max_size=2 * SNAPSHOT_MAX)
        if not isinstance(fields, dict):
            raise StoreError("a kept session that is not one")
        client = self._client
        pair = Pair.restore(fields["machine"], client.provider, client.rng.bytes, client.clock.utc_ms(), key=key)
        routes = tuple(unpack(QueueAddress, each) for each in fields["routes"])
        return pair, routes, [_queue(each) for each in fields["queues"]]

    def forget(self) -> None:
        """It ended."""
        self._vault.delete(KIND, self.id)


def _queue_fields(own: OwnQueue) -> dict[str, Any]:
    fields: dict[str, Any] = {"node": pack(own.node), "seed": own.owner.seed, "send": own.send_key}
    if own.cursor is not None:
        fields["cursor"] = pack(own.cursor)
    return fields


def _queue(fields: dict[str, Any]) -> OwnQueue:
    cursor = unpack(Cursor, fields["cursor"]) if "cursor" in fields else None
    return OwnQueue(unpack(NodeAddress, fields["node"]), SigningKey(fields["seed"]), fields["send"], cursor)
