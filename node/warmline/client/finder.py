"""Finding groups from one known node: who else is there, who holds the directory, what several of them hold.

The entry is asked for nodes (it sees the address anyway and the question is the same from everybody), then a lookup
in the DHT over circuits names holders beyond those that the entry chose to show. Three holders of different operators
are asked for whole snapshots, each over a circuit and under a key of its own. Only then, on this device, is anything
searched.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from warmline.client.lookup import ClientLookup
from warmline.client.matching import AGREEING, Collection, Holding, Match, Wanted
from warmline.client.routes import Routes, network_of
from warmline.env import Clock, Rng
from warmline.net.addresses import is_global
from warmline.net.host import HostSettings, open_host
from warmline.net.rpc import call
from warmline.net.streams import Channel
from warmline_protocol import limits
from warmline_protocol.errors import MalformedError, RefusedError, RemoteError, UnreachableError, WarmlineError
from warmline_protocol.keys import SigningKey, public_of
from warmline_protocol.records.envelope import OpenedRecord, open_record
from warmline_protocol.records.messages import (
    BODIES,
    INDEX,
    PROTOCOL,
    STANDING,
    Manifest,
    Nodes,
    NodesWanted,
    Part,
    PartWanted,
    Publish,
    Published,
    SnapshotWanted,
    shard_key,
)
from warmline_protocol.records.node import DIRECTORY, NodeAddress, NodeRecord
from warmline_protocol.records.snapshot import (
    bucket_at,
    bucket_count,
    read_bodies,
    read_index,
    read_standing,
)
from warmline_protocol.records.text import printable

log = logging.getLogger("warmline.client")

PURPOSE: Final = "directory"
STANDING_ROW: Final = 4096
"""Bytes that the standing of one supporter may take in a sheet, its head included."""


@dataclass(frozen=True, slots=True)
class FinderSettings:
    """Seconds and counts."""

    holders: int = AGREEING
    call_deadline: float = 20.0
    fetch_deadline: float = 60.0
    lookup_deadline: float = 15.0
    chain_id: int | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """A node that may hold the directory. ``operator`` is a proven wallet, a name, or just the peer; where several
    share a network it is one name for all of them."""

    address: NodeAddress
    operator: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Told as it happens; ``matches`` is everything that fits so far."""

    words: str
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """``failed`` is (operator, why) of holders that did not answer; ``weak`` says what was less private than usual."""

    matches: tuple[Match, ...]
    operators: int
    nodes_known: int
    failed: tuple[tuple[str, str], ...]
    weak: tuple[str, ...]


Tell = Callable[[Progress], None]


def _silent(progress: Progress) -> None:
    pass


class Finder:
    """One person's view of the network, from the entries in ``routes``."""

    def __init__(self, routes: Routes, *, rng: Rng, clock: Clock, settings: FinderSettings | None = None) -> None:
        self._routes = routes
        self._rng = rng
        self._clock = clock
        self._settings = settings or FinderSettings()
        self._nodes: dict[str, NodeRecord] = {}
        self._weak: set[str] = set()

    async def find(self, wanted: Wanted, tell: Tell = _silent) -> Findings:
        """Ask, unite, search. UnreachableError where not one holder answered."""
        collection, failed = await self.collect(wanted, tell)
        matches = tuple(collection.matches(wanted, self._clock.utc_ms()))
        return Findings(matches, collection.operators(), len(self._nodes), tuple(failed), tuple(sorted(self._weak)))

    async def collect(self, wanted: Wanted, tell: Tell = _silent) -> tuple[Collection, list[tuple[str, str]]]:
        """Everything that enough holders hold, with who failed and why."""
        collection = Collection(self._settings.chain_id)
        failed: list[tuple[str, str]] = []
        waiting = await self.holders(tell)
        while waiting and collection.operators() < self._settings.holders:
            missing = self._settings.holders - collection.operators()
            now, waiting = waiting[:missing], waiting[missing:]
            async with trio.open_nursery() as nursery:
                for holder in now:
                    nursery.start_soon(self._ask, holder, collection, failed, wanted, tell)
        if not collection.holdings:
            raise UnreachableError(
                "no node that holds the directory could be reached",
                hint="Tried: " + "; ".join(f"{who}: {why}" for who, why in failed) + ". Add another entry."
                if failed
                else "Add the address of another node to the entries.",
            )
        return collection, failed

    async def holders(self, tell: Tell = _silent, *, search: bool = True) -> list[Holder]:
        """Holders in the order to ask: one of each operator first, the rest after, the entry itself last.

        ``search`` asks the DHT too, so that the entry alone does not decide whom this client hears.
        """
        await self.meet_nodes()
        tell(Progress(f"{len(self._nodes)} nodes known"))
        known = [record for record in self._nodes.values() if DIRECTORY in record.offers]
        found = {record.peer_id: Holder(record.address, operator_of(record)) for record in known}
        for address in await self._providers() if search else []:
            found.setdefault(address.peer_id, Holder(address, f"node {address.peer_id[-8:]}"))
        ordered = one_voice_a_network([found[peer] for peer in sorted(found)])
        self._rng.shuffle(ordered)
        return _diverse(ordered, last=self._entry_ids())

    async def meet_nodes(self) -> tuple[NodeRecord, ...]:
        """Node records from the first entry that answers; they also teach the routes who runs what."""
        errors: list[str] = []
        for entry in self._routes.entries:
            try:
                async with self._directly(entry) as channel:
                    question = NodesWanted((), limits.DIRECTORY_NODES_MAX)
                    answer = await call(channel, question, (Nodes,), deadline=self._settings.call_deadline)
                    self._learn(answer)
                    return tuple(self._nodes.values())
            except WarmlineError as error:
                errors.append(str(error))
        raise UnreachableError(
            "none of the entries answers: " + "; ".join(errors),
            hint="Check that you are online and that the entries' addresses are right.",
        )

    async def publish(self, records: Sequence[bytes]) -> tuple[Published, ...]:
        """Hand signed records to a directory node over a circuit; the verdicts in order.

        Where a node fails half way, the next one gets the rest. A refused record is an answer, not an error.
        """
        answers: list[Published] = []
        errors: list[str] = []
        for holder in await self.holders(search=False):
            try:
                async with self._channel(holder) as channel:
                    for data in records[len(answers) :]:
                        question = Publish(data)
                        answer = await call(channel, question, (Published,), deadline=self._settings.call_deadline)
                        answers.append(replace(answer, reason=printable(answer.reason), hint=printable(answer.hint)))
                    return tuple(answers)
            except WarmlineError as error:
                errors.append(f"{holder.operator}: {error}")
        raise UnreachableError(
            f"no node took record {len(answers) + 1} of {len(records)}: " + "; ".join(errors),
            hint="Publish again in a minute; what was taken already is only renewed.",
        )

    # --- asking --------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        holder: Holder,
        collection: Collection,
        failed: list[tuple[str, str]],
        wanted: Wanted,
        tell: Tell,
    ) -> None:
        why = f"nothing within {self._settings.fetch_deadline:g} s"
        with trio.move_on_after(self._settings.fetch_deadline):
            try:
                holding = await self.fetch(holder, collection)
            except WarmlineError as error:
                why = str(error)
            else:
                collection.add(holding)
                matches = tuple(collection.matches(wanted, self._clock.utc_ms()))
                tell(Progress(f"{holder.operator}: {len(holding.records)} records", matches))
                return
        failed.append((holder.operator, why))
        tell(Progress(f"{holder.operator}: {why}"))

    async def fetch(self, holder: Holder, collection: Collection | None = None) -> Holding:
        """The whole snapshot of one holder, every record verified; bodies that are known already are not fetched."""
        async with self._channel(holder) as channel:
            try:
                return await self._snapshot(channel, holder, collection or Collection())
            except RefusedError as error:
                if error.code != "gone":
                    raise
                return await self._snapshot(channel, holder, collection or Collection())

    async def _snapshot(self, channel: Channel, holder: Holder, collection: Collection) -> Holding:
        deadline = self._settings.call_deadline
        manifest = await call(channel, SnapshotWanted(0), (Manifest,), deadline=deadline)
        _check_sizes(manifest)
        rows = read_index(await self._section(channel, manifest, INDEX, 0, manifest.index_size))
        if len(rows) != manifest.records:
            raise MalformedError("an index with another number of rows than it said")
        sheet = await self._section(channel, manifest, STANDING, 0, manifest.standing_size)
        standing = read_standing(sheet, public_of(holder.address.peer_id))
        held = {record.digest[:8]: record for one in collection.holdings for record in one.records}
        records = [held[row.print] for row in rows if row.print in held]
        needed = {bucket_at(position, len(rows)) for position, row in enumerate(rows) if row.print not in held}
        for bucket, size in enumerate(manifest.bucket_sizes):
            if bucket in needed:
                data = await self._section(channel, manifest, BODIES, bucket, size)
                records += [record for body in read_bodies(data) if (record := _opened(body))]
                await trio.lowlevel.checkpoint()
        return Holding(holder.address.peer_id, holder.operator, tuple(records), standing)

    async def _section(self, channel: Channel, manifest: Manifest, section: str, bucket: int, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            question = PartWanted(manifest.id, section, bucket, len(data))
            part = await call(channel, question, (Part,), deadline=self._settings.call_deadline)
            if not part.data or len(data) + len(part.data) > size:
                raise MalformedError(f"a {section} section of another size than it said")
            data += part.data
        return bytes(data)

    async def _providers(self) -> list[NodeAddress]:
        """Holders that the DHT names; none where the lookup fails, since known nodes may do."""
        seeds = [record.address for record in self._nodes.values()]
        lookup = ClientLookup(
            self._routes,
            seeds,
            rng=self._rng,
            clock=self._clock,
            query_seconds=self._settings.lookup_deadline / 2,
            lookup_seconds=self._settings.lookup_deadline,
        )
        try:
            contacts = await lookup.providers(shard_key(), enough=2 * self._settings.holders)
        except WarmlineError as error:
            log.info("no holders from the DHT: %s", error)
            return []
        return [address for contact in contacts if (address := _address(contact.peer_id, contact.addrs))]

    # --- channels ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _channel(self, holder: Holder) -> AsyncIterator[Channel]:
        """Over a circuit; directly where the holder is the only entry, so that no circuit can lead there."""
        peer = holder.address.peer_id
        only = self._entry_ids() == {peer}
        if only:
            self._weak.add("your only entry also served the directory: it saw your address, not what you search")
            async with self._directly(self._routes.entries[0]) as channel:
                yield channel
            return
        async with self._routes.path(PURPOSE, holder.address) as path:
            if path.weakness:
                self._weak.add(path.weakness)
            async with await path.open_channel(
                PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX, deadline=self._settings.call_deadline
            ) as channel:
                yield channel

    @asynccontextmanager
    async def _directly(self, entry: str) -> AsyncIterator[Channel]:
        key = SigningKey(self._rng.bytes(32))
        async with open_host(HostSettings(private=True), key=key, rng=self._rng, clock=self._clock) as host:
            peer = await host.connect(entry, deadline=limits.ENTRY_CONNECT_S)
            async with await host.open_channel(
                peer, PROTOCOL, max_frame=limits.DIRECTORY_FRAME_MAX, deadline=self._settings.call_deadline
            ) as channel:
                yield channel

    def _entry_ids(self) -> set[str]:
        return {entry.rpartition("/p2p/")[2] for entry in self._routes.entries}

    def _learn(self, answer: Nodes) -> None:
        now = self._clock.utc_ms()
        for data in answer.records:
            record = open_record(data)
            if isinstance(record.body, NodeRecord) and record.expires > now:
                held = self._nodes.get(record.body.peer_id)
                if held is None or record.body.seq > held.seq:
                    self._nodes[record.body.peer_id] = record.body


def operator_of(record: NodeRecord) -> str:
    """Who runs a node: a wallet that proved it, else the name given."""
    return "0x" + record.wallet.hex() if record.wallet else record.operator


def one_voice_a_network(holders: Sequence[Holder]) -> list[Holder]:
    """The same holders, those that share a network under one operator's name.

    Keys and operators' names are free, addresses on the open network are not: otherwise one machine with twenty names
    would outvote everybody else, and be all that a search ever hears.
    """
    groups: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := groups.setdefault(name, name)) != name:
            name = above
        return name

    for holder in holders:
        for network in sorted(networks_of(holder.address)):
            low, high = sorted((root(f"operator {holder.operator}"), root(f"network {network}")))
            groups[low] = high
    names: dict[str, str] = {}
    for holder in sorted(holders, key=lambda each: each.operator):
        names.setdefault(root(f"operator {holder.operator}"), holder.operator)
    return [replace(holder, operator=names[root(f"operator {holder.operator}")]) for holder in holders]


def networks_of(address: NodeAddress) -> set[str]:
    """The open networks (/16, /32 of IPv6) and the domains that a node's addresses are in; none for private ones."""
    found = set()
    for addr in address.addrs:
        if not is_global(addr):
            continue
        domain = ".".join(addr.split("/")[2].lower().rstrip(".").split(".")[-2:])
        found.add(network_of(addr) or domain)
    return found


def _diverse(holders: list[Holder], *, last: set[str]) -> list[Holder]:
    """One holder of each operator first, then the others; entries only where nobody else is left."""
    holders = sorted(holders, key=lambda holder: holder.address.peer_id in last)
    seen: set[str] = set()
    first: list[Holder] = []
    rest: list[Holder] = []
    for holder in holders:
        (rest if holder.operator in seen else first).append(holder)
        seen.add(holder.operator)
    return first + rest


def _check_sizes(manifest: Manifest) -> None:
    """A holder may not announce more than a snapshot of so many records can have: the sizes cost memory and time."""
    count = manifest.records
    if len(manifest.bucket_sizes) != bucket_count(count):
        raise MalformedError("a snapshot with another number of buckets than its records need")
    if sum(manifest.bucket_sizes) > limits.SNAPSHOT_BODIES_MAX or manifest.standing_size > (count + 1) * STANDING_ROW:
        raise MalformedError("a snapshot that is larger than its records can be")


def _opened(data: bytes) -> OpenedRecord | None:
    """The record, or None for one that is broken: the rest of the bucket may be sound."""
    try:
        return open_record(data)
    except RemoteError:
        return None


def _address(peer_id: str, addrs: tuple[str, ...]) -> NodeAddress | None:
    try:
        return NodeAddress(peer_id, addrs[:8]) if addrs else None
    except WarmlineError:
        return None
