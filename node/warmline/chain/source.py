"""The node's `StandingSource`: `open_chain`, and the source of a node that has no chain.

Finality is the chain's own word, its `finalized` tag: the embedded dev chain never reorganises and says "the newest
block". A chain without the tag needs `confirmations` in the configuration.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

import trio

from warmline.chain.endpoints import EndpointStatus, Source, open_source
from warmline.chain.errors import ManifestError
from warmline.chain.follower import FEEDBACK, Follower, FollowSettings
from warmline.chain.manifest import Manifest, read_manifest
from warmline.chain.provider import is_loopback
from warmline.env import Clock, RunBlocking
from warmline.store.store import Store
from warmline_protocol.limits import STANDING_AGE_MAX_S
from warmline_protocol.records.conduct import Conduct
from warmline_protocol.records.standing import ChainHead, Standing


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """An empty `url` means: no chain. `also`: more endpoints of the same chain, which must agree. `confirmations`: a
    block is final once that many, itself included, are on it; None: the chain's `finalized` tag. `poll_s` None: half a
    second on loopback, 6 s elsewhere."""

    url: str = ""
    manifest: Path | Manifest | None = None
    confirmations: int | None = None
    poll_s: float | None = None
    deadline_s: float = 20.0
    also: tuple[str, ...] = ()


class ChainState(Enum):
    NONE = "none"  # no chain is configured
    SYNCING = "syncing"  # reading what it has not read yet
    LIVE = "live"  # at the chain's head
    LAGGING = "lagging"  # the endpoint does not answer rightly, or its newest block is over an hour old


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """For `warmline status` and metrics. `lag_s`: age of the newest block that standing takes into account.
    `endpoints`: how each does, where there are several."""

    state: ChainState
    head: ChainHead | None = None
    lag_blocks: int = 0
    lag_s: int | None = None
    reorgs: int = 0
    problem: str | None = None
    hint: str | None = None
    endpoints: tuple[EndpointStatus, ...] = ()


class NullChain:
    """No chain is configured: relays and queues work, records are unverified."""

    version = 0

    def head(self) -> ChainHead | None:
        return None

    def of(self, wallet: bytes) -> Standing | None:
        return None

    def conduct(self) -> Conduct | None:
        return None

    async def wait_change(self, seen: int | None = None) -> int:
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    def status(self) -> ChainStatus:
        return ChainStatus(ChainState.NONE)


class FollowedChain:
    """Standing as the follower knows it. `version` counts the changes."""

    def __init__(self, chain_id: int, clock: Clock) -> None:
        self.version = 0
        self._chain_id = chain_id
        self._clock = clock
        self._follower: Follower | None = None
        self._source: Source | None = None
        self._changed = trio.Event()

    def head(self) -> ChainHead | None:
        tip = self._following.progress.tip
        return None if tip is None else ChainHead(self._chain_id, tip.number, tip.hash, tip.time_s)

    def of(self, wallet: bytes) -> Standing | None:
        return self._following.view.of(wallet)

    def conduct(self) -> Conduct | None:
        """Feedback as of the last final block; None where the manifest has none, or the chain was never reached."""
        following, head = self._following, self.head()
        if following.progress.epochs is None or head is None:
            return None
        (genesis_s, length_s), facts = following.progress.epochs, following.view.ledger.conduct
        now = (head.time_s - genesis_s) // length_s + 1
        contract = following.manifest.address(FEEDBACK)
        return Conduct(contract, genesis_s, length_s, facts.collectors, facts.threshold, facts.around(now))

    async def wait_change(self, seen: int | None = None) -> int:
        """Wait until the head moves, or until `version` is not `seen` any more; the version then."""
        if seen is None:
            seen = self.version
        while self.version == seen:
            await self._changed.wait()
        return self.version

    def status(self) -> ChainStatus:
        progress, head = self._following.progress, self.head()
        lag_s = None if head is None else max(0, self._clock.utc_ms() // 1000 - head.time_s)
        behind = 0 if head is None else max(0, progress.chain_head - head.number)
        if progress.problem is not None:
            state = ChainState.LAGGING
        elif progress.contacted_s is None or behind:
            state = ChainState.SYNCING
        else:
            state = ChainState.LAGGING if (lag_s or 0) > STANDING_AGE_MAX_S else ChainState.LIVE
        problem = progress.problem
        return ChainStatus(
            state,
            head,
            behind,
            lag_s,
            progress.reorgs + progress.restarts,
            None if problem is None else problem.message,
            None if problem is None else problem.hint,
            () if self._source is None else self._source.statuses(),
        )

    @property
    def _following(self) -> Follower:
        assert self._follower is not None
        return self._follower

    def _moved(self) -> None:
        self.version += 1
        changed, self._changed = self._changed, trio.Event()
        changed.set()


Chain = NullChain | FollowedChain


@asynccontextmanager
async def open_chain(
    config: ChainConfig, store: Store, clock: Clock, run_blocking: RunBlocking
) -> AsyncIterator[Chain]:
    """Follow the configured chain until the block is left. Raises ConfigError for a URL or manifest that is unusable.

    What was read before a restart answers at once; an endpoint that is away makes `status().state` LAGGING and
    nothing else.
    """
    if not config.url:
        yield NullChain()
        return
    manifest = await _manifest(config, run_blocking)
    chain = FollowedChain(manifest.chain_id, clock)
    urls = (config.url, *config.also)
    async with open_source(urls, deadline_s=config.deadline_s) as source, trio.open_nursery() as nursery:
        settings = _settings(config)
        chain._source = source
        chain._follower = follower = Follower(source, manifest, store, settings, chain._moved)
        await follower.resume()
        nursery.start_soon(follower.run, name="chain follower")
        try:
            yield chain
        finally:
            nursery.cancel_scope.cancel()


async def _manifest(config: ChainConfig, run_blocking: RunBlocking) -> Manifest:
    match config.manifest:
        case None:
            raise ManifestError("a chain URL is configured, but no manifest that says which contracts to follow")
        case Manifest():
            return config.manifest
        case path:
            return await run_blocking(partial(read_manifest, path))


def _settings(config: ChainConfig) -> FollowSettings:
    return FollowSettings(
        config.confirmations, config.poll_s or (0.5 if all(map(is_loopback, (config.url, *config.also))) else 6.0)
    )
