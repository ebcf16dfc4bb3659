"""The machine's clock and randomness, taken out of the libraries, so that a run repeats to the byte.

Call :func:`install` before ``libp2p`` is imported (dataclasses capture ``time.time`` as a default) and
:func:`seed_everything` in each run. ``PYTHONHASHSEED=0`` must be set before Python starts: the order of sets of peer
ids depends on it.
"""

from __future__ import annotations

import datetime
import functools
import gc
import hashlib
import itertools
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, MutableSet
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import trio._core._run as trio_run
from trio.testing import MockClock

EPOCH = 1_800_000_000.0
"""Unix time at the start of every run; the same as ``warmline.env.TrioClock``'s."""
_UPTIME = 10_000.0
_source = random.Random()


def install() -> None:
    """Let ``time``, in this process, tell virtual time inside a run with a mock clock."""
    for name, base, as_ns in (
        ("time", EPOCH, False),
        ("time_ns", EPOCH, True),
        ("monotonic", _UPTIME, False),
        ("monotonic_ns", _UPTIME, True),
    ):
        setattr(time, name, _virtual(getattr(time, name), base, as_ns))


def _virtual(real: Callable[[], Any], base: float, as_ns: bool) -> Callable[[], Any]:
    def told() -> Any:
        now = _now()
        if now is None:
            return real()
        return int((base + now) * 1e9) if as_ns else base + now

    return told


def _now() -> float | None:
    runner = getattr(trio_run.GLOBAL_RUN_CONTEXT, "runner", None)
    if runner is None or type(runner.clock) is not MockClock:
        return None
    return float(runner.clock._virtual_base)


class _VirtualDate(datetime.datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.fromtimestamp(time.time(), tz)


def seed_everything(seed: str | int) -> None:
    """Everything that draws random numbers in this process draws them from ``seed`` from now on."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio_run._r.seed(str(seed))
    random.seed(str(seed))
    _source.seed(f"secrets/{seed}")
    _replace_in_libraries()


def _replace_in_libraries() -> None:
    from libp2p.host import basic_host, ping
    from libp2p.kad_dht import common, routing_table
    from libp2p.network import swarm
    from libp2p.tools.anyio_service import tasks, trio_tasks

    numbers = itertools.count(1)
    counted = SimpleNamespace(uuid4=lambda: uuid.UUID(int=next(numbers)), UUID=uuid.UUID)
    drawn = SimpleNamespace(
        token_bytes=_source.randbytes,
        randbelow=_source.randrange,
        SystemRandom=lambda: _source,
        token_hex=lambda size: _source.randbytes(size).hex(),
    )
    for module, name, value in (
        (tasks, "uuid", counted),
        (trio_tasks, "uuid", counted),
        (ping, "secrets", drawn),
        (routing_table, "secrets", drawn),
        (common, "datetime", _VirtualDate),
        (basic_host, "datetime", _VirtualDate),
    ):
        if hasattr(module, name):
            setattr(module, name, value)
    _set(swarm, "id", _creation_order())
    _keep_order()


class InOrder(MutableSet[Any]):
    """A set that iterates in order of adding: those of connections and streams go by where these lie in memory."""

    def __init__(self, things: Iterable[Any] = ()) -> None:
        self._things = dict.fromkeys(things)

    def __contains__(self, thing: object) -> bool:
        return thing in self._things

    def __iter__(self) -> Iterator[Any]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def add(self, value: Any) -> None:
        self._things[value] = None

    def discard(self, value: Any) -> None:
        self._things.pop(value, None)

    def copy(self) -> InOrder:
        return InOrder(self._things)


def _keep_order() -> None:
    from libp2p.host.basic_host import BasicHost
    from libp2p.network.connection.swarm_connection import SwarmConn

    from warmline.net.gossip_pubsub import SafePubsub

    for owner, name in ((SwarmConn, "streams"), (BasicHost, "_identify_tasks"), (SafePubsub, "_inbound")):
        if not hasattr(owner.__init__, "ordered"):
            _set(owner, "__init__", _with_order(owner.__init__, name))


def _with_order(construct: Callable[..., None], name: str) -> Callable[..., None]:
    def ordered(self: Any, *args: Any, **options: Any) -> None:
        construct(self, *args, **options)
        setattr(self, name, InOrder(getattr(self, name)))

    ordered.ordered = True  # type: ignore[attr-defined]
    return ordered


def _set(module: Any, name: str, value: object) -> None:
    setattr(module, name, value)


def _creation_order() -> Callable[[object], int]:
    """In place of ``id`` as a tie-break between connections: the order of first asking."""

    def order(thing: Any) -> int:
        muxed = getattr(thing, "muxed_conn", thing)
        number = getattr(muxed, "number", None)
        return number if isinstance(number, int) else id(thing)

    return order


def compute_once() -> None:
    """Remember, for all nodes of the process, what pure functions answered.

    A thousand nodes verify, summarise and spell the same bytes; the answers are the same and only CPU time is saved,
    of which virtual time knows nothing.
    """
    import base58
    from multiaddr import Multiaddr, multiaddr

    from warmline.services import directory_index

    _set(directory_index, "summarise", _by_digest(directory_index.summarise))
    for module, name in ((base58, "b58decode"), (multiaddr, "bytes_to_string")):
        _set(module, name, functools.lru_cache(65_536)(getattr(module, name)))
    _set(Multiaddr, "_from_string", _parsed_once(Multiaddr._from_string))
    # A clock that only jumps: everything reads it all the time.
    _set(MockClock, "current_time", lambda clock: clock._virtual_base)
    _verify_once()


def _parsed_once(parse: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    known: dict[str, bytes] = {}

    def parse_once(made: Any, text: str) -> None:
        if text not in known:
            parse(made, text)
            known[text] = made._bytes
        made._bytes = known[text]

    return parse_once


def _by_digest(summarise: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    known: dict[bytes, bytes] = {}

    def remembered(record: Any) -> bytes:
        if record.digest not in known:
            known[record.digest] = summarise(record)
        return known[record.digest]

    return remembered


def _verify_once() -> None:
    from warmline.net import gossip_pubsub
    from warmline.services import directory_judge

    inner_open = directory_judge.open_record
    opened: dict[bytes, Any] = {}

    def open_record(data: bytes) -> Any:
        key = hashlib.sha256(data).digest()
        if key not in opened:
            try:
                opened[key] = inner_open(data)
            except Exception as error:  # noqa: BLE001 - kept as the answer, whatever it is, and raised each time
                opened[key] = error
        answer = opened[key]
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)
        return answer

    inner_holds = gossip_pubsub.signature_holds
    held: dict[bytes, bool] = {}

    def signature_holds(message: Any) -> bool:
        key = hashlib.sha256(message.SerializeToString(deterministic=True)).digest()
        if key not in held:
            held[key] = inner_holds(message)
        return held[key]

    _set(directory_judge, "open_record", open_record)
    _set(gossip_pubsub, "signature_holds", signature_holds)


def fewer_collections() -> None:
    """Nodes are built once and live long: the collector need not look at them each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


class _NoDht:
    """In place of ``warmline.net.dht.Dht`` where a scenario is about gossip and sync alone."""

    async def put(self, key: str, value: bytes) -> int:
        return 0

    async def provide(self, content: bytes) -> int:
        return 0

    def drop(self, key: str) -> None:
        return

    def statistics(self) -> dict[str, int]:
        return {}


@contextmanager
def without_dht() -> Iterator[None]:
    """Nodes built inside the block neither ask nor serve the DHT."""
    from warmline.daemon import node

    @asynccontextmanager
    async def nothing(*args: object, **options: object) -> AsyncIterator[_NoDht]:
        yield _NoDht()

    real = node.open_dht
    _set(node, "open_dht", nothing)
    try:
        yield
    finally:
        _set(node, "open_dht", real)
