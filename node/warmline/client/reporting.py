"""Reports without a wallet: found advocates, evidence sent over a private session, an intake that checks what arrives.

Nothing new travels: an advocate is a supporter whose card claims the credential type `report-advocate`, which issuers
give to those they accredit, and a report is a document in a one-to-one session with them. So the person who reports
is to everybody but the advocate what any seeker is: a throw-away key behind an entry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from warmline.client.documents import Assembler, send_document
from warmline.client.matching import Collection, Supporter, Wanted
from warmline.client.session import Conversation, Session
from warmline_protocol.errors import RefusedError, RemoteError, UnreachableError
from warmline_protocol.session import events as said
from warmline_protocol.session.evidence_bundle import Finding, verify_bundle

REPORTS_EACH: Final = 4
"""Documents that are taken in one session."""
ATTEND: Final = 30 * 60.0
"""Seconds for one person to send their reports in, over a slow line and with a second try."""


def advocates(collection: Collection, wanted: Wanted, now_ms: int) -> list[Supporter]:
    """Everybody who takes reports and whom the chain vouches for, in the order of their record ids."""
    found = collection.supporters(wanted, now_ms, advocates=True)
    return [one for one in found if one.vouching.verified]


async def send_report(session: Session, bundle: bytes, tell: Callable[[int, int], None]) -> str:
    """Send the evidence and wait until the advocate's client has all of it; what they wrote back.

    ``tell`` hears how many of how many pieces are there. Raises UnreachableError where the session ends before.
    """
    await session.wait_established()
    open_, answer = set(await send_document(session, bundle)), ""
    whole = len(open_)
    async for event in session.events:
        match event:
            case said.MessageState(id=id, state="delivered") if id in open_:
                open_.discard(id)
                tell(whole - len(open_), whole)
            case said.MessageState(id=id) if id in open_ and event.last:
                raise UnreachableError(
                    f"a piece of the report did not arrive: {event.why or event.state}",
                    hint="Send it again, to this advocate or another one.",
                )
            case said.TextReceived(text=text):
                answer = text
            case said.Closed(why=why):
                raise UnreachableError(f"the advocate ended before the report was there: {why}")
        if not open_ and answer:
            return answer
    raise UnreachableError("the session ended before the report was there", hint="Send it again.")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A report that verified."""

    bundle: bytes
    finding: Finding


async def take_reports(session: Conversation, keep: Callable[[Arrived], Awaitable[None]]) -> None:
    """The intake's side of one session, until it ends: check what comes, keep it, say so.

    ``keep`` has it on the disk before the person is told that it arrived.
    """
    assembler, left = Assembler(), REPORTS_EACH
    async for event in session.events:
        if isinstance(event, said.Closed | said.Left):
            return
        document = assembler.take(event) if isinstance(event, said.PartReceived) else None
        if document is None:
            continue
        left -= 1
        await session.send(await _answer(document, keep))
        if not left:
            return


async def attend(session: Conversation, keep: Callable[[Arrived], Awaitable[None]], *, within: float = ATTEND) -> None:
    """As :func:`take_reports`, and then the session's end: the seat is free for the next person after ``within``
    seconds at the latest, whoever sits there and says nothing."""
    with trio.move_on_after(within):
        await take_reports(session, keep)
        await session.wait_closed()
    await session.aclose("closed")


async def _answer(document: bytes, keep: Callable[[Arrived], Awaitable[None]]) -> str:
    try:
        finding = verify_bundle(document)
    except RemoteError as error:
        return f"This report does not verify and was not kept: {error}. Was it changed after /report wrote it?"
    try:
        await keep(Arrived(document, finding))
    except RefusedError as error:
        return f"Your report verifies and was not kept: {error}. {error.hint}"
    texts = f"{len(finding.texts)} signed message{'s' if len(finding.texts) != 1 else ''}"
    return (
        f"Your report about {finding.name} is here whole: {texts} of theirs, {len(finding.own)} lines of yours. "
        f"Its reference is {reference_of(finding)}. An advocate reads it and decides whether to file it; "
        f"nobody learns of it before a panellist opens it."
    )


def reference_of(finding: Finding) -> str:
    """A short name of a report, the same on both sides: the first 12 hex digits of its SHA-256."""
    return finding.digest.hex()[:12]
