"""The closing screen: the last moment at which a conversation can be reported or copied, before it is let go."""

from __future__ import annotations

from warmline.cli import words
from warmline.cli.deeds import Deeds, export, report
from warmline.cli.switchboard import Switchboard, Wish, hearing_panic
from warmline.client.feedback import SeekerSide
from warmline.client.rating import can_rate, rate
from warmline.client.session import Conversation
from warmline_protocol.errors import UsageError, WarmlineError


async def closing_screen(board: Switchboard, talk: Conversation, deeds: Deeds) -> None:
    """Until the person lets it go. Nothing to report, copy or answer means nothing to ask."""
    feedback = getattr(talk, "feedback", None)  # a room has none
    side = feedback if isinstance(feedback, SeekerSide) else None
    try:
        await _last_things(board, talk, deeds, side)
    finally:
        if side is not None:
            side.ticket = None  # an answer that was not given now is never given


async def _last_things(board: Switchboard, talk: Conversation, deeds: Deeds, side: SeekerSide | None) -> None:
    signed = sum(len(chapter.words) for chapter in talk.evidence)
    asks = side is not None and can_rate(side)
    if not signed and not talk.transcript.lines and not asks:
        return
    board.face.note(words.CLOSING_SCREEN, words.WARM, event="closing", signed=signed, lines=len(talk.transcript.lines))
    if asks:
        board.face.note(words.RATING_QUESTION, words.BOLD, event="rating_question")
    elif side is not None and side.ticket is not None:
        board.face.note(words.RATING_AWAY, words.DIM, event="rating_away")
    if talk.client.farewells is not None and talk.client.farewells.waiting:
        board.face.note(words.GOODBYE_WAITS, words.DIM, event="goodbye_waits")
    board.face.front(None)
    board.face.last_words()
    async for wish in board.face.wishes():
        try:
            match wish.verb:
                case "rate" | "yes" | "no" if side is not None:
                    async with hearing_panic(board.face, deeds.panic):
                        await _rate(board, talk, side, wish)
                case "report":
                    await report(board, talk, wish)
                case "export":
                    await export(board, talk, wish)
                case "lines":
                    deeds.show_lines(talk)
                case "panic":
                    await deeds.panic()
                case "done" | "quit" | "leave":
                    return
                case _:
                    raise UsageError("this conversation is over", hint="/report FILE, /export FILE, or Enter.")
        except WarmlineError as error:
            board.complain(error)


async def _rate(board: Switchboard, talk: Conversation, side: SeekerSide, wish: Wish) -> None:
    """The one answer, or none."""
    answer = wish.words if wish.verb == "rate" else wish.verb
    if answer == "skip":
        side.ticket = None
        board.face.note("Nothing was said.", words.DIM, event="rated", reached=0, meant=0)
        return
    if answer not in ("yes", "no"):
        raise UsageError(f"{answer!r} is no answer", hint="yes, no or skip.")
    left = await rate(talk.client, side, answer == "yes")
    if left.reached == left.meant:
        said = "Thank you. Your answer is on its way, and nothing of it stays here."
    elif left.reached:
        said = f"Thank you. Only {left.reached} of {left.meant} collectors could be reached; that may be too few."
    else:
        said = "No collector could be reached, so your answer is lost. It is not kept here and not sent later."
    board.face.note(said, words.DIM, event="rated", reached=left.reached, meant=left.meant)
