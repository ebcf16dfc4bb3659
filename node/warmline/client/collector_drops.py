"""A collector's drops: opened for epochs to come, read when their slots have passed.

A drop is a door that shows its cells from its slot's beginning on; one for each slot, under the same key at two nodes
of different operators. Keys follow from the device's key, so that nothing has to be kept but where the drops are.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import trio
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from warmline.client.queues import Cursor, QueueClient
from warmline.client.session_client import Client
from warmline.scopes import sole_error
from warmline_protocol import limits
from warmline_protocol.errors import RefusedError, UnreachableError, WarmlineError
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.keys import SigningKey
from warmline_protocol.queue.auth import queue_id
from warmline_protocol.queue.messages import DOOR
from warmline_protocol.records.collector import RELEASES, Drops
from warmline_protocol.records.node import NodeAddress

log = logging.getLogger("warmline.client")

NODES: Final = 2
NODE_S: Final = 600.0
"""Seconds for everything at one node."""
Take = Callable[[Sequence[bytes]], Awaitable[None]]
"""Called with cells of a drop; when it returns, they are safe."""


def secret_of(key: SigningKey, what: str) -> bytes:
    """32 bytes that follow from the device key (HKDF-SHA256, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"warmline collector\0" + what.encode()).derive(key.seed)


def drop_key(key: SigningKey, epoch: int, slot: int) -> SigningKey:
    """The owner key of one drop."""
    return SigningKey(secret_of(key, f"drop {epoch} {slot}"))


def drops_at(key: SigningKey, epoch: int, nodes: tuple[NodeAddress, ...]) -> Drops:
    """What the record says of an epoch's drops."""
    return Drops(epoch, nodes, tuple(queue_id(drop_key(key, epoch, slot).public) for slot in range(RELEASES)))


async def open_drops(client: Client, key: SigningKey, epochs: Epochs, epoch: int) -> tuple[NodeAddress, ...]:
    """All drops of an epoch at two nodes of different operators, at one where there is no second.

    May be asked again after a failure: what is there already stays. UnreachableError where no node took them.
    """
    found: list[NodeAddress] = []
    met: set[str] = set()
    problems: list[str] = []
    for again in (False, True):  # the same operator twice only where there is no other
        for node in client.pick_nodes():
            if len(found) == NODES or node.address in found or ((node.operator in met) and not again):
                continue
            try:
                await _open_at(client, key, epochs, epoch, node.address)
            except WarmlineError as error:
                problems.append(str(error))
            else:
                found.append(node.address)
                met.add(node.operator)
    if not found:
        raise UnreachableError("no node took the drops: " + "; ".join(problems), hint="It is tried again in a while.")
    return tuple(found)


async def _open_at(client: Client, key: SigningKey, epochs: Epochs, epoch: int, node: NodeAddress) -> None:
    length_ms = epochs.length_s * 1000
    life = _within(4 * length_ms, limits.QUEUE_LIFE_MIN_MS, limits.QUEUE_LIFE_MAX_MS)
    ttl = _within(3 * length_ms, limits.CELL_TTL_MIN_MS, limits.CELL_TTL_MAX_MS)

    async def each(queues: QueueClient) -> None:
        for slot in range(RELEASES):
            await queues.create(
                drop_key(key, epoch, slot),
                DOOR,
                cap=limits.FEEDBACK_DROP_CAP,
                cell_ttl_ms=ttl,
                life_ms=life,
                release_at=epochs.slot(epoch, slot) * 1000,
            )

    await _at(client, node, each)


async def read_drops(client: Client, key: SigningKey, drops: Drops, slots: Iterable[int], take: Take) -> bool:
    """Hand over what is in the drops of these slots at both nodes; whether everything could be read.

    Cells are removed from a node only after ``take`` has them.
    """
    wanted, complete = list(slots), True
    for node in drops.nodes:

        async def each(queues: QueueClient) -> None:
            for slot in wanted:
                await _read_drop(queues, drop_key(key, drops.epoch, slot), take)

        try:
            await _at(client, node, each)
        except WarmlineError as error:
            log.info("drops could not be read: %s", error)
            complete = False
    return complete


async def remove_drops(client: Client, key: SigningKey, drops: Drops) -> None:
    """Give their space back, where a node can be reached; elsewhere they expire."""

    async def each(queues: QueueClient) -> None:
        for slot in range(RELEASES):
            owner = drop_key(key, drops.epoch, slot)
            try:
                await queues.remove(queue_id(owner.public), owner)
            except RefusedError as error:
                if error.code != "unknown":
                    raise

    for node in drops.nodes:
        try:
            await _at(client, node, each)
        except WarmlineError as error:
            log.info("drops are left to expire: %s", error)


async def _read_drop(queues: QueueClient, owner: SigningKey, take: Take) -> None:
    queue = queue_id(owner.public)
    while True:
        try:
            found = await queues.read(queue, owner=owner)
        except RefusedError as error:
            if error.code == "unknown":  # over, or the node was set up anew
                return
            raise
        if not found.cells:
            return
        await take(found.cells)
        await queues.ack(queue, owner, Cursor(found.incarnation, found.first + len(found.cells) - 1))


async def _at(client: Client, node: NodeAddress, work: Callable[[QueueClient], Awaitable[None]]) -> None:
    try:
        with trio.fail_after(NODE_S), sole_error():
            async with client.paths.path("drop", node) as path, client.queues_over(path) as queues:
                await work(queues)
    except trio.TooSlowError:
        raise UnreachableError("a node with drops is too slow") from None


def _within(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
