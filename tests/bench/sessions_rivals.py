"""What sessions are measured beside: a durable floor, Redis streams and mosquitto. Only for benchmarks.

The **floor** is the least that can do the work: plain TCP, numbered topics in one SQLite file, ``synchronous=FULL``,
a receipt after COMMIT (waiting appends share one), followers pushed to afterwards. No encryption, no limits, no
authentication. The clients of Redis (RESP 2) and MQTT (3.1.1, QoS 1) are the few lines that the comparison needs and
nothing that anybody should build upon.

Every system is a :class:`System`: ``writer`` gives ``append(cells)``, which returns when they are acknowledged, and
``reader`` gives ``receive()``, one cell at a time.
"""

from __future__ import annotations

import struct
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import apsw
import trio

from warmline.env import run_in_thread

CELL = 4096
HEAD = struct.Struct(">BQI")
"""An operation, a topic or number, how many cells follow."""
APPEND, FOLLOW = 1, 2

Append = Callable[[Sequence[bytes]], Awaitable[object]]
Receive = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class System:
    """``writer(port, topic, name)``; ``reader(port, topic, name)``. ``name`` is the client's own, for sessions."""

    writer: Callable[[int, int, str], AbstractAsyncContextManager[Append]]
    reader: Callable[[int, int, str], AbstractAsyncContextManager[Receive]]


class Wire:
    """Exact reads over one TCP connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        return self._take(size)

    async def line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            await self._more()
        return self._take(end + 2)[:-2]

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError
        self._buffer += data

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


async def connect(port: int) -> Wire:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    stream.setsockopt(6, 1, 1)
    return Wire(stream)


# --- the floor ----------------------------------------------------------------------------------------------------


class Floor:
    """The server: one writer thread at a time, whatever waits goes into the next COMMIT."""

    def __init__(self, path: str) -> None:
        self._conn = apsw.Connection(path)
        for said in ("journal_mode=WAL", "synchronous=FULL"):
            self._conn.execute(f"PRAGMA {said}").fetchall()
        self._conn.execute("CREATE TABLE cells (topic INTEGER, seq INTEGER, cell BLOB, PRIMARY KEY (topic, seq))")
        self._heads: dict[int, int] = {}
        self._waiting: list[tuple[int, list[bytes], trio.Event]] = []
        self._work = trio.Event()
        self._changed: dict[int, trio.Event] = {}

    async def commit_forever(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            batch, self._waiting = self._waiting[:256], self._waiting[256:]
            rows = []
            for topic, cells, _ in batch:
                for cell in cells:
                    self._heads[topic] = self._heads.get(topic, 0) + 1
                    rows.append((topic, self._heads[topic], cell))
            await run_in_thread(partial(self._commit, rows))
            for topic, _, done in batch:
                done.set()
                self._changed.pop(topic, trio.Event()).set()
            if self._waiting:
                self._work.set()

    def _commit(self, rows: list[tuple[int, int, bytes]]) -> None:
        self._conn.execute("BEGIN IMMEDIATE")
        self._conn.executemany("INSERT INTO cells VALUES (?, ?, ?)", rows)
        self._conn.execute("COMMIT")

    async def serve(self, stream: trio.SocketStream) -> None:
        stream.setsockopt(6, 1, 1)
        wire = Wire(stream)
        try:
            while True:
                what, topic, count = HEAD.unpack(await wire.exactly(HEAD.size))
                if what == FOLLOW:
                    await self._follow(stream, topic)
                data = await wire.exactly(count * CELL)
                done = trio.Event()
                cells = [data[at : at + CELL] for at in range(0, len(data), CELL)]
                self._waiting.append((topic, cells, done))
                self._work.set()
                await done.wait()
                await stream.send_all(HEAD.pack(APPEND, self._heads[topic], 0))
        except (EOFError, trio.BrokenResourceError):
            return

    async def _follow(self, stream: trio.SocketStream, topic: int) -> None:
        seen = 0
        while True:
            changed = self._changed.setdefault(topic, trio.Event())
            rows: Any = self._conn.execute(
                "SELECT seq, cell FROM cells WHERE topic = ? AND seq > ? ORDER BY seq LIMIT 16", (topic, seen)
            ).fetchall()
            if rows:
                seen = rows[-1][0]
                await stream.send_all(b"".join(cell for _, cell in rows))
            else:
                await changed.wait()


async def floor_server(path: str) -> None:
    floor = Floor(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(floor.commit_forever)
        listeners = await nursery.start(trio.serve_tcp, floor.serve, 0)
        print(f"port {listeners[0].socket.getsockname()[1]}", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def floor_writer(port: int, topic: int, name: str) -> AsyncIterator[Append]:
    wire = await connect(port)

    async def append(cells: Sequence[bytes]) -> None:
        await wire.stream.send_all(HEAD.pack(APPEND, topic, len(cells)) + b"".join(cells))
        await wire.exactly(HEAD.size)

    async with wire.stream:
        yield append


@asynccontextmanager
async def floor_reader(port: int, topic: int, name: str) -> AsyncIterator[Receive]:
    wire = await connect(port)
    async with wire.stream:
        await wire.stream.send_all(HEAD.pack(FOLLOW, topic, 0))
        yield lambda: wire.exactly(CELL)


# --- Redis --------------------------------------------------------------------------------------------------------


def resp(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


async def answer(wire: Wire) -> Any:
    line = await wire.line()
    kind, rest = line[:1], line[1:]
    if kind == b"$":
        return None if rest == b"-1" else (await wire.exactly(int(rest) + 2))[:-2]
    if kind == b"*":
        return None if rest == b"-1" else [await answer(wire) for _ in range(int(rest))]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    return rest


@asynccontextmanager
async def redis_writer(port: int, topic: int, name: str) -> AsyncIterator[Append]:
    wire = await connect(port)

    async def append(cells: Sequence[bytes]) -> None:
        await wire.stream.send_all(b"".join(resp(b"XADD", b"t%d" % topic, b"*", b"c", cell) for cell in cells))
        for _ in cells:
            await answer(wire)

    async with wire.stream:
        yield append


@asynccontextmanager
async def redis_reader(port: int, topic: int, name: str) -> AsyncIterator[Receive]:
    wire = await connect(port)
    ready: deque[bytes] = deque()
    last = b"0"

    async def receive() -> bytes:
        nonlocal last
        while not ready:
            ask = (b"XREAD", b"COUNT", b"16", b"BLOCK", b"0", b"STREAMS", b"t%d" % topic, last)
            await wire.stream.send_all(resp(*ask))
            for entry, fields in (await answer(wire))[0][1]:
                last = entry
                ready.append(fields[1])
        return ready.popleft()

    async with wire.stream:
        yield receive


# --- MQTT ---------------------------------------------------------------------------------------------------------


def packet(kind: int, body: bytes) -> bytes:
    size, length = len(body), bytearray()
    while True:
        size, low = size >> 7, size & 0x7F
        length.append(low | (0x80 if size else 0))
        if not size:
            return bytes([kind]) + bytes(length) + body


def text(words: str) -> bytes:
    return struct.pack(">H", len(words)) + words.encode()


async def next_packet(wire: Wire) -> tuple[int, bytes]:
    kind, size, shift = (await wire.exactly(1))[0], 0, 0
    while True:
        byte = (await wire.exactly(1))[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return kind, await wire.exactly(size)


async def mqtt_session(port: int, name: str, clean: bool) -> Wire:
    wire = await connect(port)
    await wire.stream.send_all(packet(0x10, text("MQTT") + bytes([4, 2 if clean else 0, 0, 0]) + text(name)))
    kind, body = await next_packet(wire)
    if kind != 0x20 or body[1]:
        raise RuntimeError("mosquitto refused")
    return wire


@asynccontextmanager
async def mqtt_writer(port: int, topic: int, name: str) -> AsyncIterator[Append]:
    wire = await mqtt_session(port, name, clean=True)
    number = 0

    async def append(cells: Sequence[bytes]) -> None:
        nonlocal number
        out = []
        for cell in cells:
            number = number % 65535 + 1
            out.append(packet(0x32, text(f"t{topic}") + struct.pack(">H", number) + cell))
        await wire.stream.send_all(b"".join(out))
        for _ in cells:
            await next_packet(wire)

    async with wire.stream:
        yield append


@asynccontextmanager
async def mqtt_reader(port: int, topic: int, name: str) -> AsyncIterator[Receive]:
    """A persistent session: what comes while it is away waits for it."""
    wire = await mqtt_session(port, name, clean=False)
    early: deque[bytes] = deque()

    async def receive() -> bytes:
        while True:
            body = early.popleft() if early else (await next_packet(wire))[1]
            if len(body) < CELL:
                continue
            at = 2 + struct.unpack_from(">H", body)[0]
            await wire.stream.send_all(packet(0x40, body[at : at + 2]))
            return body[at + 2 :]

    async with wire.stream:
        await wire.stream.send_all(packet(0x82, b"\0\1" + text(f"t{topic}") + b"\1"))
        while True:
            kind, body = await next_packet(wire)
            if kind == 0x90:
                break
            early.append(body)
        yield receive


SYSTEMS = {
    "floor": System(floor_writer, floor_reader),
    "redis": System(redis_writer, redis_reader),
    "mosquitto": System(mqtt_writer, mqtt_reader),
}


if __name__ == "__main__":
    trio.run(floor_server, sys.argv[1])
