"""What `warmline report send` does: an advocate chosen, the evidence sent over a private session, the answer shown."""

from __future__ import annotations

import json

import click

from warmline.cli.welcome import called
from warmline.cli.words import made_up_name
from warmline.client.line import Line, pick_up
from warmline.client.matching import Supporter, Wanted
from warmline.client.reporting import advocates, reference_of, send_report
from warmline.client.session import Contact, Persona, open_session
from warmline.env import SystemClock, SystemRng, run_in_thread
from warmline_protocol.errors import UsageError
from warmline_protocol.session.evidence_bundle import verify_bundle


async def send_file(
    data: bytes, advocate: str, languages: tuple[str, ...], entries: tuple[str, ...], yes: bool, as_json: bool
) -> None:
    """Raises RemoteError for evidence that does not verify, UsageError where there is no advocate."""
    finding, rng, clock = verify_bundle(data), SystemRng(), SystemClock()
    say = (lambda text: None) if as_json else click.echo
    say(f"A report about {finding.name}: {len(finding.texts)} messages of theirs, {len(finding.own)} lines of yours.")
    line = await pick_up(entries, rng=rng, clock=clock, run_blocking=run_in_thread)
    chosen = await _choose(line, advocate, Wanted(languages=languages))
    about = chosen.card.about or "no words of theirs"
    say(f"To {chosen.card.name} ({chosen.vouching.words}), who takes reports: {about}")
    if not yes:
        click.confirm("Send it?", abort=True, err=True)
    me = Persona(made_up_name(rng.bytes(2)), rng.bytes(16))
    async with open_session(line.client, Contact.of(chosen.card, chosen.record.key), me=me) as session:
        say("Waiting for them to take it …")
        answer = await send_report(session, data, lambda there, whole: say(f"  {there} of {whole} pieces are there"))
    say(f"They answer: {answer}")
    say("Keep the reference. They cannot write to you: ask by sending the same file again.")
    if as_json:
        click.echo(json.dumps({"reference": reference_of(finding), "advocate": chosen.card.name, "answer": answer}))


async def _choose(line: Line, named: str, wanted: Wanted) -> Supporter:
    """Named, or one of them at random: no advocate is better than another."""
    collection, _ = await line.finder.collect(wanted)
    found = advocates(collection, wanted, line.client.clock.utc_ms())
    if named:
        found = called(found, named)
    if not found:
        raise UsageError(
            "no advocate whom the chain vouches for has a card out",
            hint="Ask the community whose group it was, or a wallet of yours can file: `warmline advocate file`.",
        )
    return line.client.rng.choice(found)
