"""Several endpoints of one chain, asked as one: answers count where two agree, and one that fails stops nobody.

An endpoint can lie in two ways: by another chain, and by leaving out events of the right one. So every question goes to
all of them and the answers are compared, logs included. What cannot be the same everywhere, the newest block, is taken
from the highest block that two of them have; then the others' answers about older blocks must agree, and one that is
behind says "unknown", which is no contradiction. Two against one, the two are believed. One against one, nobody is:
standing then keeps the time of its last block, and *verified* ends by itself within the hour.

While all but one are away, that one is believed alone: to stop would let whoever cuts one line end *verified*
everywhere. The status says so.
"""

from __future__ import annotations

import json
import logging
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import trio

from warmline.chain.errors import ChainUnreachableError, RpcError
from warmline.chain.provider import Call, Rpc, open_rpc
from warmline.chain.reorg import DisconnectedError
from warmline_protocol.errors import ConfigError, WarmlineError

log = logging.getLogger(__name__)

AGREE: Final = 2
"""Endpoints that must say the same, where that many answer."""
GRACE_S: Final = 3.0
"""Seconds that slower endpoints have once enough have answered."""
REST_S, REST_MAX_S = 2.0, 120.0
"""How long one that failed is left alone: doubles from the first to the second."""
REFUSALS_MAX: Final = 12
"""Refusals in a row that are passed on, so that a follower asks for less (2,048 blocks halve to one in eleven)."""
MOVING: Final = frozenset({"latest", "finalized", "safe"})


class DisagreeError(DisconnectedError):
    """Endpoints contradict each other. At the head of the chain that passes; if it lasts, one of them lies."""

    default_hint = "If this lasts, one of the chain endpoints lies or serves another chain: add a third, or remove one."


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """How one endpoint does: ``ok``, ``away`` (no sensible answer), ``refuses`` or ``disagrees``. ``why`` in words."""

    where: str
    state: str
    why: str = ""


class Source(Protocol):
    """What a follower asks: one endpoint, or several as one."""

    @property
    def where(self) -> str: ...

    async def call(self, method: str, *params: Any) -> Any: ...

    async def firm(self, method: str, *params: Any) -> Any:
        """As ``call``, but where several were named never on the word of one alone: ChainUnreachableError then."""

    async def batch(self, calls: Sequence[Call]) -> list[Any]: ...

    def statuses(self) -> tuple[EndpointStatus, ...]: ...


@dataclass(slots=True)
class _Member:
    rpc: Rpc
    state: str = "ok"
    why: str = ""
    failures: int = 0
    refusals: int = 0
    rests_until: float = -math.inf

    def answered(self) -> None:
        if self.state != "ok":
            log.info("the chain endpoint %s answers again", self.rpc.where)
        self.state, self.why, self.failures, self.refusals = "ok", "", 0, 0
        self.rests_until = -math.inf

    def failed(self, error: WarmlineError) -> None:
        self.failures += 1
        self.mark("away", str(error))
        self.rests_until = trio.current_time() + min(REST_S * 2 ** (self.failures - 1), REST_MAX_S)

    def refused(self, error: RpcError) -> None:
        self.refusals += 1
        if self.refusals > REFUSALS_MAX:
            self.mark("refuses", str(error))
            self.rests_until = trio.current_time() + REST_MAX_S

    def mark(self, state: str, why: str) -> None:
        if self.state != state:
            log.warning("the chain endpoint %s %s: %s", self.rpc.where, _IN_WORDS[state], why)
        self.state, self.why = state, why


_IN_WORDS = {"away": "does not answer", "refuses": "refuses", "disagrees": "contradicts the others"}


class Endpoints:
    """Two or more endpoints. Obtained from `open_source`."""

    def __init__(self, rpcs: Sequence[Rpc]) -> None:
        self._members = [_Member(rpc) for rpc in rpcs]

    @property
    def where(self) -> str:
        return " and ".join(member.rpc.where for member in self._members)

    def statuses(self) -> tuple[EndpointStatus, ...]:
        return tuple(EndpointStatus(member.rpc.where, member.state, member.why) for member in self._members)

    async def call(self, method: str, *params: Any) -> Any:
        """As `Rpc.call`; raises DisagreeError too."""
        return (await self._picked([(method, params)]))[0].answer

    async def firm(self, method: str, *params: Any) -> Any:
        """As `call`; ChainUnreachableError unless two answered this very question, and the same."""
        (picked,) = await self._picked([(method, params)])
        if picked.behind < AGREE:
            raise ChainUnreachableError(
                "of the chain endpoints that were named only one answers, and one alone is not believed",
                hint="Try again, or name another with --also.",
            )
        return picked.answer

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """As `Rpc.batch`, every answer agreed on; raises DisagreeError too."""
        return [one.answer for one in await self._picked(calls)]

    async def _picked(self, calls: Sequence[Call]) -> list[_Picked]:
        answers = await self._ask(calls)
        picked = [_Picked(call, [(member, answer[at]) for member, answer in answers]) for at, call in enumerate(calls)]
        for member, _ in answers:
            dissent = next((one for one in picked if member in one.against), None)
            if dissent is None:
                member.answered()
            else:
                member.mark("disagrees", f"its answer to {dissent.call[0]} is not that of the others")
        return picked

    async def _ask(self, calls: Sequence[Call]) -> list[tuple[_Member, list[Any]]]:
        """What each that answers says. Raises the endpoints' own error where too few are left."""
        now = trio.current_time()
        asked = [member for member in self._members if member.rests_until <= now] or self._members
        good: list[tuple[_Member, list[Any]]] = []
        errors: list[WarmlineError] = []

        async def ask(member: _Member) -> None:
            try:
                good.append((member, await member.rpc.batch(calls)))
            except RpcError as error:
                member.refused(error)
                errors.append(error)
            except WarmlineError as error:
                member.failed(error)
                errors.append(error)
            if len(good) >= AGREE:
                scope.deadline = min(scope.deadline, trio.current_time() + GRACE_S)

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for member in asked:
                    nursery.start_soon(ask, member)
        refusals = [error for error in errors if isinstance(error, RpcError)]
        patient = any(member.state != "refuses" and member.refusals for member in asked)
        if not good or (len(good) < AGREE and refusals and patient):
            raise (refusals or errors)[0]
        return sorted(good, key=lambda one: self._members.index(one[0]))


class _Picked:
    """One question with all its answers: what counts, how many stand behind it, and who said something else."""

    def __init__(self, call: Call, answers: list[tuple[_Member, Any]]) -> None:
        self.call = call
        self.against: list[_Member] = []
        self.behind = 1
        if call[0] == "eth_getBlockByNumber" and call[1][0] in MOVING:
            self.answer = self._newest(answers)
        else:
            self.answer = self._agreed(answers)

    def _newest(self, answers: list[tuple[_Member, Any]]) -> Any:
        """The highest block that two have. Only `latest` is known to every endpoint; the other marks may be nowhere."""
        known = sorted((answer for _, answer in answers if _height(answer) >= 0), key=_height, reverse=True)
        senseless = [member for member, answer in answers if _height(answer) < 0 and self.call[1][0] == "latest"]
        if known and senseless:
            self.against = senseless
        if len(known) >= AGREE:
            self.behind = AGREE
            return known[AGREE - 1]
        return answers[0][1] if len(answers) == 1 else known[0] if known and senseless else None

    def _agreed(self, answers: list[tuple[_Member, Any]]) -> Any:
        groups: defaultdict[Hashable, list[tuple[_Member, Any]]] = defaultdict(list)
        for member, answer in answers:
            groups[_essence(self.call[0], answer)].append((member, answer))
        unknown = groups.pop(_UNKNOWN, [])
        if not groups:
            self.behind = len(unknown)
            return None
        largest = max(groups.values(), key=len)
        if sum(len(group) == len(largest) for group in groups.values()) > 1:
            names = " and ".join(member.rpc.where for member, _ in answers)
            raise DisagreeError(f"the chain endpoints {names} answer {self.call[0]} differently")
        self.behind = len(largest)
        if len(largest) < AGREE and unknown:
            return None
        self.against = [member for group in groups.values() if group is not largest for member, _ in group]
        return largest[0][1]


def _height(block: Any) -> int:
    try:
        return int(block["number"], 16)
    except (TypeError, KeyError, ValueError):
        return -1


_UNKNOWN: Final = "unknown"


def _essence(method: str, answer: Any) -> Hashable:
    """What must be the same: blocks and logs by what standing is made of, everything else by every byte."""
    if answer is None:
        return _UNKNOWN
    pick: Callable[[Any], Any] | None = _PARTS.get(method)
    try:
        essential = pick(answer) if pick else answer
    except (TypeError, KeyError, AttributeError):
        essential = answer
    return json.dumps(essential, sort_keys=True).lower()


def _block_parts(block: Any) -> list[Any]:
    return [block[name] for name in ("number", "hash", "parentHash", "timestamp")]


def _log_parts(logs: Any) -> list[Any]:
    names = ("blockNumber", "blockHash", "logIndex", "address", "topics", "data")
    return sorted([[entry[name] for name in names] for entry in logs if not entry.get("removed")], key=json.dumps)


_PARTS: dict[str, Callable[[Any], Any]] = {"eth_getBlockByNumber": _block_parts, "eth_getLogs": _log_parts}


@asynccontextmanager
async def open_source(urls: Sequence[str], *, deadline_s: float) -> AsyncIterator[Source]:
    """The endpoints at `urls` as one; a single one is asked plainly. Raises ConfigError for a bad or doubled URL."""
    if len(set(urls)) != len(urls):
        raise ConfigError(
            "a chain endpoint is named twice", hint="Two that agree must be run by different people, or say nothing."
        )
    async with AsyncExitStack() as stack:
        rpcs = [await stack.enter_async_context(open_rpc(url, deadline_s=deadline_s)) for url in urls]
        yield Endpoints(rpcs) if len(rpcs) > 1 else One(rpcs[0])


class One:
    """One endpoint, as a source. Obtained from `open_source`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self.call = self.firm = rpc.call
        self.batch = rpc.batch

    @property
    def where(self) -> str:
        return self._rpc.where

    def statuses(self) -> tuple[EndpointStatus, ...]:
        return ()
