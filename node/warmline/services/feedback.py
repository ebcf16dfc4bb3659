"""An issuer's side of feedback at its node: tells supporters their grants and signs tokens for their vouchers.

The keys of an epoch are made by `warmline issuer vouchers`, which writes them into a folder before the root is on the
chain; here they are only used. An answer is on the disk before it leaves: the same request gets the same answer after
a restart too, and no voucher is spent twice. RSA blocks, so it goes through ``run_blocking``, one at a time.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import apsw
import trio

from warmline.env import Clock, Rng, RunBlocking
from warmline.net.api import Channel, Host
from warmline.net.rpc import answer_calls
from warmline.store.store import Store
from warmline_protocol.errors import BadSignatureError, RefusedError, RemoteError, StoreError
from warmline_protocol.feedback.grants import IssuerEpoch
from warmline_protocol.feedback.messages import Grant, TokenAnswer, TokenRequest
from warmline_protocol.feedback.serving import PROTOCOL, GrantWanted, check_wanted

log = logging.getLogger(__name__)

MAX_FRAME: Final = 8192
CHANNELS_PER_PEER: Final = 4
CALL_S: Final = 20.0
QUEUED: Final = 64
"""Signatures that may wait: one takes some milliseconds, so that nobody waits much longer than for the disk."""
KEYS: Final = "{issuer}-{epoch}.keys"

_QUESTIONS: tuple[type[GrantWanted | TokenRequest], ...] = (GrantWanted, TokenRequest)
SpeaksFor: TypeAlias = Callable[[bytes, bytes], bool]
"""Whether a key (32 bytes) speaks for a wallet (20 bytes) now."""


def keys_file(folder: Path, issuer: bytes, epoch: int) -> Path:
    """Where an issuer's keys of an epoch lie."""
    return folder / KEYS.format(issuer=issuer.hex(), epoch=epoch)


class FeedbackService:
    """Obtained from :func:`open_feedback`; `answer` serves one question."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        speaks_for: SpeaksFor,
        clock: Clock,
        rng: Rng,
        run_blocking: RunBlocking,
    ) -> None:
        self._folder = folder
        self._store = store
        self._speaks_for = speaks_for
        self._clock = clock
        self._rng = rng
        self._run_blocking = run_blocking
        self._epochs: dict[tuple[bytes, int], IssuerEpoch] = {}
        self._turn = trio.Lock()
        self.signed = 0
        self.refused = 0

    async def handle(self, channel: Channel) -> None:
        """One supporter's questions, until they end."""
        await answer_calls(channel, _QUESTIONS, self.answer, deadline=CALL_S)

    async def answer(self, question: GrantWanted | TokenRequest) -> Grant | TokenAnswer:
        """Raises RefusedError, in words for the supporter."""
        try:
            if isinstance(question, GrantWanted):
                return await self._grant(question)
            return await self._sign(question)
        except RefusedError:
            self.refused += 1
            raise
        except BadSignatureError as error:
            self.refused += 1
            raise RefusedError("denied", str(error)) from None

    async def _grant(self, wanted: GrantWanted) -> Grant:
        check_wanted(wanted, self._clock.utc_ms())
        self._check_key(wanted.supporter, wanted.key)
        epoch = await self._epoch(wanted.issuer, wanted.epoch)
        return epoch.grant(wanted.supporter)

    async def _sign(self, request: TokenRequest) -> TokenAnswer:
        self._check_key(request.supporter, request.key)
        if self._turn.statistics().tasks_waiting >= QUEUED:
            raise RefusedError("busy", "too many tokens are asked for at once", hint="Try again in a second.")
        epoch = await self._epoch(request.issuer, request.epoch)
        async with self._turn:
            work = partial(epoch.answer, request, self._speaks_for, self._rng.bytes)
            answer = await self._run_blocking(work)
            blinded, signed = epoch.answered(request.supporter, request.number)
            row = (request.issuer, request.epoch, request.supporter, request.number, blinded, signed)
            await self._store.write(lambda conn: _remember(conn, row))
        self.signed += 1
        return answer

    def _check_key(self, supporter: bytes, key: bytes) -> None:
        if not self._speaks_for(supporter, key):
            raise RefusedError(
                "denied",
                "this key does not speak for that wallet, as far as this node knows",
                hint="Publish your card first; a lost device's key is refused.",
            )

    async def _epoch(self, issuer: bytes, number: int) -> IssuerEpoch:
        known = self._epochs.get((issuer, number))
        if known is not None:
            return known
        async with self._turn:
            if (issuer, number) not in self._epochs:
                self._epochs[issuer, number] = await self._load(issuer, number)
        return self._epochs[issuer, number]

    async def _load(self, issuer: bytes, number: int) -> IssuerEpoch:
        path = keys_file(self._folder, issuer, number)
        try:
            snapshot = await self._run_blocking(path.read_bytes)
        except FileNotFoundError:
            raise RefusedError("no grant", "this issuer has granted nothing here for that epoch") from None
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        epoch = await self._run_blocking(partial(IssuerEpoch.restore, snapshot))
        for supporter, used, blinded, signed in await self._store.read(lambda conn: _answers(conn, issuer, number)):
            epoch.remember(supporter, used, blinded, signed)
        return epoch


def _remember(conn: apsw.Connection, row: tuple[bytes, int, bytes, int, bytes, bytes]) -> None:
    conn.execute("INSERT OR IGNORE INTO feedback_answers VALUES (?, ?, ?, ?, ?, ?)", row)


def _answers(conn: apsw.Connection, issuer: bytes, epoch: int) -> list[tuple[bytes, int, bytes, bytes]]:
    sql = "SELECT supporter, number, blinded, signed FROM feedback_answers WHERE issuer = ? AND epoch = ?"
    return list(conn.execute(sql, (issuer, epoch)))


@asynccontextmanager
async def open_feedback(
    host: Host,
    store: Store,
    folder: Path,
    *,
    speaks_for: SpeaksFor,
    clock: Clock,
    rng: Rng,
    run_blocking: RunBlocking,
) -> AsyncIterator[FeedbackService]:
    """Serve ``/warmline/feedback/1`` at ``host`` for as long as it is open, with the issuers' keys in ``folder``."""
    service = FeedbackService(folder, store, speaks_for=speaks_for, clock=clock, rng=rng, run_blocking=run_blocking)

    async def handle(channel: Channel) -> None:
        try:
            await service.handle(channel)
        except RemoteError as error:
            log.debug("a question about feedback broke off: %s", type(error).__name__)
            raise

    host.serve(PROTOCOL, handle, max_frame=MAX_FRAME, max_channels_per_peer=CHANNELS_PER_PEER)
    await trio.lowlevel.checkpoint()
    yield service
