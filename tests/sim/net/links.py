"""What lies between hosts: delay, jitter, loss, service time, partitions; one heap of what arrives when.

The model of a link: a one-way delay per pair of endpoints, uniform between 50 and 150 ms and fixed by the seed; a
jitter of 0 to 5 ms on each segment; order kept within a connection; ticks of one millisecond. A lost segment comes
again after a retransmission timeout of 0.2 s (doubling) and holds up those behind it, as TCP does. A partition holds
segments back; connections across it end when the muxer's pings would have ended them. Time costs no CPU here: a node
is as fast as its endpoint's ``service_s`` and ``rate`` say, which are off unless a scenario sets them.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from sim.net.transport import MemoryConnection, MemoryListener

RETRANSMIT = 0.2
PING_EVERY = 15.0
PING_DEADLINE = 10.0
"""The host's own settings (HostSettings): a silent peer loses its connection after 10 to 25 s."""


@dataclass(frozen=True, slots=True)
class Links:
    """Times in seconds; the same for all pairs but for what the seed makes of the range."""

    low: float = 0.050
    high: float = 0.150
    jitter: float = 0.005
    loss: float = 0.0
    """Share of segments that must be sent again."""


@dataclass(eq=False)
class Endpoint:
    """A machine on the network; a restart of a node has a new one with the same name and address."""

    name: str
    ip: str
    service_s: float = 0.0
    """CPU time for each segment, sent or received."""
    rate: float = math.inf
    """Bytes a second that it can send."""
    alive: bool = True
    side: int = 0
    """Which part of a partitioned network it is in."""
    bytes_sent: int = 0
    segments_sent: int = 0
    sending_until: float = 0.0
    receiving_until: float = 0.0
    connections: dict[int, MemoryConnection] = field(default_factory=dict)


class Net:
    """All links; ``run`` must run in some task for anything to arrive."""

    def __init__(self, seed: str | int, links: Links | None = None) -> None:
        self.seed = seed
        self.links = links or Links()
        self.rng = random.Random(f"net/{seed}")
        self.listeners: dict[tuple[str, int], MemoryListener] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.on_event: Callable[[str, str, str], None] = lambda event, here, there: None
        """Told of every connection that opens or ends."""
        self.delivered = 0
        self.bytes = 0
        self._delays: dict[tuple[str, str], float] = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._wake = trio.CancelScope()
        self._held: list[tuple[MemoryConnection, int, Callable[[], None]]] = []

    def number(self) -> int:
        """The next of a row of numbers: what is made first sorts first."""
        self._count += 1
        return self._count

    def endpoint(self, name: str, ip: str) -> Endpoint:
        """A machine with this name and address; the one before it with that name is off the network."""
        made = self.endpoints[name] = Endpoint(name, ip)
        return made

    # --- time ---

    async def run(self) -> None:
        """Let everything arrive, for ever."""
        while True:
            due = self._heap[0][0] / 1000 if self._heap else math.inf
            if due > trio.current_time():
                with trio.CancelScope(deadline=due) as self._wake:
                    await trio.sleep_forever()
                continue
            now = tick()
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2]()
            await trio.lowlevel.checkpoint()

    def at(self, when: int, act: Callable[[], None]) -> None:
        """Call ``act`` at the tick ``when``."""
        heapq.heappush(self._heap, (when, self.number(), act))
        if when / 1000 < self._wake.deadline:
            self._wake.deadline = when / 1000

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self.at(tick() + math.ceil(seconds * 1000), act)

    # --- links ---

    def delay(self, one: Endpoint, other: Endpoint) -> float:
        """One way, without jitter; the same in both directions."""
        pair = (one.name, other.name) if one.name < other.name else (other.name, one.name)
        known = self._delays.get(pair)
        if known is None:
            source = random.Random(f"link/{self.seed}/{pair[0]}/{pair[1]}")
            known = self._delays[pair] = source.uniform(self.links.low, self.links.high)
        return known

    def is_cut(self, one: Endpoint, other: Endpoint) -> bool:
        return one.side != other.side

    def post(self, connection: MemoryConnection, size: int, act: Callable[[], None]) -> None:
        """Carry a segment of ``size`` bytes to the other end of ``connection``; ``act`` happens there."""
        source, target = connection.here, connection.there
        if not source.alive:
            return
        source.bytes_sent += size
        source.segments_sent += 1
        self.bytes += size
        if self.is_cut(source, target):
            self._held.append((connection, size, act))
            return
        self._carry(connection, size, act)

    def _carry(self, connection: MemoryConnection, size: int, act: Callable[[], None]) -> None:
        source, target = connection.here, connection.there
        now = trio.current_time()
        sent = source.sending_until = max(now, source.sending_until) + source.service_s + size / source.rate
        arrives = sent + self.delay(source, target) + self.rng.uniform(0, self.links.jitter)
        again = RETRANSMIT
        while self.links.loss and self.rng.random() < self.links.loss:
            arrives += again
            again *= 2
        arrives = max(arrives, target.receiving_until) + target.service_s
        if target.service_s:
            target.receiving_until = arrives
        connection.last_tick = max(connection.last_tick, math.ceil(arrives * 1000))

        def arrive() -> None:
            if target.alive and connection.other.is_open:
                self.delivered += 1
                act()

        self.at(connection.last_tick, arrive)

    # --- faults ---

    def partition(self, side_of: Callable[[Endpoint], int]) -> None:
        """Put every endpoint on a side; nothing passes between sides until :meth:`heal`."""
        for endpoint in self.endpoints.values():
            endpoint.side = side_of(endpoint)
        for endpoint in self.endpoints.values():
            for connection in list(endpoint.connections.values()):
                if connection.is_initiator and self.is_cut(connection.here, connection.there):
                    self._end_by_pings(connection)

    def heal(self) -> None:
        """One network again; what was held back arrives."""
        for endpoint in self.endpoints.values():
            endpoint.side = 0
        held, self._held = self._held, []
        for connection, size, act in held:
            if connection.is_open:
                self._carry(connection, size, act)

    def crash(self, endpoint: Endpoint, *, silent: bool = False) -> None:
        """Take a machine off the network: its peers hear a reset after one delay or, ``silent``, nothing at all."""
        endpoint.alive = False
        for connection in list(endpoint.connections.values()):
            other = connection.other
            connection.drop()
            if silent:
                self.later(self._until_ping_fails(), other.drop)
            else:
                self.later(self.delay(endpoint, other.here), other.drop)

    def _end_by_pings(self, connection: MemoryConnection) -> None:
        def end() -> None:
            if self.is_cut(connection.here, connection.there):
                connection.drop()
                connection.other.drop()

        self.later(self._until_ping_fails(), end)

    def _until_ping_fails(self) -> float:
        return PING_DEADLINE + self.rng.uniform(0, PING_EVERY)


def tick() -> int:
    """Now, in whole milliseconds of virtual time."""
    return math.floor(trio.current_time() * 1000 + 1e-6)
