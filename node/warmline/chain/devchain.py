"""`warmline chain dev`: the embedded chain as JSON-RPC over HTTP on loopback, with warmline's contracts on it.

For development and demonstrations: its accounts' keys are public and nobody else validates it. It is persisted by a
journal (see `journal`), so that a network played with today is there tomorrow, at the same addresses.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from eth_hash.auto import keccak

from warmline.chain.accounts import GOVERNANCE, dev_key
from warmline.chain.deployer import sign_for_dev
from warmline.chain.deployment import addresses, same_code, sendings
from warmline.chain.errors import JournalError
from warmline.chain.http import HttpLimits, serve_http
from warmline.chain.journal import Journal
from warmline.chain.manifest import Deployed, Manifest, parse_manifest
from warmline.chain.plans import ReportTimes, Terms, dev_plan
from warmline.chain.strict_json import loads
from warmline.chain.wallet import Wallet
from warmline.env import Clock, RunBlocking
from warmline.files import write_whole
from warmline_protocol.errors import DiskFullError, UsageError
from warmline_protocol.limits import DEV_CHAIN_ID

if TYPE_CHECKING:
    from warmline.chain.embedded import EmbeddedChain

T = TypeVar("T")
log = logging.getLogger(__name__)

EXIT_DELAY_S = 60
"""Between queueing an exit of the bond and claiming it; weeks on a live chain, a minute here to try it out."""
EPOCH_S = 120
WINDOW_S = 60
"""Of the feedback epochs: their length, and how long a post can be vetoed."""
COLLECTORS = (5, 6, 7)
"""The accounts that collect feedback, two of which must sign."""
BATCH_MAX = 256
BATCH_ANSWER_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class DevChainSettings:
    """`port` 0 takes a free one. `period_s`: an empty block after that long without one, so that time advances."""

    data: Path
    port: int = 0
    period_s: float = 10.0
    http: HttpLimits = field(default_factory=HttpLimits)


@dataclass(frozen=True, slots=True)
class DevChain:
    """What runs: where it answers, and the contracts on it. `replayed`: blocks that came back from the journal."""

    url: str
    manifest: Manifest
    manifest_path: Path
    replayed: int


@asynccontextmanager
async def open_devchain(settings: DevChainSettings, clock: Clock, run_blocking: RunBlocking) -> AsyncIterator[DevChain]:
    """Serve until the block is left. Raises JournalError, UsageError for a taken port, DiskFullError."""
    listeners = await _listen(settings.port)
    try:
        journal = await run_blocking(lambda: Journal(settings.data / "chain.journal"))
        with journal:
            async with _serve(settings, clock, run_blocking, journal, listeners) as running:
                yield running
    finally:
        for listener in listeners:
            await trio.aclose_forcefully(listener)


@asynccontextmanager
async def _serve(
    settings: DevChainSettings,
    clock: Clock,
    run_blocking: RunBlocking,
    journal: Journal,
    listeners: Sequence[trio.SocketListener],
) -> AsyncIterator[DevChain]:
    chain, replayed = await run_blocking(lambda: _open_chain(journal, clock))
    manifest_path = settings.data.resolve() / "manifest.json"
    manifest = parse_manifest(chain.manifest, "the dev chain")
    await run_blocking(lambda: write_whole(manifest_path, manifest.to_json().encode()))
    host, port = listeners[0].socket.getsockname()[:2]
    worker = _Worker(chain, run_blocking)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.keep_time, settings.period_s)
        nursery.start_soon(worker.stop_when_broken)
        await serve_http(listeners, worker.answer, settings.http, nursery)
        try:
            yield DevChain(f"http://{host}:{port}", manifest, manifest_path, replayed)
        finally:
            nursery.cancel_scope.cancel()


async def _listen(port: int) -> Sequence[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host="127.0.0.1")
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise UsageError(
            f"port {port} is taken or not allowed", hint="Give another --port, or 0 for a free one."
        ) from error


class _Worker:
    """One request at a time: the chain is one shared state, and its thread cannot be cancelled."""

    def __init__(self, chain: EmbeddedChain, run_blocking: RunBlocking) -> None:
        self._chain = chain
        self._run_blocking = run_blocking
        self._turn = trio.Lock()
        self._broken: DiskFullError | None = None
        self._stop = trio.Event()

    async def answer(self, body: bytes) -> bytes:
        try:
            return await self._run(lambda: _answer_body(self._chain, body))
        except DiskFullError as error:
            return _encode(_error(None, -32000, error.message))

    async def stop_when_broken(self) -> None:
        """Memory is ahead of a journal that cannot be written: only a restart brings the two together."""
        await self._stop.wait()
        assert self._broken is not None
        raise self._broken

    async def keep_time(self, period_s: float) -> None:
        """An empty block whenever none came for `period_s`."""
        number = self._chain.number
        while True:
            await trio.sleep(period_s)
            if self._chain.number == number:
                await self._run(self._chain.tick)
            number = self._chain.number

    async def _run(self, work: Callable[[], T]) -> T:
        async with self._turn:
            if self._broken is not None:
                raise self._broken
            try:
                with trio.CancelScope(shield=True):  # a client that hangs up must not leave a half-run request behind
                    done = await self._run_blocking(work)
            except DiskFullError as error:
                self._broken = error
                self._stop.set()
                raise
        return done


def _answer_body(chain: EmbeddedChain, body: bytes) -> bytes:
    try:
        request = loads(body)
    except ValueError:
        return _encode(_error(None, -32700, "this is not JSON"))
    if not isinstance(request, list):
        return _encode(_answer_one(chain, request))
    if not 0 < len(request) <= BATCH_MAX:
        return _encode(_error(None, -32600, f"a batch holds 1 to {BATCH_MAX} requests"))
    answers: list[bytes] = []
    room = BATCH_ANSWER_MAX
    for one in request:
        answers.append(_encode(_answer_one(chain, one) if room > 0 else _error(one, -32005, "the batch is too large")))
        room -= len(answers[-1])
    return b"[" + b",".join(answers) + b"]"


def _answer_one(chain: EmbeddedChain, request: Any) -> dict[str, Any]:
    from warmline.chain.embedded import Refusal

    if not isinstance(request, dict) or not isinstance(request.get("params", []), list):
        return _error(request, -32600, "a request is an object with a method and a list of params")
    try:
        result = chain.answer(request.get("method"), request.get("params"))
    except Refusal as refusal:
        return _error(request, refusal.code, refusal.message, refusal.data)
    return {"jsonrpc": "2.0", "id": _id(request), "result": result}


def _error(request: Any, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": _id(request), "error": error}


def _id(request: Any) -> Any:
    given = request.get("id") if isinstance(request, dict) else None
    return given if isinstance(given, (int, str)) else None


def _encode(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()


# -- the contracts


def _open_chain(journal: Journal, clock: Clock) -> tuple[EmbeddedChain, int]:
    from warmline.chain.embedded import EmbeddedChain

    chain = EmbeddedChain(journal, lambda: clock.utc_ms() // 1000)
    replayed = chain.number
    chain.manifest = _deploy(chain)
    return chain, replayed


def _deploy(chain: EmbeddedChain) -> dict[str, Any]:
    """Put the contracts on the chain, or find them there; deterministic, so a crash half-way is just taken up."""
    deployer = Wallet(dev_key(GOVERNANCE))
    steps = dev_plan(dev_terms()).steps
    done = int(chain.answer("eth_getTransactionCount", [deployer.shown]), 16)
    for sending in sendings(steps, deployer.address, 0)[done:]:
        chain.submit(sign_for_dev(deployer, sending))
    contracts = {}
    for name, address in addresses(steps, deployer.address, 0).items():
        code = bytes.fromhex(chain.answer("eth_getCode", ["0x" + address.hex()])[2:])
        if not same_code(name, code):
            raise JournalError(
                f"this dev chain has another version of {name}",
                hint="Start one in another --data directory; what is on the old one stays there.",
            )
        contracts[name] = Deployed(address, bytes(keccak(code)))
    content: dict[str, Any] = json.loads(Manifest(DEV_CHAIN_ID, 1, contracts).to_json())
    return content


def dev_terms() -> Terms:
    """Times to try things out: a minute in place of weeks."""
    governance = Wallet(dev_key(GOVERNANCE)).address
    collectors = sorted(Wallet(dev_key(index)).address for index in COLLECTORS)
    return Terms(
        council=governance,
        guardian=governance,
        panel=governance,
        collectors=tuple(collectors),
        threshold=2,
        exit_delay_s=EXIT_DELAY_S,
        report=ReportTimes(5, 5, 5, 5, 5, 5, 4, 10**15),
        epoch_s=EPOCH_S,
        window_s=WINDOW_S,
    )
