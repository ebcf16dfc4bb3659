"""The answering half of the DHT: the library's kad handler and routing table around bounded stores of ours.

What the stock ``KadDHT`` does to a node, and what is done about it here:

* twelve idle streams stop it from answering anybody: streams are counted per peer and end after ``STREAM_SECONDS``;
* every peer that asks enters the routing table, throw-away ids of seekers too, after a ping without a deadline:
  peers enter it only from :mod:`warmline.net.dht`, once identify has said that they serve kad;
* FIND_NODE tells the addresses of any peer in the peerstore to whoever asks: only peers of the routing table are told;
* a value that is put again is refused as "existing is better": an equal one renews itself;
* providers of any key are kept without bound, the first twenty of each: keys are 32-byte content hashes, their number
  is bounded, and a full list replaces a random entry, so that neither the first nor the loudest owns it;
* values live 24 h after each contact whatever they say, up to 1 MiB each, 50,000 of them: they live as long as the
  validator takes them, and where there are too many those furthest from us go.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import trio
from libp2p.abc import IHost, INetStream
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.pb.kademlia_pb2 import Message, Record
from libp2p.kad_dht.provider_store import ProviderStore
from libp2p.kad_dht.routing_table import RoutingTable
from libp2p.kad_dht.value_store import ValueStore
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.records.validator import NamespacedValidator, Validator

from warmline.env import Rng
from warmline_protocol import limits
from warmline_protocol.kad import position

STREAM_SECONDS = 30.0
"""How long one inbound kad stream may stay open."""
STREAMS = 128
STREAMS_PER_PEER = 8
SWEEP = 512
"""Values that one sweep looks at."""
CONTENT_SIZE = 32
"""Bytes of a content key (a SHA-256)."""

Validate = Callable[[str, bytes], None]
"""(key, value): raises for what must not be stored or believed, an expired record too."""
Select = Callable[[str, Sequence[bytes]], int]
"""(key, values) -> index of the best, which for signed records is the highest seq."""

log = logging.getLogger("warmline.net")


class InjectedValidator(Validator):
    """Our validators behind the library's interface."""

    def __init__(self, validate: Validate, select: Select) -> None:
        self._validate = validate
        self._select = select

    def validate(self, key: str, value: bytes) -> None:
        if len(value) > limits.KAD_VALUE_MAX:
            raise ValueError("a value above the limit")
        self._validate(key, value)

    def select(self, key: str, values: list[bytes]) -> int:
        # The one caller compares [ours, theirs]; an equal value must win, or a republished record is refused.
        return len(values) - 1 if len(set(values)) == 1 else self._select(key, values)


class BoundedValues(ValueStore):
    """Values by key, bounded in number and bytes; the nearest to us stay."""

    def __init__(self, host: IHost, *, most: int, most_bytes: int) -> None:
        super().__init__(host=host, local_peer_id=host.get_id())
        self._most = most
        self._most_bytes = most_bytes
        self._own = position(host.get_id().to_bytes())
        # Kept beside the values: a full store must not hash and add up thousands of them for every put.
        self._distances: dict[bytes, int] = {}
        self._size = 0
        self._unchecked: list[bytes] = []

    def put_record(self, key: bytes, record: Record) -> None:
        self.remove(key)
        self.store[key] = (record, 0.0)
        self._distances[key] = position(key) ^ self._own
        self._size += len(record.value)
        while len(self.store) > self._most or self._size > self._most_bytes:
            self.remove(max(self._distances, key=self._distances.__getitem__))
        if key not in self.store:
            raise ValueError("this node is full of nearer values")

    def keep(self, key: bytes, value: bytes) -> None:
        """Store our own or a fetched value, where there is room."""
        with suppress(ValueError):
            self.put_record(key, Record(key=key, value=value))

    def get(self, key: bytes) -> Record | None:
        held = self.store.get(key)
        return held[0] if held else None

    def remove(self, key: bytes) -> bool:
        held = self.store.pop(key, None)
        if held is None:
            return False
        del self._distances[key]
        self._size -= len(held[0].value)
        return True

    def bytes(self) -> int:
        """Size of all values."""
        return self._size

    async def sweep(self, validate: Validate) -> int:
        """Look at the next ``SWEEP`` values and drop those that are not valid any more; how many.

        Validating one costs two signature checks, so a full store takes several rounds, and others have their turn.
        """
        if not self._unchecked:
            self._unchecked = list(self.store)
        now, self._unchecked = self._unchecked[:SWEEP], self._unchecked[SWEEP:]
        gone = 0
        for key in now:
            await trio.lowlevel.checkpoint()
            held = self.get(key)
            if held is not None and not _still(validate, key, held.value):
                gone += self.remove(key)
        return gone


def _still(validate: Validate, key: bytes, value: bytes) -> bool:
    try:
        validate(key.decode(), value)
    except Exception:  # noqa: BLE001 - whatever a validator raises, its meaning is no
        return False
    return True


class BoundedProviders(ProviderStore):
    """Who claims to hold which content, each for ``seconds`` after it last said so."""

    def __init__(self, host: IHost, rng: Rng, *, most_keys: int, per_key: int, seconds: float) -> None:
        super().__init__(host)
        self._rng = rng
        self._most_keys = most_keys
        self._per_key = per_key
        self._seconds = seconds
        self._claims: dict[bytes, dict[ID, tuple[PeerInfo, float]]] = {}

    def add_provider(self, key: bytes, provider: PeerInfo) -> None:
        if len(key) != CONTENT_SIZE:
            return
        if key not in self._claims:
            self.cleanup_expired()
            if len(self._claims) >= self._most_keys:
                return
        claims = self._claims.setdefault(key, {})
        if len(claims) >= self._per_key and provider.peer_id not in claims:
            del claims[self._rng.choice(list(claims))]
        bounded = PeerInfo(provider.peer_id, provider.addrs[:8])
        claims[provider.peer_id] = (bounded, trio.current_time() + self._seconds)

    def get_providers(self, key: bytes) -> list[PeerInfo]:
        now = trio.current_time()
        return [info for info, until in self._claims.get(key, {}).values() if until > now]

    def forget(self, key: bytes, peer: ID) -> None:
        """Drop one claim."""
        claims = self._claims.get(key, {})
        claims.pop(peer, None)
        if not claims:
            self._claims.pop(key, None)

    def cleanup_expired(self) -> None:
        now = trio.current_time()
        for key, claims in list(self._claims.items()):
            for peer in [peer for peer, (_, until) in claims.items() if until <= now]:
                self.forget(key, peer)

    def size(self) -> int:
        return len(self._claims)


class SafeKadDHT(KadDHT):
    """The library's server handler with our stores; its own timers and lookups are never started."""

    value_store: BoundedValues
    provider_store: BoundedProviders

    def __init__(
        self,
        host: IHost,
        namespace: str,
        validator: Validator,
        values: BoundedValues,
        providers: BoundedProviders,
        table: RoutingTable,
    ) -> None:
        super().__init__(
            host,
            DHTMode.SERVER,
            validator=NamespacedValidator({namespace: validator}, strict_validation=True),
            validator_changed=True,
            strict_validation=True,
        )
        self.value_store = values
        self.provider_store = providers
        self.routing_table = table
        self.peer_routing.routing_table = table
        self._streams: Counter[ID] = Counter()

    async def handle_stream(self, stream: INetStream) -> None:
        peer = cast(Any, stream.muxed_conn).peer_id
        if self._streams.total() >= STREAMS or self._streams[peer] >= STREAMS_PER_PEER:
            await reset(stream)
            return
        self._streams[peer] += 1
        try:
            with trio.move_on_after(STREAM_SECONDS) as scope:
                await self._do_handle_stream(stream)
            if scope.cancelled_caught:
                await reset(stream)
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]

    async def add_peer(self, peer_id: ID, *, skip_server_mode_check: bool = False) -> bool:
        return False  # asking is no proof of serving; see warmline.net.dht

    def _add_closer_peers_to_response(
        self, response: Message, closest_peers: Sequence[ID], exclude_peer_id: ID | None = None
    ) -> None:
        told = [peer for peer in closest_peers if self.routing_table.peer_in_table(peer)]
        super()._add_closer_peers_to_response(response, told[: limits.KAD_K], exclude_peer_id)


async def reset(stream: INetStream) -> None:
    """End a stream at once, never raising."""
    try:
        with trio.move_on_after(2):
            await stream.reset()
    except Exception as error:  # noqa: BLE001 - it is broken already
        log.debug("resetting a kad stream: %s", type(error).__name__)
