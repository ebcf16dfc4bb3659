"""`warmline report`: evidence about a conversation, checked offline, and sent to an advocate without a wallet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline.cli.entries import entry_option, known_entries

if TYPE_CHECKING:
    from warmline_protocol.session.evidence_bundle import Finding


@click.group()
def command() -> None:
    """Report a supporter: look at the evidence of a conversation, and send it to an advocate. Free, and no wallet."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def verify(file: Path, as_json: bool) -> None:
    """Check FILE, which /report wrote, and show what it proves. Needs no network and no chain."""
    from warmline_protocol import limits
    from warmline_protocol.errors import RemoteError, UsageError
    from warmline_protocol.session.evidence_bundle import verify_bundle

    with file.open("rb") as source:
        data = source.read(limits.REPORT_MAX + 1)
    try:
        finding = verify_bundle(data)
    except RemoteError as error:
        raise UsageError(
            f"{file} proves nothing: {error.message}", hint="One part that does not hold makes all of it worthless."
        ) from None
    if as_json:
        click.echo(json.dumps(_as_json(finding), ensure_ascii=False))
        return
    for row in _rows(finding):
        click.echo(click.wrap_text(row, 78, subsequent_indent="      ") if row else "")


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--to", "advocate", default="", metavar="ID", help="The beginning of an advocate's card id, or a name.")
@click.option("--language", "languages", multiple=True, help="A language that the advocate should speak, like en.")
@click.option("--yes", is_flag=True, help="Do not ask before it is sent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; implies --yes.")
@entry_option
def send(
    file: Path, advocate: str, languages: tuple[str, ...], yes: bool, as_json: bool, entries: tuple[str, ...]
) -> None:
    """Send FILE, which /report wrote, to an advocate, end-to-end encrypted and under no name.

    The advocate sees what is in the file and nothing about where you are. If they file it, the chain gets a hash that
    names nobody; a panel reads it only after a panellist opened the report.
    """
    from warmline.cli.reporting import send_file
    from warmline_protocol import limits

    with file.open("rb") as source:
        data = source.read(limits.REPORT_MAX + 1)
    known = known_entries(entries)
    import trio

    trio.run(send_file, data, advocate, languages, known, yes or as_json, as_json)


def _who(finding: Finding) -> tuple[str, str]:
    wallet = finding.card.wallet
    return ("", "") if wallet is None else (f"0x{wallet.hex()}", _date(finding.card.expires))


def _as_json(finding: Finding) -> dict[str, Any]:
    wallet, _ = _who(finding)
    return {
        "sha256": finding.digest.hex(),
        "supporter": finding.name,
        "wallet": wallet,
        "key": finding.card.key.hex(),
        "card": finding.card.id.hex(),
        "card_signed_ms": finding.card.seq,
        "only_on_chain": finding.only_on_chain,
        "signed": [
            {
                "session": text.chapter,
                "number": text.counter,
                "missing_before": text.missing,
                "sent_ms": text.sent_ms,
                "text": text.text,
            }
            for text in finding.texts
        ],
        "unproven": [
            {"session": line.chapter, "after": line.after, "sent_ms": line.sent_ms, "text": line.text}
            for line in finding.own
        ],
        "account": finding.account,
    }


def _rows(finding: Finding) -> list[str]:
    wallet, until = _who(finding)
    rows = [f"Every signature holds. SHA-256 of the file, which a report commits to: {finding.digest.hex()}"]
    rows.append(f"The card is {finding.name}'s, signed {_date(finding.card.seq)} by the key {finding.card.key.hex()}.")
    if not wallet:
        rows.append("No wallet stands behind that key, so no panel can be asked about it.")
    elif finding.only_on_chain:
        rows.append(f"It says to speak for {wallet}. Only the chain can prove that: look it up in DelegateRegistry.")
    else:
        rows.append(f"{wallet} signed that this key speaks for it; the card ended {until}.")
    rows.append("Times are the supporter's clock and are not signed.")
    for chapter in sorted({text.chapter for text in finding.texts}):
        rows += ["", f"Session {chapter + 1}"]
        said = [(text.counter, 0, _signed(text)) for text in finding.texts if text.chapter == chapter]
        said += [(line.after, 1, _own(line)) for line in finding.own if line.chapter == chapter]
        rows += [row for _, _, row in sorted(said, key=lambda each: each[:2])]
    if finding.account:
        rows += ["", f"What the reporter says (unproven): {finding.account}"]
    return rows


def _signed(text: Any) -> str:
    gap = f"({text.missing} messages before this are not shown) " if text.missing else ""
    return f"  {text.counter:>3}  {gap}{_date(text.sent_ms)}  signed: {text.text}"


def _own(line: Any) -> str:
    return f"       {_date(line.sent_ms)}  unproven, the reporter's: {line.text}"


def _date(ms: int) -> str:
    from warmline_protocol.records.text import shown_time

    return shown_time(ms).strftime("%Y-%m-%d %H:%M UTC")
