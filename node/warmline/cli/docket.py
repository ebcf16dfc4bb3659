"""What panellists', advocates' and respondents' commands share: reports found and shown, cases unlocked and checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline.cli.device import secret
from warmline.cli.ethereum import Options, open_session
from warmline_protocol.errors import MalformedError, UsageError

if TYPE_CHECKING:
    from warmline.chain.contracts import Call
    from warmline.chain.docket import Entry
    from warmline.chain.endpoints import Source
    from warmline.chain.reports import Reports
    from warmline.cli.ethereum import Session
    from warmline.client.cases import Cases
    from warmline_protocol.session.evidence_bundle import Finding, ProvenText
    from warmline_protocol.session.evidence_case import Case


def case_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that unlocks what is kept of cases."""
    return click.option("--case-passphrase-fd", type=int, help="Read the passphrase of your cases from there.")(command)


@asynccontextmanager
async def open_docket(options: Options) -> AsyncIterator[tuple[Session, Reports]]:
    """A session with the chain, and its reports."""
    from warmline.chain.reports import Reports

    async with open_session(options) as session:
        yield session, Reports(session.rpc, session.manifest)


@contextmanager
def unlocked_cases(options: Options, fd: int | None) -> Iterator[Cases]:
    """The cases in ``--data``, under their own passphrase; asked for twice the first time."""
    with remembered(options, fd)() as kept:
        yield kept


def remembered(options: Options, fd: int | None) -> Callable[[], AbstractContextManager[Cases]]:
    """Unlocks the cases whenever it is called; the passphrase is asked for once."""
    from warmline.client.cases import open_cases
    from warmline.env import SystemClock, SystemRng

    known: list[str] = []

    def passphrase() -> str:
        if not known:
            known.append(case_passphrase(options.folder, fd))
        return known[0]

    return lambda: open_cases(options.folder, passphrase, rng=SystemRng(), clock=SystemClock())


def case_passphrase(folder: Path, fd: int | None) -> str:
    """From the file descriptor, or from the terminal; a new one is typed twice."""
    from warmline.client.cases import FILE

    new = not (folder / FILE).exists()
    return secret(fd, "A passphrase for the cases that you keep" if new else "Passphrase of your cases", twice=new)


async def of_report(reports: Reports, beginning: str) -> Entry:
    """The one report on the chain whose id begins like that. Raises UsageError."""
    from warmline.chain.docket import docket, entry

    digits = beginning.removeprefix("0x").lower()
    if len(digits) == 64:
        return await entry(reports, _hex(digits))
    found = [one for one in await docket(reports) if one.id.hex().startswith(digits)]
    if len(found) != 1 or len(digits) < 4:
        raise UsageError(
            f"{len(found)} reports begin with {beginning}", hint="`warmline panel cases` lists them; give more digits."
        )
    return found[0]


def _hex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise UsageError(f"{digits} is not the id of a report", hint="It is 64 hex digits.") from None


async def carry_step(session: Session, reports: Reports, report_id: bytes, call: Call) -> None:
    """Sign and send one step of a report, then show where it stands."""
    from warmline.chain.docket import entry

    await session.carry_out(call)
    await show_entry(session, reports, await entry(reports, report_id))


async def show_entries(session: Session, reports: Reports, entries: list[Entry]) -> None:
    """A line for each, newest last."""
    now_s = await reports.time_s()
    me = _sender(session)
    for one in entries:
        session.say(_line(one, now_s, me))
    if not entries:
        session.say("No report was filed here.")
    session.finish(reports=[entry_data(one, me) for one in entries])


async def show_entry(session: Session, reports: Reports, entry: Entry) -> None:
    """One report in full."""
    from warmline.chain.contracts import shown
    from warmline.chain.docket import RULINGS
    from warmline.chain.reports import NOBODY

    me, report = _sender(session), entry.report
    if not session.options.dry_run:
        session.say(_line(entry, await reports.time_s(), me))
        if report.respondent != NOBODY:
            session.say(f"  about {shown(report.respondent)}, filed by {shown(report.filer)}")
        for seat in entry.seats:
            session.say(f"  seat {shown(seat)}{' (you)' if seat == me else ''}")
        if report.ruling:
            session.say(f"  ruling: {RULINGS[report.ruling]}")
    session.finish(report=entry_data(entry, me))


def _sender(session: Session) -> bytes | None:
    """Who would sign, where that is known without asking."""
    from warmline_protocol.errors import ConfigError

    try:
        return session.sender()
    except ConfigError:
        return None


def _line(entry: Entry, now_s: int, me: bytes | None) -> str:
    from warmline.chain.contracts import date
    from warmline.chain.reports import Phase

    report = entry.report
    until = "" if report.phase is Phase.CLOSED else f" until {date(report.deadline_s)}"
    seated = ", you sit on its panel" if me in entry.seats else ""
    state = f"{report.phase.name.lower()}{until}{seated}"
    return f"0x{entry.id.hex()[:16]}…  {state}\n  next: {entry.next_step(now_s)}"


def entry_data(entry: Entry, me: bytes | None) -> dict[str, Any]:
    """For programs."""
    from warmline.chain.contracts import shown
    from warmline.chain.reports import NOBODY

    report = entry.report
    return {
        "id": "0x" + entry.id.hex(),
        "phase": report.phase.name.lower(),
        "deadline_s": report.deadline_s,
        "ruling": report.ruling.name.lower(),
        "filer": shown(report.filer),
        "respondent": None if report.respondent == NOBODY else shown(report.respondent),
        "seats": [shown(seat) for seat in entry.seats],
        "seated": me in entry.seats,
        "appealed": report.appealed,
    }


async def chain_checked(reports: Reports, case: Case, source: Source | None = None) -> Finding:
    """What a case proves, once it is also what the chain knows by ``source``. Raises RemoteError."""
    from warmline_protocol.session.evidence_case import examine

    finding = examine(case)
    if reports.report_id(case.filer, case.respondent, case.evidence_hash, case.salt) != case.report_id:
        raise MalformedError(
            "this case does not open its report: filer, respondent, evidence or salt is another",
            hint="Ask the advocate for the case exactly as it was filed.",
        )
    await delegation_checked(reports, finding, source)
    return finding


async def delegation_checked(reports: Reports, finding: Finding, source: Source | None = None) -> None:
    """Raise MalformedError unless the wallet let that key speak for it, on this chain.

    Anybody can sign a card that names a contract wallet: its delegation is one that only the chain can prove. Where
    ``source`` is several endpoints, two must say so; DisagreeError where they contradict each other.
    """
    from warmline.chain.delegates import was_delegated
    from warmline.chain.endpoints import One
    from warmline.env import SystemClock

    given, manifest = finding.card.delegation, reports.manifest
    if given is None:
        raise MalformedError("no wallet stands behind the key that signed this")
    if (given.chain_id, given.registry) != (manifest.chain_id, manifest.address("DelegateRegistry")):
        raise MalformedError("the wallet's word for this key is for another chain, or another registry")
    source = source or One(reports.rpc)
    asked = source, manifest, given.wallet, given.key, SystemClock()
    if finding.only_on_chain and not await was_delegated(*asked):
        raise MalformedError(
            "the wallet never let this key speak for it: the evidence proves nothing about its owner",
            hint="The chain has no such delegation. Whoever made this may be accusing somebody else.",
        )


def told(case: Case, finding: Finding) -> str:
    """A case in one line."""
    return (
        f"Case 0x{case.report_id.hex()[:16]}… about {finding.name}: {len(finding.texts)} signed messages, "
        f"{len(finding.own)} lines of the person who reports."
    )


def evidence_text(case: Case, finding: Finding) -> str:
    """What a panel reads."""
    from warmline.chain.contracts import shown

    lines = [told(case, finding), f"Respondent: {shown(case.respondent)}"]
    if finding.only_on_chain:
        lines.append("The key's delegation stands on the chain only; it was there when the case was taken.")
    if finding.account:
        lines += ["", "What the person says:", *_marked("   not proven: ", finding.account)]
    lines += ["", "What was said. Signed by the respondent's key where a line begins with ✓; times are their clock's."]
    for chapter in sorted({text.chapter for text in finding.texts}):
        lines.append(f" Session {chapter + 1}")
        said = [(text.counter, 0, _proven(text)) for text in finding.texts if text.chapter == chapter]
        said += [(own.after, 1, _marked("   not proven: ", own.text)) for own in finding.own if own.chapter == chapter]
        lines += [line for _, _, rows in sorted(said, key=lambda each: each[:2]) for line in rows]
    return "\n".join(lines)


def _proven(text: ProvenText) -> list[str]:
    missing = [f"   … {text.missing} not shown …"] if text.missing else []
    return missing + _marked(" ✓ ", text.text)


def _marked(mark: str, text: str) -> list[str]:
    """Every line of it marked: one that began like another's could pass for it."""
    return [f"{mark}{line}" for line in text.split("\n")]


async def held_cases(options: Options, fd: int | None) -> None:
    """Every case that is held here, with its report and its last day. What is over on the chain gets its last day."""
    from warmline.chain.contracts import date
    from warmline.chain.docket import entry
    from warmline.chain.reports import Phase

    async with open_docket(options) as (session, reports):
        rows, now_s, me = [], await reports.time_s(), _sender(session)
        with unlocked_cases(options, fd) as kept:
            for case in kept.all():
                one = await entry(reports, case.report_id)
                if one.report.phase is Phase.CLOSED:
                    kept.over(case.report_id)
                last_day_s = kept.until_ms(case.report_id) // 1000
                session.say(f"{_line(one, now_s, me)}\n  destroyed here on {date(last_day_s)} at the latest")
                rows.append(entry_data(one, me) | {"destroyed_s": last_day_s})
        if not rows:
            session.say("You hold no case here.")
        session.finish(cases=rows)
