"""The network between all programs: ``python network.py`` forwards TCP connections and does to them what it is told.

Every node is told to others by a port of this program, and people have ports of their own for their entries. Which
node connects is read from the kernel (the socket's inode and whose descriptor that is), so that each link, from one
program to one node, can be treated by itself:

``cut``   connections end with a reset, new ones too
``hold``  nothing travels and nobody is told, as when a cable is pulled; later everything comes
``slow``  each piece waits ``delay_ms``, and no more than ``rate`` bytes a second pass

Standard input takes JSON lines: ``{"pids": {name: pid}}``, ``{"node": name, "to": port, "source": name}`` (the port
to connect to is printed; ``source`` is empty where anybody may), and ``{"links": [[source, node, how, delay_ms, rate],
...]}``, which replaces what was in force.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

PIECE = 65_536
RESET = struct.pack("ii", 1, 0)


@dataclass
class Way:
    """How one link is at this moment."""

    how: str = "open"
    delay_ms: int = 0
    rate: int = 0


OPEN = Way()


@dataclass(eq=False)
class Connection:
    source: str
    node: str
    ends: tuple[trio.SocketStream, ...] = ()
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Network:
    """All nodes' ports, and everything that goes through them."""

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}
        self.ways: dict[tuple[str, str], Way] = {}
        self.changed = trio.Event()
        self.connections: set[Connection] = set()

    def way(self, connection: Connection) -> Way:
        return self.ways.get((connection.source, connection.node), OPEN)

    def set(self, links: list[Any]) -> None:
        """These links are so, all others open."""
        self.ways = {(source, node): Way(how, delay, rate) for source, node, how, delay, rate in links}
        changed, self.changed = self.changed, trio.Event()
        changed.set()
        for connection in self.connections:
            if self.way(connection).how == "cut":
                connection.scope.cancel()

    async def serve(self, node: str, source: str, listener: socket.socket, to: int) -> None:
        async def carry(stream: trio.SocketStream) -> None:
            await self._carry(node, source, stream, to)

        await trio.serve_listeners(carry, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])

    async def _carry(self, node: str, source: str, stream: trio.SocketStream, to: int) -> None:
        try:
            here, there = stream.socket.getsockname()[1], stream.socket.getpeername()[1]
        except OSError:  # gone already
            stream.socket.close()
            return
        if not source:
            source = await trio.to_thread.run_sync(_who, there, here, dict(self.pids))
        connection = Connection(source, node)
        self.connections.add(connection)
        if self.way(connection).how == "cut":
            connection.scope.cancel()
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError), connection.scope:
            try:
                await self._pass(connection)
                far = await trio.open_tcp_stream("127.0.0.1", to)
                connection.ends = (stream, far)
                async with far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, connection, stream, far)
                    nursery.start_soon(self._pump, connection, far, stream)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        self.connections.discard(connection)
        with suppress(OSError):  # whatever happened, the other side sees it at once
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        stream.socket.close()

    async def _pump(self, connection: Connection, source: trio.SocketStream, target: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(PIECE):
                await self._pass(connection, len(data))
                await target.send_all(data)
            await target.send_eof()
            return
        connection.scope.cancel()

    async def _pass(self, connection: Connection, size: int = 0) -> None:
        while (way := self.way(connection)).how == "hold":
            await self.changed.wait()
        if way.how == "slow":
            await trio.sleep(way.delay_ms / 1000 + size / way.rate)


def _who(port: int, at: int, pids: dict[str, int]) -> str:
    """The program whose connection goes from ``port`` to our port ``at``."""
    table = Path("/proc/net/tcp").read_text("ascii")
    at_line = table.find(f"0100007F:{port:04X} 0100007F:{at:04X} ")
    inode = f"socket:[{table[at_line:].split(maxsplit=9)[8]}]" if at_line >= 0 else ""
    for name, pid in pids.items():
        with suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.readlink(entry.path) == inode:
                        return name
    return "?"


async def main() -> None:
    network, rest = Network(), b""
    async with trio.open_nursery() as nursery:
        stdin = trio.lowlevel.FdStream(os.dup(0))
        async for chunk in stdin:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                wish = json.loads(line)
                if "pids" in wish:
                    network.pids = wish["pids"]
                if "links" in wish:
                    network.set(wish["links"])
                if "node" in wish:
                    listener = socket.socket()
                    listener.bind(("127.0.0.1", 0))
                    listener.listen(512)
                    nursery.start_soon(network.serve, wish["node"], wish["source"], listener, wish["to"])
                    told = {"node": wish["node"], "source": wish["source"], "port": listener.getsockname()[1]}
                    print(json.dumps(told), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    with suppress(OSError):  # all others wait for this one; not everybody may ask for it
        os.nice(-10)
    sys.exit(trio.run(main))
