"""Queues on a real store, asked directly: every rule holds after writing down and reading back."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from support.queues import DAY_MS, HOUR_MS, HandClock, Owner, a_service, a_store, cell
from warmline.services.queues_book import BUDGET_OWNER, CELL_COST, QUEUE_COST
from warmline.services.queues_share import NEWCOMER_SHARE, WEEK_MS
from warmline.store import MEMORY, Store, budget
from warmline_protocol.errors import DiskFullError, RefusedError
from warmline_protocol.limits import WORK_WINDOW_MS
from warmline_protocol.queue.log import link
from warmline_protocol.queue.messages import (
    DOOR,
    LOG,
    Ack,
    Append,
    AppendCommit,
    Create,
    Cursor,
    Read,
    Receipt,
    Remove,
    WorkNeeded,
)
from warmline_protocol.queue.work import solve


async def refused(asked: Awaitable[Any]) -> str:
    with pytest.raises(RefusedError) as caught:
        await asked
    assert caught.value.hint
    return caught.value.code


async def cells_on_disk(store: Store) -> int:
    return await store.read(lambda conn: int(conn.execute("SELECT count(*) FROM queue_cells").get))


async def reserved(store: Store) -> int:
    return await store.read(lambda conn: budget.reserved(conn, BUDGET_OWNER))


async def test_a_conversation() -> None:
    async with a_store(MEMORY) as store:
        owner = Owner(a_service(store, clock := HandClock()))
        made = await owner.create()
        assert made.until_ms == clock.now_ms + 7 * DAY_MS
        one = await owner.receipt(cell(1), cell(2))
        two = await owner.receipt(cell(3))
        assert (one.seq, two.seq, two.until_ms) == (2, 3, clock.now_ms + DAY_MS)
        assert one.incarnation == two.incarnation == made.incarnation
        got = await owner.read()
        assert (got.first, got.head, got.cells) == (1, 3, (cell(1), cell(2), cell(3)))
        chain = got.before
        for each in got.cells:
            chain = link(chain, each)
        assert chain == two.chain
        assert (await owner.ack(Cursor(made.incarnation, 2))).base == 2
        got = await owner.read(Cursor(made.incarnation, 1))
        assert (got.first, got.before, got.cells) == (3, one.chain, (cell(3),))
        assert await cells_on_disk(store) == 1


async def test_creating_twice_makes_one() -> None:
    async with a_store(MEMORY) as store:
        owner = Owner(a_service(store))
        first = await owner.create()
        await owner.receipt(cell(1))
        assert await owner.create() == first
        assert await owner.read_all() == [cell(1)]
        assert await refused(owner.create(cap=17)) == "exists"
        assert await reserved(store) == QUEUE_COST + 16 * CELL_COST


async def test_unknown_queue() -> None:
    async with a_store(MEMORY) as store:
        nobody = Owner(a_service(store))
        for asked in (nobody.append(cell(1)), nobody.read(), nobody.remove(), nobody.ack(Cursor(b"i" * 16, 0))):
            assert await refused(asked) == "unknown"


async def test_wrong_keys_and_foreign_signatures() -> None:
    async with a_store(MEMORY) as store:
        service = a_service(store)
        owner = Owner(service)
        made = await owner.create()
        await owner.receipt(cell(1))
        here = owner.caller()

        async def ask(msg: Any) -> str:
            return await refused(service.answer(msg, here))

        assert await ask(Append(owner.queue, (cell(1),), b"x" * 32)) == "denied"
        assert await ask(Append(owner.queue, (cell(1),))) == "denied"
        assert await ask(Read(owner.queue)) == "denied"
        assert await ask(Read(owner.queue, None, None, owner.send_key())) == "denied"
        cursor = Cursor(made.incarnation, 1)
        for wrong in (
            owner.sign(Read),
            owner.sign(Ack, node="12D3KooWAnotherNode"),
            owner.sign(Ack, nonce=b"another channel".ljust(32)),
            Owner(service, name="mallory").sign(Ack),
            bytes(64),
        ):
            assert await ask(Ack(owner.queue, cursor, wrong)) == "denied"
        assert await ask(Remove(owner.queue, owner.sign(Ack))) == "denied"
        stolen = Owner(service, name="mallory")
        create = Create("queue", owner.key.public, 4, HOUR_MS, HOUR_MS, stolen.sign(Create), b"h" * 32)
        assert await ask(create) == "denied"
        assert await owner.read_all() == [cell(1)]


async def test_the_disk_opens_nothing(tmp_path: Path) -> None:
    async with a_store(tmp_path / "s.db") as store:
        log = Owner(a_service(store), kind=LOG)
        await log.create()
        await log.receipt(cell(1))
        await store.backup(tmp_path / "copy.db")
        held = (tmp_path / "copy.db").read_bytes()
    assert cell(1)[:300] in held
    for secret in (log.send_key(), log.read_key(), log.key.seed):
        assert secret and secret not in held


# -- full


async def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    async with a_store(MEMORY) as store:
        owner = Owner(a_service(store, clock := HandClock()))
        made = await owner.create(cap=4)
        await owner.receipt(cell(1), cell(2), cell(3))
        assert await refused(owner.append(cell(4), cell(5))) == "full"
        await owner.receipt(cell(4))
        assert await refused(owner.append(cell(5))) == "full"
        assert await owner.read_all() == [cell(n) for n in (1, 2, 3, 4)]
        await owner.ack(Cursor(made.incarnation, 1))
        await owner.receipt(cell(5))
        clock.now_ms += DAY_MS - 1
        assert await refused(owner.append(cell(6))) == "full"
        clock.now_ms += 1  # now the old ones have expired, and nobody needed to sweep
        assert (await owner.receipt(cell(6))).seq == 6
        assert await owner.read_all() == [cell(6)]


async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    async with a_store(tmp_path / "s.db") as store:
        owner = Owner(a_service(store))
        await owner.create(cap=1000)
        await store.write(lambda conn: conn.pragma("max_page_count", 100))
        kept = []
        with pytest.raises(DiskFullError):
            for n in range(1000):
                await owner.receipt(cell(n))
                kept.append(cell(n))
        assert kept and await owner.read_all() == kept
        got = await owner.read()
        await owner.ack(Cursor(got.incarnation, 5))
        assert (await owner.receipt(cell("room again"))).seq == len(kept) + 1


async def test_caps_are_reserved_and_given_back() -> None:
    size = QUEUE_COST + 16 * CELL_COST
    async with a_store(MEMORY, disk_budget=NEWCOMER_SHARE * 3 * size) as store:
        service = a_service(store, HandClock())
        owners = [Owner(service, name=f"o{n}", entry=f"e{n % 3}") for n in range(4)]
        for owner in owners[:2]:
            await owner.create()
        assert await reserved(store) == 2 * size
        assert await refused(owners[3].create()) == "busy"  # e0 holds one third, and one third is left
        await owners[2].create()
        assert await refused(owners[3].create()) == "busy"
        await owners[0].remove()
        await owners[1].remove()
        await owners[3].create()
        assert await reserved(store) == 2 * size


async def test_no_promise_beyond_the_budget() -> None:
    size = QUEUE_COST + 16 * CELL_COST
    async with a_store(MEMORY, disk_budget=NEWCOMER_SHARE * 4 * size) as store:
        await store.write(lambda conn: budget.reserve(conn, "directory", 15 * size, budget=store.disk_budget))
        service = a_service(store)
        await Owner(service, name="a").create()
        assert await refused(Owner(service, name="b", entry="other").create()) == "budget"


async def test_a_cell_costs_no_more_than_is_reserved(tmp_path: Path) -> None:
    async with a_store(tmp_path / "s.db") as store:
        log = Owner(a_service(store), kind=LOG)
        await log.create(cap=2000)
        before = await store.read(lambda conn: conn.pragma("page_count"))
        for n in range(0, 1600, 16):
            await log.receipt(*(cell(m) for m in range(n, n + 16)))
        pages = await store.read(lambda conn: conn.pragma("page_count")) - before
        assert 0.8 * 1600 * CELL_COST < pages * 4096 <= 1600 * CELL_COST


# -- expiry


async def test_expiry_takes_cells_then_the_queue() -> None:
    async with a_store(MEMORY) as store:
        service = a_service(store, clock := HandClock())
        owner = Owner(service)
        await owner.create(life_ms=2 * DAY_MS)
        await owner.receipt(cell(1))
        clock.now_ms += HOUR_MS
        await owner.receipt(cell(2))
        assert await service.sweep() == 0
        clock.now_ms += 23 * HOUR_MS
        assert await service.sweep() == 1
        assert await owner.read_all() == [cell(2)]
        assert (await owner.receipt(cell(3))).seq == 3
        clock.now_ms += 23 * HOUR_MS
        await service.sweep()
        assert await cells_on_disk(store) == 1
        clock.now_ms += 3 * DAY_MS
        assert await service.sweep() == 1
        assert await refused(owner.read()) == "unknown"
        assert await cells_on_disk(store) == await reserved(store) == 0


async def test_a_receipt_outlives_the_owners_lease() -> None:
    async with a_store(MEMORY) as store:
        service = a_service(store, clock := HandClock())
        owner = Owner(service)
        await owner.create(life_ms=HOUR_MS, cell_ttl_ms=DAY_MS)
        receipt = await owner.receipt(cell(1))
        clock.now_ms += 23 * HOUR_MS
        await service.sweep()
        assert clock.now_ms < receipt.until_ms
        assert await owner.read_all() == [cell(1)]


async def test_reading_renews_the_lease() -> None:
    async with a_store(MEMORY) as store:
        service = a_service(store, clock := HandClock())
        owner = Owner(service)
        await owner.create(life_ms=2 * HOUR_MS)
        for _ in range(10):
            clock.now_ms += HOUR_MS
            await service.sweep()
            await owner.read()


async def test_a_sweep_in_small_steps() -> None:
    async with a_store(MEMORY) as store:
        service = a_service(store, clock := HandClock(), sweep_batch=4)
        for n in range(11):
            await Owner(service, name=f"o{n}", entry=f"e{n}").create()
        clock.now_ms += 30 * DAY_MS
        assert await service.sweep() == 11
        assert await reserved(store) == 0


# -- rooms


async def test_a_room_through_two_commits() -> None:
    async with a_store(MEMORY) as store:
        room = Owner(a_service(store), kind=LOG, fence=7)
        made = await room.create(cap=64)
        await room.receipt(cell("a"))
        commit = await room.commit(cell("commit 7"), cell("welcome"))
        await room.receipt(cell("b"))
        await room.commit(cell("commit 8"))
        await room.receipt(cell("c"))
        assert commit.seq == 3
        old = await room.read_as_member(7)
        assert (old.fence, old.head, old.cells) == (7, 3, (cell("a"), cell("commit 7"), cell("welcome")))
        assert await refused(room.read_as_member(7, Cursor(made.incarnation, 3))) == "fenced"
        middle = await room.read_as_member(8, Cursor(made.incarnation, 3))
        assert (middle.fence, middle.before, middle.cells) == (8, commit.chain, (cell("b"), cell("commit 8")))
        newest = await room.read_as_member(9)
        assert (newest.first, newest.head, newest.cells) == (6, 6, (cell("c"),))
        assert await refused(room.read_as_member(10)) == "denied"
        assert await refused(room.append(cell("late"), fence=8)) == "fenced"
        assert await refused(room.ack(Cursor(made.incarnation, 1))) == "kind"
        assert await room.read_all() == [cell(x) for x in ("a", "commit 7", "welcome", "b", "commit 8", "c")]


async def test_a_commit_whose_answer_was_lost() -> None:
    async with a_store(MEMORY) as store:
        room = Owner(a_service(store), kind=LOG)
        await room.create()
        first = await room.commit(cell("commit"))
        await room.receipt(cell("after"))
        assert await room.commit(cell("commit"), fence=0) == first
        assert await refused(room.commit(cell("another"), fence=0)) == "fenced"
        assert await room.read_all() == [cell("commit"), cell("after")]


async def test_only_the_owner_commits() -> None:
    async with a_store(MEMORY) as store:
        service = a_service(store)
        room = Owner(service, kind=LOG)
        await room.create()
        member = Owner(service, kind=LOG, name="member")
        forged = AppendCommit(room.queue, 0, (cell(1),), b"s" * 32, b"r" * 32, member.sign(AppendCommit))
        assert await refused(service.answer(forged, room.caller())) == "denied"
        assert (await room.read()).head == 0


async def test_a_room_that_was_handed_over() -> None:
    async with a_store(MEMORY) as store:
        service = a_service(store)
        room = Owner(service, kind=LOG)
        successor = Owner(service, kind=LOG, name="successor")
        await room.create()
        await room.commit(cell("over to you"), new_owner=successor.key.public)
        assert await refused(room.read()) == "denied"
        successor.queue = room.queue
        assert await successor.read_all() == [cell("over to you")]


# -- doors and drops


async def test_a_crowded_door_asks_for_work() -> None:
    async with a_store(MEMORY) as store:
        service = a_service(store, clock := HandClock())
        door = Owner(service, kind=DOOR)
        made = await door.create(cap=8)
        for n in range(5):
            await door.receipt(cell(n), entry=f"e{n}")
        asked = await door.append(cell("next"), entry="e5")
        assert isinstance(asked, WorkNeeded)
        paid: dict[str, Any] = {"challenge": asked.challenge, "work": solve(asked.challenge, cell("next"), asked.bits)}
        forged: dict[str, Any] = {"challenge": b"x" * 32, "work": solve(b"x" * 32, cell("next"), asked.bits)}
        assert isinstance(await door.append(cell("next"), entry="e5", **forged), WorkNeeded)
        assert isinstance(await door.append(cell("other"), entry="e5", **paid), WorkNeeded)
        assert isinstance(await door.append(cell("next"), entry="e5", **paid), Receipt)
        assert isinstance(await door.append(cell("next"), entry="e6", **paid), WorkNeeded)  # paid once
        clock.now_ms += 2 * WORK_WINDOW_MS
        stale: dict[str, Any] = {"challenge": asked.challenge, "work": solve(asked.challenge, cell("late"), 12)}
        assert isinstance(await door.append(cell("late"), entry="e6", **stale), WorkNeeded)
        await door.ack(Cursor(made.incarnation, 6))
        assert isinstance(await door.append(cell("free again"), entry="e6"), Receipt)


async def test_one_entry_cannot_shut_a_door() -> None:
    async with a_store(MEMORY) as store:
        door = Owner(a_service(store), kind=DOOR)
        await door.create(cap=16)
        sent = 0
        with pytest.raises(RefusedError, match="share"):
            for n in range(16):
                assert isinstance(await door.append(cell(n), entry="flood"), Receipt)
                sent += 1
        assert sent == 8
        assert isinstance(await door.append(cell("someone in need"), entry="honest"), Receipt)


@pytest.mark.parametrize("kind", ["queue", DOOR])
async def test_a_drop_releases_at_its_time(kind: str) -> None:
    async with a_store(MEMORY) as store:
        drop = Owner(a_service(store, clock := HandClock()), kind)
        await drop.create(release_at=clock.now_ms + HOUR_MS)
        assert (await drop.receipt(cell(1))).seq == 1
        early = await drop.read()
        assert (early.head, early.cells) == (0, ())
        clock.now_ms += HOUR_MS
        assert await drop.read_all() == [cell(1)]


# -- shares of the disk


async def test_an_entry_known_for_a_week_has_a_share_of_its_own() -> None:
    size = QUEUE_COST + 16 * CELL_COST
    async with a_store(MEMORY, disk_budget=NEWCOMER_SHARE * 2 * size) as store:
        service = a_service(store, clock := HandClock())
        await Owner(service, name="first", entry="old").create()
        assert await refused(Owner(service, name="more", entry="old").create()) == "busy"
        clock.now_ms += WEEK_MS + 1
        await store.write(lambda conn: conn.execute("UPDATE queue_entries SET last_ms = ?", (clock.now_ms,)).fetchall())
        await Owner(service, name="more", entry="old").create()
        assert await refused(Owner(service, name="x", entry="new").create(cap=48)) == "busy"
        await Owner(service, name="y", entry="new").create()


# -- restored


async def test_after_a_restore_every_cursor_starts_anew(tmp_path: Path) -> None:
    clock = HandClock()
    async with a_store(tmp_path / "s.db") as store:
        owner = Owner(a_service(store, clock))
        made = await owner.create()
        await owner.receipt(cell(1), cell(2))
        await store.backup(tmp_path / "copy.db")
        await owner.receipt(cell("after the backup"))
        seen = Cursor(made.incarnation, 3)
    async with a_store(tmp_path / "copy.db") as store:
        owner = Owner(a_service(store, clock))
        receipt = await owner.receipt(cell("new three"))
        assert (receipt.seq, receipt.incarnation != made.incarnation) == (3, True)
        got = await owner.read(seen)
        assert got.cells == (cell(1), cell(2), cell("new three"))
        assert await refused(owner.ack(seen)) == "incarnation"
        await owner.ack(Cursor(receipt.incarnation, 3))


# -- against a model


@pytest.mark.parametrize("seed", range(6))
async def test_any_history_against_a_model(seed: int) -> None:
    dice = random.Random(seed)
    async with a_store(MEMORY) as store:
        service = a_service(store, clock := HandClock())
        owner = Owner(service, kind=dice.choice(["queue", "log"]))
        made = await owner.create(cap=24)
        room = 21 if owner.kind == LOG else 24
        held: list[tuple[bytes, int]] = []
        gone = sent = 0
        for step in range(150):
            match dice.choice(["append", "append", "read", "ack", "wait", "commit", "again"]):
                case "append":
                    cells = [cell(f"{step}/{n}") for n in range(dice.randint(1, 16))]
                    alive = [each for each in held if each[1] > clock.now_ms]
                    if len(held) + len(cells) > room:
                        gone, held = gone + len(held) - len(alive), alive
                    if len(held) + len(cells) > room:
                        assert await refused(owner.append(*cells)) == "full"
                        continue
                    sent += len(cells)
                    assert (await owner.receipt(*cells)).seq == sent
                    held += [(each, clock.now_ms + DAY_MS) for each in cells]
                case "commit" if owner.kind == LOG and len(held) < 24:
                    sent += 1
                    assert (await owner.commit(cell(step))).seq == sent
                    held.append((cell(step), clock.now_ms + DAY_MS))
                case "read":
                    assert await owner.read_all() == [each for each, _ in held]
                case "ack" if owner.kind != LOG and held:
                    upto = dice.randint(1, len(held))
                    await owner.ack(Cursor(made.incarnation, gone + upto))
                    gone, held = gone + upto, held[upto:]
                case "wait":
                    clock.now_ms += dice.randint(0, DAY_MS // 2)
                    await service.sweep()
                    alive = [each for each in held if each[1] > clock.now_ms]
                    gone, held = gone + len(held) - len(alive), alive
                case "again":
                    service = owner.service = a_service(store, clock)
        assert await cells_on_disk(store) == len(held)
