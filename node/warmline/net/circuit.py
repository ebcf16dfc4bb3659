"""Circuits as connections: dial a destination through an entry, and be dialled through one.

A circuit is one stream to the relay. Over it run Noise, authenticated to the other end's peer id, and Yamux, so the
relay carries ciphertext and neither end has to believe what the relay says about the other. The result is registered
with the swarm like any connection; ``open_channel`` does not know the difference.

The library has both ends of this (``relay/circuit_v2/transport.py``), but its dialler reserves a place at the relay
(a stranger can then reach a seeker through the entry), writes circuit addresses into the peerstore, and runs identify
through the circuit, which tells the destination the addresses that the client listens on. Hence the few lines here:

* a circuit has no remote address. Its transport address is ``/p2p/<relay>/p2p-circuit``, which is all that the
  connection table, the peerstore and the logs of the far end can ever hold;
* identify does not run on it, in either direction: a destination learns no address of a client, and a client learns
  no address at which it could, by accident, dial the destination directly.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import trio
from libp2p.abc import INetStream, IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from warmline_protocol import limits
from warmline_protocol.circuit import (
    HOP_PROTOCOL,
    HopMessage,
    HopType,
    Limit,
    MessageReader,
    Status,
    decode_hop,
    encode_hop,
)
from warmline_protocol.codec import frame
from warmline_protocol.errors import (
    BadSignatureError,
    DeadlineError,
    MalformedError,
    RefusedError,
    UnreachableError,
    UsageError,
)

if TYPE_CHECKING:
    from libp2p.network.connection.swarm_connection import SwarmConn

    from warmline.net.host import Libp2pHost

STREAM_ERRORS = (BaseLibp2pError, trio.BrokenResourceError, trio.ClosedResourceError, OSError, KeyError, ValueError)
"""What a library stream raises when its other end, or its connection, is gone."""

_REFUSALS = {
    Status.RESERVATION_REFUSED: ("reservation-refused", "the entry grants no reservations"),
    Status.RESOURCE_LIMIT_EXCEEDED: ("busy", "the entry has no room for another circuit"),
    Status.PERMISSION_DENIED: ("denied", "the entry does not allow this circuit"),
    Status.CONNECTION_FAILED: ("unreachable", "the entry cannot reach the destination"),
    Status.NO_RESERVATION: ("unknown-destination", "the entry knows no node record of the destination"),
    Status.MALFORMED_MESSAGE: ("malformed", "the entry could not read the request"),
    Status.UNEXPECTED_MESSAGE: ("unexpected", "the entry did not expect the request"),
}


class Meter:
    """Counts a circuit's bytes in each direction, and says when ``budget`` of them are spent in one."""

    def __init__(self, budget: int | None) -> None:
        self.spent = trio.Event()
        self._budget = budget
        self._sent = self._received = 0

    def count(self, *, sent: int = 0, received: int = 0) -> None:
        self._sent += sent
        self._received += received
        if self._budget is not None and max(self._sent, self._received) >= self._budget:
            self.spent.set()


class CircuitConnection(IRawConnection):
    """A relay stream in the place of a socket. Reading raises at the end, as the library's muxer expects."""

    def __init__(self, stream: INetStream, *, initiator: bool, relay: str, meter: Meter | None = None) -> None:
        self.stream = stream
        self.is_initiator = initiator
        self._meter = meter or Meter(None)
        self._addresses = [Multiaddr(f"/p2p/{relay}/p2p-circuit")]

    async def write(self, data: bytes) -> None:
        try:
            await self.stream.write(data)
        except STREAM_ERRORS as error:
            raise RawConnError("circuit closed") from error
        self._meter.count(sent=len(data))

    async def read(self, n: int | None = None) -> bytes:
        try:
            data = await self.stream.read(n)
        except STREAM_ERRORS as error:
            raise RawConnError("circuit closed") from error
        if not data:
            raise RawConnError("circuit closed")
        self._meter.count(received=len(data))
        return data

    async def close(self) -> None:
        try:
            await self.stream.close()
        except STREAM_ERRORS:
            await self.stream.reset()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None

    def get_transport_addresses(self) -> list[Multiaddr]:
        return list(self._addresses)

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.RELAYED


class Circuit:
    """An open circuit at the client's end."""

    def __init__(self, connection: SwarmConn, entry: str, destination: str, limit: Limit | None, meter: Meter) -> None:
        self.entry = entry
        self.destination = destination
        self.expires_at = trio.current_time() + _most(limit.duration_s if limit else 0)
        """``trio.current_time()`` at which to have opened the next circuit: 80 % of what the relay grants."""
        self._connection = connection
        self._meter = meter

    @property
    def closed(self) -> bool:
        """Whether the circuit is gone."""
        return self._connection.is_closed

    async def wait_closed(self) -> None:
        """Return when the circuit is gone, whoever ended it."""
        await self._connection.event_closed.wait()

    async def wait_expiring(self) -> None:
        """Return when it is time for the next circuit.

        That is at :attr:`expires_at`, when 80 % of the bytes that the relay grants are used, or at once when this
        circuit is gone.
        """
        with trio.move_on_at(self.expires_at):
            async with trio.open_nursery() as nursery:

                async def first(wait: Callable[[], Awaitable[None]]) -> None:
                    await wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(first, self.wait_closed)
                nursery.start_soon(first, self._meter.spent.wait)

    async def aclose(self) -> None:
        """Close the connection; the relay closes the other end."""
        with trio.move_on_after(limits.CIRCUIT_FAREWELL_S):
            await self._connection.close()


async def dial_through(host: Libp2pHost, entry: str, destination: str) -> Circuit:
    """Connect ``host`` to ``destination`` (peer id) by a circuit through ``entry`` (peer id, connected already).

    Afterwards ``host.open_channel(destination, ...)`` works. Raises :class:`RefusedError` with the relay's reason,
    :class:`UnreachableError`, :class:`DeadlineError`, or :class:`BadSignatureError` when whoever answers is not
    ``destination``.
    """
    if entry == destination:
        raise UsageError("the entry and the destination are the same node, which would learn both ends")
    raw = cast(Any, host.raw)
    if not raw.get_network().get_connections(ID.from_base58(entry)):
        raise UnreachableError("not connected to the entry")
    stream = await _open_hop(raw, entry)
    try:
        limit = await _ask(stream, destination)
        meter = Meter(int(limit.data * limits.CIRCUIT_RENEW_SHARE) if limit and limit.data else None)
        connection = await join(raw, stream, initiator=True, relay=entry, peer=destination, meter=meter)
    except BaseException:  # cancellation too: the entry must not go on carrying half a circuit
        with trio.CancelScope(shield=True), trio.move_on_after(limits.CIRCUIT_FAREWELL_S):
            await stream.reset()
        raise
    return Circuit(connection, entry, destination, limit, meter)


def _most(duration_s: int) -> float:
    return duration_s * limits.CIRCUIT_RENEW_SHARE if duration_s else math.inf


async def _open_hop(raw: Any, entry: str) -> INetStream:
    with trio.move_on_after(limits.CIRCUIT_REQUEST_S):
        try:
            stream = await raw.new_stream(ID.from_base58(entry), [TProtocol(HOP_PROTOCOL)])
        except STREAM_ERRORS as error:
            raise UnreachableError("the entry opens no circuit stream") from error
        return cast(INetStream, stream)
    raise DeadlineError("the entry did not open a circuit stream in time")


async def _ask(stream: INetStream, destination: str) -> Limit | None:
    request = HopMessage(HopType.CONNECT, peer=ID.from_base58(destination).to_bytes())
    # The relay may have to dial first, and waits for the destination after that.
    wait = limits.CIRCUIT_DIAL_S + 2 * limits.CIRCUIT_REQUEST_S
    with trio.move_on_after(wait):
        try:
            await stream.write(frame(encode_hop(request)))
            answer = decode_hop(await read_message(stream))
        except STREAM_ERRORS as error:
            raise UnreachableError("the entry broke off while opening the circuit") from error
        if answer.type is not HopType.STATUS or answer.status is None:
            raise MalformedError("the entry answered with something that is no status")
        if answer.status != Status.OK:
            raise _refusal(answer.status)
        return answer.limit
    raise DeadlineError(f"the entry gave no answer within {wait} s")


def _refusal(status: int) -> RefusedError:
    unknown = (f"status-{status}", f"the entry refused with status {status}")
    code, why = _REFUSALS.get(Status(status), unknown) if status in set(Status) else unknown
    return RefusedError(code, why, hint="Another entry may allow it.")


async def read_message(stream: INetStream) -> bytes:
    """Exactly one length-prefixed message; the bytes after it stay in the stream. The caller brings the deadline."""
    reader = MessageReader()
    while reader.wanted:
        data = await stream.read(reader.wanted)
        if not data:
            raise RawConnError("stream ended in a relay message")
        reader.feed(data)
    return reader.message


async def join(
    raw: Any, stream: INetStream, *, initiator: bool, relay: str, peer: str, meter: Meter | None = None
) -> SwarmConn:
    """Run Noise and Yamux over an open circuit to ``peer`` and register the connection with the swarm."""
    circuit = CircuitConnection(stream, initiator=initiator, relay=relay, meter=meter)
    with trio.move_on_after(limits.CIRCUIT_UPGRADE_S):
        try:
            return await _join(raw, circuit, ID.from_base58(peer))
        except STREAM_ERRORS as error:
            raise UnreachableError("no secure connection through the circuit") from error
    raise DeadlineError(f"no secure connection through the circuit within {limits.CIRCUIT_UPGRADE_S} s")


async def _join(raw: Any, circuit: CircuitConnection, peer: ID) -> SwarmConn:
    swarm = raw.get_network()
    initiator = circuit.is_initiator
    secured = await swarm.upgrader.upgrade_security(circuit, initiator, peer if initiator else None)
    if secured.get_remote_peer() != peer:
        raise BadSignatureError("the other end of the circuit is not who the relay said")
    muxed = await swarm.upgrader.upgrade_connection(secured, peer)
    skip_identify(raw, peer)
    connection = await swarm.add_conn(muxed, direction="outbound" if initiator else "inbound")
    return cast("SwarmConn", connection)


def skip_identify(raw: Any, peer: ID) -> None:
    """Make the library believe that identify ran with ``peer``: it would tell addresses, and write some down.

    ``BasicHost`` has no switch per connection; it drops this mark itself when the peer disconnects.
    """
    raw._identified_peers[peer] = "through a circuit"


def is_relayed(connection: Any) -> bool:
    """Whether a swarm or muxed connection is a circuit."""
    return bool(connection.get_connection_type() is ConnectionType.RELAYED)
