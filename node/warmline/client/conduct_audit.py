"""What collectors posted, computed again from what they hand out: nothing in it has to be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from warmline.chain.conduct import ConductChain, ConductNow, Post
from warmline.client.collecting import fetch_batch
from warmline.client.line import Line
from warmline.client.matching import Collection
from warmline.client.session_client import Client
from warmline_protocol.errors import RemoteError, UnreachableError, UsageError
from warmline_protocol.feedback.batch import GrantName, Ledger, Recomputed, Window
from warmline_protocol.feedback.chance import is_alarm
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.sheets import check_sheet
from warmline_protocol.records.collector import CollectorRecord

MATCHES, DIFFERS, AWAY, AFTER_GAP = "matches", "differs", "away", "after a gap"
WORDS: Final = {
    MATCHES: "root, hash and count are what its answers come to",
    DIFFERS: "what was posted is not what its answers come to",
    AWAY: "nobody hands out its answers now",
    AFTER_GAP: "by itself it holds; whether a token was counted before cannot be told, for an earlier batch is missing",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """One post: ``found`` is one of the four, ``why`` says what differs or is missing. ``result`` where it holds."""

    post: Post
    found: str
    why: str = ""
    result: Recomputed | None = None


async def collectors_of(line: Line, seen: ConductNow, epoch: int) -> tuple[CollectorRecord, ...]:
    """Those whom the chain names and whose record holds, from what nodes carry."""
    from warmline.client.matching import Wanted

    collection, _ = await line.finder.collect(Wanted())
    return named(collection, seen, epoch, line.client.clock.utc_ms())


def named(collection: Collection, seen: ConductNow, epoch: int, now_ms: int) -> tuple[CollectorRecord, ...]:
    """The records of the chain's collectors, in the order of their wallets."""
    found = []
    for record in collection.records(now_ms):
        if isinstance(record.body, CollectorRecord):
            try:
                check_sheet(record.body.sheet, seen.collectors, epoch)
            except RemoteError:
                continue
            found.append(record.body)
    return tuple(sorted(found, key=lambda each: each.owner))


async def audit(
    client: Client,
    chain: ConductChain,
    seen: ConductNow,
    collectors: Sequence[CollectorRecord],
    upto: int | None = None,
) -> list[Checked]:
    """Every post that stands or is pending, up to an epoch, in order. About 0.2 ms an answer."""
    ledger = Ledger(chain.manifest.chain_id, chain.manifest.address("ConductEpochs"), seen.key_root)
    pending = seen.pending()
    posts = [*seen.standing(), *([pending] if pending is not None else [])]
    done: list[Checked] = []
    gap = False
    for post in posts:
        if upto is not None and post.epoch > upto:
            break
        checked = await _check(client, ledger, seen, collectors, post, gap)
        gap = gap or checked.result is None
        done.append(checked)
    return done


async def _check(
    client: Client,
    ledger: Ledger,
    seen: ConductNow,
    collectors: Sequence[CollectorRecord],
    post: Post,
    gap: bool,
) -> Checked:
    try:
        data = await fetch_batch(client.paths, collectors, post.data_hash, post.tokens, client.rng)
    except UnreachableError as error:
        return Checked(post, AWAY, error.message)
    try:
        result = await client.run_blocking(partial(ledger.check, data, seen.vouchers(post.epoch)))
    except RemoteError as error:
        return Checked(post, DIFFERS, error.message)
    told = {"epoch": result.epoch, "root": result.root, "data_hash": result.data_hash, "tokens": result.tokens}
    wrong = [name for name, value in post.said.items() if told[name] != value]
    if wrong:
        return Checked(post, DIFFERS, "not the same: " + ", ".join(wrong))
    ledger.add(result)
    return Checked(post, AFTER_GAP if gap else MATCHES, "", result)


def for_review(checked: Sequence[Checked], issuer: bytes, standing: Sequence[Post]) -> list[bytes]:
    """Supporters of an issuer about whom an alarm is raised, by what stands. Who they are, and never a number."""
    window = Window()
    grants: set[GrantName] = set()
    stand = {(post.epoch, post.root) for post in standing}
    for one in checked:
        if one.result is not None and (one.post.epoch, one.post.root) in stand:
            window.add(one.post.epoch, one.result.totals)
            grants |= set(one.result.serials.values())
    mine = {supporter for supporter, _, granting in sorted(grants) if granting == issuer}
    return [who for who in window.wallets() if who in mine and is_alarm(window.of(who).tokens, window.of(who).noes)]


def epoch_of(seen: ConductNow, epochs: Epochs, wanted: int | None) -> int | None:
    """The epoch that is meant; UsageError where nothing was posted for it."""
    if wanted is not None and not any(post.epoch == wanted and not post.vetoed for post in seen.posts):
        raise UsageError(
            f"nothing stands or is pending for epoch {wanted}",
            hint=f"Now is epoch {epochs.at(seen.time_s)}; `warmline conduct epochs` lists what was posted.",
        )
    return wanted
