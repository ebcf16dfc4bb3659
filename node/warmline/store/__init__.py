"""What a node keeps, in one SQLite file.

    async with open_store(path, run_blocking=run_in_thread, clock=clock, rng=rng) as store:
        await store.write(lambda conn: meta.put(conn, "mine/key", 7))   # on the disk when it returns
        value = await store.read(lambda conn: meta.get(conn, "mine/key"))

Tables are declared in `warmline.store.migrations`; space is promised through `warmline.store.budget`.
"""

from warmline.store import budget, meta
from warmline.store.errors import (
    StoreClosedError,
    StoreCorruptError,
    StoreIOError,
    StoreLockedError,
    StoreVersionError,
)
from warmline.store.file import MEMORY
from warmline.store.migrations import MIGRATIONS, Migration
from warmline.store.store import Store, StoreStatistics, open_store
from warmline_protocol.errors import StoreError

__all__ = [
    "MEMORY",
    "MIGRATIONS",
    "Migration",
    "Store",
    "StoreClosedError",
    "StoreCorruptError",
    "StoreError",
    "StoreIOError",
    "StoreLockedError",
    "StoreStatistics",
    "StoreVersionError",
    "budget",
    "meta",
    "open_store",
]
