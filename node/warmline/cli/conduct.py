"""`warmline conduct`: what collectors published about an epoch, computed again by whoever wants to know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline.cli.entries import entry_option, known_entries
from warmline.cli.ethereum import Options, chain_options, open_session, run

if TYPE_CHECKING:
    from warmline.chain.conduct import ConductChain, ConductNow, Post
    from warmline.cli.ethereum import Session
    from warmline.client.conduct_audit import Checked
    from warmline.client.line import Line


@click.group()
def command() -> None:
    """What collectors published about feedback, recomputed by you; and objections to it.

    Feedback is an alarm for issuers and never a score: nothing here says a number about a person.
    """


@asynccontextmanager
async def open_conduct(options: Options) -> AsyncIterator[tuple[Session, ConductChain, ConductNow]]:
    """A session with the chain, and everything that its contract says of feedback now."""
    from warmline.chain.conduct import ConductChain
    from warmline.env import SystemClock

    async with open_session(options) as session:
        chain = ConductChain(session.rpc, session.manifest, session.source, clock=SystemClock())
        yield session, chain, await chain.now()


async def a_line(entries: tuple[str, ...]) -> Line:
    """This machine's way to collectors' nodes."""
    from warmline.client.line import pick_up
    from warmline.env import SystemClock, SystemRng, run_in_thread

    return await pick_up(entries, rng=SystemRng(), clock=SystemClock(), run_blocking=run_in_thread)


async def audited(chain: ConductChain, seen: ConductNow, entries: tuple[str, ...], upto: int | None) -> list[Checked]:
    """Every post up to an epoch, recomputed from what collectors hand out."""
    from warmline.client.conduct_audit import audit, collectors_of, epoch_of

    epochs, _ = await chain.terms()
    wanted = epoch_of(seen, epochs, upto)
    line = await a_line(entries)
    collectors = await collectors_of(line, seen, epochs.at(seen.time_s))
    return await audit(line.client, chain, seen, collectors, wanted)


@command.command()
@chain_options
def epochs(options: Options) -> None:
    """List what was posted, and whether it stands."""

    async def work() -> None:
        from warmline.chain.contracts import date, shown

        async with open_conduct(options) as (session, chain, seen):
            terms, _ = await chain.terms()
            current = terms.at(seen.time_s)
            session.say(
                f"Epoch {current}, until {date(terms.end(current))}. {len(seen.collectors)} collectors, of whom "
                f"{seen.threshold} must sign."
            )
            for post in seen.posts:
                session.say(f"{post.epoch:>6}  {post.tokens} answers, {_state(post, seen)}  0x{post.root.hex()[:16]}…")
            rows = [_row(post, seen) for post in seen.posts]
            session.finish(
                epoch=current,
                collectors=[shown(one) for one in seen.collectors],
                threshold=seen.threshold,
                posts=rows,
            )

    run(work)


@command.command()
@click.option("--epoch", type=int, help="Only what is needed for this one; without it, every one.")
@entry_option
@chain_options
def recompute(options: Options, epoch: int | None, entries: tuple[str, ...]) -> None:
    """Fetch batches from any collector and compute root, hash and count again. Exit 1 where one does not match."""
    known, good = known_entries(entries), [True]

    async def work() -> None:
        from warmline.client.conduct_audit import DIFFERS, WORDS

        async with open_conduct(options) as (session, chain, seen):
            checked = await audited(chain, seen, known, epoch)
            told = [one for one in checked if epoch in (None, one.post.epoch)]
            for one in told:
                more = f" ({one.why})" if one.why else ""
                session.say(f"Epoch {one.post.epoch}, {one.post.tokens} answers: {WORDS[one.found]}{more}.")
            if not told:
                session.say("Nothing was posted yet.")
            good[0] = all(one.found != DIFFERS for one in told)
            rows = [_row(one.post, seen) | {"found": one.found, "why": one.why} for one in told]
            session.finish(epochs=rows)

    run(work)
    if not good[0]:
        raise click.exceptions.Exit(1)


@command.command()
@click.option("--epoch", type=int, required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
@entry_option
@chain_options
def fetch(options: Options, epoch: int, out: Path, entries: tuple[str, ...]) -> None:
    """Write the batch behind an epoch's root into a file, as collectors hand it out."""
    known = known_entries(entries)

    async def work() -> None:
        from warmline.client.collecting import fetch_batch
        from warmline.client.conduct_audit import collectors_of, epoch_of

        async with open_conduct(options) as (session, chain, seen):
            terms, _ = await chain.terms()
            epoch_of(seen, terms, epoch)
            post = next(one for one in reversed(seen.posts) if one.epoch == epoch and not one.vetoed)
            line = await a_line(known)
            collectors = await collectors_of(line, seen, terms.at(seen.time_s))
            client = line.client
            data = await fetch_batch(client.paths, collectors, post.data_hash, post.tokens, client.rng)
            await client.run_blocking(lambda: out.write_bytes(data))
            session.say(f"{len(data)} bytes, and their hash is the posted one: {out}")
            session.finish(file=str(out), size=len(data), data_hash="0x" + post.data_hash.hex())

    run(work)


@command.command()
@chain_options
def veto(options: Options) -> None:
    """Veto what is pending: for collectors, and whom governance lets. The root before it stands then."""

    async def work() -> None:
        from warmline.chain.contracts import date
        from warmline_protocol.errors import UsageError

        async with open_conduct(options) as (session, chain, seen):
            post = seen.pending()
            if post is None:
                raise UsageError("nothing is pending", hint="What stands already cannot be vetoed any more.")
            session.say(f"Epoch {post.epoch} with {post.tokens} answers would stand from {date(post.stands_at_s)} on.")
            await session.carry_out(chain.veto_epoch(post.epoch, post.root))
            session.finish(epoch=post.epoch, root="0x" + post.root.hex(), vetoed=not options.dry_run)

    run(work)


@command.command("name-collectors", short_help="For governance: name the collectors.")
@click.argument("collectors", nargs=-1, required=True, metavar="ADDRESS…")
@click.option("--threshold", type=click.IntRange(1, 16), required=True, help="So many must sign; more than half.")
@chain_options
def name_collectors(options: Options, collectors: tuple[str, ...], threshold: int) -> None:
    """For governance: these and no others collect from now on, also for the epoch that is over and not posted yet."""

    async def work() -> None:
        from warmline.chain.contracts import address_of, shown

        named = [address_of(one) for one in collectors]
        async with open_conduct(options) as (session, chain, _):
            await session.carry_out(chain.set_collectors(named, threshold))
            seen = await chain.now()
            if not options.dry_run:
                session.say(f"{len(seen.collectors)} collectors are named; {seen.threshold} must sign.")
            session.finish(collectors=[shown(one) for one in seen.collectors], threshold=seen.threshold)

    run(work)


@command.command(short_help="Check a proof that a collector announced two sets.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@chain_options
def proof(options: Options, file: Path) -> None:
    """Check FILE, which `warmline collector run` writes when a collector tells two others different things.

    Whoever sees it can check it: both announcements are signed by the collector, under a sheet that its wallet signed.
    It holds for good; whether the contract names that wallet as a collector now is said with it.
    """

    async def work() -> None:
        from warmline.chain.contracts import shown
        from warmline.env import run_in_thread
        from warmline_protocol.feedback.heard import read_proof

        data = await run_in_thread(file.read_bytes)
        async with open_conduct(options) as (session, chain, seen):
            where = chain.manifest.chain_id, chain.manifest.address("ConductEpochs")
            first, second = read_proof(data, *where)
            named = first.collector in seen.collectors
            session.say(
                f"{shown(first.collector)} announced {first.count} answers (0x{first.digest.hex()[:16]}…) and "
                f"{second.count} answers (0x{second.digest.hex()[:16]}…) for epoch {first.epoch}, and signed both. "
                "A collector says this once; it lied, or went on from an old copy of its disk."
            )
            session.say(
                "The contract names it as a collector now."
                if named
                else "The contract does not name it as a collector now: it was let go, or never was one."
            )
            digests = ["0x" + one.digest.hex() for one in (first, second)]
            session.finish(collector=shown(first.collector), epoch=first.epoch, digests=digests, named=named)

    run(work)


def _state(post: Post, seen: ConductNow) -> str:
    if post.vetoed:
        return "vetoed"
    return "stands" if post.stands_at_s <= seen.time_s else "can be vetoed still"


def _row(post: Post, seen: ConductNow) -> dict[str, Any]:
    return {
        "epoch": post.epoch,
        "root": "0x" + post.root.hex(),
        "data_hash": "0x" + post.data_hash.hex(),
        "tokens": post.tokens,
        "stands_at_s": post.stands_at_s,
        "state": "vetoed" if post.vetoed else "stands" if post.stands_at_s <= seen.time_s else "pending",
    }
