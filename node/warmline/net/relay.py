"""Our relay: carries circuits towards nodes of the network, and accepts circuits that end here.

The library's own handler cannot be used: it keys its state by peer, so the end of one circuit resets strangers'
circuits to the same destination; it looks at a circuit's deadline only after a read, so an idle one outlives it; and
it demands a reservation of the destination, which lets the destination choose its relays.

Here a circuit is one task: it reads the request, reaches the destination, pumps both directions under a timer and
ends both streams together (:mod:`warmline.net.pump`).

Who may be reached is ``locate``'s decision: it answers with the addresses of a peer's valid node record, or None.
It also decides which addresses are fit for dialling; this module dials what it is given.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from warmline.env import Clock
from warmline.net import circuit as circuits
from warmline.net import inbound
from warmline.net.circuit import STREAM_ERRORS, is_relayed, read_message
from warmline.net.pump import carry, end_both, part, reset
from warmline_protocol import limits as numbers
from warmline_protocol.circuit import (
    HOP_PROTOCOL,
    STOP_PROTOCOL,
    HopMessage,
    HopType,
    Reservation,
    Status,
    StopMessage,
    StopType,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
)
from warmline_protocol.circuit_table import (
    Circuit,
    CircuitLimits,
    CircuitRefused,
    CircuitTable,
    Ending,
    RelayStatistics,
)
from warmline_protocol.codec import frame
from warmline_protocol.errors import MalformedError, OversizeError, RemoteError, WarmlineError

if TYPE_CHECKING:
    from warmline.net.host import Libp2pHost

Locate = Callable[[str], tuple[str, ...] | None]
"""Peer id to the addresses of its valid node record (``()`` when it has none that can be dialled), or None."""

STRANGERS = ""
"""Stands for all relays whose node record is not known here."""

log = logging.getLogger("warmline.net.relay")


@asynccontextmanager
async def open_relay(
    host: Libp2pHost,
    *,
    locate: Locate,
    limits: CircuitLimits | None = None,
    clock: Clock,
    hop: bool = True,
    subnet_of: Callable[[str | None], str] = inbound.subnet_of,
) -> AsyncIterator[Relay]:
    """Carry circuits (``hop``) and accept those that end here, until the block is left.

    ``subnet_of`` turns a client's address into the name under which its circuits are counted.
    """
    relay = Relay(host, locate, limits or CircuitLimits(), clock, subnet_of)
    host.raw.set_stream_handler(TProtocol(STOP_PROTOCOL), relay.serve_stop)
    if hop:
        host.raw.set_stream_handler(TProtocol(HOP_PROTOCOL), relay.serve_hop)
    host.on_peer_change(relay.peer_changed)
    try:
        yield relay
    finally:
        host.raw.remove_stream_handler(TProtocol(STOP_PROTOCOL))
        if hop:
            host.raw.remove_stream_handler(TProtocol(HOP_PROTOCOL))
        relay.shut()


class Relay:
    """A running relay; obtained from :func:`open_relay`."""

    def __init__(
        self,
        host: Libp2pHost,
        locate: Locate,
        limits: CircuitLimits,
        clock: Clock,
        subnet_of: Callable[[str | None], str],
    ) -> None:
        self._host = host
        self._raw: Any = host.raw
        self._locate = locate
        self._clock = clock
        self._limits = limits
        self._subnet_of = subnet_of
        self._table = CircuitTable(limits)
        self._dials: dict[str, trio.Lock] = {}
        # As many entries as there are node records; a crowd that waits for a dead node would fill the relay.
        self._unreachable: dict[str, float] = {}
        self._origins: dict[str, str] = {}
        self._inbound: Counter[str] = Counter()
        self._scopes: set[trio.CancelScope] = set()
        self._shut = False

    def statistics(self) -> RelayStatistics:
        """Counts for status and metrics; no peer, no address."""
        return dataclasses.replace(self._table.statistics(), accepted=self._inbound.total(), relays=len(self._inbound))

    def entry_of(self, peer: str) -> str | None:
        """The relay through which ``peer`` is connected to this node now; None for a direct connection."""
        return self._origins.get(peer)

    def peer_changed(self, peer: str, connected: bool) -> None:
        """A reservation ends with the last connection of its holder."""
        if not connected:
            self._table.forget(ID.from_base58(peer).to_bytes())

    def shut(self) -> None:
        """End every circuit."""
        self._shut = True
        for scope in list(self._scopes):
            scope.cancel()

    # --- relay: HOP

    async def serve_hop(self, stream: INetStream) -> None:
        """One HOP stream: a reservation, or a circuit until it ends. Never raises what a peer can cause."""
        with self._scope(), self._contained():
            source = stream.muxed_conn.peer_id.to_bytes()
            try:
                with self._pending(source):
                    request = await self._request(stream)
                    ready = await self._prepare(stream, request)
            except CircuitRefused as refusal:
                await self._refuse(stream, refusal.status)
                return
            if ready is not None:
                circuit, destination = ready
                await self._run(circuit, stream, destination)

    async def _request(self, stream: INetStream) -> HopMessage:
        if is_relayed(stream.muxed_conn):
            raise self._table.refuse(Status.PERMISSION_DENIED, "circuit over circuit")
        with trio.move_on_after(numbers.CIRCUIT_REQUEST_S):
            try:
                return decode_hop(await read_message(stream))
            except (MalformedError, OversizeError):
                raise self._table.refuse(Status.MALFORMED_MESSAGE, "malformed") from None
        raise self._table.refuse(Status.MALFORMED_MESSAGE, "silent")

    async def _prepare(self, stream: INetStream, request: HopMessage) -> tuple[Circuit, INetStream] | None:
        if request.type is HopType.RESERVE:
            await self._reserve(stream)
            return None
        if request.type is not HopType.CONNECT:
            raise self._table.refuse(Status.UNEXPECTED_MESSAGE, "unexpected")
        if request.peer is None:
            raise self._table.refuse(Status.MALFORMED_MESSAGE, "malformed")
        return await self._connect(stream, request.peer)

    async def _reserve(self, stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        if self._limits.reservations and self._locate(peer.to_base58()) is None:
            raise self._table.refuse(Status.PERMISSION_DENIED, "reservation of an unknown peer")
        ends = self._table.reserve(peer.to_bytes(), self._clock.utc_ms() // 1000)
        addrs = tuple(Multiaddr(addr).to_bytes() for addr in self._host.addrs())
        granted = Reservation(ends, addrs[: numbers.CIRCUIT_ADDRS_MAX])
        answer = HopMessage(HopType.STATUS, reservation=granted, limit=self._limits.granted(), status=Status.OK)
        await _send(stream, encode_hop(answer))
        await self._part(stream)

    async def _connect(self, stream: INetStream, wanted: bytes) -> tuple[Circuit, INetStream]:
        source = stream.muxed_conn.peer_id.to_bytes()
        addrs = self._allowed(source, wanted)
        circuit = self._table.admit(source, self._subnet(stream), wanted)
        try:
            return circuit, await self._reach(stream, circuit, addrs)
        except BaseException:
            circuit.close(Ending.FAILED)
            self._table.release(circuit)
            raise

    def _allowed(self, source: bytes, wanted: bytes) -> tuple[str, ...]:
        """Addresses of a destination that circuits may go to."""
        if wanted in (source, self._raw.get_id().to_bytes()):
            raise self._table.refuse(Status.PERMISSION_DENIED, "circuit to itself")
        addrs = self._locate(ID(wanted).to_base58())
        if addrs is not None:
            return addrs
        if self._table.reserved(wanted, self._clock.utc_ms() // 1000):
            return ()
        raise self._table.refuse(Status.NO_RESERVATION, "unknown destination")

    async def _reach(self, stream: INetStream, circuit: Circuit, addrs: tuple[str, ...]) -> INetStream:
        peer = ID(circuit.destination).to_base58()
        try:
            await self._dial(peer, addrs)
            return await self._stop(circuit)
        except (*STREAM_ERRORS, WarmlineError) as error:
            log.debug("destination not reached: %s", type(error).__name__)
            raise self._table.refuse(Status.CONNECTION_FAILED, "destination not reached") from None

    async def _dial(self, peer: str, addrs: tuple[str, ...]) -> None:
        if peer in self._host.peers():
            return
        if self._unreachable.get(peer, 0.0) > trio.current_time():
            raise self._table.refuse(Status.CONNECTION_FAILED, "destination not connected")
        lock = self._dials.setdefault(peer, trio.Lock())
        try:
            with trio.fail_after(numbers.CIRCUIT_DIAL_S):
                async with lock:
                    await self._dial_first(peer, addrs)
        except trio.TooSlowError:
            raise self._table.refuse(Status.CONNECTION_FAILED, "destination too slow") from None
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._dials.pop(peer, None)

    async def _dial_first(self, peer: str, addrs: tuple[str, ...]) -> None:
        direct = [addr for addr in addrs if "/p2p-circuit" not in addr]
        for addr in direct:
            if peer in self._host.peers() or self._unreachable.get(peer, 0.0) > trio.current_time():
                break
            try:
                await self._host.connect(addr)
            except WarmlineError as error:
                log.debug("one address of a destination failed: %s", type(error).__name__)
        if peer not in self._host.peers():
            self._unreachable[peer] = trio.current_time() + numbers.CIRCUIT_REDIAL_S
            raise self._table.refuse(Status.CONNECTION_FAILED, "destination not connected")
        self._unreachable.pop(peer, None)

    async def _stop(self, circuit: Circuit) -> INetStream:
        """Ask the destination; its stream when it agrees."""
        message = StopMessage(StopType.CONNECT, peer=circuit.source, limit=self._limits.granted())
        stream: INetStream | None = None
        try:
            with trio.fail_after(numbers.CIRCUIT_REQUEST_S):
                stream = await self._open_stop(ID(circuit.destination))
                await stream.write(frame(encode_stop(message)))
                answer = decode_stop(await read_message(stream))
            if answer.type is StopType.STATUS and answer.status == Status.OK:
                return stream
        except trio.TooSlowError:
            answer = None
        except BaseException:
            with trio.move_on_after(numbers.CIRCUIT_FAREWELL_S, shield=True):
                await reset(stream)
            raise
        await reset(stream)
        if answer is not None and answer.status == Status.RESOURCE_LIMIT_EXCEEDED:
            raise self._table.refuse(Status.RESOURCE_LIMIT_EXCEEDED, "destination has no room")
        raise self._table.refuse(Status.CONNECTION_FAILED, "destination refused")

    async def _open_stop(self, peer: ID) -> INetStream:
        stream: INetStream = await self._raw.new_stream(peer, [TProtocol(STOP_PROTOCOL)])
        return stream

    def _subnet(self, stream: INetStream) -> str:
        """The source's network, for counting; empty (not limited) on loopback, where a reverse proxy stands."""
        remote = cast(Any, stream.muxed_conn).get_remote_address()
        subnet = self._subnet_of(remote[0] if remote else None)
        return "" if subnet == inbound.LOOPBACK else subnet

    # --- relay: one open circuit

    async def _run(self, circuit: Circuit, client: INetStream, destination: INetStream) -> None:
        try:
            ends_at = self._table.open(circuit, trio.current_time())
            answer = HopMessage(HopType.STATUS, limit=self._limits.granted(), status=Status.OK)
            await _send(client, encode_hop(answer))
            with trio.move_on_at(ends_at) as timer:
                await carry(circuit, client, destination)
            if timer.cancelled_caught:
                circuit.close(Ending.DURATION)
        finally:
            if self._shut:
                circuit.close(Ending.SHUTDOWN)
            with trio.move_on_after(3 * numbers.CIRCUIT_FAREWELL_S, shield=True):
                await end_both(circuit, client, destination, shut=self._shut)
            self._table.release(circuit)

    async def _refuse(self, stream: INetStream, status: Status) -> None:
        await _send(stream, encode_hop(HopMessage(HopType.STATUS, status=status)))
        await self._part(stream)

    async def _part(self, stream: INetStream) -> None:
        await part(stream, 0.0 if self._shut else float(numbers.CIRCUIT_FAREWELL_S))

    # --- destination: STOP

    async def serve_stop(self, stream: INetStream) -> None:
        """One circuit that ends at this node, until it is gone. Never raises what a peer can cause."""
        relay = stream.muxed_conn.peer_id.to_base58()
        with self._scope(), self._contained():
            try:
                await self._accept(stream, relay)
            finally:
                with trio.CancelScope(shield=True):
                    await self._part(stream)

    async def _accept(self, stream: INetStream, relay: str) -> None:
        share = relay if self._locate(relay) is not None else STRANGERS
        if not self._has_room(share):
            await _send(stream, _stop_status(Status.RESOURCE_LIMIT_EXCEEDED))
            return
        self._inbound[share] += 1
        try:
            peer = await self._greet(stream)
            if peer is not None:
                await self._host_circuit(stream, relay, peer)
        finally:
            self._inbound[share] -= 1
            if not self._inbound[share]:
                del self._inbound[share]

    def _has_room(self, share: str) -> bool:
        """Whether one more circuit may come under this name.

        What one name holds must fit into what is free (Choudhury and Hahne, 1998): n greedy ones get 1/(n+1) each, and
        as much stays free for the next. Anybody can pose as a relay, so all without a node record have one name.
        """
        mine, free = self._inbound[share], self._limits.in_total - self._inbound.total()
        return mine < min(self._limits.in_per_relay, free)

    async def _greet(self, stream: INetStream) -> str | None:
        """Answer the relay's CONNECT; the peer id that it announces, to be proved by the handshake."""
        try:
            with trio.fail_after(numbers.CIRCUIT_REQUEST_S):
                message = decode_stop(await read_message(stream))
        except (RemoteError, trio.TooSlowError):
            await _send(stream, _stop_status(Status.MALFORMED_MESSAGE))
            return None
        if message.type is not StopType.CONNECT or message.peer is None or is_relayed(stream.muxed_conn):
            await _send(stream, _stop_status(Status.UNEXPECTED_MESSAGE))
            return None
        await _send(stream, _stop_status(Status.OK))
        return ID(message.peer).to_base58()

    async def _host_circuit(self, stream: INetStream, relay: str, peer: str) -> None:
        connection = await circuits.join(self._raw, stream, initiator=False, relay=relay, peer=peer)
        self._origins[peer] = relay
        try:
            await connection.event_closed.wait()
        finally:
            self._origins.pop(peer, None)
            with trio.CancelScope(shield=True), trio.move_on_after(numbers.CIRCUIT_FAREWELL_S):
                await connection.close()

    # --- shared

    @contextmanager
    def _scope(self) -> Iterator[None]:
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self._shut:
                scope.cancel()
            try:
                yield
            finally:
                self._scopes.discard(scope)

    @contextmanager
    def _contained(self) -> Iterator[None]:
        """What a peer can cause ends its own stream only."""
        try:
            yield
        except (*STREAM_ERRORS, WarmlineError) as error:
            log.debug("a relay stream ended: %s", type(error).__name__)

    @contextmanager
    def _pending(self, source: bytes) -> Iterator[None]:
        self._table.begin(source)
        try:
            yield
        finally:
            self._table.done(source)


async def _send(stream: INetStream, message: bytes) -> None:
    with trio.move_on_after(numbers.CIRCUIT_REQUEST_S):
        await stream.write(frame(message))


def _stop_status(status: Status) -> bytes:
    return encode_stop(StopMessage(StopType.STATUS, status=status))
