"""Following, through the real client and service over streams in memory and a clock that jumps."""

from __future__ import annotations

import gc
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from support.queues import HOUR_MS, MemoryPath, a_service, cell
from warmline.client.queues import Following, QueueClient
from warmline.env import SeededRng, TrioClock, run_inline
from warmline.net.api import Channel
from warmline.services.queues import QueueService
from warmline.services.queues_follow import HEARTBEAT_S, SILENCE_S
from warmline.store import MEMORY, Store, open_store
from warmline_protocol.errors import ChannelClosed, MalformedError, RefusedError, UnreachableError
from warmline_protocol.keys import SigningKey
from warmline_protocol.limits import FOLLOW_WINDOW
from warmline_protocol.queue.messages import DOOR, LOG, Cells, Cursor, Follow, Heartbeat
from warmline_protocol.wire import from_wire, to_wire

OWNER = SigningKey(b"o" * 32)
SEND = b"s" * 32


@dataclass
class World:
    store: Store
    service: QueueService
    path: MemoryPath
    client: QueueClient
    clock: TrioClock

    async def take(self, cells: Following, count: int) -> list[bytes]:
        got: list[bytes] = []
        with trio.fail_after(2 * 3600):
            while len(got) < count:
                got.append((await cells.__anext__())[1])
        return got


@asynccontextmanager
async def a_world(*, lockstep: bool = False) -> AsyncIterator[World]:
    clock, rng = TrioClock(), SeededRng("follow")
    async with open_store(MEMORY, run_blocking=run_inline, clock=clock, rng=rng) as store:
        service = a_service(store, clock)  # type: ignore[arg-type]  # any Clock will do
        async with trio.open_nursery() as nursery:
            path = MemoryPath(nursery, service.handle, lockstep=lockstep)
            async with QueueClient(path, run_blocking=run_inline) as client:
                yield World(store, service, path, client, clock)
            nursery.cancel_scope.cancel()


async def test_cells_come_as_they_are_appended(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        await world.client.append(made.queue, [cell(0)], send_key=SEND)
        async with world.client.follow(made.queue, owner=OWNER) as cells:
            assert await world.take(cells, 1) == [cell(0)]
            for n in range(1, 60):
                receipt = await world.client.append(made.queue, [cell(n)], send_key=SEND)
                cursor, got = await cells.__anext__()
                assert (cursor, got) == (Cursor(receipt.incarnation, receipt.seq), cell(n))
        assert world.service.statistics().cells == 60


async def test_resume_by_cursor(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        for n in range(50):
            await world.client.append(made.queue, [cell(n)], send_key=SEND)
        cursor, got = None, []
        for _ in range(5):
            async with world.client.follow(made.queue, owner=OWNER, cursor=cursor) as cells:
                assert cells.head == 50
                for _ in range(10):
                    cursor, each = await cells.__anext__()
                    got.append(each)
        assert got == [cell(n) for n in range(50)]


async def test_heartbeats_keep_an_idle_follower_for_hours(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)

        async def append_late() -> None:
            await trio.sleep(3 * 3600)
            await world.client.append(made.queue, [cell("late")], send_key=SEND)

        async with trio.open_nursery() as nursery, world.client.follow(made.queue, owner=OWNER) as cells:
            nursery.start_soon(append_late)
            with trio.fail_after(3 * 3600 + HEARTBEAT_S):
                assert (await cells.__anext__())[1] == cell("late")


async def test_a_heartbeat_each_25_seconds_and_no_more(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        room = await world.client.create(OWNER, LOG, send_key=SEND, read_key=b"r" * 32, fence=0)
        channel = await world.path.open_channel("")
        began = trio.current_time()
        await channel.send(to_wire(Follow(room.queue, None, None, b"r" * 32)))
        beats = []
        for _ in range(3):  # never answered: after three the node gives up
            assert isinstance(from_wire(await channel.receive(), (Heartbeat, Cells)), Heartbeat)
            beats.append(trio.current_time() - began)
        assert [round(beat) for beat in beats] == [0, 25, 50]
        with trio.fail_after(SILENCE_S + 1), pytest.raises(ChannelClosed):
            while True:
                await channel.receive()
        await wait_all_tasks_blocked()
        assert world.service.statistics().followers == 0


async def test_a_follower_who_babbles_is_cut_off(autojump_clock: MockClock) -> None:
    """With one error of the channel's, which a host writes down as such, not with a group of them."""
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        handled = trio.Event()

        async def handle(channel: Channel) -> None:
            with pytest.raises(MalformedError):
                await world.service.handle(channel)
            handled.set()

        async with (
            QueueClient(MemoryPath(world.path.nursery, handle)) as client,
            client.follow(made.queue, owner=OWNER) as cells,
        ):
            await cells._channel.send(b"what?")
            await handled.wait()
        assert world.service.statistics().followers == 0


async def test_a_node_that_falls_silent_is_noticed(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        async with world.client.follow(made.queue, owner=OWNER) as cells:

            async def nothing() -> bytes:
                await trio.sleep_forever()
                raise AssertionError

            cells._channel._stream.read = lambda size: nothing()  # type: ignore[method-assign]
            began = trio.current_time()
            with pytest.raises(UnreachableError):
                await cells.__anext__()
            assert trio.current_time() - began < 2 * HEARTBEAT_S


async def test_a_reader_who_sleeps_is_sent_no_more_than_the_window(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        async with world.client.follow(made.queue, owner=OWNER) as cells:
            sent: list[int] = []
            receive = cells._channel.receive
            for n in range(64):
                await world.client.append(made.queue, [cell(n)], send_key=SEND)
            while len(sent) < FOLLOW_WINDOW:
                said = from_wire(await receive(), (Cells, Heartbeat))
                sent += range(len(said.cells)) if isinstance(said, Cells) else ()
            assert isinstance(from_wire(await receive(), (Cells, Heartbeat)), Heartbeat)
            assert len(sent) == FOLLOW_WINDOW


async def test_a_cell_that_lands_while_the_store_is_asked(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store said "nothing more", and by then there was: the follower must look again, not sleep."""
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        read = world.service._read
        late = iter([cell(1), cell(2), cell(3)])

        async def read_and_then_append(*args: Any) -> Any:
            batch = await read(*args)
            if not batch.cells.cells and (landing := next(late, None)):
                await world.client.append(made.queue, [landing], send_key=SEND)
            return batch

        monkeypatch.setattr(world.service, "_read", read_and_then_append)
        began = trio.current_time()
        async with world.client.follow(made.queue, owner=OWNER) as cells:
            assert await world.take(cells, 3) == [cell(1), cell(2), cell(3)]
        assert trio.current_time() - began < 1


async def test_fifty_members_of_a_room(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        read = b"r" * 32
        room = await world.client.create(OWNER, LOG, send_key=SEND, read_key=read, fence=0)
        got: dict[int, list[bytes]] = {n: [] for n in range(50)}

        async def member(n: int) -> None:
            async with QueueClient(world.path) as client, client.follow(room.queue, read_key=read) as cells:
                while len(got[n]) < 40:
                    got[n].append((await cells.__anext__())[1])

        async with trio.open_nursery() as nursery:
            for n in range(50):
                nursery.start_soon(member, n)
            await wait_all_tasks_blocked()
            assert world.service.statistics().followers == 50
            for n in range(0, 40, 2):
                await world.client.append(room.queue, [cell(n), cell(n + 1)], send_key=SEND, fence=0)
        assert all(cells == [cell(n) for n in range(40)] for cells in got.values())


async def test_a_commit_turns_the_followers_of_its_room(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        old, new = b"0" * 32, b"1" * 32
        room = await world.client.create(OWNER, LOG, send_key=old, read_key=old, fence=0)
        async with (
            QueueClient(world.path) as member,
            member.follow(room.queue, read_key=old) as cells,
            QueueClient(world.path) as host,
            host.follow(room.queue, owner=OWNER) as all_cells,
        ):
            await world.client.append(room.queue, [cell("a")], send_key=old, fence=0)
            assert await world.take(cells, 1) == [cell("a")]
            await world.client.append_commit(room.queue, OWNER, [cell("turn")], fence=0, send_key=new, read_key=new)
            await world.client.append(room.queue, [cell("b")], send_key=new, fence=1)
            cursor, got = await cells.__anext__()
            assert got == cell("turn")
            with pytest.raises(RefusedError) as caught:
                await cells.__anext__()
            assert caught.value.code == "fenced"
            async with member.follow(room.queue, read_key=new, cursor=cursor) as cells:
                assert await world.take(cells, 1) == [cell("b")]
            assert await world.take(all_cells, 3) == [cell("a"), cell("turn"), cell("b")]


async def test_a_removed_member_learns_nothing_more(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        old, new = b"0" * 32, b"1" * 32
        room = await world.client.create(OWNER, LOG, send_key=old, read_key=old, fence=0)
        receipt = await world.client.append_commit(
            room.queue, OWNER, [cell("removed")], fence=0, send_key=new, read_key=new
        )
        for n in range(5):
            await world.client.append(room.queue, [cell(n)], send_key=new, fence=1)
        async with world.client.follow(room.queue, read_key=old) as cells:
            assert cells.head == receipt.seq
            assert await world.take(cells, 1) == [cell("removed")]
            with pytest.raises(RefusedError):
                await cells.__anext__()
        with pytest.raises(RefusedError) as caught:
            await world.client.append(room.queue, [cell("still here")], send_key=old, fence=1)
        assert caught.value.code == "fenced"


async def test_who_may_follow(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        for wrong in ({"owner": SigningKey(b"m" * 32)}, {"read_key": SEND}, {}):
            with pytest.raises(RefusedError) as caught:
                async with world.client.follow(made.queue, **wrong):
                    pass
            assert caught.value.code == "denied"


async def test_a_queue_that_is_removed_ends_its_followers(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        async with world.client.follow(made.queue, owner=OWNER) as cells:
            await world.client.remove(made.queue, OWNER)
            with pytest.raises(RefusedError) as caught:
                await cells.__anext__()
            assert caught.value.code == "unknown"


async def test_a_drop_wakes_its_follower_at_its_time(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        due = world.clock.utc_ms() + HOUR_MS
        drop = await world.client.create(OWNER, send_key=SEND, release_at=due)
        async with world.client.follow(drop.queue, owner=OWNER) as cells:
            for n in range(20):
                await world.client.append(drop.queue, [cell(n)], send_key=SEND)
            assert await world.take(cells, 20) == [cell(n) for n in range(20)]
        assert 0 <= world.clock.utc_ms() - due < 2000


async def test_a_restore_gives_followers_the_whole_log_again(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        receipt = await world.client.append(made.queue, [cell(1), cell(2)], send_key=SEND)
        await world.store.mark_restored()
        at = Cursor(receipt.incarnation, receipt.seq)
        async with world.client.follow(made.queue, owner=OWNER, cursor=at) as cells:
            assert cells.incarnation != receipt.incarnation
            assert await world.take(cells, 2) == [cell(1), cell(2)]


async def test_the_client_pays_at_a_crowded_door(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        door = await world.client.create(OWNER, DOOR, cap=8)
        for n in range(4):
            await world.client.append(door.queue, [cell(n)])
        with pytest.raises(RefusedError) as caught:  # all came through one entry, whose share is half
            await world.client.append(door.queue, [cell(4)])
        assert caught.value.code == "busy"
        world.service._entry_of = lambda channel: "another"
        await world.client.aclose()
        assert (await world.client.append(door.queue, [cell(4)])).seq == 5
        world.service._entry_of = lambda channel: "a third"
        await world.client.aclose()
        assert (await world.client.append(door.queue, [cell(5)])).seq == 6


async def test_a_thousand_idle_followers_cost_little(autojump_clock: MockClock) -> None:
    """Both ends of the stream in memory and the client are in the figure, a libp2p connection is not."""
    async with a_world() as world:
        made = [await world.client.create(SigningKey(bytes([n] * 32)), send_key=SEND, cap=1) for n in range(20)]
        world.service._followers._most_per_queue = 50
        before = resident()
        async with AsyncExitStack() as stack:
            for n in range(1000):
                client = QueueClient(world.path, run_blocking=run_inline)
                owner = SigningKey(bytes([n % 20] * 32))
                await stack.enter_async_context(client.follow(made[n % 20].queue, owner=owner))
            assert world.service.statistics().followers == 1000
            with pytest.raises(RefusedError) as caught:
                await stack.enter_async_context(world.client.follow(made[0].queue, owner=SigningKey(bytes(32))))
            assert caught.value.code == "busy"
            assert (resident() - before) / 1000 < 64 * 1024
        await wait_all_tasks_blocked()
        assert world.service.statistics().followers == 0


def resident() -> int:
    """Bytes of memory this process holds; Linux counts them in pages."""
    gc.collect()
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else 0


async def test_a_node_that_breaks_its_chain_is_caught(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        async with world.client.follow(made.queue, owner=OWNER) as cells:
            await world.client.append(made.queue, [cell(1)], send_key=SEND)
            await world.take(cells, 1)
            cells._take(Cells(made.incarnation, 0, 2, cells._chain or b"", 2, (cell(2),)))
            with pytest.raises(MalformedError):
                cells._take(Cells(made.incarnation, 0, 3, b"x" * 32, 3, (cell(3),)))
            with pytest.raises(MalformedError):
                cells._take(Cells(made.incarnation, 0, 9, cells._chain or b"", 9, (cell(9),)))


async def test_the_request_channel_is_opened_again_after_a_pause(autojump_clock: MockClock) -> None:
    async with a_world() as world:
        made = await world.client.create(OWNER, send_key=SEND)
        await trio.sleep(1000)
        await world.client.append(made.queue, [cell(1)], send_key=SEND)
        await trio.sleep(1000)
        await world.client.remove(made.queue, OWNER)
