"""Follow the contracts' events: the Trio driver around `reorg.Window`.

Each poll asks for the newest block and for the one at our tip in one request. If the tip's hash differs, the chain
was reorganised: spans are dropped until one is still there. Then the missing blocks are fetched, many at a time while
they are final anyway and singly near the head, where logs are asked for *by block hash* so that a reorganisation
between two requests cannot mix two chains. Each step is saved before it is acted on.

An endpoint that lags (a replica behind a balancer) is not a reorganisation: as long as it agrees with us at its own
head, nothing is dropped. A poll that fails changes nothing either: standing keeps the time of its last block, and
those who judge it turn *verified* into *unverified* by that time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio
from eth_hash.auto import keccak

from warmline.chain import checkpoint
from warmline.chain.endpoints import Source
from warmline.chain.errors import RpcError, RpcGarbageError, WrongChainError
from warmline.chain.events import decode_log, topics, unhex
from warmline.chain.manifest import Manifest
from warmline.chain.reorg import DisconnectedError, FinalityBrokenError, Ref, Span, Window
from warmline.chain.spans import Width
from warmline.store.store import Store
from warmline_protocol.errors import WarmlineError
from warmline_protocol.records.standing_events import Event
from warmline_protocol.records.standing_ledger import Ledger, PendingView

log = logging.getLogger(__name__)

FEEDBACK = "ConductEpochs"
SINGLES = 16
"""Blocks fetched one by one in a request."""
READING = b"2"
"""Which events are read. Raised with every event that is added: a store that was filled without it is read anew."""
BACKOFF_MAX_S = 30.0
DISCONNECTED_MAX = 5
"""Polls in a row that may find the chain moving before that is a problem worth reporting."""


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """`confirmations`: a block is final once that many blocks, itself included, are on it; None: the chain's own
    `finalized` tag."""

    confirmations: int | None
    poll_s: float


@dataclass(slots=True)
class Progress:
    """Read by `Chain.status`. `problem` is why the last poll failed; `epochs` are genesis and length of feedback's
    epochs in seconds, which a contract never changes."""

    tip: Ref | None = None
    chain_head: int = 0
    contacted_s: float | None = None
    epochs: tuple[int, int] | None = None
    problem: WarmlineError | None = None
    reorgs: int = 0
    restarts: int = 0


class Follower:
    """One source, one manifest. `on_change` is called after each step that moved the tip."""

    def __init__(
        self, source: Source, manifest: Manifest, store: Store, settings: FollowSettings, on_change: Callable[[], None]
    ) -> None:
        self.view = PendingView(Ledger())
        self.progress = Progress()
        self._source = source
        self.manifest = manifest
        self._store = store
        self._settings = settings
        self._on_change = on_change
        self._names = manifest.names()
        self._filter = {"address": ["0x" + address.hex() for address in sorted(self._names)], "topics": [topics()]}
        self._identity = b""
        self._window: Window | None = None
        self._width = Width()
        self._disconnected = 0

    async def run(self) -> None:
        """Poll for ever. What the endpoint or the disk does wrong is reported in `progress`, never raised."""
        failures = 0
        while True:
            try:
                await self.poll()
                failures = 0
            except WarmlineError as error:
                failures += 1
                self._report(error)
            await trio.sleep(min(self._settings.poll_s * 2 ** min(failures, 6), BACKOFF_MAX_S))

    async def resume(self) -> None:
        """Take up what the store holds, before the endpoint is ever asked; without it `poll` starts afresh."""
        saved = await self._store.read(lambda conn: checkpoint.newest(conn, self._manifest_id()))
        if saved is not None:
            identity, content = saved
            self._identity = identity
            self._adopt(Window(content.base, content.window), content.final)

    async def poll(self) -> None:
        """Follow up to the present head. Raises WarmlineError."""
        window = self._window if self.progress.problem is None else None
        if window is None:
            window = await self._connect()
        if self.progress.epochs is None:
            self.progress.epochs = await self._read_epochs()
        try:
            await self._follow(window)
            self._disconnected = 0
        except FinalityBrokenError as error:
            log.warning("%s; reading the chain again from block %d", error, self.manifest.start_block)
            self.progress.restarts += 1
            await self._restart()
        except DisconnectedError:
            # The chain moved under our feet: the next poll sees the new one, unless the endpoint contradicts itself.
            self._disconnected += 1
            if self._disconnected > DISCONNECTED_MAX:
                raise
            return
        self.progress.contacted_s = trio.current_time()
        if self.progress.problem is not None:
            log.info("the chain endpoint %s answers again", self._source.where)
            self.progress.problem = None

    # -- connecting

    def _manifest_id(self) -> bytes:
        return bytes(keccak(READING + self.manifest.to_json().encode()))

    async def _connect(self) -> Window:
        """Check that this is the chain and these are the contracts; continue from memory or the store if it fits."""
        names = sorted(self.manifest.contracts)
        codes = [("eth_getCode", ["0x" + self.manifest.address(name).hex(), "latest"]) for name in names]
        chain_id, genesis, *code = await self._source.batch(
            [("eth_chainId", []), ("eth_getBlockByNumber", ["0x0", False]), *codes]
        )
        if _quantity(chain_id) != self.manifest.chain_id:
            raise WrongChainError(
                f"the endpoint {self._source.where} serves chain {_quantity(chain_id)}, the manifest is for chain "
                f"{self.manifest.chain_id}"
            )
        for name, found in zip(names, code, strict=True):
            if keccak(_bytes(found)) != self.manifest.contracts[name].code_hash:
                raise WrongChainError(f"{name} is not at the address that the manifest gives, or is another program")
        identity = bytes(keccak(_ref(genesis).hash + self._manifest_id()))
        if self._window is None or identity != self._identity:
            self._identity = identity
            saved = await self._store.read(lambda conn: checkpoint.load(conn, identity))
            if saved is None:
                return await self._restart()
            return self._adopt(Window(saved.base, saved.window), saved.final)
        return self._window

    async def _read_epochs(self) -> tuple[int, int] | None:
        if FEEDBACK not in self.manifest.contracts:
            return None
        to = "0x" + self.manifest.address(FEEDBACK).hex()
        calls = [
            ("eth_call", [{"to": to, "data": data}, "latest"]) for data in (_selector("GENESIS"), _selector("EPOCH"))
        ]
        genesis_s, length_s = [_quantity(each) for each in await self._source.batch(calls)]
        return genesis_s, length_s

    async def _restart(self) -> Window:
        first = hex(max(self.manifest.start_block - 1, 0))
        base = _ref(await self._source.call("eth_getBlockByNumber", first, False))
        identity, manifest_id = self._identity, self._manifest_id()
        await self._store.write(lambda conn: checkpoint.reset(conn, identity, manifest_id, base))
        return self._adopt(Window(base), ())

    def _adopt(self, window: Window, final: tuple[Event, ...]) -> Window:
        self._window = window
        self.view = PendingView(Ledger())
        self.view.update(final, window.pending())
        self.progress.tip = window.tip
        self._on_change()
        return window

    # -- following

    async def _follow(self, window: Window) -> None:
        head, final = await self._unwind(window)
        self.progress.chain_head = head.number
        while window.tip.number < head.number and not window.full:
            if final - window.tip.number > SINGLES:
                grown = [await self._fetch_span(window.tip.number + 1, final)]
            else:
                grown = await self._fetch_singles(window.tip.number + 1, head.number)
            await self._step(window, window.tip.number, grown, final)
        if window.ripe(final):
            await self._step(window, window.tip.number, [], final)

    async def _unwind(self, window: Window) -> tuple[Ref, int]:
        """Drop what the chain no longer has; the chain's head and the number up to which it is final."""
        dropped = False
        while True:
            tip = window.tip
            head, finalized, there = await self._look(tip.number)
            if there is None:
                there, tip = await self._common(window, head)
            if there.hash == tip.hash:
                break
            window.drop()
            dropped = True
        if dropped:
            self.progress.reorgs += 1
            log.info("the chain was reorganised above block %d", window.tip.number)
            await self._step(window, window.tip.number, [], window.base.number)
        return head, finalized

    async def _look(self, number: int) -> tuple[Ref, int, Ref | None]:
        calls = [("eth_getBlockByNumber", [tag, False]) for tag in ("latest", hex(number))]
        if self._settings.confirmations is None:
            calls.append(("eth_getBlockByNumber", ["finalized", False]))
        latest, there, *tagged = await self._source.batch(calls)
        head = _ref(latest)
        if self._settings.confirmations is not None:
            final = head.number - self._settings.confirmations + 1
        else:
            final = _ref(tagged[0]).number if tagged[0] is not None else 0
        return head, final, None if there is None else _ref(there)

    async def _common(self, window: Window, head: Ref) -> tuple[Ref, Ref]:
        """The endpoint has no block at our tip's number: compare at the highest one that both can have."""
        mine = window.below(head.number)
        if mine is None:
            raise RpcError(
                -32001,
                f"the chain endpoint is at block {head.number}, below block {window.base.number} that was final",
                hint="The endpoint is still catching up; if it was reset, use the manifest that it wrote.",
            )
        there = await self._source.call("eth_getBlockByNumber", hex(mine.number), False)
        if there is None:
            raise DisconnectedError("the chain's head moved back between two questions")
        return _ref(there), mine

    async def _fetch_span(self, first: int, final: int) -> Span:
        last = min(first + self._width.now - 1, final)
        try:
            start, end, logs = await self._source.batch(
                [
                    ("eth_getBlockByNumber", [hex(first), False]),
                    ("eth_getBlockByNumber", [hex(last), False]),
                    ("eth_getLogs", [{**self._filter, "fromBlock": hex(first), "toBlock": hex(last)}]),
                ]
            )
        except RpcError:
            if not self._width.refused():
                raise
            return await self._fetch_span(first, final)
        self._width.answered()
        return Span(first, _bytes(_field(start, "parentHash")), _ref(end), self._events(logs, first, last))

    async def _fetch_singles(self, first: int, head: int) -> list[Span]:
        numbers = range(first, min(head, first + SINGLES - 1) + 1)
        blocks = await self._source.batch([("eth_getBlockByNumber", [hex(number), False]) for number in numbers])
        if any(block is None for block in blocks):
            raise DisconnectedError("the chain's head moved back between two questions")
        refs = [_ref(block) for block in blocks]
        logs = await self._source.batch(
            [("eth_getLogs", [{**self._filter, "blockHash": "0x" + ref.hash.hex()}]) for ref in refs]
        )
        return [
            Span(ref.number, _bytes(_field(block, "parentHash")), ref, self._events(found, ref.number, ref.number))
            for block, ref, found in zip(blocks, refs, logs, strict=True)
        ]

    def _events(self, logs: Any, first: int, last: int) -> tuple[Event, ...]:
        if not isinstance(logs, list):
            raise RpcGarbageError("eth_getLogs did not answer with a list")
        ordered = sorted(logs, key=lambda entry: (_number(entry, "blockNumber"), _number(entry, "logIndex")))
        if any(not first <= _number(entry, "blockNumber") <= last for entry in ordered):
            raise RpcGarbageError("eth_getLogs answered with a log outside the blocks it was asked for")
        events = (decode_log(entry, self._names) for entry in ordered if not entry.get("removed"))
        return tuple(event for event in events if event is not None)

    async def _step(self, window: Window, keep: int, grown: list[Span], final: int) -> None:
        """Save first, then act. What joins the tip of `grown` is taken; the rest is asked for again."""
        joined = _join(window, grown)
        done = window.finalize(final)
        step = checkpoint.Step(keep, joined, window.base)
        try:
            await self._store.write(lambda conn: checkpoint.save(conn, step))
        except WarmlineError:
            self._window = None  # ahead of the store now: take it up from there again
            raise
        self.view.update([event for span in done for event in span.events], window.pending())
        self.progress.tip = window.tip
        self._on_change()

    def _report(self, error: WarmlineError) -> None:
        if self.progress.problem is None or str(self.progress.problem) != str(error):
            log.warning("not following the chain: %s (%s)", error, error.hint)
        self.progress.problem = error


def _join(window: Window, grown: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in grown:
        try:
            window.grow(span)
        except DisconnectedError:
            if not joined:
                raise
            break
        joined.append(span)
    return joined


def _selector(view: str) -> str:
    return "0x" + keccak(f"{view}()".encode())[:4].hex()


def _field(block: Any, name: str) -> Any:
    if not isinstance(block, Mapping) or name not in block:
        raise RpcGarbageError(f"the chain endpoint left out `{name}`")
    return block[name]


def _bytes(value: Any) -> bytes:
    try:
        return unhex(value)
    except ValueError as error:
        raise RpcGarbageError(f"the chain endpoint sent bad hex: {error}") from error


def _quantity(value: Any) -> int:
    try:
        return int(value, 16)
    except (TypeError, ValueError) as error:
        raise RpcGarbageError("the chain endpoint sent something else than a number") from error


def _number(entry: Any, name: str) -> int:
    return _quantity(_field(entry, name))


def _ref(block: Any) -> Ref:
    return Ref(_number(block, "number"), _bytes(_field(block, "hash")), _number(block, "timestamp"))
