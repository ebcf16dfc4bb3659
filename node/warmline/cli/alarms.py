"""`warmline issuer alarms`: whom an issuer should talk with, by the feedback that stands."""

from __future__ import annotations

import click

from warmline.cli.entries import entry_option, known_entries
from warmline.cli.ethereum import Options, chain_options, run


@click.command(short_help="Whom you should talk with, by the feedback that stands.")
@click.option("--issuer", default="", help="Address of the issuer, if it is not your wallet's.")
@entry_option
@chain_options
def alarms(options: Options, issuer: str, entries: tuple[str, ...]) -> None:
    """List supporters of yours whom you should talk with. An alarm is a reason to look, and nothing follows by itself.

    Computed on this machine from the batches of the last thirteen epochs. No number is shown: answers are blurred, and
    a person is no number.
    """
    known = known_entries(entries)

    async def work() -> None:
        from warmline.chain.contracts import address_of, shown
        from warmline.cli.conduct import audited, open_conduct
        from warmline.client.conduct_audit import for_review

        async with open_conduct(options) as (session, chain, seen):
            who = address_of(issuer) if issuer else session.sender()
            checked = await audited(chain, seen, known, None)
            missing = [one.post.epoch for one in checked if one.result is None]
            found = for_review(checked, who, seen.standing())
            for one in found:
                session.say(f"{shown(one)}: please look. More people than usual would not talk to them again.")
            if not found:
                session.say("Nobody: no alarm is raised about a supporter of yours.")
            if missing:
                session.say(f"Not counted, for nobody hands them out or they do not hold: epochs {missing}.")
            session.finish(issuer=shown(who), review=[shown(one) for one in found], missing=missing)

    run(work)
