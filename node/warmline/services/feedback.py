"""Feedback at a node: an issuer's grants and tokens for its supporters, and what a collector lays out for everybody.

The keys of an epoch are made by `warmline issuer vouchers`, which writes them into a folder before the root is on the
chain; here they are only used. An answer is on the disk before it leaves: the same request gets the same answer after
a restart too, and no voucher is spent twice. RSA blocks, so it goes through ``run_blocking``, one at a time.

A collector's files are written by `warmline collector run` and handed out as they are, in parts.
"""

from __future__ import annotations

import logging
import os
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
from warmline_protocol.feedback.messages import BatchPage, BatchRead, CollectorRead, Grant, TokenAnswer, TokenRequest
from warmline_protocol.feedback.serving import PROTOCOL, GrantWanted, check_wanted, served_name
from warmline_protocol.limits import FEEDBACK_PAGE_BYTES

log = logging.getLogger(__name__)

MAX_FRAME: Final = FEEDBACK_PAGE_BYTES + 256
MAX_QUESTION: Final = 8192
CHANNELS_PER_PEER: Final = 4
CALL_S: Final = 20.0
QUEUED: Final = 64
"""Signatures that may wait: one takes some milliseconds, so that nobody waits much longer than for the disk."""
KEYS: Final = "{issuer}-{epoch}.keys"

Question: TypeAlias = GrantWanted | TokenRequest | CollectorRead | BatchRead
KEPT_EPOCHS: Final = 1
"""Epochs before one that is asked for whose answers are kept, for whoever's clock is behind."""
_QUESTIONS: tuple[type[Question], ...] = (GrantWanted, TokenRequest, CollectorRead, BatchRead)
SpeaksFor: TypeAlias = Callable[[bytes, bytes], bool]
"""Whether a key (32 bytes) speaks for a wallet (20 bytes) now."""


def keys_file(folder: Path, issuer: bytes, epoch: int) -> Path:
    """Where an issuer's keys of an epoch lie."""
    return folder / KEYS.format(issuer=issuer.hex(), epoch=epoch)


class FeedbackService:
    """Obtained from :func:`open_feedback`; `answer` serves one question."""

    def __init__(
        self,
        folder: Path | None,
        store: Store,
        *,
        speaks_for: SpeaksFor,
        clock: Clock,
        rng: Rng,
        run_blocking: RunBlocking,
        collector: Path | None = None,
    ) -> None:
        """``folder``: an issuer's keys; ``collector``: what a collector laid out. None: nothing of the kind here."""
        self._folder = folder
        self._collector = collector
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
        """One person's questions, until they end."""
        await answer_calls(channel, _QUESTIONS, self.answer, deadline=CALL_S, max_question=MAX_QUESTION)

    async def answer(self, question: Question) -> Grant | TokenAnswer | BatchPage:
        """Raises RefusedError, in words for whoever asks."""
        try:
            if isinstance(question, CollectorRead | BatchRead):
                return await self._part(question)
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

    async def _part(self, question: CollectorRead | BatchRead) -> BatchPage:
        if self._collector is None:
            raise RefusedError("unknown", "no collector lays anything out at this node")
        path = self._collector / served_name(question)
        try:
            data, size = await self._run_blocking(partial(_read_part, path, question.offset))
        except FileNotFoundError:
            raise RefusedError("unknown", "the collector has not laid this out") from None
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        return BatchPage(data, size)

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
        if self._folder is None:
            raise RefusedError("no grant", "no issuer grants anything at this node")
        path = keys_file(self._folder, issuer, number)
        try:
            snapshot = await self._run_blocking(path.read_bytes)
        except FileNotFoundError:
            raise RefusedError("no grant", "this issuer has granted nothing here for that epoch") from None
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        epoch = await self._run_blocking(partial(IssuerEpoch.restore, snapshot))
        # Which vouchers were answered says how busy somebody was: it is kept for as long as the epoch can be asked for.
        await self._store.write(lambda conn: _forget_before(conn, issuer, number - KEPT_EPOCHS), frees=True)
        for supporter, used, blinded, signed in await self._store.read(lambda conn: _answers(conn, issuer, number)):
            epoch.remember(supporter, used, blinded, signed)
        return epoch


def _read_part(path: Path, offset: int) -> tuple[bytes, int]:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(min(offset, size))
        return file.read(FEEDBACK_PAGE_BYTES), size


def _remember(conn: apsw.Connection, row: tuple[bytes, int, bytes, int, bytes, bytes]) -> None:
    conn.execute("INSERT OR IGNORE INTO feedback_answers VALUES (?, ?, ?, ?, ?, ?)", row)


def _forget_before(conn: apsw.Connection, issuer: bytes, epoch: int) -> None:
    conn.execute("DELETE FROM feedback_answers WHERE issuer = ? AND epoch < ?", (issuer, epoch))


def _answers(conn: apsw.Connection, issuer: bytes, epoch: int) -> list[tuple[bytes, int, bytes, bytes]]:
    sql = "SELECT supporter, number, blinded, signed FROM feedback_answers WHERE issuer = ? AND epoch = ?"
    return list(conn.execute(sql, (issuer, epoch)))


@asynccontextmanager
async def open_feedback(
    host: Host,
    store: Store,
    folder: Path | None,
    *,
    collector: Path | None = None,
    speaks_for: SpeaksFor,
    clock: Clock,
    rng: Rng,
    run_blocking: RunBlocking,
) -> AsyncIterator[FeedbackService]:
    """Serve ``/warmline/feedback/1`` at ``host`` for as long as it is open: the issuers' keys in ``folder``, and what
    a collector laid out in ``collector``."""
    service = FeedbackService(
        folder,
        store,
        speaks_for=speaks_for,
        clock=clock,
        rng=rng,
        run_blocking=run_blocking,
        collector=collector,
    )

    async def handle(channel: Channel) -> None:
        try:
            await service.handle(channel)
        except RemoteError as error:
            log.debug("a question about feedback broke off: %s", type(error).__name__)
            raise

    host.serve(PROTOCOL, handle, max_frame=MAX_FRAME, max_channels_per_peer=CHANNELS_PER_PEER)
    await trio.lowlevel.checkpoint()
    yield service
