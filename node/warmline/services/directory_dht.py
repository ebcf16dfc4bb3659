"""What a directory keeps in the DHT: the records whose home it is, and the word that it holds the directory."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, Protocol

import trio

from warmline.env import Rng
from warmline.services.directory_shelf import Shelf
from warmline_protocol.errors import WarmlineError
from warmline_protocol.records.envelope import OpenedRecord
from warmline_protocol.records.messages import dht_key, shard_key

log = logging.getLogger("warmline.directory")

PROVIDED_DEPTH: Final = 5
"""Who holds everything says so under the key of depth 0, and shard by shard while these are few."""


class RecordDht(Protocol):
    """What the directory needs of the DHT."""

    async def put(self, key: str, value: bytes) -> object: ...

    async def provide(self, content: bytes) -> object: ...

    def unprovide(self, content: bytes) -> object: ...

    def drop(self, key: str) -> object: ...


class DirectoryDht:
    """``deadline``: seconds of one operation; ``put_every`` and ``provide_every``: seconds between two rounds."""

    def __init__(
        self, dht: RecordDht, shelf: Shelf, rng: Rng, *, deadline: float, put_every: float, provide_every: float
    ) -> None:
        self._dht = dht
        self._shelf = shelf
        self._rng = rng
        self._deadline = deadline
        self._put_every = put_every
        self._provide_every = provide_every

    async def put(self, record: OpenedRecord) -> None:
        await self._quietly(lambda: self._dht.put(dht_key(record.id), record.data))

    def drop(self, record_ids: Iterable[bytes]) -> None:
        for record_id in record_ids:
            self._dht.drop(dht_key(record_id))

    async def keep_put(self) -> None:
        """Tell again what is at home here, for as long as it is held."""
        while True:
            await trio.sleep(self._put_every * self._rng.uniform(0.8, 1.2))
            for held in self._shelf.index:
                if held.home:
                    await self.put(held.record)

    async def keep_provided(self, shards: Callable[[], int]) -> None:
        """Say again and again that the directory is held here, whole and by its shards."""
        provided: set[bytes] = set()
        while True:
            depth = (shards() - 1).bit_length()
            keys = [shard_key()]
            if 0 < depth <= PROVIDED_DEPTH:
                keys += [shard_key(shard, depth) for shard in range(1 << depth)]
            for key in keys:
                await self._quietly(partial(self._dht.provide, key))
            for key in provided - set(keys):
                self._dht.unprovide(key)
            provided = set(keys)
            await trio.sleep(self._provide_every * self._rng.uniform(0.8, 1.0))

    async def _quietly(self, act: Callable[[], Awaitable[object]]) -> None:
        """One operation under its deadline; the next round repeats what failed."""
        try:
            with trio.move_on_after(self._deadline) as scope:
                await act()
            if scope.cancelled_caught:
                log.info("a DHT operation took too long")
        except WarmlineError as error:
            log.info("a DHT operation failed: %s", error)
