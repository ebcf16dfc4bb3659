"""Attacks on queues by whoever can invent entries: peer ids are free, so shares for each of them bound nothing."""

from __future__ import annotations

import pytest

from support.queues import DAY_MS, HandClock, Owner, a_service, a_store, cell
from warmline.services import queues_share as share
from warmline.store import MEMORY, Store
from warmline_protocol.errors import RefusedError
from warmline_protocol.queue.messages import DOOR, Receipt, WorkNeeded
from warmline_protocol.queue.work import solve

pytestmark = pytest.mark.filterwarnings("error")


async def invent(store: Store, count: int, now_ms: int) -> None:
    """As many circuits through relays that nobody runs."""

    def meet(conn: object) -> None:
        for number in range(count):
            share.meet(conn, f"invented {number}", now_ms)  # type: ignore[arg-type]

    await store.write(meet)


async def knock(door: Owner, name: str, entry: str) -> bool:
    """Whether the door took it, proof of work included."""
    try:
        answer = await door.append(cell(name), entry=entry)
        while isinstance(answer, WorkNeeded):
            work = solve(answer.challenge, cell(name), answer.bits)
            answer = await door.append(cell(name), entry=entry, challenge=answer.challenge, work=work)
    except RefusedError as error:
        assert error.code == "busy"
        return False
    return isinstance(answer, Receipt)


async def test_invented_entries_do_not_shut_a_door() -> None:
    """One cell each: before, they filled all of it for the price of the work, and nobody in need could knock."""
    async with a_store(MEMORY) as store:
        service = a_service(store, clock := HandClock())
        door = Owner(service, kind=DOOR)
        await door.create(cap=16)
        assert await knock(door, "early", "honest")
        clock.now_ms += share.WEEK_MS + 1
        await store.write(lambda c: c.execute("UPDATE queue_entries SET last_ms = ?", (clock.now_ms,)).fetchall())
        taken = sum([await knock(door, f"flood {number}", f"invented {number}") for number in range(40)])
        assert taken == 12
        assert await knock(door, "someone in need", "honest")


async def test_invented_entries_do_not_lock_new_ones_out() -> None:
    """4096 of them filled the table, and every entry that came later was refused for a week."""
    async with a_store(MEMORY) as store:
        service = a_service(store, clock := HandClock())
        await invent(store, share.ENTRIES_MAX, clock.now_ms)
        late = Owner(service, name="late", entry="a real one")
        await late.create()
        assert await late.receipt(cell("hello"))
        reserved = "SELECT reserved FROM queue_entries WHERE entry = ?"
        assert await store.read(lambda conn: conn.execute(reserved, (share.CROWD,)).get) > 0
        await late.remove()
        assert await store.read(lambda conn: conn.execute(reserved, (share.CROWD,)).get) == 0


async def test_the_crowd_never_grows_old() -> None:
    async with a_store(MEMORY) as store:
        service = a_service(store, clock := HandClock())
        await invent(store, share.ENTRIES_MAX, clock.now_ms)
        for day in range(9):
            await Owner(service, name=f"late {day}", entry=f"real {day}").create()
            clock.now_ms += DAY_MS
            await invent(store, share.ENTRIES_MAX, clock.now_ms)
        known = await store.read(lambda conn: share.is_established(conn, share.CROWD, clock.now_ms))
        assert not known
