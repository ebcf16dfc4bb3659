"""What one relay allows: the state of each circuit, the table of all of them, and reservations.

State belongs to a circuit, never to a peer. Keyed by peer, as in the stock relay, the end of one circuit resets the
others to the same destination. Nothing here knows a clock or a socket: the caller brings the time and the bytes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from warmline_protocol import limits
from warmline_protocol.circuit import Limit, Status
from warmline_protocol.errors import UsageError

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class CircuitLimits:
    """Everything a relay limits; an operator may lower or raise each."""

    duration_s: float = limits.CIRCUIT_DURATION_S
    data: int = limits.CIRCUIT_DATA_MAX
    total: int = limits.CIRCUITS_MAX
    per_destination: int = limits.CIRCUITS_PER_DESTINATION
    per_subnet: int = limits.CIRCUITS_PER_SUBNET
    per_source: int = limits.CIRCUITS_PER_SOURCE
    pending: int = limits.CIRCUIT_PENDING_MAX
    pending_per_source: int = limits.CIRCUIT_PENDING_PER_SOURCE
    reservations: int = 0
    """Reservations granted at once, to peers with a node record; 0 grants none."""
    reservation_s: int = limits.RESERVATION_S
    in_total: int = limits.CIRCUITS_IN_MAX
    in_per_relay: int = limits.CIRCUITS_IN_PER_RELAY

    def granted(self) -> Limit:
        """What a circuit's two ends are told; at least a second and a byte, because 0 would say *no limit*."""
        return Limit(max(1, int(self.duration_s)), max(1, self.data))


class Stage(Enum):
    WAITING = "waiting"
    """Admitted; the destination has not answered."""
    OPEN = "open"
    CLOSED = "closed"


class Ending(Enum):
    """Why a circuit is over."""

    CLOSED = "closed"
    """One end closed or broke off."""
    DURATION = "duration"
    DATA = "data"
    STALLED = "stalled"
    """One end left bytes unread for too long."""
    FAILED = "failed"
    """The destination could not be reached, or refused."""
    SHUTDOWN = "shutdown"


class Way(Enum):
    """Direction of a circuit's bytes."""

    UP = "up"
    """From the client to its destination."""
    DOWN = "down"


class Circuit:
    """One circuit as its relay sees it: WAITING -> OPEN -> CLOSED, or WAITING -> CLOSED.

    ``source`` and ``subnet`` are kept for counting only and shown nowhere.
    """

    __slots__ = ("_limits", "carried", "destination", "ending", "ends_at", "source", "stage", "subnet")

    def __init__(self, source: bytes, subnet: str, destination: bytes, limits_: CircuitLimits) -> None:
        self.source = source
        self.subnet = subnet
        self.destination = destination
        self.stage = Stage.WAITING
        self.ending: Ending | None = None
        self.ends_at: float | None = None
        self.carried = {Way.UP: 0, Way.DOWN: 0}
        self._limits = limits_

    def open(self, now: float) -> float:
        """The destination accepted; returns the moment (same clock) at which the circuit must end."""
        if self.stage is not Stage.WAITING:
            raise UsageError(f"a circuit that is {self.stage.value} cannot be opened")
        self.stage = Stage.OPEN
        self.ends_at = now + self._limits.duration_s
        return self.ends_at

    def carry(self, way: Way, size: int) -> bool:
        """Count ``size`` bytes; False (and CLOSED) when they would pass the limit and must not be sent."""
        if self.stage is not Stage.OPEN:
            return False
        if self.carried[way] + size > self._limits.data:
            self.close(Ending.DATA)
            return False
        self.carried[way] += size
        return True

    def close(self, ending: Ending) -> None:
        """End it; the first reason stands."""
        if self.stage is not Stage.CLOSED:
            self.stage = Stage.CLOSED
            self.ending = ending


class CircuitRefused(Exception):
    """A relay says no; ``status`` goes on the wire, ``why`` is for counting and never names a peer."""

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


@dataclass(frozen=True, slots=True)
class RelayStatistics:
    """For `status` and metrics: counts only, no peer and no address."""

    circuits: int
    opened: int
    bytes_up: int
    bytes_down: int
    refused: dict[str, int]
    ended: dict[str, int]
    destinations: int
    subnets: int
    reservations: int
    accepted: int = 0
    """Circuits that end at this node now."""
    relays: int = 0
    """Relays that they come through."""


class CircuitTable:
    """The circuits of one relay, its counters and its reservations. Every method is synchronous."""

    def __init__(self, limits_: CircuitLimits) -> None:
        self.limits = limits_
        self._circuits: set[Circuit] = set()
        self._by_source: Counter[bytes] = Counter()
        self._by_subnet: Counter[str] = Counter()
        self._by_destination: Counter[bytes] = Counter()
        self._reservations: dict[bytes, int] = {}
        self._pending: Counter[bytes] = Counter()
        self._refused: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._opened = 0
        self._bytes = {Way.UP: 0, Way.DOWN: 0}

    def refuse(self, status: Status, why: str) -> CircuitRefused:
        """Count a refusal and return it for raising."""
        self._refused[why] += 1
        return CircuitRefused(status, why)

    def begin(self, source: bytes) -> None:
        """A HOP stream was opened; refused when too many wait. Pair with :meth:`done`."""
        if self._pending.total() >= self.limits.pending:
            raise self.refuse(Status.RESOURCE_LIMIT_EXCEEDED, "relay busy")
        if self._pending[source] >= self.limits.pending_per_source:
            raise self.refuse(Status.RESOURCE_LIMIT_EXCEEDED, "too many requests of one peer")
        self._pending[source] += 1

    def done(self, source: bytes) -> None:
        """The request of a HOP stream was answered."""
        _less(self._pending, source)

    def admit(self, source: bytes, subnet: str, destination: bytes) -> Circuit:
        """Take a place for a new circuit, or raise :class:`CircuitRefused`. Pair with :meth:`release`.

        ``subnet`` names the source's network; the empty name has no limit of its own.
        """
        full = (
            (len(self._circuits) >= self.limits.total, "relay full"),
            (self._by_destination[destination] >= self.limits.per_destination, "destination full"),
            (bool(subnet) and self._by_subnet[subnet] >= self.limits.per_subnet, "subnet full"),
            (self._by_source[source] >= self.limits.per_source, "peer full"),
        )
        for reached, why in full:
            if reached:
                raise self.refuse(Status.RESOURCE_LIMIT_EXCEEDED, why)
        circuit = Circuit(source, subnet, destination, self.limits)
        self._circuits.add(circuit)
        self._by_source[source] += 1
        if subnet:
            self._by_subnet[subnet] += 1
        self._by_destination[destination] += 1
        return circuit

    def open(self, circuit: Circuit, now: float) -> float:
        """See :meth:`Circuit.open`; counts it."""
        self._opened += 1
        return circuit.open(now)

    def release(self, circuit: Circuit) -> None:
        """Give the place back; a second call does nothing."""
        if circuit not in self._circuits:
            return
        circuit.close(Ending.CLOSED)
        self._circuits.discard(circuit)
        _less(self._by_source, circuit.source)
        _less(self._by_subnet, circuit.subnet)
        _less(self._by_destination, circuit.destination)
        self._ended[(circuit.ending or Ending.CLOSED).value] += 1
        for way, size in circuit.carried.items():
            self._bytes[way] += size

    def reserve(self, peer: bytes, now_s: int) -> int:
        """Grant or prolong a reservation; its end in Unix seconds, or :class:`CircuitRefused`."""
        self._expire(now_s)
        if not self.limits.reservations:
            raise self.refuse(Status.RESERVATION_REFUSED, "no reservations here")
        if peer not in self._reservations and len(self._reservations) >= self.limits.reservations:
            raise self.refuse(Status.RESOURCE_LIMIT_EXCEEDED, "reservations full")
        self._reservations[peer] = now_s + self.limits.reservation_s
        return self._reservations[peer]

    def reserved(self, peer: bytes, now_s: int) -> bool:
        """Whether ``peer`` holds a reservation now."""
        return self._reservations.get(peer, 0) > now_s

    def forget(self, peer: bytes) -> None:
        """The peer left; so does its reservation."""
        self._reservations.pop(peer, None)

    def _expire(self, now_s: int) -> None:
        for peer in [peer for peer, end in self._reservations.items() if end <= now_s]:
            del self._reservations[peer]

    def statistics(self) -> RelayStatistics:
        """Counts so far, the bytes of circuits that are open included."""
        carried = {way: self._bytes[way] + sum(circuit.carried[way] for circuit in self._circuits) for way in Way}
        return RelayStatistics(
            circuits=len(self._circuits),
            opened=self._opened,
            bytes_up=carried[Way.UP],
            bytes_down=carried[Way.DOWN],
            refused=dict(sorted(self._refused.items())),
            ended=dict(sorted(self._ended.items())),
            destinations=len(self._by_destination),
            subnets=len(self._by_subnet),
            reservations=len(self._reservations),
        )


def _less(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
