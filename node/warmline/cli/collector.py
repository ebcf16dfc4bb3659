"""`warmline collector`: takes answers, unites them with what the others hold, posts and watches what comes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from warmline.cli.device import device_passphrase
from warmline.cli.entries import entry_option, known_entries
from warmline.cli.ethereum import Options, chain_options, open_session, run
from warmline_protocol.errors import ConfigError, RefusedError, UsageError

if TYPE_CHECKING:
    from warmline.cli.ethereum import Session
    from warmline.client.collector import CollectorDuty
    from warmline.client.line import Line
    from warmline_protocol.records.collector import CollectorRecord
    from warmline_protocol.records.node import NodeAddress

PACE_PARTS = 1000
"""A look at everything after so small a part of an epoch: ten minutes of a week."""
MEET_PARTS = 336
"""The others' records are looked up again after such a part of an epoch: half an hour of a week."""


@click.group()
def command() -> None:
    """For collectors of feedback: those whom the contract names to take answers and publish what they come to."""


@command.command("run")
@click.option(
    "--node",
    required=True,
    metavar="ADDRESS",
    help="Address (/…/p2p/…) of the node that hands out what is laid out: `collector` of its section [feedback].",
)
@click.option(
    "--served",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory to lay out in, if not served in --data, which the node must be able to read.",
)
@click.option("--once", is_flag=True, help="Do what is due now, and end.")
@entry_option
@chain_options
def run_(options: Options, node: str, served: Path | None, once: bool, entries: tuple[str, ...]) -> None:
    """Collect: keep drops open, read them, unite, vote, post, and veto what does not hold. Ctrl-C ends it.

    It may be ended and killed at any time, and goes on where it was. Your wallet signs votes by itself while it runs,
    and pays for what it posts. Register it first: `warmline supporter register --data …`.
    """
    known, where = known_entries(entries), _address(node)

    async def work() -> None:
        async with open_session(options) as session:
            await _collect(session, known, where, served, once)

    run(work)


async def _collect(
    session: Session, entries: tuple[str, ...], node: NodeAddress, served: Path | None, once: bool
) -> None:
    import trio

    duty = await _duty(session, entries, node, served)
    if duty.wallet.address not in duty.seen.collectors:
        raise UsageError(
            "the contract does not name this wallet as a collector",
            hint="Governance names collectors; ask those who run it, and give them your wallet's address.",
        )
    while True:
        await duty.step()
        if once:
            return
        await trio.sleep(min(max(duty.epochs.length_s / PACE_PARTS, 1.0), 600.0))


async def _duty(session: Session, entries: tuple[str, ...], node: NodeAddress, served: Path | None) -> CollectorDuty:
    from warmline.chain.conduct import ConductChain
    from warmline.client.collector import open_collector
    from warmline.client.collector_base import Network
    from warmline.client.collector_files import CollectorFiles
    from warmline.client.identity import IdentityFiles
    from warmline.client.line import pick_up
    from warmline.env import SystemClock, SystemRng, run_in_thread

    folder = session.options.folder
    identity = IdentityFiles(folder).load(lambda: device_passphrase(None))
    wallet = session.unlock()
    if identity.wallet != wallet.address:
        raise ConfigError(
            "the device in --data does not speak for this wallet",
            hint="`warmline supporter register` joins a wallet and a device, for a month at a time.",
        )
    line = await pick_up(entries, rng=SystemRng(), clock=SystemClock(), run_blocking=run_in_thread)
    chain = ConductChain(session.rpc, session.manifest, session.source, clock=line.client.clock)
    epochs, _ = await chain.terms()
    records = _Records(line, epochs.length_s / MEET_PARTS)
    files = CollectorFiles(folder, served)
    network = Network(line.client, node, records.find, records.publish)

    def tell(text: str, data: dict[str, object]) -> None:
        click.echo(json.dumps(data) if session.options.as_json else text)

    return await open_collector(network, chain, wallet, identity, files, tell)


class _Records:
    """Collectors' records at the nodes: looked up now and then, one's own published."""

    def __init__(self, line: Line, every_s: float) -> None:
        self._line = line
        self._every_s = every_s
        self._found: Sequence[CollectorRecord] = ()
        self._at: float | None = None

    async def find(self) -> Sequence[CollectorRecord]:
        """Every such record; who of them is a collector is for the chain to say."""
        import trio

        from warmline.client.matching import Wanted
        from warmline_protocol.records.collector import CollectorRecord

        if self._at is None or trio.current_time() >= self._at + self._every_s:
            collection, _ = await self._line.finder.collect(Wanted())
            records = collection.records(self._line.client.clock.utc_ms())
            self._found = [each.body for each in records if isinstance(each.body, CollectorRecord)]
            self._at = trio.current_time()
        return self._found

    async def publish(self, data: bytes) -> None:
        """RefusedError where the node does not carry it."""
        (answer,) = await self._line.finder.publish([data])
        if answer.verdict not in ("accept", "defer") and answer.reason != "older":
            raise RefusedError(answer.reason, "a node does not carry your record", hint=answer.hint)


def _address(node: str) -> NodeAddress:
    from warmline_protocol.records.node import NodeAddress

    peer = node.rpartition("/p2p/")[2]
    if not peer or peer == node:
        raise ConfigError(f"{node} does not say which node is meant", hint="It must end in /p2p/<peer id>.")
    return NodeAddress(peer, (node,))
