"""Feedback during a session: the first step of one whose supporter the chain vouches for.

The supporter shows a grant of an issuer; the seeker has a random serial signed under it, blinded, through the
supporter; the ticket that comes of it is the right to one answer when the session is over. Neither supporter nor issuer
can tell later which answer came of which session. Where it does not come about, the word *verified* goes and the
person is told why; talking is never blocked by it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from warmline.client.matching import Supporter
from warmline.client.session_client import Client
from warmline.client.session_events import FeedbackNone, FeedbackReady
from warmline.files import write_private
from warmline.net.rpc import call
from warmline.scopes import sole_error
from warmline_protocol.errors import (
    ConfigError,
    DiskFullError,
    RefusedError,
    RemoteError,
    UnreachableError,
    UsageError,
    WarmlineError,
)
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.grants import Purse
from warmline_protocol.feedback.messages import Grant, TokenAnswer, TokenAsk, TokenGiven, TokenMissing, TokenRequest
from warmline_protocol.feedback.serving import PROTOCOL, want_grant
from warmline_protocol.feedback.tokens import Asking, Ticket
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.collector import CollectorRecord
from warmline_protocol.records.conduct import Conduct
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session import events as said
from warmline_protocol.wire import from_wire

log = logging.getLogger("warmline.client")

WITHIN_S: Final = 30.0
"""Seconds from the beginning of a session until the seeker waits for a token no longer."""
ISSUER_S: Final = 15.0
STEPS: Final = (said.GrantOffered, said.TokenAsked, said.TokenArrived, said.TokenRefused)
"""Events of the exchange: for these classes, not for the person."""
FILE: Final = "feedback.json"


class Talk(Protocol):
    """What the exchange needs of a session."""

    client: Client

    def tell(self, event: FeedbackReady | FeedbackNone) -> None: ...

    async def feedback_step(self, step: Callable[[Any, int], None]) -> None: ...


class Side(Protocol):
    """One side's part: ``begin`` when the session is there, ``hear`` for each event of the exchange."""

    async def begin(self, talk: Talk) -> None: ...

    async def hear(self, talk: Talk, event: Any) -> None: ...


def epochs_of(conduct: Conduct) -> Epochs:
    """The contract's epochs."""
    return Epochs(conduct.genesis_s, conduct.length_s)


# -- the seeker


@dataclass(slots=True)
class SeekerSide:
    """For one session. ``wallet``: the supporter's, from the card; ``conduct``: what three operators agree on;
    ``collectors``: where an answer can go afterwards."""

    wallet: bytes
    conduct: Conduct
    collectors: tuple[CollectorRecord, ...] = ()
    ticket: Ticket | None = None
    why_not: str = ""
    _asking: Asking | None = None
    _settled: trio.Event = field(default_factory=trio.Event)

    async def begin(self, talk: Talk) -> None:
        """Wait for the exchange, but not for ever."""
        with trio.move_on_after(WITHIN_S):
            await self._settled.wait()
        if not self._settled.is_set():
            self._none(talk, "no answer")

    async def hear(self, talk: Talk, event: Any) -> None:
        try:
            match event:
                case said.GrantOffered(grant=packed):
                    await self._ask(talk, from_wire(packed, (Grant,)))
                case said.TokenArrived(signed=signed) if self._asking is not None:
                    finish = partial(self._asking.finish, TokenGiven(signed))
                    self.ticket = await talk.client.run_blocking(finish)
                    if not self._settled.is_set():
                        self._settled.set()
                        talk.tell(FeedbackReady())
                case said.TokenRefused(why=why):
                    self._none(talk, why)
        except RemoteError as error:
            log.info("no token for feedback: %s", error)
            self._none(talk, "refused")
        except UsageError:
            # They ended the exchange, or the session, before this side's step was ready.
            log.info("the exchange for feedback has gone on without this step")

    async def _ask(self, talk: Talk, grant: Grant) -> None:
        epoch = epochs_of(self.conduct).at(talk.client.clock.utc_ms() // 1000)
        root = self.conduct.key_root(grant.issuer, epoch)
        if root is None:
            self._none(talk, "no grant")
            return
        make = partial(Asking, grant, self.wallet, root, epoch, talk.client.rng.bytes)
        asking = self._asking = await talk.client.run_blocking(make)
        await talk.feedback_step(lambda pair, now: pair.ask_token(asking.ask, now))

    def _none(self, talk: Talk, why: str) -> None:
        if not self._settled.is_set():
            self._settled.set()
            self.why_not = why
            talk.tell(FeedbackNone(why))


def seeker_side(who: Supporter) -> SeekerSide | None:
    """The exchange for a session with them; None where the chain does not vouch for them, or has no feedback yet."""
    conduct = who.conduct
    if conduct is None or not conduct.roots or who.record.wallet is None or not who.vouching.verified:
        return None
    return SeekerSide(who.record.wallet, conduct, who.collectors)


# -- the supporter


@dataclass(frozen=True, slots=True)
class IssuerDesk:
    """An issuer of this supporter's, and the node where it answers."""

    issuer: bytes
    node: NodeAddress


class PurseFile:
    """Which issuers grant this supporter vouchers, and how many are used: on the disk before a request leaves.

    Says nothing of seekers. All methods block.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._fields: dict[str, Any] = {"issuers": {}, "used": {}}
        self._load()

    def _load(self) -> None:
        try:
            self._fields = json.loads(self._path.read_text("utf-8"))
            self.issuers()
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self._path} cannot be read: {error}", hint="Name your issuers again.") from None

    def issuers(self) -> list[IssuerDesk]:
        """In the order of their addresses."""
        rows: Mapping[str, Any] = self._fields["issuers"]
        return [
            IssuerDesk(bytes.fromhex(issuer), NodeAddress(row["peer"], tuple(row["addrs"])))
            for issuer, row in sorted(rows.items())
        ]

    def add(self, desk: IssuerDesk) -> None:
        """Name an issuer, or another node of one."""
        with self._changing():
            self._fields["issuers"][desk.issuer.hex()] = {"peer": desk.node.peer_id, "addrs": list(desk.node.addrs)}
            self._save()

    def used(self, grant: Grant) -> int:
        """How many vouchers of this grant were used."""
        return int(self._fields["used"].get(_name(grant), 0))

    def use(self, grant: Grant, used: int) -> None:
        """From now on so many are used, or more: two sessions that begin at once write in either order."""
        with self._changing():
            self._fields["used"][_name(grant)] = max(used, self.used(grant))
            self._save()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One at a time, this process's threads and other processes alike, on what is on the disk now."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DiskFullError(f"cannot write {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._load()
            yield
        finally:
            os.close(descriptor)

    def _save(self) -> None:
        write_private(self._path, json.dumps(self._fields).encode())


def _name(grant: Grant) -> str:
    return f"{grant.issuer.hex()}-{grant.epoch}"


class SupporterSide:
    """For all sessions of one supporter on duty: grants fetched when they are first needed, vouchers spent."""

    def __init__(
        self, client: Client, wallet: bytes, key: SigningKey, conduct: Callable[[], Conduct | None], purses: PurseFile
    ) -> None:
        self._client = client
        self._wallet = wallet
        self._key = key
        self._conduct = conduct
        self._file = purses
        self._purses: dict[int, Purse] = {}
        self._turn = trio.Lock()

    async def purse(self) -> Purse:
        """The purse of this epoch. Raises WarmlineError where no issuer granted anything, or none answers."""
        conduct = self._conduct()
        if conduct is None:
            raise UsageError("no chain that these nodes agree on has feedback")
        epoch = epochs_of(conduct).at(self._client.clock.utc_ms() // 1000)
        async with self._turn:
            if epoch not in self._purses:
                self._purses = {epoch: await self._fetch(conduct, epoch)}
        return self._purses[epoch]

    async def _fetch(self, conduct: Conduct, epoch: int) -> Purse:
        problem: WarmlineError = RefusedError("no grant", "no issuer of yours takes part in feedback")
        for desk in await self._client.run_blocking(self._file.issuers):
            root = conduct.key_root(desk.issuer, epoch)
            if root is None:
                continue
            try:
                now = self._client.clock.utc_ms()
                wanted = want_grant(desk.issuer, self._wallet, epoch, self._key, now)
                grant = await self._at_issuer(desk.node, wanted, Grant)
                if (grant.issuer, grant.supporter, grant.epoch) != (desk.issuer, self._wallet, epoch):
                    raise RefusedError("no grant", "the issuer answered with a grant for something else")
                used = await self._client.run_blocking(partial(self._file.used, grant))
                return await self._client.run_blocking(partial(Purse, grant, root, self._key, used))
            except WarmlineError as error:
                problem = error
        raise problem

    async def _at_issuer(self, node: NodeAddress, question: object, answer: type[Any]) -> Any:
        try:
            with sole_error():
                async with self._client.paths.path("feedback", node) as path:
                    with trio.fail_after(ISSUER_S):
                        channel = await path.open_channel(PROTOCOL)
                        return await call(channel, question, (answer,), deadline=ISSUER_S)
        except trio.TooSlowError:
            raise UnreachableError("the issuer's node does not answer") from None

    async def begin(self, talk: Talk) -> None:
        """Show the grant, or say that there is none."""
        try:
            grant = (await self.purse()).grant
        except WarmlineError as error:
            log.info("no feedback for this session: %s", error)
            await _missing(talk, "issuer away" if not isinstance(error, RefusedError | UsageError) else "no grant")
            return
        await _step(talk, lambda pair, now: pair.offer_grant(grant, now))

    async def hear(self, talk: Talk, event: Any) -> None:
        if not isinstance(event, said.TokenAsked):
            return
        try:
            given = await self._spend(TokenAsk(event.blinded))
        except UsageError:
            await _missing(talk, "no voucher")
        except RemoteError as error:
            log.info("the issuer signed nothing: %s", error)
            await _missing(talk, "refused")
        except WarmlineError as error:
            log.info("the issuer is out of reach: %s", error)
            await _missing(talk, "issuer away")
        else:
            await _step(talk, lambda pair, now: pair.give_token(given, now))

    async def _spend(self, ask: TokenAsk) -> TokenGiven:
        purse = await self.purse()
        request: TokenRequest = purse.request(ask)
        await self._client.run_blocking(partial(self._file.use, purse.grant, purse.used))
        desks = await self._client.run_blocking(self._file.issuers)
        node = next(desk.node for desk in desks if desk.issuer == purse.grant.issuer)
        answer: TokenAnswer = await self._at_issuer(node, request, TokenAnswer)
        return await self._client.run_blocking(partial(purse.given, request, answer))


async def _missing(talk: Talk, why: str) -> None:
    await _step(talk, lambda pair, now: pair.no_token(TokenMissing(why), now))


async def _step(talk: Talk, step: Callable[[Any, int], None]) -> None:
    """After a fresh Hello in between, the exchange may be further than this; then nothing is to be done."""
    try:
        await talk.feedback_step(step)
    except UsageError:
        log.info("the exchange for feedback has gone on without this step")
